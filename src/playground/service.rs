//! A service to watch, and a place to send notices to.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::http::{BodyError, Exchange, Handler, Reply, Server, parameter, read};
use crate::oci::Digest;

/// How a service behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many requests for `/health` it answers with 503 before it is warm. Requests are counted, not time, so
    /// that every run of a pipeline sees the same.
    pub warm_up: u32,
    /// The digest of the image that it says it was started from; without one it does not say.
    pub image: Option<Digest>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            warm_up: 2,
            image: None,
        }
    }
}

/// A running service. It stops when it is dropped.
///
/// | path | answer |
/// | --- | --- |
/// | `/health` | 503 while it warms up, then 200 and `{"status":"ok","version":"v1"}`, with `"image"` if it knows it |
/// | `/broken` | 500, always |
/// | `/slow?ms=N` | 200 after N milliseconds, at most 2,000 |
/// | `/hook` | takes a `POST` of at most 1 MiB and keeps it |
pub struct Service {
    shared: Arc<Shared>,
    server: Server,
}

impl Service {
    /// Starts a service on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Listening may be refused; on WASI it always is.
    pub async fn start(config: &Config) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            cold: AtomicU32::new(config.warm_up),
            image: config.image,
            received: Mutex::default(),
        });
        let server = Server::start(Endpoint(shared.clone())).await?;
        Ok(Self { shared, server })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Returns the requests that were answered, the oldest first, at most the last 10,000.
    #[must_use]
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.server.exchanges()
    }

    /// Returns what was sent to `/hook`, the oldest first, at most the last 100.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.shared.received().iter().cloned().collect()
    }

    /// Lets requests under way finish, for at most a second, and stops.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// Something that was sent to `/hook`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The type that the sender gave it.
    pub content_type: Option<String>,
    /// The body, as it was sent.
    pub body: Bytes,
}

struct Shared {
    /// Answers left that say that it is not warm yet.
    cold: AtomicU32,
    image: Option<Digest>,
    received: Mutex<VecDeque<Received>>,
}

impl Shared {
    fn received(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> Reply {
        let was_cold = self
            .cold
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_ok();
        let status = if was_cold { "starting" } else { "ok" };
        let mut body = json!({"status": status, "version": "v1"});
        if let Some(image) = &self.image {
            body["image"] = image.to_string().into();
        }
        if was_cold {
            Reply::json(StatusCode::SERVICE_UNAVAILABLE, &body).header(RETRY_AFTER, "1")
        } else {
            Reply::json(StatusCode::OK, &body)
        }
    }

    async fn hook(&self, head: &Parts, body: &mut Incoming) -> Reply {
        let body = match read(body, MAX_HOOK).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => {
                return error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "a notice has at most 1048576 bytes",
                );
            }
            Err(BodyError::Broken) => {
                return error(StatusCode::BAD_REQUEST, "the body ended early");
            }
        };
        let content_type = head
            .headers
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let mut received = self.received();
        if received.len() == MAX_RECEIVED {
            received.pop_front();
        }
        received.push_back(Received { content_type, body });
        // The answer of Slack's incoming webhooks, which some senders look for.
        Reply::new(StatusCode::OK).body("text/plain", Bytes::from_static(b"ok"))
    }
}

struct Endpoint(Arc<Shared>);

impl Handler for Endpoint {
    async fn handle(&self, head: &Parts, body: &mut Incoming) -> Reply {
        let path = head.uri.path();
        let allowed: &[Method] = match path {
            "/hook" => &[Method::POST],
            "/health" | "/broken" | "/slow" => &[Method::GET, Method::HEAD],
            _ => return error(StatusCode::NOT_FOUND, "see /health, /broken, /slow?ms=N"),
        };
        if !allowed.contains(&head.method) {
            let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
            return error(StatusCode::METHOD_NOT_ALLOWED, "not possible here")
                .header(ALLOW, allowed.join(", "));
        }
        match path {
            "/hook" => self.0.hook(head, body).await,
            "/health" => self.0.health(),
            "/broken" => error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "this page is broken on purpose",
            ),
            _ => slow(head).await,
        }
    }
}

async fn slow(head: &Parts) -> Reply {
    let wait = parameter(head, "ms").unwrap_or_default();
    let Ok(wait) = wait.parse::<u64>() else {
        return error(
            StatusCode::BAD_REQUEST,
            "ms is the number of milliseconds to wait",
        );
    };
    let wait = wait.min(MAX_SLOW);
    tokio::time::sleep(Duration::from_millis(wait)).await;
    Reply::json(StatusCode::OK, &json!({"waited": wait}))
}

fn error(status: StatusCode, message: &str) -> Reply {
    Reply::json(status, &json!({"error": message}))
}

/// Bytes of one notice.
const MAX_HOOK: usize = 1 << 20;
/// Notices that are kept.
const MAX_RECEIVED: usize = 100;
/// The longest answer, in milliseconds.
const MAX_SLOW: u64 = 2000;
