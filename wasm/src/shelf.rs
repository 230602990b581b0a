//! A folder of things that are kept between runs: each written whole or not at all, the ones used last kept.
//!
//! A thing has one file or several, whose names begin with the thing's and a dot; what belongs together goes
//! together. Other launchers may use the same folder at the same time: what is gone was removed by one of them.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::compiled::private_folder;

/// How many things are kept, those that were used last.
pub const KEPT: usize = 4;
/// What a launcher that was killed left half-written ends like this.
const PART: &str = ".part";
/// No launcher writes one file for so long.
const LONGEST_WRITE: Duration = Duration::from_secs(3600);

/// A private folder of things.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    /// Opens one, and makes the folder if it is not there.
    ///
    /// # Errors
    /// It can't be made, or others could look into it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        private_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Returns where a file of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a file of these parts, whole or not at all, and removes the things that were not used for longest.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .suffix(PART)
            .tempfile_in(&self.folder)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.persist(self.path(name)).map_err(|error| error.error)?;
        self.prune(name, now());
        Ok(())
    }

    /// Marks the thing of this file as used. Where that can't be done it may go sooner than others.
    pub fn touch(&self, name: &str) {
        let file = fs::File::options().append(true).open(self.path(name));
        let _ = file.and_then(|file| file.set_modified(now()));
    }

    /// Removes what is not kept. What can't be removed now is tried again at the next write.
    fn prune(&self, written: &str, now: SystemTime) {
        let mut things: HashMap<String, (SystemTime, Vec<PathBuf>)> = HashMap::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            // Another launcher has removed it meanwhile.
            let Ok(modified) = entry.metadata().and_then(|data| data.modified()) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(PART) {
                let age = now.duration_since(modified).unwrap_or_default();
                if age > LONGEST_WRITE {
                    let _ = fs::remove_file(entry.path());
                }
                continue;
            }
            let thing = things.entry(thing(&name).to_owned());
            let (used, files) = thing.or_insert((modified, Vec::new()));
            *used = modified.max(*used);
            files.push(entry.path());
        }
        // However coarse the times of files are, the one at hand stays.
        things.remove(thing(written));
        let mut things: Vec<_> = things.into_values().collect();
        things.sort_by(|one, other| other.cmp(one));
        for (_, files) in things.into_iter().skip(KEPT - 1) {
            for file in files {
                let _ = fs::remove_file(file);
            }
        }
    }
}

/// Returns which thing a file belongs to.
fn thing(name: &str) -> &str {
    name.split_once('.').map_or(name, |(thing, _)| thing)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the times of files are the wall clock's"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(&folder.path().join("shelf")).unwrap();
        (folder, shelf)
    }

    fn names(shelf: &Shelf) -> Vec<String> {
        let entries = fs::read_dir(&shelf.folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Makes a file this many seconds older than it is.
    fn age(shelf: &Shelf, name: &str, seconds: u64) {
        let file = fs::File::options().append(true).open(shelf.path(name));
        let then = now() - Duration::from_secs(seconds);
        file.unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn what_was_used_last_is_kept() {
        let (_folder, shelf) = shelf();
        for (name, seconds) in [("a.x", 60), ("b.x", 50), ("c.x", 40), ("d.x", 30)] {
            shelf.write(name, &[b""]).unwrap();
            age(&shelf, name, seconds);
        }
        shelf.touch("a.x");
        shelf.write("e.x", &[b"whole, ", b"in parts"]).unwrap();
        assert_eq!(names(&shelf), ["a.x", "c.x", "d.x", "e.x"]);
        let content = fs::read_to_string(shelf.path("e.x")).unwrap();
        assert_eq!(content, "whole, in parts");
    }

    #[test]
    fn what_belongs_together_goes_together() {
        let (_folder, shelf) = shelf();
        for (name, seconds) in [("a.json", 90), ("a.wasm", 91), ("a.b.signatures", 10)] {
            shelf.write(name, &[b""]).unwrap();
            age(&shelf, name, seconds);
        }
        for name in ["b.json", "c.json", "d.json"] {
            shelf.write(name, &[b""]).unwrap();
            age(&shelf, name, 60);
        }
        // One file of it was used last, so all of it is kept.
        age(&shelf, "c.json", 70);
        shelf.write("e.json", &[b""]).unwrap();
        let kept = [
            "a.b.signatures",
            "a.json",
            "a.wasm",
            "b.json",
            "d.json",
            "e.json",
        ];
        assert_eq!(names(&shelf), kept);
        for name in ["a.json", "a.wasm", "a.b.signatures"] {
            age(&shelf, name, 100);
        }
        shelf.write("f.json", &[b""]).unwrap();
        assert_eq!(names(&shelf), ["b.json", "d.json", "e.json", "f.json"]);
    }

    #[test]
    fn what_a_kill_left_half_written_goes_and_what_is_being_written_stays() {
        let (_folder, shelf) = shelf();
        for name in ["old.part", "new.part"] {
            fs::write(shelf.path(name), "half").unwrap();
        }
        age(&shelf, "old.part", 2 * LONGEST_WRITE.as_secs());
        shelf.write("a.x", &[b""]).unwrap();
        assert_eq!(names(&shelf), ["a.x", "new.part"]);
    }

    #[test]
    fn what_is_written_stays_however_old_the_times_of_files_say_it_is() {
        let (_folder, shelf) = shelf();
        for name in ["a.x", "b.x", "c.x", "d.x", "e.x"] {
            shelf.write(name, &[b""]).unwrap();
            let future = now() + Duration::from_secs(60);
            let file = fs::File::options().append(true).open(shelf.path(name));
            file.unwrap().set_modified(future).unwrap();
            assert!(names(&shelf).contains(&name.to_owned()));
        }
    }

    #[test]
    fn launchers_beside_each_other_are_not_in_each_others_way() {
        let (_folder, shelf) = shelf();
        std::thread::scope(|scope| {
            for launcher in 0..4 {
                let shelf = &shelf;
                scope.spawn(move || {
                    for number in 0..25 {
                        let name = format!("{launcher}-{number}.x");
                        shelf.write(&name, &[b"x"]).unwrap();
                    }
                });
            }
        });
        shelf.write("last.x", &[b""]).unwrap();
        assert_eq!(names(&shelf).len(), KEPT);
    }
}
