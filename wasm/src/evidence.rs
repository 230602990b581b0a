//! What a registry answered about signatures, kept so that a component need not be asked about twice.
//!
//! Nothing in it is believed: the trust rules judge what was kept as they judge what a registry
//! answers, and hash every manifest and every signature again. So a policy that has changed since is
//! the one that decides, and whoever changes what is kept gains nothing that a registry could not do.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shipgate::oci::{Client, Descriptor, Digest, Place, Referrers, Repository};
use shipgate::trust::notation::Enquiry;
use shipgate::trust::source::{Artifacts, LookupError, Raw};

/// Answers of a registry, by question.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Evidence(BTreeMap<String, Answer>);

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    /// It is not there.
    Absent,
    /// A manifest: its media type and its text.
    Manifest(String, String),
    /// A blob, in text.
    Blob(String),
    /// What refers to a digest, and where that was found.
    Referrers(Source, Vec<Descriptor>),
}

/// Where a list of referrers was found, by the names of [`Place`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Source {
    Api,
    FallbackTag,
    Neither,
}

/// Asks a registry, and keeps what it answers.
pub struct Recorder<'a> {
    client: &'a Client,
    heard: Mutex<Evidence>,
}

impl<'a> Recorder<'a> {
    /// Makes a recorder that has heard nothing.
    pub fn new(client: &'a Client) -> Self {
        Self {
            client,
            heard: Mutex::default(),
        }
    }

    /// Returns what was heard. Answers that are no text were no signatures, and are left out.
    pub fn heard(self) -> Evidence {
        self.heard
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, question: String, answer: Option<Answer>) {
        if let Some(answer) = answer {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.0.insert(question, answer);
        }
    }

    fn keep_manifest(&self, question: String, found: Option<&Raw>) {
        let answer = match found {
            None => Some(Answer::Absent),
            Some(raw) => text(&raw.bytes).map(|it| Answer::Manifest(raw.media_type.clone(), it)),
        };
        self.keep(question, answer);
    }
}

impl Artifacts for Recorder<'_> {
    async fn manifest_by_tag(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<Raw>, LookupError> {
        let found = self.client.manifest_by_tag(repository, tag).await?;
        self.keep_manifest(by_tag(tag), found.as_ref());
        Ok(found)
    }

    async fn manifest_by_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Raw>, LookupError> {
        let found = self.client.manifest_by_digest(repository, digest).await?;
        self.keep_manifest(by_digest(digest), found.as_ref());
        Ok(found)
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Bytes>, LookupError> {
        let found = Artifacts::blob(self.client, repository, digest, size).await?;
        let answer = match &found {
            None => Some(Answer::Absent),
            Some(bytes) => text(bytes).map(Answer::Blob),
        };
        self.keep(blob(digest), answer);
        Ok(found)
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Referrers, LookupError> {
        let found = Artifacts::referrers(self.client, repository, digest).await?;
        let source = match found.place {
            Place::Api => Source::Api,
            Place::FallbackTag => Source::FallbackTag,
            Place::Neither => Source::Neither,
        };
        let answer = Answer::Referrers(source, found.descriptors.clone());
        self.keep(referrers(digest), Some(answer));
        Ok(found)
    }

    fn now(&self) -> Timestamp {
        Artifacts::now(self.client)
    }

    async fn enquire(&self, enquiry: Enquiry) -> Result<Bytes, String> {
        self.client.enquire(enquiry).await
    }
}

impl Artifacts for Evidence {
    async fn manifest_by_tag(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Option<Raw>, LookupError> {
        self.manifest(repository, &by_tag(tag))
    }

    async fn manifest_by_digest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Raw>, LookupError> {
        self.manifest(repository, &by_digest(digest))
    }

    async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        _: u64,
    ) -> Result<Option<Bytes>, LookupError> {
        match self.0.get(&blob(digest)) {
            Some(Answer::Absent) => Ok(None),
            Some(Answer::Blob(text)) => Ok(Some(text.clone().into())),
            _ => Err(unheard(repository)),
        }
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Referrers, LookupError> {
        match self.0.get(&referrers(digest)) {
            Some(Answer::Referrers(source, descriptors)) => Ok(Referrers {
                place: match source {
                    Source::Api => Place::Api,
                    Source::FallbackTag => Place::FallbackTag,
                    Source::Neither => Place::Neither,
                },
                descriptors: descriptors.clone(),
            }),
            _ => Err(unheard(repository)),
        }
    }

    /// What was heard once proves nothing about what has ended since: whatever has an end is asked for anew.
    fn now(&self) -> Timestamp {
        Timestamp::MAX
    }

    async fn enquire(&self, _: Enquiry) -> Result<Bytes, String> {
        Err("answers about revocation are not kept".into())
    }
}

impl Evidence {
    fn manifest(
        &self,
        repository: &Repository,
        question: &str,
    ) -> Result<Option<Raw>, LookupError> {
        match self.0.get(question) {
            Some(Answer::Absent) => Ok(None),
            Some(Answer::Manifest(media_type, text)) => Ok(Some(Raw {
                digest: Digest::of(text.as_bytes()),
                media_type: media_type.clone(),
                bytes: text.clone().into(),
            })),
            _ => Err(unheard(repository)),
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn by_tag(tag: &str) -> String {
    format!("tag {tag}")
}

fn by_digest(digest: &Digest) -> String {
    format!("manifest {digest}")
}

fn blob(digest: &Digest) -> String {
    format!("blob {digest}")
}

fn referrers(digest: &Digest) -> String {
    format!("referrers {digest}")
}

/// The registry has to be asked.
fn unheard(repository: &Repository) -> LookupError {
    LookupError {
        host: repository.registry.clone(),
        status: None,
        retry_after: None,
        limit: None,
        whole_registry: true,
        text: "it was not asked before".to_owned(),
        hint: None,
    }
}
