//! The files of a blob that is still arriving: their names, and the form of the map.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::error::Error;
use super::interval::Intervals;
use super::layout::{Cache, metadata};
use super::lock::Lock;
use crate::oci::{Descriptor, Digest};

impl Cache {
    /// Returns how many bytes of a blob an unfinished pull has left.
    pub(crate) fn received(&self, blob: &Descriptor) -> Result<u64, Error> {
        let map = Files::of(self, &blob.digest).read_map(blob.size)?;
        Ok(map.total())
    }
}

/// Where they are.
pub(super) struct Files {
    pub(super) data: PathBuf,
    pub(super) map: PathBuf,
    pub(super) lock: PathBuf,
}

impl Files {
    pub(super) fn of(cache: &Cache, digest: &Digest) -> Self {
        let path = |kind: &str| cache.partial().join(format!("{}.{kind}", digest.hex()));
        Self {
            data: path(DATA),
            map: path(MAP),
            lock: path(LOCK),
        }
    }

    /// Reads which bytes are there. A record that was cut off, or that makes no sense, counts for nothing.
    pub(super) fn read_map(&self, size: u64) -> Result<Intervals, Error> {
        let failed = |error| Error::io("read", &self.map, error);
        let mut text = Vec::new();
        match metadata(&self.map)? {
            Some(found) if found.is_file() => {
                let file = File::open(&self.map).map_err(failed)?;
                file.take(LARGEST_MAP)
                    .read_to_end(&mut text)
                    .map_err(failed)?;
            }
            _ => return Ok(Intervals::default()),
        }
        let (records, _cut) = text.as_chunks::<RECORD>();
        let range = |record: &[u8; RECORD]| {
            let (halves, _) = record.as_chunks::<8>();
            let [start, end] = [u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])];
            (start < end && end <= size).then_some(start..end)
        };
        Ok(records.iter().filter_map(range).collect())
    }

    pub(super) fn remove(&self) {
        for path in [&self.map, &self.data] {
            // What can't be removed now is removed when it is old, and is checked before use.
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a map, or a lock whose owner is dead, of a blob that is whole. What can't be removed now is removed
/// when it is old.
pub(super) fn forget(path: &Path) {
    if path.extension().is_some_and(|end| end == LOCK) {
        // Taking the lock of a dead owner and letting it go again removes the file.
        drop(Lock::attempt(path));
    } else {
        let _ = fs::remove_file(path);
    }
}

/// The suffixes of what is kept for a later process.
pub(super) const DATA: &str = "data";
pub(super) const MAP: &str = "map";
/// The suffix of a lock.
pub(super) const LOCK: &str = "lock";
/// The bytes of one record of a map.
pub(super) const RECORD: usize = 16;
/// A million writes and their kin: far more than a compacted map of one run has.
const LARGEST_MAP: u64 = 256 * 1024 * 1024;

/// Returns what is appended to the map for a range that was written.
pub(super) fn record(range: &Range<u64>) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&range.start.to_le_bytes());
    record[8..].copy_from_slice(&range.end.to_le_bytes());
    record
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Returns the part of bytes at an offset that lies in a range, which must be within them.
pub(super) fn slice(bytes: &Bytes, offset: u64, part: &Range<u64>) -> Bytes {
    let index = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
    bytes.slice(index(part.start)..index(part.end))
}
