//! Files that only their owner reads, and locks that the kernel releases when their process dies.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
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

/// Says whether nobody else can have written a file, by one that this process made beside it.
///
/// Modes are compared too: some file systems say of every file that all may write to it.
#[cfg(unix)]
pub(super) fn is_ours(file: &Metadata, made: Option<&Metadata>) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Some(made) = made else {
        // No file can be made on a disk that is full. Linux shows this process as its user's.
        let process = std::fs::metadata("/proc/self");
        return process.is_ok_and(|process| process.uid() == file.uid())
            && file.mode() & 0o022 == 0;
    };
    made.uid() == file.uid() && file.mode() & !made.mode() & 0o022 == 0
}

/// Says nothing: who owns a file is not asked here.
#[cfg(not(unix))]
pub(super) fn is_ours(_: &Metadata, _: Option<&Metadata>) -> bool {
    true
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
