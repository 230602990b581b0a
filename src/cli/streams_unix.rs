//! What a standard stream is connected to, where a stream is a file descriptor.

use std::fs::File;
use std::os::fd::AsFd as _;

/// Says whether standard error is a regular file.
pub fn stderr_is_file() -> bool {
    let stderr = std::io::stderr();
    let same = stderr.as_fd().try_clone_to_owned();
    same.and_then(|same| File::from(same).metadata())
        .is_ok_and(|metadata| metadata.is_file())
}
