//! The cache: one OCI image layout in a folder, with `partial/` for what is still arriving.
//!
//! May not know the document or the terminal. Knows registries only where it is filled
//! ([`fill`]). Uses `std::fs` alone, which works on WASI too.

mod error;
pub mod fill;
mod index;
mod layout;
mod lock;
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
#[cfg(test)]
mod tests;
mod writer;

pub use error::{Error, ErrorKind};
pub use index::Entry;
pub use layout::Cache;
pub use space::free_space;
pub use writer::BlobWriter;
