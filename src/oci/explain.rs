//! What an error of a registry means to its reader: the facts it rests on, and what helps.

use std::time::Duration;

use jiff::Timestamp;

use super::diagnosis::expects_tls;
use super::error::{Error, ErrorKind, Login};
use super::hosts::{self, Role};
use super::manifest::ManifestError;
use super::platform::Platform;
use crate::failure::{Explain, Fact};
use crate::net;

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(match self.kind() {
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
            ErrorKind::KeptFromOrigin { registry, .. } => format!(
                "name a digest, let a mirror of {registry} say what tags stand for (`resolve: true`), or take `fallback: deny` away"
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
            ErrorKind::RateLimited { host, .. } => match self.retry_at() {
                Some(at) => format!("run again after {}, log in to {host}, or use a mirror", moment(at)),
                None => format!("log in to {host}, use a mirror, or run again later"),
            },
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
            ErrorKind::Storage { host, registry, .. } => {
                format!("run again; if it happens each time, tell who runs {registry} that {host} refuses its addresses, or look for a proxy that alters them")
            }
            ErrorKind::TooLarge { .. } => {
                "check that the reference names an image: what came is larger than any manifest may be".into()
            }
        })
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = self.kind().facts();
        let known = |facts: &[Fact], name| facts.iter().any(|fact: &Fact| fact.name == name);
        if let Some(what) = self.what()
            && !known(&facts, "asked for")
        {
            facts.push(Fact::new("asked for", what));
        }
        facts.extend(self.offset().map(|offset| Fact::new("offset", offset)));
        if self.attempts() > 1 {
            facts.push(Fact::new("attempts", self.attempts()));
        }
        facts.extend(self.gave_up().map(|why| Fact::new("not again", why)));
        let at = self.retry_at().map(moment);
        facts.extend(at.map(|at| Fact::new("try again at", at)));
        facts
    }
}

impl Error {
    /// Returns what failures have in common that are one piece of news.
    pub(super) fn sort(&self) -> String {
        match self.kind() {
            ErrorKind::RateLimited { .. } => "rate".into(),
            ErrorKind::Refused { status, .. } => status.to_string(),
            ErrorKind::Unreachable { source, .. } => source
                .phase()
                .map_or("unreachable", net::Phase::name)
                .into(),
            kind => kind.to_string(),
        }
    }

    /// Returns it with its nearest cause.
    pub(super) fn in_one_sentence(&self) -> String {
        match self.kind() {
            ErrorKind::Unreachable { source, .. } => source.to_string(),
            kind => kind.to_string(),
        }
    }
}

impl ErrorKind {
    fn facts(&self) -> Vec<Fact> {
        match self {
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
            ErrorKind::KeptFromOrigin {
                registry, tried, ..
            } => {
                let mut facts = vec![Fact::new("registry", registry)];
                facts.extend(tried.iter().map(|said| Fact::new("mirror", said)));
                facts
            }
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
            ErrorKind::Storage {
                host,
                registry,
                url,
                status,
                ..
            } => vec![
                Fact::new("host", host),
                Fact::new("registry", registry),
                Fact::new("url", url),
                Fact::new("status", status),
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

pub(super) fn said(message: &Option<String>) -> String {
    message
        .as_ref()
        .map(|message| format!(" (it says: {message})"))
        .unwrap_or_default()
}

pub(super) fn wait(retry_after: Option<Duration>) -> String {
    retry_after
        .map(|wait| format!(": it asks to wait {}", seconds(wait)))
        .unwrap_or_default()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", (duration.as_secs_f64() * 10.0).ceil() / 10.0)
}

/// Returns a moment to the full second, never before it.
fn moment(at: Timestamp) -> String {
    let second = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(second).unwrap_or(at).to_string()
}

fn speaks_tls(host: &str) -> String {
    format!(
        "{host} speaks TLS: set `plain-http: false` for it under `registries`, or give --plain-http=false"
    )
}

pub(super) fn instead(platforms: &[Platform]) -> String {
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
