//! Files that are filled and hashed out here, so that what is fetched need not pass through the component.
//!
//! The component opens a sink on a file that it may write anyway, and names it in a request by its ticket; the
//! egress then writes the answer's body into the file. Each byte is written once: what came first is neither
//! replaced by a second answer nor by the component, so what was hashed is what the file holds. The bytes are
//! hashed in order, out of the system's cache, by a few threads of their own, and the file is synced when it is
//! whole, unless the component has no need of that. A sink that the component drops, or that outlives it, takes nothing more.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::{cmp, io, mem, thread};

use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use shipgate::cache::Intervals;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::files::{read_at, write_at};

/// How many sinks may be open at once. A pull has one for each blob that arrives.
const OPEN: usize = 256;
/// How many ranges may be known of a file: what would make more of them is refused.
const RANGES: usize = 1024;
/// What is hashed at once, in bytes.
const BLOCK: usize = 256 << 10;
/// A thread is woken for so much, or for the end of a file.
const BATCH: u64 = 512 << 10;
/// How much of a file is hashed before another one has its turn, in bytes.
const TURN: u64 = 4 << 20;
/// More threads than this would wait for the network.
const THREADS: usize = 4;
/// After so many new bytes what was written is brought to the disk, beside what is still to come.
const DIRTY: u64 = 32 << 20;

/// All sinks of one run. Its threads begin with the first sink and end with the last clone of this.
#[derive(Clone)]
pub struct Sinks(Arc<Owner>);

struct Owner {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    runtime: Handle,
}

struct Shared {
    by_ticket: Mutex<HashMap<String, Weak<Filling>>>,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Arc<Filling>>,
    threads: usize,
    closed: bool,
}

/// The component's own hold on a sink.
pub struct Sink {
    ticket: String,
    filling: Arc<Filling>,
    shared: Arc<Shared>,
}

/// A file that is being filled.
pub struct Filling {
    file: Arc<File>,
    size: u64,
    state: Mutex<State>,
    shared: Arc<Shared>,
    runtime: Handle,
    _room: OwnedSemaphorePermit,
}

struct State {
    written: Intervals,
    /// Whether the component has let go of it.
    closed: bool,
    /// Up to here everything is hashed.
    frontier: u64,
    /// Gone while a thread has it, and for good when all is hashed.
    context: Option<Context>,
    queued: bool,
    hashed: Option<[u8; 32]>,
    /// Whether the system is left to bring it to the disk.
    put_off: bool,
    unsynced: u64,
    syncing: bool,
    synced: bool,
    failed: Option<io::Error>,
}

/// How far a sink is.
pub type Outcome = Option<io::Result<[u8; 32]>>;

impl Sinks {
    /// Starts with none. What syncs a file are threads of this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self(Arc::new(Owner {
            shared: Arc::new(Shared {
                by_ticket: Mutex::default(),
                queue: Mutex::default(),
                work: Condvar::new(),
            }),
            room: Arc::new(Semaphore::new(OPEN)),
            runtime,
        }))
    }

    /// Opens one on a file that is to have so many bytes, of which these are there.
    ///
    /// # Errors
    /// There are too many, or too many parts of it are there.
    pub fn open(
        &self,
        file: Arc<File>,
        size: u64,
        there: impl IntoIterator<Item = Range<u64>>,
    ) -> io::Result<Sink> {
        let Owner {
            shared,
            room,
            runtime,
        } = &*self.0;
        let room = Arc::clone(room).try_acquire_owned();
        let room = room.map_err(|_| io::Error::other("too many sinks are open"))?;
        let mut written = Intervals::default();
        for range in there {
            if range.end > size || written.iter().count() >= RANGES {
                return Err(out_of_bounds());
            }
            written.insert(range);
        }
        let ticket = ticket()?;
        let filling = Arc::new(Filling {
            file,
            size,
            state: Mutex::new(State {
                written,
                closed: false,
                frontier: 0,
                context: Some(Context::new(&SHA256)),
                queued: false,
                hashed: None,
                put_off: false,
                unsynced: 0,
                syncing: false,
                synced: false,
                failed: None,
            }),
            shared: Arc::clone(shared),
            runtime: runtime.clone(),
            _room: room,
        });
        lock(&shared.by_ticket).insert(ticket.clone(), Arc::downgrade(&filling));
        filling.advance(&mut filling.state());
        Ok(Sink {
            ticket,
            filling,
            shared: Arc::clone(shared),
        })
    }

    /// Returns the sink of a ticket, as long as the component holds it.
    pub fn find(&self, ticket: &str) -> Option<Arc<Filling>> {
        lock(&self.0.shared.by_ticket).get(ticket)?.upgrade()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.work.notify_all();
    }
}

impl Sink {
    /// Returns what names it in a request.
    pub fn ticket(&self) -> &str {
        &self.ticket
    }

    /// Returns what is filled.
    pub fn filling(&self) -> &Arc<Filling> {
        &self.filling
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        lock(&self.shared.by_ticket).remove(&self.ticket);
        // Whoever is writing ends first; nobody begins after that.
        self.filling.state().closed = true;
    }
}

impl Filling {
    /// Returns how many bytes the file is to have.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes bytes at their place, but those that are there already.
    ///
    /// # Errors
    /// They lie outside, the sink is closed, or the disk does not take them. They may be written again.
    pub fn write(self: &Arc<Self>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        let Some(end) = end.filter(|end| *end <= self.size) else {
            return Err(out_of_bounds());
        };
        let mut state = self.state();
        if state.closed {
            return Err(io::Error::other("the sink is closed"));
        }
        let missing = state.written.missing(offset..end);
        if missing.len() + state.written.iter().count() > RANGES {
            return Err(out_of_bounds());
        }
        for part in missing {
            let from = usize::try_from(part.start - offset).unwrap_or(usize::MAX);
            let to = usize::try_from(part.end - offset).unwrap_or(usize::MAX);
            write_all(
                &self.file,
                bytes.get(from..to).unwrap_or_default(),
                part.start,
            )?;
            state.unsynced += state.written.insert(part);
        }
        self.advance(&mut state);
        Ok(())
    }

    /// Leaves it to the system when the file gets on the disk.
    pub fn put_off(&self) {
        self.state().put_off = true;
    }

    /// Returns the SHA-256 of the whole, once it is on disk unless that was put off; nothing as long as that takes.
    ///
    /// # Errors
    /// A part of it is missing, or the disk failed.
    pub fn outcome(&self) -> Outcome {
        let state = self.state();
        if let Some(error) = &state.failed {
            return Some(Err(io::Error::new(error.kind(), error.to_string())));
        }
        if state.written.total() < self.size {
            return Some(Err(io::Error::other("a part of the file is missing")));
        }
        let there = state.synced || state.put_off;
        state.hashed.filter(|_| there).map(Ok)
    }

    /// Has hashed and synced what can be.
    fn advance(self: &Arc<Self>, state: &mut State) {
        if state.closed {
            return;
        }
        let whole = state.written.total() == self.size;
        let ready = state
            .written
            .end_of(state.frontier)
            .unwrap_or(state.frontier);
        let worth_it = whole || ready - state.frontier >= BATCH;
        if worth_it && !state.queued && state.context.is_some() {
            state.queued = true;
            self.shared.push(Arc::clone(self));
        }
        let due = if whole {
            !state.synced
        } else {
            state.unsynced >= DIRTY
        };
        if due && !state.put_off && !state.syncing && state.failed.is_none() {
            state.syncing = true;
            state.unsynced = 0;
            let this = Arc::clone(self);
            // It waits for the disk.
            drop(self.runtime.spawn_blocking(move || this.sync(whole)));
        }
    }

    fn sync(self: &Arc<Self>, whole: bool) {
        let done = if whole {
            self.file.sync_all()
        } else {
            self.file.sync_data()
        };
        let mut state = self.state();
        state.syncing = false;
        match done {
            Ok(()) => state.synced = whole,
            Err(error) => state.failed = Some(error),
        }
        // It may have become whole meanwhile.
        self.advance(&mut state);
    }

    /// Hashes for one turn.
    fn hash(self: &Arc<Self>, buffer: &mut Vec<u8>) {
        buffer.resize(BLOCK, 0);
        let (mut context, mut at, end) = {
            let mut state = self.state();
            let at = state.frontier;
            let end = state.written.end_of(at).unwrap_or(at);
            let Some(context) = state.context.take() else {
                return;
            };
            (context, at, cmp::min(end, at.saturating_add(TURN)))
        };
        let mut failed = None;
        while at < end {
            let most = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
            match read_at(&self.file, &mut buffer[..most], at) {
                // Somebody has made it shorter.
                Ok(0) => failed = Some(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    context.update(&buffer[..count]);
                    at += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failed = Some(error),
            }
            if failed.is_some() {
                break;
            }
        }
        let mut state = self.state();
        state.frontier = at;
        state.queued = false;
        if failed.is_some() {
            // Without its hasher it is never queued again.
            state.failed = failed;
        } else if at == self.size {
            let mut digest = [0; 32];
            digest.copy_from_slice(context.finish().as_ref());
            state.hashed = Some(digest);
        } else {
            state.context = Some(context);
            self.advance(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Shared {
    fn push(self: &Arc<Self>, filling: Arc<Filling>) {
        let mut queue = lock(&self.queue);
        queue.ready.push_back(filling);
        let wanted = thread::available_parallelism().map_or(1, usize::from);
        if queue.threads < cmp::min(wanted, THREADS) {
            queue.threads += 1;
            let shared = Arc::clone(self);
            // Where there is no thread to be had, nobody takes the work, and a run ends at its bound of time.
            let _ = thread::Builder::new()
                .name("hashing a file".into())
                .spawn(move || shared.work());
        }
        drop(queue);
        self.work.notify_one();
    }

    /// Hashes what is ready until nothing can come any more.
    fn work(&self) {
        let mut buffer = Vec::new();
        let mut queue = lock(&self.queue);
        while !queue.closed {
            let Some(filling) = queue.ready.pop_front() else {
                let woken = self.work.wait(queue);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            filling.hash(&mut buffer);
            drop(filling);
            queue = lock(&self.queue);
        }
        // What waits holds this, and would never go.
        let waiting = mem::take(&mut queue.ready);
        drop(queue);
        drop(waiting);
    }
}

/// Returns what nobody guesses: a host that could would have its answers taken for placed ones.
fn ticket() -> io::Result<String> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn out_of_bounds() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the sink does not reach there")
}

fn write_all(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match write_at(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes.get(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn file(folder: &tempfile::TempDir, name: &str) -> Arc<File> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Arc::new(options.open(folder.path().join(name)).unwrap())
    }

    fn sinks() -> Sinks {
        Sinks::new(Handle::current())
    }

    async fn outcome(filling: &Filling) -> io::Result<[u8; 32]> {
        loop {
            if let Some(outcome) = filling.outcome() {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn sha256(bytes: &[u8]) -> [u8; 32] {
        let digest = ring::digest::digest(&SHA256, bytes);
        digest.as_ref().try_into().unwrap()
    }

    fn bytes(size: usize) -> Vec<u8> {
        (0..size).map(|number| (number * 7 % 251) as u8).collect()
    }

    #[tokio::test]
    async fn any_order_and_overlap_gives_the_file_and_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let whole = bytes(3 << 20);
        fs::write(folder.path().join("a"), &whole[..1000]).unwrap();
        let sinks = sinks();
        let size = whole.len() as u64;
        let sink = sinks
            .open(file(&folder, "a"), size, [0..600, 500..1000])
            .unwrap();
        let filling = sinks.find(sink.ticket()).unwrap();
        for (from, to) in [
            (2 << 20, 3 << 20),
            (900, 5000),
            (4000, 1 << 20),
            (1 << 20, 5 << 19),
        ] {
            assert!(matches!(filling.outcome(), Some(Err(_))));
            filling.write(from as u64, &whole[from..to]).unwrap();
        }
        assert_eq!(outcome(&filling).await.unwrap(), sha256(&whole));
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), whole);
    }

    #[tokio::test]
    async fn a_file_without_bytes_is_whole_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let sink = sinks().open(file(&folder, "a"), 0, []).unwrap();
        assert_eq!(outcome(sink.filling()).await.unwrap(), sha256(b""));
    }

    #[tokio::test]
    async fn what_is_there_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let sinks = sinks();
        let sink = sinks.open(file(&folder, "a"), 6, []).unwrap();
        let filling = sinks.find(sink.ticket()).unwrap();
        filling.write(1, b"bcd").unwrap();
        // A second host sends something else, after the first was hashed or before.
        filling.write(0, b"XXXXXX").unwrap();
        filling.write(0, b"YYYYYY").unwrap();
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"XbcdXX");
        assert_eq!(outcome(&filling).await.unwrap(), sha256(b"XbcdXX"));
    }

    #[tokio::test]
    async fn nothing_is_written_outside_or_after_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let sinks = sinks();
        let sink = sinks.open(file(&folder, "a"), 10, []).unwrap();
        let filling = sinks.find(sink.ticket()).unwrap();
        for offset in [10, 9, u64::MAX, u64::MAX - 1] {
            assert!(filling.write(offset, b"ab").is_err(), "{offset}");
        }
        filling.write(0, b"ab").unwrap();
        let ticket = sink.ticket().to_owned();
        drop(sink);
        assert!(sinks.find(&ticket).is_none());
        // Also by whoever was in the middle of an answer.
        assert!(filling.write(2, b"cd").is_err());
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"ab");
        let range = 0..11;
        assert!(sinks.open(file(&folder, "a"), 10, [range]).is_err());
    }

    #[tokio::test]
    async fn a_component_can_not_use_up_the_launcher() {
        let folder = tempfile::tempdir().unwrap();
        let sinks = sinks();
        let one = sinks.open(file(&folder, "a"), 1 << 40, []).unwrap();
        let filling = sinks.find(one.ticket()).unwrap();
        let scattered = (0..).take_while(|number| filling.write(number * 2, b"x").is_ok());
        assert!(scattered.count() <= RANGES);
        let many = (0..2 * RANGES as u64).map(|number| number * 2..number * 2 + 1);
        assert!(sinks.open(file(&folder, "a"), 1 << 40, many).is_err());
        let open: Vec<_> = (0..OPEN - 1)
            .map(|_| sinks.open(file(&folder, "a"), 1, []).unwrap())
            .collect();
        assert!(sinks.open(file(&folder, "a"), 1, []).is_err());
        drop(open);
        assert!(sinks.open(file(&folder, "a"), 1, []).is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_cut_meanwhile_has_no_digest() {
        let folder = tempfile::tempdir().unwrap();
        let sinks = sinks();
        let size = 1 << 20;
        let sink = sinks
            .open(file(&folder, "a"), size, std::iter::once(0..size))
            .unwrap();
        assert!(outcome(sink.filling()).await.is_err());
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let read_only = Arc::new(File::open(folder.path().join("a")).unwrap());
        let sinks = sinks();
        let sink = sinks.open(read_only, 2, []).unwrap();
        let filling = sinks.find(sink.ticket()).unwrap();
        assert!(filling.write(0, b"ab").is_err());
        assert!(matches!(filling.outcome(), Some(Err(_))));
    }
}
