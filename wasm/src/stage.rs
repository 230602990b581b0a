//! The private folder of a run: what the component reads is copied into it, what it writes into
//! single files is carried out of it.
//!
//! WASI grants folders. To grant files, the component gets a tree of its own in which the granted
//! files stand where they stand outside, and nothing else does. It has mode 0700 and goes with the run.
//!
//! The component may put a link wherever it may write, in the tree and in granted folders. So each folder that a
//! file is carried from or to is held from before its start.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Component, Path, PathBuf};

use shipgate::cli::hosted::{BRIEF, Brief};
use shipgate::failure::Failure;

use crate::folder::{self, Folder};
use crate::{failure, stale};

/// The largest file that is copied, in bytes: larger ones no part of shipgate takes.
const MAX_FILE: u64 = (4 << 20) + 1;
/// The most that is carried out in one file, in bytes.
const MAX_CARRIED: u64 = 4 << 20;

/// The private folder.
pub struct Stage {
    folder: PathBuf,
    /// The tree, held.
    tree: Folder,
    /// Where copies of files are.
    copies: Vec<Spot>,
    carried: Vec<Carried>,
    /// Held as long as this process lives, outside of what the component sees.
    _lock: fs::File,
    removed: bool,
}

/// A single file that the component may write.
struct Carried {
    path: PathBuf,
    /// Where it goes, if the folder is there.
    target: io::Result<Spot>,
    copy: Spot,
    how: Carry,
    /// Where what is carried out begins in the copy.
    from: u64,
}

/// A name in a folder that is held.
struct Spot(Folder, OsString);

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
        let made = stale::make()?;
        let lock = stale::lock(made.path())?;
        let root = made.path().join(ROOT);
        for folder in [
            made.path().join(LAUNCHER),
            made.path().join(COMPONENT),
            root.clone(),
        ] {
            fs::create_dir(folder)?;
        }
        let tree = Folder::at(&root)?;
        let stage = Self {
            folder: made.keep(),
            tree,
            copies: Vec::new(),
            carried: Vec::new(),
            _lock: lock,
            removed: false,
        };
        if let Some(parent) = stage.folder.parent() {
            stale::sweep(parent, &stage.folder);
        }
        stage.place(&working_folder.join("file"))?;
        Ok(stage)
    }

    /// Returns the folder of the launcher's messages, which the component may only read.
    pub fn messages(&self) -> PathBuf {
        self.folder.join(LAUNCHER)
    }

    /// Returns the folder of the component's answers.
    pub fn answers(&self) -> PathBuf {
        self.folder.join(COMPONENT)
    }

    /// Returns the tree that the component sees as `/`.
    pub fn root(&self) -> PathBuf {
        self.folder.join(ROOT)
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
        fs::write(self.messages().join(BRIEF), bytes)
    }

    /// Copies a file of this machine to the same place inside; a folder is an empty one. `real` is what the path
    /// was found to lead to: if it leads elsewhere by now, nothing is copied.
    ///
    /// # Errors
    /// It is no regular file, can't be read, or is not there any more.
    pub fn copy(&mut self, path: &Path, real: &Path) -> Result<(), Failure> {
        let failed = |error: io::Error| failure::file(path, error);
        let place = self.place(path).map_err(failed)?;
        if fs::symlink_metadata(real).map_err(failed)?.is_dir() {
            return fs::create_dir_all(place).map_err(failed);
        }
        let mut bytes = Vec::new();
        let Spot(folder, name) = Spot::of(real).map_err(failed)?;
        let file = folder.read(&name).map_err(failed)?;
        file.take(MAX_FILE)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        fs::write(&place, bytes).map_err(failed)?;
        self.copies.push(self.spot(&place).map_err(failed)?);
        Ok(())
    }

    /// Puts text at the place of a file, for a file that was read already.
    ///
    /// # Errors
    /// The copy can't be written.
    pub fn put(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        let place = self.place(path).map_err(failure::host)?;
        fs::write(&place, text).map_err(failure::host)?;
        self.copies.push(self.spot(&place).map_err(failure::host)?);
        Ok(())
    }

    /// Lets the component write a single file. `real` is what the path leads to, and what will be written.
    ///
    /// # Errors
    /// The place can't be made.
    pub fn carry(&mut self, path: &Path, real: &Path, how: Carry) -> Result<(), Failure> {
        let place = self.place(path).map_err(failure::host)?;
        let target = Spot::of(real);
        let from = match how {
            Carry::Append => stand_in(target.as_ref().ok(), &place)
                .map_err(|error| failure::file(path, error))?,
            Carry::Replace => 0,
        };
        self.carried.push(Carried {
            path: path.to_owned(),
            target,
            copy: self.spot(&place).map_err(failure::host)?,
            how,
            from,
        });
        Ok(())
    }

    /// Carries out what the component wrote into single files, and returns what could not be.
    pub fn carry_out(&self) -> Vec<Failure> {
        let carried = self.carried.iter();
        carried
            .filter_map(|carried| {
                let error = carried.carry_out().err()?;
                Some(failure::carry(&carried.path, error))
            })
            .collect()
    }

    /// Removes the private folder, the copies of files first.
    ///
    /// # Errors
    /// Something of it stays. The copies are gone, if the component has not moved them.
    pub fn remove(mut self) -> Result<(), (PathBuf, io::Error)> {
        let removed = self.clear();
        removed.map_err(|error| (self.folder.clone(), error))
    }

    fn clear(&mut self) -> io::Result<()> {
        self.removed = true;
        for Spot(folder, name) in &self.copies {
            // What was moved goes with the rest.
            let _ = folder.remove(name);
        }
        folder::remove(&self.folder)
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

    /// Holds the folder of a place in the tree.
    fn spot(&self, place: &Path) -> io::Result<Spot> {
        let inside = place.strip_prefix(self.root()).map_err(io::Error::other)?;
        let (folder, name) = split(inside)?;
        Ok(Spot(self.tree.below(folder)?, name.to_owned()))
    }
}

/// The folder of the launcher's messages.
const LAUNCHER: &str = "launcher";
/// The folder of the component's answers.
const COMPONENT: &str = "component";
/// The folder of the tree.
const ROOT: &str = "root";

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.removed {
            // Another start removes what is left.
            let _ = self.clear();
        }
    }
}

impl Spot {
    /// Holds the folder of a path without links.
    fn of(real: &Path) -> io::Result<Self> {
        let (folder, name) = split(real)?;
        Ok(Self(Folder::open(folder)?, name.to_owned()))
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let parts = path.parent().zip(path.file_name());
    parts.ok_or_else(|| io::Error::other("it is no regular file"))
}

impl Carried {
    fn carry_out(&self) -> io::Result<()> {
        let Some(bytes) = self.written()? else {
            return Ok(());
        };
        let Spot(folder, name) = match &self.target {
            Ok(target) => target,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        match self.how {
            Carry::Append if bytes.is_empty() => Ok(()),
            Carry::Append => folder.append(name, &bytes),
            Carry::Replace => folder.replace(name, &bytes),
        }
    }

    /// Reads what the component left in place of a file, if it left something. That may be anything: no more is
    /// read than such a file can have.
    fn written(&self) -> io::Result<Option<Vec<u8>>> {
        let Spot(folder, name) = &self.copy;
        let mut file = match folder.read(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err(io::Error::other("the component left no regular file")),
        };
        if file.metadata()?.len().saturating_sub(self.from) > MAX_CARRIED {
            return Err(io::Error::other("the component wrote more than 4 MiB"));
        }
        file.seek(SeekFrom::Start(self.from))?;
        let mut bytes = Vec::new();
        file.take(MAX_CARRIED).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

/// Makes a copy that has the length and the last byte of a file, which is all that whoever appends to
/// it may want to know, and returns that length.
fn stand_in(target: Option<&Spot>, copy: &Path) -> io::Result<u64> {
    let mut stand_in = fs::File::create(copy)?;
    let Some(Spot(folder, name)) = target else {
        return Ok(0);
    };
    let mut file = match folder.read(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(0);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    stand_in.set_len(length - 1)?;
    stand_in.seek(SeekFrom::End(0))?;
    stand_in.write_all(&last)?;
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::real;

    fn carry(stage: &mut Stage, path: &Path, how: Carry) {
        stage.carry(path, &real(path), how).unwrap();
    }

    #[test]
    fn files_stand_where_they_stand_outside() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().canonicalize().unwrap().join("work");
        fs::create_dir(&folder).unwrap();
        fs::write(outside.path().join("a.pub"), "key").unwrap();
        let mut stage = Stage::new(&folder).unwrap();
        let copy = |stage: &mut Stage, path: &Path| stage.copy(path, &real(path));
        copy(&mut stage, &folder.join("../a.pub")).unwrap();
        assert!(copy(&mut stage, &folder.join("missing")).is_err());
        copy(&mut stage, &folder).unwrap();
        let root = stage.root();
        let private = stage.folder.clone();
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
        stage.remove().unwrap();
        assert!(!private.exists());
    }

    #[cfg(unix)]
    #[test]
    fn what_leads_elsewhere_by_now_is_not_copied() {
        let outside = tempfile::tempdir().unwrap();
        let top = outside.path().canonicalize().unwrap();
        fs::create_dir(top.join("keys")).unwrap();
        fs::create_dir(top.join("secrets")).unwrap();
        for name in ["keys/a", "secrets/a"] {
            fs::write(top.join(name), name).unwrap();
        }
        let found = real(&top.join("keys/a"));
        fs::rename(top.join("keys"), top.join("old")).unwrap();
        std::os::unix::fs::symlink("secrets", top.join("keys")).unwrap();
        let mut stage = Stage::new(&top).unwrap();
        assert!(stage.copy(&top.join("keys/a"), &found).is_err());
        // A pipe is no file, and nobody waits for its other end.
        let pipe = top.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(stage.copy(&pipe, &pipe).is_err());
    }

    #[test]
    fn single_files_are_carried_out() {
        let outside = tempfile::tempdir().unwrap();
        let lock = outside.path().join("a.lock");
        let log = outside.path().join("output");
        fs::write(&log, "one\n").unwrap();
        let mut stage = Stage::new(outside.path()).unwrap();
        carry(&mut stage, &lock, Carry::Replace);
        carry(&mut stage, &log, Carry::Append);
        assert!(stage.carry_out().is_empty());
        assert!(!lock.exists());
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\n");
        fs::write(stage.place(&lock).unwrap(), "locked").unwrap();
        // The component sees how long it is and how it ends, and not what is in it.
        let copy = stage.place(&log).unwrap();
        assert_eq!(fs::read(&copy).unwrap(), b"\0\0\0\n");
        let mut copy = fs::File::options().append(true).open(copy).unwrap();
        copy.write_all(b"two\n").unwrap();
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
        carry(&mut stage, &lock, Carry::Replace);
        std::os::unix::fs::symlink(&secret, stage.place(&lock).unwrap()).unwrap();
        assert_eq!(stage.carry_out().len(), 1);
        assert!(!lock.exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_on_the_way_to_a_file_carries_nothing_out_either() {
        let outside = tempfile::tempdir().unwrap();
        let top = outside.path().canonicalize().unwrap();
        fs::create_dir(top.join("work")).unwrap();
        fs::create_dir(top.join("secrets")).unwrap();
        fs::write(top.join("secrets/a.lock"), "secret").unwrap();
        let lock = top.join("work/a.lock");
        let mut stage = Stage::new(&top.join("work")).unwrap();
        carry(&mut stage, &lock, Carry::Replace);
        // In the tree: what is read then is what the component itself left.
        let copy = stage.place(&lock).unwrap();
        let parent = copy.parent().unwrap();
        fs::write(&copy, "own").unwrap();
        fs::rename(parent, parent.with_file_name("moved")).unwrap();
        std::os::unix::fs::symlink(top.join("secrets"), parent).unwrap();
        // And where the file goes, if that lies in a granted folder.
        fs::rename(top.join("work"), top.join("moved")).unwrap();
        std::os::unix::fs::symlink("secrets", top.join("work")).unwrap();
        assert!(stage.carry_out().is_empty());
        let read = |name: &str| fs::read_to_string(top.join(name)).unwrap();
        assert_eq!(read("moved/a.lock"), "own");
        assert_eq!(read("secrets/a.lock"), "secret");
    }

    #[cfg(unix)]
    #[test]
    fn what_a_link_leads_to_is_written_and_the_link_stays() {
        let outside = tempfile::tempdir().unwrap();
        let top = outside.path().canonicalize().unwrap();
        fs::create_dir(top.join("shared")).unwrap();
        let lock = top.join("a.lock");
        std::os::unix::fs::symlink("shared/a.lock", &lock).unwrap();
        let mut stage = Stage::new(&top).unwrap();
        carry(&mut stage, &lock, Carry::Replace);
        fs::write(stage.place(&lock).unwrap(), "locked").unwrap();
        assert!(stage.carry_out().is_empty());
        assert!(fs::symlink_metadata(&lock).unwrap().is_symlink());
        assert_eq!(
            fs::read_to_string(top.join("shared/a.lock")).unwrap(),
            "locked"
        );
    }

    #[test]
    fn a_flood_is_not_carried_out() {
        let outside = tempfile::tempdir().unwrap();
        let log = outside.path().join("output");
        let mut stage = Stage::new(outside.path()).unwrap();
        carry(&mut stage, &log, Carry::Append);
        let copy = fs::File::create(stage.place(&log).unwrap()).unwrap();
        copy.set_len(MAX_CARRIED + 1).unwrap();
        assert_eq!(stage.carry_out().len(), 1);
        assert!(!log.exists());
    }
}
