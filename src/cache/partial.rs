//! A blob that is still arriving: its bytes in any order, from several connections, across processes.
//!
//! `partial/HEX.data` has the bytes at their offsets, with holes. `partial/HEX.map` says which are
//! there: one record for each write, appended after it, so that a killed process loses what it was
//! just writing and nothing else. `partial/HEX.lock` belongs to the process that fetches.
//!
//! The digest needs the bytes in order. What arrives at the *frontier* is hashed while it is in the
//! CPU's cache, by the task that brought it; what arrives ahead is kept in memory within a bound
//! that all blobs share, or read back out of the page cache when the frontier gets there. What an
//! earlier process left is read once, in the same way.
//!
//! Under a launcher the bytes need not come in here at all: it writes them, in place of their way through a component,
//! and hashes them. The map stays ours, and so does what becomes of the whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::error::{Error, ErrorKind};
use super::hashing::Hashing;
use super::interval::Intervals;
use super::layout::{Cache, metadata};
use super::lock::{Attempt, Lock};
use super::part_files::{Files, record, remove, slice};
use super::sink::Sink;
use super::writer::{self, Disk};
use crate::oci::{Descriptor, Digest};

/// How an attempt to fetch a blob begins.
pub(crate) enum Claim {
    /// Another process fetches it, and has this many bytes.
    Busy { received: u64 },
    /// It is ours to fetch.
    Ours(Partial),
    /// It is whole in the cache.
    Present,
}

/// A blob that this process fetches; clones share it. Dropping the last one lets others go on.
#[derive(Clone)]
pub(crate) struct Partial(Arc<Inner>);

struct Inner {
    cache: Cache,
    digest: Digest,
    size: u64,
    files: Files,
    /// None for a blob that is so small that to fetch it anew costs less than a file.
    map: Option<File>,
    state: Mutex<State>,
    lock: Mutex<Lock>,
    /// The lock has gone to another process.
    lost: AtomicBool,
}

struct State {
    written: Intervals,
    /// Up to here everything is hashed.
    frontier: u64,
    /// Who writes and hashes in place of this process.
    sink: Option<Arc<Sink>>,
    /// Gone while somebody hashes, and for good when it is finished.
    hasher: Option<Hashing>,
    /// Bytes ahead of the frontier, by their offsets.
    held: BTreeMap<u64, Bytes>,
    /// What somebody is writing at this moment, so that nobody writes over what is hashed from memory.
    writing: Intervals,
}

impl Cache {
    /// Begins to fetch a blob, or goes on with what an earlier process left of it.
    pub(crate) fn claim(&self, blob: &Descriptor) -> Result<Claim, Error> {
        if self.has(blob)? {
            return Ok(Claim::Present);
        }
        let files = Files::of(self, &blob.digest);
        let lock = match Lock::attempt(&files.lock)? {
            Attempt::Taken(lock) => lock,
            Attempt::Held => {
                let received = files.read_map(blob.size).map_or(0, |map| map.total());
                return Ok(Claim::Busy { received });
            }
        };
        // It may have been finished between the look and the lock.
        if self.has(blob)? {
            return Ok(Claim::Present);
        }
        Partial::open(self, blob, files, lock).map(Claim::Ours)
    }
}

impl Partial {
    fn open(cache: &Cache, blob: &Descriptor, files: Files, lock: Lock) -> Result<Self, Error> {
        let mapped = blob.size > UNMAPPED;
        let found = metadata(&files.data)?;
        let length = found.filter(fs::Metadata::is_file).map(|found| found.len());
        let mut written = match length {
            Some(_) if mapped => files.read_map(blob.size)?,
            _ => Intervals::default(),
        };
        written.truncate(length.unwrap_or(0));
        if written.total() == 0 {
            // Whatever stands there is nothing of ours: a link, or bytes that no map vouches for.
            remove(&files.map)?;
            remove(&files.data)?;
            File::create_new(&files.data).map_err(|error| Error::io("make", &files.data, error))?;
        } else {
            // As few records as there are ranges: a map of many runs would grow. What a crash of the
            // machine takes of it has to come again, and of the data it vouches for the hash decides.
            let records: Vec<u8> = written.iter().flat_map(|range| record(&range)).collect();
            cache.replace_with(&files.map, &records, Disk::Later)?;
        }
        let map = mapped.then(|| {
            let open = File::options().append(true).create(true).open(&files.map);
            open.map_err(|error| Error::io("open", &files.map, error))
        });
        let sink = Sink::open(&files.data, blob.size, written.iter(), cache.disk());
        Ok(Self(Arc::new(Inner {
            cache: cache.clone(),
            digest: blob.digest,
            size: blob.size,
            files,
            map: map.transpose()?,
            state: Mutex::new(State {
                written,
                frontier: 0,
                sink: sink.map(Arc::new),
                hasher: Some(Hashing::new()),
                held: BTreeMap::new(),
                writing: Intervals::default(),
            }),
            lock: Mutex::new(lock),
            lost: AtomicBool::new(false),
        })))
    }

    /// Returns how many bytes are there.
    pub(crate) fn received(&self) -> u64 {
        self.0.state().written.total()
    }

    /// Returns what of a range is not there.
    pub(crate) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        self.0.state().written.missing(range)
    }

    /// Shows other processes that this one lives; due every two seconds.
    ///
    /// A process that was stopped for long may have been taken for dead. Then the file is another's,
    /// and this partial neither writes nor seals any more.
    pub(crate) fn beat(&self) {
        let mut lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !lock.beat() {
            self.0.lost.store(true, Ordering::Relaxed);
            // Nor does anybody else for us.
            self.0.state().sink = None;
        }
    }

    /// Opens a way to write.
    pub(crate) fn writer(&self) -> Result<PartWriter, Error> {
        let path = &self.0.files.data;
        let file = match self.0.sink() {
            Some(_) => None,
            None => {
                let file = File::options().write(true).open(path);
                Some(file.map_err(|error| Error::io("open", path, error))?)
            }
        };
        Ok(PartWriter {
            partial: self.clone(),
            file,
            at: 0,
        })
    }

    /// Returns what names the file in a request whose answer may be written into it by somebody else.
    pub(crate) fn ticket(&self) -> Option<String> {
        self.0.sink().map(|sink| sink.ticket())
    }

    /// Checks the digest of the whole, and gives the blob its name.
    pub(crate) async fn seal(&self) -> Result<(), Error> {
        self.beat();
        self.0.refuse_lost()?;
        let inner = &self.0;
        let expected = inner.digest;
        let incomplete = |found| ErrorKind::SizeMismatch {
            digest: expected,
            expected: inner.size,
            found,
        };
        let found = match inner.sink() {
            // Somebody else has written, and hashes.
            Some(sink) => {
                if self.received() != inner.size {
                    return Err(incomplete(self.received()).into());
                }
                let found = sink.digest().await;
                found.map_err(|error| Error::io("write", &inner.files.data, error))?
            }
            None => {
                while inner.hash(MOST_AT_ONCE)? {
                    tokio::task::yield_now().await;
                }
                let (received, hashing) = {
                    let mut state = inner.state();
                    (state.frontier, state.hasher.take())
                };
                let hashing = hashing.filter(|_| received == inner.size);
                hashing.ok_or_else(|| incomplete(received))?.hasher.finish()
            }
        };
        if found != expected {
            return Err(ErrorKind::DigestMismatch { expected, found }.into());
        }
        inner.commit()
    }

    /// Forgets every byte, to begin anew.
    pub(crate) fn restart(&self) -> Result<(), Error> {
        let files = &self.0.files;
        let mut state = self.0.state();
        if let Some(map) = &self.0.map {
            map.set_len(0)
                .map_err(|error| Error::io("write", &files.map, error))?;
        }
        self.0.let_go(std::mem::take(&mut state.held));
        state.written = Intervals::default();
        state.frontier = 0;
        state.hasher = Some(Hashing::new());
        // What still writes into the old one has no way to any more.
        state.sink = None;
        let nothing = Intervals::default();
        let sink = Sink::open(
            &files.data,
            self.0.size,
            nothing.iter(),
            self.0.cache.disk(),
        );
        state.sink = sink.map(Arc::new);
        Ok(())
    }

    /// Removes what there is, and lets others begin anew.
    pub(crate) fn discard(&self) {
        if !self.0.lost.load(Ordering::Relaxed) {
            self.0.files.remove();
        }
    }
}

/// Writes bytes of a blob at their offsets; each connection has its own.
pub(crate) struct PartWriter {
    partial: Partial,
    /// Nothing where somebody else writes.
    file: Option<File>,
    /// Where the file's own position is.
    at: u64,
}

impl PartWriter {
    /// Writes bytes, but those that are there already; returns how many were new.
    pub(crate) fn write(&mut self, offset: u64, bytes: &Bytes) -> Result<u64, Error> {
        let partial = self.partial.clone();
        let inner = &partial.0;
        inner.refuse_lost()?;
        if let Some(sink) = inner.sink() {
            let written = sink.write(offset, bytes);
            written.map_err(|error| Error::io("write", &inner.files.data, error))?;
            return self.placed(offset, bytes.len() as u64);
        }
        let range = offset..offset + bytes.len() as u64;
        let missing = inner.state().begin(&range);
        let put = missing
            .iter()
            .try_for_each(|part| self.put(part, &slice(bytes, offset, part)));
        let mut new = 0;
        {
            let mut state = inner.state();
            for part in missing {
                state.writing.remove(&part);
                if put.is_ok() {
                    new += state.written.insert(part.clone());
                    inner.hold(&mut state, &part, slice(bytes, offset, &part));
                }
            }
        }
        put?;
        // Twice what came: so those who bring bytes also catch up with what waits.
        inner.hash(bytes.len().saturating_mul(2))?;
        Ok(new)
    }

    /// Takes notice of bytes that somebody else has written; returns how many were new.
    pub(crate) fn placed(&mut self, offset: u64, size: u64) -> Result<u64, Error> {
        let inner = &self.partial.0;
        inner.refuse_lost()?;
        let range = offset..offset.saturating_add(size).min(inner.size);
        let missing = inner.state().written.missing(range);
        let mut new = 0;
        for part in missing {
            inner.note(&part)?;
            new += inner.state().written.insert(part);
        }
        Ok(new)
    }

    fn put(&mut self, part: &Range<u64>, bytes: &[u8]) -> Result<(), Error> {
        let inner = &self.partial.0;
        let failed = |error| Error::io("write", &inner.files.data, error);
        let Some(file) = &mut self.file else {
            return Err(failed(io::ErrorKind::Unsupported.into()));
        };
        if self.at != part.start {
            self.at = file.seek(SeekFrom::Start(part.start)).map_err(failed)?;
        }
        file.write_all(bytes).map_err(|error| {
            self.at = u64::MAX;
            failed(error)
        })?;
        self.at = part.end;
        // After the bytes, so that the map never promises what is not there.
        inner.note(part)
    }
}

impl State {
    /// Takes what of a range is neither there nor in somebody's hands.
    fn begin(&mut self, range: &Range<u64>) -> Vec<Range<u64>> {
        let missing: Vec<_> = (self.written.missing(range.clone()).into_iter())
            .flat_map(|part| self.writing.missing(part))
            .collect();
        for part in &missing {
            self.writing.insert(part.clone());
        }
        missing
    }
}

/// The most bytes that wait in memory for the frontier, of all blobs together.
const HELD: usize = 16 * 1024 * 1024;
/// Blobs up to this size have no map, in bytes.
const UNMAPPED: u64 = 64 * 1024;
const MOST_AT_ONCE: usize = 4 * 1024 * 1024;

impl Inner {
    fn refuse_lost(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            let path = self.files.lock.clone();
            return Err(ErrorKind::LockLost { path }.into());
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sink(&self) -> Option<Arc<Sink>> {
        self.state().sink.clone()
    }

    /// Says in the map that bytes are there.
    fn note(&self, range: &Range<u64>) -> Result<(), Error> {
        match self.map.as_ref() {
            Some(mut map) => map
                .write_all(&record(range))
                .map_err(|error| Error::io("write", &self.files.map, error)),
            None => Ok(()),
        }
    }

    /// Keeps bytes for the frontier, if there is room or they are next.
    fn hold(&self, state: &mut State, range: &Range<u64>, bytes: Bytes) {
        let held = &self.cache.memory().held;
        let size = bytes.len();
        if range.start > state.frontier && held.load(Ordering::Relaxed) + size > HELD {
            return;
        }
        held.fetch_add(size, Ordering::Relaxed);
        if let Some(old) = state.held.insert(range.start, bytes) {
            held.fetch_sub(old.len(), Ordering::Relaxed);
        }
    }

    /// Forgets held bytes.
    fn let_go(&self, held: impl IntoIterator<Item = (u64, Bytes)>) {
        let size = held.into_iter().map(|(_, bytes)| bytes.len()).sum();
        self.cache.memory().held.fetch_sub(size, Ordering::Relaxed);
    }

    /// Moves the frontier by some bytes; returns whether there is more to do. Where another task is
    /// at it, that one does the work.
    fn hash(&self, most: usize) -> Result<bool, Error> {
        let mut done = 0;
        loop {
            let (mut hashing, at, end, bytes) = {
                let mut state = self.state();
                let at = state.frontier;
                let Some(end) = state.written.end_of(at) else {
                    return Ok(false);
                };
                if done >= most {
                    return Ok(true);
                }
                let Some(hashing) = state.hasher.take() else {
                    return Ok(false);
                };
                let (bytes, end) = self.next_held(&mut state, at, end);
                (hashing, at, end, bytes)
            };
            let result = match &bytes {
                Some(bytes) => {
                    hashing.hasher.update(bytes);
                    Ok(bytes.len())
                }
                None => hashing.read(&self.files, at, end),
            };
            let mut state = self.state();
            state.hasher = Some(hashing);
            let count = result?;
            state.frontier += count as u64;
            done += count;
        }
    }

    /// Takes what is held at an offset, or tells how far to read from the file.
    fn next_held(&self, state: &mut State, at: u64, end: u64) -> (Option<Bytes>, u64) {
        // Pieces that begin before the frontier were read from the file meanwhile, at least in part.
        while let Some((start, bytes)) = state.held.pop_first() {
            let stop = start + bytes.len() as u64;
            if start > at {
                state.held.insert(start, bytes);
                return (None, end.min(start));
            }
            self.let_go([(start, bytes.clone())]);
            if stop > at {
                return (Some(slice(&bytes, start, &(at..stop))), end);
            }
        }
        (None, end)
    }

    fn commit(&self) -> Result<(), Error> {
        let path = &self.files.data;
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        let (name, disk) = (self.cache.path(&self.digest), self.cache.disk());
        writer::rename(file, path, &name, disk)?;
        if self.map.is_some() {
            // What stays behind is removed when it is old.
            let _ = fs::remove_file(&self.files.map);
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (held, nothing) = {
            let mut state = self.state();
            (std::mem::take(&mut state.held), state.written.total() == 0)
        };
        self.let_go(held);
        // The lock is ours until this returns, unless it was lost.
        if nothing && !self.lost.load(Ordering::Relaxed) {
            self.files.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::part_files::{MAP, RECORD};
    use super::*;

    fn blob(bytes: &[u8]) -> Descriptor {
        Descriptor::new("x/y", Digest::of(bytes), bytes.len() as u64)
    }

    fn claim(cache: &Cache, blob: &Descriptor) -> Partial {
        match cache.claim(blob).unwrap() {
            Claim::Ours(partial) => partial,
            _ => panic!("it is not ours"),
        }
    }

    fn put(partial: &Partial, bytes: &[u8], range: Range<usize>) -> u64 {
        let part = Bytes::copy_from_slice(&bytes[range.clone()]);
        let mut writer = partial.writer().unwrap();
        writer.write(range.start as u64, &part).unwrap()
    }

    fn names(cache: &Cache) -> Vec<String> {
        let entries = fs::read_dir(cache.partial()).unwrap().flatten();
        let mut names: Vec<_> = entries
            .filter_map(|entry| Some(entry.path().extension()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn another_process_goes_on_from_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let blob = blob(&bytes);
        let first = Cache::open(folder.path()).unwrap();
        let partial = claim(&first, &blob);
        assert_eq!(put(&partial, &bytes, 50_000..70_000), 20_000);
        assert_eq!(put(&partial, &bytes, 0..10_000), 10_000);
        let second = Cache::open(folder.path()).unwrap();
        assert!(matches!(
            second.claim(&blob).unwrap(),
            Claim::Busy { received: 30_000 }
        ));
        drop(partial);
        // A record that was cut off is none.
        let map = first.partial().join(format!("{}.{MAP}", blob.digest.hex()));
        let mut file = File::options().append(true).open(map).unwrap();
        file.write_all(&[1; RECORD - 3]).unwrap();
        let partial = claim(&second, &blob);
        assert_eq!(
            partial.missing(0..100_000),
            [10_000..50_000, 70_000..100_000]
        );
        assert_eq!(put(&partial, &bytes, 5_000..60_000), 40_000);
        put(&partial, &bytes, 70_000..100_000);
        partial.seal().await.unwrap();
        drop(partial);
        assert_eq!(second.verify(&blob.digest).unwrap(), blob.size);
        assert!(matches!(first.claim(&blob).unwrap(), Claim::Present));
        assert_eq!(names(&second), [""; 0]);
    }

    #[tokio::test]
    async fn what_one_is_writing_no_other_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let blob = blob(b"hello world");
        let partial = claim(&cache, &blob);
        // One has looked, and is about to write.
        let begun = partial.0.state().begin(&(0..5));
        assert_eq!(begun.first(), Some(&(0..5)));
        assert_eq!(put(&partial, b"XXXXX world", 0..11), 6);
        partial.0.state().writing.remove(&(0..5));
        assert_eq!(partial.missing(0..11).first(), Some(&(0..5)));
        assert_eq!(put(&partial, b"hello", 0..5), 5);
        partial.seal().await.unwrap();
        assert_eq!(cache.verify(&blob.digest).unwrap(), 11);
    }

    #[tokio::test]
    async fn wrong_bytes_get_no_name_and_can_be_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let blob = blob(b"hello world");
        let partial = claim(&cache, &blob);
        put(&partial, b"hallo world", 0..11);
        let error = partial.seal().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::DigestMismatch { .. }));
        partial.restart().unwrap();
        assert_eq!(partial.missing(0..11).len(), 1);
        put(&partial, b"hello world", 0..5);
        let error = partial.seal().await.unwrap_err();
        assert!(matches!(
            error.kind(),
            ErrorKind::SizeMismatch { found: 5, .. }
        ));
        partial.restart().unwrap();
        put(&partial, b"hello world", 0..11);
        partial.seal().await.unwrap();
        assert!(cache.has(&blob).unwrap());
    }

    #[test]
    fn a_map_without_its_bytes_promises_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let blob = blob(&[7; 100_000]);
        drop(claim(&cache, &blob));
        let files = Files::of(&cache, &blob.digest);
        fs::write(&files.map, record(&(0..90_000))).unwrap();
        fs::write(&files.data, [7; 30_000]).unwrap();
        assert_eq!(claim(&cache, &blob).received(), 30_000);
        fs::write(&files.map, record(&(0..100_001))).unwrap();
        assert_eq!(claim(&cache, &blob).received(), 0);
        #[cfg(unix)]
        {
            let outside = folder.path().join("outside");
            fs::write(&outside, [7; 100_000]).unwrap();
            remove(&files.data).unwrap();
            std::os::unix::fs::symlink(&outside, &files.data).unwrap();
            fs::write(&files.map, record(&(0..90_000))).unwrap();
            let partial = claim(&cache, &blob);
            assert_eq!(partial.received(), 0);
            put(&partial, &[8; 100_000], 0..100_000);
            assert_eq!(fs::read(outside).unwrap(), [7; 100_000]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_order_and_overlap_gives_the_same_digest(
            size in 60_000_usize..75_000,
            parts in prop::collection::vec((0_usize..75_000, 1_usize..30_000), 0..30),
            reopen in 0_usize..30,
        ) {
            let bytes: Vec<u8> = (0..size).map(|n| (n * 7 % 253) as u8).collect();
            let blob = blob(&bytes);
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::open(folder.path()).unwrap();
            let mut partial = claim(&cache, &blob);
            let mut received = 0;
            for (number, (start, length)) in parts.into_iter().enumerate() {
                if number == reopen {
                    drop(partial);
                    partial = claim(&cache, &blob);
                    // Of a small one nothing is known any more.
                    received = if size as u64 > UNMAPPED { received } else { 0 };
                }
                let start = start.min(size);
                received += put(&partial, &bytes, start..(start + length).min(size));
                prop_assert_eq!(partial.received(), received);
            }
            put(&partial, &bytes, 0..size);
            prop_assert_eq!(partial.received(), size as u64);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(partial.seal()).unwrap();
            prop_assert_eq!(cache.verify(&blob.digest).unwrap(), size as u64);
            prop_assert_eq!(cache.memory().held.load(Ordering::Relaxed), 0);
        }
    }
}
