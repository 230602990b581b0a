//! A component sees folders under names of its own, and nothing of the machine.

use std::io;

/// Returns nothing: what folders are called here says nothing elsewhere.
pub fn folder() -> Option<String> {
    None
}

/// Stays where it is: the host decides which folders there are.
///
/// # Errors
/// None here; the signature is that of the other platforms.
pub fn enter(_: &str) -> io::Result<()> {
    Ok(())
}

/// Returns nothing.
pub fn boot() -> Option<String> {
    None
}
