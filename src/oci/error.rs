//! What a registry, or the way to it, can do wrong, as facts.

use std::fmt;
use std::time::Duration;

use super::Digest;
use super::diagnosis::expects_tls;
use super::hosts::{self, Place, Role};
pub use super::login::Login;
use super::manifest::ManifestError;
use super::platform::Platform;
use crate::failure::{Explain, Fact};
use crate::net;

/// A request to a registry that did not give what was asked for.
///
/// Only [`Error::is_absence`] means that the registry says the thing is not there. Everything
/// else leaves that open.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<ErrorKind>);

impl Error {
    /// Returns what went wrong.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// Returns whether the registry was asked and says that the thing does not exist.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(*self.0, ErrorKind::NotFound { .. })
    }

    /// Returns whether the registry could not be reached, or could not be heard to the end.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            *self.0,
            ErrorKind::Unreachable { .. } | ErrorKind::Unlisted { .. }
        )
    }

    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &*self.0 {
            ErrorKind::Unreachable { source, .. } => source.is_retryable(),
            ErrorKind::RateLimited { .. } => true,
            ErrorKind::Refused { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            ErrorKind::SizeMismatch {
                expected, found, ..
            } => found < expected,
            _ => false,
        }
    }

    /// Returns how long the registry asks to wait before the next request.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match *self.0 {
            ErrorKind::RateLimited { retry_after, .. } | ErrorKind::Refused { retry_after, .. } => {
                retry_after
            }
            _ => None,
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(kind))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(match &*self.0 {
            ErrorKind::Denied { host, login, .. } => match login {
                Login::Anonymous => format!("add credentials for {host} under `registries`"),
                Login::With { .. } => "give the account read access to the repository".into(),
            },
            ErrorKind::DigestMismatch { .. } => {
                "a proxy or the registry alters bytes: pull again past the proxy, and tell who runs it".into()
            }
            ErrorKind::ForeignLayer { .. } => {
                "push the image again with its foreign layers, so that the registry has all of it".into()
            }
            ErrorKind::ForeignLogin { registry, service } => format!(
                "if {service} is the token service of {registry}, add under `registries`: `{}`; else tell who runs {registry}",
                hosts::line(registry, Role::Token, service)
            ),
            ErrorKind::Malformed { host, .. } => {
                format!("check that {host} is a registry, and not a login page or another service")
            }
            ErrorKind::Manifest { source: ManifestError::Schema1, .. } => {
                "push the image again with a current builder".into()
            }
            ErrorKind::Manifest { what, source: ManifestError::Malformed { .. } } => {
                format!("look at what answers for {what}: a login page or a proxy may stand in for the registry; else push the image again")
            }
            ErrorKind::Manifest { .. } => "push the image again".into(),
            ErrorKind::NoLogin { hint, .. } => hint.clone(),
            ErrorKind::NoPlatform { available, .. } if available.is_empty() => {
                "the index names no platform at all: push the image again".into()
            }
            ErrorKind::NoPlatform { available, .. } => {
                match available.iter().find(|platform| platform.is_named()) {
                    Some(platform) => format!("build the image for that platform, or ask for `{platform}`"),
                    None => "build the image for that platform, or ask for none".into(),
                }
            }
            ErrorKind::NotFound { repository_unknown: true, .. } => {
                "check the repository's name; private registries say the same without a login".into()
            }
            ErrorKind::NotFound { .. } => "check the tag or digest, and that it was pushed".into(),
            ErrorKind::RateLimited { host, .. } => {
                format!("log in to {host}, use a mirror, or run again later")
            }
            ErrorKind::Unauthorized { registry, login, .. } => match login {
                Login::Anonymous => format!("add credentials for {registry} under `registries`, or run `docker login {registry}`"),
                Login::With { origin, .. } => format!("renew the credentials from {origin}"),
            },
            ErrorKind::Unlisted { registry, role, place, .. } => hosts::hint(registry, *role, place),
            ErrorKind::UnsafeLogin { host, .. } => {
                format!("let {host} name an https token service, or remove its credentials")
            }
            ErrorKind::Unreachable { host, source: net::Error::ServerSpeaksTls { .. } } => speaks_tls(host),
            ErrorKind::Unreachable { host, source } => source.hint().unwrap_or_else(|| {
                format!("run again; if it happens each time, look at the logs of {host} and of the proxies in front of it")
            }),
            ErrorKind::Redirect { host, .. } => {
                format!("let whoever runs {host} redirect to an https address that this machine reaches")
            }
            ErrorKind::Refused { host, message, .. } if expects_tls(message.as_deref()) => speaks_tls(host),
            ErrorKind::Refused { host, status, .. } if *status >= 500 => {
                format!("look at the logs of {host} and of the proxies in front of it, and run again later")
            }
            ErrorKind::Refused { host, .. } => {
                format!("check that {host} is a registry, and that the reference is right")
            }
            ErrorKind::SizeMismatch { .. } => {
                "a proxy or the registry alters bytes: pull again past the proxy, or push the image again".into()
            }
            ErrorKind::TooLarge { .. } => {
                "check that the reference names an image: what came is larger than any manifest may be".into()
            }
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match &*self.0 {
            ErrorKind::Denied {
                host, url, login, ..
            } => {
                vec![
                    Fact::new("host", host),
                    Fact::new("url", url),
                    Fact::new("login", login),
                ]
            }
            ErrorKind::DigestMismatch {
                host,
                expected,
                found,
                bytes,
            } => vec![
                Fact::new("host", host),
                Fact::new("expected", expected),
                Fact::new("found", found),
                Fact::new("bytes", bytes),
            ],
            ErrorKind::ForeignLayer { digest, hosts } => {
                vec![
                    Fact::new("digest", digest),
                    Fact::new("hosts", hosts.join(", ")),
                ]
            }
            ErrorKind::ForeignLogin { registry, service } => vec![
                Fact::new("registry", registry),
                Fact::new("token service", service),
            ],
            ErrorKind::Malformed { host, url, .. } => {
                vec![Fact::new("host", host), Fact::new("url", url)]
            }
            ErrorKind::Manifest { what, .. } => vec![Fact::new("manifest", what)],
            ErrorKind::NoLogin { registry, .. } => vec![Fact::new("registry", registry)],
            ErrorKind::NoPlatform {
                reference,
                wanted,
                available,
            } => vec![
                Fact::new("image", reference),
                Fact::new("expected", wanted),
                Fact::new("found", list(available)),
            ],
            ErrorKind::NotFound { host, what, .. } => {
                vec![Fact::new("host", host), Fact::new("asked for", what)]
            }
            ErrorKind::RateLimited {
                host,
                url,
                retry_after,
                ..
            } => {
                let mut facts = vec![Fact::new("host", host), Fact::new("url", url)];
                facts.extend(retry_after.map(|wait| Fact::new("retry after", seconds(wait))));
                facts
            }
            ErrorKind::Redirect { host, url, to, .. } => {
                vec![
                    Fact::new("host", host),
                    Fact::new("url", url),
                    Fact::new("to", to),
                ]
            }
            ErrorKind::Refused {
                host,
                url,
                status,
                code,
                ..
            } => {
                let mut facts = vec![
                    Fact::new("host", host),
                    Fact::new("url", url),
                    Fact::new("status", status),
                ];
                facts.extend(code.as_ref().map(|code| Fact::new("code", code)));
                facts
            }
            ErrorKind::SizeMismatch {
                host,
                digest,
                expected,
                found,
            } => vec![
                Fact::new("host", host),
                Fact::new("digest", digest),
                Fact::new("expected", expected),
                Fact::new("found", found),
            ],
            ErrorKind::TooLarge { what, limit } => {
                vec![Fact::new("asked for", what), Fact::new("limit", limit)]
            }
            ErrorKind::Unauthorized {
                asker,
                registry,
                scope,
                login,
                ..
            } => vec![
                Fact::new("asked by", asker),
                Fact::new("registry", registry),
                Fact::new("scope", scope),
                Fact::new("login", login),
            ],
            ErrorKind::Unlisted {
                registry,
                role,
                place,
                ..
            } => vec![
                Fact::new("registry", registry),
                Fact::new("host", place.host()),
                Fact::new("port", place.port()),
                Fact::new("line to add", hosts::line(registry, *role, place)),
            ],
            ErrorKind::UnsafeLogin { host, .. } => vec![Fact::new("host", host)],
            ErrorKind::Unreachable { host, source } => {
                let mut facts = vec![Fact::new("host", host)];
                facts.extend(source.phase().map(|phase| Fact::new("phase", phase.name())));
                facts.extend(address(source).map(|address| Fact::new("address", address)));
                facts
            }
        }
    }
}

fn address(error: &net::Error) -> Option<std::net::SocketAddr> {
    match error {
        net::Error::BodyInterrupted { endpoint, .. }
        | net::Error::Closed { endpoint, .. }
        | net::Error::Connect { endpoint, .. }
        | net::Error::Protocol { endpoint, .. }
        | net::Error::Refused { endpoint }
        | net::Error::Timeout { endpoint, .. }
        | net::Error::Tls { endpoint, .. } => endpoint.address,
        _ => None,
    }
}

const fn names(role: Role) -> &'static str {
    match role {
        Role::Blobs => "redirects to",
        Role::Token => "has its tokens at",
    }
}

fn said(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|message| format!(" (it says: {message})"))
        .unwrap_or_default()
}

fn wait(retry_after: Option<Duration>) -> String {
    retry_after
        .map(|wait| format!(": it asks to wait {}", seconds(wait)))
        .unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).ceil() / 10.0)
}

fn speaks_tls(host: &str) -> String {
    format!(
        "{host} speaks TLS: set `plain-http: false` for it under `registries`, or give --plain-http=false"
    )
}

fn instead(platforms: &[Platform]) -> String {
    if platforms.iter().any(Platform::is_named) {
        format!(", only for {}", list(platforms))
    } else {
        " and names no platform at all".into()
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.iter().all(|platform| !platform.is_named()) {
        return "no platform at all".into();
    }
    let names: Vec<_> = platforms
        .iter()
        .filter(|platform| platform.is_named())
        .take(20)
        .map(ToString::to_string)
        .collect();
    names.join(", ")
}
