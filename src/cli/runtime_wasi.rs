//! The runtime of the component: WASI has no threads.

use tokio::runtime::{Builder, Runtime};

/// Makes the runtime.
///
/// # Errors
/// When the host offers no clock or no sockets.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
