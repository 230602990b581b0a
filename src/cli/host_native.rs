//! Natively there is no host: the process has everything by itself.

use super::hosted::Brief;

/// Returns nothing.
#[must_use]
pub fn brief() -> Option<Brief> {
    None
}

/// Does nothing: the process's own exit code says everything.
pub fn report(_: u8) {}

/// Returns the machine's operating system and architecture.
#[must_use]
pub fn machine() -> (String, String) {
    use std::env::consts::{ARCH, OS};
    (OS.to_owned(), ARCH.to_owned())
}
