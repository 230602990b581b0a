//! Private folders that killed launchers left behind: found and removed at the next start.
//!
//! A folder is held by a lock that the kernel releases with its process, so what can be locked belongs to
//! nobody that lives. The folder for temporary files is everybody's: only folders of this user that
//! are closed to others are looked into, and no link is followed.

use std::fs::{self, File, Metadata, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::folder;

/// How the names of private folders begin.
const PREFIX: &str = "shipgate-sandbox-";
/// The file whose lock is held.
const LOCK: &str = "lock";
/// A folder without a lock is being made, or its maker was killed then.
const UNHELD: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns what private folders are called but for their last letters: whoever may open the folder that they are in
/// opens them all.
pub fn all() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the folder that `make` takes")]
    let folder = std::env::temp_dir();
    folder.join(PREFIX)
}

/// Makes a private folder, whose copies nobody else may read.
///
/// # Errors
/// There is no folder for temporary files.
pub fn make() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    // Without it the mode is that of any folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir()
}

/// Holds a folder for as long as the file is open.
///
/// # Errors
/// The file can't be made or locked.
pub fn lock(folder: &Path) -> io::Result<File> {
    let part = folder.join(format!("{LOCK}.part"));
    let file = File::options().write(true).create_new(true).open(&part)?;
    match file.try_lock() {
        Ok(()) => {}
        // Where there are no locks, nobody can take it for dead either.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(error) => return Err(error.into()),
    }
    // It has its name only when it is held.
    fs::rename(&part, folder.join(LOCK))?;
    Ok(file)
}

/// Removes the private folders of launchers that are dead, as `ours` is one of one that lives.
///
/// What can't be removed is left for another time.
pub fn sweep(parent: &Path, ours: &Path) {
    let Ok(own) = fs::symlink_metadata(ours) else {
        return;
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let path = entry.path();
        if name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && path != ours
            && fs::symlink_metadata(&path).is_ok_and(|found| is_of_same_user(&found, &own))
            && is_dead(&path, &own)
        {
            let _ = folder::remove(&path);
        }
    }
}

/// Says whether a folder is this user's alone, and no link.
#[cfg(unix)]
fn is_of_same_user(found: &Metadata, own: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    found.is_dir() && found.uid() == own.uid() && found.mode() & 0o077 == 0
}

#[cfg(not(unix))]
fn is_of_same_user(found: &Metadata, _: &Metadata) -> bool {
    found.is_dir()
}

fn is_dead(folder: &Path, own: &Metadata) -> bool {
    let path = folder.join(LOCK);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => {
            // Taken for a moment only: a folder that is removed twice is removed.
            File::open(&path).is_ok_and(|file| matches!(file.try_lock(), Ok(())))
        }
        Ok(_) => false,
        Err(_) => {
            let made = fs::symlink_metadata(folder).and_then(|found| found.modified());
            let age = made
                .ok()
                .and_then(|made| own.modified().ok()?.duration_since(made).ok());
            age.is_some_and(|age| age > UNHELD)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders(tempfile::TempDir);

    impl Folders {
        fn make(&self, name: &str) -> PathBuf {
            let path = self.0.path().join(format!("{PREFIX}{name}"));
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(&path).unwrap();
            fs::create_dir(path.join("root")).unwrap();
            fs::write(path.join("root/secret"), "secret").unwrap();
            path
        }
    }

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_hold_stays() {
        let folders = Folders(tempfile::tempdir().unwrap());
        let (ours, alive, dead) = (folders.make("a"), folders.make("b"), folders.make("c"));
        let young = folders.make("d");
        let _held = [lock(&ours).unwrap(), lock(&alive).unwrap()];
        drop(lock(&dead).unwrap());
        let old = folders.make("e");
        let then = fs::metadata(&ours).unwrap().modified().unwrap() - 2 * UNHELD;
        File::open(&old).unwrap().set_modified(then).unwrap();
        sweep(folders.0.path(), &ours);
        assert!(ours.exists() && alive.exists() && young.exists());
        assert!(!dead.exists() && !old.exists());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_look_into_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(make().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[cfg(unix)]
    #[test]
    fn nothing_of_others_is_touched_and_no_link_is_followed() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folders = Folders(tempfile::tempdir().unwrap());
        let (ours, open, dead) = (folders.make("a"), folders.make("b"), folders.make("c"));
        let _held = lock(&ours).unwrap();
        drop(lock(&open).unwrap());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join(LOCK), "").unwrap();
        fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let link = folders.0.path().join(format!("{PREFIX}d"));
        symlink(outside.path(), &link).unwrap();
        // A link inside of what is removed is removed itself.
        drop(lock(&dead).unwrap());
        symlink(outside.path(), dead.join("root/link")).unwrap();
        // A link for a lock is no lock.
        let odd = folders.make("e");
        symlink(outside.path().join(LOCK), odd.join(LOCK)).unwrap();
        sweep(folders.0.path(), &ours);
        assert!(open.exists() && link.exists() && odd.exists() && !dead.exists());
        assert!(outside.path().join(LOCK).exists());
    }
}
