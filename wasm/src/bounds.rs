//! How much a component may use: memory, time, output.

use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shipgate::cli::sandbox_args::SandboxArgs;
use tokio::io::AsyncWrite;
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// The bounds of one run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Bytes of memory.
    pub memory: usize,
    /// From the start of the component to its end.
    pub time: Duration,
    /// Bytes on standard output and standard error together.
    pub output: u64,
}

impl Bounds {
    /// Returns what the flags say, and the defaults for the rest; `time` is the default that the
    /// pipeline gives.
    pub fn new(given: &SandboxArgs, time: Duration) -> Self {
        let memory = given.max_memory.map_or(MEMORY, |size| size.0);
        Self {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            time: given.max_time.unwrap_or(time),
            output: given.max_output.map_or(OUTPUT, |size| size.0),
        }
    }
}

/// A run needs some 40 MiB; what is above that is room for documents and answers.
const MEMORY: u64 = 1 << 30;
/// More than any log that a CI system keeps.
const OUTPUT: u64 = 64 << 20;
/// The elements of all tables together: pointers to functions, a few thousand in any program.
const TABLE_ELEMENTS: usize = 1 << 20;

/// Counts the memory of a component, in all of its memories together.
#[derive(Debug)]
pub struct MemoryMeter {
    bound: usize,
    used: usize,
    elements: usize,
    /// Whether it asked for more than it may have.
    pub exceeded: bool,
}

impl MemoryMeter {
    /// Starts at nothing.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            used: 0,
            elements: 0,
            exceeded: false,
        }
    }

    fn refuse<T>(&mut self) -> wasmtime::Result<T> {
        self.exceeded = true;
        Err(wasmtime::Error::msg("the bound of memory is reached"))
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.bound {
            return self.refuse();
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS {
            return self.refuse();
        }
        self.elements = elements;
        Ok(true)
    }
}

/// Lets time pass for a component: without it, one that never waits could not be interrupted.
///
/// It needs another thread than the component's.
pub async fn tick(engine: Engine) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        engine.increment_epoch();
    }
}

const TICK: Duration = Duration::from_millis(10);

/// What may still be printed.
#[derive(Debug)]
pub struct Output {
    left: AtomicU64,
    exceeded: AtomicBool,
}

impl Output {
    /// Starts with all of it.
    pub fn new(bound: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(bound),
            exceeded: AtomicBool::new(false),
        })
    }

    /// Says whether more was to be printed.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
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
}

/// One of the launcher's own outputs, counted.
#[derive(Clone, Debug)]
pub struct Counted {
    target: Target,
    output: Arc<Output>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Error,
    Standard,
}

impl Counted {
    /// Counts standard output.
    pub fn stdout(output: &Arc<Output>) -> Self {
        Self {
            target: Target::Standard,
            output: Arc::clone(output),
        }
    }

    /// Counts standard error.
    pub fn stderr(output: &Arc<Output>) -> Self {
        Self {
            target: Target::Error,
            output: Arc::clone(output),
        }
    }

    fn write_all(&self, bytes: &[u8]) -> std::io::Result<()> {
        match self.target {
            Target::Error => std::io::stderr().write_all(bytes),
            Target::Standard => std::io::stdout().write_all(bytes),
        }
    }

    fn flush_all(&self) -> std::io::Result<()> {
        match self.target {
            Target::Error => std::io::stderr().flush(),
            Target::Standard => std::io::stdout().flush(),
        }
    }
}

impl IsTerminal for Counted {
    fn is_terminal(&self) -> bool {
        match self.target {
            Target::Error => std::io::IsTerminal::is_terminal(&std::io::stderr()),
            Target::Standard => std::io::IsTerminal::is_terminal(&std::io::stdout()),
        }
    }
}

impl StdoutStream for Counted {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // For WASI 0.3, which this launcher does not offer.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Counted {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !self.output.take(bytes.len() as u64) {
            return Err(StreamError::Trap(wasmtime::Error::msg(
                "the bound of output is reached",
            )));
        }
        self.write_all(&bytes).map_err(stream_error)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.flush_all().map_err(stream_error)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl Pollable for Counted {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        // The launcher's own outputs are written to in place.
        Box::pin(std::future::ready(()))
    }
}

/// A reader that went away is a closed stream for the component too, and no failed operation.
fn stream_error(error: std::io::Error) -> StreamError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        StreamError::Closed
    } else {
        StreamError::LastOperationFailed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_count_together() {
        let mut meter = MemoryMeter::new(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(meter.memory_growing(0, 40, None).unwrap());
        assert!(!meter.exceeded);
        assert!(meter.memory_growing(60, 61, None).is_err());
        assert!(meter.exceeded);
    }

    #[test]
    fn tables_are_bounded_too() {
        let mut meter = MemoryMeter::new(100);
        assert!(meter.table_growing(0, TABLE_ELEMENTS, None).unwrap());
        assert!(meter.table_growing(0, 1, None).is_err());
    }

    #[test]
    fn output_is_counted_over_both_streams() {
        let output = Output::new(3);
        assert!(output.take(2));
        assert!(!output.is_exceeded());
        assert!(!output.take(2));
        assert!(output.is_exceeded());
    }
}
