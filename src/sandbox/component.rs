//! Where the component comes from, as the command line names it: a file, or an artifact in a registry.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::oci::{Digest, Reference, Repository};

/// How an artifact in a registry is written.
const SCHEME: &str = "oci://";

/// What `--component` names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Component {
    /// A file of this machine.
    File(PathBuf),
    /// An artifact in a registry.
    Registry(Artifact),
}

/// An artifact in a registry, pinned to a digest: `oci://HOST/REPOSITORY[:TAG]@sha256:…`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Artifact {
    /// The repository.
    pub repository: Repository,
    /// The tag that was written beside the digest. It is for people: nothing is looked up by it.
    pub tag: Option<String>,
    /// The digest of the manifest.
    pub digest: Digest,
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(name) = text.strip_prefix(SCHEME) else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!(
                    "components don't come by `{scheme}`: name a file, or {SCHEME}HOST/REPOSITORY@sha256:…"
                )),
                None if text.is_empty() => Err("it is empty".to_owned()),
                None => Ok(Self::File(text.into())),
            };
        };
        let reference: Reference = name.parse().map_err(|error| format!("{error}"))?;
        let Reference {
            repository,
            tag,
            digest,
        } = reference;
        let host = name.split_once('/').map_or("", |(host, _)| host);
        // Short forms of Docker Hub would hide who is asked.
        if host != repository.registry {
            return Err(format!(
                "the registry's host is missing: {SCHEME}HOST/REPOSITORY@sha256:…"
            ));
        }
        let Some(digest) = digest else {
            let tag = tag.as_deref().unwrap_or("latest");
            return Err(format!(
                "it names no digest, and a tag can be moved to another component at any time: write \
                 `{SCHEME}{repository}:{tag}@sha256:…`, with the digest that \
                 `oras resolve {repository}:{tag}` prints"
            ));
        };
        Ok(Self::Registry(Artifact {
            repository,
            tag,
            digest,
        }))
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        write!(f, "@{}", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn files_and_pinned_artifacts() {
        for file in ["shipgate.wasm", "./a:b@c", "/x/y.wasm"] {
            assert_eq!(file.parse(), Ok(Component::File(file.into())));
        }
        for name in [
            "ghcr.io/acme/shipgate",
            "127.0.0.1:5000/a",
            "[::1]:5000/a/b",
        ] {
            for tag in ["", ":v1"] {
                let text = format!("oci://{name}{tag}@{DIGEST}");
                let Ok(Component::Registry(artifact)) = text.parse() else {
                    panic!("{text}");
                };
                assert_eq!(artifact.to_string(), text);
                assert_eq!(artifact.repository.to_string(), name);
            }
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        let refusals: Vec<String> = [
            "",
            "https://ghcr.io/acme/shipgate",
            "oci://ghcr.io/acme/shipgate:v1",
            "oci://127.0.0.1:5000/shipgate",
            "oci://acme/shipgate@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "oci://ghcr.io/acme/shipgate@sha256:0123",
            "oci://",
        ]
        .into_iter()
        .map(|text| format!("{text}\n  {}", text.parse::<Component>().unwrap_err()))
        .collect();
        insta::assert_snapshot!(refusals.join("\n"));
    }
}
