//! Room on a disk, by the launcher.

use std::path::Path;

/// Returns how many bytes this user may still write below a granted folder, by any path in it.
#[must_use]
pub fn free_space(path: &Path) -> Option<u64> {
    shipgate_hosted::free_space(path.to_str()?)
}
