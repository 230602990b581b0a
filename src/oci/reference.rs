//! Image references, as Docker and the distribution spec write them.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::Digest;

/// A repository: the registry's host with its port, and the path below `/v2/`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Repository {
    /// The host as it is written in references, with the port if one was given: `ghcr.io`, `127.0.0.1:5000`.
    pub registry: String,
    /// The path, for instance `acme/web`.
    pub path: String,
}

impl Repository {
    /// Returns the host that serves the registry's API, with its port.
    ///
    /// It is the registry's name for all but Docker Hub, whose name `docker.io` is not an API host.
    #[must_use]
    pub fn api_host(&self) -> &str {
        api_host(&self.registry)
    }
}

/// Returns the host that serves the API of a registry.
#[must_use]
pub fn api_host(registry: &str) -> &str {
    match registry {
        "docker.io" | "index.docker.io" => "registry-1.docker.io",
        other => other,
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// An image reference: a repository with a tag, a digest or both.
///
/// Docker's short forms are spelled out: `nginx` is `docker.io/library/nginx:latest`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag, `latest` where neither tag nor digest was given.
    pub tag: Option<String>,
    /// The digest. It wins over the tag.
    pub digest: Option<Digest>,
}

/// A refusal to take a string for an image reference.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not an image reference: {reason}")]
pub struct ReferenceError {
    /// What was given, at most 300 characters of it.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |reason: String| ReferenceError {
            text: text.chars().take(300).collect(),
            reason,
        };
        if let Some(reason) = obvious_fault(text) {
            return Err(refuse(reason));
        }
        // The grammar of references knows no IPv6 addresses, HTTP does: a stand-in host
        // carries the rest through the parser.
        let (address, rest) = match text.strip_prefix('[') {
            None => (None, text.to_owned()),
            Some(inner) => {
                let (address, rest) = inner
                    .split_once(']')
                    .ok_or_else(|| refuse("an IPv6 address ends with `]`".into()))?;
                let address: Ipv6Addr = address
                    .parse()
                    .map_err(|_| refuse(format!("`{address}` is not an IPv6 address")))?;
                (Some(address), format!("{STAND_IN}{rest}"))
            }
        };
        let parsed = Parts::of(&rest).ok_or_else(|| refuse(explain(&rest)))?;
        let registry = match address {
            None => parsed.registry.to_owned(),
            Some(address) => match parsed.registry.strip_prefix(STAND_IN) {
                Some(port) => format!("[{address}]{port}"),
                None => return Err(refuse("the repository is missing after the address".into())),
            },
        };
        if parsed.path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(refuse(format!(
                "the repository `{}` has upper-case letters",
                parsed.path
            )));
        }
        if let Some(port) = port(&registry)
            && port.parse::<u16>().is_err()
        {
            return Err(refuse(format!("the port {port} is above 65535")));
        }
        Ok(Self {
            repository: Repository {
                registry,
                path: parsed.path,
            },
            tag: parsed.tag.map(str::to_owned),
            digest: parsed.digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A host that no reference can mean, since `.invalid` is reserved (RFC 2606).
const STAND_IN: &str = "ipv6.invalid";
/// The longest reference that is looked at: host, path, tag and digest at their limits fit.
const LONGEST: usize = 1024;

/// The longest path of a repository.
const LONGEST_PATH: usize = 255;

/// The parts of a reference by [Docker's grammar](https://pkg.go.dev/github.com/distribution/reference), with its short forms
/// spelled out.
///
/// It is read here and not by oci-client, whose expression takes 45 ms to compile, in a component 150. The tests hold
/// the two against each other.
struct Parts<'a> {
    registry: &'a str,
    path: String,
    tag: Option<&'a str>,
    digest: Option<Digest>,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().ok()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let (first, others) = match name.split_once('/') {
            Some((first, others)) => (first, Some(others)),
            None => (name, None),
        };
        let is_host = others.is_some() && is_host(first);
        if !is_host && !is_component(first) {
            return None;
        }
        if !others.is_none_or(|others| others.split('/').all(is_component)) {
            return None;
        }
        let named = |host: &str| host.contains(['.', ':']) || host == "localhost";
        let (registry, path) = match others {
            Some(others) if named(first) => (first, others),
            _ => (DOCKER_HUB, name),
        };
        let registry = if registry == "index.docker.io" {
            DOCKER_HUB
        } else {
            registry
        };
        let path = if registry == DOCKER_HUB && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        Some(Self {
            registry,
            tag: tag.or(if digest.is_none() {
                Some("latest")
            } else {
                None
            }),
            digest,
            path,
        })
        .filter(|parts| parts.path.len() <= LONGEST_PATH)
    }
}

const DOCKER_HUB: &str = "docker.io";

/// Returns whether a string can be a host with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label)
        && port
            .is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns whether a string can stand between two slashes of a repository's path: words of lower-case letters and digits, with
/// a `.`, one or two `_`, or any number of `-` between them.
fn is_component(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii() && word(c as u8));
    let between = separators.filter(|separator| !separator.is_empty());
    !text.is_empty()
        && text.bytes().next().is_some_and(word)
        && text.bytes().last().is_some_and(word)
        && between.into_iter().all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

/// Names the faults that the parser would only call an invalid format.
fn obvious_fault(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty".into());
    }
    if text.len() > LONGEST {
        return Some(format!("it is longer than {LONGEST} characters"));
    }
    if text.contains("://") {
        return Some("leave the scheme out, for instance `ghcr.io/acme/web:v1`".into());
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Some(format!(
            "it contains {odd:?}, only ASCII without spaces is allowed"
        ));
    }
    None
}

/// Says what is wrong with a string that is no reference.
fn explain(text: &str) -> String {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    if let Some(Err(error)) = digest.map(str::parse::<Digest>) {
        return error.to_string();
    }
    let after_host = name.find('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match name[after_host..].split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (&name[after_host..], None),
    };
    if path.is_empty() {
        return "the repository is missing".into();
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return "repository names are lower case".into();
    }
    match tag {
        Some("") => "the tag is missing after `:`".into(),
        Some(tag) if tag.contains('/') => format!("`{tag}` is not a tag: the host comes first"),
        Some(tag) if tag.len() > 128 => "a tag has at most 128 characters".into(),
        Some(tag) if !is_tag(tag) => {
            format!("`{tag}` is not a tag: letters, digits, `_`, `.` and `-`, no `.` or `-` first")
        }
        _ if path.split('/').any(str::is_empty) => "there is an empty part between slashes".into(),
        _ if path.len() > LONGEST_PATH => {
            format!("the path of a repository has at most {LONGEST_PATH} characters")
        }
        _ => "expected host/repository:tag, or host/repository@sha256:…".into(),
    }
}

/// Returns whether a string can be a tag (distribution spec, "Pulling manifests").
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    matches!(text.as_bytes(), [first, rest @ ..]
        if word(*first) && rest.len() < 128 && rest.iter().all(|b| word(*b) || matches!(b, b'.' | b'-')))
}

fn port(registry: &str) -> Option<&str> {
    let after_address = registry.rfind(']').map_or(0, |bracket| bracket + 1);
    registry[after_address..]
        .split_once(':')
        .map(|(_, port)| port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn short_forms_are_spelled_out() {
        assert_eq!(parse("nginx").to_string(), "docker.io/library/nginx:latest");
        assert_eq!(parse("acme/web:v1").to_string(), "docker.io/acme/web:v1");
        assert_eq!(
            parse("localhost/web").repository,
            Repository {
                registry: "localhost".into(),
                path: "web".into()
            }
        );
    }

    #[test]
    fn only_docker_hub_has_another_api_host() {
        assert_eq!(parse("nginx").repository.api_host(), "registry-1.docker.io");
        assert_eq!(parse("ghcr.io/a/b").repository.api_host(), "ghcr.io");
    }

    #[test]
    fn ipv6_hosts() {
        let reference = parse("[::1]:5000/acme/web:v1");
        assert_eq!(reference.repository.registry, "[::1]:5000");
        assert_eq!(reference.to_string(), "[::1]:5000/acme/web:v1");
        assert_eq!(parse("[::1]/web").repository.registry, "[::1]");
    }

    #[test]
    fn refusals_name_the_fault() {
        let reasons: Vec<String> = [
            "",
            "https://ghcr.io/a/b",
            "ghcr.io/Acme/web",
            "ghcr.io/acme/web:",
            "ghcr.io/acme/web:-x",
            "ghcr.io/acme//web",
            "ghcr.io/acme/web@sha256:12",
            "ghcr.io/acme/web@md5:d41d8cd98f00b204e9800998ecf8427e",
            "ghcr.io/acme/web:v\u{e9}",
            "ghcr.io/acme/we b",
            "ghcr.io:99999/acme/web",
            "[::1/web",
            "[::g]/web",
            "[::1]",
            "ghcr.io/",
            "ghcr.io/../etc",
            "ACME/web",
        ]
        .into_iter()
        .map(|text| {
            let refused = text.parse::<Reference>().unwrap_err();
            format!("{text}: {}", refused.reason)
        })
        .collect();
        insta::assert_snapshot!(reasons.join("\n"), @r"
        : it is empty
        https://ghcr.io/a/b: leave the scheme out, for instance `ghcr.io/acme/web:v1`
        ghcr.io/Acme/web: repository names are lower case
        ghcr.io/acme/web:: the tag is missing after `:`
        ghcr.io/acme/web:-x: `-x` is not a tag: letters, digits, `_`, `.` and `-`, no `.` or `-` first
        ghcr.io/acme//web: there is an empty part between slashes
        ghcr.io/acme/web@sha256:12: expected 64 lower-case hex digits after `sha256:`, found 2 characters
        ghcr.io/acme/web@md5:d41d8cd98f00b204e9800998ecf8427e: unsupported digest algorithm `md5`, expected sha256
        ghcr.io/acme/web:vé: it contains 'é', only ASCII without spaces is allowed
        ghcr.io/acme/we b: it contains ' ', only ASCII without spaces is allowed
        ghcr.io:99999/acme/web: the port 99999 is above 65535
        [::1/web: an IPv6 address ends with `]`
        [::g]/web: `::g` is not an IPv6 address
        [::1]: the repository is missing after the address
        ghcr.io/: the repository is missing
        ghcr.io/../etc: expected host/repository:tag, or host/repository@sha256:…
        ACME/web: the repository `ACME/web` has upper-case letters
        ");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(
            host in "([a-z][a-z0-9]{0,8}\\.[a-z]{2,5}|localhost|127\\.0\\.0\\.1|\\[::1\\])(:[1-9][0-9]{0,3})?",
            path in "[a-z0-9]{1,8}(([._]|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,8}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"),
            bytes in proptest::option::of(any::<[u8; 32]>()),
        ) {
            let mut text = format!("{host}/{path}");
            if let Some(tag) = &tag {
                text += &format!(":{tag}");
            }
            if let Some(bytes) = bytes {
                text += &format!("@sha256:{}", hex::encode(bytes));
            }
            let first: Reference = text.parse().unwrap();
            prop_assert_eq!(&first.repository.path, &path);
            prop_assert_eq!(&first.repository.registry, &host);
            prop_assert_eq!(first.tag.is_some(), tag.is_some() || bytes.is_none());
            let second: Reference = first.to_string().parse().unwrap();
            prop_assert_eq!(first, second);
        }

        /// Letters of the grammar in any order, so that many are references and more are nearly.
        #[test]
        fn what_oci_client_takes_is_taken_and_nothing_else(
            text in "[aB0._:/-]{1,12}|[a-z0-9]{1,3}([.:/_-]{1,2}[aZ0-9]{1,3}){0,5}|(docker\\.io|index\\.docker\\.io|localhost)[:/][a0:/]{1,4}",
            digest in proptest::option::of(any::<[u8; 32]>()),
        ) {
            let text = match digest {
                Some(bytes) => format!("{text}@sha256:{}", hex::encode(bytes)),
                None => text,
            };
            let ours = Parts::of(&text).map(|parts| {
                let digest = parts.digest.map(|digest| digest.to_string());
                (parts.registry.to_owned(), parts.path, parts.tag.map(str::to_owned), digest)
            });
            let theirs = text.parse::<oci_client::Reference>().ok().map(|reference| (
                reference.registry().to_owned(),
                reference.repository().to_owned(),
                reference.tag().map(str::to_owned),
                reference.digest().map(str::to_owned),
            ));
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn any_string_is_taken_or_refused(text in "\\PC{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                let path = &reference.repository.path;
                prop_assert!(!path.split('/').any(|part| part.is_empty() || part.starts_with('.')));
                prop_assert!(reference.tag.as_deref().is_none_or(is_tag));
            }
        }
    }
}
