//! An answer to a request, and its body within bounds.

use bytes::Bytes;
use http::StatusCode;
use http::header::LOCATION;

use super::challenge::Challenge;
use super::error::{Error, ErrorKind};
use crate::net;

/// An answer, and who gave it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: net::Response,
    /// The host, with its port, that answered in the end.
    pub(super) host: String,
    /// The redacted URL that was asked in the end.
    pub(super) url: String,
    /// Whether that is another origin than the one that was asked first.
    pub(super) elsewhere: bool,
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status
    }

    pub(super) fn challenges(&self) -> Result<Vec<Challenge>, Error> {
        Challenge::of(&self.response.headers).map_err(|error| {
            ErrorKind::Malformed {
                host: self.host.clone(),
                url: self.url.clone(),
                reason: error.to_string(),
            }
            .into()
        })
    }

    /// Returns the next part of the body.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.body.chunk().await.map_err(|source| {
            ErrorKind::Unreachable {
                host: self.host.clone(),
                source,
            }
            .into()
        })
    }

    /// Returns the whole body.
    pub(super) async fn bytes(self, limit: usize, what: &str) -> Result<Bytes, Error> {
        let host = self.host;
        self.response.body.bytes(limit).await.map_err(|source| {
            match source {
                net::Error::BodyTooLarge { limit, .. } => ErrorKind::TooLarge {
                    what: what.to_owned(),
                    limit,
                },
                source => ErrorKind::Unreachable { host, source },
            }
            .into()
        })
    }

    /// Returns the beginning of the body, or nothing if it does not come: for errors, where the
    /// status says enough.
    pub(super) async fn text(mut self, limit: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while let Ok(Some(part)) = self.response.body.chunk().await {
            let room = limit - text.len();
            text.extend_from_slice(&part[..part.len().min(room)]);
            if part.len() > room {
                break;
            }
        }
        text
    }

    pub(super) fn redirect(&self) -> Option<String> {
        if !matches!(self.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let location = self.response.headers.get(LOCATION)?;
        Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
    }
}
