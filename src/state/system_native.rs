//! Files that only their owner reads, and locks that the kernel releases when their process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::journal::Hold;

/// Makes a new file that only its owner reads and writes.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Takes the lock of a file, which lasts as long as the file is open.
pub(super) fn hold(file: &File) -> io::Result<Hold> {
    match file.try_lock() {
        Ok(()) => Ok(Hold::Ours),
        Err(TryLockError::WouldBlock) => Ok(Hold::Theirs),
        // Some network file systems have no locks.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(Hold::Unknown)
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
