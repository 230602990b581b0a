//! SHA-256 beside the component: it goes on while what it handed over is hashed.
//!
//! A component has one thread. What is to be hashed is copied out of the component once and hashed by another
//! thread, in order. How much may wait is bounded, for all hashers of a run together: a component that
//! hands over faster than the processor hashes waits until there is room.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::{mem, thread};

use ring::digest::{Context, SHA256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What is handed over in smaller parts is hashed on the spot: passing it on would cost more.
const SMALL: usize = 16 << 10;
/// The thread is woken for so much at least, or when somebody waits: to wake it costs as much as to hash 16 KiB.
const BATCH: usize = 256 << 10;
/// How many bytes may wait to be hashed.
const WAITING: usize = 4 << 20;
/// What a part counts for at least: parts of a few bytes would take more memory than they hold, without end.
const LEAST: usize = 4 << 10;

/// The hashing of one run: its thread begins with the first work and ends with the last clone of this.
#[derive(Clone)]
pub struct Hashing(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    /// Whether there is a thread, once it was needed.
    begun: OnceLock<bool>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// Whether somebody waits for what is in it.
    urgent: bool,
    /// Whether the thread does, to be woken.
    idle: bool,
    closed: bool,
}

enum Job {
    Add(Arc<Mutex<Context>>, Vec<u8>, Option<OwnedSemaphorePermit>),
    Finish(Arc<Mutex<Context>>, oneshot::Sender<[u8; 32]>),
}

/// A running SHA-256.
pub struct Hasher {
    context: Arc<Mutex<Context>>,
    hashing: Hashing,
    /// Whether bytes were passed on to the thread, which has the context from then on.
    passed_on: bool,
}

impl Hashing {
    /// Starts with nothing to do.
    pub fn new() -> Self {
        Self(Arc::new(Owner {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                work: Condvar::new(),
                room: Arc::new(Semaphore::new(WAITING)),
            }),
            begun: OnceLock::new(),
        }))
    }

    /// Starts a digest.
    pub fn hasher(&self) -> Hasher {
        Hasher {
            context: Arc::new(Mutex::new(Context::new(&SHA256))),
            hashing: self.clone(),
            passed_on: false,
        }
    }

    /// Waits until there is room for a part of so many bytes. More than there is in all takes all of it.
    async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let shared = &self.0.shared;
        let bytes = u32::try_from(bytes.clamp(LEAST, WAITING)).ok()?;
        let room = Arc::clone(&shared.room);
        if let Ok(room) = Arc::clone(&room).try_acquire_many_owned(bytes) {
            return Some(room);
        }
        shared.hurry();
        // It is never closed.
        room.acquire_many_owned(bytes).await.ok()
    }

    /// Says whether there is a thread, which begins now if it has not yet. Where there is none to be had, everything
    /// is hashed on the spot.
    fn has_thread(&self) -> bool {
        *self.0.begun.get_or_init(|| {
            let shared = Arc::clone(&self.0.shared);
            let thread = thread::Builder::new().name("hashing".into());
            thread.spawn(move || shared.work()).is_ok()
        })
    }

    fn pass_on(&self, job: Job) {
        self.0.shared.push(job);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.work.notify_one();
    }
}

impl Hasher {
    /// Adds bytes, and waits until there is room for them.
    pub async fn update(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let small = bytes.len() < SMALL;
        if !self.passed_on && (small || !self.hashing.has_thread()) {
            lock(&self.context).update(&bytes);
            return;
        }
        let room = self.hashing.room(bytes.len()).await;
        self.passed_on = true;
        let context = Arc::clone(&self.context);
        self.hashing.pass_on(Job::Add(context, bytes, room));
    }

    /// Returns the digest of all bytes that were added.
    pub async fn finish(self) -> [u8; 32] {
        if self.passed_on {
            let (told, digest) = oneshot::channel();
            let context = Arc::clone(&self.context);
            self.hashing.pass_on(Job::Finish(context, told));
            if let Ok(digest) = digest.await {
                return digest;
            }
        }
        digest(&lock(&self.context))
    }
}

impl Shared {
    fn push(&self, job: Job) {
        let mut queue = self.queue();
        match &job {
            Job::Add(_, bytes, _) => queue.bytes += bytes.len(),
            Job::Finish(..) => queue.urgent = true,
        }
        queue.jobs.push_back(job);
        self.wake(queue);
    }

    /// Has the thread take what there is: somebody waits for room.
    fn hurry(&self) {
        let mut queue = self.queue();
        queue.urgent = !queue.jobs.is_empty();
        self.wake(queue);
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        if queue.is_worth_it() && mem::take(&mut queue.idle) {
            drop(queue);
            self.work.notify_one();
        }
    }

    /// Hashes what comes until nothing can come any more.
    fn work(&self) {
        let mut jobs = VecDeque::new();
        loop {
            {
                let mut queue = self.queue();
                while !queue.is_worth_it() {
                    if queue.closed {
                        return;
                    }
                    queue.idle = true;
                    let woken = self.work.wait(queue);
                    queue = woken.unwrap_or_else(PoisonError::into_inner);
                }
                queue.idle = false;
                queue.urgent = false;
                queue.bytes = 0;
                mem::swap(&mut queue.jobs, &mut jobs);
            }
            for job in jobs.drain(..) {
                match job {
                    Job::Add(context, bytes, _room) => lock(&context).update(&bytes),
                    Job::Finish(context, told) => {
                        // Whoever asked may have been stopped meanwhile.
                        let _ = told.send(digest(&lock(&context)));
                    }
                }
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

impl Queue {
    fn is_worth_it(&self) -> bool {
        self.urgent || self.bytes >= BATCH
    }
}

fn digest(context: &Context) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.clone().finish().as_ref());
    bytes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(bytes: &[u8]) -> [u8; 32] {
        let digest = ring::digest::digest(&SHA256, bytes);
        digest.as_ref().try_into().unwrap()
    }

    #[tokio::test]
    async fn parts_of_any_size_are_hashed_in_order() {
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|number| number.to_le_bytes()[number as usize % 3])
            .collect();
        let hashing = Hashing::new();
        for sizes in [
            &[1, 100_000, 5, 20_000, 3][..],
            &[64],
            &[2_000_000],
            &[16_384, 16_383],
        ] {
            let bytes = &bytes[..if sizes == [64] { 10_000 } else { bytes.len() }];
            let mut hasher = hashing.hasher();
            let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
            while !rest.is_empty() {
                let size = sizes.next().copied().unwrap_or(1).min(rest.len());
                hasher.update(rest[..size].to_vec()).await;
                rest = &rest[size..];
            }
            assert_eq!(hasher.finish().await, expected(bytes));
        }
        assert_eq!(hashing.0.shared.room.available_permits(), WAITING);
        assert_eq!(hashing.hasher().finish().await, expected(b""));
    }

    #[tokio::test]
    async fn what_waits_is_bounded_for_all_hashers_together() {
        let hashing = Hashing::new();
        let shared = &hashing.0.shared;
        let mut hashers = [hashing.hasher(), hashing.hasher()];
        // None of them has enough for the thread to be woken for it.
        let mut room = Vec::new();
        for hasher in &mut hashers {
            hasher.update(vec![1; BATCH / 2 - 1]).await;
            room.push(
                Arc::clone(&shared.room)
                    .acquire_many_owned(1)
                    .await
                    .unwrap(),
            );
        }
        assert_eq!(shared.queue().jobs.len(), 2);
        assert_eq!(shared.room.available_permits(), WAITING - BATCH);
        drop(room);
        // More than there is room for at all is taken when nothing else waits.
        hashers[0].update(vec![2; WAITING + 1]).await;
        let [first, second] = hashers;
        let mut all = vec![1; BATCH / 2 - 1];
        assert_eq!(second.finish().await, expected(&all));
        all.extend(vec![2; WAITING + 1]);
        assert_eq!(first.finish().await, expected(&all));
    }

    #[tokio::test]
    #[expect(clippy::await_holding_lock, reason = "another thread waits for it")]
    async fn parts_of_no_bytes_and_of_few_take_no_memory_without_end() {
        let hashing = Hashing::new();
        let shared = &hashing.0.shared;
        // The thread is busy: whatever is passed on waits.
        let busy = hashing.hasher();
        let context = Arc::clone(&busy.context);
        let held = lock(&context);
        hashing.has_thread();
        hashing.pass_on(Job::Finish(Arc::clone(&busy.context), oneshot::channel().0));
        let mut hasher = hashing.hasher();
        hasher.update(vec![1; SMALL]).await;
        for _ in 0..10_000 {
            hasher.update(Vec::new()).await;
        }
        let mut updates = 0;
        let update = async {
            for _ in 0..10_000 {
                hasher.update(vec![1]).await;
                updates += 1;
            }
        };
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), update).await;
        assert!(waits.is_err());
        assert!(updates <= WAITING / LEAST && shared.queue().jobs.len() <= WAITING / LEAST + 2);
        drop(held);
        let mut bytes = vec![1; SMALL];
        bytes.extend(vec![1; updates]);
        assert_eq!(hasher.finish().await, expected(&bytes));
    }

    #[tokio::test]
    async fn without_a_thread_all_is_hashed_on_the_spot() {
        let hashing = Hashing::new();
        hashing.0.begun.set(false).unwrap();
        let mut hasher = hashing.hasher();
        for part in [vec![1; SMALL], vec![2; 3], vec![3; BATCH]] {
            hasher.update(part).await;
        }
        let all = [vec![1; SMALL], vec![2; 3], vec![3; BATCH]].concat();
        assert_eq!(hasher.finish().await, expected(&all));
    }

    #[tokio::test]
    async fn the_thread_ends_with_the_run_and_room_is_given_back() {
        let hashing = Hashing::new();
        let mut hasher = hashing.hasher();
        hasher.update(vec![1; WAITING]).await;
        drop(hasher);
        let shared = Arc::clone(&hashing.0.shared);
        let room = Arc::clone(&shared.room).acquire_many_owned(WAITING as u32);
        drop(room.await.unwrap());
        drop(hashing);
        while Arc::strong_count(&shared) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
