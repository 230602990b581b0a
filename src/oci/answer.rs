//! An answer to a request, and its body within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::LOCATION;
use tokio::time::timeout;

use super::challenge::Challenge;
use super::error::{Error, ErrorKind};
use super::hedge::Pulse;
use super::traffic::Slot;
use crate::net;

/// An answer, and who gave it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: net::Response,
    /// The host, with its port, that answered in the end.
    pub(super) host: String,
    /// The redacted URL that was asked in the end.
    pub(super) url: String,
    /// What was asked for, in words.
    pub(super) what: String,
    /// Whether a redirect led there.
    pub(super) redirected: bool,
    /// Whether that is another origin than the one that was asked first.
    pub(super) elsewhere: bool,
    /// Held until the body was read or is dropped.
    pub(super) slot: Option<Slot>,
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
        let part = self.response.body.chunk().await;
        part.map_err(|source| self.broken(source))
    }

    /// Returns the next part of the body, which the launcher may have written into the sink of the call.
    pub(super) async fn piece(&mut self) -> Result<Option<net::Piece>, Error> {
        let piece = self.response.body.piece().await;
        piece.map_err(|source| self.broken(source))
    }

    fn broken(&self, source: net::Error) -> Error {
        let host = self.host.clone();
        Error::from(ErrorKind::Unreachable { host, source })
            .about(&self.what)
            .at_offset(self.response.body.received())
    }

    /// Returns the whole body; each part of it is a beat.
    pub(super) async fn bytes(
        mut self,
        limit: usize,
        what: &str,
        pulse: &Pulse,
    ) -> Result<Bytes, Error> {
        let too_large = || ErrorKind::TooLarge {
            what: what.to_owned(),
            limit: limit as u64,
        };
        let announced = self.response.body.expected();
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large().into());
        }
        let mut all = BytesMut::new();
        while let Some(part) = self.chunk().await? {
            pulse.beat();
            if part.len() > limit - all.len() {
                return Err(too_large().into());
            }
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }

    /// Returns the beginning of the body, or nothing if it does not come soon: for errors, where
    /// the status says enough.
    pub(super) async fn text(mut self, limit: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let read = async {
            while let Ok(Some(part)) = self.response.body.chunk().await {
                let room = limit - text.len();
                text.extend_from_slice(&part[..part.len().min(room)]);
                if part.len() > room {
                    break;
                }
            }
        };
        let _ = timeout(TEXT_WITHIN, read).await;
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

const TEXT_WITHIN: Duration = Duration::from_secs(5);
