//! The digest of a blob that is still arriving, which is made in order.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use super::error::Error;
use super::part_files::Files;
use crate::oci::digest::Hasher;

/// What is read back at once, in bytes.
const BUFFER: usize = 256 * 1024;

/// A digest in the making.
pub(super) struct Hashing {
    pub(super) hasher: Hasher,
    /// Reads back what is not held.
    file: Option<(File, u64)>,
    buffer: Vec<u8>,
}

impl Hashing {
    /// Starts with no bytes.
    pub(super) fn new() -> Self {
        Self {
            hasher: Hasher::new(),
            file: None,
            buffer: Vec::new(),
        }
    }

    /// Hashes bytes out of the file, some of those up to `end`.
    pub(super) fn read(&mut self, files: &Files, at: u64, end: u64) -> Result<usize, Error> {
        let failed = |error| Error::io("read", &files.data, error);
        self.buffer.resize(BUFFER, 0);
        let (file, position) = match &mut self.file {
            Some(open) => open,
            None => {
                let file = File::open(&files.data).map_err(failed)?;
                self.file.insert((file, 0))
            }
        };
        if *position != at {
            *position = file.seek(SeekFrom::Start(at)).map_err(failed)?;
        }
        let most = usize::try_from(end - at).map_or(BUFFER, |left| left.min(BUFFER));
        loop {
            match file.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => {
                    self.hasher.update(&self.buffer[..count]);
                    *position += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}
