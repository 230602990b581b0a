//! What of an image is whole in the cache.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::error::{Error, ErrorKind};
use crate::cache::Cache;
use crate::oci::manifest::{Document, LARGEST_MANIFEST};
use crate::oci::{Descriptor, Digest, Manifest, Platform, Reference, Resolved};

/// An image as the cache holds it: the manifests from the one that its reference names down to
/// those whose blobs are all there.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it is called.
    pub reference: Reference,
    /// What its reference resolved to: an index, or the one manifest.
    pub top: Manifest,
    /// The images of single platforms that are whole, in the order of the index. Never empty.
    pub parts: Vec<Part>,
    /// The manifests between: indexes below the top that lead to a part.
    pub between: Vec<Manifest>,
    /// Whether all that the top names is whole, attestations too.
    pub complete: bool,
}

/// The image of one platform, or an attestation beside it.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its manifest.
    pub manifest: Manifest,
    /// The platform that the index names for it.
    pub platform: Option<Platform>,
    /// Whether it is what the build says of an image, and runs nowhere.
    pub is_attestation: bool,
}

/// Which parts of an image are wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// All that are whole.
    All,
    /// The one with this manifest.
    Manifest(Digest),
    /// The one that this platform runs.
    Platform(Platform),
}

impl Image {
    /// Finds an image in the cache by the digest that its reference resolved to.
    ///
    /// # Errors
    ///
    /// Its manifest is not there or damaged, or nothing below it is whole.
    pub fn open(
        cache: &Cache,
        reference: &Reference,
        digest: &Digest,
        wanted: &Wanted,
    ) -> Result<Self, Error> {
        let top = manifest(cache, digest)?;
        let mut walk = Walk {
            cache,
            wanted,
            parts: Vec::new(),
            between: Vec::new(),
            seen: BTreeSet::new(),
            complete: true,
        };
        walk.descend(&top, None, false, 0)?;
        let Walk {
            parts,
            between,
            complete,
            ..
        } = walk;
        if !parts.iter().any(|part| !part.is_attestation) {
            return Err(ErrorKind::Incomplete {
                reference: reference.to_string(),
                digest: *digest,
            }
            .into());
        }
        Ok(Self {
            reference: reference.clone(),
            top,
            parts,
            between,
            complete,
        })
    }

    /// Returns an image that a puller has brought into the cache, with the platform that was chosen.
    ///
    /// # Errors
    ///
    /// A part of it can't be read any more.
    pub fn of_resolved(cache: &Cache, resolved: &Resolved) -> Result<Self, Error> {
        let wanted = Wanted::Manifest(resolved.manifest_digest());
        Self::open(cache, &resolved.reference, &resolved.digest, &wanted)
    }

    /// Returns the images of platforms, without attestations.
    pub fn platforms(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| !part.is_attestation)
    }

    /// Returns its name with the tag, or with the digest if it was asked for by digest alone:
    /// `docker.io/library/nginx:1.27`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.tagged() {
            Some(name) => name,
            None => self.pinned(),
        }
    }

    /// Returns its name with the tag, if it has one.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        let Reference {
            repository, tag, ..
        } = &self.reference;
        tag.as_ref().map(|tag| format!("{repository}:{tag}"))
    }

    /// Returns its name with the digest.
    #[must_use]
    pub fn pinned(&self) -> String {
        format!("{}@{}", self.reference.repository, self.top.digest)
    }

    /// Returns the blobs of the wanted parts, each once: configs and layers.
    #[must_use]
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let mut seen = BTreeSet::new();
        self.parts
            .iter()
            .flat_map(Part::blobs)
            .filter(|blob| seen.insert(blob.digest))
            .collect()
    }
}

impl Part {
    /// Returns config and layers, in the order of the manifest. A layer may come twice.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest
            .image()
            .into_iter()
            .flat_map(|image| std::iter::once(&image.config).chain(&image.layers))
    }

    /// Returns the descriptor of its manifest, with the platform.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            platform: self.platform.clone(),
            ..self.manifest.descriptor()
        }
    }
}

/// How deep indexes may be nested, and how many manifests are looked at: as when they were resolved.
const DEEPEST: usize = 4;
const MOST_MANIFESTS: usize = 256;

struct Walk<'a> {
    cache: &'a Cache,
    wanted: &'a Wanted,
    parts: Vec<Part>,
    between: Vec<Manifest>,
    seen: BTreeSet<Digest>,
    complete: bool,
}

impl Walk<'_> {
    /// Looks at a manifest and below it; says whether a part was found.
    fn descend(
        &mut self,
        manifest: &Manifest,
        named: Option<&Descriptor>,
        below: bool,
        depth: usize,
    ) -> Result<bool, Error> {
        if !self.seen.insert(manifest.digest) || self.seen.len() > MOST_MANIFESTS {
            return Ok(false);
        }
        match &manifest.document {
            Document::Image(_) => self.image(manifest, named),
            Document::Index(_) if depth == DEEPEST => {
                self.complete = false;
                Ok(false)
            }
            Document::Index(index) => {
                let mut found = false;
                for entry in &index.manifests {
                    match self::manifest(self.cache, &entry.digest) {
                        Ok(next) => found |= self.descend(&next, Some(entry), true, depth + 1)?,
                        Err(error) if error.is_missing() => self.complete = false,
                        Err(error) => return Err(error),
                    }
                }
                if found && below {
                    self.between.push(manifest.clone());
                }
                Ok(found)
            }
        }
    }

    fn image(&mut self, manifest: &Manifest, named: Option<&Descriptor>) -> Result<bool, Error> {
        let part = Part {
            manifest: manifest.clone(),
            platform: named.and_then(|entry| entry.platform.clone()),
            is_attestation: named.is_some_and(Descriptor::is_attestation),
        };
        let wanted = match self.wanted {
            Wanted::All => true,
            Wanted::Manifest(digest) => *digest == manifest.digest,
            // What is for no platform in particular is what there is.
            Wanted::Platform(platform) => {
                let offered = part.platform.as_ref();
                !part.is_attestation && offered.is_none_or(|offered| platform.matches(offered))
            }
        };
        if !wanted {
            self.complete = false;
            return Ok(false);
        }
        for blob in part.blobs() {
            if !self.cache.has(blob)? {
                self.complete = false;
                return Ok(false);
            }
        }
        self.parts.push(part);
        Ok(true)
    }
}

fn manifest(cache: &Cache, digest: &Digest) -> Result<Manifest, Error> {
    let bytes = cache.read(digest, LARGEST_MANIFEST)?;
    Manifest::parse(Bytes::from(bytes), None).map_err(|source| {
        ErrorKind::Manifest {
            digest: *digest,
            source,
        }
        .into()
    })
}
