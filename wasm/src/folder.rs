//! Folders that are held by a handle. A path may lead elsewhere by the time it is used, and a handle can't.
//!
//! In a folder that a component may write, every name may be a link when it is used. Nothing here follows one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

#[cfg_attr(unix, path = "folder_unix.rs")]
#[cfg_attr(not(unix), path = "folder_portable.rs")]
mod system;

/// A folder, held.
#[derive(Debug)]
pub struct Folder(system::Handle);

impl Folder {
    /// Opens a folder by a path without links: one that has come to hold a link is refused.
    ///
    /// # Errors
    /// It is not there, or something on the way is no folder.
    pub fn open(real: &Path) -> io::Result<Self> {
        system::Handle::open(real).map(Self)
    }

    /// Opens a folder by a path in which only the last name must not be a link.
    ///
    /// # Errors
    /// It is not there, or is no folder.
    pub fn at(path: &Path) -> io::Result<Self> {
        system::Handle::at(path).map(Self)
    }

    /// Opens a folder below this one.
    ///
    /// # Errors
    /// It is not there, something on the way is no folder, or the path leads upwards.
    pub fn below(&self, path: &Path) -> io::Result<Self> {
        self.0.below(path).map(Self)
    }

    /// Opens a regular file to be read.
    ///
    /// # Errors
    /// It is not there, or is something else.
    pub fn read(&self, name: &OsStr) -> io::Result<File> {
        regular(self.0.read(name)?)
    }

    /// Adds to the end of a regular file, which is made if it is not there.
    ///
    /// # Errors
    /// It can't be written, or is something else.
    pub fn append(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        regular(self.0.append(name)?)?.write_all(bytes)
    }

    /// Puts a file of this content in place of whatever has the name, whole or not at all.
    ///
    /// # Errors
    /// It can't be written.
    pub fn replace(&self, name: &OsStr, bytes: &[u8]) -> io::Result<()> {
        let (mut file, part) = self.part()?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.0.rename(part.as_ref(), name));
        if written.is_err() {
            // The first error is the one that tells.
            let _ = self.0.remove(part.as_ref());
        }
        written
    }

    /// Makes a file that has no name of anybody's.
    fn part(&self) -> io::Result<(File, String)> {
        let process = std::process::id();
        let mut failed = None;
        for number in 0..100 {
            let name = format!(".shipgate-{process}-{number}.part");
            match self.0.create(name.as_ref()) {
                Ok(file) => return Ok((file, name)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(failed.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// It is not there, or can't be removed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        self.0.remove(name)
    }

    /// Removes everything in it, however deep it is: no more than two folders are open at once.
    ///
    /// # Errors
    /// Something can't be removed. Everything else was.
    pub fn clear(&self) -> io::Result<()> {
        self.0.clear()
    }
}

/// Removes a folder with everything in it. No link is followed, but in what is above it.
///
/// # Errors
/// Something in it can't be removed. Everything else was.
pub fn remove(path: &Path) -> io::Result<()> {
    Folder::at(path)?.clear()?;
    std::fs::remove_dir(path)
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

    use super::*;

    fn text(file: io::Result<File>) -> io::Result<String> {
        let mut text = String::new();
        file?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn no_link_is_followed() {
        let outside = tempfile::tempdir().unwrap();
        let outside = outside.path().canonicalize().unwrap();
        fs::create_dir_all(outside.join("a/b")).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        symlink("a", outside.join("link")).unwrap();
        symlink("../secret", outside.join("a/file")).unwrap();
        assert!(Folder::open(&outside.join("link")).is_err());
        assert!(Folder::open(&outside.join("link/b")).is_err());
        assert!(Folder::at(&outside.join("link")).is_err());
        let folder = Folder::open(&outside).unwrap();
        for path in ["link", "link/b", "../a", "/a", "a/../a"] {
            assert!(folder.below(Path::new(path)).is_err(), "{path}");
        }
        let folder = folder.below(Path::new("a")).unwrap();
        let name = OsStr::new("file");
        assert!(folder.read(name).is_err());
        assert!(folder.append(name, b"!").is_err());
        folder.replace(name, b"new").unwrap();
        assert_eq!(text(folder.read(name)).unwrap(), "new");
        folder.append(name, b"er").unwrap();
        assert_eq!(text(folder.read(name)).unwrap(), "newer");
        assert_eq!(
            fs::read_to_string(outside.join("secret")).unwrap(),
            "secret"
        );
        // Nothing of the way there is left, and a folder is no file.
        assert_eq!(fs::read_dir(outside.join("a")).unwrap().count(), 2);
        assert!(folder.read(OsStr::new("b")).is_err());
        assert!(folder.replace(OsStr::new("b"), b"").is_err());
        assert_eq!(fs::read_dir(outside.join("a")).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_was_moved_is_still_the_same() {
        let outside = tempfile::tempdir().unwrap();
        let outside = outside.path().canonicalize().unwrap();
        fs::create_dir(outside.join("a")).unwrap();
        let folder = Folder::open(&outside.join("a")).unwrap();
        fs::rename(outside.join("a"), outside.join("b")).unwrap();
        symlink("/etc", outside.join("a")).unwrap();
        folder.replace(OsStr::new("file"), b"new").unwrap();
        assert_eq!(fs::read_to_string(outside.join("b/file")).unwrap(), "new");
    }

    #[test]
    fn a_tree_of_any_depth_goes_and_links_in_it_go_themselves() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let top = outside.path().join("top");
        fs::create_dir_all(top.join("wide")).unwrap();
        for number in 0..50 {
            fs::create_dir(top.join(format!("wide/{number}"))).unwrap();
            fs::write(top.join(format!("wide/{number}/file")), "").unwrap();
        }
        symlink(outside.path(), top.join("link")).unwrap();
        let mut deepest = openat(CWD, &top, OFlags::DIRECTORY, Mode::empty()).unwrap();
        // Deeper than any path can be long.
        for _ in 0..2100 {
            mkdirat(&deepest, "d", Mode::RWXU).unwrap();
            deepest = openat(&deepest, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        symlink("/", top.join("wide/3/link")).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists() && outside.path().join("kept").exists());
    }
}
