//! One event type, many renderers.
//!
//! May not ask the domain for anything: what a report shows came in an event.

pub mod event;


pub use event::{Detail, Emitter, Event};
