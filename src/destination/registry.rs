//! Images into other registries: a replica with everything that the source says about them.
//!
//! The digest stays what it is, so that all platforms of an index go along, and attestations in it. So do
//! signatures and other referrers, by whichever way the source lists them: the referrers API, its
//! fallback tag, and cosign's tags.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::archive;
use super::error::{Error, ErrorKind};
use crate::cache::Cache;
use crate::net::Pieces;
use crate::oci::manifest::{Document, LARGEST_MANIFEST};
use crate::oci::push::{Mount, Opener};
use crate::oci::{
    Client, Descriptor, Digest, Manifest, Reference, Repository, Selector, referrers,
};
use crate::pull::Puller;

/// A repository that takes images, and under which tag.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The repository.
    pub repository: Repository,
    /// The tag; without one it is known by its digest alone.
    pub tag: Option<String>,
}

/// What a copy did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Copied {
    /// Blobs that were sent, and their bytes.
    pub sent: (u64, u64),
    /// Blobs that the registry took from another of its repositories.
    pub mounted: u64,
    /// Blobs that were there.
    pub there: u64,
    /// Signatures, attestations and other manifests that say something about the image.
    pub referrers: u64,
}

/// Copies an image that a reference resolved to, and what is said about it.
///
/// # Errors
///
/// The source lacks a part of it, or the target does not take it.
pub async fn copy(
    client: &Client,
    puller: &Puller,
    cache: &Cache,
    image: (&Reference, Digest),
    target: &Target,
) -> Result<Copied, Error> {
    let (reference, digest) = image;
    let mut replica = Replica {
        client,
        puller,
        cache,
        source: &reference.repository,
        target: &target.repository,
        copied: Copied::default(),
        done: BTreeSet::new(),
        left: MOST_MANIFESTS,
    };
    let top = replica.manifest(&Selector::Digest(digest)).await?;
    let mut subjects = Vec::new();
    replica.tree(top.clone(), &mut subjects).await?;
    for subject in subjects {
        replica.said_about(subject, 0).await?;
        replica.tags_about(subject).await?;
    }
    // The tag comes last: who looks for it finds all that belongs to it.
    if let Some(tag) = &target.tag {
        let tag = Selector::Tag(tag.clone());
        client.push_manifest(&target.repository, &tag, &top).await?;
    }
    Ok(replica.copied)
}

struct Replica<'a> {
    client: &'a Client,
    puller: &'a Puller,
    cache: &'a Cache,
    source: &'a Repository,
    target: &'a Repository,
    copied: Copied,
    /// Manifests that are in the target by now.
    done: BTreeSet<Digest>,
    left: usize,
}

impl Replica<'_> {
    /// Copies a manifest with all that it names, the lowest first. Each manifest is noted in `found`.
    fn tree<'f>(
        &'f mut self,
        manifest: Manifest,
        found: &'f mut Vec<Digest>,
    ) -> BoxFuture<'f, Result<(), Error>> {
        Box::pin(async move {
            if !self.done.insert(manifest.digest) {
                return Ok(());
            }
            found.push(manifest.digest);
            match &manifest.document {
                Document::Index(index) => {
                    for entry in &index.manifests {
                        let below = self.manifest(&Selector::Digest(entry.digest)).await?;
                        self.tree(below, found).await?;
                    }
                }
                Document::Image(image) => {
                    let mut seen = BTreeSet::new();
                    let blobs: Vec<Descriptor> = std::iter::once(&image.config)
                        .chain(&image.layers)
                        // Foreign layers are in no registry, and registries take manifests without them.
                        .filter(|blob| !blob.is_foreign() && seen.insert(blob.digest))
                        .cloned()
                        .collect();
                    self.blobs(blobs).await?;
                }
            }
            let selector = Selector::Digest(manifest.digest);
            let put = self
                .client
                .push_manifest(self.target, &selector, &manifest)
                .await?;
            let subject = manifest.image().and_then(|image| image.subject.clone());
            if let (Some(subject), false) = (subject, put.lists_subject) {
                self.list_in_tag(&subject.digest, &manifest).await?;
            }
            Ok(())
        })
    }

    async fn blobs(&mut self, blobs: Vec<Descriptor>) -> Result<(), Error> {
        let outcomes: Vec<Sent> = {
            let this = &*self;
            stream::iter(blobs)
                .map(|blob| async move { this.blob(&blob).await })
                .buffer_unordered(AT_ONCE)
                .try_collect()
                .await?
        };
        for outcome in outcomes {
            match outcome {
                Sent::Bytes(bytes) => {
                    self.copied.sent.0 += 1;
                    self.copied.sent.1 += bytes;
                }
                Sent::Mounted => self.copied.mounted += 1,
                Sent::There => self.copied.there += 1,
            }
        }
        Ok(())
    }

    async fn blob(&self, blob: &Descriptor) -> Result<Sent, Error> {
        let (client, target) = (self.client, self.target);
        if client.has_blob(target, &blob.digest).await? {
            return Ok(Sent::There);
        }
        let mut begun = None;
        if self.source.api_host() == target.api_host() && self.source != target {
            match client.mount(target, &blob.digest, self.source).await? {
                Mount::Done => return Ok(Sent::Mounted),
                Mount::Upload(session) => begun = Some(session),
            }
        }
        if !self.cache.has(blob)? {
            let fetched = self
                .puller
                .fetch(self.source, std::slice::from_ref(blob))
                .await;
            fetched.map_err(ErrorKind::Pull)?;
        }
        let open = opener(self.cache, blob.digest);
        client.push_blob(target, blob, begun, &open).await?;
        Ok(Sent::Bytes(blob.size))
    }

    /// Copies what the source lists about a manifest, and what is said about that.
    fn said_about(&mut self, subject: Digest, depth: usize) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let listed = self.client.referrers(self.source, &subject, None).await?;
            let mut entries = listed.descriptors;
            if listed.place == referrers::Place::Api {
                // A registry that has learnt the API may still have what clients wrote into the tag before.
                let tag = Selector::Tag(format!("sha256-{}", subject.hex()));
                let manifest = self.client.manifest_if_exists(self.source, &tag).await?;
                if let Some(Document::Index(index)) = manifest.map(|manifest| manifest.document) {
                    entries.extend(index.manifests);
                }
            }
            for entry in entries {
                if self.done.contains(&entry.digest) {
                    continue;
                }
                let selector = Selector::Digest(entry.digest);
                // A list may outlive what it names.
                let Some(manifest) = self.manifest_if_exists(&selector).await? else {
                    continue;
                };
                let mut found = Vec::new();
                self.tree(manifest, &mut found).await?;
                self.copied.referrers += 1;
                if depth < DEEPEST {
                    for digest in found {
                        self.said_about(digest, depth + 1).await?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Copies what cosign keeps under tags made of a digest.
    async fn tags_about(&mut self, subject: Digest) -> Result<(), Error> {
        for end in ["sig", "att", "sbom"] {
            let tag = Selector::Tag(format!("sha256-{}.{end}", subject.hex()));
            let Some(manifest) = self.manifest_if_exists(&tag).await? else {
                continue;
            };
            self.tree(manifest.clone(), &mut Vec::new()).await?;
            self.client
                .push_manifest(self.target, &tag, &manifest)
                .await?;
            self.copied.referrers += 1;
        }
        Ok(())
    }

    /// Adds a manifest to the list that clients keep where a registry has none (distribution spec,
    /// "Pushing Manifests with Subject").
    async fn list_in_tag(&self, subject: &Digest, manifest: &Manifest) -> Result<(), Error> {
        let tag = Selector::Tag(format!("sha256-{}", subject.hex()));
        let known = self.client.manifest_if_exists(self.target, &tag).await?;
        let mut entries: Vec<Value> = Vec::new();
        if let Some(known) = known {
            let index: Value = serde_json::from_slice(&known.bytes).unwrap_or_default();
            entries.extend(index["manifests"].as_array().cloned().unwrap_or_default());
        }
        let digest = manifest.digest.to_string();
        if entries
            .iter()
            .any(|entry| entry["digest"] == digest.as_str())
        {
            return Ok(());
        }
        let mut descriptor = manifest.descriptor();
        if let Some(image) = manifest.image() {
            let kind = image
                .artifact_type
                .as_ref()
                .unwrap_or(&image.config.media_type);
            descriptor.artifact_type = Some(kind.clone());
            descriptor.annotations.clone_from(&image.annotations);
        }
        entries.push(json!(descriptor));
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        let index = Manifest::parse(Bytes::from(index.to_string()), None).map_err(|source| {
            ErrorKind::Manifest {
                digest: manifest.digest,
                source,
            }
        })?;
        self.client.push_manifest(self.target, &tag, &index).await?;
        Ok(())
    }

    /// Returns a manifest of the source, from the cache if its digest is known there.
    async fn manifest(&mut self, selector: &Selector) -> Result<Manifest, Error> {
        self.count()?;
        if let Selector::Digest(digest) = selector
            && let Ok(bytes) = self.cache.read(digest, LARGEST_MANIFEST)
            && let Ok(manifest) = Manifest::parse(Bytes::from(bytes), None)
        {
            return Ok(manifest);
        }
        Ok(self.client.manifest(self.source, selector).await?)
    }

    async fn manifest_if_exists(&mut self, selector: &Selector) -> Result<Option<Manifest>, Error> {
        self.count()?;
        let manifest = self.client.manifest_if_exists(self.source, selector);
        Ok(manifest.await?)
    }

    /// An index of indexes must end somewhere.
    fn count(&mut self) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or(ErrorKind::TooMany {
            limit: MOST_MANIFESTS,
        })?;
        Ok(())
    }
}

enum Sent {
    Bytes(u64),
    Mounted,
    There,
}

/// Blobs that are sent at once.
const AT_ONCE: usize = 4;
/// What is said about what is said about an image, and so on.
const DEEPEST: usize = 2;
const MOST_MANIFESTS: usize = 2000;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const PIECE: u64 = 256 << 10;

fn opener(cache: &Cache, digest: Digest) -> Opener {
    let cache = cache.clone();
    Arc::new(move |offset| {
        let (mut file, size) = cache.open_blob(&digest).map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(pieces(file, size.saturating_sub(offset)))
    })
}

fn pieces(mut file: File, mut left: u64) -> Pieces {
    Box::new(std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let wanted = left.min(PIECE);
        let mut piece = Vec::with_capacity(wanted as usize);
        match (&mut file).take(wanted).read_to_end(&mut piece) {
            Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => {
                left -= count as u64;
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(error)),
        }
    }))
}

/// Refuses two images that would have the same name in a registry.
///
/// # Errors
///
/// Two different images have one target.
pub fn claim(images: impl IntoIterator<Item = (Target, Digest)>) -> Result<(), Error> {
    let mut names = BTreeMap::new();
    for (target, digest) in images {
        if let Some(tag) = &target.tag {
            archive::take(&mut names, format!("{}:{tag}", target.repository), digest)?;
        }
    }
    Ok(())
}
