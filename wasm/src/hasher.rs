//! SHA-256 beside the component: it goes on while what it handed over is hashed.
//!
//! A component has one thread. The launcher has more, so what is to be hashed is copied out of the
//! component once and hashed by one of the runtime's threads, a piece at a time and in order. How much
//! may wait is bounded, for all hashers of a run together: a component that hands over faster than the
//! processor hashes waits until there is room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{Context, SHA256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What is handed over in smaller parts is hashed on the spot: passing it on would cost more.
const SMALL: usize = 16 << 10;
/// How much is hashed before another task of the same thread has its turn: some 40 µs of work.
const PIECE: usize = 64 << 10;
/// How many bytes may wait to be hashed.
const WAITING: usize = 4 << 20;

/// The room that the hashers of a run share.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// Starts with all of it.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(WAITING)))
    }

    /// Waits until there is room for so many bytes. More than there is in all takes all of it.
    async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes.min(WAITING)).ok()?;
        // It is never closed.
        Arc::clone(&self.0).acquire_many_owned(bytes).await.ok()
    }
}

/// A running SHA-256.
#[derive(Clone)]
pub struct Hasher(Arc<Mutex<State>>);

struct State {
    context: Context,
    waiting: VecDeque<Part>,
    /// Whether a task works on what waits.
    busy: bool,
    /// Whoever waits for the end of that.
    idle: Option<oneshot::Sender<()>>,
}

struct Part {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Hasher {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            context: Context::new(&SHA256),
            waiting: VecDeque::new(),
            busy: false,
            idle: None,
        })))
    }

    /// Adds bytes, and waits until there is room for them.
    pub async fn update(&self, bytes: Vec<u8>, room: &Room) {
        {
            let mut state = self.state();
            if bytes.len() < SMALL && !state.busy {
                state.context.update(&bytes);
                return;
            }
        }
        let room = room.take(bytes.len()).await;
        let mut state = self.state();
        state.waiting.push_back(Part { bytes, _room: room });
        if !std::mem::replace(&mut state.busy, true) {
            tokio::spawn(self.clone().work());
        }
    }

    /// Returns the digest of all bytes that were added.
    pub async fn finish(self) -> [u8; 32] {
        let idle = {
            let mut state = self.state();
            let (told, idle) = oneshot::channel();
            if state.busy {
                state.idle = Some(told);
                Some(idle)
            } else {
                None
            }
        };
        if let Some(idle) = idle {
            // The task tells, or is gone with the runtime, and so is whoever asks.
            let _ = idle.await;
        }
        let digest = self.state().context.clone().finish();
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        bytes
    }

    /// Hashes what waits, until nothing does.
    async fn work(self) {
        loop {
            let (part, mut context) = {
                let mut state = self.state();
                let Some(part) = state.waiting.pop_front() else {
                    state.busy = false;
                    if let Some(idle) = state.idle.take() {
                        let _ = idle.send(());
                    }
                    return;
                };
                // The context leaves the lock with the part: nobody has to wait for it to add another.
                (part, state.context.clone())
            };
            for piece in part.bytes.chunks(PIECE) {
                context.update(piece);
                tokio::task::yield_now().await;
            }
            self.state().context = context;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(bytes: &[u8]) -> [u8; 32] {
        let digest = ring::digest::digest(&SHA256, bytes);
        digest.as_ref().try_into().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn parts_of_any_size_are_hashed_in_order() {
        let bytes: Vec<u8> = (0..3_000_000_u32)
            .map(|number| number.to_le_bytes()[number as usize % 3])
            .collect();
        let room = Room::new();
        for sizes in [
            &[1, 100_000, 5, 20_000, 3][..],
            &[64],
            &[2_000_000],
            &[16_384, 16_383],
        ] {
            let bytes = &bytes[..if sizes == [64] { 10_000 } else { bytes.len() }];
            let hasher = Hasher::new();
            let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
            while !rest.is_empty() {
                let size = sizes.next().copied().unwrap_or(1).min(rest.len());
                hasher.update(rest[..size].to_vec(), &room).await;
                rest = &rest[size..];
            }
            assert_eq!(hasher.finish().await, expected(bytes));
        }
        assert_eq!(room.0.available_permits(), WAITING);
        assert_eq!(Hasher::new().finish().await, expected(b""));
    }

    /// On one thread nothing is hashed while this test doesn't wait, so what it adds has to wait.
    #[tokio::test]
    async fn what_waits_is_bounded_for_all_hashers_together() {
        let room = Room::new();
        let hashers = [Hasher::new(), Hasher::new()];
        for hasher in &hashers {
            hasher.update(vec![1; WAITING / 2], &room).await;
        }
        assert_eq!(room.0.available_permits(), 0);
        // More than there is room for at all is taken when nothing else waits.
        hashers[0].update(vec![2; WAITING + 1], &room).await;
        let [first, second] = hashers;
        let mut all = vec![1; WAITING / 2];
        assert_eq!(second.finish().await, expected(&all));
        all.extend(vec![2; WAITING + 1]);
        assert_eq!(first.finish().await, expected(&all));
    }

    #[tokio::test]
    async fn one_that_is_dropped_gives_its_room_back() {
        let room = Room::new();
        let hasher = Hasher::new();
        hasher.update(vec![1; WAITING], &room).await;
        drop(hasher);
        while room.0.available_permits() < WAITING {
            tokio::task::yield_now().await;
        }
    }
}
