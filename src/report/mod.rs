//! One event type, many renderers.
//!
//! May not ask the domain for anything: what a report shows came in an event.

pub mod event;
pub mod mask;
pub mod style;
pub mod voice;
pub mod words;


pub use event::{Detail, Emitter, Event};
pub use mask::{Mask, NoMask};
