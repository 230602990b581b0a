//! From registries into the cache: every byte checked, none fetched twice, over as many connections as pay.
//!
//! May not know the document or the terminal. One [`Puller`] serves a whole run: it decides which
//! bytes of which blob come next (`schedule`), how many connections a host is given (`ramp`), and
//! what happens to what arrives (`engine`). When to repeat a request that failed is the registry
//! client's to say; where bytes wait until their blob is whole is the cache's.

mod engine;
mod error;
mod host;
mod job;
mod ramp;
mod schedule;
mod source;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use self::engine::Engine;
pub use self::error::Error;
use crate::cache::{self, Cache};
use crate::oci::{Client, Descriptor, Digest, Repository, Resolved};

/// The most connections to one host where nobody says otherwise.
pub const CONNECTIONS: usize = 24;

/// Brings images into a cache; clones share connections and what is under way.
///
/// Dropping the last clone stops every transfer. What has come stays in the cache's `partial`
/// folder, where the next process goes on.
#[derive(Clone)]
pub struct Puller {
    client: Client,
    cache: Cache,
    engine: Engine<Client>,
}

impl Puller {
    /// Makes a puller with at most so many connections to each host.
    #[must_use]
    pub fn new(client: &Client, cache: &Cache, connections: usize) -> Self {
        Self {
            client: client.clone(),
            cache: cache.clone(),
            engine: Engine::new(client.clone(), cache.clone(), connections),
        }
    }

    /// Brings manifests, config and layers of a resolved image into the cache.
    ///
    /// Several may be under way at once, and share what they have in common. Dropping the future
    /// stops the transfers that nobody else waits for.
    ///
    /// # Errors
    ///
    /// The first blob that could not be fetched, after its retries.
    pub async fn pull(
        &self,
        resolved: &Resolved,
        on_progress: OnProgress,
    ) -> Result<Preloaded, Error> {
        for blob in std::iter::once(&resolved.config).chain(&resolved.layers) {
            blob.refuse_foreign()?;
        }
        if let Some(bytes) = &resolved.config_bytes {
            self.cache.put_bytes(&resolved.config, bytes)?;
        }
        self.check_space(resolved)?;
        let repository = &resolved.reference.repository;
        let blobs = in_order(resolved);
        let mut done = self.bring(repository, &blobs, &on_progress).await?;
        // Once more for what somebody removed from the cache meanwhile.
        let gone = self.missing(&blobs)?;
        if !gone.is_empty() {
            done.retain(|blob| gone.iter().all(|gone| gone.digest != blob.digest));
            done.extend(self.bring(repository, &gone, &on_progress).await?);
            if let Some(Descriptor { digest, .. }) = self.missing(&gone)?.first() {
                let kind = cache::ErrorKind::Missing { digest: *digest };
                return Err(cache::Error::from(kind).into());
            }
        }
        // Manifests come last: a cache that has one has all that it names.
        for manifest in resolved.chain.iter().rev() {
            self.cache
                .put_bytes(&manifest.descriptor(), &manifest.bytes)?;
        }
        Ok(Preloaded::of(done))
    }

    /// Brings single blobs of a repository into the cache, as [`Puller::pull`] does.
    ///
    /// # Errors
    ///
    /// The first blob that could not be fetched, after its retries.
    pub async fn fetch(&self, repository: &Repository, blobs: &[Descriptor]) -> Result<(), Error> {
        for blob in blobs {
            blob.refuse_foreign()?;
        }
        let unheard: OnProgress = Arc::new(|_| ());
        self.bring(repository, blobs, &unheard).await?;
        Ok(())
    }
}

impl Puller {
    /// Brings blobs into the cache, side by side; those that are there count as done.
    async fn bring(
        &self,
        repository: &Repository,
        blobs: &[Descriptor],
        on_progress: &OnProgress,
    ) -> Result<Vec<Fetched>, Error> {
        let group = self.engine.group();
        let mut done = Vec::new();
        let mut wanted = FuturesUnordered::new();
        for blob in blobs {
            if self.cache.has(blob)? {
                let fetched = Fetched {
                    digest: blob.digest,
                    size: blob.size,
                    host: None,
                    sent: BTreeMap::new(),
                    took: Duration::ZERO,
                };
                on_progress(Progress::Finished(fetched.clone()));
                done.push(fetched);
            } else {
                wanted.push(group.want(blob, repository, on_progress));
            }
        }
        while let Some(fetched) = wanted.next().await {
            done.push(fetched.map_err(|_| Error::Cancelled)??);
        }
        Ok(done)
    }

    /// Returns those that are not in the cache.
    fn missing(&self, blobs: &[Descriptor]) -> Result<Vec<Descriptor>, cache::Error> {
        let mut missing = Vec::new();
        for blob in blobs {
            if !self.cache.has(blob)? {
                missing.push(blob.clone());
            }
        }
        Ok(missing)
    }

    /// Refuses what the disk has no room for, before the first byte.
    fn check_space(&self, resolved: &Resolved) -> Result<(), cache::Error> {
        let mut needed = 0_u64;
        for blob in forecast(resolved, &self.cache)?.missing {
            let there = self.cache.received(&blob)?;
            needed = needed.saturating_add(blob.size.saturating_sub(there));
        }
        match self.cache.free_space() {
            Some(free) if free < needed => Err(cache::ErrorKind::NoRoom {
                path: self.cache.root().to_owned(),
                needed,
                free,
            }
            .into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Puller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Puller")
            .field("client", &self.client)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// A listener for progress; called from several tasks.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// What happens to a blob.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// More of it is on disk. The first time the bytes of earlier processes are counted; should
    /// they turn out to be wrong, the count begins anew.
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
    /// The host that sent most of it, or nothing if it was there before or another process fetched it.
    pub host: Option<String>,
    /// Bytes of it by the host that sent them, those counted that had to be thrown away.
    pub sent: BTreeMap<String, u64>,
    /// How long it took.
    pub took: Duration,
}

/// What a pull did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Preloaded {
    /// The blobs in the order in which they were done.
    pub blobs: Vec<Fetched>,
    /// Bytes of blobs that were fetched.
    pub fetched: u64,
    /// Bytes of blobs that were in the cache before.
    pub cached: u64,
    /// Bytes of blobs by the host that sent them.
    pub served: BTreeMap<String, u64>,
}

impl Preloaded {
    fn of(blobs: Vec<Fetched>) -> Self {
        let (mut fetched, mut cached, mut served) = (0_u64, 0_u64, BTreeMap::<_, u64>::new());
        for blob in &blobs {
            let sum = match blob.host {
                Some(_) => &mut fetched,
                None => &mut cached,
            };
            *sum = sum.saturating_add(blob.size);
            for (host, bytes) in &blob.sent {
                let sum = served.entry(host.clone()).or_default();
                *sum = sum.saturating_add(*bytes);
            }
        }
        Self {
            blobs,
            fetched,
            cached,
            served,
        }
    }
}

/// What a pull would request, besides the manifests that resolving has fetched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forecast {
    /// The blobs that would be requested: small ones in one request, large ones in several.
    pub missing: Vec<Descriptor>,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are in the cache already.
    pub cached: u64,
}

/// Returns what [`Puller::pull`] would request, without requesting or writing anything.
///
/// # Errors
///
/// The disk can't be read.
pub fn forecast(resolved: &Resolved, cache: &Cache) -> Result<Forecast, cache::Error> {
    let mut forecast = Forecast {
        missing: Vec::new(),
        bytes: 0,
        cached: 0,
    };
    for blob in in_order(resolved) {
        // A config that had to be looked at for its platform is not fetched again.
        let at_hand = blob.digest == resolved.config.digest && resolved.config_bytes.is_some();
        // Of nothing there is nothing to ask for.
        if at_hand || blob.size == 0 || cache.has(&blob)? {
            forecast.cached = forecast.cached.saturating_add(blob.size);
        } else {
            forecast.bytes = forecast.bytes.saturating_add(blob.size);
            forecast.missing.push(blob);
        }
    }
    Ok(forecast)
}

/// Returns config and layers once each, the largest first: it decides when all are done.
fn in_order(resolved: &Resolved) -> Vec<Descriptor> {
    let mut blobs: Vec<Descriptor> = resolved.blobs().into_iter().cloned().collect();
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    blobs
}
