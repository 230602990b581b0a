//! Where images go from the cache: layouts, archives, engines, other registries.
//!
//! May not know the document or the terminal. What an image may not leave the cache for, a trust rule
//! for instance, is its caller's to mind.

pub mod archive;
pub mod engine;
mod error;
mod image;
mod inflate;
pub mod layout;
pub mod registry;
pub mod tar;
mod temporary;
#[cfg(test)]
mod tests;

pub use error::{Error, ErrorKind};
pub use image::{Image, Part, Wanted};
