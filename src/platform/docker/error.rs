//! What an engine can do wrong, as facts.

use std::path::PathBuf;

use crate::failure::{Explain, Fact};

/// A request to an engine that did not give what was asked for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorKind>);

impl Error {
    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

/// The kinds of [`Error`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address is of a kind that is not spoken.
    #[error("`{address}` is no address of an engine on this machine")]
    Address {
        /// What was given.
        address: String,
    },
    /// The archive that was to be loaded can't be read.
    #[error("the archive for the engine can't be made: {reason}")]
    Archive {
        /// Why.
        reason: String,
    },
    /// This user may not ask.
    #[error("this user may not use {}", socket.display())]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// The connection broke, or the answer is none of an engine.
    #[error("the engine at {} broke off: {reason}", socket.display())]
    Interrupted {
        /// The socket.
        socket: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine said no.
    #[error("the engine says: {message}")]
    Refused {
        /// The status, or 200 where it said so later.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// Nothing listens there.
    #[error("no engine listens at {}: {reason}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The system's own words.
        reason: String,
    },
    /// This system has no such sockets.
    #[error("there are no Unix sockets here")]
    Unsupported,
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(match self.kind() {
            ErrorKind::Address { .. } => {
                "write `unix:///path/to/docker.sock`; for an engine elsewhere use `docker-archive` or a registry".into()
            }
            ErrorKind::Forbidden { .. } => {
                "run as root, or add the user to the group of the socket, usually `docker`".into()
            }
            ErrorKind::Unreachable { .. } => {
                "start the engine, or name its socket: `{docker: \"unix:///…\"}` or DOCKER_HOST".into()
            }
            ErrorKind::Unsupported => "use `docker-archive`, and load it where the engine is".into(),
            ErrorKind::Archive { .. } | ErrorKind::Interrupted { .. } | ErrorKind::Refused { .. } => {
                return None;
            }
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self.kind() {
            ErrorKind::Address { address } => vec![Fact::new("address", address)],
            ErrorKind::Forbidden { socket }
            | ErrorKind::Interrupted { socket, .. }
            | ErrorKind::Unreachable { socket, .. } => {
                vec![Fact::new("socket", socket.display())]
            }
            ErrorKind::Refused { status, .. } => vec![Fact::new("status", status)],
            ErrorKind::Archive { .. } | ErrorKind::Unsupported => Vec::new(),
        }
    }
}
