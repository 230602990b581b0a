//! What is known of the runs in a cache that a component in the sandbox may write.
//!
//! Such a component can write any journal, and `finish` acts on journals outside of the sandbox. So the
//! first line of a journal, which says what is to be done, is kept a second time where no component
//! can reach: on a shelf of the launcher's own. A folder that has a shelf was open to a component once;
//! of a journal in it only the lines about what was done are believed.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::{FOLDER, read};
use crate::oci::Digest;

/// The folder of shelves, in the launcher's own folder.
const SHELVES: &str = "journals";
/// The file in a cache that a component could write, by which other users and homes know: theirs have no shelf for it.
pub const MARK: &str = ".shipgate-sandbox";
/// The file on a shelf that names the folder that it is for.
const LABEL: &str = "folder";

/// All shelves of a user on this machine.
#[derive(Clone, Debug)]
pub struct Shelves(PathBuf);

impl Shelves {
    /// Returns the shelves in the launcher's own folder.
    #[must_use]
    pub fn in_folder(launcher: &Path) -> Self {
        Self(launcher.join(SHELVES))
    }

    /// Notes that a component may write a folder, before it gets it. Shelves of folders that are there
    /// no longer are removed.
    ///
    /// # Errors
    /// The shelf can't be made.
    pub fn note(&self, folder: &Path) -> Result<(), JournalError> {
        self.clear();
        let folder = real(folder);
        let shelf = self.shelf(&folder);
        let failed = |error| JournalError::io("make the folder", &shelf, error);
        fs::create_dir_all(&shelf).map_err(failed)?;
        // For who looks into it; a name that is no text is not needed for anything.
        let label = folder.to_string_lossy();
        fs::write(shelf.join(LABEL), label.as_bytes()).map_err(failed)
    }

    /// Returns the shelf of a cache, if a component could once write its journals. It need not be there, if that was
    /// with another home: then nothing is known of any run.
    #[must_use]
    pub fn of(&self, cache: &Path) -> Option<PathBuf> {
        let cache = real(cache);
        let runs = cache.join(FOLDER);
        let open = |folder: &Path| self.shelf(folder).is_dir();
        (is_marked(&cache) || runs.ancestors().any(open)).then(|| self.shelf(&cache))
    }

    fn shelf(&self, folder: &Path) -> PathBuf {
        let name = Digest::of(folder.as_os_str().as_encoded_bytes());
        self.0.join(name.hex())
    }

    /// Removes shelves that nobody can need any more.
    fn clear(&self) {
        for shelf in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let shelf = shelf.path();
            // What can't be swept or read is left for another time.
            let _ = read::sweep(&shelf);
            let gone = fs::read_to_string(shelf.join(LABEL))
                .is_ok_and(|folder| matches!(Path::new(&folder).try_exists(), Ok(false)));
            let empty = read::list(&shelf).is_ok_and(|runs| runs.is_empty());
            if gone && empty {
                let _ = fs::remove_file(shelf.join(LABEL));
                let _ = fs::remove_dir(&shelf);
            }
        }
    }
}

/// Says whether a cache has the [`MARK`] of one that a component could write. One without it may have lost it: a component
/// can remove it as long as it runs.
#[must_use]
pub fn is_marked(cache: &Path) -> bool {
    fs::symlink_metadata(cache.join(MARK)).is_ok()
}

/// Returns a folder by its one name, as far as it is there.
fn real(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_has_a_shelf_once_a_component_could_write_its_journals() {
        let state = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        let shelves = Shelves::in_folder(state.path());
        let cache = work.path().join("a/cache");
        fs::create_dir_all(cache.join("runs")).unwrap();
        fs::create_dir_all(work.path().join("b")).unwrap();
        assert_eq!(shelves.of(&cache), None);
        shelves.note(&work.path().join("b")).unwrap();
        shelves.note(&cache.join("blobs")).unwrap();
        assert_eq!(shelves.of(&cache), None);
        // Itself, what is above it, its journals alone: the shelf is that of the cache.
        let mut found = Vec::new();
        for open in [cache.clone(), work.path().join("a"), cache.join("runs")] {
            let other = Shelves::in_folder(&state.path().join(found.len().to_string()));
            other.note(&open).unwrap();
            let shelf = other.of(&cache).unwrap();
            found.push(shelf.file_name().unwrap().to_owned());
        }
        assert!(found.iter().all(|name| *name == found[0]));
        assert_eq!(
            shelves.of(&work.path().join("b/../b")),
            shelves.of(&work.path().join("b"))
        );
    }

    #[test]
    fn a_cache_that_is_marked_has_a_shelf_with_every_home() {
        let state = tempfile::tempdir().unwrap();
        let cache = tempfile::tempdir().unwrap();
        let shelves = Shelves::in_folder(state.path());
        assert_eq!(shelves.of(cache.path()), None);
        fs::write(cache.path().join(MARK), "").unwrap();
        assert!(
            shelves
                .of(cache.path())
                .is_some_and(|shelf| !shelf.exists())
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_cache_has_one_shelf_whatever_it_is_called() {
        let state = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        let shelves = Shelves::in_folder(state.path());
        let (cache, link) = (work.path().join("cache"), work.path().join("link"));
        fs::create_dir(&cache).unwrap();
        std::os::unix::fs::symlink("cache", &link).unwrap();
        shelves.note(&link).unwrap();
        assert_eq!(shelves.of(&cache), shelves.of(&link));
        assert!(shelves.of(&cache).is_some());
    }

    #[test]
    fn shelves_of_folders_that_are_gone_go_too() {
        let state = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        let shelves = Shelves::in_folder(state.path());
        shelves.note(work.path()).unwrap();
        let gone = work.path().to_owned();
        drop(work);
        let other = tempfile::tempdir().unwrap();
        shelves.note(other.path()).unwrap();
        assert_eq!(shelves.of(&gone), None);
        assert!(shelves.of(other.path()).is_some());
    }
}
