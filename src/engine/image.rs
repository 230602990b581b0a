//! The document's images: each is resolved once, and stays what it was for the whole run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::OnceCell;

use super::lock::{Lock, LockError, LockedImage};
use super::world::Context;
use crate::failure::{Explain, Failure};
use crate::oci::{self, Digest, PlatformRule, Reference, Resolved};
use crate::outcome::ExitCode;
use crate::report::Detail;

/// The images by their names in the document.
#[derive(Default)]
pub struct Images {
    entries: BTreeMap<String, Entry>,
    lock: Option<Lock>,
    /// Blobs that a rehearsed preload has counted already.
    counted: Mutex<BTreeSet<Digest>>,
}

struct Entry {
    reference: Reference,
    rule: PlatformRule,
    resolved: OnceCell<Arc<Resolved>>,
    /// What it was resolved to in a part of the run that another process did.
    recalled: OnceLock<Digest>,
    asked: AtomicBool,
}

/// An image that could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The lock file does not pin it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The registry does not have it, or could not be asked.
    #[error(transparent)]
    Registry(#[from] oci::Error),
    /// The document does not have it. Checked documents never get here.
    #[error("no image is called `{0}`")]
    Unknown(String),
}

impl ImageError {
    /// Makes a failure of it: the lock's own exit code, or the one of whoever needed the image.
    #[must_use]
    pub fn failure(&self, name: &str, exit: ExitCode) -> Failure {
        let exit = match self {
            Self::Lock(_) => ExitCode::LockMismatch,
            Self::Registry(_) => exit,
            Self::Unknown(_) => ExitCode::PipelineInvalid,
        };
        let explain: &dyn Explain = match self {
            Self::Lock(error) => error,
            Self::Registry(error) => error,
            Self::Unknown(_) => return Failure::new(exit, self.to_string()),
        };
        Failure::explained(
            exit,
            format!("image `{name}` could not be resolved"),
            explain,
        )
    }
}

impl Images {
    /// Takes the images of a document. With a lock, digests come from there and tags are not asked for.
    #[must_use]
    pub fn new(
        images: impl IntoIterator<Item = (String, Reference, PlatformRule)>,
        lock: Option<Lock>,
    ) -> Self {
        let entry = |(name, reference, rule)| {
            let entry = Entry {
                reference,
                rule,
                resolved: OnceCell::new(),
                recalled: OnceLock::new(),
                asked: AtomicBool::new(false),
            };
            (name, entry)
        };
        Self {
            entries: images.into_iter().map(entry).collect(),
            lock,
            counted: Mutex::default(),
        }
    }

    /// Remembers what an image was resolved to in an earlier part of the run. An image that the
    /// document writes otherwise by now is another one.
    pub fn recall(&self, name: &str, reference: &str, digest: Digest) {
        let entry = self.entries.get(name);
        if let Some(entry) = entry.filter(|entry| entry.reference.to_string() == reference) {
            // An image has one digest in a run: the first one that is known stays.
            let _ = entry.recalled.set(digest);
        }
    }

    /// Resolves an image, the first time by asking its registry.
    ///
    /// # Errors
    /// The registry does not have it or could not be asked, or the lock does not pin it.
    pub async fn resolve(
        &self,
        name: &str,
        context: &Context,
    ) -> Result<Arc<Resolved>, ImageError> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| ImageError::Unknown(name.to_owned()))?;
        entry.asked.store(true, Ordering::Relaxed);
        let resolved = entry
            .resolved
            .get_or_try_init(|| self.ask(name, entry, context))
            .await?;
        Ok(Arc::clone(resolved))
    }

    /// Begins to fetch one blob from each registry of the resolved images, so that it names the
    /// host that it keeps blobs on.
    ///
    /// # Errors
    /// A registry does not give the blob, or could not be asked.
    pub async fn follow_blobs(&self, context: &Context) -> Result<(), (String, oci::Error)> {
        let mut asked = BTreeSet::new();
        for (name, entry) in &self.entries {
            let Some(image) = entry.resolved.get() else {
                continue;
            };
            let repository = &image.reference.repository;
            let blobs = image.blobs().into_iter();
            let smallest = blobs
                .filter(|blob| !blob.is_foreign())
                .min_by_key(|blob| blob.size);
            if let Some(blob) = smallest.filter(|_| asked.insert(repository.registry.clone())) {
                let followed = context.world.registries.follow_blob(repository, blob).await;
                followed.map_err(|error| (name.clone(), error))?;
            }
        }
        Ok(())
    }

    /// Returns what was asked for and could not be resolved.
    #[must_use]
    pub fn unresolved(&self) -> Vec<&str> {
        self.entries
            .iter()
            .filter(|(_, entry)| {
                entry.asked.load(Ordering::Relaxed) && entry.resolved.get().is_none()
            })
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Returns what has been resolved so far, or is locked: name, reference as written, and digest.
    #[must_use]
    pub fn resolved(&self) -> Vec<(String, String, Digest)> {
        self.all()
            .filter_map(|(name, reference, digest)| Some((name, reference, digest?)))
            .collect()
    }

    /// Returns what the lock pins: name, reference as written, and digest.
    #[must_use]
    pub fn pinned(&self) -> Vec<(String, String, Digest)> {
        let Some(lock) = &self.lock else {
            return Vec::new();
        };
        let pinned = self.entries.iter().filter_map(|(name, entry)| {
            let reference = entry.reference.to_string();
            let digest = lock.digest(name, &reference).ok()?;
            Some((name.clone(), reference, digest))
        });
        pinned.collect()
    }

    /// Returns every image: name, reference as written, and digest if it has been resolved or is locked.
    pub fn all(&self) -> impl Iterator<Item = (String, String, Option<Digest>)> {
        self.entries.iter().map(|(name, entry)| {
            let reference = entry.reference.to_string();
            let locked = || self.lock.as_ref()?.digest(name, &reference).ok();
            let resolved = entry.resolved.get().map(|resolved| resolved.digest);
            let recalled = || entry.recalled.get().copied();
            let digest = resolved.or_else(recalled).or_else(locked);
            (name.clone(), reference, digest)
        })
    }

    /// Returns what a lock file holds of them.
    #[must_use]
    pub fn locked(&self) -> BTreeMap<String, LockedImage> {
        self.resolved()
            .into_iter()
            .map(|(name, reference, digest)| (name, LockedImage { reference, digest }))
            .collect()
    }

    /// Returns an image's reference as written.
    #[must_use]
    pub fn reference(&self, name: &str) -> Option<&Reference> {
        self.entries.get(name).map(|entry| &entry.reference)
    }

    /// Says whether a blob is counted for the first time in this rehearsal.
    pub fn count(&self, digest: Digest) -> bool {
        // A set of digests stays whole whatever panics beside it.
        self.counted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest)
    }

    async fn ask(
        &self,
        name: &str,
        entry: &Entry,
        context: &Context,
    ) -> Result<Arc<Resolved>, ImageError> {
        let mut reference = entry.reference.clone();
        if let Some(digest) = entry.recalled.get() {
            reference.digest = Some(*digest);
        } else if let Some(lock) = &self.lock {
            reference.digest = Some(lock.digest(name, &entry.reference.to_string())?);
        }
        let world = &context.world;
        let resolved = context
            .registries()
            .resolve_beside(&reference, &entry.rule, &world.cache)
            .await?;
        context.events.emit(Detail::ImageResolved {
            image: name.to_owned(),
            reference: entry.reference.to_string(),
            digest: resolved.digest,
            manifest: resolved.manifest_digest(),
            platform: resolved
                .platform
                .as_ref()
                .map_or_else(|| "any platform".to_owned(), ToString::to_string),
            blobs: resolved.blobs().len(),
            bytes: resolved.bytes(),
        });
        Ok(Arc::new(resolved))
    }
}
