//! Which hosts and ports a client may talk to.

use std::fmt;
use std::sync::Arc;

use crate::authority::authority;

/// An allow-list of hosts and ports, asked before a name is resolved.
#[derive(Clone, Debug)]
pub struct Grants(Option<Arc<[Grant]>>);

impl Grants {
    /// Grants every host and port.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self(None)
    }

    /// Grants what the list says and nothing else; an empty list grants nothing.
    pub fn only(list: impl IntoIterator<Item = Grant>) -> Self {
        Self(Some(list.into_iter().collect()))
    }

    /// Says whether this host (a name, or an address with or without brackets) and port are granted.
    #[must_use]
    pub fn allow(&self, host: &str, port: u16) -> bool {
        match &self.0 {
            None => true,
            Some(list) => list.iter().any(|grant| grant.matches(host, port)),
        }
    }
}

/// One granted host, or all hosts below a domain, on one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    host: String,
    below: bool,
    port: u16,
}

impl Grant {
    /// Returns the grant for a host name, an address, or `*.domain` (any name below the domain,
    /// not the domain itself).
    ///
    /// # Errors
    /// A `*` elsewhere than in the place of the first label, or nothing where a name should be.
    pub fn try_new(host: &str, port: u16) -> Result<Self, InvalidGrant> {
        let (below, name) = match host.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, host),
        };
        let name = normal(name);
        if name.is_empty() || name.contains(['*', '/', '@', ' ']) {
            return Err(InvalidGrant {
                host: host.to_owned(),
            });
        }
        Ok(Self {
            host: name,
            below,
            port,
        })
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        let host = normal(host);
        self.port == port
            && match host.strip_suffix(self.host.as_str()) {
                Some("") => !self.below,
                Some(front) => self.below && front.ends_with('.') && front.len() > 1,
                None => false,
            }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.below { "*." } else { "" };
        write!(f, "{star}{}", authority(&self.host, self.port))
    }
}

/// A host that no grant can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{host}` is no host to grant: write a name, an address, or `*.domain`")]
pub struct InvalidGrant {
    /// What was written.
    pub host: String,
}

fn normal(host: &str) -> String {
    host.trim_start_matches('[')
        .trim_end_matches([']', '.'])
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(list: &[(&str, u16)]) -> Grants {
        Grants::only(
            list.iter()
                .map(|(host, port)| Grant::try_new(host, *port).unwrap()),
        )
    }

    #[test]
    fn names_and_ports_match_exactly() {
        let grants = grants(&[("Registry.example", 443), ("::1", 5000)]);
        assert!(grants.allow("registry.example", 443));
        assert!(grants.allow("REGISTRY.example.", 443));
        assert!(grants.allow("[::1]", 5000));
        assert!(!grants.allow("registry.example", 80));
        assert!(!grants.allow("evil-registry.example", 443));
        assert!(!grants.allow("registry.example.evil", 443));
        assert!(!grants.allow("a.registry.example", 443));
    }

    #[test]
    fn a_star_stands_for_names_below() {
        let grants = grants(&[("*.example", 443)]);
        assert!(grants.allow("a.example", 443));
        assert!(grants.allow("b.a.example", 443));
        assert!(!grants.allow("example", 443));
        assert!(!grants.allow(".example", 443));
        assert!(!grants.allow("badexample", 443));
    }

    #[test]
    fn an_empty_list_grants_nothing() {
        assert!(!Grants::only([]).allow("localhost", 80));
        assert!(Grants::unrestricted().allow("localhost", 80));
    }

    #[test]
    fn odd_patterns_are_refused() {
        for host in [
            "",
            "*",
            "*.",
            "a*.example",
            "a.*.example",
            "http://a",
            "me@a",
        ] {
            assert!(Grant::try_new(host, 1).is_err(), "{host}");
        }
    }
}
