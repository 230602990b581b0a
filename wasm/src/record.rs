//! What the launcher keeps of a run, so that nothing that the component writes can say what is to be done.
//!
//! `finish` ends natively what a killed run left open, by the journal in the cache, which the component
//! could write. What the run was given is therefore kept here, held while the launcher lives.

use std::path::PathBuf;

use shipgate::cli::session::Session;
use shipgate::state::shelf::MARK;
use shipgate::state::{self, Header, Journal, JournalError, Shelves};

use crate::cage::Cage;
use crate::folder::Folder;
use crate::paths::real;

/// A run whose journal will be in a cache.
pub struct Given {
    /// The cache.
    pub cache: PathBuf,
    /// What the run is given.
    pub header: Header,
}

/// What is kept of a run, until it is dropped. Of a run that is killed it stays, for `finish`.
pub struct Record {
    /// Nothing of a command that keeps no journal.
    kept: Option<Kept>,
    /// The caches that the component may write.
    caches: Vec<Folder>,
}

struct Kept {
    record: Journal,
    /// The journal in the cache.
    journal: PathBuf,
}

impl Drop for Record {
    /// Removes what is kept if the component has left no journal, and marks its caches anew.
    fn drop(&mut self) {
        self.mark();
        if let Some(Kept { record, journal }) = self.kept.take()
            && matches!(journal.try_exists(), Ok(false))
        {
            // Otherwise it is removed when it is old.
            let _ = record.remove();
        }
    }
}

impl Record {
    fn mark(&self) {
        for cache in &self.caches {
            // Where it can't be marked, those who have another home do not know, and this one does.
            let _ = cache.replace(MARK.as_ref(), MARKED);
        }
    }
}

/// What a mark says to whoever finds it.
const MARKED: &[u8] =
    b"A component in shipgate's sandbox could write this cache, and so its journals.\n";

/// Returns the folders that are caches: they hold an image layout, or one will be made in them.
fn caches<'a>(folders: impl Iterator<Item = &'a PathBuf>, given: Option<&Given>) -> Vec<Folder> {
    let cache = given.map(|given| real(&given.cache));
    let folders = folders.map(|folder| real(folder));
    let caches = folders
        .filter(|folder| cache.as_ref() == Some(folder) || folder.join("oci-layout").exists());
    caches
        .filter_map(|folder| Folder::open(&folder).ok())
        .collect()
}

/// Notes which folders the component may write, and keeps what its run is given. The folders must be
/// there.
pub fn keep(cage: &Cage, given: Option<Given>, session: &Session) -> Option<Record> {
    let written = cage.folders.iter().filter(|mount| !mount.read_only);
    let written: Vec<_> = written.map(|mount| &mount.host).collect();
    let mut record = Record {
        kept: None,
        caches: caches(written.iter().copied(), given.as_ref()),
    };
    record.mark();
    if written.is_empty() {
        return None;
    }
    let told = |reason: String| {
        let message = format!("nothing is kept of this run: {reason}");
        let hint = "don't call `shipgate finish` on a folder that the component may write";
        session.printer.warning(&message, Some(hint));
    };
    let Some(state) = session.environment.launcher_state() else {
        told("neither XDG_STATE_HOME nor HOME is set".to_owned());
        return Some(record);
    };
    if let Err(error) = crate::compiled::private_folder(&state) {
        told(format!("{} can't be used: {error}", state.display()));
        return Some(record);
    }
    let shelves = Shelves::in_folder(&state);
    for folder in written {
        if let Err(error) = shelves.note(folder) {
            told(error.to_string());
        }
    }
    if let Some(given) = given {
        record.kept = given.keep(&shelves, session, told);
    }
    Some(record)
}

impl Given {
    fn keep(self, shelves: &Shelves, session: &Session, told: impl Fn(String)) -> Option<Kept> {
        let name = format!("{}.jsonl", self.header.run);
        let journal = self.cache.join(state::FOLDER).join(name);
        let shelf = shelves.of(&self.cache)?;
        match Journal::begin(&shelf, self.header, session.masked()) {
            Ok(record) => Some(Kept { record, journal }),
            // The component keeps no journal either, and says why.
            Err(JournalError::HoldsSecret { .. }) => None,
            Err(error) => {
                told(error.to_string());
                None
            }
        }
    }
}
