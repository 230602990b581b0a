//! An OCI registry in memory, for first runs and for tests: the distribution spec 1.1 with the referrers API.
//!
//! Only SHA-256 is known, nothing is kept when it stops, and it listens on loopback alone.

mod auth;
mod content;
mod list;
mod manifest;
mod quota;
mod refusal;
mod route;
mod store;
#[cfg(test)]
mod tests;
mod upload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, StatusCode};
use hyper::body::Incoming;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

pub use self::auth::{Auth, Login};
pub use self::refusal::{Code, Refusal};

use self::auth::Guard;
use self::manifest::Manifest;
use self::route::{Route, Target, is_repository, is_tag};
use self::store::Store;
use super::http::{Exchange, Handler, Reply, Server};
use crate::oci::Digest;

/// What a registry does and how much it takes.
#[derive(Clone, Debug)]
pub struct Config {
    /// How clients are told apart.
    pub auth: Auth,
    /// How long every answer is held back.
    pub delay: Duration,
    /// The largest blob, in bytes.
    pub max_blob: u64,
    /// What blobs, manifests and unfinished uploads may take together, in bytes.
    pub max_total: u64,
    /// The most entries of one page of tags, repositories or referrers. cosign 3 reads only the first page of
    /// referrers, so that a small page hides signatures from it.
    pub page_size: usize,
    /// Whether there is a referrers API; older registries answer 404.
    pub referrers_api: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auth: Auth::Open,
            delay: Duration::ZERO,
            max_blob: 512 << 20,
            max_total: 1 << 30,
            page_size: 100,
            referrers_api: true,
        }
    }
}

/// A running registry. It stops when it is dropped.
pub struct Registry {
    shared: Arc<Shared>,
    server: Server,
}

impl Registry {
    /// Starts a registry on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Listening may be refused; on WASI it always is.
    pub async fn start(config: Config) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            guard: Guard::new(config.auth.clone()),
            store: Store::new(config.max_total),
            config,
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

    /// Puts a blob into a repository, without a request.
    ///
    /// # Errors
    ///
    /// What a client would be refused: a malformed name, too many bytes.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Result<Digest, Refusal> {
        check_repository(repository)?;
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = self.shared.store.reserve(bytes.len())?;
        self.shared
            .store
            .put_blob(repository, &digest, bytes, size)?;
        Ok(digest)
    }

    /// Puts a manifest into a repository, without a request; under a tag if one is given.
    ///
    /// # Errors
    ///
    /// What a client would be refused: a malformed name or manifest, parts that are not there.
    pub fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<Digest, Refusal> {
        check_repository(repository)?;
        let target = tag.map(|tag| {
            if is_tag(tag) {
                Target::Tag(tag.to_owned())
            } else {
                Target::Nothing(tag.to_owned())
            }
        });
        let manifest = Manifest::parse(Some(media_type), body.into())?;
        self.shared
            .store
            .put_manifest(repository, target.as_ref(), manifest)
    }

    /// Lets requests under way finish, for at most a second, and stops.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}

/// What all requests share.
struct Shared {
    config: Config,
    guard: Guard,
    store: Store,
}

struct Endpoint(Arc<Shared>);

impl Handler for Endpoint {
    async fn handle(&self, head: &Parts, body: &mut Incoming) -> Reply {
        let shared = &self.0;
        if !shared.config.delay.is_zero() {
            tokio::time::sleep(shared.config.delay).await;
        }
        shared
            .answer(head, body)
            .await
            .unwrap_or_else(Reply::from)
            .header(API_VERSION, "registry/2.0")
    }
}

impl Shared {
    async fn answer(&self, head: &Parts, body: &mut Incoming) -> Result<Reply, Refusal> {
        let route = Route::parse(head.uri.path())?;
        if !route.methods().contains(&head.method) {
            return Err(Refusal::method(&head.method, route.methods()));
        }
        if route != Route::Token {
            self.guard.check(head, &route)?;
        }
        match &route {
            Route::Base => Ok(Reply::json(StatusCode::OK, &json!({}))),
            Route::Blob { name, digest } => self.on_blob(head, name, digest),
            Route::Catalog => self.on_catalog(head),
            Route::Manifest { name, target } => self.on_manifest(head, body, name, target).await,
            Route::Referrers { name, digest } => self.on_referrers(head, name, digest),
            Route::Tags { name } => self.on_tags(head, name),
            Route::Token => self.guard.issue(head),
            Route::Upload { name, id } => self.on_upload(head, body, name, id).await,
            Route::Uploads { name } => self.on_uploads(head, body, name).await,
        }
    }
}

fn check_repository(name: &str) -> Result<(), Refusal> {
    is_repository(name).then_some(()).ok_or_else(|| {
        Refusal::bad_request(Code::NameInvalid, format!("`{name}` is not a repository"))
    })
}

fn random<const N: usize>() -> Result<[u8; N], Refusal> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Unknown,
            "the system has no random bytes",
        )
    })?;
    Ok(bytes)
}

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
