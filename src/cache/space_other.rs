//! Free space where nobody can be asked for it: a full disk is noticed when it is full.

use std::path::Path;

pub(super) fn free(_path: &Path) -> Option<u64> {
    None
}
