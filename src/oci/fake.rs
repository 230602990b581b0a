//! A registry for tests: answers by a function, misbehaves on demand, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Digest;

/// A running server; dropping it stops it.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handler = Arc::new(handler);
        let log = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (handler, log) = (handler.clone(), log.clone());
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (handler, log) = (handler.clone(), log.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let seen = Seen {
                            method: head.method,
                            target: head.uri.to_string(),
                            headers: head.headers,
                            body,
                        };
                        log.lock().unwrap().push(seen.clone());
                        let reply = handler(&seen);
                        tokio::time::sleep(reply.delay).await;
                        Ok::<_, Infallible>(reply.into_http())
                    }
                });
                connections.spawn(async move {
                    // A body that is cut on purpose ends the connection with an error.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns method and target of each request, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |seen: &Seen| format!("{} {}", seen.method, seen.target);
        self.seen().iter().map(line).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the first and the last byte of the range that is asked for.
    pub(crate) fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self
            .header("range")?
            .strip_prefix("bytes=")?
            .split_once('-')?;
        Some((first.parse().unwrap(), last.parse().unwrap()))
    }
}

/// What to answer.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    /// How many bytes of the body are sent before the connection breaks.
    cut: Option<usize>,
    /// Whether the length of the body is not told.
    chunked: bool,
    /// How many bytes of the body are sent before nothing more comes.
    stall: Option<usize>,
    /// How long the head is held back.
    delay: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut: None,
            chunked: false,
            stall: None,
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, value.to_string()).header("content-type", "application/json")
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::json(
            status,
            &json!({"errors": [{"code": code, "message": format!("it is {code}")}]}),
        )
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn replacing(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.header(name, value)
    }

    /// Answers a request for a range with it, as a registry that keeps to RFC 9110 does.
    pub(crate) fn in_range(self, seen: &Seen) -> Self {
        match seen.range() {
            Some(range) if self.status == 200 => self.part(range.0, range.1),
            _ => self,
        }
    }

    /// Answers with these bytes of the body, the last one included.
    pub(crate) fn part(mut self, first: usize, last: usize) -> Self {
        let total = self.body.len();
        let last = last.min(total - 1);
        self.status = 206;
        self.body = self.body.slice(first..=last);
        self.header("content-range", format!("bytes {first}-{last}/{total}"))
    }

    pub(crate) fn without_length(mut self) -> Self {
        self.chunked = true;
        self
    }

    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    pub(crate) fn stalled_after(mut self, bytes: usize) -> Self {
        self.stall = Some(bytes);
        self
    }

    pub(crate) fn delayed_by(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn into_http(self) -> http::Response<http_body_util::combinators::BoxBody<Bytes, io::Error>> {
        let mut response = http::Response::builder().status(self.status);
        if !self.chunked {
            response = response.header("content-length", self.body.len());
        }
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        let sent = self
            .cut
            .or(self.stall)
            .map_or(self.body.clone(), |cut| self.body.slice(..cut));
        let mut parts = vec![Ok(Frame::data(sent))];
        if self.cut.is_some() {
            parts.push(Err(io::Error::other("cut on purpose")));
        }
        let parts = stream::iter(parts);
        let body = match self.stall {
            Some(_) => BodyExt::boxed(StreamBody::new(parts.chain(stream::pending()))),
            None => BodyExt::boxed(StreamBody::new(parts)),
        };
        response.body(body).unwrap()
    }
}

/// Content for a fake registry with one repository, `acme/web`.
#[derive(Clone, Default)]
pub(crate) struct Store {
    manifests: BTreeMap<String, (String, Bytes)>,
    blobs: BTreeMap<String, Bytes>,
}

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Store {
    /// Adds an image and returns its descriptor.
    pub(crate) fn image(&mut self, platform: &str, layers: &[&[u8]]) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let config = json!({"os": os, "architecture": architecture, "rootfs": {}}).to_string();
        let config = self.blob("application/vnd.oci.image.config.v1+json", config);
        let layers: Vec<Value> = layers
            .iter()
            .map(|layer| {
                self.blob(
                    "application/vnd.oci.image.layer.v1.tar+gzip",
                    layer.to_vec(),
                )
            })
            .collect();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let mut descriptor = self.manifest(IMAGE, &manifest);
        descriptor["platform"] = json!({"os": os, "architecture": architecture});
        descriptor
    }

    /// Adds an index of descriptors and returns its own.
    pub(crate) fn index(&mut self, entries: &[Value]) -> Value {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        self.manifest(INDEX, &index)
    }

    pub(crate) fn manifest(&mut self, media_type: &str, document: &Value) -> Value {
        let bytes = Bytes::from(document.to_string());
        let digest = Digest::of(&bytes).to_string();
        let size = bytes.len();
        let entry = (media_type.to_owned(), bytes);
        self.manifests.insert(digest.clone(), entry);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    pub(crate) fn tag(&mut self, tag: &str, descriptor: &Value) {
        let digest = descriptor["digest"].as_str().unwrap();
        let manifest = self.manifests[digest].clone();
        self.manifests.insert(tag.to_owned(), manifest);
    }

    pub(crate) fn blob(&mut self, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes).to_string();
        let size = bytes.len();
        self.blobs.insert(digest.clone(), bytes);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    /// Answers as a registry that keeps to the specification, without the referrers API.
    pub(crate) fn reply(&self, seen: &Seen) -> Reply {
        if seen.target == "/v2/" {
            return Reply::json(200, &json!({}));
        }
        let Some(rest) = seen.target.strip_prefix("/v2/acme/web/") else {
            return Reply::error(404, "NAME_UNKNOWN");
        };
        match rest.split_once('/') {
            Some(("manifests", name)) => match self.manifests.get(name) {
                Some((media_type, bytes)) => {
                    let digest = Digest::of(bytes).to_string();
                    Reply::new(200, bytes.clone())
                        .header("content-type", media_type)
                        .header("docker-content-digest", digest)
                }
                None => Reply::error(404, "MANIFEST_UNKNOWN"),
            },
            Some(("blobs", digest)) => match self.blobs.get(digest) {
                Some(bytes) => Reply::new(200, bytes.clone()),
                None => Reply::error(404, "BLOB_UNKNOWN"),
            },
            _ => Reply::new(404, "404 page not found"),
        }
    }
}
