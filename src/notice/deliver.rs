//! Delivery: a few attempts within a budget of time.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use tokio::time::{Instant, sleep, timeout};

use super::hook::HookUrl;
use crate::net;

/// How a delivery ended. It is no error: a notice never decides how a run ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered {
        /// How many attempts that took.
        attempts: u32,
    },
    /// It was not taken, or nobody knows whether it was.
    GaveUp {
        /// How many attempts were made.
        attempts: u32,
        /// What the receiver or the network said last.
        reason: String,
        /// The edit or the look that helps.
        hint: Option<String>,
    },
}

/// How long and how often a delivery is tried.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// The most attempts.
    pub attempts: u32,
    /// The most time for everything together, pauses included.
    pub budget: Duration,
    /// The most time for one attempt.
    pub attempt: Duration,
    /// The pause after the first attempt; each later one is four times as long.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 3,
            budget: Duration::from_secs(30),
            attempt: Duration::from_secs(10),
            pause: Duration::from_secs(1),
        }
    }
}

/// What one attempt came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Attempt {
    /// Another attempt would end the same way.
    Refused {
        reason: String,
        hint: Option<String>,
    },
    /// Another attempt may succeed, but not before this time is over.
    Retry {
        reason: String,
        hint: Option<String>,
        after: Option<Duration>,
    },
    /// The receiver took it.
    Taken,
}

/// An answer of a receiver.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The begin of the body on one line; nothing if it could not be read.
    pub(super) body: Option<String>,
}

/// Posts a JSON body until it is taken, refused, or patience is over.
///
/// `headers` are made anew for each attempt; `read` says what an answer means.
pub(super) async fn post(
    client: &net::Client,
    url: &HookUrl,
    patience: Patience,
    body: Bytes,
    headers: impl Fn() -> HeaderMap,
    read: impl Fn(&Reply) -> Attempt,
) -> Outcome {
    let (body, headers, read) = (&body, &headers, &read);
    // A closure that returns a future, not an async closure: the future of the latter is not
    // known to be `Send` where it borrows from outside.
    retrying(patience, |time| async move {
        let limit = Some(time);
        let mut request = net::Request::new(Method::POST, url.secret().clone()).body(body.clone());
        request.secret_path = true;
        request.headers = headers();
        request
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.timeouts = net::Timeouts {
            connect: limit,
            first_byte: limit,
            idle: limit,
        };
        match client.send(request).await {
            Ok(response) => read(&reply(url, response).await),
            Err(error) if error.is_retryable() => Attempt::Retry {
                reason: error.to_string(),
                hint: error.hint(),
                after: None,
            },
            Err(error) => Attempt::Refused {
                reason: error.to_string(),
                hint: error.hint(),
            },
        }
    })
    .await
}

/// Reads an answer by its status alone.
pub(super) fn by_status(reply: &Reply) -> Attempt {
    let Reply {
        status,
        headers,
        body,
    } = reply;
    if status.is_success() {
        return Attempt::Taken;
    }
    let reason = match body.as_deref().filter(|body| !body.is_empty()) {
        Some(body) => format!("answered {status}: {body}"),
        None => format!("answered {status}"),
    };
    if matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504) {
        let hint =
            Some("the receiver has trouble, or too many requests: try again later".to_owned());
        return Attempt::Retry {
            reason,
            hint,
            after: retry_after(headers),
        };
    }
    let hint = match status.as_u16() {
        300..=399 if headers.contains_key(LOCATION) => {
            "redirects are not followed, since the URL is a secret: use the URL that it leads to"
        }
        401 | 403 => "check the secret: the receiver does not accept it",
        404 | 410 => {
            "the hook is gone, or its URL is cut short: make a new one, or check the secret"
        }
        413 => "the receiver takes no notice of this size",
        _ => "look up the receiver's answer in its documentation",
    };
    Attempt::Refused {
        reason,
        hint: Some(hint.to_owned()),
    }
}

async fn retrying<F: Future<Output = Attempt>>(
    patience: Patience,
    mut attempt: impl FnMut(Duration) -> F,
) -> Outcome {
    let begun = Instant::now();
    let left = || patience.budget.saturating_sub(begun.elapsed());
    let mut pause = patience.pause;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let time = left().min(patience.attempt);
        let (reason, hint, after) = match timeout(time, attempt(time)).await {
            Ok(Attempt::Taken) => return Outcome::Delivered { attempts },
            Ok(Attempt::Refused { reason, hint }) => {
                return Outcome::GaveUp {
                    attempts,
                    reason,
                    hint,
                };
            }
            Ok(Attempt::Retry {
                reason,
                hint,
                after,
            }) => (reason, hint, after),
            Err(_) => (format!("no answer within {}", seconds(time)), None, None),
        };
        if attempts >= patience.attempts {
            return Outcome::GaveUp {
                attempts,
                reason,
                hint,
            };
        }
        let wait = after.unwrap_or_default().max(pause);
        if wait >= left() {
            let reason = format!(
                "{reason}; the next attempt would be in {}, after the {} that a notice may take",
                seconds(wait),
                seconds(patience.budget)
            );
            return Outcome::GaveUp {
                attempts,
                reason,
                hint,
            };
        }
        sleep(wait).await;
        pause = pause.saturating_mul(4);
    }
}

async fn reply(url: &HookUrl, mut response: net::Response) -> Reply {
    let mut bytes = Vec::new();
    let mut whole = true;
    while bytes.len() < READ {
        match response.body.chunk().await {
            Ok(Some(part)) => bytes.extend_from_slice(&part),
            Ok(None) => break,
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let body = whole.then(|| one_line(&url.mask(&text)));
    Reply {
        status: response.status,
        headers: response.headers,
        body,
    }
}

/// Returns how long the receiver asks to wait ([RFC 9110, section
/// 10.2.3](https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3)). A date is compared with the
/// answer's own, so that this machine's clock does not matter.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date =
        |text: &str| -> Option<Timestamp> { DateTimeParser::new().parse_timestamp(text).ok() };
    let sent = date(headers.get(DATE)?.to_str().ok()?)?;
    Duration::try_from(date(value)?.duration_since(sent)).ok()
}

/// Returns the begin of a stranger's text on one line, with nothing in it that is not printed.
fn one_line(text: &str) -> String {
    let printed = text.trim().chars().map(|letter| match letter.is_control() {
        true => ' ',
        false => letter,
    });
    let mut line: String = printed.take(SHOWN + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(end);
        line.push('…');
    }
    line
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// The most bytes of an answer that are read, give or take one part.
const READ: usize = 4096;

/// The most characters of an answer that are shown.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(after: Option<u64>) -> Attempt {
        let after = after.map(Duration::from_secs);
        Attempt::Retry {
            reason: "answered 503".to_owned(),
            hint: None,
            after,
        }
    }

    /// Plays a script of attempts, and returns the outcome and the seconds that it took.
    async fn play(script: &[Attempt]) -> (Outcome, u64) {
        let begun = Instant::now();
        let mut script = script.iter().cloned();
        let outcome = retrying(Patience::default(), |_| {
            std::future::ready(script.next().expect("an attempt"))
        });
        let outcome = outcome.await;
        (outcome, begun.elapsed().as_secs())
    }

    fn gave_up(attempts: u32, reason: &str) -> Outcome {
        Outcome::GaveUp {
            attempts,
            reason: reason.to_owned(),
            hint: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        assert_eq!(
            play(&[Attempt::Taken]).await,
            (Outcome::Delivered { attempts: 1 }, 0)
        );
        let third = [retry(None), retry(None), Attempt::Taken];
        assert_eq!(play(&third).await, (Outcome::Delivered { attempts: 3 }, 5));
        let never = [retry(None), retry(None), retry(None)];
        assert_eq!(play(&never).await, (gave_up(3, "answered 503"), 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let refused = Attempt::Refused {
            reason: "no_service".to_owned(),
            hint: None,
        };
        assert_eq!(
            play(&[retry(None), refused]).await,
            (gave_up(2, "no_service"), 1)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_receiver_says_how_long_to_wait() {
        let patient = [retry(Some(12)), Attempt::Taken];
        assert_eq!(
            play(&patient).await,
            (Outcome::Delivered { attempts: 2 }, 12)
        );
        // Never sooner than our own pause.
        let eager = [retry(Some(0)), retry(Some(0)), Attempt::Taken];
        assert_eq!(play(&eager).await, (Outcome::Delivered { attempts: 3 }, 5));
        let reason = "answered 503; the next attempt would be in 120 s, after the 30 s that a notice may take";
        assert_eq!(play(&[retry(Some(120))]).await, (gave_up(1, reason), 0));
        let second = [retry(Some(20)), retry(Some(20))];
        let (outcome, took) = play(&second).await;
        assert!(matches!(outcome, Outcome::GaveUp { attempts: 2, .. }) && took == 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_hangs_costs_the_budget_at_most() {
        let begun = Instant::now();
        let outcome = retrying(Patience::default(), |_| std::future::pending()).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
        // 10 s, a pause of 1, 10 s, a pause of 4, and what is left.
        assert_eq!(outcome, gave_up(3, "no answer within 5 s"));
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        let read = |after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            retry_after(&headers).map(|time| time.as_secs())
        };
        let now = Some("Sun, 06 Nov 1994 08:49:30 GMT");
        assert_eq!(read("7", None), Some(7));
        assert_eq!(read(" 0 ", None), Some(0));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(7));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT", None), None);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:00 GMT", now), None);
        for nonsense in ["-1", "soon", "1e9", "99999999999999999999999"] {
            assert_eq!(read(nonsense, now), None);
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn statuses_are_sorted() {
        let read = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            by_status(&Reply {
                status,
                headers: HeaderMap::new(),
                body: Some("why".to_owned()),
            })
        };
        for code in [200, 201, 202, 204] {
            assert_eq!(read(code), Attempt::Taken);
        }
        for code in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(read(code), Attempt::Retry { .. }), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 410, 413, 422, 501] {
            assert!(
                matches!(read(code), Attempt::Refused { hint: Some(_), .. }),
                "{code}"
            );
        }
        let Attempt::Refused { reason, .. } = read(404) else {
            panic!("refused")
        };
        assert_eq!(reason, "answered 404 Not Found: why");
    }

    #[test]
    fn answers_are_one_tame_line() {
        assert_eq!(one_line("  a\r\nb\u{1b}[2J "), "a  b [2J");
        assert_eq!(one_line(&"x".repeat(500)), format!("{}…", "x".repeat(200)));
        assert_eq!(one_line(&"é".repeat(200)), "é".repeat(200));
    }
}
