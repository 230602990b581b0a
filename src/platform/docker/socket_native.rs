//! HTTP/1.1 over a Unix socket, one connection a request.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Address, Body, Error, ErrorKind};

/// An answer whose head is there.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Incoming,
    address: Address,
}

/// Sends a request and returns the head of the answer.
pub(super) async fn send(
    address: &Address,
    method: Method,
    path: &str,
    body: Body,
) -> Result<Answer, Error> {
    let interrupted = |error: hyper::Error| failed(address, &error);
    let stream = timeout(CONNECT, UnixStream::connect(address.path()))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| unreachable_at(address, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(interrupted)?;
    // Its end is that of the answer's body.
    tokio::spawn(connection);
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(|_| ErrorKind::Interrupted {
        socket: address.path().to_owned(),
        reason: format!("`{path}` is no path"),
    })?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("docker"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    let answer = sender.send_request(request).await.map_err(interrupted)?;
    let (head, body) = answer.into_parts();
    Ok(Answer {
        status: head.status,
        body,
        address: address.clone(),
    })
}

impl Answer {
    /// Makes an error of every answer that is no success.
    pub(super) async fn checked(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        let status = self.status.as_u16();
        let text = self.text().await?;
        let parsed: Option<Value> = serde_json::from_str(&text).ok();
        let message = parsed.and_then(|value| value["message"].as_str().map(str::to_owned));
        let message = message.unwrap_or(text);
        Err(ErrorKind::Refused {
            status,
            message: shortened(&message),
        }
        .into())
    }

    /// Reads the whole body as JSON.
    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let socket = self.address.path().to_owned();
        let text = self.text().await?;
        serde_json::from_str(&text).map_err(|error| {
            ErrorKind::Interrupted {
                socket,
                reason: format!("its answer can't be read: {error}"),
            }
            .into()
        })
    }

    /// Reads the whole body.
    pub(super) async fn text(mut self) -> Result<String, Error> {
        let mut bytes = Vec::new();
        while let Some(part) = self.part(QUIET).await? {
            bytes.extend_from_slice(&part);
            if bytes.len() > LARGEST {
                return Err(ErrorKind::Interrupted {
                    socket: self.address.path().to_owned(),
                    reason: format!("its answer has more than {LARGEST} bytes"),
                }
                .into());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Follows a long work to its end: a JSON object for every step, and one with an error if it fails.
    pub(super) async fn follow(mut self) -> Result<(), Error> {
        let mut pending = Vec::new();
        let status = self.status.as_u16();
        loop {
            let part = self.part(WORK).await?;
            let ended = part.is_none();
            pending.extend_from_slice(&part.unwrap_or_default());
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                said(&line, status)?;
            }
            if ended {
                return said(&pending, status);
            }
            if pending.len() > LARGEST {
                // No engine says that much in one line; what it means is of no use.
                pending.clear();
            }
        }
    }

    async fn part(&mut self, patience: Duration) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = match timeout(patience, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(failed(&self.address, &error)),
                Err(_) => {
                    return Err(ErrorKind::Interrupted {
                        socket: self.address.path().to_owned(),
                        reason: format!("it has said nothing for {} s", patience.as_secs()),
                    }
                    .into());
                }
            };
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(match &mut *self {
            Self::Empty => None,
            Self::Pieces { archive, .. } => match archive.next() {
                Ok(piece) => piece.map(|piece| Ok(Frame::data(piece))),
                Err(reason) => Some(Err(ErrorKind::Archive { reason }.into())),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Pieces { length, .. } => SizeHint::with_exact(*length),
        }
    }
}

const CONNECT: Duration = Duration::from_secs(10);
/// How long an engine may take for a short answer. One that is busy unpacking is slow.
const QUIET: Duration = Duration::from_secs(120);
/// How long it may say nothing while it works: a large layer is unpacked without a word.
const WORK: Duration = Duration::from_secs(20 * 60);
const LARGEST: usize = 4 << 20;

fn said(line: &[u8], status: u16) -> Result<(), Error> {
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Ok(());
    };
    let nested = value["errorDetail"]["message"].as_str();
    match nested.or(value["error"].as_str()) {
        None => Ok(()),
        Some(message) => Err(ErrorKind::Refused {
            status,
            message: shortened(message),
        }
        .into()),
    }
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(500).collect()
}

fn failed(address: &Address, error: &hyper::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<Error>() {
            return ours.clone();
        }
        source = cause.source();
    }
    ErrorKind::Interrupted {
        socket: address.path().to_owned(),
        reason: error.to_string(),
    }
    .into()
}

fn unreachable_at(address: &Address, error: &io::Error) -> Error {
    let socket = address.path().to_owned();
    match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Forbidden { socket },
        _ => ErrorKind::Unreachable {
            socket,
            reason: error.to_string(),
        },
    }
    .into()
}
