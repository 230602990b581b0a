//! Registries: references, digests, manifests, credentials and the one transport for all of them.
//!
//! May not know the document, the cache's layout or the terminal.

pub mod challenge;
pub mod digest;
pub mod manifest;
pub mod platform;
pub mod reference;

pub use digest::Digest;
pub use manifest::{Descriptor, Manifest};
pub use platform::Platform;
pub use reference::{Reference, Repository};
