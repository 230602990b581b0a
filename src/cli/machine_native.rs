//! Where this process is: its folder and its machine.

use std::io;

use super::environment::Environment;

/// Returns the working directory.
pub fn folder() -> Option<String> {
    std::env::current_dir().ok()?.to_str().map(str::to_owned)
}

/// Goes to a folder: from here on relative paths begin there.
///
/// # Errors
/// The folder is not there, or may not be entered.
pub fn enter(folder: &str) -> io::Result<()> {
    std::env::set_current_dir(folder)
}

/// Returns what Linux calls this machine from one start to the next. Nobody can know it in advance.
pub fn boot(_: &Environment) -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
