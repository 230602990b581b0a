//! The blobs that are wanted, by whom, and how far each of them is.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::error::Error;
use super::schedule::{BlobId, Schedule};
use super::{Fetched, OnProgress, Progress};
use crate::cache::Partial;
use crate::oci::{Descriptor, Digest, Repository};

/// All blobs that are wanted.
pub(super) struct State {
    pub(super) jobs: BTreeMap<BlobId, Job>,
    pub(super) by_digest: HashMap<Digest, BlobId>,
    pub(super) schedule: Schedule,
    pub(super) next: u64,
}

/// A blob on its way from wanted to whole.
pub(super) struct Job {
    pub(super) blob: Descriptor,
    pub(super) repository: Repository,
    pub(super) waiters: Vec<Waiter>,
    pub(super) phase: Phase,
    pub(super) began: Instant,
    pub(super) told: Option<Instant>,
    /// Bytes by host.
    pub(super) hosts: BTreeMap<String, u64>,
    /// Whether its bytes came in pieces, from several answers or processes.
    pub(super) pieced: bool,
    /// Whether it was begun anew because its bytes were wrong.
    pub(super) anew: bool,
}

/// How far a blob is.
pub(super) enum Phase {
    Wanted,
    Claiming,
    Fetching(Partial),
    Sealing(Partial),
}

/// Somebody who waits for a blob.
pub(super) struct Waiter {
    pub(super) group: u64,
    pub(super) on_progress: OnProgress,
    pub(super) done: oneshot::Sender<Result<Fetched, Error>>,
}

impl State {
    /// Returns the blobs to claim next. Each that is claimed has files open, and the others are left to
    /// other processes meanwhile.
    pub(super) fn claim_more(&mut self) -> Vec<(BlobId, Descriptor)> {
        let wanted = |job: &Job| matches!(job.phase, Phase::Wanted);
        let under_way = self.jobs.values().filter(|job| !wanted(job)).count();
        let more = self.jobs.iter_mut().filter(|(_, job)| wanted(job));
        more.take(MOST_CLAIMED.saturating_sub(under_way))
            .map(|(id, job)| {
                job.phase = Phase::Claiming;
                (*id, job.blob.clone())
            })
            .collect()
    }

    /// Forgets a job; its tasks are stopped when the driver notices.
    pub(super) fn remove(&mut self, id: BlobId) -> Option<Job> {
        self.schedule.remove(id);
        let job = self.jobs.remove(&id)?;
        if self.by_digest.get(&job.blob.digest) == Some(&id) {
            self.by_digest.remove(&job.blob.digest);
        }
        Some(job)
    }

    /// Tells everybody who waits for a blob how it ended, and forgets it.
    pub(super) fn finish(&mut self, id: BlobId, result: Result<(), Error>) {
        let Some(job) = self.remove(id) else {
            return;
        };
        let mut fetched = Fetched {
            digest: job.blob.digest,
            size: job.blob.size,
            host: job.host(),
            sent: job.hosts.clone(),
            took: job.began.elapsed(),
        };
        for waiter in job.waiters {
            let result = result.clone().map(|()| {
                (waiter.on_progress)(Progress::Finished(fetched.clone()));
                fetched.clone()
            });
            // One of them has fetched it, the others found it.
            fetched.host = None;
            fetched.sent.clear();
            // Nobody listens any more: then nobody needs to know.
            let _ = waiter.done.send(result);
        }
    }
}

/// The most blobs that are claimed at once.
const MOST_CLAIMED: usize = 64;

impl Job {
    /// Returns the host that sent most of it.
    pub(super) fn host(&self) -> Option<String> {
        let most = self.hosts.iter().max_by_key(|(_, bytes)| **bytes);
        most.map(|(host, _)| host.clone())
    }

    fn tell(&self, progress: &Progress) {
        for waiter in &self.waiters {
            (waiter.on_progress)(progress.clone());
        }
    }

    /// Tells how much of it is there; the first time also that it is being fetched.
    pub(super) fn advanced(&mut self, received: u64) {
        if self.told.is_none() {
            self.tell(&Progress::Started {
                digest: self.blob.digest,
                size: self.blob.size,
            });
        }
        self.told = Some(Instant::now());
        self.tell(&Progress::Advanced {
            digest: self.blob.digest,
            received,
        });
    }
}
