//! A component sees nothing of the machine but what its launcher tells it.

use std::io;

use super::environment::Environment;
use super::host;

/// Returns the working directory by its name outside. Under another runtime there is nothing: what
/// folders are called inside says nothing elsewhere.
pub fn folder() -> Option<String> {
    host::read()?.working_folder
}

/// Stays where it is: the host decides which folders there are.
///
/// # Errors
/// None here; the signature is that of the other platforms.
pub fn enter(_: &str) -> io::Result<()> {
    Ok(())
}

/// Returns what the launcher calls this machine from one start to the next.
pub fn boot(_: &Environment) -> Option<String> {
    host::read()?.boot
}
