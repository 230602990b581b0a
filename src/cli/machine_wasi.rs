//! A component sees folders under names of its own, and nothing of the machine.

use std::io;

use super::environment::Environment;

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

/// Returns what the launcher says that the machine is called: what Linux has in
/// `/proc/sys/kernel/random/boot_id`.
pub fn boot(environment: &Environment) -> Option<String> {
    environment.filled("SHIPGATE_BOOT")
}
