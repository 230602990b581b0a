//! From a reference to the digests of one platform, in as few requests as there are manifests.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::client::{Client, Selector};
use super::error::{Error, ErrorKind};
use super::manifest::{Descriptor, Document, Manifest, ManifestError};
use super::{Digest, Platform, Reference, Repository};

/// Which platform is wanted, and how much that matters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PlatformRule {
    /// The platform of this machine: a choice among several, and no objection to an image that
    /// is not made for several.
    Preferred(Platform),
    /// A platform that somebody asked for: an image that is made for another one is refused.
    Required(Platform),
}

impl PlatformRule {
    /// Returns the platform.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        match self {
            Self::Preferred(platform) | Self::Required(platform) => platform,
        }
    }
}

/// A reference, resolved once for the whole run.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The reference as it was asked for.
    pub reference: Reference,
    /// What it resolved to: the digest of the index, or of the single manifest.
    pub digest: Digest,
    /// The manifests from there to the image's own, which is the last. Never empty.
    pub chain: Vec<Manifest>,
    /// The chosen platform, if the index or the config names it.
    pub platform: Option<Platform>,
    /// The config.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// The config's bytes, if they had to be looked at already.
    pub config_bytes: Option<Bytes>,
}

impl Resolved {
    /// Returns the digest of the image's own manifest.
    #[must_use]
    pub fn manifest_digest(&self) -> Digest {
        self.chain
            .last()
            .map_or(self.digest, |manifest| manifest.digest)
    }

    /// Returns config and layers, each digest once, in the order of the manifest.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = BTreeSet::new();
        std::iter::once(&self.config)
            .chain(&self.layers)
            .filter(|blob| seen.insert(blob.digest))
            .collect()
    }

    /// Returns the bytes of all blobs together, each digest counted once.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.blobs()
            .iter()
            .map(|blob| blob.size)
            .fold(0, u64::saturating_add)
    }
}

/// Bytes that need not be fetched, since they are here.
pub trait Local: Sync {
    /// Returns bytes whose digest was checked, or nothing if they are not here.
    fn bytes(&self, digest: &Digest) -> Option<Bytes>;

    /// Returns what a reference resolved to when its image was fetched last.
    fn last(&self, _reference: &Reference) -> Option<Digest> {
        None
    }
}

/// Has nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Local for Nothing {
    fn bytes(&self, _digest: &Digest) -> Option<Bytes> {
        None
    }
}

impl Client {
    /// Resolves a reference: one request by tag or digest, and one for each manifest below it.
    ///
    /// # Errors
    ///
    /// The image does not exist, is not there for the platform, or can't be used.
    pub async fn resolve(
        &self,
        reference: &Reference,
        rule: &PlatformRule,
    ) -> Result<Resolved, Error> {
        self.resolve_beside(reference, rule, &Nothing).await
    }

    /// Resolves a reference as [`Client::resolve`] does, without requests for what is here: a tag
    /// costs one `HEAD` then, a digest nothing.
    ///
    /// # Errors
    ///
    /// As [`Client::resolve`].
    pub async fn resolve_beside(
        &self,
        reference: &Reference,
        rule: &PlatformRule,
        local: &dyn Local,
    ) -> Result<Resolved, Error> {
        let repository = &reference.repository;
        let selector = match (reference.digest, &reference.tag) {
            (Some(digest), _) => Selector::Digest(digest),
            (None, Some(tag)) => Selector::Tag(tag.clone()),
            (None, None) => Selector::Tag("latest".into()),
        };
        let source = Source {
            client: self,
            repository,
            local,
        };
        let top = match source.unchanged(reference, &selector).await? {
            Some(top) => top,
            None => source.manifest(&selector).await?,
        };
        let digest = top.digest;
        let mut search = Search {
            source: &source,
            wanted: rule.platform(),
            available: Vec::new(),
            left: MOST_MANIFESTS,
        };
        let Some(choice) = search.descend(vec![top], None, 0).await? else {
            return Err(no_platform(reference, rule.platform(), search.available));
        };
        let image = choice.image;
        let mut resolved = Resolved {
            reference: reference.clone(),
            digest,
            chain: choice.chain,
            platform: choice.platform,
            config: image.0,
            layers: image.1,
            config_bytes: None,
        };
        if let (PlatformRule::Required(wanted), None) = (rule, &resolved.platform)
            && is_image_config(&resolved.config.media_type)
        {
            let bytes = source.config(&resolved.config).await?;
            let platform = platform_of(&bytes).map_err(|reason| ErrorKind::Manifest {
                what: format!("config {} of {repository}", resolved.config.digest),
                source: ManifestError::Malformed { reason },
            })?;
            if !wanted.matches(&platform) {
                return Err(no_platform(reference, wanted, vec![platform]));
            }
            resolved.platform = Some(platform);
            resolved.config_bytes = Some(bytes);
        }
        Ok(resolved)
    }
}

/// The most manifests of one image that are fetched: an index of indexes must end somewhere.
const MOST_MANIFESTS: usize = 16;
const DEEPEST: usize = 4;
const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;

struct Choice {
    chain: Vec<Manifest>,
    platform: Option<Platform>,
    image: (Descriptor, Vec<Descriptor>),
}

/// The folder at hand before the registry.
struct Source<'a> {
    client: &'a Client,
    repository: &'a Repository,
    local: &'a dyn Local,
}

impl Source<'_> {
    /// Returns what is here if the registry says that a tag still names it. Docker Hub counts no `HEAD`,
    /// and one more request is made only where the image was fetched by this very tag before.
    async fn unchanged(
        &self,
        reference: &Reference,
        selector: &Selector,
    ) -> Result<Option<Manifest>, Error> {
        let Selector::Tag(_) = selector else {
            return Ok(None);
        };
        let here = self.local.last(reference);
        let here = here.and_then(|last| Some((last, self.local.bytes(&last)?)));
        let Some((last, bytes)) = here else {
            return Ok(None);
        };
        let head = match self.client.head_manifest(self.repository, selector).await {
            Ok(head) => head,
            // Some answer `GET` alone; what is wrong is for that to say.
            Err(error) if matches!(error.kind(), ErrorKind::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        // A digest that the header gets wrong is another one, and costs a `GET`.
        let same = head.is_some_and(|head| head.digest == Some(last));
        Ok(same.then(|| Manifest::parse(bytes, None).ok()).flatten())
    }

    async fn manifest(&self, selector: &Selector) -> Result<Manifest, Error> {
        if let Selector::Digest(digest) = selector
            && let Some(bytes) = self.local.bytes(digest)
            && let Ok(manifest) = Manifest::parse(bytes, None)
        {
            return Ok(manifest);
        }
        self.client.manifest(self.repository, selector).await
    }

    async fn config(&self, config: &Descriptor) -> Result<Bytes, Error> {
        if let Some(bytes) = self.local.bytes(&config.digest) {
            return Ok(bytes);
        }
        let blob = self
            .client
            .blob_bytes(self.repository, config, LARGEST_CONFIG);
        blob.await
    }
}

struct Search<'a> {
    source: &'a Source<'a>,
    wanted: &'a Platform,
    available: Vec<Platform>,
    left: usize,
}

impl Search<'_> {
    /// Looks below the last manifest of the chain; the first entry that fits wins.
    fn descend(
        &mut self,
        chain: Vec<Manifest>,
        platform: Option<Platform>,
        depth: usize,
    ) -> BoxFuture<'_, Result<Option<Choice>, Error>> {
        Box::pin(async move {
            let entries = match chain.last().map(|manifest| &manifest.document) {
                None => return Ok(None),
                Some(Document::Image(image)) => {
                    let image = (image.config.clone(), image.layers.clone());
                    return Ok(Some(Choice {
                        chain,
                        platform,
                        image,
                    }));
                }
                Some(Document::Index(index)) => {
                    for platform in index.platforms() {
                        if !self.available.contains(&platform) {
                            self.available.push(platform);
                        }
                    }
                    let entries = index.candidates(self.wanted).into_iter().cloned();
                    entries.collect::<Vec<_>>()
                }
            };
            if depth == DEEPEST {
                return Ok(None);
            }
            for entry in entries {
                if self.left == 0 {
                    return Ok(None);
                }
                self.left -= 1;
                let selector = Selector::Digest(entry.digest);
                let below = self.source.manifest(&selector).await?;
                let mut longer = chain.clone();
                longer.push(below);
                let named = entry.platform.or_else(|| platform.clone());
                if let Some(choice) = self.descend(longer, named, depth + 1).await? {
                    return Ok(Some(choice));
                }
            }
            Ok(None)
        })
    }
}

fn no_platform(reference: &Reference, wanted: &Platform, available: Vec<Platform>) -> Error {
    ErrorKind::NoPlatform {
        reference: reference.to_string(),
        wanted: wanted.clone(),
        available,
    }
    .into()
}

fn is_image_config(media_type: &str) -> bool {
    use oci_client::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE};
    media_type == IMAGE_CONFIG_MEDIA_TYPE || media_type == IMAGE_DOCKER_CONFIG_MEDIA_TYPE
}

/// Reads the platform out of an image's config.
fn platform_of(config: &[u8]) -> Result<Platform, String> {
    #[derive(Deserialize)]
    struct Config {
        os: String,
        architecture: String,
        variant: Option<String>,
    }
    let config: Config = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    Ok(Platform {
        os: config.os,
        architecture: config.architecture,
        variant: config.variant.filter(|variant| !variant.is_empty()),
        os_version: None,
    })
}
