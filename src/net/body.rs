//! The body of an answer, part by part.

use std::error::Error as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;

use super::error::{Endpoint, Error, Phase};
use super::log::Entry;
use super::placing::{Piece, Records};

/// A body that arrives; drop it to stop the transfer.
pub struct Body {
    incoming: Incoming,
    url: String,
    endpoint: Box<Endpoint>,
    entry: Entry,
    idle_timeout: Duration,
    expected: Option<u64>,
    received: u64,
    failed: Option<Error>,
    /// What a launcher tells of the body that it writes into a file.
    records: Option<Records>,
}

impl Body {
    pub(super) fn new(
        incoming: Incoming,
        url: String,
        endpoint: Box<Endpoint>,
        entry: Entry,
        idle_timeout: Duration,
    ) -> Self {
        let expected = incoming.size_hint().exact();
        Self {
            incoming,
            url,
            endpoint,
            entry,
            idle_timeout,
            expected,
            received: 0,
            failed: None,
            records: None,
        }
    }

    /// Makes it one that a launcher writes into a file.
    pub(super) fn placed(mut self, records: Option<Records>) -> Self {
        if let Some(records) = records {
            self.expected = Some(records.length());
            self.records = Some(records);
        }
        self
    }

    /// Returns the body's length as the server announced it; zero after `HEAD`.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Returns how many bytes have been read.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Sets the most time between two parts from now on.
    pub fn set_idle_timeout(&mut self, timeout: Duration) {
        self.idle_timeout = timeout;
    }

    /// Returns the next part, or nothing at the end; parts are as they arrive, never empty, and
    /// never decompressed.
    ///
    /// # Errors
    /// A body that breaks off, or a wait longer than the idle timeout. An error is final: it comes
    /// again on each later call, never an end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.piece().await? {
            Some(Piece::Here(bytes)) => Ok(Some(bytes)),
            // Who asks for that asks for pieces.
            Some(Piece::Placed(_)) => Err(self.broken("its bytes were written into a file")),
            None => Ok(None),
        }
    }

    /// Returns the next part as [`chunk`](Self::chunk) does, where the launcher may have written it into the sink
    /// that the request named.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub async fn piece(&mut self) -> Result<Option<Piece>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.next().await;
        if let Err(error) = &result {
            self.entry
                .update(|record| record.error = Some(error.to_string()));
            self.failed = Some(error.clone());
        }
        result
    }

    /// Returns the whole body.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk), and a body over `limit` bytes, of which no more than that is
    /// held.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let over = |body: &Self| Error::BodyTooLarge {
            url: body.url.clone(),
            limit: limit as u64,
            expected: body.expected,
        };
        if self.expected.is_some_and(|length| length > limit as u64) {
            return Err(over(&self));
        }
        // One part is the usual case, and needs no copy.
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        if first.len() > limit {
            return Err(over(&self));
        }
        let mut all = BytesMut::from(first);
        while let Some(part) = self.chunk().await? {
            if part.len() > limit - all.len() {
                return Err(over(&self));
            }
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }

    async fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if let Some(piece) = self.records.as_mut().and_then(Records::next) {
                self.received += piece.size();
                self.entry.received(piece.size());
                return Ok(Some(piece));
            }
            let frame = match timeout(self.idle_timeout, self.incoming.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(self.interrupted(&error)),
                Ok(None) => {
                    let records = self.records.as_ref();
                    return match records.is_none_or(Records::is_complete) {
                        true => Ok(None),
                        false => Err(self.broken("it ended too early")),
                    };
                }
                Err(_) => {
                    return Err(Error::Timeout {
                        endpoint: self.endpoint.clone(),
                        phase: Phase::Body,
                        after: self.idle_timeout,
                    });
                }
            };
            // Trailers carry nothing that is asked for.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.is_empty() {
                continue;
            }
            match &mut self.records {
                Some(records) => records.push(data),
                None => {
                    self.received += data.len() as u64;
                    self.entry.received(data.len() as u64);
                    return Ok(Some(data.into()));
                }
            }
        }
    }

    fn interrupted(&self, error: &hyper::Error) -> Error {
        let detail = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        self.broken(&detail)
    }

    fn broken(&self, detail: &str) -> Error {
        Error::BodyInterrupted {
            url: self.url.clone(),
            endpoint: self.endpoint.clone(),
            received: self.received,
            expected: self.expected,
            detail: detail.to_owned(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("url", &self.url)
            .field("expected", &self.expected)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
