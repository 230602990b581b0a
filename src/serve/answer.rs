//! Answers: from memory, or from a file piece by piece.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde_json::json;

/// An answer that is about to be sent.
pub(super) struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Content,
}

impl Reply {
    /// Makes an answer of bytes in memory.
    pub(super) fn bytes(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(CONTENT_TYPE, media_type.to_owned())],
            body: Content::Bytes(bytes.into()),
        }
    }

    /// Makes an answer of so many bytes of a file, from where it stands.
    pub(super) fn file(file: File, length: u64) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(CONTENT_TYPE, "application/octet-stream".into())],
            body: Content::File { file, left: length },
        }
    }

    /// Makes an error as the distribution spec writes it.
    pub(super) fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": message}]});
        let reply = Self::bytes("application/json", body.to_string()).status(status);
        match status {
            StatusCode::METHOD_NOT_ALLOWED => reply.header(ALLOW, "GET, HEAD"),
            _ => reply,
        }
    }

    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Makes the response to a request; that to `HEAD` says how long it would have been.
    pub(super) fn finish(self, method: &Method) -> Response<Content> {
        let length = self.body.length();
        let body = match *method {
            Method::HEAD => Content::Bytes(Bytes::new()),
            _ => self.body,
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(VERSION, HeaderValue::from_static("registry/2.0"));
        for (name, value) in self.headers {
            // Values are media types, digests and numbers that were parsed before.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

const VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The body of an answer.
pub(super) enum Content {
    Bytes(Bytes),
    File { file: File, left: u64 },
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { left, .. } => *left,
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => None,
            Self::Bytes(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Self::File { left: 0, .. } => None,
            Self::File { file, left } => {
                let wanted = (*left).min(PIECE);
                let mut piece = Vec::with_capacity(wanted as usize);
                match file.take(wanted).read_to_end(&mut piece) {
                    // A file that was cut: the client must not take what came for all of it.
                    Ok(0) => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                    Ok(count) => {
                        *left -= count as u64;
                        Some(Ok(Frame::data(piece.into())))
                    }
                    Err(error) => Some(Err(error)),
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}

const PIECE: u64 = 256 << 10;
