//! What a crash of the machine may do to blobs, and how that is found out.
//!
//! A killed process loses nothing that it has written, but a machine that loses power may lose the
//! last half minute. Waiting for the disk after each blob would keep that from happening, and would be
//! most of the time of a pull. So blobs get their names without waiting, and a file named after the
//! *boot* of the machine says since when: whoever opens the cache in a later boot hashes the blobs that
//! were written since then, and removes those that did not survive.
//!
//! Where the system names no boot, every blob is waited for.

use std::fs;
use std::time::{Duration, SystemTime};

use super::boot;
use super::error::{Error, ErrorKind};
use super::layout::{Cache, metadata};
use super::writer::Disk;

impl Cache {
    /// Looks after what earlier boots may have lost, and returns whether blobs of this one need not be
    /// waited for.
    pub(super) fn guard(&self) -> bool {
        boot::id().is_some_and(|boot| self.guard_in(&boot).unwrap_or(false))
    }

    fn guard_in(&self, boot: &str) -> Result<bool, Error> {
        let folder = self.root().join(FOLDER);
        if let Err(error) = fs::create_dir(&folder)
            && !metadata(&folder)?.is_some_and(|found| found.is_dir())
        {
            return Err(Error::io("make the folder", &folder, error));
        }
        let entries =
            fs::read_dir(&folder).map_err(|error| Error::io("read the folder", &folder, error))?;
        for entry in entries.flatten() {
            if entry.file_name() != boot {
                let since = read(&fs::read_to_string(entry.path()).unwrap_or_default());
                self.check_since(since.unwrap_or(SystemTime::UNIX_EPOCH))?;
                // Where it can't be removed, the same is done again.
                let _ = fs::remove_file(entry.path());
            }
        }
        let path = folder.join(boot);
        let known = fs::read_to_string(&path).ok().and_then(|text| read(&text));
        let now = self.now()?;
        let age = known.and_then(|since| now.duration_since(since).ok());
        if age.is_some_and(|age| age < RENEWED) {
            return Ok(true);
        }
        if known.is_some() {
            // By now the disk has nearly all of it: what is older needs no second look any more.
            boot::flush(self.root()).map_err(|error| Error::io("write", self.root(), error))?;
        }
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().as_nanos().to_string();
        // File systems keep the order of names: whatever blob has its name, this one had it before. Its
        // content may be lost, and then every blob is looked at.
        self.replace_with(&path, since.as_bytes(), Disk::Later)?;
        Ok(true)
    }

    /// Hashes the blobs that were written since then, and removes those that are damaged.
    fn check_since(&self, since: SystemTime) -> Result<(), Error> {
        let since = since.checked_sub(CLOCK_STEP).unwrap_or(since);
        for (digest, _) in self.blobs()? {
            let written = metadata(&self.path(&digest))?.and_then(|found| found.modified().ok());
            if written.is_none_or(|written| written < since) {
                continue;
            }
            match self.verify(&digest) {
                Err(error) if matches!(error.kind(), ErrorKind::Damaged { .. }) => {
                    self.remove(&digest)?;
                }
                // Somebody else looks too.
                _ => {}
            }
        }
        Ok(())
    }
}

/// The folder of the files that are named after boots.
const FOLDER: &str = "boots";
/// After how long the beginning of what a crash may take is set anew: Linux leaves nothing unwritten for longer
/// than half a minute, so that this costs next to nothing then.
const RENEWED: Duration = Duration::from_secs(10 * 60);
/// File systems count time in steps of up to two seconds.
const CLOCK_STEP: Duration = Duration::from_secs(2);

/// Reads nanoseconds of the Unix clock.
fn read(text: &str) -> Option<SystemTime> {
    let nanoseconds = text.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::oci::{Descriptor, Digest};

    fn put(cache: &Cache, bytes: &[u8], age: u64) -> Digest {
        let digest = Digest::of(bytes);
        let blob = Descriptor::new("x/y", digest, bytes.len() as u64);
        cache.put_bytes(&blob, bytes).unwrap();
        let file = File::options().write(true).open(cache.path(&digest));
        let now = cache.now().unwrap();
        file.unwrap()
            .set_modified(now - Duration::from_secs(age))
            .unwrap();
        digest
    }

    fn tear(cache: &Cache, digest: &Digest) {
        let path = cache.path(digest);
        let then = fs::metadata(&path).unwrap().modified().unwrap();
        let length = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![0; usize::try_from(length).unwrap()]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(then).unwrap();
    }

    #[test]
    fn what_a_crash_tore_is_gone_at_the_next_boot_and_nothing_else_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let old = put(&cache, b"old", 3600);
        assert!(cache.guard_in("aaaa").unwrap());
        let (torn, whole) = (put(&cache, b"torn", 0), put(&cache, b"whole", 0));
        for digest in [&old, &torn] {
            tear(&cache, digest);
        }
        // The same boot: its memory has what its disk may lack.
        assert!(cache.guard_in("aaaa").unwrap());
        assert!(cache.path(&torn).exists());
        assert!(cache.guard_in("bbbb").unwrap());
        assert!(!cache.path(&torn).exists());
        assert!(cache.path(&whole).exists());
        // That one was on the disk long before, and is for `cache verify`.
        assert!(cache.path(&old).exists());
        let boots = fs::read_dir(folder.path().join(FOLDER)).unwrap();
        let names: Vec<_> = boots.flatten().map(|entry| entry.file_name()).collect();
        assert!(names.iter().any(|name| name == "bbbb"), "{names:?}");
        assert!(!names.iter().any(|name| name == "aaaa"), "{names:?}");
    }

    #[test]
    fn the_beginning_is_set_anew_when_the_disk_has_caught_up() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let path = folder.path().join(FOLDER).join("aaaa");
        fs::create_dir_all(folder.path().join(FOLDER)).unwrap();
        for text in ["1", "", "nonsense"] {
            fs::write(&path, text).unwrap();
            assert!(cache.guard_in("aaaa").unwrap());
            let since = read(&fs::read_to_string(&path).unwrap()).unwrap();
            let age = cache.now().unwrap().duration_since(since);
            assert!(age.unwrap_or_default() < RENEWED, "{text}");
        }
        let before = fs::read_to_string(&path).unwrap();
        assert!(cache.guard_in("aaaa").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }
}
