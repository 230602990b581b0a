//! What is asked of a registry: manifests, blobs.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;

use super::blob::Blob;
use super::call::{AtMirror, Call};
use super::config::Config;
use super::credentials::Need;
use super::digest::Hasher;
use super::error::{Error, ErrorKind, Login};
use super::hosts::{Listed, Named, Place};
use super::manifest::{ACCEPTED, Descriptor, LARGEST_MANIFEST, Manifest, ManifestError};
use super::mirror::{Sources, Target, Wanted};
use super::part::{check_length, refuse_encoding};
use super::reference::is_tag;
use super::transport::{Attempts, Transport};
use super::{Digest, Quota, Repository};
use crate::net;

/// A client for all registries of a run; clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) transport: Transport,
}

/// What names a manifest in a repository.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selector {
    /// Its digest.
    Digest(Digest),
    /// A tag, which may name another one a second later.
    Tag(String),
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// The digest, if the registry names it. Nothing has been hashed.
    pub digest: Option<Digest>,
    /// The media type.
    pub media_type: Option<String>,
    /// The size in bytes.
    pub size: Option<u64>,
}

impl Client {
    /// Makes a client; nothing is sent.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            transport: Transport::new(config),
        }
    }

    /// Returns the same client for a caller that has no use for an answer after `deadline`: what
    /// would have to wait longer fails at once, with the time at which it could be tried again.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self {
            transport: self.transport.until(deadline),
        }
    }

    /// Returns how many requests each host still allows, by host and port, as far as they said.
    #[must_use]
    pub fn quotas(&self) -> BTreeMap<String, Quota> {
        self.transport.quotas()
    }

    /// Returns the HTTP client below.
    pub(crate) fn http(&self) -> &net::Client {
        self.transport.http()
    }

    /// Returns the time.
    pub(crate) fn now(&self) -> jiff::Timestamp {
        self.transport.now()
    }

    /// Returns the log of every request that was sent.
    #[must_use]
    pub fn log(&self) -> net::RequestLog {
        self.transport.http().log()
    }

    /// Returns the host and port that requests to a registry go to.
    ///
    /// # Errors
    ///
    /// The text is no registry.
    pub fn endpoint(&self, registry: &str) -> Result<(String, u16), Error> {
        let url = self.transport.base(registry)?;
        let host = url.host_str().unwrap_or(registry).to_owned();
        Ok((host, url.port_or_known_default().unwrap_or_default()))
    }

    /// Returns the hosts that are listed for what a registry may name: its token service, its blobs.
    #[must_use]
    pub fn listed(&self, registry: &str) -> Vec<Listed> {
        self.transport.hosts().of(registry)
    }

    /// Returns the hosts that registries have named and that answered so far, by registry.
    #[must_use]
    pub fn met(&self) -> BTreeMap<String, Named> {
        self.transport.met().all()
    }

    /// Returns what the look-up of a registry's login may touch outside the process.
    #[must_use]
    pub fn login_needs(&self, registry: &str) -> Vec<Need> {
        self.transport.credentials().needs(registry)
    }

    /// Returns which logins satisfied which registries so far, in the order of the registries.
    #[must_use]
    pub fn logins(&self) -> Vec<(String, Login)> {
        self.transport.credentials().used()
    }

    /// Fetches a manifest and hashes it.
    ///
    /// # Errors
    ///
    /// Among others that the manifest does not exist ([`Error::is_absence`]), or that it is not
    /// the one that the digest names.
    pub async fn manifest(
        &self,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Manifest, Error> {
        match self.sources(&repository.registry) {
            Some(sources) => Box::pin(self.manifest_of_any(&sources, repository, selector)).await,
            None => Box::pin(self.origin_manifest(repository, selector)).await,
        }
    }

    /// Fetches a manifest from the registry itself.
    pub(super) async fn origin_manifest(
        &self,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Manifest, Error> {
        let target = Target::origin(&self.transport);
        let mut attempts = Attempts::default();
        loop {
            match self.manifest_from(&target, repository, selector).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => self.transport.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Asks once for a manifest, and hashes it.
    pub(super) async fn manifest_from(
        &self,
        target: &Target,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Manifest, Error> {
        let call = self.manifest_call(target, Method::GET, repository, selector)?;
        let read = Box::pin(target.transport.read_once(&call, LARGEST_MANIFEST)).await;
        let (headers, bytes, host) = match read {
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. }) => {
                return Err(ErrorKind::TooLarge {
                    what: format!("manifest {selector} of {repository}"),
                    limit: LARGEST_MANIFEST,
                }
                .into());
            }
            read => read?,
        };
        if let Selector::Digest(expected) = selector {
            let found = Digest::of(&bytes);
            if found != *expected {
                return Err(ErrorKind::DigestMismatch {
                    host,
                    expected: *expected,
                    found,
                    bytes: bytes.len() as u64,
                }
                .into());
            }
        }
        let content_type = text(&headers, CONTENT_TYPE);
        Manifest::parse(bytes, content_type).map_err(|source: ManifestError| {
            ErrorKind::Manifest {
                what: format!("manifest {selector} of {repository}"),
                source,
            }
            .into()
        })
    }

    /// Fetches a manifest, or returns nothing if the registry says that there is none.
    ///
    /// # Errors
    ///
    /// Everything that leaves open whether it exists.
    pub async fn manifest_if_exists(
        &self,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Option<Manifest>, Error> {
        absent_as_none(self.manifest(repository, selector).await)
    }

    /// Asks the registry itself for a manifest without its content. Docker Hub does not count such requests.
    ///
    /// # Errors
    ///
    /// Everything that leaves open whether it exists.
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Option<Head>, Error> {
        let target = Target::origin(&self.transport);
        let call = self.manifest_call(&target, Method::HEAD, repository, selector)?;
        let Some(answer) = absent_as_none(self.transport.send(&call).await)? else {
            return Ok(None);
        };
        let headers = &answer.response.headers;
        let digest = headers
            .get("docker-content-digest")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Some(Head {
            digest,
            media_type: text(headers, CONTENT_TYPE).map(str::to_owned),
            size: text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        }))
    }

    /// Begins to fetch a blob. Size and digest are checked at its end, so no part may be trusted
    /// before [`Blob::chunk`] returned nothing.
    ///
    /// # Errors
    ///
    /// The blob is foreign, the registry does not have it, or announces another size.
    pub async fn blob(&self, repository: &Repository, blob: &Descriptor) -> Result<Blob, Error> {
        match self.sources(&repository.registry) {
            None => Box::pin(self.origin_blob(repository, blob)).await,
            Some(sources) => {
                blob.refuse_foreign()?;
                let one =
                    |target: Target| async move { self.blob_from(&target, repository, blob).await };
                self.insist_on_blob(&sources, repository, blob, one).await
            }
        }
    }

    /// Begins to fetch a blob from the registry itself.
    pub(super) async fn origin_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<Blob, Error> {
        let target = Target::origin(&self.transport);
        let mut attempts = Attempts::default();
        loop {
            match self.blob_from(&target, repository, blob).await {
                Ok(opened) => return Ok(opened),
                Err(error) => self.transport.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn insist_on_blob<T, F>(
        &self,
        sources: &Sources,
        repository: &Repository,
        blob: &Descriptor,
        one: impl Fn(Target) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let what = format!("blob {} of {}", blob.digest, repository.path);
        let need = Wanted::Content(blob.digest);
        self.insist(sources, repository, need, &what, one).await
    }

    /// Fetches a small blob whole.
    ///
    /// # Errors
    ///
    /// As [`Client::blob`], and a blob over `limit` bytes, of which none is fetched.
    pub async fn blob_bytes(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        limit: u64,
    ) -> Result<Bytes, Error> {
        if blob.size > limit {
            return Err(ErrorKind::TooLarge {
                what: format!("blob {} of {repository}", blob.digest),
                limit,
            }
            .into());
        }
        blob.refuse_foreign()?;
        let one = |target: Target| async move {
            let mut opened = self.blob_from(&target, repository, blob).await?;
            let mut bytes = Vec::new();
            while let Some(part) = opened.chunk().await? {
                bytes.extend_from_slice(&part);
            }
            Ok(Bytes::from(bytes))
        };
        if let Some(sources) = self.sources(&repository.registry) {
            return self.insist_on_blob(&sources, repository, blob, one).await;
        }
        let mut attempts = Attempts::default();
        loop {
            match one(Target::origin(&self.transport)).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => self.transport.pause(&mut attempts, error).await?,
            }
        }
    }

    /// Sends the request for a blob once.
    pub(super) async fn blob_from(
        &self,
        target: &Target,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<Blob, Error> {
        let call = self.blob_call(target, repository, blob)?;
        let mut answer = Box::pin(target.transport.attempt(&call)).await?;
        target.mind_silence(&mut answer);
        refuse_encoding(&answer)?;
        check_length(&answer, blob)?;
        Ok(Blob {
            answer,
            digest: blob.digest,
            size: blob.size,
            received: 0,
            hasher: Some(Hasher::new()),
        })
    }

    pub(super) fn blob_call(
        &self,
        target: &Target,
        repository: &Repository,
        blob: &Descriptor,
    ) -> Result<Call, Error> {
        blob.refuse_foreign()?;
        self.call(
            target,
            Method::GET,
            repository,
            &format!("blobs/{}", blob.digest),
            None,
            format!("blob {} of {}", blob.digest, repository.path),
        )
    }

    fn manifest_call(
        &self,
        target: &Target,
        method: Method,
        repository: &Repository,
        selector: &Selector,
    ) -> Result<Call, Error> {
        let what = match selector {
            Selector::Digest(digest) => format!("manifest {digest} of {}", repository.path),
            Selector::Tag(tag) if is_tag(tag) => format!("tag {tag} of {}", repository.path),
            Selector::Tag(tag) => {
                return Err(ErrorKind::Malformed {
                    host: repository.registry.clone(),
                    url: String::new(),
                    reason: format!("`{tag}` is no tag"),
                }
                .into());
            }
        };
        let accept = HeaderValue::from_str(&ACCEPTED.join(", ")).ok();
        self.call(
            target,
            method,
            repository,
            &format!("manifests/{selector}"),
            accept,
            what,
        )
    }

    pub(super) fn call(
        &self,
        target: &Target,
        method: Method,
        repository: &Repository,
        below: &str,
        accept: Option<HeaderValue>,
        what: String,
    ) -> Result<Call, Error> {
        let base = self.transport.base(&repository.registry)?;
        let (registry, at_mirror, url, path) = match target.mirror() {
            Some(mirror) => {
                let (url, path) = mirror.url(repository, below);
                let at_mirror = AtMirror {
                    header: mirror.header(&base),
                    shuns: Place::of(&base).filter(|_| target.is_all_there_is),
                    on_connection: target.on_connection(),
                };
                let registry = mirror.login_of(&repository.registry);
                (registry, Some(at_mirror), url, path)
            }
            None => {
                let mut url = base;
                let path = format!("/v2/{}/{below}", repository.path);
                url.set_path(&path);
                (repository.registry.clone(), None, url, path)
            }
        };
        let inner = match target.mirror() {
            Some(mirror) => mirror.path(&repository.path),
            None => repository.path.clone(),
        };
        // A repository that was not parsed may try to climb.
        if url.path() != path {
            return Err(ErrorKind::Malformed {
                host: repository.registry.clone(),
                url: String::new(),
                reason: format!("`{}` is no repository", repository.path),
            }
            .into());
        }
        Ok(Call {
            registry,
            method,
            url,
            accept,
            range: None,
            payload: None,
            sink: None,
            scope: format!("repository:{inner}:pull"),
            what,
            at_mirror,
        })
    }
}

pub(super) fn absent_as_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
