//! The lock file: what a run resolved, and what that rests on.
//!
//! It pins digests for a later part of the same run. It is a file that anybody can edit, so it proves
//! nothing: verdicts are not in it, and a later job verifies again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::failure::{Explain, Fact};
use crate::oci::Digest;
use crate::oci::hosts::Named;

/// The version of the format that this program writes. It reads those before it too.
const VERSION: u32 = 2;

/// The largest lock file that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// A lock file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// What the digests rest on.
    pub fingerprints: Fingerprints,
    /// The images by their names in the document.
    pub images: BTreeMap<String, LockedImage>,
    /// The token services and the hosts of blobs that registries led to, by registry. Version 1 had none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<String, Named>,
}

/// Hashes of everything that a run is given, so that a lock can't be used for another run.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Of the document's bytes.
    pub document: Digest,
    /// Of the inputs' names and values.
    pub inputs: Digest,
    /// Of the trust rules and the keys that they name.
    pub policy: Digest,
}

/// What an image was resolved to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LockedImage {
    /// The reference as the document has it.
    pub reference: String,
    /// The digest that it resolved to.
    pub digest: Digest,
}

/// A lock file that can't be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LockError {
    /// It is not a lock file.
    #[error("the lock file can't be read: {0}")]
    Malformed(String),
    /// It was made for another document, other inputs or another policy.
    #[error("the lock file was made for {what}")]
    Mismatch {
        /// What differs, in words.
        what: &'static str,
        /// The hash in the lock file.
        locked: Digest,
        /// The hash of what this run is given.
        found: Digest,
    },
    /// An image of the document is not in it, or under another reference.
    #[error("the lock file has no digest for image `{name}` ({reference})")]
    Missing {
        /// The image's name.
        name: String,
        /// Its reference in the document.
        reference: String,
    },
    /// It was written by a later version.
    #[error("the lock file has version {0}, this program reads versions up to {VERSION}")]
    Version(u32),
}

impl Explain for LockError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Version(_) => "use the version of shipgate that wrote it, or delete the file and run again".into(),
            Self::Mismatch { what, .. } => format!(
                "give the run what the file was made for, or, if it is meant to have {what} now, delete the file to resolve and lock anew"
            ),
            Self::Missing { .. } => {
                "the run that wrote the file had no step with this image: delete the file, and let a run with such a step write it".into()
            }
            Self::Malformed(_) => "restore the file, or delete it to resolve and lock anew".into(),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Mismatch { locked, found, .. } => {
                vec![Fact::new("locked", locked), Fact::new("found", found)]
            }
            _ => Vec::new(),
        }
    }
}

impl Lock {
    /// Makes a lock.
    #[must_use]
    pub fn new(
        fingerprints: Fingerprints,
        images: BTreeMap<String, LockedImage>,
        hosts: BTreeMap<String, Named>,
    ) -> Self {
        Self {
            version: VERSION,
            fingerprints,
            images,
            hosts: hosts
                .into_iter()
                .map(|(registry, named)| {
                    let named = named.as_named_by(&registry);
                    (registry, named)
                })
                .filter(|(_, named)| *named != Named::default())
                .collect(),
        }
    }

    /// Reads a lock file and checks that it belongs to this run.
    ///
    /// # Errors
    /// Says what is malformed, or which of document, inputs and policy differs.
    pub fn parse(bytes: &[u8], expected: &Fingerprints) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let malformed = |error: serde_json::Error| LockError::Malformed(error.to_string());
        let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if !(1..=VERSION).contains(&version) {
            return Err(LockError::Version(version));
        }
        let lock: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        let pairs = [
            (
                "another document",
                lock.fingerprints.document,
                expected.document,
            ),
            ("other inputs", lock.fingerprints.inputs, expected.inputs),
            (
                "another trust policy",
                lock.fingerprints.policy,
                expected.policy,
            ),
        ];
        for (what, locked, found) in pairs {
            if locked != found {
                return Err(LockError::Mismatch {
                    what,
                    locked,
                    found,
                });
            }
        }
        Ok(lock)
    }

    /// Returns the digest that an image is pinned to.
    ///
    /// # Errors
    /// When the image is not in the lock under this reference.
    pub fn digest(&self, name: &str, reference: &str) -> Result<Digest, LockError> {
        self.images
            .get(name)
            .filter(|image| image.reference == reference)
            .map(|image| image.digest)
            .ok_or_else(|| LockError::Missing {
                name: name.to_owned(),
                reference: reference.to_owned(),
            })
    }

    /// Writes the lock as JSON with a final newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Maps with string keys and plain values can't fail to serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints() -> Fingerprints {
        Fingerprints {
            document: Digest::of(b"document"),
            inputs: Digest::of(b"inputs"),
            policy: Digest::of(b"policy"),
        }
    }

    fn lock() -> Lock {
        let image = LockedImage {
            reference: "ghcr.io/acme/web:v1".into(),
            digest: Digest::of(b"web"),
        };
        let hosts: Named =
            serde_json::from_str(r#"{"tokens":["auth.example"],"blobs":["cdn.example:8443"]}"#)
                .unwrap();
        Lock::new(
            fingerprints(),
            BTreeMap::from([("web".into(), image)]),
            BTreeMap::from([("ghcr.io".into(), hosts)]),
        )
    }

    #[test]
    fn reads_what_it_wrote() {
        let read = Lock::parse(lock().to_json().as_bytes(), &fingerprints()).unwrap();
        assert_eq!(read, lock());
        assert_eq!(
            read.digest("web", "ghcr.io/acme/web:v1").unwrap(),
            Digest::of(b"web")
        );
    }

    #[test]
    fn version_1_had_no_hosts() {
        let mut value: serde_json::Value = serde_json::from_str(&lock().to_json()).unwrap();
        value["version"] = 1.into();
        value.as_object_mut().unwrap().remove("hosts");
        let read = Lock::parse(value.to_string().as_bytes(), &fingerprints()).unwrap();
        assert!(read.hosts.is_empty());
        assert_eq!(read.images, lock().images);
    }

    #[test]
    fn hosts_are_exact_and_none_is_an_address_for_a_name() {
        let text = lock().to_json();
        for odd in ["*.example", "https://a.example", ""] {
            let text = text.replace("cdn.example:8443", odd);
            let read = Lock::parse(text.as_bytes(), &fingerprints());
            assert!(matches!(read, Err(LockError::Malformed(_))), "{odd}");
        }
        let hosts: Named = serde_json::from_str(r#"{"blobs":["169.254.169.254:80"]}"#).unwrap();
        let hosts = BTreeMap::from([("ghcr.io".into(), hosts)]);
        let lock = Lock::new(fingerprints(), BTreeMap::new(), hosts);
        assert!(lock.hosts.is_empty());
    }

    #[test]
    fn refuses_another_run() {
        let other = Fingerprints {
            policy: Digest::of(b"laxer"),
            ..fingerprints()
        };
        let error = Lock::parse(lock().to_json().as_bytes(), &other).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the lock file was made for another trust policy"
        );
        assert_eq!(error.facts().len(), 2);
    }

    #[test]
    fn refuses_an_image_under_another_reference() {
        let error = lock().digest("web", "ghcr.io/acme/web:v2").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the lock file has no digest for image `web` (ghcr.io/acme/web:v2)"
        );
    }

    #[test]
    fn refuses_what_is_no_lock() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"version":1}"#,
            r#"{"version":1,"images":{},"verified":true}"#,
        ] {
            assert!(
                matches!(
                    Lock::parse(text.as_bytes(), &fingerprints()),
                    Err(LockError::Malformed(_))
                ),
                "{text}"
            );
        }
        assert_eq!(
            Lock::parse(br#"{"version":9}"#, &fingerprints()),
            Err(LockError::Version(9))
        );
    }
}
