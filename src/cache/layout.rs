//! The folder: blobs by digest (OCI image layout specification).

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::error::{Error, ErrorKind};
use super::part_files::{self, DATA, LOCK, MAP};
use super::space;
use super::writer::{self, BlobWriter, Disk};
use crate::oci::digest::Hasher;
use crate::oci::manifest::LARGEST_MANIFEST;
use crate::oci::{Descriptor, Digest, Local, Reference};

/// A content-addressed store of blobs; clones share it, and processes may.
///
/// A file under `blobs/sha256/` was whole and had its digest when it got that name.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    memory: Memory,
    /// Whether blobs get their names without waiting for the disk.
    guarded: OnceLock<bool>,
}

/// What all blobs that are arriving share.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Bytes in memory that wait for being hashed.
    pub(super) held: AtomicUsize,
}

impl Cache {
    /// Opens the cache in a folder, and makes it if there is none. One that can't be written to is
    /// opened as it is: what it holds can be used.
    ///
    /// # Errors
    ///
    /// The folder holds other things, or can't be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        match Self::make(root.clone()) {
            Err(error) if error.is_forbidden() && metadata(&root.join(MARKER))?.is_some() => {
                Self::view(root)
            }
            made => made,
        }
    }

    fn make(root: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&root).map_err(|error| Error::io("make the folder", &root, error))?;
        check_kind(&root)?;
        for folder in [
            root.join("blobs"),
            root.join("blobs/sha256"),
            root.join(PARTIAL),
        ] {
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("make the folder", &folder, error));
                }
                _ => {}
            }
            // A link could lead the blobs of a shared cache anywhere.
            let metadata = metadata(&folder)?;
            if !metadata.is_some_and(|metadata| metadata.is_dir()) {
                return Err(not_a_cache(
                    &root,
                    format!("{} is no folder", folder.display()),
                ));
            }
        }
        let cache = Self(Arc::new(Inner {
            root,
            memory: Memory::default(),
            guarded: OnceLock::new(),
        }));
        let marker = cache.root().join(MARKER);
        if metadata(&marker)?.is_none() {
            cache.replace(&marker, MARKER_CONTENT)?;
        }
        cache.forget_old_partials();
        let _ = cache.0.guarded.set(cache.guard());
        Ok(cache)
    }

    /// Looks at the cache in a folder without making or changing anything; where there is none, it
    /// is empty.
    ///
    /// # Errors
    ///
    /// The folder holds other things, or can't be read.
    pub fn view(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let root = root.into();
        if metadata(&root)?.is_some() {
            check_kind(&root)?;
        }
        Ok(Self(Arc::new(Inner {
            root,
            memory: Memory::default(),
            guarded: OnceLock::new(),
        })))
    }

    /// Returns the bytes that may still be written to where the cache is, if the system tells.
    #[must_use]
    pub fn free_space(&self) -> Option<u64> {
        space::free_space(self.root())
    }

    /// Returns the folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Returns the path that a blob has, whether or not it is there.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.root().join("blobs/sha256").join(digest.hex())
    }

    /// Returns whether a blob of the right size is there. Its bytes were checked when they came,
    /// and are checked again by [`Cache::verify`].
    ///
    /// # Errors
    ///
    /// The disk can't be read. A file of the wrong size counts as missing.
    pub fn has(&self, blob: &Descriptor) -> Result<bool, Error> {
        let metadata = metadata(&self.path(&blob.digest))?;
        Ok(metadata.is_some_and(|metadata| metadata.is_file() && metadata.len() == blob.size))
    }

    /// Returns a writer for a blob. Nothing of it is in the cache before it is committed.
    ///
    /// # Errors
    ///
    /// The file can't be made.
    pub fn writer(&self, blob: &Descriptor) -> Result<BlobWriter, Error> {
        BlobWriter::new(self.clone(), blob)
    }

    /// Stores bytes that are in memory, unless they are there.
    ///
    /// # Errors
    ///
    /// The bytes are not what the descriptor says, or can't be written.
    pub fn put_bytes(&self, blob: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        if self.has(blob)? {
            return Ok(());
        }
        let mut writer = self.writer(blob)?;
        writer.write(bytes)?;
        writer.commit()
    }

    /// Reads a blob whole, and checks its digest.
    ///
    /// # Errors
    ///
    /// It is missing, damaged, or larger than `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let (file, size) = self.open_blob(digest)?;
        let path = self.path(digest);
        if size > limit {
            return Err(ErrorKind::SizeMismatch {
                digest: *digest,
                expected: limit,
                found: size,
            }
            .into());
        }
        let mut bytes = Vec::new();
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read", &path, error))?;
        check(&path, digest, Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// Opens a blob for reading, and returns its size. Its bytes are not checked.
    ///
    /// # Errors
    ///
    /// It is missing, or no file.
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), Error> {
        let path = self.path(digest);
        match metadata(&path)? {
            Some(metadata) if metadata.is_file() => {
                let file = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
                Ok((file, metadata.len()))
            }
            _ => Err(ErrorKind::Missing { digest: *digest }.into()),
        }
    }

    /// Hashes a blob on disk, and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// It is missing or damaged.
    pub fn verify(&self, digest: &Digest) -> Result<u64, Error> {
        let (mut file, _) = self.open_blob(digest)?;
        let path = self.path(digest);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut size = 0;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::io("read", &path, error)),
            };
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
        check(&path, digest, hasher.finish(), size)?;
        Ok(size)
    }

    /// Removes a blob; returns whether it was there.
    ///
    /// # Errors
    ///
    /// The file can't be removed.
    pub fn remove(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", &path, error)),
        }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.root().join(PARTIAL)
    }

    /// Replaces a file as a whole: a reader sees the old or the new one, also after a crash.
    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> Result<(), Error> {
        self.replace_with(path, content, Disk::Awaited)
    }

    /// Replaces a file as a whole: a reader sees the old or the new one.
    pub(super) fn replace_with(
        &self,
        path: &Path,
        content: &[u8],
        disk: Disk,
    ) -> Result<(), Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.partial().join(format!("{name}.{}", writer::unique()));
        let (mut file, guard) = writer::create(&temporary)?;
        io::Write::write_all(&mut file, content)
            .map_err(|error| Error::io("write", &temporary, error))?;
        guard.rename(file, path, disk)
    }

    /// Returns how blobs get their names.
    pub(super) fn disk(&self) -> Disk {
        match self.0.guarded.get() {
            Some(true) => Disk::Later,
            _ => Disk::Awaited,
        }
    }

    /// Removes what processes left that were killed long ago.
    ///
    /// The file system's own clock tells the age, by a file that was just written.
    fn forget_old_partials(&self) {
        let probe = self.partial().join(format!("clock.{}", writer::unique()));
        let Ok((file, _guard)) = writer::create(&probe) else {
            return;
        };
        let Ok(now) = file.metadata().and_then(|metadata| metadata.modified()) else {
            return;
        };
        let Ok(entries) = fs::read_dir(self.partial()) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if self.is_of_a_whole_blob(&path) {
                part_files::forget(&path);
                continue;
            }
            let kept = path
                .extension()
                .is_some_and(|end| end == DATA || end == MAP);
            let limit = if kept { OLD_DATA } else { OLD_PARTIAL };
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .ok()
                .and_then(|then| now.duration_since(then).ok())
                .is_some_and(|age| age.as_secs() > limit);
            if old {
                // Somebody else may have removed it; what stays does no harm but take space.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// Says whether a file is a map or a lock of a blob that has its name already: whoever fetched it was
    /// killed in between.
    fn is_of_a_whole_blob(&self, path: &Path) -> bool {
        path.extension()
            .is_some_and(|end| end == MAP || end == LOCK)
            && !path.with_extension(DATA).exists()
            && path
                .file_stem()
                .is_some_and(|hex| self.root().join("blobs/sha256").join(hex).exists())
    }
}

impl Local for Cache {
    /// Reads what is whole; what is damaged or too large to be a manifest or a config is not here.
    fn bytes(&self, digest: &Digest) -> Option<Bytes> {
        self.read(digest, LARGEST_MANIFEST).ok().map(Bytes::from)
    }

    fn last(&self, reference: &Reference) -> Option<Digest> {
        let reference = reference.to_string();
        let entries = self.list().ok()?;
        let entry = entries.iter().rev().find(|it| it.reference == reference)?;
        Some(entry.digest)
    }
}

const MARKER: &str = "oci-layout";
const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const PARTIAL: &str = "partial";
/// An hour: longer than any transfer that still goes on leaves its file alone, in seconds.
const OLD_PARTIAL: u64 = 60 * 60;
/// A week: what a later run can go on with is kept for longer, in seconds.
const OLD_DATA: u64 = 7 * 24 * 60 * 60;

/// Refuses a folder that holds anything but a layout of version 1.
fn check_kind(root: &Path) -> Result<(), Error> {
    let marker = root.join(MARKER);
    if metadata(&marker)?.is_some() {
        let mut text = String::new();
        File::open(&marker)
            .and_then(|file| file.take(64 * 1024).read_to_string(&mut text))
            .map_err(|error| Error::io("read", &marker, error))?;
        let version = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| value["imageLayoutVersion"].as_str().map(str::to_owned));
        return match version {
            Some(version) if version.starts_with("1.") => Ok(()),
            Some(version) => Err(not_a_cache(
                root,
                format!("it has the layout version {version}"),
            )),
            None => Err(not_a_cache(
                root,
                format!("{} is not readable", marker.display()),
            )),
        };
    }
    // Ours may have been killed before the marker was written.
    let ours = ["blobs", PARTIAL, crate::state::shelf::MARK];
    let entries = fs::read_dir(root).map_err(|error| Error::io("read the folder", root, error))?;
    let stranger = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .find(|name| !ours.contains(&name.as_str()));
    match stranger {
        None => Ok(()),
        Some(name) => Err(not_a_cache(
            root,
            format!("it holds `{name}` and no oci-layout"),
        )),
    }
}

/// Returns what is at a path without following a link there, or nothing.
pub(super) fn metadata(path: &Path) -> Result<Option<Metadata>, Error> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path, error)),
    }
}

fn check(path: &Path, expected: &Digest, found: Digest, size: u64) -> Result<(), Error> {
    if found == *expected {
        return Ok(());
    }
    Err(ErrorKind::Damaged {
        path: path.to_owned(),
        expected: *expected,
        found,
        size,
    }
    .into())
}

fn not_a_cache(root: &Path, reason: String) -> Error {
    ErrorKind::NotACache {
        path: root.to_owned(),
        reason,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bytes: &[u8]) -> Descriptor {
        Descriptor::new("x/y", Digest::of(bytes), bytes.len() as u64)
    }

    fn names(folder: PathBuf) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn what_is_put_is_read_and_verified() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("a/b")).unwrap();
        let hello = blob(b"hello");
        assert!(!cache.has(&hello).unwrap());
        assert!(matches!(
            cache.read(&hello.digest, 9).unwrap_err().kind(),
            ErrorKind::Missing { .. }
        ));
        cache.put_bytes(&hello, b"hello").unwrap();
        cache.put_bytes(&hello, b"hello").unwrap();
        assert!(cache.has(&hello).unwrap());
        assert_eq!(cache.read(&hello.digest, 5).unwrap(), b"hello");
        assert!(cache.read(&hello.digest, 4).is_err());
        assert_eq!(cache.verify(&hello.digest).unwrap(), 5);
        assert_eq!(names(cache.partial()), [""; 0]);
        // A second opening finds the same cache.
        assert!(Cache::open(cache.root()).unwrap().has(&hello).unwrap());
        assert!(cache.remove(&hello.digest).unwrap());
        assert!(!cache.remove(&hello.digest).unwrap());
    }

    #[test]
    fn wrong_bytes_never_get_in() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let hello = blob(b"hello");
        for (bytes, digest_is_wrong) in
            [(&b"hallo"[..], true), (b"hell", false), (b"hello!", false)]
        {
            let error = cache.put_bytes(&hello, bytes).unwrap_err();
            assert_eq!(
                matches!(error.kind(), ErrorKind::DigestMismatch { .. }),
                digest_is_wrong,
                "{error}"
            );
            assert!(!cache.has(&hello).unwrap());
        }
        assert_eq!(names(cache.partial()), [""; 0]);
    }

    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let hello = blob(b"hello");
        cache.put_bytes(&hello, b"hello").unwrap();
        let path = cache.path(&hello.digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"hallo").unwrap();
        let error = cache.verify(&hello.digest).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Damaged { size: 5, .. }),
            "{error}"
        );
        assert!(cache.read(&hello.digest, 5).is_err());
        // Truncation is seen without hashing.
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"hel").unwrap();
        assert!(!cache.has(&hello).unwrap());
    }

    #[test]
    fn strange_folders_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "x").unwrap();
        let error = Cache::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("thesis.txt"), "{error}");
        assert_eq!(names(folder.path().to_owned()), ["thesis.txt"]);

        let other = tempfile::tempdir().unwrap();
        fs::write(
            other.path().join(MARKER),
            r#"{"imageLayoutVersion":"2.0.0"}"#,
        )
        .unwrap();
        assert!(
            Cache::open(other.path())
                .unwrap_err()
                .to_string()
                .contains("2.0.0")
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let hello = blob(b"hello");
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("target");
        fs::write(&target, b"hello").unwrap();
        std::os::unix::fs::symlink(&target, cache.path(&hello.digest)).unwrap();
        assert!(!cache.has(&hello).unwrap());
        assert!(cache.read(&hello.digest, 9).is_err());
        // A blob that comes takes the link's place, not its target's.
        cache.put_bytes(&hello, b"hello").unwrap();
        assert!(
            fs::symlink_metadata(cache.path(&hello.digest))
                .unwrap()
                .is_file()
        );

        let second = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), second.path().join("blobs")).unwrap();
        assert!(Cache::open(second.path()).is_err());
    }

    #[test]
    fn old_partials_go_and_new_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let old = cache.partial().join("old");
        let new = cache.partial().join("new");
        for path in [&old, &new] {
            fs::write(path, "x").unwrap();
        }
        let file = File::options().write(true).open(&old).unwrap();
        let then = file.metadata().unwrap().modified().unwrap()
            - std::time::Duration::from_secs(2 * OLD_PARTIAL);
        file.set_modified(then).unwrap();
        Cache::open(folder.path()).unwrap();
        assert_eq!(names(cache.partial()), ["new"]);
    }
}
