//! What can go wrong on the disk, as facts.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Fact};
use crate::oci::Digest;

/// The cache could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    kind: ErrorKind,
    #[source]
    source: Option<io::Error>,
}

impl Error {
    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether a file was to be made, and there is one.
    pub(super) fn is_taken(&self) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|source| source.kind() == io::ErrorKind::AlreadyExists)
    }

    /// Returns whether the system does not let us change what is there.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self.kind, ErrorKind::NotPermitted { .. })
    }

    /// Makes the error of an operation on a path.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::NotPermitted { doing, path }
            }
            _ => ErrorKind::Io { doing, path },
        };
        Self {
            kind,
            source: Some(source),
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

/// The kinds of [`Error`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A blob on disk is not what its name says.
    #[error("{path} is damaged: expected {expected}, found {found}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest in its name.
        expected: Digest,
        /// The digest of its bytes.
        found: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes that were to be stored are not what their descriptor says.
    #[error("the bytes for {expected} have the digest {found}")]
    DigestMismatch {
        /// The digest that was announced.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The disk or the quota is full.
    #[error("no space left for {}", path.display())]
    Full {
        /// The file that was written.
        path: PathBuf,
    },
    /// The system refused for another reason.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// Another process holds the lock for too long.
    #[error("another process has held {} for more than {seconds} s", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// This process stood still for so long that another one took its lock.
    #[error("another process has taken {} over, for this one stood still", path.display())]
    LockLost {
        /// The lock file.
        path: PathBuf,
    },
    /// A blob is not in the cache.
    #[error("{digest} is not in the cache")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// The folder holds something else, and nothing is written among strange files.
    #[error("{} is not a cache: {reason}", path.display())]
    NotACache {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is less space than what is to come.
    #[error("{needed} bytes are to come, and {free} are free where {} is", path.display())]
    NoRoom {
        /// The cache's folder.
        path: PathBuf,
        /// The bytes that are missing.
        needed: u64,
        /// The bytes that this user may still write.
        free: u64,
    },
    /// The system does not let us.
    #[error("not permitted to {doing} {}", path.display())]
    NotPermitted {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
    },
    /// More or fewer bytes were to be stored than the descriptor says.
    #[error("{digest} has {found} bytes, expected {expected}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// The size in the descriptor.
        expected: u64,
        /// The size that was found.
        found: u64,
    },
    /// No image of that name is in the cache.
    #[error("no image in the cache is called {reference}")]
    Unknown {
        /// The reference or digest that was asked for.
        reference: String,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(match &self.kind {
            ErrorKind::Damaged { .. } => "run `shipgate cache verify`, which removes it, and pull the image again".into(),
            ErrorKind::Full { .. } => {
                "free some space and run again, which goes on from what has come; or name another folder with `--cache DIR`".into()
            }
            ErrorKind::NoRoom { .. } => {
                "free some space, for instance with `shipgate cache gc --max-size SIZE`, or name another folder with `--cache DIR`".into()
            }
            ErrorKind::Unknown { .. } => "`shipgate cache ls` lists what there is".into(),
            ErrorKind::Locked { path, .. } => format!(
                "wait for the other process; if there is none, remove {}",
                path.display()
            ),
            ErrorKind::LockLost { .. } => {
                "run it again: it goes on from what is on disk, and waits for the other process".into()
            }
            ErrorKind::NotACache { .. } => {
                "name an empty or a new folder with `--cache DIR`".into()
            }
            ErrorKind::NotPermitted { .. } => {
                "give this user access to the folder, or name another one with `--cache DIR`".into()
            }
            ErrorKind::Missing { .. } => "pull the image first".into(),
            ErrorKind::Io { .. } => {
                "name another folder with `--cache DIR`, or see what is wrong with that path".into()
            }
            ErrorKind::DigestMismatch { .. } | ErrorKind::SizeMismatch { .. } => {
                "a proxy or the registry alters bytes: pull again past the proxy".into()
            }
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match &self.kind {
            ErrorKind::Damaged {
                path,
                expected,
                found,
                size,
            } => vec![
                Fact::new("file", path.display()),
                Fact::new("expected", expected),
                Fact::new("found", found),
                Fact::new("size", size),
            ],
            ErrorKind::DigestMismatch { expected, found } => {
                vec![Fact::new("expected", expected), Fact::new("found", found)]
            }
            ErrorKind::SizeMismatch {
                digest,
                expected,
                found,
            } => vec![
                Fact::new("digest", digest),
                Fact::new("expected", expected),
                Fact::new("found", found),
            ],
            ErrorKind::Missing { digest } => vec![Fact::new("digest", digest)],
            ErrorKind::NoRoom { path, needed, free } => vec![
                Fact::new("path", path.display()),
                Fact::new("needed", needed),
                Fact::new("free", free),
            ],
            ErrorKind::Unknown { reference } => vec![Fact::new("reference", reference)],
            ErrorKind::Full { path }
            | ErrorKind::Io { path, .. }
            | ErrorKind::Locked { path, .. }
            | ErrorKind::LockLost { path }
            | ErrorKind::NotACache { path, .. }
            | ErrorKind::NotPermitted { path, .. } => vec![Fact::new("path", path.display())],
        }
    }
}
