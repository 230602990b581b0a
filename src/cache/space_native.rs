//! Room on a disk, by the operating system.

use std::path::Path;

/// Returns how many bytes this user may still write on the disk of a folder or file, if the system says so.
#[cfg(unix)]
#[must_use]
pub fn free_space(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Returns nothing: this system is not asked.
#[cfg(not(unix))]
#[must_use]
pub fn free_space(_: &Path) -> Option<u64> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_and_nothing_has_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_space(folder.path()).unwrap() > 0);
        assert_eq!(free_space(&folder.path().join("missing")), None);
    }
}
