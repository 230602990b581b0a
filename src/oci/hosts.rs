//! The hosts that a registry names itself, for tokens and for blobs, and which of them are listed.
//!
//! Listed is what the [table](super::known_hosts), the document or the lock file says. The sandbox
//! connects to listed hosts alone; natively, blobs come from wherever the registry says, and
//! credentials go to its own site and to token services of the table and the document.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use super::known_hosts;
use super::reference::api_host;

use crate::authority::{authority, bracketed};

/// A host and port that a registry may name.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    host: String,
    port: u16,
}

/// What a registry names a host for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// It redirects there.
    Blobs,
    /// Its tokens come from there.
    Token,
}

/// Who lists a host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// The table in the source.
    Known,
    /// The document, under `registries`.
    Document,
    /// The lock file.
    Lock,
}

/// The hosts of one registry, by what they are for.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Named {
    /// Of its token service.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tokens: BTreeSet<Place>,
    /// Of its blobs.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub blobs: BTreeSet<Place>,
}

/// A host that is listed for a registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listed {
    /// The host.
    pub place: Place,
    /// What for.
    pub role: Role,
    /// By whom; the first of the table, the document and the lock file.
    pub origin: Origin,
}

/// What is listed besides the table, by registry.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    document: BTreeMap<String, Named>,
    lock: BTreeMap<String, Named>,
}

impl Hosts {
    /// Takes what the document says, and what the lock file recorded, by registry as references write it.
    #[must_use]
    pub fn new(document: BTreeMap<String, Named>, lock: BTreeMap<String, Named>) -> Self {
        let by_api_host = |map: BTreeMap<String, Named>| {
            let mut merged: BTreeMap<String, Named> = BTreeMap::new();
            for (registry, named) in map {
                let entry = merged.entry(key(&registry)).or_default();
                entry.tokens.extend(named.tokens);
                entry.blobs.extend(named.blobs);
            }
            merged
        };
        Self {
            document: by_api_host(document),
            lock: by_api_host(lock),
        }
    }

    /// Returns the hosts that are listed for a registry, each once for each thing it is for.
    #[must_use]
    pub fn of(&self, registry: &str) -> Vec<Listed> {
        let key = key(registry);
        let mut all = BTreeMap::new();
        let known = known_hosts::of(&key);
        for (origin, named) in [
            (Origin::Known, Some(&known)),
            (Origin::Document, self.document.get(&key)),
            (Origin::Lock, self.lock.get(&key)),
        ] {
            for (role, place) in named.into_iter().flat_map(Named::all) {
                let by_rule = origin != Origin::Lock || place.may_be_named_by(registry);
                if by_rule {
                    all.entry((role, place.clone())).or_insert(origin);
                }
            }
        }
        all.into_iter()
            .map(|((role, place), origin)| Listed {
                place,
                role,
                origin,
            })
            .collect()
    }

    /// Says whether a host is listed for a registry, for whatever it is for.
    #[must_use]
    pub fn lists(&self, registry: &str, place: &Place) -> bool {
        self.of(registry)
            .iter()
            .any(|listed| listed.place == *place)
    }

    /// Says whether a registry's credentials may go to a token service: one on the registry's own
    /// site, or one that the table or the document names. A lock file is anybody's word.
    #[must_use]
    pub fn trusts(&self, registry: &str, base: &Url, realm: &Url) -> bool {
        let (Some(own), Some(service)) = (Place::of(base), Place::of(realm)) else {
            return false;
        };
        let named = |listed: &Listed| {
            listed.place == service && listed.role == Role::Token && listed.origin != Origin::Lock
        };
        own.is_same_site(&service) || self.of(registry).iter().any(named)
    }
}

impl Listed {
    /// Returns what the host is for and who says so, for a table of grants.
    #[must_use]
    pub fn reason(&self, registry: &str) -> String {
        let origin = match self.origin {
            Origin::Known => format!("known hosts {}", known_hosts::VERSION),
            Origin::Document => self.role.key().to_owned(),
            Origin::Lock => "lock file".to_owned(),
        };
        format!("{} of {registry} ({origin})", self.role.what())
    }
}

impl Named {
    /// Returns the hosts with what they are for.
    pub fn all(&self) -> impl Iterator<Item = (Role, &Place)> {
        let blobs = self.blobs.iter().map(|place| (Role::Blobs, place));
        blobs.chain(self.tokens.iter().map(|place| (Role::Token, place)))
    }

    /// Leaves out what this registry's word is not enough for.
    #[must_use]
    pub fn as_named_by(mut self, registry: &str) -> Self {
        for places in [&mut self.tokens, &mut self.blobs] {
            places.retain(|place| place.may_be_named_by(registry));
        }
        self
    }

    /// Adds a host, unless there are very many: a registry can name as many as it likes.
    pub(super) fn add(&mut self, role: Role, place: Place) {
        const MOST: usize = 32;
        let places = match role {
            Role::Blobs => &mut self.blobs,
            Role::Token => &mut self.tokens,
        };
        if places.len() < MOST {
            places.insert(place);
        }
    }
}

impl Role {
    /// Returns the key of the document that lists such hosts.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Blobs => "blobs-from",
            Self::Token => "tokens-from",
        }
    }

    /// Returns what such a host has, in words.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Token => "token service",
        }
    }
}

/// Returns the line that lists a host for a registry, as it stands under `registries`.
#[must_use]
pub fn line(registry: &str, role: Role, place: &Place) -> String {
    format!("\"{registry}\": {{{}: [\"{place}\"]}}", role.key())
}

/// Returns what to do if a run needs a host that a registry named and nobody lists.
#[must_use]
pub fn hint(registry: &str, role: Role, place: &Place) -> String {
    format!(
        "if {place} is right, add it under `registries`: `{}`; or let `plan --lock FILE`, run outside of \
         the sandbox, write down where {registry} leads, and give the run the same `--lock`",
        line(registry, role, place)
    )
}

impl Place {
    /// Returns a host on the port of TLS.
    #[must_use]
    pub(super) fn tls(host: &str) -> Self {
        Self {
            host: host.to_ascii_lowercase(),
            port: 443,
        }
    }

    /// Returns a host that does not exist.
    #[must_use]
    pub fn stand_in() -> Self {
        Self::tls("stand-in.invalid")
    }

    /// Returns where a URL leads.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let host = url.host_str()?.trim_matches(['[', ']']);
        Some(Self {
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: url.port_or_known_default()?,
        })
    }

    /// Returns the name, or the address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Says whether a registry's word is enough to write this host down. A registry that has a
    /// name does not lead to addresses: those of the inner network would be granted as written.
    #[must_use]
    pub fn may_be_named_by(&self, registry: &str) -> bool {
        let inner = |host: &str| {
            host.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
        };
        let own = Url::parse(&format!("https://{}/", api_host(registry)))
            .ok()
            .and_then(|url| Self::of(&url));
        !inner(&self.host) || own.is_some_and(|own| inner(&own.host))
    }

    /// Says whether two hosts are one site: the same host, one below the other's, or both below
    /// the same domain of at least two labels.
    fn is_same_site(&self, other: &Self) -> bool {
        let (own, other) = (self.host.as_str(), other.host.as_str());
        let local = |host: &str| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        if own == other || local(own) && local(other) {
            return true;
        }
        if own.parse::<IpAddr>().is_ok() || other.parse::<IpAddr>().is_ok() {
            return false;
        }
        let below = |name: &str, domain: &str| {
            name.strip_suffix(domain)
                .is_some_and(|front| front.is_empty() || front.ends_with('.'))
        };
        let parent = own.split_once('.').map(|(_, parent)| parent);
        below(other, own)
            || parent.is_some_and(|parent| parent.contains('.') && below(other, parent))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            443 => f.write_str(&bracketed(&self.host)),
            port => f.write_str(&authority(&self.host, port)),
        }
    }
}

/// A text that is no host to list.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlaceError {
    /// It has a scheme, a path, a user or blanks.
    #[error("a host stands alone here, with a port if it is not 443")]
    NotAlone,
    /// It has a star.
    #[error(
        "each host is written out: if any name below a domain could be asked for, names could carry secrets outside"
    )]
    Star,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if text.contains('*') {
            return Err(PlaceError::Star);
        }
        let odd = |byte: u8| !byte.is_ascii_graphic() || b"/@?#\\%\"'".contains(&byte);
        if text.is_empty() || text.bytes().any(odd) {
            return Err(PlaceError::NotAlone);
        }
        let url = Url::parse(&format!("https://{text}/")).map_err(|_| PlaceError::NotAlone)?;
        // A URL takes `7` for 0.0.0.7, and a granted address is one that was written as such.
        let as_written = |host: &str| match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => text.split(':').next() == Some(host),
            _ => true,
        };
        Self::of(&url)
            .filter(|place| !place.host.is_empty() && place.port != 0)
            .filter(|place| as_written(&place.host))
            .ok_or(PlaceError::NotAlone)
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

/// Registries are known by the host of their API.
fn key(registry: &str) -> String {
    api_host(registry).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Place {
        text.parse().unwrap()
    }

    fn named(tokens: &[&str], blobs: &[&str]) -> Named {
        Named {
            tokens: tokens.iter().map(|text| place(text)).collect(),
            blobs: blobs.iter().map(|text| place(text)).collect(),
        }
    }

    fn map(registry: &str, named: Named) -> BTreeMap<String, Named> {
        BTreeMap::from([(registry.to_owned(), named)])
    }

    #[test]
    fn a_host_is_listed_by_the_first_who_says_so() {
        let hosts = Hosts::new(
            map("docker.io", named(&[], &["blobs.example"])),
            map(
                "index.docker.io",
                named(
                    &["auth.docker.io"],
                    &["blobs.example", "new.example:8443", "169.254.169.254:80"],
                ),
            ),
        );
        let reasons: Vec<String> = hosts
            .of("docker.io")
            .into_iter()
            .filter(|listed| !listed.place.host.contains("docker.com"))
            .filter(|listed| !listed.place.host.contains("cloudflare"))
            .map(|listed| format!("{}: {}", listed.place, listed.reason("docker.io")))
            .collect();
        // A lock file lists no address for a registry that has a name.
        assert_eq!(
            reasons.join("\n").replace(known_hosts::VERSION, "DAY"),
            "blobs.example: blobs of docker.io (blobs-from)
new.example:8443: blobs of docker.io (lock file)
auth.docker.io: token service of docker.io (known hosts DAY)"
        );
        assert!(hosts.lists("registry-1.docker.io", &place("new.example:8443")));
        assert!(!hosts.lists("docker.io", &place("new.example")));
        assert!(!hosts.lists("ghcr.io", &place("blobs.example")));
    }

    #[test]
    fn credentials_go_to_the_own_site_and_to_listed_token_services() {
        let hosts = Hosts::new(
            map(
                "r.example",
                named(&["auth.elsewhere.example"], &["blobs.elsewhere.example"]),
            ),
            map("r.example", named(&["locked.elsewhere.example"], &[])),
        );
        let trusts = |registry: &str, realm: &str| {
            let base = Url::parse(&format!("https://{registry}/v2/")).unwrap();
            hosts.trusts(registry, &base, &Url::parse(realm).unwrap())
        };
        for (registry, realm, good) in [
            ("r.example", "https://r.example/token", true),
            ("r.example", "https://r.example:8443/token", true),
            ("r.example", "https://auth.r.example/token", true),
            ("r.example", "https://other.example/token", false),
            ("r.example", "https://auth.elsewhere.example/t", true),
            ("r.example", "https://auth.elsewhere.example:1/t", false),
            ("r.example", "https://blobs.elsewhere.example/t", false),
            ("r.example", "https://locked.elsewhere.example/t", false),
            (
                "registry.corp.example",
                "https://git.corp.example/jwt",
                true,
            ),
            ("registry.corp.example", "https://corp.example/jwt", true),
            ("registry.corp.example", "https://evilcorp.example/t", false),
            ("registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("127.0.0.1:5000", "http://localhost:9/token", true),
            ("10.0.0.1", "https://10.0.0.2/token", false),
            ("docker.io", "https://auth.docker.io/token", true),
        ] {
            assert_eq!(trusts(registry, realm), good, "{registry} {realm}");
        }
    }

    #[test]
    fn a_registry_with_a_name_can_not_have_addresses_written_down() {
        for (registry, named, may) in [
            ("r.example", "cdn.example", true),
            ("r.example", "10.0.0.1:80", false),
            ("r.example", "[::1]:80", false),
            ("r.example:5000", "localhost:80", false),
            ("127.0.0.1:5000", "127.0.0.1:6000", true),
            ("localhost:5000", "[::1]:6000", true),
            ("10.0.0.1", "10.0.0.2", true),
        ] {
            assert_eq!(
                place(named).may_be_named_by(registry),
                may,
                "{registry} {named}"
            );
        }
    }

    #[test]
    fn the_line_can_be_pasted() {
        assert_eq!(
            line("127.0.0.1:5000", Role::Blobs, &place("[::1]:6000")),
            r#""127.0.0.1:5000": {blobs-from: ["[::1]:6000"]}"#
        );
        assert_eq!(
            line("r.example", Role::Token, &place("auth.example")),
            r#""r.example": {tokens-from: ["auth.example"]}"#
        );
    }

    #[test]
    fn odd_hosts_are_refused() {
        for text in [
            "",
            "*.example",
            "https://a.example",
            "a.example/x",
            "me@a",
            "a b",
            "a:0",
            "a:x",
            "7",
            "0x7f.1",
            "127.1:80",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        assert_eq!(place("CDN.example.:443").to_string(), "cdn.example");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            host in "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,3}|\\[::[1-9a-f]{1,4}\\]", port in 1_u16..,
        ) {
            let place: Place = format!("{host}:{port}").parse().unwrap();
            prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }

        #[test]
        fn any_text_is_a_host_or_refused(text in "\\PC{0,40}") {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert!(!place.host().is_empty() && !place.host().contains(['*', '/', '@']));
                prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
            }
        }
    }
}
