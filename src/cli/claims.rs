//! Taking the journal of a dead run, and doubting one that a component in the sandbox may have written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finish::unfinished;
use super::session::Session;
use crate::engine::Urgency;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::words;
use crate::state::{self, Claim, Found, Journal, JournalError, Liveness, Writer};

/// What became of a journal that was to be taken.
pub(super) enum Claimed {
    /// Its run goes on, or somebody else is finishing it.
    Alive,
    /// Its run is dead. With it comes what is known of the run besides, held by this process.
    Dead(Box<Found>, Option<Journal>),
    /// Somebody else may have written it, which is said here.
    Doubtful(&'static str),
    /// It is there no longer.
    Gone,
}

/// What is said of a journal that may not be the user's own.
const FOREIGN: &str = "belongs to another user, or others may write to it";
/// What is said of one that a component may have made up.
const UNKNOWN: &str =
    "lies where a component in the sandbox may write, and nothing is known of that run";

/// What is said of one where nobody can know whether a component could write it.
const HOMELESS: &str = "may have been made up by a component in the sandbox, which can't be known where neither HOME nor XDG_STATE_HOME is set";

/// Where what is known of the runs in a cache is kept.
pub(super) enum Kept {
    /// On a shelf: a component could write the cache.
    On(PathBuf),
    /// Nowhere: none could.
    Nowhere,
    /// There is no home to look for it.
    Unknown,
}

/// Takes a journal. In a cache that has a shelf, what is on it says what the run was given.
///
/// # Errors
/// The journal can't be read, says otherwise than what is known of its run, or a signal came first.
pub(super) async fn claim(
    run: &str,
    path: &Path,
    kept: &Kept,
    session: &Session,
) -> Result<Claimed, Failure> {
    tokio::select! {
        biased;
        claimed = claimed(run, path, kept, session) => claimed.map_err(|error| {
            Failure::explained(ExitCode::Unexpected, unfinished(run), &error)
        }),
        () = session.cancel.reached(Urgency::Cancel) => Err(
            Failure::new(ExitCode::Cancelled, unfinished(run)).caused_by("finishing was cancelled")
        ),
    }
}

async fn claimed(
    run: &str,
    path: &Path,
    kept: &Kept,
    session: &Session,
) -> Result<Claimed, JournalError> {
    let waiting = |time: Duration| {
        let time = words::duration(time);
        session.printer.note(&format!(
            "run {run} may go on: watching its journal for {time}"
        ));
    };
    let shelf = match kept {
        Kept::On(shelf) => shelf,
        Kept::Nowhere => {
            let claim = state::claim(path, Writer::Unknown, waiting).await?;
            return Ok(known(claim, None));
        }
        Kept::Unknown => return Ok(Claimed::Doubtful(HOMELESS)),
    };
    let name = path.file_name().unwrap_or_default();
    let record = match state::claim(&shelf.join(name), Writer::Unknown, |_| ()).await? {
        Claim::Alive => return Ok(Claimed::Alive),
        Claim::Dead(record) => record,
        Claim::Foreign | Claim::Gone => return Ok(Claimed::Doubtful(UNKNOWN)),
    };
    // Whoever began the run holds the record, the component in it can hold nothing.
    let writer = match record.header.liveness {
        Liveness::Lock => Writer::Dead,
        Liveness::Signs => Writer::Unknown,
    };
    let mut claim = state::claim(path, writer, waiting).await?;
    if let Claim::Dead(found) = &mut claim {
        if let Some(field) = found.header.contradicts(&record.header) {
            return Err(JournalError::Contradicts {
                path: path.to_owned(),
                field,
            });
        }
        found.header = record.header;
    }
    Ok(known(claim, Some(record.journal)))
}

fn known(claim: Claim, record: Option<Journal>) -> Claimed {
    match claim {
        Claim::Alive => Claimed::Alive,
        Claim::Dead(found) => Claimed::Dead(found, record),
        Claim::Foreign => Claimed::Doubtful(FOREIGN),
        Claim::Gone => Claimed::Gone,
    }
}
