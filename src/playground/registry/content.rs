//! Manifests and blobs (distribution spec, "Pull", "Pushing Manifests" and "Content Management").

use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LOCATION, RANGE};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use hyper::body::Incoming;

use super::Shared;
use super::manifest::Manifest;
use super::refusal::{Code, Refusal};
use super::route::Target;
use crate::oci::Digest;
use crate::playground::http::{BodyError, Reply, read};

pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// The most that the spec asks registries to take.
pub(super) const MAX_MANIFEST: usize = 4 << 20;

impl Shared {
    pub(super) async fn on_manifest(
        &self,
        head: &Parts,
        body: &mut Incoming,
        name: &str,
        target: &Target,
    ) -> Result<Reply, Refusal> {
        match head.method {
            Method::PUT => self.put_manifest(head, body, name, target).await,
            Method::DELETE => {
                self.store.delete_manifest(name, target)?;
                Ok(Reply::new(StatusCode::ACCEPTED))
            }
            _ => {
                let (digest, manifest) = self.store.manifest(name, target)?;
                Ok(Reply::new(StatusCode::OK)
                    .body(&manifest.media_type, manifest.body)
                    .header(CONTENT_DIGEST, digest.to_string())
                    .header(ETAG, etag(&digest)))
            }
        }
    }

    async fn put_manifest(
        &self,
        head: &Parts,
        body: &mut Incoming,
        name: &str,
        target: &Target,
    ) -> Result<Reply, Refusal> {
        let body = read(body, MAX_MANIFEST)
            .await
            .map_err(|error| match error {
                BodyError::Broken => {
                    Refusal::bad_request(Code::ManifestInvalid, "the body ended early")
                }
                BodyError::TooLarge => Refusal::too_large(
                    Code::ManifestInvalid,
                    format!("a manifest has at most {MAX_MANIFEST} bytes"),
                ),
            })?;
        let content_type = head
            .headers
            .get(CONTENT_TYPE)
            .map(|value| value.to_str())
            .transpose()
            .map_err(|_| Refusal::bad_request(Code::ManifestInvalid, "Content-Type is not text"))?;
        let manifest = Manifest::parse(content_type, body)?;
        let subject = manifest.subject;
        let digest = self.store.put_manifest(name, Some(target), manifest)?;
        let reply = Reply::new(StatusCode::CREATED)
            .header(LOCATION, format!("/v2/{name}/manifests/{digest}"))
            .header(CONTENT_DIGEST, digest.to_string());
        // Without the header clients know that they must keep the list of referrers themselves.
        Ok(match subject {
            Some(subject) if self.config.referrers_api => {
                reply.header(SUBJECT, subject.to_string())
            }
            _ => reply,
        })
    }

    pub(super) fn on_blob(
        &self,
        head: &Parts,
        name: &str,
        digest: &Digest,
    ) -> Result<Reply, Refusal> {
        if head.method == Method::DELETE {
            self.store.delete_blob(name, digest)?;
            return Ok(Reply::new(StatusCode::ACCEPTED));
        }
        let bytes = self.store.blob(name, digest)?;
        let reply = match requested_range(head, digest, bytes.len()) {
            Range::Whole => Reply::new(StatusCode::OK).body(BLOB, bytes),
            Range::Part { first, last } => Reply::new(StatusCode::PARTIAL_CONTENT)
                .header(
                    CONTENT_RANGE,
                    format!("bytes {first}-{last}/{}", bytes.len()),
                )
                .body(BLOB, bytes.slice(first..=last)),
            Range::Outside => {
                return Err(Refusal::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    Code::SizeInvalid,
                    format!("the blob has {} bytes", bytes.len()),
                )
                .header(CONTENT_RANGE, format!("bytes */{}", bytes.len())));
            }
        };
        Ok(reply
            .header(ACCEPT_RANGES, "bytes")
            .header(CONTENT_DIGEST, digest.to_string())
            .header(ETAG, etag(digest)))
    }
}

enum Range {
    Outside,
    Part { first: usize, last: usize },
    Whole,
}

/// Reads `Range` and `If-Range` (RFC 9110, section 14). What is no single range of bytes is ignored, as it says.
fn requested_range(head: &Parts, digest: &Digest, length: usize) -> Range {
    let is_other = |value: &http::HeaderValue| value.as_bytes() != etag(digest).as_bytes();
    if head.method != Method::GET || head.headers.get(IF_RANGE).is_some_and(is_other) {
        return Range::Whole;
    }
    let spec = head
        .headers
        .get(RANGE)
        .and_then(|range| range.to_str().ok())
        .and_then(|range| range.strip_prefix("bytes="));
    let Some((first, last)) = spec.and_then(|spec| spec.trim().split_once('-')) else {
        return Range::Whole;
    };
    match (position(first), position(last)) {
        (Some(Some(first)), Some(last)) => {
            if last.is_some_and(|last| last < first) {
                Range::Whole
            } else if first >= length {
                Range::Outside
            } else {
                let end = length - 1;
                let last = last.map_or(end, |last| last.min(end));
                Range::Part { first, last }
            }
        }
        (Some(None), Some(Some(suffix))) if suffix > 0 && length > 0 => Range::Part {
            first: length.saturating_sub(suffix),
            last: length - 1,
        },
        (Some(None), Some(Some(_))) => Range::Outside,
        _ => Range::Whole,
    }
}

/// Reads a position, which may be left out; nothing if it is no number. Numbers beyond memory are all the same.
fn position(text: &str) -> Option<Option<usize>> {
    if text.is_empty() {
        return Some(None);
    }
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| Some(text.parse().unwrap_or(usize::MAX)))
}

fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

const BLOB: &str = "application/octet-stream";
