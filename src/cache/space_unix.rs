//! Free space, as the system tells it.

use std::path::Path;

/// Returns the bytes that this user may still write where a path is.
pub(super) fn free(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}
