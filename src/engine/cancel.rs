//! Cancellation as it really comes: a first signal asks, a second one from a terminal insists.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

/// How urgently a run is to end.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// Nobody asked it to end.
    #[default]
    None,
    /// The step under way is dropped, `finally` still runs.
    Cancel,
    /// Everything is dropped at once.
    Abort,
}

/// A handle that carries the wish to end a run to whoever has to hear it.
///
/// Raising is one way: a run that was cancelled stays so.
#[derive(Clone)]
pub struct Cancel {
    raise: Arc<watch::Sender<Urgency>>,
    heard: watch::Receiver<Urgency>,
}

impl Cancel {
    /// Makes a handle that nobody has raised.
    #[must_use]
    pub fn new() -> Self {
        let (raise, heard) = watch::channel(Urgency::None);
        Self {
            raise: Arc::new(raise),
            heard,
        }
    }

    /// Raises the urgency; a lower one than before changes nothing.
    pub fn raise(&self, urgency: Urgency) {
        self.raise.send_if_modified(|now| {
            let higher = urgency > *now;
            if higher {
                *now = urgency;
            }
            higher
        });
    }

    /// Returns the urgency now.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        *self.heard.borrow()
    }

    /// Waits until the urgency is at least this.
    pub async fn reached(&self, urgency: Urgency) {
        let mut heard = self.heard.clone();
        // The sender lives in `self`, so the channel can't close while this future is polled.
        let _ = heard.wait_for(|now| *now >= urgency).await;
    }
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cancel").field(&self.urgency()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urgency_only_rises() {
        let cancel = Cancel::new();
        cancel.raise(Urgency::Abort);
        cancel.raise(Urgency::Cancel);
        assert_eq!(cancel.urgency(), Urgency::Abort);
        cancel.reached(Urgency::Cancel).await;
    }
}
