//! Finding everything that could be a signature of an image, in as few requests as that takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;

use super::candidate::{Candidate, Cap, Check, Format, OverLimit, Place};
use super::decision::Findings;
use super::judge::Judge;
use super::source::{Artifacts, LookupError, Raw};
use super::{
    MAX_BUNDLE, MAX_CANDIDATES, MAX_MANIFEST, MAX_TOTAL, bundle, notation, simple_signing,
};
use crate::oci::{self, Descriptor, Digest, Repository};

/// Looks for signatures until the rule is satisfied or every place has been looked at.
pub(super) struct Search<'a, A> {
    artifacts: &'a A,
    repository: &'a Repository,
    judge: &'a Judge<'a>,
    bytes_left: AtomicU64,
    findings: Findings,
}

impl<'a, A: Artifacts> Search<'a, A> {
    pub(super) fn new(artifacts: &'a A, repository: &'a Repository, judge: &'a Judge<'a>) -> Self {
        Self {
            artifacts,
            repository,
            judge,
            bytes_left: AtomicU64::new(MAX_TOTAL),
            findings: Findings::default(),
        }
    }

    /// Asks one place after the other: a later one costs a request only if the ones before were not enough.
    pub(super) async fn run(mut self) -> Findings {
        let answer = self
            .artifacts
            .referrers(self.repository, &self.judge.digest)
            .await;
        let listed = match answer {
            Ok(referrers) => {
                let place = match referrers.place {
                    oci::Place::Api => Some(Place::Referrers),
                    oci::Place::FallbackTag => Some(Place::ReferrersTag),
                    oci::Place::Neither => None,
                };
                if let Some(place) = place {
                    self.open_all(place, referrers.descriptors).await;
                }
                place
            }
            Err(error) => {
                let gives_up = error.whole_registry;
                self.findings.lookup = Some(error);
                if gives_up {
                    return self.findings;
                }
                None
            }
        };
        // A registry that has learnt the API may still have what clients wrote into the tag before.
        if listed == Some(Place::Referrers) && !self.is_over() {
            self.referrers_tag().await;
        }
        if !self.is_over() {
            self.signature_tag().await;
        }
        self.findings
    }

    async fn referrers_tag(&mut self) {
        let tag = format!("sha256-{}", self.judge.digest.hex());
        let Some(raw) = self.tagged(&tag).await else {
            return;
        };
        // A tag of that name that is no index is somebody's image, and lists nothing.
        let Ok(index) = serde_json::from_slice::<Index>(&raw.bytes) else {
            return;
        };
        let known: Vec<Digest> = self
            .findings
            .candidates
            .iter()
            .map(|known| known.manifest)
            .collect();
        let mut new = index.manifests;
        new.retain(|descriptor| !known.contains(&descriptor.digest));
        self.open_all(Place::ReferrersTag, new).await;
    }

    async fn signature_tag(&mut self) {
        let tag = format!("sha256-{}.sig", self.judge.digest.hex());
        let Some(raw) = self.tagged(&tag).await else {
            return;
        };
        let manifest = Digest::of(&raw.bytes);
        let candidate = |check, claims| Candidate {
            place: Place::SignatureTag,
            format: Format::SimpleSigning,
            manifest,
            check,
            claims,
        };
        let layers = match serde_json::from_slice::<Manifest>(&raw.bytes) {
            Ok(parsed) => parsed.layers,
            Err(error) => {
                self.findings
                    .candidates
                    .push(candidate(unreadable_manifest(&error), None));
                return;
            }
        };
        let layers = layers
            .into_iter()
            .filter(|layer| layer.media_type == simple_signing::MEDIA_TYPE)
            .collect();
        let layers = self.within_cap(layers);
        let mut waiting = layers.len();
        // Signers of one image often sign the same payload: it is fetched once.
        let mut payloads: BTreeMap<Digest, Bytes> = BTreeMap::new();
        for layer in layers {
            if self.is_over() {
                self.findings.unread += waiting;
                return;
            }
            waiting -= 1;
            let fetched = match payloads.get(&layer.digest) {
                Some(payload) => Ok(payload.clone()),
                None => self.blob(&layer).await,
            };
            let (check, claims) = match fetched {
                Err(check) => (check, None),
                Ok(payload) => {
                    payloads.insert(layer.digest, payload.clone());
                    simple_signing::check(&payload, &layer.annotations, self.judge)
                }
            };
            self.findings.candidates.push(candidate(check, claims));
        }
    }

    /// Opens referrers, the likeliest first: one alone, since one is the usual number, then some at a time.
    async fn open_all(&mut self, place: Place, mut descriptors: Vec<Descriptor>) {
        descriptors.retain(may_be_signature);
        descriptors.sort_by_key(unlikelihood);
        let descriptors = self.within_cap(descriptors);
        let mut rest = descriptors.as_slice();
        let mut batch = 1;
        while !rest.is_empty() {
            if self.is_over() {
                self.findings.unread += rest.len();
                return;
            }
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let opened = join_all(now.iter().map(|descriptor| self.open(place, descriptor))).await;
            self.findings
                .candidates
                .extend(opened.into_iter().flatten());
            rest = later;
            batch = AT_ONCE;
        }
    }

    /// Opens one referrer. What is no bundle is no candidate, whatever the list said of it.
    async fn open(&self, place: Place, descriptor: &Descriptor) -> Option<Candidate> {
        let listed_as_notation = descriptor.artifact_type.as_deref() == Some(NOTATION);
        let candidate = |format, check| Candidate {
            place,
            format,
            manifest: descriptor.digest,
            check,
            claims: None,
        };
        let listed = if listed_as_notation {
            Format::Notation
        } else {
            Format::Bundle
        };
        // The list's word is enough to leave it unread where nobody asks for it, and never enough to believe it.
        if listed_as_notation && !self.judge.asks_notation() {
            let check = Check::Notation(notation::Fault::NotAsked);
            return Some(candidate(listed, check));
        }
        let bytes = match self.manifest(descriptor).await {
            Ok(bytes) => bytes,
            Err(check) => return Some(candidate(listed, check)),
        };
        let manifest = match serde_json::from_slice::<Manifest>(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => return Some(candidate(listed, unreadable_manifest(&error))),
        };
        if manifest.is_notation() {
            let check = self.envelope(&manifest).await;
            return Some(candidate(Format::Notation, check));
        }
        let is_bundle =
            |layer: &&Descriptor| layer.media_type.starts_with(bundle::MEDIA_TYPE_PREFIX);
        let layer = manifest.layers.iter().find(is_bundle)?;
        let check = self.bundle(&manifest, layer).await;
        Some(candidate(Format::Bundle, check))
    }

    async fn envelope(&self, manifest: &Manifest) -> Check {
        if !self.judge.asks_notation() {
            return Check::Notation(notation::Fault::NotAsked);
        }
        let layer = match self.only_layer(manifest) {
            Ok(layer) => layer,
            Err(check) => return check,
        };
        match self.blob(layer).await {
            Ok(bytes) => {
                let media_type = layer.media_type.as_str();
                notation::check(
                    media_type,
                    &bytes,
                    self.judge,
                    self.repository,
                    self.artifacts,
                )
                .await
            }
            Err(check) => check,
        }
    }

    /// Returns the layer of a manifest that carries one signature of this image.
    fn only_layer<'m>(&self, manifest: &'m Manifest) -> Result<&'m Descriptor, Check> {
        let [layer] = manifest.layers.as_slice() else {
            return Err(Check::Malformed {
                reason: "the manifest is not that of one signature".into(),
                expected: "1 layer".into(),
                found: format!("{} layers", manifest.layers.len()),
            });
        };
        let subject = manifest.subject.as_ref().map(|subject| subject.digest);
        if subject != Some(self.judge.digest) {
            return Err(Check::Malformed {
                reason: "the manifest's subject is another image".into(),
                expected: self.judge.digest.to_string(),
                found: subject.map_or_else(|| "no subject".into(), |found| found.to_string()),
            });
        }
        Ok(layer)
    }

    async fn bundle(&self, manifest: &Manifest, layer: &Descriptor) -> Check {
        if let Err(check) = self.only_layer(manifest) {
            return check;
        }
        // What the manifest says of itself is enough to leave an attestation unread, and never
        // enough to take it for a signature.
        match manifest.annotations.get(bundle::PREDICATE_ANNOTATION) {
            Some(found) if found != bundle::SIGN_PREDICATE => {
                return Check::Attestation {
                    predicate_type: super::judge::quoted(found),
                };
            }
            _ => {}
        }
        match self.blob(layer).await {
            Ok(bytes) => bundle::check(&bytes, self.judge),
            Err(check) => check,
        }
    }

    /// Fetches a manifest under a tag; what could not be asked is noted.
    async fn tagged(&mut self, tag: &str) -> Option<Raw> {
        let raw = match self.artifacts.manifest_by_tag(self.repository, tag).await {
            Ok(raw) => raw?,
            Err(error) => {
                self.findings.lookup.get_or_insert(error);
                return None;
            }
        };
        let size = raw.bytes.len() as u64;
        if let Err(over) = self.spend(Cap::Manifest, size) {
            self.findings.over.get_or_insert(over);
            return None;
        }
        Some(raw)
    }

    async fn manifest(&self, descriptor: &Descriptor) -> Result<Bytes, Check> {
        self.spend(Cap::Manifest, descriptor.size)
            .map_err(Check::OverLimit)?;
        let answer = self
            .artifacts
            .manifest_by_digest(self.repository, &descriptor.digest)
            .await
            .map_err(Check::Unreadable)?;
        let raw = answer.ok_or_else(|| self.gone("manifest", &descriptor.digest))?;
        // The size in the list is anybody's claim; the caps are about what is really there.
        let size = raw.bytes.len() as u64;
        within(Cap::Manifest, size).map_err(Check::OverLimit)?;
        self.spend(Cap::Manifest, size.saturating_sub(descriptor.size))
            .map_err(Check::OverLimit)?;
        is_itself("manifest", &raw.bytes, &descriptor.digest)?;
        Ok(raw.bytes)
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Bytes, Check> {
        self.spend(Cap::Bundle, descriptor.size)
            .map_err(Check::OverLimit)?;
        let answer = self
            .artifacts
            .blob(self.repository, &descriptor.digest, descriptor.size)
            .await
            .map_err(Check::Unreadable)?;
        let bytes = answer.ok_or_else(|| self.gone("blob", &descriptor.digest))?;
        is_itself("blob", &bytes, &descriptor.digest)?;
        Ok(bytes)
    }

    /// Takes bytes off the image's budget before they are asked for.
    fn spend(&self, cap: Cap, size: u64) -> Result<(), OverLimit> {
        within(cap, size)?;
        let take = |left: u64| left.checked_sub(size);
        match self
            .bytes_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        {
            Ok(_) => Ok(()),
            Err(left) => Err(OverLimit {
                cap: Cap::Total,
                limit: MAX_TOTAL,
                found: MAX_TOTAL - left + size,
            }),
        }
    }

    /// Cuts a list to what is left of the cap on candidates, and says so.
    fn within_cap(&mut self, mut listed: Vec<Descriptor>) -> Vec<Descriptor> {
        let before = self.findings.candidates.len();
        let room = MAX_CANDIDATES.saturating_sub(before);
        if listed.len() > room {
            self.findings.over.get_or_insert(OverLimit {
                cap: Cap::Candidates,
                limit: MAX_CANDIDATES as u64,
                found: (before + listed.len()) as u64,
            });
            self.findings.unread += listed.len() - room;
            listed.truncate(room);
        }
        listed
    }

    fn is_satisfied(&self) -> bool {
        let rule = &self.judge.rule.requirement;
        rule.satisfied_by(&self.findings.signers())
    }

    /// Tells whether asking on is needless, or of no use.
    fn is_over(&self) -> bool {
        let unreadable = self.findings.candidates.iter().any(
            |candidate| matches!(&candidate.check, Check::Unreadable(error) if error.whole_registry),
        );
        unreadable
            || self
                .findings
                .lookup
                .as_ref()
                .is_some_and(|error| error.whole_registry)
            || self.is_satisfied()
    }

    /// What the registry lists and does not have may come back: it is not the same as no signature.
    fn gone(&self, what: &str, digest: &Digest) -> Check {
        Check::Unreadable(LookupError {
            host: self.repository.registry.clone(),
            status: Some(404),
            retry_after: None,
            limit: None,
            whole_registry: false,
            text: format!("the {what} {digest} of a signature is listed, but not there"),
            hint: Some("sign the image again".into()),
        })
    }
}

/// Holds a size against the cap for one of its kind.
fn within(cap: Cap, size: u64) -> Result<(), OverLimit> {
    let limit = match cap {
        Cap::Bundle => MAX_BUNDLE,
        Cap::Candidates => MAX_CANDIDATES as u64,
        Cap::Manifest => MAX_MANIFEST,
        Cap::Total => MAX_TOTAL,
    };
    if size <= limit {
        return Ok(());
    }
    Err(OverLimit {
        cap,
        limit,
        found: size,
    })
}

/// How many referrers are opened at a time.
const AT_ONCE: usize = 4;

/// Tells whether a list's entry could be a bundle or an envelope.
///
/// cosign 3.1.1 writes the type of the empty config in place of the bundle's into the referrers tag,
/// and registries repeat the config's type, so those are opened too.
fn may_be_signature(descriptor: &Descriptor) -> bool {
    descriptor.artifact_type.as_deref().is_none_or(|kind| {
        kind.starts_with(bundle::MEDIA_TYPE_PREFIX)
            || matches!(
                kind,
                NOTATION
                    | ""
                    | "application/vnd.oci.empty.v1+json"
                    | "application/vnd.oci.image.config.v1+json"
                    | "application/vnd.docker.container.image.v1+json"
            )
    })
}

/// Orders the entries of a list: signatures, bundles of unknown content, unknown things, attestations.
fn unlikelihood(descriptor: &Descriptor) -> u8 {
    let kind = descriptor.artifact_type.as_deref().unwrap_or_default();
    match descriptor.annotations.get(bundle::PREDICATE_ANNOTATION) {
        Some(predicate) if predicate == bundle::SIGN_PREDICATE => 0,
        Some(_) => 3,
        None if kind.starts_with(bundle::MEDIA_TYPE_PREFIX) || kind == NOTATION => 1,
        None => 2,
    }
}

const NOTATION: &str = notation::ARTIFACT_TYPE;

fn is_itself(what: &str, bytes: &[u8], digest: &Digest) -> Result<(), Check> {
    let found = Digest::of(bytes);
    if found == *digest {
        return Ok(());
    }
    Err(Check::Malformed {
        reason: format!("the registry answered with another {what}"),
        expected: digest.to_string(),
        found: found.to_string(),
    })
}

fn unreadable_manifest(error: &serde_json::Error) -> Check {
    Check::Malformed {
        reason: "the manifest can't be read".into(),
        expected: "an image manifest".into(),
        found: super::judge::quoted(&error.to_string()),
    }
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    subject: Option<Subject>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    fn is_notation(&self) -> bool {
        let config = self.config.as_ref().map(|it| it.media_type.as_str());
        self.artifact_type.as_deref() == Some(NOTATION) || config == Some(NOTATION)
    }
}

#[derive(Deserialize)]
struct Subject {
    digest: Digest,
}
