//! When to try again: back-off with jitter, `Retry-After`, and one waiting room a host.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::time::{Instant, sleep_until};

use super::Error;

/// How often and how patiently a request is repeated.
#[derive(Clone)]
pub struct RetryPolicy {
    /// The most times that a request is sent.
    pub tries: u32,
    /// The pause after the first failure; it doubles from one to the next.
    pub first_pause: Duration,
    /// The longest pause that is chosen here.
    pub longest_pause: Duration,
    /// The longest pause that a registry may ask for; a longer one is a failure at once.
    pub longest_asked: Duration,
    /// Gives numbers from 0 to 1 that spread the pauses of many clients.
    pub random: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl RetryPolicy {
    /// Returns the pause after the given failed attempt, counted from 1, or nothing if there is
    /// no further one.
    pub(super) fn pause(&self, attempt: u32, error: &Error) -> Option<Duration> {
        if attempt >= self.tries || !error.is_retryable() {
            return None;
        }
        let doubled = self.first_pause.saturating_mul(1 << (attempt - 1).min(16));
        // At least half of the pause: less would be a burst, all of it a stampede in step.
        let spread = 0.5 + 0.5 * (self.random)().clamp(0.0, 1.0);
        let own = doubled.min(self.longest_pause).mul_f64(spread);
        match error.retry_after() {
            Some(asked) if asked > self.longest_asked => None,
            Some(asked) => Some(asked.max(own)),
            None => Some(own),
        }
    }
}

impl Default for RetryPolicy {
    /// Sends five times, with pauses from 250 ms to 30 s, and waits 120 s if asked to.
    fn default() -> Self {
        Self {
            tries: 5,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(30),
            longest_asked: Duration::from_secs(120),
            random: Arc::new(system_random),
        }
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("tries", &self.tries)
            .field("first_pause", &self.first_pause)
            .field("longest_pause", &self.longest_pause)
            .field("longest_asked", &self.longest_asked)
            .finish_non_exhaustive()
    }
}

/// Holds back all requests to a host that asked for a pause, not only the one that was told.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<HashMap<String, Instant>>);

impl Limiter {
    /// Waits until the host may be asked.
    pub(super) async fn pass(&self, host: &str) {
        while let Some(until) = self.closed_until(host) {
            sleep_until(until).await;
        }
    }

    /// Closes the way to a host for some time.
    pub(super) fn close(&self, host: &str, wait: Duration) {
        let until = Instant::now() + wait;
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = closed.entry(host.to_owned()).or_insert(until);
        *known = until.max(*known);
    }

    fn closed_until(&self, host: &str) -> Option<Instant> {
        let closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closed
            .get(host)
            .copied()
            .filter(|until| *until > Instant::now())
    }
}

/// Reads `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
///
/// A date is compared with the answer's own `Date`, so that a wrong clock here does no harm.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let then = date(text)?;
    let now = headers
        .get(DATE)
        .and_then(|value| date(value.to_str().ok()?))
        .unwrap_or(now);
    // A date in the past asks for no pause.
    Some(Duration::try_from(then.duration_since(now)).unwrap_or_default())
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
    use crate::oci::ErrorKind;

    fn headers(retry: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        headers
    }

    fn limited(wait: Option<u64>) -> Error {
        ErrorKind::RateLimited {
            host: "h".into(),
            url: "u".into(),
            retry_after: wait.map(Duration::from_secs),
            message: None,
        }
        .into()
    }

    #[test]
    fn seconds_and_dates() {
        let now: Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
        let wait = |retry: &str, date| retry_after(&headers(retry, date), now);
        assert_eq!(wait("120", None), Some(Duration::from_secs(120)));
        assert_eq!(
            wait("Wed, 21 Oct 2015 07:28:30 GMT", None),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            wait(
                "Wed, 21 Oct 2015 07:28:30 GMT",
                Some("Wed, 21 Oct 2015 07:28:20 GMT")
            ),
            Some(Duration::from_secs(10))
        );
        assert_eq!(
            wait("Wed, 21 Oct 2015 07:27:00 GMT", None),
            Some(Duration::ZERO)
        );
        assert_eq!(wait("soon", None), None);
        assert_eq!(wait("-1", None), None);
    }

    #[test]
    fn pauses_double_up_to_the_limit_and_end() {
        let policy = RetryPolicy {
            random: Arc::new(|| 1.0),
            tries: 12,
            ..RetryPolicy::default()
        };
        let pauses: Vec<_> = (1..=12)
            .map(|attempt| policy.pause(attempt, &limited(None)).map(|p| p.as_millis()))
            .collect();
        assert_eq!(&pauses[..4], [Some(250), Some(500), Some(1000), Some(2000)]);
        assert_eq!(&pauses[9..], [Some(30_000), Some(30_000), None]);
        let lowest = RetryPolicy {
            random: Arc::new(|| 0.0),
            ..policy
        };
        assert_eq!(
            lowest.pause(1, &limited(None)),
            Some(Duration::from_millis(125))
        );
    }

    #[test]
    fn what_the_registry_asks_for_is_kept_or_refused() {
        let policy = RetryPolicy::default();
        assert_eq!(
            policy.pause(1, &limited(Some(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(policy.pause(1, &limited(Some(121))), None);
    }

    #[test]
    fn randomness_is_spread() {
        let numbers: Vec<f64> = (0..64).map(|_| system_random()).collect();
        assert!(numbers.iter().all(|n| (0.0..=1.0).contains(n)));
        assert!(numbers.windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_host_holds_everyone_back() {
        let limiter = Limiter::default();
        limiter.close("a", Duration::from_secs(9));
        limiter.close("a", Duration::from_secs(3));
        let begun = Instant::now();
        limiter.pass("b").await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        limiter.pass("a").await;
        assert!(begun.elapsed() >= Duration::from_secs(9));
    }
}
