//! What outlives a process: the journal of a run, by which another process finishes it.
//!
//! May not know the document, run a step or talk to anybody. Uses `std::fs` alone; what differs
//! between systems, file locks and permissions, stands in its own file.

pub mod course;
mod error;
pub mod header;
pub mod journal;
mod line;
mod read;
pub mod shelf;
#[cfg_attr(not(target_family = "wasm"), path = "system_native.rs")]
#[cfg_attr(target_family = "wasm", path = "system_wasi.rs")]
mod system;
#[cfg(test)]
mod tests;

pub use course::Course;
pub use error::JournalError;
pub use header::{Header, Liveness, Options};
pub use journal::Journal;
pub use read::{Claim, Found, Writer, claim, list, sweep};
pub use shelf::{Shelves, is_marked};

/// The folder of journals, in the cache.
pub const FOLDER: &str = "runs";
