//! Folders by descriptors.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// To walk through a folder, the right to list it is not needed.
#[cfg(any(target_os = "linux", target_os = "android"))]
const WALK: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const WALK: OFlags = OFlags::DIRECTORY;
/// A pipe that nobody writes to must not hold anybody up.
const SAFE: OFlags = OFlags::NOFOLLOW
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK);
/// Of files that are made: the user's mask takes away from it, as from any other.
const MODE: Mode = Mode::from_raw_mode(0o666);

/// A descriptor of a folder.
#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    pub fn open(real: &Path) -> io::Result<Self> {
        let mut parts = real.components();
        if parts.next() != Some(Component::RootDir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Self::at(Path::new("/"))?.below(parts.as_path())
    }

    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, WALK | SAFE, Mode::empty())?))
    }

    pub fn below(&self, path: &Path) -> io::Result<Self> {
        let mut folder = self.0.try_clone()?;
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            folder = openat(&folder, name, WALK | SAFE, Mode::empty())?;
        }
        Ok(Self(folder))
    }

    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        Ok(openat(&self.0, name, SAFE, Mode::empty())?.into())
    }

    pub fn append(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | SAFE;
        Ok(openat(&self.0, name, flags, MODE)?.into())
    }

    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | SAFE;
        Ok(openat(&self.0, name, flags, MODE)?.into())
    }

    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Brings the folders of each folder up to this one before it removes it.
    pub fn clear(&self) -> io::Result<()> {
        let mut names = Names::default();
        loop {
            let (mut found, mut removed, mut failed) = (false, false, None);
            for entry in entries(&self.0, c".")? {
                let entry = entry?;
                let name = entry.file_name();
                if is_dots(name) {
                    continue;
                }
                found = true;
                match self.remove_whole(name, &mut names) {
                    Ok(()) => removed = true,
                    Err(error) => failed = Some(error),
                }
            }
            match failed {
                _ if !found => return Ok(()),
                Some(error) if !removed => return Err(error.into()),
                // What was brought up while the folder was read may not have been listed yet.
                _ => {}
            }
        }
    }

    fn remove_whole(&self, name: &CStr, names: &mut Names) -> rustix::io::Result<()> {
        if !is_folder(unlinkat(&self.0, name, AtFlags::empty()))? {
            return Ok(());
        }
        match unlinkat(&self.0, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            done => return done,
        }
        let inner = openat(&self.0, name, OFlags::DIRECTORY | SAFE, Mode::empty())?;
        for entry in entries(&inner, c".")? {
            let entry = entry?;
            let below = entry.file_name();
            if is_dots(below) || !is_folder(unlinkat(&inner, below, AtFlags::empty()))? {
                continue;
            }
            renameat(&inner, below, &self.0, names.next())?;
        }
        unlinkat(&self.0, name, AtFlags::REMOVEDIR)
    }
}

/// Names that nobody else gives: a folder may be cleared by two processes at once.
#[derive(Default)]
struct Names(u64);

impl Names {
    fn next(&mut self) -> String {
        self.0 += 1;
        format!("{}.{}", std::process::id(), self.0)
    }
}

/// Says whether something was not removed for being a folder.
fn is_folder(removed: rustix::io::Result<()>) -> rustix::io::Result<bool> {
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR | Errno::PERM) => Ok(true),
        Err(error) => Err(error),
    }
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn entries(folder: &OwnedFd, path: &CStr) -> rustix::io::Result<Dir> {
    Dir::new(openat(
        folder,
        path,
        OFlags::DIRECTORY | SAFE,
        Mode::empty(),
    )?)
}
