//! What the trust module asks of a registry.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use super::notation::Enquiry;
use crate::failure::{Explain, Fact};
use crate::oci::{Digest, Referrers, Repository};

/// Where signatures are read from: a registry, or a folder in tests.
///
/// Every answer is one of three: there it is, it is not there (a clean 404), or the question could
/// not be answered. Only the second may ever count as "unsigned". Whoever implements this need
/// not check digests: every manifest and blob is hashed again before it is believed.
pub trait Artifacts: Send + Sync {
    /// Fetches the manifest under a tag, at most [`MAX_MANIFEST`](super::MAX_MANIFEST) bytes of it.
    fn manifest_by_tag(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> impl Future<Output = Result<Option<Raw>, LookupError>> + Send;

    /// Fetches the manifest with a digest, at most [`MAX_MANIFEST`](super::MAX_MANIFEST) bytes of it.
    fn manifest_by_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Raw>, LookupError>> + Send;

    /// Fetches a blob of exactly `size` bytes, which is never more than
    /// [`MAX_BUNDLE`](super::MAX_BUNDLE).
    fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> impl Future<Output = Result<Option<Bytes>, LookupError>> + Send;

    /// Lists what refers to a digest: all pages of the referrers API or, where the registry has no
    /// such API, the index under the fallback tag `sha256-<hex>` (distribution spec,
    /// "Listing Referrers"). The list must not be filtered by artifact type.
    fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Referrers, LookupError>> + Send;

    /// Returns the time against which certificates and expiries are held.
    fn now(&self) -> Timestamp;

    /// Asks an authority whether a certificate is revoked: by a request to its responder, or for its list. Redirects
    /// are not followed.
    ///
    /// The host is one that the policy lists. An error is a phrase without secrets.
    fn enquire(&self, enquiry: Enquiry) -> impl Future<Output = Result<Bytes, String>> + Send;
}

/// A manifest as the registry sent it.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The digest that the source computed or was told.
    pub digest: Digest,
    /// The media type that the registry gave.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// A registry that could not be asked; what is there remains unknown.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, thiserror::Error)]
#[error("{host} could not be asked for signatures: {text}")]
pub struct LookupError {
    /// The host that was asked, with the port if it is not the usual one.
    pub host: String,
    /// The HTTP status, if there was an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long the registry asks to wait.
    #[serde(
        rename = "retry_after_s",
        serialize_with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub retry_after: Option<Duration>,
    /// The cap in bytes or entries that the answer went over, if that is what stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Whether it is about the registry as a whole (it can't be reached, refuses the credentials,
    /// limits requests), so that asking it for something else would end in the same way.
    pub whole_registry: bool,
    /// What the registry or the network said, in one phrase and without secrets.
    pub text: String,
    /// The edit or the command that helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Explain for LookupError {
    fn hint(&self) -> Option<String> {
        if self.hint.is_some() {
            return self.hint.clone();
        }
        let hint = match (self.status, self.retry_after) {
            (Some(401 | 403), _) => {
                "check the credentials of this registry: they need to read the repository"
            }
            (_, Some(wait)) => {
                return Some(format!(
                    "the registry asks to wait {} s before the next request",
                    wait.as_secs()
                ));
            }
            (Some(429), _) => {
                "the registry limits requests: run again later, or log in for a higher limit"
            }
            (Some(500..), _) => "the registry is in trouble: run again later",
            _ => "check that the registry can be reached, and run again",
        };
        Some(hint.into())
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = vec![Fact::new("host", &self.host)];
        facts.extend(self.status.map(|status| Fact::new("status", status)));
        facts.extend(
            self.retry_after
                .map(|wait| Fact::new("retry after", format!("{} s", wait.as_secs()))),
        );
        facts.extend(self.limit.map(|limit| Fact::new("limit", limit)));
        facts
    }
}

fn seconds<S: serde::Serializer>(
    wait: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    wait.map(|wait| wait.as_secs()).serialize(serializer)
}
