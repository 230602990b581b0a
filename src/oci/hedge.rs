//! A silent peer is not hung up on: the same is asked for on a second connection, and the first of
//! the two that delivers wins.
//!
//! A proxy that scans what it passes on may hold a first byte for minutes, and a connection may
//! die without a word; from here they look the same. So the first one is kept, as long as the
//! policy's patience lasts.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// When bytes were last seen, and from where; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Mutex<Last>>);

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    /// Nothing as long as nobody minds a silence.
    at: Option<Instant>,
    peer: Option<SocketAddr>,
}

/// Which of two that ask for the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Lane {
    First,
    /// The one that is started because the first is silent.
    Second,
}

/// A silence that its reader should know of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Silence {
    /// How long it has lasted.
    pub(super) lasted: Duration,
    /// Whose it is.
    pub(super) peer: Option<SocketAddr>,
}

impl Pulse {
    /// Says that there is a connection, and who is to send something from now on.
    pub(super) fn connected(&self, peer: Option<SocketAddr>) {
        let at = Some(Instant::now());
        *self.last() = Last { at, peer };
    }

    /// Says that bytes came.
    pub(super) fn beat(&self) {
        self.last().at = Some(Instant::now());
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what `make` makes, and a second one beside it if `pulse` is silent for `stall`; returns
/// what the first of them delivers that does not fail, or the error of the last one that does.
/// No silence is minded before the pulse was heard for the first time.
///
/// `tell` hears of the silence that starts the second, and of one that goes on every
/// [`TELL_EVERY`] after that. The loser is dropped, and with it its connection.
pub(super) async fn hedged<T, E, F>(
    stall: Duration,
    pulse: &Pulse,
    make: impl Fn(Lane) -> F,
    mut tell: impl FnMut(Silence),
) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut first = pin!(make(Lane::First));
    let mut watch = pin!(silence(pulse, stall));
    tokio::select! {
        biased;
        done = &mut first => return done,
        silence = &mut watch => tell(silence),
    }
    let mut second = pin!(make(Lane::Second));
    let (mut first_failed, mut second_failed) = (false, false);
    let mut next = TELL_EVERY;
    loop {
        tokio::select! {
            biased;
            done = &mut first, if !first_failed => match done {
                Err(_) if !second_failed => first_failed = true,
                done => return done,
            },
            done = &mut second, if !second_failed => match done {
                Err(_) if !first_failed => second_failed = true,
                done => return done,
            },
            silence = silence(pulse, next) => {
                tell(silence);
                next = silence.lasted + TELL_EVERY;
            }
        }
    }
}

/// How often a silence that goes on is told of.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Returns once nothing came for this long.
async fn silence(pulse: &Pulse, at_least: Duration) -> Silence {
    loop {
        let Last { at, peer } = *pulse.last();
        let Some(at) = at else {
            // Nobody minds it now; look again when it might have lasted long enough.
            sleep(at_least.min(LOOK_EVERY)).await;
            continue;
        };
        let due = at + at_least;
        if due <= Instant::now() {
            let lasted = at.elapsed();
            return Silence { lasted, peer };
        }
        sleep_until(due).await;
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const STALL: Duration = Duration::from_secs(10);

    /// Runs two that take these seconds and end like this; returns the outcome, the time that it
    /// took, and what was told.
    async fn race(
        first: (u64, Result<&'static str, &'static str>),
        second: (u64, Result<&'static str, &'static str>),
    ) -> (Result<&'static str, &'static str>, u64, Vec<Silence>) {
        let begun = Instant::now();
        let mut told = Vec::new();
        let make = |lane| async move {
            let (seconds, outcome) = match lane {
                Lane::First => first,
                Lane::Second => second,
            };
            sleep(Duration::from_secs(seconds)).await;
            outcome
        };
        let pulse = Pulse::default();
        pulse.connected(None);
        let done = hedged(STALL, &pulse, make, |silence| told.push(silence)).await;
        (done, begun.elapsed().as_secs(), told)
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_in_time_is_alone() {
        let (done, seconds, told) = race((9, Ok("first")), (0, Ok("second"))).await;
        assert_eq!((done, seconds, told.len()), (Ok("first"), 9, 0));
        let (done, seconds, _) = race((9, Err("first")), (0, Ok("second"))).await;
        assert_eq!((done, seconds), (Err("first"), 9));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_deliver_wins() {
        let (done, seconds, told) = race((3600, Ok("first")), (1, Ok("second"))).await;
        assert_eq!((done, seconds), (Ok("second"), 11));
        let (lasted, peer) = (STALL, None);
        assert_eq!(told, [Silence { lasted, peer }]);
        // A proxy that scans holds both for two minutes, and the first one's come sooner.
        let (done, seconds, told) = race((120, Ok("first")), (120, Ok("second"))).await;
        assert_eq!((done, seconds), (Ok("first"), 120));
        let lasted: Vec<_> = told.iter().map(|told| told.lasted.as_secs()).collect();
        assert_eq!(lasted, [10, 30, 60, 90]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_leaves_the_other_its_chance() {
        let (done, seconds, _) = race((12, Err("first")), (20, Ok("second"))).await;
        assert_eq!((done, seconds), (Ok("second"), 30));
        let (done, seconds, _) = race((40, Ok("first")), (1, Err("second"))).await;
        assert_eq!((done, seconds), (Ok("first"), 40));
        let (done, seconds, _) = race((40, Err("first")), (1, Err("second"))).await;
        assert_eq!((done, seconds), (Err("first"), 40));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_is_not_silent() {
        let pulse = Pulse::default();
        let started = AtomicU32::new(0);
        let done: Result<u64, ()> = hedged(
            STALL,
            &pulse,
            |_| async {
                started.fetch_add(1, Ordering::SeqCst);
                // Somebody else minds the head.
                sleep(Duration::from_secs(100)).await;
                for _ in 0..20 {
                    pulse.beat();
                    sleep(Duration::from_secs(9)).await;
                }
                Ok(280)
            },
            |_| (),
        )
        .await;
        assert_eq!((done, started.load(Ordering::SeqCst)), (Ok(280), 1));
    }
}
