//! One stream of events, several listeners.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Event, Report, Summary};

/// Something that listens to the events of a run.
pub trait Consumer: Send + Sync {
    /// Takes notice of an event.
    fn event(&self, event: &Event);
}

/// Hands every event to several listeners, in their order.
#[derive(Clone, Default)]
pub struct Fanout {
    consumers: Vec<Arc<dyn Consumer>>,
}

impl Fanout {
    /// Makes a fan-out without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a listener.
    #[must_use]
    pub fn with(mut self, consumer: Arc<dyn Consumer>) -> Self {
        self.consumers.push(consumer);
        self
    }

    /// Returns the function that an [`Emitter`](super::Emitter) is made of.
    pub fn into_sink(self) -> impl Fn(Event) + Send + Sync + 'static {
        move |event| self.event(&event)
    }
}

impl Consumer for Fanout {
    fn event(&self, event: &Event) {
        for consumer in &self.consumers {
            consumer.event(event);
        }
    }
}

/// A [`Summary`] that can listen and be asked from elsewhere.
#[derive(Debug, Default)]
pub struct SharedSummary(Mutex<Summary>);

impl SharedSummary {
    /// Returns the report of what has happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let summary = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        summary.report().clone()
    }

    /// Begins anew, with what has happened so far.
    pub fn restart(&self, events: &[Event]) {
        let mut summary = Summary::new();
        events.iter().for_each(|event| summary.apply(event));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = summary;
    }
}

impl Consumer for SharedSummary {
    fn event(&self, event: &Event) {
        let mut summary = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        summary.apply(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::ExitCode;
    use crate::report::{Detail, Emitter};

    #[test]
    fn every_listener_hears_every_event() {
        let summaries: [Arc<SharedSummary>; 2] = Default::default();
        let fanout = summaries.iter().fold(Fanout::new(), |fanout, summary| {
            fanout.with(summary.clone())
        });
        let emitter = Emitter::new(fanout.into_sink());
        emitter.emit(Detail::RunFinished {
            exit: ExitCode::Cancelled,
            reason: None,
        });
        for summary in summaries {
            let exit = summary.report().exit.map(|exit| exit.code);
            assert_eq!(exit, Some(70));
        }
    }
}
