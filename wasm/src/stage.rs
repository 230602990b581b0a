//! The private folder of a run: what the component reads is copied into it, what it writes into
//! single files is carried out of it.
//!
//! WASI grants folders. To grant files, the component gets a tree of its own in which the granted
//! files stand where they stand outside, and nothing else does. It has mode 0700 and goes with the run.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use shipgate::cli::hosted::{BRIEF, Brief};
use shipgate::failure::Failure;
use tempfile::TempDir;

use crate::{failure, stale};

/// The largest file that is copied, in bytes: larger ones no part of shipgate takes.
const MAX_FILE: u64 = (4 << 20) + 1;
/// The most that is carried out in one file, in bytes.
const MAX_CARRIED: u64 = 4 << 20;

/// The private folder.
pub struct Stage {
    folder: TempDir,
    carried: Vec<Carried>,
    /// Held as long as this process lives, outside of what the component sees.
    _lock: fs::File,
}

/// A single file that the component may write.
struct Carried {
    path: PathBuf,
    copy: PathBuf,
    how: Carry,
    /// Where what is carried out begins in the copy.
    from: u64,
}

/// How a file gets out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carry {
    /// What the component wrote is added to the end of the real file.
    Append,
    /// It takes the place of the real file, if there is one.
    Replace,
}

impl Stage {
    /// Makes an empty stage.
    ///
    /// # Errors
    /// There is no folder for temporary files.
    pub fn new(working_folder: &Path) -> io::Result<Self> {
        let folder = stale::make()?;
        let lock = stale::lock(folder.path())?;
        if let Some(parent) = folder.path().parent() {
            stale::sweep(parent, folder.path());
        }
        let stage = Self {
            folder,
            carried: Vec::new(),
            _lock: lock,
        };
        fs::create_dir(stage.private())?;
        fs::create_dir(stage.root())?;
        stage.place(&working_folder.join("file"))?;
        Ok(stage)
    }

    /// Returns the folder of messages between launcher and component.
    pub fn private(&self) -> PathBuf {
        self.folder.path().join("launcher")
    }

    /// Returns the tree that the component sees as `/`.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Says whether the component may write into the tree.
    pub fn is_written(&self) -> bool {
        !self.carried.is_empty()
    }

    /// Leaves the brief for the component.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn brief(&self, brief: &Brief) -> io::Result<()> {
        let bytes = serde_json::to_vec(brief)?;
        fs::write(self.private().join(BRIEF), bytes)
    }

    /// Copies a file of this machine to the same place inside. What is not there is not there
    /// inside either; a folder is an empty one.
    ///
    /// # Errors
    /// It is no regular file, or can't be read.
    pub fn copy(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| failure::file(path, error);
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        let place = self.place(path).map_err(failed)?;
        if metadata.is_dir() {
            return fs::create_dir_all(place).map_err(failed);
        }
        if !metadata.is_file() {
            return Err(failure::file(path, "it is no regular file"));
        }
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes))
            .map_err(failed)?;
        fs::write(place, bytes).map_err(failed)
    }

    /// Puts text at the place of a file, for a file that was read already.
    ///
    /// # Errors
    /// The copy can't be written.
    pub fn put(&self, path: &Path, text: &str) -> Result<(), Failure> {
        let place = self.place(path).map_err(failure::host)?;
        fs::write(place, text).map_err(failure::host)
    }

    /// Lets the component write a single file.
    ///
    /// # Errors
    /// The place can't be made.
    pub fn carry(&mut self, path: &Path, how: Carry) -> Result<(), Failure> {
        let copy = self.place(path).map_err(failure::host)?;
        let from = match how {
            Carry::Append => stand_in(path, &copy).map_err(|error| failure::file(path, error))?,
            Carry::Replace => 0,
        };
        self.carried.push(Carried {
            path: path.to_owned(),
            copy,
            how,
            from,
        });
        Ok(())
    }

    /// Carries out what the component wrote into single files, and returns what could not be.
    pub fn carry_out(&self) -> Vec<Failure> {
        self.carried
            .iter()
            .filter_map(|carried| {
                let written = written(&carried.copy, carried.from)?;
                let carried_out = written.and_then(|bytes| match carried.how {
                    Carry::Append if bytes.is_empty() => Ok(()),
                    Carry::Append => append(&carried.path, &bytes),
                    Carry::Replace => replace(&carried.path, &bytes),
                });
                let error = carried_out.err()?;
                Some(failure::carry(&carried.path, error))
            })
            .collect()
    }

    /// Returns where a path is inside, and makes the folders on the way, those that `..` leaves
    /// again among them: the component walks through them.
    fn place(&self, path: &Path) -> io::Result<PathBuf> {
        let root = self.root();
        let mut place = root.clone();
        for part in path.components() {
            match part {
                Component::Normal(name) => {
                    fs::create_dir_all(&place)?;
                    place.push(name);
                }
                Component::ParentDir => {
                    fs::create_dir_all(&place)?;
                    if place != root {
                        place.pop();
                    }
                }
                _ => {}
            }
        }
        Ok(place)
    }
}

/// Makes a copy that has the length and the last byte of a file, which is all that whoever appends to
/// it may want to know, and returns that length.
fn stand_in(path: &Path, copy: &Path) -> io::Result<u64> {
    let mut stand_in = fs::File::create(copy)?;
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() == 0 {
        return Ok(0);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    stand_in.set_len(metadata.len() - 1)?;
    stand_in.seek(SeekFrom::End(0))?;
    stand_in.write_all(&last)?;
    Ok(metadata.len())
}

/// Reads what the component left in place of a file. It may have left anything: a link is not
/// followed, and no more is read than such a file can have.
fn written(copy: &Path, from: u64) -> Option<io::Result<Vec<u8>>> {
    let metadata = match fs::symlink_metadata(copy) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error)),
    };
    if !metadata.is_file() {
        return Some(Err(io::Error::other("the component left no regular file")));
    }
    if metadata.len().saturating_sub(from) > MAX_CARRIED {
        return Some(Err(io::Error::other("the component wrote more than 4 MiB")));
    }
    let read = || {
        let mut file = fs::File::open(copy)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(MAX_CARRIED).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    Some(read())
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?;
    file.write_all(bytes)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // As any other file that the user makes, and not private as temporary files are.
    let mut file = tempfile::Builder::new()
        .prefix(".shipgate-")
        .suffix(".part")
        .make_in(folder, |path| {
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
        })?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_where_they_stand_outside() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("work");
        fs::create_dir(&folder).unwrap();
        fs::write(outside.path().join("a.pub"), "key").unwrap();
        let stage = Stage::new(&folder).unwrap();
        stage.copy(&folder.join("../a.pub")).unwrap();
        stage.copy(&folder.join("missing")).unwrap();
        stage.copy(&folder).unwrap();
        let root = stage.root();
        let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap());
        assert_eq!(
            fs::read_to_string(inside(&folder.join("../a.pub"))).unwrap(),
            "key"
        );
        assert!(!inside(&folder.join("missing")).exists());
        assert!(inside(&folder).is_dir());
        // More `..` than there are folders stay inside.
        stage.put(Path::new("/../../b"), "b").unwrap();
        assert!(root.join("b").is_file());
    }

    #[test]
    fn single_files_are_carried_out() {
        let outside = tempfile::tempdir().unwrap();
        let lock = outside.path().join("a.lock");
        let log = outside.path().join("output");
        fs::write(&log, "one\n").unwrap();
        let mut stage = Stage::new(outside.path()).unwrap();
        stage.carry(&lock, Carry::Replace).unwrap();
        stage.carry(&log, Carry::Append).unwrap();
        assert!(stage.carry_out().is_empty());
        assert!(!lock.exists());
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\n");
        fs::write(stage.place(&lock).unwrap(), "locked").unwrap();
        // The component sees how long it is and how it ends, and not what is in it.
        let copy = stage.place(&log).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), b"\0\0\0\n");
        append(&copy, b"two\n").unwrap();
        assert!(stage.carry_out().is_empty());
        assert_eq!(fs::read_to_string(&lock).unwrap(), "locked");
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_place_of_a_file_carries_nothing_out() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let lock = outside.path().join("a.lock");
        let mut stage = Stage::new(outside.path()).unwrap();
        stage.carry(&lock, Carry::Replace).unwrap();
        std::os::unix::fs::symlink(&secret, stage.place(&lock).unwrap()).unwrap();
        assert_eq!(stage.carry_out().len(), 1);
        assert!(!lock.exists());
    }

    #[test]
    fn a_flood_is_not_carried_out() {
        let outside = tempfile::tempdir().unwrap();
        let log = outside.path().join("output");
        let mut stage = Stage::new(outside.path()).unwrap();
        stage.carry(&log, Carry::Append).unwrap();
        let copy = fs::File::create(stage.place(&log).unwrap()).unwrap();
        copy.set_len(MAX_CARRIED + 1).unwrap();
        assert_eq!(stage.carry_out().len(), 1);
        assert!(!log.exists());
    }
}
