//! Trust roots: the certificate authorities, logs and time-stamp authorities of a Sigstore instance.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::{
    SIGSTORE_GITHUB_TRUSTED_ROOT, SIGSTORE_PRODUCTION_TRUSTED_ROOT, TimeRange, TrustedRoot,
};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};

use super::certificate::{organization, timestamp};
use super::provider;
use crate::failure::Explain;
use crate::oci::Digest;

/// The authorities of one Sigstore instance, as its `trusted_root.json` names them.
///
/// A signature is verified wholly under one root: authorities of several are never mixed.
#[derive(Clone)]
pub struct TrustRoot(Arc<Inner>);

struct Inner {
    name: String,
    fingerprint: Digest,
    verifier: Verifier,
    newest: Timestamp,
    authorities: Vec<Authority>,
    logs: Vec<Log>,
    certificate_logs: Vec<Log>,
}

struct Authority {
    subject: Vec<u8>,
    organization: Option<String>,
    uri: String,
}

struct Log {
    id: Vec<u8>,
    url: String,
    window: Option<TimeRange>,
}

impl TrustRoot {
    /// The most bytes that a trust root may have.
    pub const MAX_FILE: usize = 1024 * 1024;

    /// The name of the public good instance, whose root is compiled in.
    pub const SIGSTORE: &'static str = "sigstore";

    /// The name of GitHub's instance for artifact attestations, whose root is compiled in.
    pub const GITHUB: &'static str = "github";

    /// Parses a `trusted_root.json`; the name is what reports call it.
    ///
    /// An authority is trusted no longer than its own certificates are valid: each window of the file is cut to
    /// theirs, since a chain is built from the file's certificates without looking at their dates.
    ///
    /// # Errors
    /// What is no trust root, or holds keys or certificates that can't be used.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, RootError> {
        provider::install();
        let malformed = |reason: String| RootError::Malformed {
            name: name.to_owned(),
            reason,
        };
        if json.len() > Self::MAX_FILE {
            return Err(RootError::TooLarge {
                name: name.to_owned(),
                bytes: json.len(),
            });
        }
        let text = std::str::from_utf8(json).map_err(|error| malformed(error.to_string()))?;
        let mut root =
            TrustedRoot::from_json(text).map_err(|error| malformed(error.to_string()))?;
        if !root.media_type.starts_with(MEDIA_TYPE) {
            return Err(malformed(format!(
                "its mediaType is `{}`",
                super::super::judge::quoted(&root.media_type)
            )));
        }
        let newest = newest(&root);
        let mut authorities = Vec::new();
        let mut unusable = None;
        root.certificate_authorities.retain_mut(|authority| {
            let chain = authority.cert_chain.certificates.iter();
            let chain = chain.map(|certificate| certificate.raw_bytes.as_bytes());
            match window(chain, authority.valid_for) {
                Ok((certificates, window)) => {
                    authority.valid_for = window;
                    authorities.extend(certificates.iter().map(|certificate| {
                        Authority {
                            subject: certificate
                                .tbs_certificate
                                .subject
                                .to_der()
                                .unwrap_or_default(),
                            organization: organization(&certificate.tbs_certificate.subject),
                            uri: authority.uri.clone(),
                        }
                    }));
                    window.is_some()
                }
                Err(reason) => {
                    unusable.get_or_insert(reason);
                    false
                }
            }
        });
        root.timestamp_authorities.retain_mut(|authority| {
            let chain = authority.cert_chain.certificates.iter();
            let chain = chain.map(|certificate| certificate.raw_bytes.as_bytes());
            match window(chain, authority.valid_for) {
                Ok((_, window)) => {
                    authority.valid_for = window;
                    window.is_some()
                }
                Err(reason) => {
                    unusable.get_or_insert(reason);
                    false
                }
            }
        });
        if let Some(reason) = unusable {
            return Err(malformed(reason));
        }
        let verifier = Verifier::new(&root).map_err(|error| malformed(error.to_string()))?;
        let logs = root.tlogs.iter().map(|log| Log {
            id: log.log_id.key_id.as_bytes().to_vec(),
            url: log.base_url.clone(),
            window: log.public_key.valid_for,
        });
        let certificate_logs = root.ctlogs.iter().map(|log| Log {
            id: log.log_id.key_id.as_bytes().to_vec(),
            url: log.base_url.clone(),
            window: log.public_key.valid_for,
        });
        Ok(Self(Arc::new(Inner {
            name: name.to_owned(),
            fingerprint: Digest::of(json),
            verifier,
            newest,
            authorities,
            logs: logs.collect(),
            certificate_logs: certificate_logs.collect(),
        })))
    }

    /// Returns a root that is compiled in, by its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn embedded(name: &str) -> Result<Self, RootError> {
        let json = match name {
            Self::SIGSTORE => SIGSTORE_PRODUCTION_TRUSTED_ROOT,
            Self::GITHUB => SIGSTORE_GITHUB_TRUSTED_ROOT,
            _ => {
                return Err(RootError::Unknown {
                    name: name.to_owned(),
                });
            }
        };
        Self::from_json(name, json.as_bytes())
    }

    /// Returns what reports call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the digest of the file.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        self.0.fingerprint
    }

    /// Returns since when its newest authority is trusted: what came later it can't know.
    #[must_use]
    pub fn newest(&self) -> Timestamp {
        self.0.newest
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    /// Tells whether a name in DER is that of one of its certificate authorities.
    pub(super) fn knows_authority(&self, subject: &[u8]) -> bool {
        let mut authorities = self.0.authorities.iter();
        authorities.any(|authority| authority.subject == subject)
    }

    /// Tells whether an organization runs one of its certificate authorities.
    pub(super) fn knows_organization(&self, organization: Option<&str>) -> bool {
        let mut authorities = self.0.authorities.iter();
        organization.is_some()
            && authorities.any(|authority| authority.organization.as_deref() == organization)
    }

    pub(super) fn knows_log(&self, id: &[u8]) -> bool {
        self.0.logs.iter().any(|log| log.id == id)
    }

    pub(super) fn has_logs(&self) -> bool {
        !self.0.logs.is_empty()
    }

    pub(super) fn has_certificate_logs(&self) -> bool {
        !self.0.certificate_logs.is_empty()
    }

    pub(super) fn knows_certificate_log(&self, id: &[u8]) -> bool {
        self.0.certificate_logs.iter().any(|log| log.id == id)
    }

    /// Returns the window of a log that was closed, or not open yet, at this time.
    pub(super) fn log_closed_at(&self, id: &[u8], time: Timestamp) -> Option<(&str, TimeRange)> {
        let log = self.0.logs.iter().find(|log| log.id == id)?;
        let window = log.window.filter(|window| !window.contains(time))?;
        Some((&log.url, window))
    }

    pub(super) fn authorities(&self) -> String {
        let uris: BTreeSet<&str> = self
            .0
            .authorities
            .iter()
            .map(|ca| ca.uri.as_str())
            .collect();
        listed(uris)
    }

    pub(super) fn logs(&self) -> String {
        listed(self.0.logs.iter().map(|log| log.url.as_str()).collect())
    }

    pub(super) fn certificate_logs(&self) -> String {
        let logs = self.0.certificate_logs.iter();
        listed(logs.map(|log| log.url.as_str()).collect())
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TrustRoot");
        shown.field("name", &self.0.name);
        shown.field("fingerprint", &self.0.fingerprint);
        shown.finish_non_exhaustive()
    }
}

/// A trust root that can't be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RootError {
    /// It is no trust root, or not one that can be used.
    #[error("the trust root `{name}` can't be used: {reason}")]
    Malformed {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It is larger than any trust root.
    #[error(
        "the trust root `{name}` has {bytes} bytes, more than the {} that are read",
        TrustRoot::MAX_FILE
    )]
    TooLarge {
        /// Its name.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// No root of this name is compiled in.
    #[error("no trust root is called `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
}

impl Explain for RootError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { .. } | Self::TooLarge { .. } => {
                "give it a `trusted_root.json`, as `cosign trusted-root create` writes it".into()
            }
            Self::Unknown { .. } => format!(
                "write `{}`, `{}` or a path to a `trusted_root.json`",
                TrustRoot::SIGSTORE,
                TrustRoot::GITHUB
            ),
        })
    }
}

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// Parses the certificates of an authority and cuts its window to theirs; none is left if they were never all valid.
fn window<'a>(
    chain: impl Iterator<Item = &'a [u8]>,
    given: Option<TimeRange>,
) -> Result<(Vec<Certificate>, Option<TimeRange>), String> {
    let certificates = chain
        .map(Certificate::from_der)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("one of its certificates can't be read: {error}"))?;
    let mut start = given.map(|given| given.start);
    let mut end = given.and_then(|given| given.end);
    for certificate in &certificates {
        let validity = &certificate.tbs_certificate.validity;
        let from = timestamp(&validity.not_before);
        let until = timestamp(&validity.not_after);
        start = Some(start.map_or(from, |start| start.max(from)));
        end = Some(end.map_or(until, |end| end.min(until)));
    }
    let window = start
        .filter(|start| end.is_none_or(|end| *start <= end))
        .map(|start| TimeRange::new(start, end));
    Ok((certificates, window))
}

/// When the newest of all authorities and keys came in.
fn newest(root: &TrustedRoot) -> Timestamp {
    let keys = root.tlogs.iter().map(|log| log.public_key.valid_for);
    let keys = keys.chain(root.ctlogs.iter().map(|log| log.public_key.valid_for));
    let authorities = root.certificate_authorities.iter().map(|ca| ca.valid_for);
    let stampers = root.timestamp_authorities.iter().map(|tsa| tsa.valid_for);
    keys.chain(authorities)
        .chain(stampers)
        .flatten()
        .map(|window| window.start)
        .max()
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn listed(names: BTreeSet<&str>) -> String {
    if names.is_empty() {
        return "none".into();
    }
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_roots_can_be_used() {
        let sigstore = TrustRoot::embedded("sigstore").unwrap();
        assert_eq!(sigstore.newest().to_string(), "2025-09-23T00:00:00Z");
        assert!(sigstore.has_logs() && sigstore.has_certificate_logs());
        assert_eq!(sigstore.authorities(), "https://fulcio.sigstore.dev");
        assert!(sigstore.knows_organization(Some("sigstore.dev")));
        assert!(!sigstore.knows_organization(Some("GitHub, Inc.")));
        assert!(!sigstore.knows_organization(None));
        assert!(
            TrustRoot::embedded("github")
                .unwrap()
                .knows_organization(Some("GitHub, Inc."))
        );
    }

    #[test]
    fn an_authority_is_trusted_as_long_as_its_certificates_are_valid() {
        let root = TrustedRoot::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        let authority = &root.certificate_authorities[1];
        let chain = authority.cert_chain.certificates.iter();
        let chain = chain.map(|certificate| certificate.raw_bytes.as_bytes());
        let (_, cut) = window(chain, authority.valid_for).unwrap();
        let cut = cut.unwrap();
        assert_eq!(cut.start.to_string(), "2022-04-13T20:06:15Z");
        assert_eq!(cut.end.unwrap().to_string(), "2031-10-05T13:56:58Z");
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        let huge = vec![b' '; TrustRoot::MAX_FILE + 1];
        let errors = [
            TrustRoot::from_json("r.json", b"{}").unwrap_err(),
            TrustRoot::from_json("r.json", br#"{"mediaType": "application/json"}"#).unwrap_err(),
            TrustRoot::from_json("r.json", b"\xff").unwrap_err(),
            TrustRoot::from_json("r.json", &huge).unwrap_err(),
            TrustRoot::embedded("sigstor").unwrap_err(),
        ];
        let told: Vec<String> = errors
            .iter()
            .map(|error| format!("{error} ({})", error.hint().unwrap()))
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
