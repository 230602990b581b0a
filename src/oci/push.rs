//! What is sent to a registry: blobs and manifests (distribution spec, "Push").

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::answer::Answer;
use super::call::{Call, Payload};
use super::client::{Client, Selector, absent_as_none};
use super::error::{Error, ErrorKind};
use super::manifest::{Descriptor, Manifest};
use super::mirror::Target;
use super::transport::Attempts;
use super::{Digest, Repository};
use crate::net::{Pieces, Upload};

/// Opens the bytes of a blob from an offset on.
pub type Opener = Arc<dyn Fn(u64) -> io::Result<Pieces> + Send + Sync>;

/// What a registry answered to the wish to have a blob of another of its repositories.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Mount {
    /// It is there now.
    Done,
    /// The bytes are wanted, here.
    Upload(Session),
}

/// An upload that was begun.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session(Url);

/// A manifest that was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Put {
    /// Whether the registry has listed it among the referrers of its subject.
    pub lists_subject: bool,
}

impl Client {
    /// Says whether a repository has a blob.
    ///
    /// # Errors
    ///
    /// Everything that leaves open whether it does.
    pub async fn has_blob(&self, repository: &Repository, digest: &Digest) -> Result<bool, Error> {
        let what = format!("blob {digest} of {}", repository.path);
        let call = self.push_call(Method::HEAD, repository, &format!("blobs/{digest}"), what)?;
        Ok(absent_as_none(self.transport.send(&call).await)?.is_some())
    }

    /// Asks a registry to take a blob from another of its repositories.
    ///
    /// # Errors
    ///
    /// The registry takes no uploads, or could not be asked.
    pub async fn mount(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &Repository,
    ) -> Result<Mount, Error> {
        let what = format!("an upload to {}", repository.path);
        let mut call = self.push_call(Method::POST, repository, "blobs/uploads/", what)?;
        call.scope = format!("{} repository:{}:pull", call.scope, from.path);
        call.url
            .query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", &from.path);
        let answer = self.transport.send(&call).await?;
        if answer.status() == http::StatusCode::CREATED {
            return Ok(Mount::Done);
        }
        Ok(Mount::Upload(self.session(&answer, &call.url)?))
    }

    /// Sends a blob, into an upload that was begun or a new one. One that breaks off goes on from what has
    /// come, as far as the registry tells.
    ///
    /// # Errors
    ///
    /// The registry does not take it, or the bytes can't be read.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        begun: Option<Session>,
        open: &Opener,
    ) -> Result<(), Error> {
        let mut attempts = Attempts::default();
        let mut under_way = begun.map(|session| (session, 0));
        loop {
            let (session, offset) = match under_way.take() {
                Some(under_way) => under_way,
                None => (self.begin(repository).await?, 0),
            };
            let error = match self
                .send_blob(repository, blob, &session, offset, open)
                .await
            {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.transport.pause(&mut attempts, error).await?;
            // The answer to the last request may be all that was lost.
            if self.has_blob(repository, &blob.digest).await? {
                return Ok(());
            }
            under_way = self.received(repository, &session).await;
        }
    }

    /// Sends a manifest, under its digest or a tag.
    ///
    /// # Errors
    ///
    /// The registry does not take it, or says that it has another digest.
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        selector: &Selector,
        manifest: &Manifest,
    ) -> Result<Put, Error> {
        let what = format!("manifest {selector} of {}", repository.path);
        let mut call = self.push_call(
            Method::PUT,
            repository,
            &format!("manifests/{selector}"),
            what,
        )?;
        let mut headers = HeaderMap::new();
        if let Ok(kind) = HeaderValue::from_str(&manifest.media_type) {
            headers.insert(CONTENT_TYPE, kind);
        }
        call.payload = Some(Payload {
            headers,
            bytes: manifest.bytes.clone(),
            upload: None,
        });
        let answer = self.transport.send(&call).await?;
        let said = header(&answer, &DIGEST).and_then(|text| text.parse::<Digest>().ok());
        match said {
            Some(found) if found != manifest.digest => Err(ErrorKind::DigestMismatch {
                host: answer.host.clone(),
                expected: manifest.digest,
                found,
                bytes: manifest.bytes.len() as u64,
            }
            .into()),
            _ => Ok(Put {
                lists_subject: header(&answer, &SUBJECT).is_some(),
            }),
        }
    }

    async fn begin(&self, repository: &Repository) -> Result<Session, Error> {
        let what = format!("an upload to {}", repository.path);
        let call = self.push_call(Method::POST, repository, "blobs/uploads/", what)?;
        let answer = self.transport.send(&call).await?;
        self.session(&answer, &call.url)
    }

    /// Sends the bytes from an offset on, once: small blobs in the request that ends the upload.
    async fn send_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        session: &Session,
        offset: u64,
        open: &Opener,
    ) -> Result<(), Error> {
        let left = blob.size.saturating_sub(offset);
        let opener = Arc::clone(open);
        let mut payload = Payload {
            upload: (left > 0).then(|| Upload::new(left, move || opener(offset))),
            ..Payload::default()
        };
        payload.headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        );
        let mut session = session.clone();
        if offset > 0 || blob.size > SMALL {
            if left > 0 {
                let part = format!("{offset}-{}", blob.size - 1);
                if let (true, Ok(part)) = (offset > 0, HeaderValue::from_str(&part)) {
                    payload.headers.insert(CONTENT_RANGE, part);
                }
                let mut call = self.upload_call(Method::PATCH, repository, blob, session.0);
                call.payload = Some(std::mem::take(&mut payload));
                let answer = self.transport.attempt(&call).await?;
                session = self.session(&answer, &call.url)?;
            }
            payload = Payload::default();
        }
        let mut call = self.upload_call(Method::PUT, repository, blob, session.0);
        call.url
            .query_pairs_mut()
            .append_pair("digest", &blob.digest.to_string());
        call.payload = Some(payload);
        self.transport.attempt(&call).await.map(|_| ())
    }

    /// Asks how much of an upload has come. Nothing means that it has to be begun anew.
    async fn received(&self, repository: &Repository, session: &Session) -> Option<(Session, u64)> {
        let what = format!("an upload to {}", repository.path);
        let mut call = self
            .push_call(Method::GET, repository, "blobs/uploads/", what)
            .ok()?;
        call.url = session.0.clone();
        let answer = self.transport.send(&call).await.ok()?;
        let session = self.session(&answer, &call.url).ok()?;
        let range = header(&answer, &RANGE)?;
        let last: u64 = range
            .trim_start_matches("bytes=")
            .strip_prefix("0-")?
            .parse()
            .ok()?;
        // `0-0` is what registries say of nothing, and of one byte.
        (last > 0).then_some((session, last + 1))
    }

    fn session(&self, answer: &Answer, asked: &Url) -> Result<Session, Error> {
        let malformed = |reason: &str| ErrorKind::Malformed {
            host: answer.host.clone(),
            url: answer.url.clone(),
            reason: reason.to_owned(),
        };
        let location = header(answer, &LOCATION)
            .ok_or_else(|| malformed("it names no place for the upload"))?;
        let url = asked
            .join(location)
            .map_err(|_| malformed("it names an unreadable place for the upload"))?;
        // The login of this registry goes with the bytes.
        if url.origin() != asked.origin() {
            return Err(malformed("it wants the upload to go to another host").into());
        }
        Ok(Session(url))
    }

    fn upload_call(
        &self,
        method: Method,
        repository: &Repository,
        blob: &Descriptor,
        url: Url,
    ) -> Call {
        Call {
            registry: repository.registry.clone(),
            method,
            url,
            accept: None,
            range: None,
            payload: None,
            sink: None,
            at_mirror: None,
            scope: push_scope(repository),
            what: format!("the upload of {} to {}", blob.digest, repository.path),
        }
    }

    fn push_call(
        &self,
        method: Method,
        repository: &Repository,
        below: &str,
        what: String,
    ) -> Result<Call, Error> {
        let origin = Target::origin(&self.transport);
        let mut call = self.call(&origin, method, repository, below, None, what)?;
        call.scope = push_scope(repository);
        Ok(call)
    }
}

/// Up to this size a blob goes with the request that ends its upload.
const SMALL: u64 = 1 << 20;
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

fn push_scope(repository: &Repository) -> String {
    format!("repository:{}:pull,push", repository.path)
}

fn header<'a>(answer: &'a Answer, name: &HeaderName) -> Option<&'a str> {
    answer.response.headers.get(name)?.to_str().ok()
}

/// Makes an opener of bytes in memory.
#[must_use]
pub fn in_memory(bytes: Bytes) -> Opener {
    Arc::new(move |offset| {
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        Ok(Box::new(std::iter::once(Ok(bytes.slice(from..)))) as Pieces)
    })
}
