//! What the cache answers.

use std::collections::BTreeSet;
use std::io::{Seek as _, SeekFrom};
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, HOST, RANGE};
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};

use super::Scope;
use super::answer::Reply;
use super::name::{fit, reference};
use super::route::{Route, Selector, range};
use crate::cache::{self, Cache};
use crate::oci::manifest::LARGEST_MANIFEST;
use crate::oci::{Digest, Manifest};

/// The cache, and what of it may be seen.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) cache: Cache,
    pub(super) scope: Scope,
}

impl Shelf {
    /// Answers a request.
    pub(super) fn answer(&self, head: &Parts) -> Reply {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let message = "this registry can only be read";
            return Reply::error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message);
        }
        // A page in a browser may have a name of its own for this address.
        if !is_local(head) {
            let message = "ask for it by a loopback address or as localhost";
            return Reply::error(StatusCode::MISDIRECTED_REQUEST, "DENIED", message);
        }
        let prefix = match &self.scope {
            Scope::All => None,
            Scope::Only { prefix, .. } => Some(prefix.as_str()),
        };
        let route = match Route::parse(head.uri.path(), prefix) {
            Ok(route) => route,
            Err(reply) => return reply,
        };
        let answer = match route {
            Route::Base => Ok(Reply::bytes("application/json", "{}")),
            Route::Blob { digest } => self.blob(&digest, head),
            Route::Manifest { name, selector } => self.manifest(&name, &selector, head),
            Route::Referrers { digest } => self.referrers(&digest, head),
            Route::Tags { name } => self.tags(&name, head),
        };
        answer.unwrap_or_else(|error| {
            // The path of the cache is nobody's business.
            let message = match error.kind() {
                cache::ErrorKind::Damaged { .. } => "the cache's copy is damaged",
                _ => "the cache can't be read",
            };
            Reply::error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", message)
        })
    }

    fn blob(&self, digest: &Digest, head: &Parts) -> Result<Reply, cache::Error> {
        let unknown = || {
            Reply::error(
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                "the cache does not have it",
            )
        };
        if !self.shows(digest) {
            return Ok(unknown());
        }
        let (mut file, size) = match self.cache.open_blob(digest) {
            Err(error) if is_missing(&error) => return Ok(unknown()),
            opened => opened?,
        };
        let asked = head
            .headers
            .get(RANGE)
            .and_then(|value| value.to_str().ok());
        // What a range means for a request without a body is not defined.
        let asked = asked.filter(|_| head.method == Method::GET);
        let reply = match asked.and_then(|text| range(text, size)) {
            None => Reply::file(file, size),
            Some(None) => Reply::error(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                "it is shorter",
            )
            .header(CONTENT_RANGE, format!("bytes */{size}")),
            Some(Some((first, count))) => {
                if file.seek(SeekFrom::Start(first)).is_err() {
                    return Ok(unknown());
                }
                Reply::file(file, count)
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(
                        CONTENT_RANGE,
                        format!("bytes {first}-{}/{size}", first + count - 1),
                    )
            }
        };
        Ok(reply
            .header(ACCEPT_RANGES, "bytes")
            .header(DIGEST, digest.to_string()))
    }

    fn manifest(
        &self,
        name: &str,
        selector: &Selector,
        head: &Parts,
    ) -> Result<Reply, cache::Error> {
        let unknown = |message| {
            Ok(Reply::error(
                StatusCode::NOT_FOUND,
                "MANIFEST_UNKNOWN",
                message,
            ))
        };
        let digest = match selector {
            Selector::Digest(digest) => Some(*digest),
            Selector::Tag(tag) => self.tagged(name, tag, head)?,
        };
        let Some(digest) = digest.filter(|digest| self.shows(digest)) else {
            return unknown("no image of that name and tag is in the cache");
        };
        match self.read(&digest)? {
            None => unknown("no manifest of that digest is in the cache"),
            Some(manifest) => Ok(Reply::bytes(&manifest.media_type, manifest.bytes)
                .header(DIGEST, digest.to_string())),
        }
    }

    fn tags(&self, name: &str, head: &Parts) -> Result<Reply, cache::Error> {
        let mut tags = BTreeSet::new();
        if matches!(self.scope, Scope::All) {
            let namespace = namespace(head);
            for entry in self.cache.list()? {
                let Some(found) = reference(&entry.reference) else {
                    continue;
                };
                if fit(&found.repository, name, namespace.as_deref()).is_some() {
                    tags.extend(found.tag);
                }
            }
        }
        if tags.is_empty() {
            let message = "no image of that name is in the cache";
            return Ok(Reply::error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message));
        }
        let page = json!({"name": name, "tags": tags});
        Ok(Reply::bytes("application/json", page.to_string()))
    }

    /// Lists what images of the cache say about a digest.
    fn referrers(&self, digest: &Digest, head: &Parts) -> Result<Reply, cache::Error> {
        let kind = parameter(head, "artifactType");
        let mut seen = BTreeSet::new();
        let mut found: Vec<Value> = Vec::new();
        for entry in self.cache.list()? {
            if !self.shows(&entry.digest) || !seen.insert(entry.digest) {
                continue;
            }
            let Some(manifest) = self.read(&entry.digest)? else {
                continue;
            };
            let Some(image) = manifest.image() else {
                continue;
            };
            let about = image.subject.as_ref().map(|subject| subject.digest);
            let artifact_type = image
                .artifact_type
                .as_ref()
                .unwrap_or(&image.config.media_type);
            if about != Some(*digest) || kind.as_ref().is_some_and(|kind| kind != artifact_type) {
                continue;
            }
            let mut descriptor = manifest.descriptor();
            descriptor.artifact_type = Some(artifact_type.clone());
            descriptor.annotations.clone_from(&image.annotations);
            found.push(json!(descriptor));
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": found});
        let reply = Reply::bytes(INDEX, index.to_string());
        Ok(match kind {
            Some(_) => reply.header(FILTERS, "artifactType"),
            None => reply,
        })
    }

    /// Finds the image of a name and tag: the one whose name fits best, of several the newest.
    fn tagged(&self, name: &str, tag: &str, head: &Parts) -> Result<Option<Digest>, cache::Error> {
        let namespace = namespace(head);
        let mut best = None;
        for entry in self.cache.list()? {
            let Some(found) = reference(&entry.reference) else {
                continue;
            };
            let Some(fit) = fit(&found.repository, name, namespace.as_deref()) else {
                continue;
            };
            if found.tag.as_deref() == Some(tag) && best.is_none_or(|(known, _)| fit <= known) {
                best = Some((fit, entry.digest));
            }
        }
        Ok(best.map(|(_, digest)| digest))
    }

    fn read(&self, digest: &Digest) -> Result<Option<Manifest>, cache::Error> {
        match self.cache.read(digest, LARGEST_MANIFEST) {
            Ok(bytes) => Ok(Manifest::parse(Bytes::from(bytes), None).ok()),
            // A layer is no manifest.
            Err(error) if is_missing(&error) || is_large(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn shows(&self, digest: &Digest) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Only { digests, .. } => digests.contains(digest),
        }
    }
}

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn is_missing(error: &cache::Error) -> bool {
    matches!(error.kind(), cache::ErrorKind::Missing { .. })
}

fn is_large(error: &cache::Error) -> bool {
    matches!(error.kind(), cache::ErrorKind::SizeMismatch { .. })
}

/// Returns the registry that containerd asks a mirror for.
fn namespace(head: &Parts) -> Option<String> {
    parameter(head, "ns")
}

fn parameter(head: &Parts, name: &str) -> Option<String> {
    let query = head.uri.query().unwrap_or_default();
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Says whether a request was meant for this machine.
fn is_local(head: &Parts) -> bool {
    let Some(host) = head.headers.get(HOST).and_then(|value| value.to_str().ok()) else {
        return true;
    };
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}
