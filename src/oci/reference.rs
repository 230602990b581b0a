//! Image references, as Docker and the distribution spec write them.

use std::fmt;
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
        if text.contains("://") {
            return Err(refuse(
                "leave the scheme out, for instance `ghcr.io/acme/web:v1`".into(),
            ));
        }
        let parsed: oci_client::Reference = text
            .parse()
            .map_err(|error: oci_client::ParseError| refuse(error.to_string()))?;
        let digest = parsed
            .digest()
            .map(str::parse)
            .transpose()
            .map_err(|error: super::digest::DigestError| refuse(error.to_string()))?;
        Ok(Self {
            repository: Repository {
                registry: parsed.registry().to_owned(),
                path: parsed.repository().to_owned(),
            },
            tag: parsed.tag().map(str::to_owned),
            digest,
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
