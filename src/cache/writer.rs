//! A blob on its way into the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::{Error, ErrorKind};
use super::layout::Cache;
use crate::oci::digest::Hasher;
use crate::oci::{Descriptor, Digest};

/// Takes the bytes of one blob in order; dropped without [`BlobWriter::commit`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    cache: Cache,
    digest: Digest,
    expected: u64,
    written: u64,
    hasher: Hasher,
    file: File,
    temporary: Temporary,
}

impl BlobWriter {
    pub(super) fn new(cache: Cache, blob: &Descriptor) -> Result<Self, Error> {
        let name = format!("{}.{}", blob.digest.hex(), unique());
        let (file, temporary) = create(&cache.partial().join(name))?;
        Ok(Self {
            cache,
            digest: blob.digest,
            expected: blob.size,
            written: 0,
            hasher: Hasher::new(),
            file,
            temporary,
        })
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// There are more than the descriptor says, or the disk does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.written += bytes.len() as u64;
        if self.written > self.expected {
            return Err(self.wrong_size());
        }
        self.file
            .write_all(bytes)
            .map_err(|error| Error::io("write", &self.temporary.path, error))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Returns how many bytes were added.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Checks size and digest, and gives the blob its name.
    ///
    /// # Errors
    ///
    /// Size or digest are not as the descriptor says, or the disk fails.
    pub fn commit(self) -> Result<(), Error> {
        if self.written != self.expected {
            return Err(self.wrong_size());
        }
        let found = self.hasher.finish();
        if found != self.digest {
            return Err(ErrorKind::DigestMismatch {
                expected: self.digest,
                found,
            }
            .into());
        }
        let (path, disk) = (self.cache.path(&self.digest), self.cache.disk());
        self.temporary.rename(self.file, &path, disk)
    }

    fn wrong_size(&self) -> Error {
        ErrorKind::SizeMismatch {
            digest: self.digest,
            expected: self.expected,
            found: self.written,
        }
        .into()
    }
}

/// A file that goes away again unless it gets its final name.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    kept: bool,
}

/// Whether a file is on the disk when it gets its name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Disk {
    /// Yes: a crash of the machine leaves the name on a whole file, or not at all.
    Awaited,
    /// Soon: a crash of the machine may leave the name on a torn one.
    Later,
}

impl Temporary {
    /// Gives the file its final name.
    pub(super) fn rename(mut self, file: File, to: &Path, disk: Disk) -> Result<(), Error> {
        rename(file, &self.path, to, disk)?;
        self.kept = true;
        Ok(())
    }
}

/// Gives a file another name, for good.
pub(super) fn rename(file: File, from: &Path, to: &Path, disk: Disk) -> Result<(), Error> {
    if disk == Disk::Awaited {
        file.sync_all()
            .map_err(|error| Error::io("write", from, error))?;
    }
    // Not every system renames what is open.
    drop(file);
    // The folder is not waited for: a name that a crash takes costs no more than what it named.
    fs::rename(from, to).map_err(|error| Error::io("rename", from, error))
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // What can't be removed now is removed when it is old.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a new file; an existing one, or a link, is never written to.
pub(super) fn create(path: &Path) -> Result<(File, Temporary), Error> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(|error: io::Error| Error::io("make", path, error))?;
    let temporary = Temporary {
        path: path.to_owned(),
        kept: false,
    };
    Ok((file, temporary))
}

/// Returns a name that no other process or thread uses.
pub(super) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut bytes = [0; 8];
    // Without randomness `create_new` still refuses a name that is taken.
    let _ = SystemRandom::new().fill(&mut bytes);
    format!(
        "{}-{}",
        hex::encode(bytes),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}
