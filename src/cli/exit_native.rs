//! Natively the process's own exit code says everything.

/// Does nothing.
pub fn report(_: u8) {}
