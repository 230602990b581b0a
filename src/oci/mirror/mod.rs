//! Who else may be asked for what a registry has: mirrors, in order, and whether the registry itself.
//!
//! A mirror is never believed. What it sends is held against a digest, tags are resolved only by hosts
//! that somebody trusts with it, and what a mirror does not have is not therefore missing: only the
//! registry itself, which is called the origin here, can say so. `ask` puts one question to one server
//! after the other, and `standing` is what a run remembers of each.

mod ask;
mod conf;
pub mod hosts_toml;
mod race;
pub mod registries_conf;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use url::Url;

pub(super) use self::ask::Target;
pub use self::conf::Refused;
pub(super) use self::standing::{Standing, Wanted};
use super::Repository;
use super::credentials::canonical;

/// The mirrors of a run, by registry.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    by_registry: BTreeMap<String, Arc<Sources>>,
    names: BTreeSet<String>,
}

/// Who may be asked for what one registry has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sources {
    /// The mirrors, in the order in which they are asked.
    pub mirrors: Vec<Arc<Mirror>>,
    /// Whether the registry itself may be asked.
    pub fallback: Fallback,
}

/// Whether a registry that has mirrors may be asked itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fallback {
    /// After its mirrors, and for tags and referrers.
    #[default]
    Allow,
    /// Never, for anything.
    Deny,
}

/// A server that has some of what a registry has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mirror {
    /// Where it is.
    pub address: Address,
    /// What it is, and so how it wants to be asked.
    pub kind: Kind,
    /// Whether it is trusted to say what a tag stands for.
    pub resolves: bool,
    /// Whether parts of a blob are asked for; without a word, as its kind is known to take it.
    pub ranges: Option<bool>,
}

/// What a mirror is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A registry that is a cache of one other, at the root of its host.
    Distribution,
    /// A dfdaemon of Dragonfly.
    Dragonfly {
        /// How it is told whose content is wanted.
        told_by: ToldBy,
        /// Whether the registry's own login goes through it.
        passes_login: bool,
    },
    /// The dependency proxy of a group in GitLab, for Docker Hub.
    Gitlab {
        /// The group's full path.
        group: String,
    },
    /// A proxy project in Harbor.
    Harbor {
        /// The project's name.
        project: String,
    },
    /// A proxy repository in Nexus.
    Nexus {
        /// The repository's name.
        repository: String,
        /// Whether it is reached as the first part of the image's path, and not below `/repository/`.
        in_path: bool,
    },
    /// A cache that is told the registry in the query (`?ns=`), as containerd does.
    Plain,
    /// One whose paths have something before the image's own, and that is not told the registry
    /// unless `ns` says so.
    Prefixed {
        /// What stands between `/v2/` and the image's path.
        prefix: String,
        /// Whether the registry is told in the query.
        ns: bool,
    },
}

/// How a dfdaemon is told whose content is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ToldBy {
    /// By the header `X-Dragonfly-Registry`; with another registry's address than the origin's own if one is given.
    Header(Option<String>),
    /// By the query, `?ns=`.
    Query,
}

impl Mirrors {
    /// Takes the sources of each registry, as references write it.
    #[must_use]
    pub fn new(sources: impl IntoIterator<Item = (String, Sources)>) -> Self {
        let mut all = Self::default();
        for (registry, sources) in sources {
            let mirrors = sources.mirrors.iter();
            all.names.extend(mirrors.map(|mirror| mirror.name()));
            all.by_registry
                .insert(canonical(&registry), Arc::new(sources));
        }
        all
    }

    /// Returns who may be asked for what a registry has, if that is not the registry alone.
    #[must_use]
    pub fn of(&self, registry: &str) -> Option<&Arc<Sources>> {
        self.by_registry.get(&canonical(registry))
    }

    /// Says whether a mirror of any registry has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Writes down which mirrors are spoken to without TLS, as their addresses say.
    pub fn announce(&self, plain_http: &mut BTreeMap<String, bool>) {
        let mirrors = self
            .by_registry
            .values()
            .flat_map(|sources| &sources.mirrors);
        for mirror in mirrors {
            let plain = mirror.address.0.scheme() == "http";
            plain_http.insert(mirror.name(), plain);
        }
    }
}

impl Sources {
    /// Names them in the order in which they are asked, for people.
    #[must_use]
    pub fn in_words(&self, registry: &str) -> String {
        let mirrors = self.mirrors.iter().map(|mirror| {
            let resolves = if mirror.resolves { ", tags too" } else { "" };
            format!("{} ({}{resolves})", mirror.name(), mirror.kind)
        });
        let mut words: Vec<String> = mirrors.collect();
        words.push(match self.fallback {
            Fallback::Allow => format!("{registry} itself"),
            Fallback::Deny => format!("never {registry} itself"),
        });
        words.join(", then ")
    }
}

impl Mirror {
    /// Makes a mirror that is trusted with content alone.
    #[must_use]
    pub fn new(address: Address, kind: Kind) -> Self {
        Self {
            address,
            kind,
            resolves: false,
            ranges: None,
        }
    }

    /// Returns its host, with the port if it is not the one of https: the name that its login is for.
    #[must_use]
    pub fn name(&self) -> String {
        let url = &self.address.0;
        let host = url.host_str().unwrap_or_default();
        match (url.scheme(), url.port()) {
            (_, Some(port)) => format!("{host}:{port}"),
            ("http", None) => format!("{host}:80"),
            _ => host.to_owned(),
        }
    }

    /// Returns the registry whose login it gets: itself, or the one that it passes everything on to.
    pub(super) fn login_of(&self, registry: &str) -> String {
        match self.kind {
            Kind::Dragonfly {
                passes_login: true, ..
            } => registry.to_owned(),
            _ => self.name(),
        }
    }

    /// Returns the repository's path there.
    pub(super) fn path(&self, path: &str) -> String {
        let before = match &self.kind {
            Kind::Distribution | Kind::Dragonfly { .. } | Kind::Plain => return path.to_owned(),
            Kind::Gitlab { group } => &format!("{group}/dependency_proxy/containers"),
            Kind::Harbor { project } => project,
            Kind::Nexus { in_path: false, .. } => return path.to_owned(),
            Kind::Nexus { repository, .. } => repository,
            Kind::Prefixed { prefix, .. } => prefix,
        };
        format!("{before}/{path}")
    }

    /// Returns the address of something in a repository, and its path for comparison.
    pub(super) fn url(&self, repository: &Repository, below: &str) -> (Url, String) {
        let mut url = self.address.0.clone();
        let root = match &self.kind {
            Kind::Nexus {
                repository: name,
                in_path: false,
            } => format!("/repository/{name}"),
            _ => String::new(),
        };
        let own = url.path().trim_end_matches('/').to_owned();
        let path = format!("{own}{root}/v2/{}/{below}", self.path(&repository.path));
        url.set_path(&path);
        let told = match &self.kind {
            Kind::Plain => true,
            Kind::Dragonfly { told_by, .. } => *told_by == ToldBy::Query,
            Kind::Prefixed { ns, .. } => *ns,
            _ => false,
        };
        if told {
            url.query_pairs_mut()
                .append_pair("ns", &repository.registry);
        }
        (url, path)
    }

    /// Returns the header that tells it whose content is wanted, `origin` being where that is.
    pub(super) fn header(&self, origin: &Url) -> Option<(HeaderName, HeaderValue)> {
        let Kind::Dragonfly {
            told_by: ToldBy::Header(other),
            ..
        } = &self.kind
        else {
            return None;
        };
        let own = origin.origin().ascii_serialization();
        let value = HeaderValue::from_str(other.as_deref().unwrap_or(&own)).ok()?;
        Some((HeaderName::from_static("x-dragonfly-registry"), value))
    }

    /// Says whether parts of a blob may be asked for. Not where a part that is not there yet may cost
    /// the mirror another request to its origin, or where one stream is as fast as several.
    pub(super) fn takes_ranges(&self) -> bool {
        self.ranges.unwrap_or(!matches!(
            self.kind,
            Kind::Dragonfly { .. } | Kind::Gitlab { .. } | Kind::Harbor { .. }
        ))
    }

    /// Says whether it may ask the registry's token service on our behalf, by handing its challenge on.
    #[must_use]
    pub fn hands_challenges_on(&self) -> bool {
        matches!(self.kind, Kind::Dragonfly { .. })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Distribution => f.write_str("distribution"),
            Self::Dragonfly { .. } => f.write_str("dragonfly"),
            Self::Gitlab { group } => write!(f, "gitlab, group {group}"),
            Self::Harbor { project } => write!(f, "harbor, project {project}"),
            Self::Nexus { repository, .. } => write!(f, "nexus, repository {repository}"),
            Self::Plain => f.write_str("plain"),
            Self::Prefixed { prefix, .. } => write!(f, "plain, below {prefix}"),
        }
    }
}

/// The address of a mirror: `http` or `https`, a host, and what its paths begin with before `/v2/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Address(Url);

/// A text that is no address of a mirror.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// It has a query or a fragment.
    #[error("an address has a host and perhaps a path, and no query or fragment")]
    More,
    /// It is not read as a URL.
    #[error("it is no address")]
    NoUrl,
    /// It has another scheme.
    #[error("a mirror is asked over http or https")]
    Scheme,
    /// It has a user or a password.
    #[error("whoever can read it can use the login in it")]
    User,
    /// Its path has `/v2` in it.
    #[error("`/v2/` is added by itself")]
    Versioned,
}

impl Address {
    /// Returns the URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Says whether a text is the address of a host alone.
    pub(super) fn is_root(text: &str) -> bool {
        let address = text.parse::<Self>();
        text.contains("://") && address.is_ok_and(|address| address.0.path() == "/")
    }

    /// Says whether what is sent there can't be read on the way: it is TLS, or this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.0.scheme() == "https" || super::transport::is_loopback(&self.0)
    }

    /// Returns an address that does not exist.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a constant that is a URL")]
    pub fn stand_in() -> Self {
        Self(Url::parse("https://stand-in.invalid").expect("a URL"))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Reads an address. Without a scheme it is https, but on this machine http, as for registries.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let mut url = Url::parse(&whole).map_err(|_| AddressError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(AddressError::NoUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::User);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::More);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.split('/').any(|part| part == "v2") {
            return Err(AddressError::Versioned);
        }
        url.set_path(&path);
        if !text.contains("://") && super::transport::is_loopback(&url) {
            // Both schemes are special, so this can't fail.
            let _ = url.set_scheme("http");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}
