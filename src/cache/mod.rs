//! The cache: one OCI image layout in a folder, with `partial/` for what is still arriving.
//!
//! May not know the document or the terminal. Knows registries only where it is filled
//! ([`fill`]). Uses `std::fs` alone, which works on WASI too.

mod error;
pub mod fill;
mod index;
mod layout;
mod lock;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{Error, ErrorKind};
pub use index::Entry;
pub use layout::Cache;
pub use writer::BlobWriter;
