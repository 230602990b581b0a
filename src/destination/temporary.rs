//! Files and blobs that have their names only once they are whole.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::{SecureRandom as _, SystemRandom};

use super::error::Error;

/// A file that goes away again unless it gets its final name.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// Makes a new file beside the one that it will take the place of. Folders above are made.
    pub(super) fn beside(path: &Path) -> Result<(File, Self), Error> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder)
                .map_err(|error| Error::io("make the folder", folder, error))?;
        }
        let temporary = Self::name(path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary.path)
            .map_err(|error| Error::io("make", path, error))?;
        Ok((file, temporary))
    }

    /// Returns a name that no other process or thread uses, for a file that is yet to be made.
    pub(super) fn name(path: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut bytes = [0; 8];
        // Without randomness `create_new` still refuses a name that is taken.
        let _ = SystemRandom::new().fill(&mut bytes);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".{name}.{}-{number}", hex::encode(bytes));
        Self {
            path: path.with_file_name(name),
            kept: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its final name.
    pub(super) fn rename(mut self, to: &Path) -> Result<(), Error> {
        fs::rename(&self.path, to).map_err(|error| Error::io("write", to, error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // It may not have been made at all.
            let _ = fs::remove_file(&self.path);
        }
    }
}
