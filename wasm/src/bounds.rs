//! How much a component may use: memory, time, output.

use std::time::Duration;

use shipgate::cli::sandbox_args::SandboxArgs;
use wasmtime::{Engine, ResourceLimiter};

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
}
