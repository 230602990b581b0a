//! Folders by their paths, where there are no descriptors of folders.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Component, Path, PathBuf};

/// The path of a folder.
#[derive(Debug)]
pub struct Handle(PathBuf);

impl Handle {
    pub fn open(real: &Path) -> io::Result<Self> {
        Self::at(real)
    }

    pub fn at(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path)?.is_dir() {
            Ok(Self(path.to_owned()))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    pub fn below(&self, path: &Path) -> io::Result<Self> {
        let mut folder = Self(self.0.clone());
        for part in path.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            folder = Self::at(&folder.0.join(name))?;
        }
        Ok(folder)
    }

    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        File::open(self.unlinked(name)?)
    }

    pub fn append(&self, name: &OsStr) -> io::Result<File> {
        let path = self.unlinked(name)?;
        OpenOptions::new().append(true).create(true).open(path)
    }

    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        File::create_new(self.0.join(name))
    }

    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn unlinked(&self, name: &OsStr) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => Err(io::Error::other("it is a link")),
            _ => Ok(path),
        }
    }
}
