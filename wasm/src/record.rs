//! What the launcher keeps of a run, so that nothing that the component writes can say what is to be done.
//!
//! `finish` ends natively what a killed run left open, by the journal in the cache, which the component
//! could write. What the run was given is therefore kept here, held while the launcher lives.

use std::path::PathBuf;

use shipgate::cli::session::Session;
use shipgate::state::{self, Header, Journal, JournalError, Shelves};

use crate::cage::Cage;

/// A run whose journal will be in a cache.
pub struct Given {
    /// The cache.
    pub cache: PathBuf,
    /// What the run is given.
    pub header: Header,
}

/// What is kept of a run. Dropping it leaves it to `finish`.
pub struct Record {
    kept: Journal,
    /// The journal in the cache.
    journal: PathBuf,
}

impl Record {
    /// Removes what is kept if the component has left no journal.
    pub fn end(self) {
        if matches!(self.journal.try_exists(), Ok(false)) {
            // Otherwise it is removed when it is old.
            let _ = self.kept.remove();
        }
    }
}

/// Notes which folders the component may write, and keeps what its run is given. The folders must be
/// there.
pub fn keep(cage: &Cage, given: Option<Given>, session: &Session) -> Option<Record> {
    let written = cage.folders.iter().filter(|mount| !mount.read_only);
    let written: Vec<_> = written.map(|mount| &mount.host).collect();
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
        return None;
    };
    if let Err(error) = crate::compiled::private_folder(&state) {
        told(format!("{} can't be used: {error}", state.display()));
        return None;
    }
    let shelves = Shelves::in_folder(&state);
    for folder in written {
        if let Err(error) = shelves.note(folder) {
            told(error.to_string());
        }
    }
    let given = given?;
    let name = format!("{}.jsonl", given.header.run);
    let journal = given.cache.join(state::FOLDER).join(name);
    let shelf = shelves.of(&given.cache)?;
    match Journal::begin(&shelf, given.header, session.masked()) {
        Ok(kept) => Some(Record { kept, journal }),
        // The component keeps no journal either, and says why.
        Err(JournalError::HoldsSecret { .. }) => None,
        Err(error) => {
            told(error.to_string());
            None
        }
    }
}
