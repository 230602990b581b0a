//! Requests and answers, and the reading of hyper's errors.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use hyper_util::client::legacy;
use url::{Position, Url};

use super::body::Body;
use super::error::{Endpoint, Error, Phase};
use super::outgoing::{Outgoing, Upload};
use super::placing::Sink;
use super::proxy;
use super::redact::{redact, redact_path};
use super::stream::{Facts, Forwarder};
use super::tls::{TlsInfo, refusal};

/// A request to send.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Where to; `http` or `https`. User info is not sent, the fragment neither.
    pub url: Url,
    /// Headers to send beside `Host`, `User-Agent` and `Content-Length`.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// A body that is too large for memory, in place of `body`.
    pub upload: Option<Upload>,
    /// Limits that replace the client's for this request.
    pub timeouts: Timeouts,
    /// Whether the URL's path is a secret that may not be shown, as a web hook's is.
    pub secret_path: bool,
    /// Where a launcher may write the body of the answer, read by [`Body::piece`](super::Body::piece).
    pub sink: Option<Sink>,
    /// Hears that the request has a connection, and where that leads: from then on it waits for
    /// the peer.
    pub on_connection: Option<OnConnection>,
}

/// A listener for the connection of a request.
pub type OnConnection = Arc<dyn Fn(Option<SocketAddr>) + Send + Sync>;

impl Request {
    /// Returns a request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            upload: None,
            timeouts: Timeouts::default(),
            secret_path: false,
            sink: None,
            on_connection: None,
        }
    }

    /// Returns a `GET` request.
    #[must_use]
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// Returns the request with one more header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Returns the request with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn shown_url(&self) -> String {
        if self.secret_path {
            redact_path(&self.url)
        } else {
            redact(&self.url)
        }
    }

    pub(super) fn endpoint(&self) -> Box<Endpoint> {
        let port = self.url.port_or_known_default().unwrap_or_default();
        Endpoint::new(self.url.host_str().unwrap_or_default(), port)
    }

    pub(super) fn into_http(self, shown: &str) -> Result<http::Request<Outgoing>, Error> {
        let invalid = |detail: String| Error::InvalidRequest {
            url: shown.to_owned(),
            detail,
        };
        if !matches!(self.url.scheme(), "http" | "https") {
            return Err(invalid(format!(
                "`{}` is not http or https",
                self.url.scheme()
            )));
        }
        let mut url = self.url;
        url.set_fragment(None);
        // Both succeed on every URL with a host, and these schemes have one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let uri: Uri = strict(&url)
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
        let body = match &self.upload {
            None => Outgoing::bytes(self.body),
            Some(upload) => upload
                .open()
                .map_err(|error| invalid(format!("its body can't be read: {error}")))?,
        };
        let mut request = http::Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        Ok(request)
    }
}

/// Returns a URL with nothing in its path and query that RFC 3986 does not allow there. The URLs of browsers
/// leave some of that as it is, and not all servers read it alike.
fn strict(url: &Url) -> String {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte);
    let mut text = url[..Position::BeforePath].to_owned();
    let rest = &url[Position::BeforePath..];
    for (at, byte) in rest.bytes().enumerate() {
        let is_escape = || {
            let digits = rest.as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        if allowed(byte) || byte == b'%' && is_escape() {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &self.shown_url())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body_bytes", &self.body.len())
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// Limits of one request; what is not set is as the client's [`Config`](super::Config) says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// The most time for name, TCP and TLS together.
    pub connect: Option<Duration>,
    /// The most time from the open connection to the head of the answer.
    pub first_byte: Option<Duration>,
    /// The most time between two parts of the body.
    pub idle: Option<Duration>,
}

/// An answer whose head is there and whose body arrives.
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// How long the parts took.
    pub timing: Timing,
    /// The address that answered.
    pub remote: Option<SocketAddr>,
    /// What TLS says of the peer, if it was TLS.
    pub tls: Option<TlsInfo>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Header values may be session cookies or signed URLs.
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("body", &self.body)
            .field("timing", &self.timing)
            .field("remote", &self.remote)
            .field("tls", &self.tls)
            .finish()
    }
}

/// How long the parts of a request took; nothing for parts that did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// The look-up of the name.
    pub dns: Option<Duration>,
    /// The TCP connection.
    pub tcp: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the request on the open connection to the head of the answer.
    pub first_byte: Option<Duration>,
    /// Whether the connection had served an earlier request.
    pub reused: bool,
}

impl Timing {
    pub(super) fn new(facts: Option<&Facts>, first_byte: Duration) -> Self {
        let first_byte = Some(first_byte);
        match facts {
            Some(facts) if facts.take_for_request() => Self {
                first_byte,
                reused: true,
                ..Self::default()
            },
            Some(facts) => Self {
                dns: facts.dns,
                tcp: Some(facts.tcp),
                tls: facts.tls.as_ref().map(|(duration, _)| *duration),
                first_byte,
                reused: false,
            },
            None => Self {
                first_byte,
                ..Self::default()
            },
        }
    }
}

/// Returns the id by which the server's support finds the request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    const NAMES: [&str; 7] = [
        "x-request-id",
        "x-github-request-id",
        "x-amzn-requestid",
        "x-amz-request-id",
        "x-ms-request-id",
        "x-ms-correlation-request-id",
        "x-correlation-id",
    ];
    // Enough for every scheme in use, and no way to flood a report.
    const LONGEST: usize = 128;
    let value = NAMES.iter().find_map(|name| headers.get(*name))?;
    value
        .to_str()
        .ok()
        .map(|id| id.chars().take(LONGEST).collect())
}

/// What a request was, once it is gone.
pub(super) struct Asked<'a> {
    pub(super) endpoint: Box<Endpoint>,
    /// The client certificate that the host is shown if it asks.
    pub(super) identity: Option<String>,
    pub(super) with_body: bool,
    /// The redacted URL.
    pub(super) url: &'a str,
}

/// Returns what an answer comes to that is a proxy's own, and not the host's.
pub(super) fn proxy_error(
    head: &http::response::Parts,
    forwarder: Option<&Forwarder>,
    endpoint: &Endpoint,
) -> Option<Error> {
    let Forwarder { name, login } = forwarder?;
    let named = |name: &str| head.headers.contains_key(name);
    let is_proxys = head.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        // A host may answer any of these as well; only what says that it is the proxy's own is.
        || matches!(head.status.as_u16(), 403 | 500..=504) && named("x-squid-error");
    let headers = head.headers.iter();
    let headers: Vec<_> = headers
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let fault = proxy::refusal(head.status.as_u16(), &headers, *login).filter(|_| is_proxys)?;
    Some(Error::Proxy {
        endpoint: Endpoint::new(&endpoint.host, endpoint.port),
        proxy: name.clone(),
        fault,
    })
}

/// Reads what hyper's client says when no answer came.
pub(super) fn send_error(error: &legacy::Error, facts: Option<&Facts>, asked: Asked<'_>) -> Error {
    let Asked {
        endpoint,
        identity,
        with_body,
        url,
    } = asked;
    if let Some(ours) = find::<Error>(error) {
        return ours.clone();
    }
    let endpoint = facts.map_or(endpoint, |facts| facts.endpoint.clone());
    if facts.is_some_and(Facts::is_tls_server) {
        return Error::ServerSpeaksTls { endpoint };
    }
    let alert = find::<rustls::Error>(error);
    if let Some(detail) = alert.and_then(|alert| refusal(alert, identity.is_some())) {
        return Error::ClientCertificate {
            endpoint,
            presented: identity,
            detail,
        };
    }
    let detail = deepest(error);
    match find::<hyper::Error>(error) {
        Some(hyper) if hyper.is_parse() => Error::Protocol { endpoint, detail },
        Some(hyper) if hyper.is_user() => Error::InvalidRequest {
            url: url.to_owned(),
            detail,
        },
        hyper => {
            let broken_pipe =
                find::<io::Error>(error).is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe);
            let aborted = hyper.is_some_and(hyper::Error::is_body_write_aborted);
            let phase = if with_body && (broken_pipe || aborted) {
                Phase::Send
            } else {
                Phase::FirstByte
            };
            Error::Closed {
                endpoint,
                phase,
                detail,
            }
        }
    }
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).find_map(|error| {
        // An input/output error hides the one that it was made of from the chain of causes.
        let inner = || error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
        error.downcast_ref().or_else(inner)
    })
}

/// Returns the words of the innermost cause, which are the ones that say something.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_a_uri_of_rfc_3986() {
        for (written, sent) in [
            ("http://a.example", "http://a.example/"),
            (
                "http://[::1]:80/a%2Fb/~?c=d;e,f&g=%20",
                "http://[::1]/a%2Fb/~?c=d;e,f&g=%20",
            ),
            (
                "http://a.example/|^x?f[a]={b}|`\\",
                "http://a.example/%7C%5Ex?f%5Ba%5D=%7Bb%7D%7C%60%5C",
            ),
            (
                "http://a.example/100%?%zz%4",
                "http://a.example/100%25?%25zz%254",
            ),
        ] {
            assert_eq!(strict(&written.parse().unwrap()), sent, "{written}");
        }
    }
}
