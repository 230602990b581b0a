//! The HTTP probe: one request, and what its answer should be.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::BytesMut;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::TIMEOUT;
use super::answer::Answer;
use super::expect::{BodyTest, Statuses};
use super::json::JsonTest;
use super::phrase::{bare, excerpt};
use super::redirect::{Hop, MOST, Redirects};
use crate::gate::Value;
use crate::net;

/// What an HTTP probe asks and expects, as it stands in the document.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The method.
    pub method: Method,
    /// Where to; user info becomes an `Authorization` header.
    pub url: Url,
    /// Headers to send. Those whose value is marked as sensitive are secrets: they are never
    /// shown, and not sent to another host.
    pub headers: HeaderMap,
    /// The statuses that count as good.
    pub status: Statuses,
    /// What must be in the body.
    pub body: BodyTest,
    /// What must be at places in a JSON body.
    pub json: Vec<JsonTest>,
    /// What to do with a redirect.
    pub redirects: Redirects,
    /// The most time for everything together, redirects and body included.
    pub timeout: Duration,
    /// The most bytes of a body that are read, and only if something is asked of it.
    pub max_body: usize,
}

impl HttpSettings {
    /// Returns a `GET` request that any `2xx` satisfies.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            status: Statuses::default(),
            body: BodyTest::default(),
            json: Vec::new(),
            redirects: Redirects::default(),
            timeout: TIMEOUT,
            max_body: 64 * 1024,
        }
    }
}

/// An HTTP request and what its answer should be.
///
/// Every question opens a connection of its own, as a new client would: a connection that is kept
/// open stays with one backend, and would go on praising it when the others are gone.
#[derive(Clone, Debug)]
pub struct HttpProbe {
    settings: HttpSettings,
    endpoint: (String, u16),
}

impl HttpProbe {
    /// Checks the settings.
    ///
    /// # Errors
    /// The first reason why the probe could never be good.
    pub fn try_new(mut settings: HttpSettings) -> Result<Self, InvalidProbe> {
        if !matches!(settings.url.scheme(), "http" | "https") {
            return Err(InvalidProbe::Scheme {
                scheme: settings.url.scheme().to_owned(),
            });
        }
        let host = settings.url.host_str().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = settings.url.port_or_known_default().unwrap_or_default();
        if settings.timeout.is_zero() {
            return Err(InvalidProbe::NoTime);
        }
        let asks_body = !settings.body.is_empty() || !settings.json.is_empty();
        if asks_body && settings.method == Method::HEAD {
            return Err(InvalidProbe::HeadWithBody);
        }
        if asks_body && settings.max_body == 0 {
            return Err(InvalidProbe::NoBody);
        }
        move_user_info(&mut settings);
        settings.url.set_fragment(None);
        Ok(Self {
            settings,
            endpoint: (host, port),
        })
    }

    /// Asks once.
    pub async fn ask(&self, client: &net::Client) -> Answer {
        let begun = Instant::now();
        let deadline = begun + self.settings.timeout;
        // The client's own limits end at the same moment and know what was going on then; this
        // one holds if they add up to more.
        let exchange = timeout_at(deadline + GRACE, self.exchange(client, deadline)).await;
        let took = begun.elapsed();
        match exchange {
            Ok(Ok(seen)) => self.answer(&seen, took),
            Ok(Err(error)) => Answer::of_error(&error, took),
            Err(_) => {
                let (host, port) = &self.endpoint;
                let head = format!("no whole answer from {host}:{port}");
                Answer::new(&head, "", Value::Bad, took)
            }
        }
    }

    pub(super) fn endpoint(&self) -> (String, u16) {
        self.endpoint.clone()
    }

    pub(super) fn question(&self) -> String {
        format!(
            "{} {}",
            self.settings.method,
            net::redact(&self.settings.url)
        )
    }

    async fn exchange(&self, client: &net::Client, deadline: Instant) -> Result<Seen, net::Error> {
        let mut hop = Hop {
            method: self.settings.method.clone(),
            url: self.settings.url.clone(),
            headers: self.settings.headers.clone(),
        };
        let mut hops = 0;
        loop {
            let response = client.send(request(&hop, deadline)).await?;
            let follows = self.settings.redirects == Redirects::Follow;
            let next = follows
                .then(|| hop.next(response.status, &response.headers))
                .flatten();
            let dead_end = match next {
                Some(Ok(next)) if hops < MOST => {
                    hop = next;
                    hops += 1;
                    continue;
                }
                Some(Ok(next)) => {
                    let to = bare(&net::redact(&next.url));
                    Some(format!(", more than {MOST} redirects, the last to {to}"))
                }
                Some(Err(why)) => Some(format!(", redirects {why}")),
                None => None,
            };
            let (status, timing) = (response.status, response.timing);
            let wanted = dead_end.is_none() && self.settings.status.contain(status);
            let body = if wanted && self.asks_body() {
                self.read(response).await?
            } else {
                Body::Unread
            };
            return Ok(Seen {
                status,
                hops,
                dead_end,
                body,
                timing,
            });
        }
    }

    fn asks_body(&self) -> bool {
        !self.settings.body.is_empty() || !self.settings.json.is_empty()
    }

    async fn read(&self, mut response: net::Response) -> Result<Body, net::Error> {
        if let Some(encoding) = response
            .headers
            .get(CONTENT_ENCODING)
            .filter(|it| *it != "identity")
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            return Ok(Body::Encoded(bare(&encoding)));
        }
        let most = self.settings.max_body;
        let mut body = BytesMut::new();
        while let Some(part) = response.body.chunk().await? {
            let room = most - body.len();
            body.extend_from_slice(&part[..part.len().min(room)]);
            if part.len() > room {
                return Ok(Body::Cut(text(&body)));
            }
        }
        Ok(Body::Whole(text(&body)))
    }

    fn answer(&self, seen: &Seen, took: Duration) -> Answer {
        let head = seen.head();
        let answer =
            |tail: &str, as_value| Answer::new(&head, tail, as_value, took).timed(seen.timing);
        if let Some(why) = &seen.dead_end {
            return answer(why, Value::Bad);
        }
        if !self.settings.status.contain(seen.status) {
            return answer(&format!(", expected {}", self.settings.status), Value::Bad);
        }
        match &seen.body {
            Body::Unread => answer("", |_| Value::Good),
            Body::Encoded(encoding) => {
                let tail =
                    format!(", but the body is encoded as `{encoding}`, which can't be read");
                answer(&tail, Value::Unknown)
            }
            Body::Whole(text) => match self.missing(text, true) {
                None => answer("", |_| Value::Good),
                Some(missing) => answer(&format!(", {missing}{}", self.begin(text)), Value::Bad),
            },
            Body::Cut(text) => match self.missing(text, false) {
                None => answer("", |_| Value::Good),
                Some(missing) => {
                    let most = self.settings.max_body;
                    let tail = format!(", {missing} in its first {most} bytes: raise `max-body`");
                    answer(&tail, Value::Unknown)
                }
            },
        }
    }

    /// Returns what is missing in the body, or in its begin.
    fn missing(&self, body: &str, whole: bool) -> Option<String> {
        let missing = self.settings.body.missing(body);
        if !whole && !self.settings.json.is_empty() {
            return missing.or_else(|| Some("no JSON ends".to_owned()));
        }
        missing.or_else(|| {
            self.settings
                .json
                .iter()
                .find_map(|test| test.missing(body))
        })
    }

    /// Returns how a body begins, if something was looked for in its text.
    fn begin(&self, body: &str) -> String {
        if self.settings.body.missing(body).is_none() {
            return String::new();
        }
        if body.trim().is_empty() {
            return ", is empty".to_owned();
        }
        format!(", begins with {}", excerpt(&self.mask(body)))
    }

    /// Blots out the probe's own secrets, which a debugging service may send back.
    fn mask(&self, body: &str) -> String {
        let secrets = self
            .settings
            .headers
            .values()
            .filter(|value| value.is_sensitive());
        let words = secrets
            .filter_map(|value| value.to_str().ok())
            .flat_map(str::split_whitespace);
        words
            .filter(|word| word.len() >= SHORTEST_SECRET)
            .fold(body.to_owned(), |body, word| body.replace(word, "***"))
    }
}

/// A reason why a probe could never be good.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidProbe {
    /// `HEAD` has no body.
    #[error("the answer to HEAD has no body to test")]
    HeadWithBody,
    /// No byte may be read.
    #[error("`max-body` is 0, but the body is tested")]
    NoBody,
    /// There is no time to answer.
    #[error("`timeout` is nought")]
    NoTime,
    /// The URL is of another kind.
    #[error("`{scheme}` is not http or https")]
    Scheme {
        /// The URL's scheme.
        scheme: String,
    },
}

impl InvalidProbe {
    /// Returns the edit that helps.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::HeadWithBody => "use GET, or remove `body` and `json`",
            Self::NoBody => "raise `max-body`, or remove `body` and `json`",
            Self::NoTime => "set `timeout` to 1s or more",
            Self::Scheme { .. } => "begin the URL with http:// or https://, or use a `tcp` probe",
        }
    }
}

/// How much later than the client's limits ours ends.
const GRACE: Duration = Duration::from_millis(20);

/// Shorter words are no secrets, and blotting them out would spoil the text.
const SHORTEST_SECRET: usize = 6;

/// What came back.
struct Seen {
    status: StatusCode,
    hops: usize,
    dead_end: Option<String>,
    body: Body,
    timing: net::Timing,
}

impl Seen {
    fn head(&self) -> String {
        let code = self.status.as_u16();
        let mut head = match self.status.canonical_reason() {
            Some(reason) => format!("{code} {reason}"),
            None => code.to_string(),
        };
        match self.hops {
            0 => {}
            1 => head.push_str(" after 1 redirect"),
            hops => head.push_str(&format!(" after {hops} redirects")),
        }
        head
    }
}

enum Body {
    /// The begin of a body over the limit.
    Cut(String),
    /// It has a content encoding.
    Encoded(String),
    /// Nothing is asked of it.
    Unread,
    /// All of it.
    Whole(String),
}

fn request(hop: &Hop, deadline: Instant) -> net::Request {
    let left = Some(deadline.saturating_duration_since(Instant::now()));
    let mut request = net::Request::new(hop.method.clone(), hop.url.clone());
    request.headers = hop.headers.clone();
    request
        .headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    request.timeouts = net::Timeouts {
        connect: left,
        first_byte: left,
        idle: left,
    };
    request
}

/// Makes user info the header that a browser would make of it.
fn move_user_info(settings: &mut HttpSettings) {
    let url = &mut settings.url;
    if url.username().is_empty() && url.password().is_none() {
        return;
    }
    let decode = |text: &str| percent_decoded(text);
    let pair = [
        decode(url.username()),
        b":".to_vec(),
        decode(url.password().unwrap_or_default()),
    ];
    let value = format!("Basic {}", BASE64_STANDARD.encode(pair.concat()));
    // Both succeed on a URL with a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if settings.headers.contains_key(AUTHORIZATION) {
        return;
    }
    if let Ok(mut value) = HeaderValue::from_str(&value) {
        value.set_sensitive(true);
        settings.headers.insert(AUTHORIZATION, value);
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    // `form_urlencoded` is at hand with `url`; a plus sign means a plus sign here.
    let escaped = text
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let pair = url::form_urlencoded::parse(escaped.as_bytes()).next();
    pair.map(|(name, _)| name.into_owned().into_bytes())
        .unwrap_or_default()
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
