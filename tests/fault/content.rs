//! Answers that need no server behind.

use std::ops::Range;

use bytes::Bytes;

use super::exchange::Seen;

/// An answer.
#[derive(Clone, Debug)]
pub struct Content {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Content {
    /// Makes an answer with a status.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Makes an answer with status 200.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::new(200, body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Returns the part of it that a request asks for.
    pub(super) fn in_range(mut self, request: &Seen) -> Self {
        let Some(range) = request.header("range") else {
            return self;
        };
        if self.status != 200 || request.method != "GET" {
            return self;
        }
        let length = self.body.len() as u64;
        match parse(range, length) {
            Some(range) => {
                let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                self.status = 206;
                self.body = self.body.slice(range.start as usize..range.end as usize);
                self.header("Content-Range", &content_range)
            }
            None => Self::new(416, "").header("Content-Range", &format!("bytes */{length}")),
        }
    }
}

/// Reads the first range of a `Range` header; nothing if it lies outside of the content.
pub(super) fn parse(range: &str, length: u64) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(length)),
        (Ok(first), Err(_)) => (first, length),
        (Err(_), Ok(suffix)) => (length.saturating_sub(suffix), length),
        _ => return None,
    };
    (start < end).then_some(start..end)
}
