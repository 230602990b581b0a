//! Writing a journal: one JSON object a line, each written before the run goes on.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::JournalError;
use super::header::{Header, Liveness};
use super::line::{self, Weight};
use super::{read, system};
use crate::report::mask::masked_json;
use crate::report::{Event, Mask};

/// How often a run shows that it goes on.
pub const SIGN: Duration = Duration::from_secs(5);

/// The most bytes of a line.
pub const LONGEST_LINE: usize = 8 << 20;

/// From this size on, in bytes, only what decides about the rest of the run is written.
pub const FULL: u64 = 16 << 20;

/// The journal of a run, held by this process. Dropping it leaves the file to whoever finishes the run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    written: u64,
}

/// Who holds a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    target_family = "wasm",
    expect(dead_code, reason = "there are no locks")
)]
pub(super) enum Hold {
    /// This process.
    Ours,
    /// Another process, which is alive.
    Theirs,
    /// Nobody can tell: the system has no locks.
    Unknown,
}

impl Journal {
    /// Begins the journal of a run in a folder, which is made if it is not there.
    ///
    /// How it shows that it is alive is filled into the header. The file has its name only when the
    /// first line is whole and the file is held, so that nobody takes it for that of a dead run.
    ///
    /// # Errors
    /// The folder can't be written, or the first line would hold a secret: it is needed to the letter.
    pub fn begin(folder: &Path, mut header: Header, mask: &dyn Mask) -> Result<Self, JournalError> {
        check_header(&header, mask)?;
        fs::create_dir_all(folder)
            .map_err(|error| JournalError::io("make the folder", folder, error))?;
        read::check_folder(folder)?;
        let path = folder.join(format!("{}.{EXTENSION}", header.run));
        let part = folder.join(format!(".{}.{PART}", header.run));
        let file = system::create(&part).map_err(|error| JournalError::io("make", &part, error))?;
        let mut journal = Self {
            path: part.clone(),
            file,
            written: 0,
        };
        let begun = journal.first_line(&mut header).and_then(|()| {
            fs::rename(&part, &path).map_err(|error| JournalError::io("rename", &part, error))
        });
        if let Err(error) = begun {
            // The first error is the one that tells.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        journal.path = path;
        Ok(journal)
    }

    fn first_line(&mut self, header: &mut Header) -> Result<(), JournalError> {
        let held = system::hold(&self.file);
        header.liveness = match held.map_err(|error| JournalError::io("lock", &self.path, error))? {
            Hold::Ours | Hold::Theirs => Liveness::Lock,
            Hold::Unknown => Liveness::Signs,
        };
        let line = serde_json::to_string(header).map_err(|error| self.unwritable(error))?;
        self.write(&(line + "\n"))?;
        self.sync()
    }

    /// Takes up a journal that was read to a place, from which on it is written anew.
    pub(super) fn take_up(path: PathBuf, mut file: File, whole: u64) -> Result<Self, JournalError> {
        let cut = file
            .set_len(whole)
            .and_then(|()| file.seek(SeekFrom::Start(whole)));
        cut.map_err(|error| JournalError::io("write to", &path, error))?;
        Ok(Self {
            path,
            file,
            written: whole,
        })
    }

    /// Returns the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes an event down, unless it only shows that something moves. What is left to do after a
    /// kill depends on some events; those are on the disk when this returns.
    ///
    /// # Errors
    /// The disk takes nothing more. The lines before are whole.
    pub fn event(&mut self, event: &Event, mask: &dyn Mask) -> Result<(), JournalError> {
        let weight = line::weight(&event.detail);
        if weight == Weight::None || weight == Weight::Told && self.written > FULL {
            return Ok(());
        }
        let line = line::line(event, mask).map_err(|error| self.unwritable(error))?;
        self.write(&line)?;
        if weight == Weight::Decisive {
            self.sync()?;
        }
        Ok(())
    }

    /// Shows that the run goes on. Call it every [`SIGN`].
    ///
    /// # Errors
    /// The disk takes nothing more.
    pub fn sign(&mut self) -> Result<(), JournalError> {
        self.write("\n")
    }

    /// Removes the journal: nothing is left to do.
    ///
    /// # Errors
    /// The file can't be removed.
    pub fn remove(self) -> Result<(), JournalError> {
        // Removed while it is held: whoever waits for it finds it gone, not dead.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(JournalError::io("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes a whole line at once: the kernel has it then, whatever becomes of this process.
    fn write(&mut self, line: &str) -> Result<(), JournalError> {
        if line.len() > LONGEST_LINE {
            return Err(JournalError::TooLarge {
                path: self.path.clone(),
                limit: LONGEST_LINE as u64,
                what: read::A_LINE,
            });
        }
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| JournalError::io("write to", &self.path, error))?;
        self.written += line.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<(), JournalError> {
        self.file
            .sync_data()
            .map_err(|error| JournalError::io("write to", &self.path, error))
    }

    fn unwritable(&self, error: serde_json::Error) -> JournalError {
        JournalError::io("write to", &self.path, error.into())
    }
}

/// How the names of journals end.
pub(super) const EXTENSION: &str = "jsonl";
/// How the names of journals end that have no first line yet.
pub(super) const PART: &str = "part";

/// Refuses what could not be read back to the letter once secrets are masked.
fn check_header(header: &Header, mask: &dyn Mask) -> Result<(), JournalError> {
    let unwritable = |error: serde_json::Error| {
        JournalError::io("write", Path::new(super::FOLDER), error.into())
    };
    let plain = serde_json::to_value(header).map_err(unwritable)?;
    let masked = masked_json(header, mask).map_err(unwritable)?;
    let fields = plain.as_object().into_iter().flatten();
    for (name, value) in fields {
        if masked.get(name) != Some(value) {
            return Err(JournalError::HoldsSecret {
                field: name.clone(),
            });
        }
    }
    Ok(())
}
