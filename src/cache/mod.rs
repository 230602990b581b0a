//! The cache: one OCI image layout in a folder, with `partial/` for what is still arriving.
//!
//! May not know registries, the document or the terminal. Uses `std::fs` alone, which works on WASI
//! too.

#[cfg_attr(
    all(target_family = "wasm", feature = "hosted"),
    path = "boot_hosted.rs"
)]
#[cfg_attr(
    all(target_family = "wasm", not(feature = "hosted")),
    path = "boot_wasi.rs"
)]
#[cfg_attr(not(target_family = "wasm"), path = "boot_native.rs")]
mod boot;
mod crash;
mod error;
mod hashing;
mod index;
mod interval;
mod keep;
mod layout;
mod lock;
mod part_files;
mod partial;
#[cfg_attr(
    all(target_family = "wasm", feature = "hosted"),
    path = "sink_hosted.rs"
)]
#[cfg_attr(
    not(all(target_family = "wasm", feature = "hosted")),
    path = "sink_none.rs"
)]
mod sink;
#[cfg_attr(
    all(target_family = "wasm", feature = "hosted"),
    path = "space_hosted.rs"
)]
#[cfg_attr(
    all(target_family = "wasm", not(feature = "hosted")),
    path = "space_wasi.rs"
)]
#[cfg_attr(not(target_family = "wasm"), path = "space_native.rs")]
mod space;
mod writer;

pub use boot::id as boot;
pub use error::{Error, ErrorKind};
pub use index::Entry;
pub use interval::Intervals;
pub use keep::{Checked, Removed};
pub use layout::Cache;
pub(crate) use lock::HEARTBEAT;
pub(crate) use partial::{Claim, Partial};
pub use space::free_space;
pub use writer::BlobWriter;
