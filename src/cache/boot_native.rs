//! Which boot of the machine this is, and how its disks catch up with it, by the operating system.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::oci::Digest;

/// Returns what is the same until the machine's memory is lost, if the system says so. It is no more than that:
/// the system's own name of the boot, which other things may rest on, can't be told from it.
#[must_use]
pub fn id() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    let digest = Digest::of(format!("a cache of shipgate\n{id}").as_bytes());
    (!id.is_empty()).then(|| digest.hex()[..32].to_owned())
}

/// Waits until all that was written to the file system of a folder is on its disk.
#[cfg(target_os = "linux")]
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(folder)?)?)
}

/// Does nothing well: without a boot's id nothing has been put off.
#[cfg(not(target_os = "linux"))]
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
