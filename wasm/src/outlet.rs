//! The launcher's two outputs, written by a thread of their own.
//!
//! Whoever reads them may stop reading, and a thread that writes then stands still. What watches over the
//! component must not, so what is printed while it runs waits here. How much may wait is bounded.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::{mem, thread};

use tokio::sync::Notify;

use crate::filter::{Filter, Tail};

/// How many bytes may wait before the component has to.
const WAITING: usize = 1 << 20;

/// One of the two outputs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stream {
    /// Standard error.
    Error,
    /// Standard output.
    Standard,
}

/// Two outputs, in the order in which they are written to.
#[derive(Clone)]
pub struct Outlet(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    /// Something was written.
    progress: Notify,
}

#[derive(Default)]
struct Queue {
    pieces: VecDeque<(Stream, Vec<u8>)>,
    /// Of the pieces, and of the one that is being written.
    bytes: usize,
    /// Streams that nobody reads any more.
    closed: Vec<Stream>,
    /// Which of its streams the component printed to last, if nobody else has printed since, and what the
    /// line ends with.
    last: Option<Stream>,
    tail: Tail,
}

impl Outlet {
    /// Returns the one of this process.
    pub fn process() -> &'static Self {
        static PROCESS: LazyLock<Outlet> =
            LazyLock::new(|| Outlet::new(Box::new(io::stdout()), Box::new(io::stderr())));
        &PROCESS
    }

    fn new(standard: Box<dyn Write + Send>, error: Box<dyn Write + Send>) -> Self {
        let shared = Arc::<Shared>::default();
        let written = Arc::clone(&shared);
        let thread = thread::Builder::new().name("output".into());
        if thread.spawn(move || written.work(standard, error)).is_err() {
            // There is nobody to write: whoever prints finds the streams closed.
            shared.queue().closed = vec![Stream::Standard, Stream::Error];
        }
        Self(shared)
    }

    /// Adds what the launcher itself has to say, whether there is room or not: it never has much.
    ///
    /// It must be whole lines.
    pub fn say(&self, stream: Stream, text: impl Into<Vec<u8>>) {
        let mut queue = self.0.queue();
        queue.last = None;
        queue.tail = Tail::default();
        self.0.push(queue, stream, text.into());
    }

    /// Adds what the component prints.
    pub fn pass(&self, stream: Stream, bytes: Vec<u8>) {
        self.0.push(self.0.queue(), stream, bytes);
    }

    /// Adds what a filter makes of what the component prints: that depends on what others have printed meanwhile.
    pub fn pass_through(
        &self,
        stream: Stream,
        filter: &mut Filter,
        pass: impl FnOnce(&mut Filter) -> Vec<u8>,
    ) {
        let mut queue = self.0.queue();
        if queue.last != Some(stream) {
            filter.interrupted(mem::take(&mut queue.tail));
        }
        let shown = pass(filter);
        queue.last = Some(stream);
        queue.tail = filter.tail();
        self.0.push(queue, stream, shown);
    }

    /// Returns how much room there is.
    ///
    /// # Errors
    /// Nobody reads the stream any more.
    pub fn room(&self, stream: Stream) -> io::Result<usize> {
        let queue = self.0.queue();
        if queue.closed.contains(&stream) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(WAITING.saturating_sub(queue.bytes))
    }

    /// Waits until there is room, or nobody reads the stream any more.
    pub async fn has_room(&self, stream: Stream) {
        self.until(|queue| queue.bytes < WAITING || queue.closed.contains(&stream))
            .await;
    }

    /// Waits until everything is written that was added.
    pub async fn drained(&self) {
        self.until(|queue| queue.bytes == 0).await;
    }

    async fn until(&self, reached: impl Fn(&Queue) -> bool) {
        loop {
            // Made before the look, so that nothing is missed between the two.
            let progress = self.0.progress.notified();
            if reached(&self.0.queue()) {
                return;
            }
            progress.await;
        }
    }
}

impl Shared {
    fn push(&self, mut queue: MutexGuard<'_, Queue>, stream: Stream, bytes: Vec<u8>) {
        if bytes.is_empty() || queue.closed.contains(&stream) {
            return;
        }
        queue.bytes += bytes.len();
        queue.pieces.push_back((stream, bytes));
        drop(queue);
        self.work.notify_one();
    }

    /// Writes what comes, as long as the process lives.
    fn work(&self, mut standard: Box<dyn Write + Send>, mut error: Box<dyn Write + Send>) {
        loop {
            let (stream, bytes) = self.next();
            let output = match stream {
                Stream::Error => &mut error,
                Stream::Standard => &mut standard,
            };
            let written = output.write_all(&bytes).and_then(|()| output.flush());
            let mut queue = self.queue();
            if written.is_err() {
                queue.close(stream);
            }
            queue.bytes -= bytes.len();
            drop(queue);
            self.progress.notify_waiters();
        }
    }

    fn next(&self) -> (Stream, Vec<u8>) {
        let mut queue = self.queue();
        loop {
            if let Some(piece) = queue.pieces.pop_front() {
                return piece;
            }
            let woken = self.work.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Gives up a stream, and what waits for it.
    fn close(&mut self, stream: Stream) {
        self.closed.push(stream);
        let bytes = &mut self.bytes;
        self.pieces.retain(|(to, piece)| {
            let kept = *to != stream;
            if !kept {
                *bytes -= piece.len();
            }
            kept
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A reader that takes a piece only when it is told to.
    struct Slow(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn who_stops_reading_holds_nobody_up_but_the_component() {
        let (go, going) = channel();
        let (written, read) = channel();
        let outlet = Outlet::new(Box::new(Slow(going, written)), Box::new(io::sink()));
        outlet.say(Stream::Standard, vec![b'a'; WAITING - 1]);
        assert_eq!(outlet.room(Stream::Standard).unwrap(), 1);
        outlet.say(Stream::Standard, "bc");
        assert_eq!(outlet.room(Stream::Error).unwrap(), 0);
        go.send(()).unwrap();
        outlet.has_room(Stream::Standard).await;
        assert_eq!(read.recv().unwrap().len(), WAITING - 1);
        go.send(()).unwrap();
        outlet.drained().await;
        assert_eq!(read.recv().unwrap(), b"bc");
    }

    #[tokio::test]
    async fn what_nobody_reads_is_closed_and_the_rest_goes_on() {
        let (_, going) = channel();
        let (written, _read) = channel();
        let outlet = Outlet::new(Box::new(Slow(going, written)), Box::new(io::sink()));
        outlet.say(Stream::Standard, "a");
        outlet.say(Stream::Standard, "b");
        outlet.say(Stream::Error, "c");
        outlet.drained().await;
        assert!(outlet.room(Stream::Standard).is_err());
        assert!(outlet.room(Stream::Error).unwrap() > 0);
    }
}
