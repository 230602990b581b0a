//! Registries: references, digests, manifests, credentials and the one transport for all of them.
//!
//! May not know the document, the cache's layout or the terminal.

pub mod digest;
pub mod reference;

pub use digest::Digest;
pub use reference::{Reference, Repository};
