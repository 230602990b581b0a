//! What a standard stream is connected to, where a stream is a handle.

use std::fs::File;
use std::os::windows::io::AsHandle as _;

/// Says whether standard error is a file: a pipe and a console have no metadata here.
pub fn stderr_is_file() -> bool {
    let stderr = std::io::stderr();
    let same = stderr.as_handle().try_clone_to_owned();
    same.and_then(|same| File::from(same).metadata())
        .is_ok_and(|metadata| metadata.is_file())
}
