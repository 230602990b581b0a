//! What can be wrong with a journal.

use std::io;
use std::path::PathBuf;

use super::header::VERSION;
use crate::failure::{Explain, Fact};

/// A journal that can't be written, read or acted on.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A value that it needs in full holds the value of a secret.
    #[error("its {field} would hold the value of a secret")]
    HoldsSecret {
        /// The field of the first line.
        field: String,
    },
    /// The system refused.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was to be done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A line is not what a run writes.
    #[error("{}:{line} can't be read: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// It is no regular file.
    #[error("{} is no file", path.display())]
    NotAFile {
        /// What stands there.
        path: PathBuf,
    },
    /// Where journals belong, something else stands.
    #[error("{} is no folder", path.display())]
    NotAFolder {
        /// What stands there.
        path: PathBuf,
    },
    /// The journal says otherwise than what is known of its run.
    #[error("{} names another {field} than the run was given", path.display())]
    Contradicts {
        /// The file.
        path: PathBuf,
        /// The field of the first line.
        field: &'static str,
    },
    /// It is larger than any journal.
    #[error("{} has more than the {limit} bytes that {what} may have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes.
        limit: u64,
        /// `a journal`, or `one of its lines`.
        what: &'static str,
    },
    /// Another version wrote it.
    #[error("{} was written by shipgate {shipgate}, in version {found} of the journal's format; this one reads version {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The format's version in the file.
        found: u64,
        /// The version of shipgate that wrote it.
        shipgate: String,
    },
}

impl JournalError {
    /// Makes an error of what the system said.
    pub(super) fn io(doing: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }
}

impl Explain for JournalError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::HoldsSecret { field } if field == "document" || field == "inputs" => {
                "name the secret where its value stands, as ${secret.NAME}".into()
            }
            Self::HoldsSecret { field } => {
                format!("choose a secret that is not a part of the run's {field}")
            }
            Self::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull
                        | io::ErrorKind::QuotaExceeded
                        | io::ErrorKind::FileTooLarge
                ) =>
            {
                "free some space, or name another folder with --cache".into()
            }
            Self::Io { .. } => "name a cache with --cache that this user may write to".into(),
            Self::Malformed { path, .. }
            | Self::NotAFile { path }
            | Self::NotAFolder { path }
            | Self::Contradicts { path, .. }
            | Self::TooLarge { path, .. } => {
                format!(
                    "a run did not write this; look at {}, and remove it to give the run up",
                    path.display()
                )
            }
            Self::Version { path, shipgate, .. } => format!(
                "call `finish` of shipgate {shipgate}, or remove {} to give the run up",
                path.display()
            ),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Io { path, .. } => vec![Fact::new("path", path.display())],
            _ => Vec::new(),
        }
    }
}
