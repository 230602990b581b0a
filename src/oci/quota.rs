//! What a registry says of the requests that are left: `ratelimit-*` headers.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::delay::server_time;

/// How many requests a registry still allows, as it said last.
///
/// Docker Hub counts the GET requests for manifests alone.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Quota {
    /// How many requests are allowed in a window.
    pub limit: Option<u64>,
    /// How many of them are left.
    pub remaining: Option<u64>,
    /// How long a window is.
    #[serde(rename = "window_s", with = "seconds")]
    #[schemars(with = "Option<u64>")]
    pub window: Option<Duration>,
    /// When the next window begins, counted from the answer, if the registry says so.
    #[serde(rename = "resets_after_s", with = "seconds")]
    #[schemars(with = "Option<u64>")]
    pub resets_after: Option<Duration>,
    /// Whose requests are counted: an address or an account, in the registry's words.
    pub source: Option<String>,
}

impl Quota {
    /// Reads what the headers of an answer say; nothing if they say nothing.
    pub(super) fn of(headers: &HeaderMap, now: Timestamp) -> Option<Self> {
        let first = |names: [&'static str; 3]| {
            let value = names.into_iter().find_map(|name| headers.get(name))?;
            value.to_str().ok()
        };
        let limit = first(["ratelimit-limit", "x-ratelimit-limit", "x-rate-limit-limit"]);
        let remaining = first([
            "ratelimit-remaining",
            "x-ratelimit-remaining",
            "x-rate-limit-remaining",
        ]);
        let reset = first(["ratelimit-reset", "x-ratelimit-reset", "x-rate-limit-reset"]);
        let quota = Self {
            limit: limit.and_then(count),
            remaining: remaining.and_then(count),
            window: [limit, remaining].into_iter().flatten().find_map(window),
            resets_after: reset
                .and_then(count)
                .map(|reset| until(reset, server_time(headers, now))),
            source: headers
                .get("docker-ratelimit-source")
                .and_then(|value| value.to_str().ok())
                .map(|source| source.chars().take(LONGEST_SOURCE).collect()),
        };
        (quota.limit.is_some() || quota.remaining.is_some()).then_some(quota)
    }

    /// Returns whether a tenth of the window's requests is left, or less.
    #[must_use]
    pub fn is_low(&self) -> bool {
        match (self.limit, self.remaining) {
            (Some(limit), Some(remaining)) => remaining <= limit / 10,
            (None, Some(remaining)) => remaining == 0,
            _ => false,
        }
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.remaining, self.limit) {
            (Some(remaining), Some(limit)) => write!(f, "{remaining} of {limit} requests left")?,
            (Some(remaining), None) => write!(f, "{remaining} requests left")?,
            (None, Some(limit)) => write!(f, "{limit} requests allowed")?,
            (None, None) => f.write_str("no number of requests named")?,
        }
        if let Some(window) = self.window {
            write!(f, " in {}", in_words(window))?;
        }
        Ok(())
    }
}

/// Whole seconds, or nothing.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the form that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|it| it.as_secs()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<u64>::deserialize(deserializer)?;
        Ok(seconds.map(Duration::from_secs))
    }
}

/// An address or an account's id is much shorter.
const LONGEST_SOURCE: usize = 100;
/// Numbers over this are moments of the Unix clock: as spans they would be a lifetime.
const MOMENTS: u64 = 1_000_000_000;

/// Reads the number at the begin: `100;w=21600`, `100, 100;w=60`.
fn count(value: &str) -> Option<u64> {
    value.split([';', ',']).next()?.trim().parse().ok()
}

/// Reads the window, `w=` in seconds.
fn window(value: &str) -> Option<Duration> {
    let seconds = value
        .split([';', ','])
        .find_map(|part| part.trim().strip_prefix("w="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn until(reset: u64, now: Timestamp) -> Duration {
    if reset < MOMENTS {
        return Duration::from_secs(reset);
    }
    let now = u64::try_from(now.as_second()).unwrap_or_default();
    Duration::from_secs(reset.saturating_sub(now))
}

fn in_words(window: Duration) -> String {
    let seconds = window.as_secs();
    match seconds {
        3600.. if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        60.. if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(headers: &[(&'static str, &str)]) -> Option<Quota> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Quota::of(&headers, Timestamp::from_second(1_700_000_000).unwrap())
    }

    #[test]
    fn docker_hub() {
        let quota = quota(&[
            ("ratelimit-limit", "100;w=21600"),
            ("ratelimit-remaining", "10;w=21600"),
            ("docker-ratelimit-source", "192.0.2.7"),
        ])
        .unwrap();
        assert_eq!((quota.limit, quota.remaining), (Some(100), Some(10)));
        assert_eq!(quota.window, Some(Duration::from_secs(21_600)));
        assert_eq!(quota.source.as_deref(), Some("192.0.2.7"));
        assert!(quota.is_low());
        assert_eq!(quota.to_string(), "10 of 100 requests left in 6 h");
    }

    #[test]
    fn gitlab_and_the_draft_of_the_ietf() {
        let gitlab = quota(&[
            ("ratelimit-limit", "1000"),
            ("ratelimit-remaining", "999"),
            ("ratelimit-reset", "1700000015"),
        ])
        .unwrap();
        assert_eq!(gitlab.resets_after, Some(Duration::from_secs(15)));
        assert!(!gitlab.is_low());
        assert_eq!(gitlab.to_string(), "999 of 1000 requests left");
        let draft = quota(&[
            ("ratelimit-limit", "10, 10;w=60"),
            ("ratelimit-remaining", "0"),
            ("ratelimit-reset", "50"),
        ])
        .unwrap();
        assert_eq!(draft.resets_after, Some(Duration::from_secs(50)));
        assert_eq!(draft.to_string(), "0 of 10 requests left in 1 min");
    }

    #[test]
    fn headers_that_say_nothing() {
        assert_eq!(quota(&[]), None);
        assert_eq!(quota(&[("ratelimit-limit", "many")]), None);
        assert_eq!(quota(&[("docker-ratelimit-source", "192.0.2.7")]), None);
        assert_eq!(quota(&[("ratelimit-reset", "1")]), None);
    }
}
