//! Runs a document: order, deadlines, cancellation, lock file, events.
//!
//! May not speak a protocol: that is what steps call domain modules for.

pub mod cancel;
pub mod grants;
pub mod image;
pub mod lock;
pub mod plan;
pub mod run;
pub mod selection;
pub mod task;
pub mod world;

pub use cancel::{Cancel, Urgency};
pub use selection::Selection;
