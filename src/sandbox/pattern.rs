//! Patterns over grants: hosts, paths and names of variables.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::authority::authority;
use crate::sandbox::Host;

/// Hosts and ports: `ghcr.io:443`, `*.corp.example`, `127.0.0.1:*`, `*`.
///
/// A pattern without a port stands for every port. `*.domain` is any name below the domain, not the
/// domain itself. Names and addresses are compared as they are written: nothing is looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostPattern {
    host: String,
    port: Option<u16>,
}

impl HostPattern {
    /// Matches every host.
    #[must_use]
    pub fn any() -> Self {
        Self {
            host: "*".to_owned(),
            port: None,
        }
    }

    /// Says whether a host and port match.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        let name = normal(&host.host);
        let named = match self.host.strip_prefix('*') {
            Some("") => true,
            // What is left begins with a dot.
            Some(domain) => name.len() > domain.len() && name.ends_with(domain),
            None => name == self.host,
        };
        named && self.port.is_none_or(|port| port == host.port)
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            "write HOST:PORT or HOST, where HOST may be `*` or `*.domain`, and PORT `*`".to_owned()
        };
        let (host, port) = match (text.strip_prefix('['), text.rsplit_once(':')) {
            (Some(rest), _) => {
                let (address, rest) = rest.split_once(']').ok_or_else(form)?;
                let port = match rest {
                    "" => None,
                    _ => Some(rest.strip_prefix(':').ok_or_else(form)?),
                };
                (address, port)
            }
            (None, Some((host, port))) if !host.contains(':') => (host, Some(port)),
            // An address without brackets has no place for a port.
            _ => (text, None),
        };
        let port = match port {
            None | Some("*") => None,
            Some(port) => Some(
                port.parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(form)?,
            ),
        };
        if host == "*." {
            return Err(form());
        }
        let host = normal(host);
        let name = match host.strip_prefix('*') {
            Some("") => "any",
            Some(domain) => domain.strip_prefix('.').ok_or_else(form)?,
            None => &host,
        };
        if name.is_empty() || name.contains(['*', '/', '@', ' ', '[', ']']) {
            return Err(form());
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.write_str(&authority(&self.host, port)),
            None => f.write_str(&self.host),
        }
    }
}

fn normal(host: &str) -> String {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    // `::ffff:127.0.0.1` and `0:0::1` are other spellings of what a pattern names.
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host,
    }
}

/// A file or folder with everything below it. `*` stands for anything within one name: `keys/*.pub`.
///
/// A relative pattern is below the working folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPattern(String);

impl PathPattern {
    /// Matches every path.
    #[must_use]
    pub fn any() -> Self {
        Self("/".to_owned())
    }

    /// Says whether an absolute path, free of links, matches.
    #[must_use]
    pub fn matches(&self, path: &Path, working_folder: &Path) -> bool {
        let pattern = flat(&working_folder.join(&self.0));
        let mut path = path.components();
        pattern.components().all(|wanted| {
            path.next().is_some_and(|found| {
                glob(
                    &wanted.as_os_str().to_string_lossy(),
                    &found.as_os_str().to_string_lossy(),
                )
            })
        })
    }
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("write a path; `*` stands for anything within one name".to_owned());
        }
        if text.split('/').any(|name| name == "**") {
            return Err("leave `**` out: a folder stands for everything below it".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Takes `.` and `..` out of an absolute path, by its letters alone.
#[must_use]
pub fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            // Above the root is the root.
            Component::ParentDir => {
                flat.pop();
            }
            other => flat.push(other),
        }
    }
    flat
}

/// Names of variables; `*` stands for any part: `GITHUB_*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VariablePattern(String);

impl VariablePattern {
    /// Matches every variable.
    #[must_use]
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// Says whether a name matches.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        glob(&self.0, name)
    }
}

impl FromStr for VariablePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        super::given::variable(text)
            .map(Self)
            .map_err(|_| "write the name of a variable; `*` stands for any part of it".to_owned())
    }
}

impl fmt::Display for VariablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Matches a whole text, where `*` in the pattern is any number of any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    // The earliest place for each part leaves the most for those behind it.
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(pattern: &str, host: &str) -> bool {
        let pattern = pattern.parse::<HostPattern>().unwrap();
        pattern.matches(&host.parse().unwrap())
    }

    #[test]
    fn hosts_match_by_name_and_port() {
        assert!(host("ghcr.io:443", "GHCR.io:443"));
        assert!(!host("ghcr.io:443", "ghcr.io:80"));
        assert!(host("ghcr.io", "ghcr.io:80"));
        assert!(host("ghcr.io:*", "ghcr.io.:80"));
        assert!(host("*", "[::1]:80"));
        assert!(host("*:443", "a:443"));
        assert!(!host("*:443", "a:80"));
        assert!(host("*.example", "a.example:1"));
        assert!(!host("*.example", "example:1"));
        assert!(!host("*.example", "badexample:1"));
        assert!(host("[::1]:80", "[::1]:80"));
        assert!(host("::1", "[0:0::1]:80"));
        assert!(host("127.0.0.1", "[::ffff:127.0.0.1]:80"));
    }

    #[test]
    fn odd_hosts_are_refused() {
        for bad in [
            "", "a*", "*a", "a.*.b", "http://a", "[::1", "[::1]x", "a:0", "*.",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_stands_for_what_is_below_it() {
        let matches = |pattern: &str, path: &str| {
            let pattern = pattern.parse::<PathPattern>().unwrap();
            pattern.matches(Path::new(path), Path::new("/work"))
        };
        assert!(matches(".", "/work/keys/a.pub"));
        assert!(matches("keys/*.pub", "/work/keys/a.pub"));
        assert!(!matches("keys/*.pub", "/work/keys/a.key"));
        assert!(!matches("keys/*.pub", "/work/keys/a/b.pub"));
        assert!(matches("/etc", "/etc/ssl/ca.pem"));
        assert!(!matches("/etc", "/etcetera"));
        assert!(!matches(".", "/worker"));
        assert!(matches("..", "/etc"));
        assert!(matches("/", "/etc"));
        assert!("a/**".parse::<PathPattern>().is_err());
    }

    #[test]
    fn variables_match_whole() {
        let matches =
            |pattern: &str, name: &str| pattern.parse::<VariablePattern>().unwrap().matches(name);
        assert!(matches("GITHUB_*", "GITHUB_TOKEN"));
        assert!(matches("*_TOKEN", "GITHUB_TOKEN"));
        assert!(matches("G*_*N", "GITHUB_TOKEN"));
        assert!(!matches("TOKEN", "GITHUB_TOKEN"));
        assert!(!matches("AB*B", "AB"));
    }

    proptest! {
        #[test]
        fn a_glob_agrees_with_the_regular_expression(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            let expression = format!("^{}$", pattern.replace('*', ".*"));
            let expected = regex::Regex::new(&expression).unwrap().is_match(&text);
            prop_assert_eq!(glob(&pattern, &text), expected);
        }
    }
}
