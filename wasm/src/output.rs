//! What the component prints: counted, filtered, and handed to the thread that writes it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::filter::Filter;
use crate::outlet::{Outlet, Stream};

/// The most that is taken at once, in bytes.
const MOST: usize = 64 << 10;

/// What may still be printed, on both streams together.
pub struct Output {
    left: AtomicU64,
    exceeded: AtomicBool,
    outlet: Outlet,
    /// Of each stream; none where it is a file, which no terminal and no runner reads.
    standard: Option<Mutex<Filter>>,
    error: Option<Mutex<Filter>>,
}

impl Output {
    /// Starts with all of it.
    pub fn new(bound: u64) -> Arc<Self> {
        let filter = |is_file: bool| (!is_file).then(Mutex::default);
        Arc::new(Self {
            left: AtomicU64::new(bound),
            exceeded: AtomicBool::new(false),
            outlet: Outlet::process().clone(),
            standard: filter(is_file(io::stdout())),
            error: filter(is_file(io::stderr())),
        })
    }

    /// Says whether more was to be printed.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }

    /// Waits until everything is written. Nothing must be printed any more.
    pub async fn end(&self) {
        for stream in [Stream::Standard, Stream::Error] {
            if let Some(filter) = self.filter(stream) {
                let mut filter = lock(filter);
                self.outlet.pass_through(stream, &mut filter, Filter::end);
            }
        }
        self.outlet.drained().await;
    }

    fn take(&self, bytes: u64) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        if taken.is_err() {
            self.exceeded.store(true, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let Some(filter) = self.filter(stream) else {
            return self.outlet.pass(stream, bytes.to_vec());
        };
        let mut filter = lock(filter);
        self.outlet
            .pass_through(stream, &mut filter, |filter| filter.pass(bytes));
    }

    fn filter(&self, stream: Stream) -> Option<&Mutex<Filter>> {
        match stream {
            Stream::Error => self.error.as_ref(),
            Stream::Standard => self.standard.as_ref(),
        }
    }
}

/// One of the launcher's own outputs, for the component.
#[derive(Clone)]
pub struct Printed {
    stream: Stream,
    output: Arc<Output>,
}

impl Printed {
    /// Prints to one of the two.
    pub fn on(stream: Stream, output: &Arc<Output>) -> Self {
        Self {
            stream,
            output: Arc::clone(output),
        }
    }
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        match self.stream {
            Stream::Error => IsTerminal::is_terminal(&io::stderr()),
            Stream::Standard => IsTerminal::is_terminal(&io::stdout()),
        }
    }
}

impl StdoutStream for Printed {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // For WASI 0.3, which this launcher does not offer.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > MOST {
            return Err(StreamError::Trap(wasmtime::Error::msg(
                "more was written than was permitted",
            )));
        }
        if !self.output.take(bytes.len() as u64) {
            return Err(StreamError::Trap(wasmtime::Error::msg(
                "the bound of output is reached",
            )));
        }
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.check_write().map(|_| ())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let room = self.output.outlet.room(self.stream);
        // A reader that went away is a closed stream for the component too, and no failed operation.
        room.map(|room| room.min(MOST))
            .map_err(|_| StreamError::Closed)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {
        self.output.outlet.has_room(self.stream).await;
    }
}

#[cfg(unix)]
fn is_file(stream: impl std::os::fd::AsFd) -> bool {
    let found = rustix::fs::fstat(stream);
    found.is_ok_and(|found| {
        rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::RegularFile
    })
}

#[cfg(not(unix))]
fn is_file<T>(_: T) -> bool {
    false
}

fn lock(filter: &Mutex<Filter>) -> std::sync::MutexGuard<'_, Filter> {
    filter.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_counted_over_both_streams() {
        let output = Output::new(3);
        assert!(output.take(2));
        assert!(!output.is_exceeded());
        assert!(!output.take(2));
        assert!(output.is_exceeded());
    }
}
