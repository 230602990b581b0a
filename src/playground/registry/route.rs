//! From a path to an endpoint of the distribution spec ("Endpoints").

use std::fmt;

use http::Method;

use super::refusal::{Code, Refusal};
use crate::oci::Digest;
use crate::playground::http::decode_path;

/// An endpoint, with names that are already checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Route {
    Base,
    Blob { name: String, digest: Digest },
    Catalog,
    Manifest { name: String, target: Target },
    Referrers { name: String, digest: Digest },
    Tags { name: String },
    Token,
    Upload { name: String, id: String },
    Uploads { name: String },
}

impl Route {
    /// Finds the endpoint of a path as it was sent.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let path = decode_path(path).ok_or_else(|| {
            Refusal::bad_request(Code::NameInvalid, "the path has a broken escape")
        })?;
        if path == "/token" {
            return Ok(Self::Token);
        }
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) if rest.starts_with('/') => &rest[1..],
            _ => return Err(no_endpoint()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let segments: Vec<&str> = rest.split('/').collect();
        match segments.as_slice() {
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads {
                    name: repository(name)?,
                })
            }
            [name @ .., "blobs", "uploads", id] => Ok(Self::Upload {
                name: repository(name)?,
                id: (*id).to_owned(),
            }),
            [name @ .., "blobs", digest] => Ok(Self::Blob {
                name: repository(name)?,
                digest: parse_digest(digest)?,
            }),
            [name @ .., "manifests", target] => Ok(Self::Manifest {
                name: repository(name)?,
                target: Target::parse(target)?,
            }),
            [name @ .., "referrers", digest] => Ok(Self::Referrers {
                name: repository(name)?,
                digest: parse_digest(digest)?,
            }),
            [name @ .., "tags", "list"] => Ok(Self::Tags {
                name: repository(name)?,
            }),
            _ => Err(no_endpoint()),
        }
    }

    /// Returns the methods that the endpoint knows.
    pub(super) const fn methods(&self) -> &'static [Method] {
        match self {
            Self::Base => &[Method::GET, Method::HEAD],
            Self::Blob { .. } => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Catalog | Self::Referrers { .. } | Self::Tags { .. } | Self::Token => {
                &[Method::GET]
            }
            Self::Manifest { .. } => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Upload { .. } => &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE],
            Self::Uploads { .. } => &[Method::POST],
        }
    }

    /// Returns the repository, if the endpoint belongs to one.
    pub(super) fn repository(&self) -> Option<&str> {
        match self {
            Self::Base | Self::Catalog | Self::Token => None,
            Self::Blob { name, .. }
            | Self::Manifest { name, .. }
            | Self::Referrers { name, .. }
            | Self::Tags { name }
            | Self::Upload { name, .. }
            | Self::Uploads { name } => Some(name),
        }
    }
}

/// What stands after `manifests/`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    Digest(Digest),
    /// A well-formed tag.
    Tag(String),
    /// Neither a digest nor a tag: it can't be found, and nothing can be put there.
    Nothing(String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') {
            parse_digest(text).map(Self::Digest)
        } else if is_tag(text) {
            Ok(Self::Tag(text.to_owned()))
        } else {
            Ok(Self::Nothing(text.chars().take(128).collect()))
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) | Self::Nothing(tag) => f.write_str(tag),
        }
    }
}

/// Parses a digest, or refuses it in the words of the spec.
pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|error: crate::oci::digest::DigestError| {
            Refusal::bad_request(Code::DigestInvalid, error.to_string())
        })
}

/// Tells whether a string is a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
pub(super) fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Tells whether a string is a repository's name: components of lower-case letters and digits, separated inside
/// by `.`, `_`, `__` or dashes, joined by `/`, at most 255 bytes.
pub(super) fn is_repository(text: &str) -> bool {
    text.len() <= 255 && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    // Separators stand between words, so the runs of other bytes are looked at.
    bytes.first().is_some_and(word)
        && bytes.last().is_some_and(word)
        && bytes.split(word).all(|separator| {
            matches!(separator, b"" | b"." | b"_" | b"__")
                || separator.iter().all(|byte| *byte == b'-')
        })
}

fn repository(segments: &[&str]) -> Result<String, Refusal> {
    let name = segments.join("/");
    if is_repository(&name) {
        return Ok(name);
    }
    Err(Refusal::bad_request(
        Code::NameInvalid,
        "a repository's name is lower-case letters and digits, separated by . _ __ - and /, at most 255 bytes",
    ))
}

fn no_endpoint() -> Refusal {
    Refusal::not_found(
        Code::Unsupported,
        "no such endpoint in the distribution spec",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_spec() {
        for good in ["a", "acme/web", "a.b_c__d---e/f", "0/1", &"a".repeat(255)] {
            assert!(is_repository(good), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", ".a", "a-", "..", "a/../b",
            "ä", "a b", "a\0", &long,
        ] {
            assert!(!is_repository(bad), "{bad}");
        }
    }

    #[test]
    fn tags_of_the_spec() {
        for good in ["v1", "_", "V1.0-rc_1", &"a".repeat(128)] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".v1", "-v1", "v 1", "ü", &"a".repeat(129)] {
            assert!(!is_tag(bad), "{bad}");
        }
    }

    #[test]
    fn a_repository_may_be_called_like_an_endpoint() {
        let Ok(Route::Manifest { name, target }) = Route::parse("/v2/manifests/tags/manifests/v1")
        else {
            panic!("not a manifest");
        };
        assert_eq!(name, "manifests/tags");
        assert_eq!(target, Target::Tag("v1".into()));
    }

    #[test]
    fn paths_that_lead_nowhere() {
        for path in [
            "/",
            "/v1/",
            "/v2x/",
            "/v2/acme/web",
            "/v2/_oci",
            "/health",
            "/v2/a/tags/all",
        ] {
            assert_eq!(Route::parse(path).unwrap_err().code, Code::Unsupported);
        }
        for path in [
            "/v2/../tags/list",
            "/v2/%2e%2e/tags/list",
            "/v2/a/%2e%2e/b/manifests/v1",
            "/v2/a%00/tags/list",
            "/v2/a%/tags/list",
            "/v2//tags/list",
            "/v2/tags/list",
        ] {
            assert_eq!(
                Route::parse(path).unwrap_err().code,
                Code::NameInvalid,
                "{path}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_path_is_answered(path in "(/v2)?(/[a-z.%/:_-]{0,12}){0,5}") {
            if let Ok(route) = Route::parse(&path) {
                prop_assert!(route.repository().is_none_or(is_repository));
            }
        }

        #[test]
        fn names_agree_with_the_expression_of_the_spec(name in "[a-c0._/-]{0,8}") {
            let expression = regex::Regex::new(
                r"\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z",
            ).unwrap();
            prop_assert_eq!(is_repository(&name), expression.is_match(&name));
        }
    }
}
