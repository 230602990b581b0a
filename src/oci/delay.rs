//! How long a registry asks to wait, in each of the ways in which registries say it.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// Reads `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
///
/// A date is compared with the answer's own `Date`, so that a wrong clock here does no harm.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()).min(LONGEST));
    }
    let then = date(text)?;
    // A date in the past asks for no pause.
    let wait = Duration::try_from(then.duration_since(server_time(headers, now)));
    Some(wait.unwrap_or_default().min(LONGEST))
}

/// Returns the time on the server's own clock, or ours if it tells none.
pub(super) fn server_time(headers: &HeaderMap, now: Timestamp) -> Timestamp {
    let told = headers
        .get(DATE)
        .and_then(|value| date(value.to_str().ok()?));
    told.unwrap_or(now)
}

/// Finds the delay that GHCR puts into words: `retry-after: 333.939671ms`, in Go's notation.
pub(super) fn delay_in_words(message: &str) -> Option<Duration> {
    let lower = message.to_lowercase();
    let (_, rest) = lower.split_once("retry-after:")?;
    let rest = rest.trim_start();
    let end = rest
        .find(|c: char| c.is_whitespace() || c == ',' || c == ';')
        .unwrap_or(rest.len());
    go_duration(rest[..end].trim_end_matches(['.', '"', '\''])).map(|wait| wait.min(LONGEST))
}

/// Longer ones are never waited for anyway, and clocks have an end that additions must not reach.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads a duration as Go prints it, for instance `1m0.5s` or `17.2µs`; a bare number is no such.
fn go_duration(mut text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = text[..number_end].parse().ok()?;
        text = &text[number_end..];
        let unit_end = text
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(text.len());
        let scale = match &text[..unit_end] {
            "ns" => 1e-9,
            // The micro sign, the Greek letter, and what people type.
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number * scale).ok()?;
        total = total.checked_add(part)?;
        text = &text[unit_end..];
    }
    Some(total)
}

/// Reads a date of HTTP, the two obsolete forms of which nobody sends any more.
fn date(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(retry: &str, date: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        headers
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
    fn words_of_ghcr() {
        let wait = |text: &str| delay_in_words(text);
        for (text, micros) in [
            (
                "toomanyrequests: retry-after: 333.939671ms, allowed: 44000/minute",
                333_939,
            ),
            ("retry-after: 3.5ms", 3_500),
            ("Retry-After: 1m0.5s", 60_500_000),
            ("retry-after: 17µs", 17),
            ("retry-after: 17μs", 17),
            ("retry-after: 17us; x", 17),
            ("retry-after: 1h2m3s.", 3_723_000_000),
            ("retry-after: 2s", 2_000_000),
            ("retry-after:950ns", 0),
        ] {
            assert_eq!(
                wait(text).map(|wait| wait.as_micros()),
                Some(micros),
                "{text}"
            );
        }
        for text in [
            "retry-after: -2s",
            "retry-after: 1e999h",
            "retry-after: 5",
            "retry-after: 5 s",
            "retry-after: ",
            "retry-after: soon",
            "retry-after: 1.2.3s",
            "retry-after: 99999999999999999999h",
            "wait 3s",
        ] {
            assert_eq!(wait(text), None, "{text}");
        }
    }

    #[test]
    fn ages_are_cut() {
        let now = Timestamp::UNIX_EPOCH;
        let wait = |retry: &str| retry_after(&headers(retry, None), now);
        assert_eq!(wait("4294967295"), Some(LONGEST));
        assert_eq!(wait("Thu, 31 Dec 9998 23:59:59 GMT"), Some(LONGEST));
        assert_eq!(
            delay_in_words("retry-after: 5000000000000000h"),
            Some(LONGEST)
        );
    }

    proptest! {
        #[test]
        fn no_words_are_too_strange(text in ".{0,60}") {
            let _ = delay_in_words(&text);
            let _ = delay_in_words(&format!("retry-after:{text}"));
        }
    }
}
