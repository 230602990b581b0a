//! From a registry into the cache: several blobs at once, each byte checked, nothing twice.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{BlobWriter, Cache, Error as CacheError, ErrorKind as CacheErrorKind};
use crate::failure::{Explain, Fact};
use crate::oci::client::BlobAttempts;
use crate::oci::{self, Client, Descriptor, Digest, Repository, Resolved};

/// How many blobs are fetched at once where nobody says otherwise.
pub const CONCURRENCY: usize = 4;

/// A listener for progress; called from several tasks.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What happens to a blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// More of it is on disk. After a retry the count begins anew.
    Advanced {
        /// Which.
        digest: Digest,
        /// Its bytes so far.
        received: u64,
    },
    /// It is whole in the cache.
    Finished(Fetched),
    /// It is about to be fetched.
    Started {
        /// Which.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
}

/// A blob that is whole in the cache.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetched {
    /// Which.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The host that sent it, or nothing if it was there before.
    pub host: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// What a preload did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Preloaded {
    /// The blobs in the order in which they were done.
    pub blobs: Vec<Fetched>,
    /// Bytes that were fetched.
    pub fetched: u64,
    /// Bytes that were in the cache before.
    pub cached: u64,
}

/// What a preload would request, besides the manifests that resolving has fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forecast {
    /// The blobs that would be requested, one request each unless the registry redirects.
    pub missing: Vec<Descriptor>,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are in the cache already.
    pub cached: u64,
}

/// Returns what [`preload`] would request, without requesting or writing anything.
///
/// # Errors
///
/// The disk can't be read.
pub fn forecast(resolved: &Resolved, cache: &Cache) -> Result<Forecast, CacheError> {
    let mut forecast = Forecast {
        missing: Vec::new(),
        bytes: 0,
        cached: 0,
    };
    for blob in in_order(resolved) {
        // A config that had to be looked at for its platform is not fetched again.
        let at_hand = blob.digest == resolved.config.digest && resolved.config_bytes.is_some();
        if at_hand || cache.has(&blob)? {
            forecast.cached = forecast.cached.saturating_add(blob.size);
        } else {
            forecast.bytes = forecast.bytes.saturating_add(blob.size);
            forecast.missing.push(blob);
        }
    }
    Ok(forecast)
}

/// Brings manifests, config and layers of a resolved image into the cache.
///
/// At most `concurrency` blobs are fetched at once, each through a buffer of the size that the
/// network hands over. Dropping the future stops the transfers and leaves the cache whole.
///
/// # Errors
///
/// The first blob that could not be fetched, after its retries.
pub async fn preload(
    client: &Client,
    resolved: &Resolved,
    cache: &Cache,
    concurrency: usize,
    on_progress: OnProgress,
) -> Result<Preloaded, Error> {
    for blob in std::iter::once(&resolved.config).chain(&resolved.layers) {
        if blob.is_foreign() {
            client
                .blob_once(&resolved.reference.repository, blob)
                .await?;
        }
    }
    if let Some(bytes) = &resolved.config_bytes {
        cache.put_bytes(&resolved.config, bytes)?;
    }
    let mut waiting: VecDeque<Descriptor> = in_order(resolved).into();
    let mut running: JoinSet<Result<Fetched, Error>> = JoinSet::new();
    let mut preloaded = Preloaded {
        blobs: Vec::new(),
        fetched: 0,
        cached: 0,
    };
    loop {
        while running.len() < concurrency.max(1)
            && let Some(blob) = waiting.pop_front()
        {
            let fetch = Fetch {
                client: client.clone(),
                repository: resolved.reference.repository.clone(),
                cache: cache.clone(),
                on_progress: on_progress.clone(),
            };
            running.spawn(async move { fetch.blob(&blob).await });
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        let fetched = done.map_err(|_| Error::Cancelled)??;
        match fetched.host {
            Some(_) => preloaded.fetched = preloaded.fetched.saturating_add(fetched.size),
            None => preloaded.cached = preloaded.cached.saturating_add(fetched.size),
        }
        preloaded.blobs.push(fetched);
    }
    // Manifests come last: a cache that has one has all that it names.
    for manifest in resolved.chain.iter().rev() {
        cache.put_bytes(&manifest.descriptor(), &manifest.bytes)?;
    }
    Ok(preloaded)
}

/// A preload that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The runtime stopped a transfer.
    #[error("the transfer was stopped")]
    Cancelled,
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] oci::Error),
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            Self::Cancelled => None,
            Self::Registry(error) => error.hint(),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Cache(error) => error.facts(),
            Self::Cancelled => Vec::new(),
            Self::Registry(error) => error.facts(),
        }
    }
}

/// How often progress is told, for one blob.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

struct Fetch {
    client: Client,
    repository: Repository,
    cache: Cache,
    on_progress: OnProgress,
}

impl Fetch {
    async fn blob(&self, blob: &Descriptor) -> Result<Fetched, Error> {
        let begun = Instant::now();
        // Whoever holds the claim fetches; whoever waited finds the blob.
        let _claim = self.cache.claim(&blob.digest).await;
        let host = if self.cache.has(blob)? {
            None
        } else {
            (self.on_progress)(Progress::Started {
                digest: blob.digest,
                size: blob.size,
            });
            Some(self.until_whole(blob).await?)
        };
        let fetched = Fetched {
            digest: blob.digest,
            size: blob.size,
            host,
            took: begun.elapsed(),
        };
        (self.on_progress)(Progress::Finished(fetched.clone()));
        Ok(fetched)
    }

    async fn until_whole(&self, blob: &Descriptor) -> Result<String, Error> {
        let mut attempts = BlobAttempts::default();
        loop {
            match self.once(blob).await {
                Ok(host) => return Ok(host),
                Err(Error::Registry(error)) => self.client.pause(&mut attempts, error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    async fn once(&self, blob: &Descriptor) -> Result<String, Error> {
        let mut body = self
            .client
            .blob_once(&self.repository, blob)
            .await?
            .unhashed();
        let mut writer = self.cache.writer(blob)?;
        let mut told = Instant::now();
        while let Some(part) = body.chunk().await? {
            writer.write(&part)?;
            if told.elapsed() >= PROGRESS_EVERY {
                told = Instant::now();
                self.tell(&writer, blob);
            }
        }
        self.tell(&writer, blob);
        match writer.commit() {
            Ok(()) => Ok(body.host().to_owned()),
            Err(error) => Err(match error.kind() {
                // Who sent the wrong bytes matters more than where they were to go.
                CacheErrorKind::DigestMismatch { found, .. } => body.wrong_digest(*found).into(),
                _ => error.into(),
            }),
        }
    }

    fn tell(&self, writer: &BlobWriter, blob: &Descriptor) {
        (self.on_progress)(Progress::Advanced {
            digest: blob.digest,
            received: writer.written(),
        });
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

/// Returns config and layers once each, the largest first: it decides when all are done.
fn in_order(resolved: &Resolved) -> Vec<Descriptor> {
    let mut blobs: Vec<Descriptor> = resolved.blobs().into_iter().cloned().collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    blobs
}
