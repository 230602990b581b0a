//! What keeps an image from its destination, as facts.

use std::io;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::failure::{Explain, Fact};
use crate::oci::manifest::ManifestError;
use crate::oci::{self, Digest};
use crate::platform::{containerd, docker};
use crate::pull;
use crate::serve;

/// An image that did not get where it was to go.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorKind>);

impl Error {
    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// Makes the error of an operation on a path.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full { path },
            _ => ErrorKind::Io {
                doing,
                path,
                source,
            },
        }
        .into()
    }

    /// Returns whether a blob is simply not in the cache.
    pub(super) fn is_missing(&self) -> bool {
        let ErrorKind::Cache(error) = self.kind() else {
            return false;
        };
        matches!(error.kind(), cache::ErrorKind::Missing { .. })
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        ErrorKind::Cache(error).into()
    }
}

impl From<containerd::Error> for Error {
    fn from(error: containerd::Error) -> Self {
        ErrorKind::Containerd(error).into()
    }
}

impl From<docker::Error> for Error {
    fn from(error: docker::Error) -> Self {
        ErrorKind::Engine(error).into()
    }
}

impl From<serve::StartError> for Error {
    fn from(error: serve::StartError) -> Self {
        ErrorKind::Serve(error).into()
    }
}

impl From<oci::Error> for Error {
    fn from(error: oci::Error) -> Self {
        ErrorKind::Registry(error).into()
    }
}

/// The kinds of [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What Docker's formats can't hold.
    #[error("{reference} is no image that a container engine runs: its config is {config}")]
    Artifact {
        /// What was asked for.
        reference: String,
        /// The media type of its config.
        config: String,
    },
    /// The cache.
    #[error(transparent)]
    Cache(cache::Error),
    /// Two images would have the same name.
    #[error("two images would be called {name}: {first} and {second}")]
    Conflict {
        /// The name.
        name: String,
        /// The digest of one.
        first: Digest,
        /// The digest of the other.
        second: Digest,
    },
    /// containerd's client.
    #[error(transparent)]
    Containerd(containerd::Error),
    /// Docker Engine.
    #[error(transparent)]
    Engine(docker::Error),
    /// The disk is full.
    #[error("no space left for {}", path.display())]
    Full {
        /// The file that was written.
        path: PathBuf,
    },
    /// The cache has no whole image of that name for the platform.
    #[error("{reference} ({digest}) is not whole in the cache for any platform that is wanted")]
    Incomplete {
        /// What was asked for.
        reference: String,
        /// What it resolved to.
        digest: Digest,
    },
    /// The system refused.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// A layer can't be unpacked, or is not what the config says.
    #[error("layer {digest} can't be unpacked: {reason}")]
    Layer {
        /// The layer.
        digest: Digest,
        /// Why.
        reason: String,
    },
    /// A manifest in the cache can't be used.
    #[error("manifest {digest} can't be used")]
    Manifest {
        /// Which.
        digest: Digest,
        /// Why.
        source: ManifestError,
    },
    /// The system has no randomness for a name that nobody guesses.
    #[error("the system has no randomness")]
    NoRandomness,
    /// The folder holds something else, and nothing is written among strange files.
    #[error("{} is no OCI layout: {reason}", path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An engine said that it took an image, and does not have it.
    #[error("the engine took {image}, and does not have it")]
    NotThere {
        /// What was asked for.
        image: String,
    },
    /// A blob did not come from its registry.
    #[error(transparent)]
    Pull(pull::Error),
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(oci::Error),
    /// The cache can't be offered to the engine.
    #[error(transparent)]
    Serve(serve::StartError),
    /// An image has more manifests than any should.
    #[error("there are more than {limit} manifests")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Formats that hold one image a name were to hold several.
    #[error("{reference} is in the cache for {}, and one is needed", platforms.join(" and "))]
    SeveralPlatforms {
        /// What was asked for.
        reference: String,
        /// What there is.
        platforms: Vec<String>,
    },
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(match self.kind() {
            ErrorKind::Cache(error) => return error.hint(),
            ErrorKind::Containerd(error) => return error.hint(),
            ErrorKind::Engine(error) => return error.hint(),
            ErrorKind::Pull(error) => return error.hint(),
            ErrorKind::TooMany { .. } => return None,
            ErrorKind::Registry(error) => return error.hint(),
            ErrorKind::Serve(error) => return error.hint(),
            ErrorKind::NoRandomness => return None,
            ErrorKind::NotThere { .. } => {
                "look into the engine's log; another program may be removing images".into()
            }
            ErrorKind::Artifact { .. } => {
                "send it to `oci-layout`, `oci-archive` or a registry, which hold artifacts".into()
            }
            ErrorKind::Conflict { .. } => {
                "give each a destination of its own, or another tag".into()
            }
            ErrorKind::Full { .. } => "free some space, or name another file or folder".into(),
            ErrorKind::Incomplete { .. } => {
                "pull it first, with `--platform` for another one than this machine's".into()
            }
            ErrorKind::Io { .. } => "check the path and its permissions".into(),
            ErrorKind::Layer { .. } => {
                "the image is broken: no engine runs it; build it anew".into()
            }
            ErrorKind::Manifest { .. } => {
                "run `shipgate cache verify`, and pull the image again".into()
            }
            ErrorKind::NotALayout { .. } => "name an empty or a new folder".into(),
            ErrorKind::SeveralPlatforms { .. } => "choose one with `--platform`".into(),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self.kind() {
            ErrorKind::Cache(error) => error.facts(),
            ErrorKind::Containerd(error) => error.facts(),
            ErrorKind::Engine(error) => error.facts(),
            ErrorKind::Registry(error) => error.facts(),
            ErrorKind::Serve(error) => error.facts(),
            ErrorKind::NoRandomness | ErrorKind::TooMany { .. } => Vec::new(),
            ErrorKind::Pull(error) => error.facts(),
            ErrorKind::NotThere { image } => vec![Fact::new("image", image)],
            ErrorKind::Artifact { reference, config } => vec![
                Fact::new("reference", reference),
                Fact::new("config", config),
            ],
            ErrorKind::Conflict {
                name,
                first,
                second,
            } => vec![
                Fact::new("name", name),
                Fact::new("first", first),
                Fact::new("second", second),
            ],
            ErrorKind::Incomplete { reference, digest } => vec![
                Fact::new("reference", reference),
                Fact::new("digest", digest),
            ],
            ErrorKind::SeveralPlatforms { reference, .. } => {
                vec![Fact::new("reference", reference)]
            }
            ErrorKind::Layer { digest, .. } | ErrorKind::Manifest { digest, .. } => {
                vec![Fact::new("digest", digest)]
            }
            ErrorKind::Full { path }
            | ErrorKind::Io { path, .. }
            | ErrorKind::NotALayout { path, .. } => vec![Fact::new("path", path.display())],
        }
    }
}
