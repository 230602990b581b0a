//! One event type, many renderers.
//!
//! May not ask the domain for anything: what a report shows came in an event.

pub mod ci;
pub mod event;
pub mod fanout;
pub mod files;
pub mod finding;
pub mod github;
pub mod gitlab;
pub mod inert;
pub mod json;
pub mod live;
pub mod mask;
pub mod model;
pub mod plain;
pub mod progress;
pub mod style;
pub mod summary;
pub mod voice;
pub mod words;
pub mod write;

mod closing;
#[cfg(test)]
pub(crate) mod golden;
#[cfg(test)]
pub(crate) mod runner;

pub use event::{Detail, Emitter, Event};
pub use fanout::{Consumer, Fanout};
pub use files::write_files;
pub use finding::Finding;
pub use mask::{Mask, NoMask};
pub use model::Report;
pub use summary::Summary;
