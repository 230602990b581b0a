//! The cache as a read-only OCI registry on loopback, from which an engine pulls and unpacks in parallel.
//!
//! `GET` and `HEAD` of the distribution spec 1.1: manifests by digest and tag, blobs with ranges, referrers,
//! tags. Nothing can be pushed, and nobody beyond this machine can ask.

mod answer;
mod content;
mod name;
mod route;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use self::name::served_name;
use crate::cache::Cache;
use crate::failure::Explain;
use crate::oci::Digest;

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct CacheServer {
    address: SocketAddr,
    task: JoinHandle<()>,
    served: Arc<Served>,
}

/// What of the cache is served.
#[derive(Clone, Debug)]
pub enum Scope {
    /// All of it.
    All,
    /// These blobs and manifests, below a first path segment that nobody can guess: other users of the
    /// machine reach the same port.
    Only {
        /// The segment.
        prefix: String,
        /// The digests.
        digests: BTreeSet<Digest>,
    },
}

/// What a server has served.
#[derive(Debug, Default)]
struct Served {
    requests: AtomicU64,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Others than this machine could ask.
    #[error("{address} is no loopback address")]
    NotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The system refused.
    #[error("can't listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The system's own words.
        source: io::Error,
    },
}

impl Explain for StartError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotLoopback { .. } => {
                "the cache is served to this machine alone: name 127.0.0.1 or [::1] and a port"
                    .into()
            }
            Self::Listen { .. } => "name another port, or 0 for any that is free".into(),
        })
    }
}

impl CacheServer {
    /// Serves a cache on a loopback address; port 0 takes one that is free.
    ///
    /// # Errors
    ///
    /// The address is no loopback address, or the system does not let us listen there.
    pub async fn start(
        cache: &Cache,
        address: SocketAddr,
        scope: Scope,
    ) -> Result<Self, StartError> {
        if !address.ip().is_loopback() {
            return Err(StartError::NotLoopback { address });
        }
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let served = Arc::<Served>::default();
        let shelf = content::Shelf {
            cache: cache.clone(),
            scope,
        };
        let task = tokio::spawn(accept(listener, Arc::new(shelf), served.clone()));
        Ok(Self {
            address,
            task,
            served,
        })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many requests were answered.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.served.requests.load(Ordering::Relaxed)
    }
}

impl Drop for CacheServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shelf: Arc<content::Shelf>, served: Arc<Served>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, shelf.clone(), served.clone()));
                }
                // Out of file descriptors, most likely: others must finish first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}

async fn serve(stream: TcpStream, shelf: Arc<content::Shelf>, served: Arc<Served>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: http::Request<Incoming>| {
        let (shelf, served) = (shelf.clone(), served.clone());
        async move {
            let (head, _) = request.into_parts();
            let reply = shelf.answer(&head);
            served.requests.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(reply.finish(&head.method))
        }
    });
    // A client that goes away is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// How long a client may send nothing between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// Connections served at once; further ones wait in the listener's queue.
const CONNECTIONS: usize = 256;
/// Bytes of a request's line and headers.
const MAX_HEAD: usize = 64 << 10;
