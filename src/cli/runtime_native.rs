//! The runtime on machines with threads: one for each core, so that hashing and the network overlap.

use tokio::runtime::{Builder, Runtime};

/// Makes the runtime.
///
/// # Errors
/// When the operating system gives no threads.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}
