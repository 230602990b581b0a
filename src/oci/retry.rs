//! When to try again: exponential back-off with full jitter, within a budget.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::Instant;

use super::Error;
use super::error::{ErrorKind, GaveUp};
use crate::net;

/// How often and how patiently a request is repeated. `docs/retries.md` says the same in words.
#[derive(Clone)]
pub struct RetryPolicy {
    /// The most times that a request is sent. A pause that the registry asks for costs none.
    pub tries: u32,
    /// The longest pause after the first failure; it doubles from one to the next.
    pub first_pause: Duration,
    /// The longest pause after the first "too many requests" that names no time.
    pub first_limited_pause: Duration,
    /// The longest pause that is chosen here.
    pub longest_pause: Duration,
    /// The most time that one request may spend in pauses, those that a registry asks for
    /// included; a longer one is a failure at once.
    pub budget: Duration,
    /// How long nothing may come before the same is asked for on a second connection.
    pub stall: Duration,
    /// How long nothing may come, on either connection, before the request has failed.
    pub patience: Duration,
    /// Gives numbers from 0 to 1 that spread the pauses of many clients.
    pub random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

/// Counts the attempts of one request, and the time that it spent on pauses.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// All that failed.
    failed: u32,
    /// Those that failed without a word on when to come again.
    unasked: u32,
    spent: Duration,
}

impl Attempts {
    /// Returns how many attempts failed.
    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    /// Counts a failure and returns the pause before the next attempt, or why there is none.
    pub(super) fn next(
        &mut self,
        policy: &RetryPolicy,
        error: &Error,
        deadline: Option<Instant>,
    ) -> Result<Duration, Option<GaveUp>> {
        self.failed += 1;
        // A silence that lasted as long as it may has used up what it took.
        self.spent += silence(error).unwrap_or_default();
        if !error.is_retryable() {
            return Err(None);
        }
        let limited = matches!(error.kind(), ErrorKind::RateLimited { .. });
        let asked = error.retry_after();
        if asked.is_none() {
            self.unasked += 1;
        }
        if self.unasked >= policy.tries {
            return Err(Some(GaveUp::Tries));
        }
        let first = if limited && asked.is_none() {
            policy.first_limited_pause
        } else {
            policy.first_pause
        };
        let doubled = first.saturating_mul(1 << (self.failed - 1).min(16));
        let jitter = (policy.random)().clamp(0.0, 1.0);
        let own = doubled.min(policy.longest_pause).mul_f64(jitter);
        // Who says "in 0 s" again and again is asked less and less often.
        let wait = asked.map_or(own, |asked| asked.max(own));
        if self.spent >= policy.budget || self.spent.saturating_add(wait) > policy.budget {
            return Err(Some(GaveUp::Budget));
        }
        if deadline.is_some_and(|deadline| Instant::now() + wait > deadline) {
            return Err(Some(GaveUp::Deadline));
        }
        self.spent += wait;
        Ok(wait)
    }
}

impl Default for RetryPolicy {
    /// Sends five times, with pauses from 250 ms to 30 s that take 3 minutes together; hedges
    /// after 10 s and gives up a silent host after 3 minutes.
    fn default() -> Self {
        Self {
            tries: 5,
            first_pause: Duration::from_millis(250),
            first_limited_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(30),
            budget: Duration::from_secs(180),
            stall: Duration::from_secs(10),
            patience: Duration::from_secs(180),
            random: Arc::new(system_random),
        }
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("tries", &self.tries)
            .field("first_pause", &self.first_pause)
            .field("first_limited_pause", &self.first_limited_pause)
            .field("longest_pause", &self.longest_pause)
            .field("budget", &self.budget)
            .field("stall", &self.stall)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// Returns how long a request waited for bytes that did not come.
fn silence(error: &Error) -> Option<Duration> {
    match error.kind() {
        ErrorKind::Unreachable {
            source:
                net::Error::Timeout {
                    phase: net::Phase::FirstByte | net::Phase::Body,
                    after,
                    ..
                },
            ..
        } => Some(*after),
        _ => None,
    }
}

fn system_random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness the pauses are merely not spread.
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(wait: Option<u64>) -> Error {
        ErrorKind::RateLimited {
            host: "h".into(),
            url: "u".into(),
            retry_after: wait.map(Duration::from_secs),
            message: None,
        }
        .into()
    }

    fn refused(status: u16) -> Error {
        ErrorKind::Refused {
            host: "h".into(),
            url: "u".into(),
            status,
            code: None,
            message: None,
            retry_after: None,
        }
        .into()
    }

    fn policy(random: f64) -> RetryPolicy {
        RetryPolicy {
            random: Arc::new(move || random),
            ..RetryPolicy::default()
        }
    }

    #[tokio::test]
    async fn pauses_double_up_to_the_limit_and_end() {
        let long = RetryPolicy {
            tries: 12,
            budget: Duration::from_secs(3600),
            ..policy(1.0)
        };
        let mut attempts = Attempts::default();
        let pauses: Vec<_> = (1..=12)
            .map(|_| attempts.next(&long, &refused(503), None))
            .collect();
        let millis: Vec<_> = pauses
            .iter()
            .flatten()
            .map(|pause| pause.as_millis())
            .collect();
        assert_eq!(
            millis,
            [
                250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000
            ]
        );
        assert_eq!(pauses[11], Err(Some(GaveUp::Tries)));
        assert_eq!(attempts.failed(), 12);
    }

    #[tokio::test]
    async fn the_jitter_is_full() {
        for (random, millis) in [(0.0, 0), (0.5, 125), (1.0, 250), (7.0, 250)] {
            let pause = Attempts::default().next(&policy(random), &refused(503), None);
            assert_eq!(pause, Ok(Duration::from_millis(millis)), "{random}");
        }
    }

    #[tokio::test]
    async fn what_the_registry_asks_for_is_kept_and_costs_no_try() {
        let policy = policy(1.0);
        let mut attempts = Attempts::default();
        for _ in 0..12 {
            let pause = attempts.next(&policy, &limited(Some(10)), None);
            assert!(pause.is_ok_and(|pause| pause >= Duration::from_secs(10)));
            // The budget ends it, not the number.
            if attempts.spent > Duration::from_secs(150) {
                break;
            }
        }
        assert!(attempts.failed() > policy.tries);
        assert_eq!(
            attempts.next(&policy, &limited(Some(60)), None),
            Err(Some(GaveUp::Budget))
        );
        let mut attempts = Attempts::default();
        let endless: Vec<_> = (0..100)
            .map_while(|_| attempts.next(&policy, &limited(Some(0)), None).ok())
            .collect();
        assert!(endless.len() < 20, "{endless:?}");
    }

    #[tokio::test]
    async fn a_limit_without_a_time_is_met_with_longer_pauses() {
        let pause = Attempts::default().next(&policy(1.0), &limited(None), None);
        assert_eq!(pause, Ok(Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_past_a_deadline() {
        let soon = Some(Instant::now() + Duration::from_secs(5));
        let mut attempts = Attempts::default();
        assert_eq!(
            attempts.next(&policy(1.0), &limited(Some(6)), soon),
            Err(Some(GaveUp::Deadline))
        );
        assert!(attempts.next(&policy(1.0), &limited(Some(5)), soon).is_ok());
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_tried_again() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.next(&policy(1.0), &refused(400), None), Err(None));
        assert_eq!(attempts.failed(), 1);
    }

    #[test]
    fn randomness_is_spread() {
        let numbers: Vec<f64> = (0..64).map(|_| system_random()).collect();
        assert!(numbers.iter().all(|n| (0.0..=1.0).contains(n)));
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
