//! What a registry, or the way to it, can do wrong, as facts.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::Digest;
use super::explain::{instead, said, wait};
use super::hosts::{Place, Role};
pub use super::login::Login;
use super::manifest::ManifestError;
use super::platform::Platform;
use crate::net;

/// A request to a registry that did not give what was asked for.
///
/// Only [`Error::is_absence`] means that the registry says the thing is not there. Everything
/// else leaves that open.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    attempts: u32,
    gave_up: Option<GaveUp>,
    retry_at: Option<Timestamp>,
    what: Option<String>,
    offset: Option<u64>,
    mirror: Option<String>,
}

impl Error {
    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Returns how many times the request was sent and failed; 0 where nobody counted.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns why the request was not sent again although that might have helped.
    #[must_use]
    pub fn gave_up(&self) -> Option<GaveUp> {
        self.0.gave_up
    }

    /// Returns when the registry can be asked again, by its own words.
    #[must_use]
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.0.retry_at
    }

    /// Returns the byte of the body that did not come.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }

    /// Returns the host whose answer, or whose silence, it is.
    pub(super) fn host(&self) -> Option<&str> {
        match &self.0.kind {
            ErrorKind::RateLimited { host, .. }
            | ErrorKind::Refused { host, .. }
            | ErrorKind::SizeMismatch { host, .. }
            | ErrorKind::Unreachable { host, .. } => Some(host),
            _ => None,
        }
    }

    /// Returns what was asked for, in words.
    pub(super) fn what(&self) -> Option<&str> {
        self.0.what.as_deref()
    }

    /// Says after how many attempts this was the last one, and why.
    pub(super) fn tried(mut self, attempts: u32, gave_up: Option<GaveUp>) -> Self {
        self.0.attempts = attempts;
        self.0.gave_up = gave_up.or(self.0.gave_up);
        self
    }

    /// Says when the registry can be asked again.
    pub(super) fn again_at(mut self, at: Timestamp) -> Self {
        self.0.retry_at = Some(at);
        self
    }

    /// Says what was asked for, unless that is known.
    pub(super) fn about(mut self, what: &str) -> Self {
        self.0.what.get_or_insert_with(|| what.to_owned());
        self
    }

    /// Says which byte of the body did not come.
    pub(super) fn at_offset(mut self, offset: u64) -> Self {
        self.0.offset = Some(offset);
        self
    }

    /// Says which mirror broke off, where others have the rest.
    pub(super) fn of_mirror(mut self, name: &str) -> Self {
        self.0.mirror = Some(name.to_owned());
        self
    }

    /// Returns the mirror that broke off, if others have the rest.
    pub(super) fn mirror(&self) -> Option<&str> {
        self.0.mirror.as_deref()
    }

    /// Returns whether the registry was asked and says that the thing does not exist.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self.0.kind, ErrorKind::NotFound { .. })
    }

    /// Returns whether the registry could not be reached, or could not be heard to the end.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unreachable { .. } | ErrorKind::Unlisted { .. }
        )
    }

    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.0.kind {
            ErrorKind::Unreachable { source, .. } => source.is_retryable(),
            ErrorKind::RateLimited { .. } => true,
            ErrorKind::Refused { status, .. } => {
                matches!(status, 408 | 425 | 499 | 500 | 502 | 503 | 504 | 520..=524)
            }
            ErrorKind::SizeMismatch {
                expected, found, ..
            } => found < expected,
            _ => false,
        }
    }

    /// Returns how long the registry asks to wait before the next request.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.kind {
            ErrorKind::RateLimited { retry_after, .. } | ErrorKind::Refused { retry_after, .. } => {
                retry_after
            }
            _ => None,
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            attempts: 0,
            gave_up: None,
            retry_at: None,
            what: None,
            offset: None,
            mirror: None,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.kind.source()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.kind, f)
    }
}

/// Why a request that might succeed later is not sent again now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GaveUp {
    /// Its pauses would be longer than all pauses of a request may be.
    Budget,
    /// The step's time would be over before the next attempt.
    Deadline,
    /// It was sent as often as it may be.
    Tries,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Budget => {
                "the next attempt would come too late: the pauses of a request have a bound"
            }
            Self::Deadline => "the next attempt would come after the end of the step's time",
            Self::Tries => "it was sent as often as it may be",
        })
    }
}

/// The kinds of [`Error`]. URLs are redacted: no query value, no user, no token.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry knows who asks, and forbids it.
    #[error("{host} forbids {url}{}", said(.message))]
    Denied {
        /// Who answered.
        host: String,
        /// What was asked for.
        url: String,
        /// Whose credentials were used.
        login: Login,
        /// The registry's own words.
        message: Option<String>,
    },
    /// Bytes are not what their digest says.
    #[error("{host} sent other bytes for {expected}: their digest is {found}")]
    DigestMismatch {
        /// Who sent them.
        host: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
        /// How many bytes came.
        bytes: u64,
    },
    /// A layer may only be fetched from a place outside the registry, which is never done.
    #[error("layer {digest} is foreign: its bytes are not in the registry")]
    ForeignLayer {
        /// The layer.
        digest: Digest,
        /// The hosts that the manifest names.
        hosts: Vec<String>,
    },
    /// A token service that credentials don't go to.
    #[error("{registry} names {service} as its token service, and credentials are not sent there")]
    ForeignLogin {
        /// The registry.
        registry: String,
        /// The host that it named.
        service: Place,
    },
    /// Only the registry itself could say, and it may not be asked.
    #[error(
        "no mirror of {registry} gives {what}, and `fallback: deny` keeps {registry} itself from being asked"
    )]
    KeptFromOrigin {
        /// The registry.
        registry: String,
        /// What was asked for, in words.
        what: String,
        /// What each mirror said that was asked.
        tried: Vec<String>,
    },
    /// An answer breaks the protocol.
    #[error("{host} sent something that the distribution spec does not allow: {reason}")]
    Malformed {
        /// Who answered.
        host: String,
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A manifest can't be used.
    #[error("{what} can't be used")]
    Manifest {
        /// The reference or the digest.
        what: String,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The registry takes nobody without a login, and the source that has one for it gives none.
    #[error("{registry} needs a login: {reason}")]
    NoLogin {
        /// The registry.
        registry: String,
        /// Why the source gives none.
        reason: String,
        /// The edit or the command that helps.
        hint: String,
    },
    /// The image is there, but not for the platform.
    #[error("{reference} has no image for {wanted}{}", instead(.available))]
    NoPlatform {
        /// What was asked for.
        reference: String,
        /// The platform.
        wanted: Platform,
        /// What there is.
        available: Vec<Platform>,
    },
    /// The registry was asked, and says that it is not there.
    #[error("{what} does not exist in {host}{}", said(.message))]
    NotFound {
        /// Who answered.
        host: String,
        /// What was asked for, for instance `tag v1 of acme/web`.
        what: String,
        /// Whether the repository itself is unknown.
        repository_unknown: bool,
        /// The registry's own words.
        message: Option<String>,
    },
    /// The registry asks to slow down.
    #[error("{host} limits the rate of requests{}", wait(*.retry_after))]
    RateLimited {
        /// Who answered.
        host: String,
        /// What was asked for.
        url: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// The registry's own words.
        message: Option<String>,
    },
    /// A redirect that is not followed.
    #[error("{host} redirects {url} to {to}: {reason}")]
    Redirect {
        /// Who redirected.
        host: String,
        /// What was asked for.
        url: String,
        /// Where to.
        to: String,
        /// Why it is not followed.
        reason: String,
    },
    /// Another status than expected.
    #[error("{host} answered {status} to {url}{}", said(.message))]
    Refused {
        /// Who answered.
        host: String,
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The registry's own code, for instance `UNSUPPORTED`.
        code: Option<String>,
        /// The registry's own words.
        message: Option<String>,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Another number of bytes than the descriptor says.
    #[error("{host} sent {found} bytes for {digest}, expected {expected}")]
    SizeMismatch {
        /// Who sent them.
        host: String,
        /// The digest that was asked for.
        digest: Digest,
        /// The size in the descriptor.
        expected: u64,
        /// How many bytes came, or were announced.
        found: u64,
    },
    /// The place where the registry keeps its blobs does not give one, though it was asked for a
    /// second time and under a new address. That says nothing on whether the blob exists.
    #[error("{host}, to which {registry} redirects, answered {status} to {url}{}", said(.message))]
    Storage {
        /// Who answered.
        host: String,
        /// Who redirected there.
        registry: String,
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
        /// The storage's own words.
        message: Option<String>,
    },
    /// More bytes than are read.
    #[error("{what} has more than the limit of {limit} bytes")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The registry, or its token service, does not know who asks.
    #[error("{asker} gives no access to {scope}: {login}{}", said(.message))]
    Unauthorized {
        /// Who refused: the registry, or the token service that it named.
        asker: String,
        /// The registry.
        registry: String,
        /// What access was asked for.
        scope: String,
        /// Whose credentials were used.
        login: Login,
        /// The service's own words.
        message: Option<String>,
    },
    /// The registry named a host that nobody lists, and the sandbox does not connect to it.
    #[error("{registry} {} {place}, which is not granted", names(*.role))]
    Unlisted {
        /// The registry.
        registry: String,
        /// What it named the host for.
        role: Role,
        /// The host that it named.
        place: Place,
        /// What came of the connection.
        #[source]
        source: net::Error,
    },
    /// The registry asks for credentials in a way, or at a place, that they are not given to.
    #[error("{host} asks for a login that is not given: {reason}")]
    UnsafeLogin {
        /// The registry.
        host: String,
        /// What is wrong with its challenge.
        reason: String,
    },
    /// No answer came, or not all of it.
    #[error("can't get a whole answer from {host}")]
    Unreachable {
        /// The host that was asked.
        host: String,
        /// Why.
        #[source]
        source: net::Error,
    },
}

const fn names(role: Role) -> &'static str {
    match role {
        Role::Blobs => "redirects to",
        Role::Token => "has its tokens at",
    }
}
