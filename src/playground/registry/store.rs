//! Repositories in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::manifest::Manifest;
use super::quota::{Quota, Reservation};
use super::refusal::{Code, Refusal};
use super::route::Target;
use crate::oci::Digest;

/// The content of a registry. No lock is held while a client is waited for.
#[derive(Debug)]
pub(super) struct Store {
    quota: Quota,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    uploads: HashMap<String, Session>,
}

#[derive(Debug)]
struct Repository {
    blobs: BTreeMap<Digest, Arc<Blob>>,
    manifests: BTreeMap<Digest, (Manifest, Reservation)>,
    tags: BTreeMap<String, (Digest, Reservation)>,
    _size: Reservation,
}

/// A blob, once however many repositories it is in.
#[derive(Debug)]
struct Blob {
    bytes: Bytes,
    _size: Reservation,
}

/// An upload under way.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) data: Vec<u8>,
    pub(super) size: Reservation,
}

/// An upload that one request at a time writes to.
pub(super) type SharedUpload = Arc<tokio::sync::Mutex<Upload>>;

#[derive(Debug)]
struct Session {
    repository: String,
    upload: SharedUpload,
}

impl Store {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            quota: Quota::new(limit),
            state: Mutex::default(),
        }
    }

    pub(super) fn blob(&self, name: &str, digest: &Digest) -> Result<Bytes, Refusal> {
        self.lock()
            .repositories
            .get(name)
            .and_then(|repository| repository.blobs.get(digest))
            .map(|blob| blob.bytes.clone())
            .ok_or_else(|| no_blob(name, digest))
    }

    /// Takes bytes as a blob, if they are what the digest says.
    pub(super) fn put_blob(
        &self,
        name: &str,
        expected: &Digest,
        bytes: Bytes,
        size: Reservation,
    ) -> Result<(), Refusal> {
        let actual = Digest::of(&bytes);
        if actual != *expected {
            return Err(wrong_digest(expected, &actual));
        }
        let mut state = self.lock();
        let blob = state
            .find_blob(expected)
            .unwrap_or_else(|| Arc::new(Blob { bytes, _size: size }));
        let repository = state.repository(name, &self.quota)?;
        repository.blobs.insert(*expected, blob);
        Ok(())
    }

    /// Puts a blob of another repository into this one, of any if none is named; tells whether there is such a blob.
    pub(super) fn mount(
        &self,
        name: &str,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<bool, Refusal> {
        let mut state = self.lock();
        let blob = match from {
            Some(from) => state
                .repositories
                .get(from)
                .and_then(|repository| repository.blobs.get(digest).cloned()),
            None => state.find_blob(digest),
        };
        let Some(blob) = blob else {
            return Ok(false);
        };
        let repository = state.repository(name, &self.quota)?;
        repository.blobs.insert(*digest, blob);
        Ok(true)
    }

    pub(super) fn delete_blob(&self, name: &str, digest: &Digest) -> Result<(), Refusal> {
        self.lock()
            .repositories
            .get_mut(name)
            .and_then(|repository| repository.blobs.remove(digest))
            .map(drop)
            .ok_or_else(|| no_blob(name, digest))
    }

    pub(super) fn manifest(
        &self,
        name: &str,
        target: &Target,
    ) -> Result<(Digest, Manifest), Refusal> {
        let state = self.lock();
        let repository = state.existing(name)?;
        repository
            .resolve(target)
            .and_then(|digest| {
                let (manifest, _) = repository.manifests.get(&digest)?;
                Some((digest, manifest.clone()))
            })
            .ok_or_else(|| no_manifest(name, target))
    }

    /// Takes a manifest whose parts are in the repository.
    pub(super) fn put_manifest(
        &self,
        name: &str,
        target: Option<&Target>,
        manifest: Manifest,
    ) -> Result<Digest, Refusal> {
        let digest = Digest::of(&manifest.body);
        let tag = match target {
            Some(Target::Digest(expected)) if *expected != digest => {
                return Err(wrong_digest(expected, &digest));
            }
            Some(Target::Nothing(text)) => {
                return Err(Refusal::bad_request(
                    Code::ManifestInvalid,
                    format!("`{text}` is neither a tag nor a digest"),
                ));
            }
            Some(Target::Tag(tag)) => Some(tag),
            Some(Target::Digest(_)) | None => None,
        };
        let size = self.quota.reserve(manifest.body.len() + OVERHEAD)?;
        let tag = tag
            .map(|tag| Ok::<_, Refusal>((tag, self.quota.reserve(tag.len() + OVERHEAD)?)))
            .transpose()?;
        let mut state = self.lock();
        let repository = state.repository(name, &self.quota)?;
        let missing = manifest
            .blobs
            .iter()
            .find(|blob| !repository.blobs.contains_key(blob))
            .or_else(|| {
                let held = |digest: &&Digest| !repository.manifests.contains_key(*digest);
                manifest.manifests.iter().find(held)
            });
        if let Some(missing) = missing {
            return Err(Refusal::bad_request(
                Code::ManifestBlobUnknown,
                format!("{missing} is not in {name}: push it before what refers to it"),
            ));
        }
        repository.manifests.insert(digest, (manifest, size));
        if let Some((tag, size)) = tag {
            repository.tags.insert(tag.clone(), (digest, size));
        }
        Ok(digest)
    }

    /// Removes a tag alone, or a manifest with the tags that point to it.
    pub(super) fn delete_manifest(&self, name: &str, target: &Target) -> Result<(), Refusal> {
        let mut state = self.lock();
        let Some(repository) = state.repositories.get_mut(name) else {
            return Err(no_repository(name));
        };
        let found = match target {
            Target::Digest(digest) => {
                repository.tags.retain(|_, (tagged, _)| tagged != digest);
                repository.manifests.remove(digest).is_some()
            }
            Target::Tag(tag) => repository.tags.remove(tag).is_some(),
            Target::Nothing(_) => false,
        };
        found.then_some(()).ok_or_else(|| no_manifest(name, target))
    }

    /// Returns the tags in the order of their bytes.
    pub(super) fn tags(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let state = self.lock();
        Ok(state.existing(name)?.tags.keys().cloned().collect())
    }

    /// Returns the names of the repositories in the order of their bytes.
    pub(super) fn repositories(&self) -> Vec<String> {
        self.lock().repositories.keys().cloned().collect()
    }

    /// Returns the descriptors of what refers to a digest, with their digests, in the order of those. A repository
    /// or a subject that does not exist has no referrers.
    pub(super) fn referrers(
        &self,
        name: &str,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Vec<(String, Value)> {
        let state = self.lock();
        let Some(repository) = state.repositories.get(name) else {
            return Vec::new();
        };
        repository
            .manifests
            .iter()
            .filter(|(_, (manifest, _))| manifest.subject.as_ref() == Some(subject))
            .filter(|(_, (manifest, _))| manifest.is_of(artifact_type))
            .map(|(digest, (manifest, _))| (digest.to_string(), manifest.descriptor(digest)))
            .collect()
    }

    /// Sets bytes aside.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Reservation, Refusal> {
        self.quota.reserve(bytes)
    }

    /// Opens an upload under an identifier.
    pub(super) fn open_upload(&self, name: &str, id: &str) -> Result<SharedUpload, Refusal> {
        let upload = Arc::new(tokio::sync::Mutex::new(Upload {
            data: Vec::new(),
            size: self.quota.reserve(0)?,
        }));
        let mut state = self.lock();
        if state.uploads.len() >= MAX_UPLOADS {
            return Err(Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                Code::TooManyRequests,
                format!("{MAX_UPLOADS} uploads are open: finish or cancel some"),
            ));
        }
        state.uploads.insert(
            id.to_owned(),
            Session {
                repository: name.to_owned(),
                upload: upload.clone(),
            },
        );
        Ok(upload)
    }

    pub(super) fn upload(&self, name: &str, id: &str) -> Result<SharedUpload, Refusal> {
        self.lock()
            .uploads
            .get(id)
            .filter(|session| session.repository == name)
            .map(|session| session.upload.clone())
            .ok_or_else(|| no_upload(name))
    }

    pub(super) fn close_upload(&self, name: &str, id: &str) -> Result<(), Refusal> {
        let mut state = self.lock();
        match state.uploads.get(id) {
            Some(session) if session.repository == name => {
                state.uploads.remove(id);
                Ok(())
            }
            _ => Err(no_upload(name)),
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.quota.used()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn existing(&self, name: &str) -> Result<&Repository, Refusal> {
        self.repositories
            .get(name)
            .ok_or_else(|| no_repository(name))
    }

    /// Returns a repository, which comes to be with the first thing put into it.
    fn repository(&mut self, name: &str, quota: &Quota) -> Result<&mut Repository, Refusal> {
        if !self.repositories.contains_key(name) {
            let size = quota.reserve(name.len() + OVERHEAD)?;
            let repository = Repository {
                blobs: BTreeMap::new(),
                manifests: BTreeMap::new(),
                tags: BTreeMap::new(),
                _size: size,
            };
            self.repositories.insert(name.to_owned(), repository);
        }
        self.repositories
            .get_mut(name)
            .ok_or_else(|| no_repository(name))
    }

    fn find_blob(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.repositories
            .values()
            .find_map(|repository| repository.blobs.get(digest).cloned())
    }
}

impl Repository {
    fn resolve(&self, target: &Target) -> Option<Digest> {
        match target {
            Target::Digest(digest) => Some(*digest),
            Target::Tag(tag) => self.tags.get(tag).map(|(digest, _)| *digest),
            Target::Nothing(_) => None,
        }
    }
}

fn no_blob(name: &str, digest: &Digest) -> Refusal {
    Refusal::not_found(Code::BlobUnknown, format!("no blob {digest} in {name}"))
}

fn no_manifest(name: &str, target: &Target) -> Refusal {
    Refusal::not_found(
        Code::ManifestUnknown,
        format!("no manifest {target} in {name}"),
    )
}

fn no_repository(name: &str) -> Refusal {
    Refusal::not_found(Code::NameUnknown, format!("no repository {name}"))
}

fn no_upload(name: &str) -> Refusal {
    Refusal::not_found(
        Code::BlobUploadUnknown,
        format!("no such upload to {name}: it ended, was cancelled, or never was"),
    )
}

fn wrong_digest(expected: &Digest, actual: &Digest) -> Refusal {
    Refusal::bad_request(
        Code::DigestInvalid,
        format!("expected {expected}, but the bytes sent are {actual}"),
    )
}

/// What an entry costs beside its content, roughly, so that many small things have a limit too.
const OVERHEAD: usize = 256;
/// Uploads that may be open at once.
const MAX_UPLOADS: usize = 1000;
