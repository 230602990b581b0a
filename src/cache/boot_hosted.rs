//! Which boot of the machine this is, and how its disks catch up with it, by the launcher.

use std::io;
use std::path::Path;

/// Returns what is the same until the machine's memory is lost, if the launcher says so.
#[must_use]
pub fn id() -> Option<String> {
    shipgate_hosted::boot()
}

/// Waits until all that was written to the file system of a folder is on its disk.
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    let path = std::path::absolute(folder)?;
    match path.to_str() {
        Some(path) if shipgate_hosted::flush(path) => Ok(()),
        _ => Err(io::Error::other("the launcher can't flush the disk")),
    }
}
