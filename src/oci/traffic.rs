//! What a run knows of each host: how many requests are under way, until when it wants quiet, and
//! how many requests it still allows.
//!
//! All workers of a run share one such record a host, whatever image they work for. A breaker
//! that takes a dead mirror out of the run belongs into [`State`] too.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::error::ErrorKind;
use super::quota::Quota;

/// The hosts of a run.
#[derive(Debug)]
pub(super) struct Traffic {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    requests_per_host: usize,
}

/// The right to have one request under way; whoever drops it lets the next one in.
///
/// It is held from the request to the end of its answer's body, and never while another one is
/// waited for: requests for tokens and the second of two hedged requests need none. So whatever
/// the number of slots is, one that waits has somebody before it who can end.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// A host that may not be asked before a time that is too late.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    /// When it may be asked.
    pub(super) until: Instant,
    /// What it said.
    pub(super) kind: ErrorKind,
}

/// Why a host can't be asked in time.
#[derive(Clone, Debug)]
pub(super) enum Late {
    /// Other requests were under way for so long.
    Busy(Duration),
    /// It wants quiet.
    Closed(Closed),
}

#[derive(Debug)]
struct Host {
    slots: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: Option<Closed>,
    quota: Option<Quota>,
    /// Whether somebody was told that few requests are left.
    quota_told: bool,
    /// Which waits were told of, and until when they last.
    told: HashMap<String, Instant>,
}

impl Traffic {
    pub(super) fn new(requests_per_host: usize) -> Self {
        Self {
            hosts: Mutex::default(),
            requests_per_host: requests_per_host.max(1),
        }
    }

    /// Waits until the host may be asked and a request less than the limit is under way.
    ///
    /// # Errors
    ///
    /// It may not be asked before `limit`, which bounds its pauses alone: what is before this one may be a
    /// long transfer. Or its turn has not come by `deadline`, when nobody has use for an answer any more.
    pub(super) async fn enter(
        &self,
        host: &str,
        limit: Instant,
        deadline: Option<Instant>,
    ) -> Result<Slot, Late> {
        let host = self.host(host);
        let begun = Instant::now();
        loop {
            host.pass(limit).await.map_err(Late::Closed)?;
            let turn = host.slots.clone().acquire_owned();
            let turn = match deadline {
                None => turn.await,
                Some(deadline) => timeout_at(deadline, turn)
                    .await
                    .map_err(|_| Late::Busy(begun.elapsed()))?,
            };
            // Nobody closes a semaphore of ours.
            let Ok(permit) = turn else {
                continue;
            };
            // Who was let in may have been told meanwhile to wait.
            if host.closed().is_none() {
                return Ok(Slot {
                    _permit: Arc::new(permit),
                });
            }
        }
    }

    /// Waits until the host may be asked, for requests that need no slot.
    ///
    /// # Errors
    ///
    /// As [`Traffic::enter`].
    pub(super) async fn pass(&self, host: &str, limit: Instant) -> Result<(), Closed> {
        self.host(host).pass(limit).await
    }

    /// Closes the way to a host, if it is not closed for longer already.
    pub(super) fn close(&self, host: &str, until: Instant, kind: &ErrorKind) {
        let host = self.host(host);
        let mut state = host.state();
        if state
            .closed
            .as_ref()
            .is_none_or(|known| known.until < until)
        {
            state.closed = Some(Closed {
                until,
                kind: kind.clone(),
            });
        }
    }

    /// Returns whether a wait is worth a word: the first of those that say the same, and no later
    /// one that ends with it.
    pub(super) fn is_news(&self, host: &str, reason: String, until: Instant) -> bool {
        let host = self.host(host);
        let mut state = host.state();
        let now = Instant::now();
        state.told.retain(|_, until| *until > now);
        let known = state.told.get(&reason).copied();
        if known.is_some_and(|known| until <= known + SAME_WAIT) {
            return false;
        }
        state.told.insert(reason, until);
        true
    }

    /// Remembers what a host says of the requests that are left, and returns whether that is
    /// little for the first time.
    pub(super) fn learn(&self, host: &str, quota: Quota) -> bool {
        let host = self.host(host);
        let mut state = host.state();
        let tell = quota.is_low() && !state.quota_told;
        state.quota_told |= tell;
        state.quota = Some(quota);
        tell
    }

    /// Returns what the hosts said of the requests that are left.
    pub(super) fn quotas(&self) -> BTreeMap<String, Quota> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = |(name, host): (&String, &Arc<Host>)| {
            let quota = host.state().quota.clone()?;
            Some((name.clone(), quota))
        };
        hosts.iter().filter_map(quota).collect()
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(name) {
            return known.clone();
        }
        let host = Arc::new(Host {
            slots: Arc::new(Semaphore::new(self.requests_per_host)),
            state: Mutex::default(),
        });
        hosts.insert(name.to_owned(), host.clone());
        host
    }
}

impl Host {
    async fn pass(&self, limit: Instant) -> Result<(), Closed> {
        while let Some(closed) = self.closed() {
            if closed.until > limit {
                return Err(closed);
            }
            sleep_until(closed.until).await;
        }
        Ok(())
    }

    fn closed(&self) -> Option<Closed> {
        let state = self.state();
        let closed = state.closed.as_ref()?;
        (closed.until > Instant::now()).then(|| closed.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two waits of the same kind whose ends are no further apart are one to the reader.
const SAME_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> ErrorKind {
        ErrorKind::RateLimited {
            host: "a".into(),
            url: "u".into(),
            retry_after: None,
            message: None,
        }
    }

    fn after(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_host_holds_everyone_back() {
        let traffic = Traffic::new(2);
        traffic.close("a", after(9), &kind());
        traffic.close("a", after(3), &kind());
        let begun = Instant::now();
        traffic.pass("b", after(0)).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::ZERO);
        traffic.enter("a", after(60), None).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_too_long_is_not_begun() {
        let traffic = Traffic::new(2);
        let begun = Instant::now();
        traffic.close("a", after(100), &kind());
        let Err(Late::Closed(closed)) = traffic.enter("a", after(99), None).await else {
            panic!("it is let in, or waits for its turn");
        };
        assert_eq!(closed.until, begun + Duration::from_secs(100));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_for_a_slot_still_minds_a_pause() {
        let traffic = Traffic::new(1);
        let begun = Instant::now();
        let slot = traffic.enter("a", after(60), None).await.unwrap();
        let waiting = async {
            let entered = traffic.enter("a", after(60), None).await.unwrap();
            (entered, begun.elapsed())
        };
        let closing = async {
            tokio::task::yield_now().await;
            traffic.close("a", after(7), &kind());
            drop(slot);
        };
        let ((_, waited), ()) = tokio::join!(waiting, closing);
        assert!(waited >= Duration::from_secs(7), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_in_time_is_given_up() {
        let traffic = Traffic::new(1);
        let begun = Instant::now();
        let slot = traffic.enter("a", after(60), None).await.unwrap();
        let late = traffic.enter("a", after(60), Some(after(7))).await;
        assert!(matches!(late, Err(Late::Busy(_))), "{late:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(7));
        // Pauses have a bound of their own, and it is none of turns.
        let waiting = traffic.enter("a", after(60), Some(after(3600)));
        let ending = async {
            tokio::time::sleep(Duration::from_secs(600)).await;
            drop(slot);
        };
        let (entered, ()) = tokio::join!(waiting, ending);
        assert!(entered.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_told_once() {
        let traffic = Traffic::new(1);
        let news = |reason: &str, seconds| traffic.is_news("a", reason.into(), after(seconds));
        assert!(news("429", 10));
        assert!(!news("429", 10));
        assert!(!news("429", 3));
        assert!(news("503", 3));
        assert!(news("429", 20));
        tokio::time::sleep(Duration::from_secs(21)).await;
        assert!(news("429", 5));
    }
}
