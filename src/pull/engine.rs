//! What is under way: which blobs, for whom, and how each gets from wanted to whole.
//!
//! A blob is *claimed* (another process may have it in its hands), *fetched* by transfers that the
//! schedule gives out, and *sealed*. One task drives all of it; transfers, claims and seals are tasks
//! that it owns, so that they end with it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::error::Error;
use super::job::{Job, Phase, State, Waiter};
use super::schedule::{BlobId, Schedule, Task, TransferId};
use super::source::Source;
use super::transfer::{self, End, Listener};
use super::{Fetched, OnProgress};
use crate::cache::{self, Cache, Claim};
use crate::oci::{self, Descriptor, Repository};

/// Fetches blobs; clones share what is under way.
pub(super) struct Engine<S>(Arc<Driven<S>>);

/// Ends the driver with the last engine.
struct Driven<S> {
    shared: Arc<Shared<S>>,
    driver: Mutex<Option<AbortHandle>>,
}

struct Shared<S> {
    source: S,
    cache: Cache,
    began: Instant,
    state: Mutex<State>,
    changed: Notify,
}

impl<S: Source> Engine<S> {
    pub(super) fn new(source: S, cache: Cache, connections: usize) -> Self {
        Self(Arc::new(Driven {
            shared: Arc::new(Shared {
                source,
                cache,
                began: Instant::now(),
                state: Mutex::new(State {
                    jobs: BTreeMap::new(),
                    by_digest: HashMap::new(),
                    schedule: Schedule::new(connections),
                    next: 0,
                }),
                changed: Notify::new(),
            }),
            driver: Mutex::new(None),
        }))
    }

    /// Returns a group of blobs that are wanted together; dropping it means that they no longer are.
    pub(super) fn group(&self) -> Group<S> {
        let mut state = self.0.shared.state();
        state.next += 1;
        Group {
            engine: Self(self.0.clone()),
            id: state.next,
        }
    }

    fn start(&self) {
        let mut driver = self.0.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if driver.as_ref().is_none_or(AbortHandle::is_finished) {
            let work = Driver {
                shared: self.0.shared.clone(),
                running: JoinSet::new(),
                works: HashMap::new(),
            };
            *driver = Some(tokio::spawn(work.drive()).abort_handle());
        }
    }
}

impl<S> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Drop for Driven<S> {
    fn drop(&mut self) {
        let driver = self
            .driver
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = driver {
            driver.abort();
        }
    }
}

/// Blobs that somebody waits for.
pub(super) struct Group<S: Source> {
    engine: Engine<S>,
    id: u64,
}

impl<S: Source> Group<S> {
    /// Asks for a blob, which others may have asked for already.
    pub(super) fn want(
        &self,
        blob: &Descriptor,
        repository: &Repository,
        on_progress: &OnProgress,
    ) -> oneshot::Receiver<Result<Fetched, Error>> {
        let (done, receiver) = oneshot::channel();
        let waiter = Waiter {
            group: self.id,
            on_progress: on_progress.clone(),
            done,
        };
        let shared = &self.engine.0.shared;
        {
            let mut state = shared.state();
            let state = &mut *state;
            state.next += 1;
            let id = *state.by_digest.entry(blob.digest).or_insert(state.next);
            let job = state.jobs.entry(id).or_insert_with(|| Job {
                blob: blob.clone(),
                repository: repository.clone(),
                waiters: Vec::new(),
                phase: Phase::Wanted,
                began: Instant::now(),
                told: None,
                hosts: BTreeMap::new(),
                pieced: false,
                anew: false,
            });
            job.waiters.push(waiter);
        }
        shared.changed.notify_one();
        self.engine.start();
        receiver
    }
}

impl<S: Source> Drop for Group<S> {
    fn drop(&mut self) {
        let shared = &self.engine.0.shared;
        let mut state = shared.state();
        let mut unwanted = Vec::new();
        for (id, job) in &mut state.jobs {
            job.waiters.retain(|waiter| waiter.group != self.id);
            if job.waiters.is_empty() {
                unwanted.push(*id);
            }
        }
        for id in unwanted {
            state.remove(id);
        }
        drop(state);
        shared.changed.notify_one();
    }
}

impl<S> Shared<S> {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the driver's tasks come to.
enum Done {
    Claimed(BlobId, Result<Claim, cache::Error>),
    Sealed(BlobId, Result<(), cache::Error>),
    Transferred(TransferId, Result<End, Error>),
}

/// Whose a task is.
#[derive(Clone, Copy)]
struct Work {
    blob: BlobId,
    transfer: Option<TransferId>,
}

struct Driver<S> {
    shared: Arc<Shared<S>>,
    running: JoinSet<Done>,
    works: HashMap<tokio::task::Id, (Work, AbortHandle)>,
}

/// How often rates are looked at.
const TICK: Duration = Duration::from_millis(25);
/// How often progress is told, for one blob.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How often a blob that another process fetches is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl<S: Source> Driver<S> {
    async fn drive(mut self) {
        let shared = self.shared.clone();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beaten = Instant::now();
        loop {
            self.begin();
            tokio::select! {
                done = self.running.join_next_with_id(), if !self.running.is_empty() => {
                    match done {
                        Some(Ok((task, done))) => {
                            self.works.remove(&task);
                            self.done(done);
                        }
                        Some(Err(error)) => self.lost(&error),
                        None => {}
                    }
                }
                () = shared.changed.notified() => self.stop_unwanted(),
                _ = tick.tick(), if !self.running.is_empty() => {
                    self.look();
                    if beaten.elapsed() >= cache::HEARTBEAT {
                        beaten = Instant::now();
                        self.beat();
                    }
                }
            }
        }
    }

    /// Begins what can begin.
    fn begin(&mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state();
        let state = &mut *state;
        let now = shared.began.elapsed();
        for (id, blob) in state.claim_more() {
            self.spawn(id, None, claim(shared.clone(), id, blob));
        }
        while let Some(task) = state.schedule.next(now) {
            let Some(job) = state.jobs.get_mut(&task.blob) else {
                state.schedule.remove(task.blob);
                continue;
            };
            let Phase::Fetching(partial) = &job.phase else {
                state.schedule.remove(task.blob);
                continue;
            };
            let (partial, blob, repository) =
                (partial.clone(), job.blob.clone(), job.repository.clone());
            job.pieced |= task.range.is_some();
            let shared = shared.clone();
            let (blob_id, id) = (task.blob, task.id);
            let work = async move {
                let source = &shared.source;
                let end =
                    transfer::run(source, &repository, &blob, &partial, &task, &*shared).await;
                Done::Transferred(id, end)
            };
            self.spawn(blob_id, Some(id), work);
        }
    }

    fn spawn(
        &mut self,
        blob: BlobId,
        transfer: Option<TransferId>,
        work: impl Future<Output = Done> + Send + 'static,
    ) {
        let handle = self.running.spawn(work);
        self.works
            .insert(handle.id(), (Work { blob, transfer }, handle));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Claimed(id, claim) => self.claimed(id, claim),
            Done::Sealed(id, sealed) => self.sealed(id, sealed),
            Done::Transferred(id, end) => self.transferred(id, end),
        }
    }

    fn claimed(&self, id: BlobId, claim: Result<Claim, cache::Error>) {
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some(job) = state.jobs.get_mut(&id) else {
            return;
        };
        match claim {
            Err(error) => state.finish(id, Err(error.into())),
            Ok(Claim::Present | Claim::Busy { .. }) => state.finish(id, Ok(())),
            Ok(Claim::Ours(partial)) => {
                let received = partial.received();
                job.pieced = received > 0;
                job.advanced(received);
                let missing = partial.missing(0..job.blob.size);
                let host = job.repository.registry.clone();
                job.phase = Phase::Fetching(partial);
                let size = job.blob.size;
                state.schedule.add(id, &host, size, missing, false);
            }
        }
        self.seal_if_complete_later(state, id);
    }

    /// An empty blob, or one that an earlier process has fetched to its end, needs no transfer.
    fn seal_if_complete_later(&self, state: &State, id: BlobId) {
        if state.jobs.contains_key(&id) && state.schedule.is_done(id) {
            self.shared.changed.notify_one();
        }
    }

    fn transferred(&mut self, id: TransferId, end: Result<End, Error>) {
        let shared = self.shared.clone();
        let mut state = shared.state();
        let state = &mut *state;
        let Some((blob, range)) = state.schedule.transfer(id) else {
            return;
        };
        let Some(Job {
            phase: Phase::Fetching(partial),
            ..
        }) = state.jobs.get(&blob)
        else {
            return;
        };
        let (missing, now) = (partial.missing(range), shared.began.elapsed());
        match end {
            Err(error) => {
                state.schedule.ended(id, missing, now);
                return state.finish(blob, Err(error));
            }
            Ok(End::NoRanges) => state.schedule.refused(id),
            Ok(End::Whole) => {}
        }
        state.schedule.ended(id, missing, now);
        self.seal_complete(state);
    }

    fn seal_complete(&mut self, state: &mut State) {
        let State { jobs, schedule, .. } = state;
        for (id, job) in jobs {
            let Phase::Fetching(partial) = &job.phase else {
                continue;
            };
            if !schedule.is_done(*id) {
                continue;
            }
            let (partial, id) = (partial.clone(), *id);
            job.advanced(partial.received());
            job.phase = Phase::Sealing(partial.clone());
            self.spawn(
                id,
                None,
                async move { Done::Sealed(id, partial.seal().await) },
            );
        }
    }

    fn sealed(&self, id: BlobId, sealed: Result<(), cache::Error>) {
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some(job) = state.jobs.get_mut(&id) else {
            return;
        };
        let Phase::Sealing(partial) = &job.phase else {
            return;
        };
        let Err(error) = sealed else {
            return state.finish(id, Ok(()));
        };
        let cache::ErrorKind::DigestMismatch { expected, found } = *error.kind() else {
            return state.finish(id, Err(error.into()));
        };
        let again = job.pieced && !job.anew
            // A mirror that sent them is not asked again.
            || self.shared.source.distrust(&job.repository, expected, found);
        if again {
            // An earlier process, a crash or a host that lies about ranges: the whole in one answer
            // tells which.
            if let Err(error) = partial.restart() {
                return state.finish(id, Err(error.into()));
            }
            job.anew = true;
            job.hosts.clear();
            job.phase = Phase::Fetching(partial.clone());
            let (host, size) = (job.repository.registry.clone(), job.blob.size);
            state.schedule.remove(id);
            let all = std::iter::once(0..size).collect();
            state.schedule.add(id, &host, size, all, true);
            return;
        }
        partial.discard();
        let host = job.host();
        // Who sent the wrong bytes matters more than where they were to go.
        let error = oci::Error::from(oci::ErrorKind::DigestMismatch {
            host: host.unwrap_or_else(|| job.repository.registry.clone()),
            expected,
            found,
            bytes: job.blob.size,
        });
        state.finish(id, Err(error.into()));
    }

    /// Takes notice of a task that was stopped, or that panicked.
    fn lost(&mut self, error: &tokio::task::JoinError) {
        let Some((work, _)) = self.works.remove(&error.id()) else {
            return;
        };
        match work.transfer {
            // Given up on purpose: its rest is fetched by others.
            Some(id) if error.is_cancelled() => self.transferred(id, Ok(End::Whole)),
            _ => {
                let mut state = self.shared.state();
                state.finish(work.blob, Err(Error::Cancelled));
            }
        }
    }

    /// Stops the tasks of jobs that nobody waits for, and seals what is complete.
    fn stop_unwanted(&mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state();
        for (work, handle) in self.works.values() {
            if !state.jobs.contains_key(&work.blob) {
                handle.abort();
            }
        }
        self.seal_complete(&mut state);
    }

    /// Looks at rates, gives up what is too slow, and tells how far it is.
    fn look(&mut self) {
        let mut state = self.shared.state();
        let slow = state.schedule.look(self.shared.began.elapsed());
        for (work, handle) in self.works.values() {
            if work.transfer.is_some_and(|id| slow.contains(&id)) {
                handle.abort();
            }
        }
        for job in state.jobs.values_mut() {
            let Phase::Fetching(partial) = &job.phase else {
                continue;
            };
            if job.told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) {
                let received = partial.received();
                job.advanced(received);
            }
        }
    }

    fn beat(&self) {
        for job in self.shared.state().jobs.values() {
            if let Phase::Fetching(partial) | Phase::Sealing(partial) = &job.phase {
                partial.beat();
            }
        }
    }
}

/// Waits until a blob is ours to fetch, or there.
async fn claim<S: Source>(shared: Arc<Shared<S>>, id: BlobId, blob: Descriptor) -> Done {
    loop {
        let claim = shared.cache.claim(&blob);
        let Ok(Claim::Busy { received }) = claim else {
            return Done::Claimed(id, claim);
        };
        if let Some(job) = shared.state().jobs.get_mut(&id) {
            job.advanced(received);
        }
        sleep(LOOK_EVERY).await;
    }
}

impl<S: Source> Listener for Shared<S> {
    fn opened(&self, task: &Task, covers: &Range<u64>, whole: bool) {
        let now = self.began.elapsed();
        self.state().schedule.opened(task.id, covers, whole, now);
        // A blob whose range was answered may be split from here on.
        self.changed.notify_one();
    }

    fn may_ask_for_ranges(&self, task: &Task) -> bool {
        self.state().schedule.may_ask_for_ranges(task.blob)
    }

    fn came(&self, task: &Task, host: &str, bytes: u64) {
        if let Some(job) = self.state().jobs.get_mut(&task.blob) {
            match job.hosts.get_mut(host) {
                Some(sum) => *sum += bytes,
                None => {
                    job.hosts.insert(host.to_owned(), bytes);
                }
            }
        }
    }
}
