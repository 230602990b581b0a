//! There is no terminal to draw on in the sandbox: the host sees lines.

use std::sync::Arc;
use std::time::Duration;

use crate::report::plain::Verbosity;
use crate::report::style::Style;
use crate::report::voice::Voice;
use crate::report::{Event, Mask};

/// A renderer that can't exist here.
#[derive(Debug)]
pub enum LiveRenderer {}

impl LiveRenderer {
    /// Returns nothing: plain lines are the way to go.
    #[must_use]
    pub fn on_stderr(_style: Style, _verbosity: Verbosity) -> Option<Self> {
        None
    }

    /// Replaces the mask that everything shown passes through.
    pub fn set_mask(&mut self, _mask: Arc<dyn Mask>) {
        match *self {}
    }

    /// Returns how failures and foreign text are said.
    #[must_use]
    pub fn voice(&self) -> &Voice {
        match *self {}
    }

    /// Shows an event.
    pub fn event(&mut self, _event: &Event) {
        match *self {}
    }

    /// Takes notice of an event that was shown before, by another process.
    pub fn recall(&mut self, _event: &Event) {
        match *self {}
    }

    /// Moves the bars on.
    pub fn tick(&mut self, _elapsed: Duration) {
        match *self {}
    }

    /// Prints a line above the bars.
    pub fn print(&self, _line: &str) {
        match *self {}
    }

    /// Takes the bars away while something else writes to the terminal.
    pub fn suspended<T>(&self, _write: impl FnOnce() -> T) -> T {
        match *self {}
    }

    /// Takes the bars away for good.
    pub fn finish(&mut self) {
        match *self {}
    }
}
