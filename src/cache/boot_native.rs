//! Which boot of the machine this is, and how its disks catch up with it, by the operating system.

use std::fs::File;
use std::io;

/// Returns what is the same until the machine's memory is lost, if the system says so.
#[must_use]
pub(super) fn id() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (!id.is_empty() && id.len() <= 64 && id.bytes().all(plain)).then(|| id.to_owned())
}

/// Waits until all that was written to the file system of a folder is on its disk.
#[cfg(target_os = "linux")]
pub(super) fn flush(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// Does nothing well: without a boot's id nothing has been put off.
#[cfg(not(target_os = "linux"))]
pub(super) fn flush(folder: &File) -> io::Result<()> {
    folder.sync_all()
}
