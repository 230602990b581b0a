//! A part of a blob: what a registry makes of a `Range`, believed as far as it proves itself.
//!
//! A registry may answer with the part, with another one, with the whole, or not at all (RFC 9110
//! section 14). What it says is compared with what was asked; whether the bytes are right is for
//! the digest to say, once all of them are there.

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::answer::Answer;
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::manifest::Descriptor;
use super::transport::Attempts;
use super::{Digest, Repository};

/// An answer to the question for a part of a blob.
#[derive(Debug)]
pub(crate) enum Answered<B> {
    /// Bytes come.
    Body(B),
    /// The registry, or what stands before it, has no sound answer to ranges.
    NoRanges,
}

/// Bytes that arrive; drop it to stop the transfer.
#[derive(Debug)]
pub(crate) struct Part {
    answer: Answer,
    digest: Digest,
    size: u64,
    covers: Range<u64>,
    /// The offset of the next byte.
    at: u64,
    whole: bool,
}

/// Counts the attempts at one part.
#[derive(Default)]
pub(crate) struct PartAttempts(Attempts);

impl Client {
    /// Asks once for a blob, or for a range of it.
    pub(crate) async fn part(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        range: Option<&Range<u64>>,
    ) -> Result<Answered<Part>, Error> {
        let mut call = self.blob_call(repository, blob)?;
        call.range = range.and_then(|range| {
            let last = range.end.saturating_sub(1);
            HeaderValue::from_str(&format!("bytes={}-{last}", range.start)).ok()
        });
        let answer = match self.transport.attempt(&call).await {
            // Some answer a range so that they don't answer without.
            Err(error) if range.is_some() && is_about_the_range(&error) => {
                return Ok(Answered::NoRanges);
            }
            answer => answer?,
        };
        refuse_encoding(&answer)?;
        let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
        let covers = match (range, partial) {
            (_, false) => {
                check_length(&answer, blob)?;
                0..blob.size
            }
            (Some(range), true) => match covered(&answer, range, blob.size) {
                Some(covers) => covers,
                None => return Ok(Answered::NoRanges),
            },
            (None, true) => {
                return Err(ErrorKind::Malformed {
                    host: answer.host,
                    url: answer.url,
                    reason: "it sends a part where the whole was asked for".into(),
                }
                .into());
            }
        };
        Ok(Answered::Body(Part {
            digest: blob.digest,
            size: blob.size,
            at: covers.start,
            covers,
            whole: !partial,
            answer,
        }))
    }

    /// Waits before the next attempt, or gives the error back if there is none.
    pub(crate) async fn pause(
        &self,
        attempts: &mut PartAttempts,
        error: Error,
    ) -> Result<(), Error> {
        self.transport.pause(&mut attempts.0, error).await
    }
}

impl Part {
    /// Returns the offsets of the bytes that come.
    pub(crate) fn covers(&self) -> &Range<u64> {
        &self.covers
    }

    /// Returns whether it is the whole blob, although a part of it may have been asked for.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Returns the host that sends it.
    pub(crate) fn host(&self) -> &str {
        &self.answer.host
    }

    /// Returns the next bytes, or nothing when all that are covered have come. Nothing is hashed.
    ///
    /// # Errors
    ///
    /// The transfer broke off, or the whole is longer than the descriptor says.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        // The end of the whole is waited for: only so more bytes than there should be are noticed.
        if self.at == self.covers.end && !self.whole {
            return Ok(None);
        }
        let Some(mut bytes) = self.answer.chunk().await? else {
            if self.at < self.covers.end {
                return Err(self.wrong_size());
            }
            return Ok(None);
        };
        let left = self.covers.end - self.at;
        if bytes.len() as u64 > left {
            if self.whole {
                self.at += bytes.len() as u64;
                return Err(self.wrong_size());
            }
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        }
        self.at += bytes.len() as u64;
        Ok(Some(bytes))
    }

    fn wrong_size(&self) -> Error {
        ErrorKind::SizeMismatch {
            host: self.answer.host.clone(),
            digest: self.digest,
            expected: self.size,
            found: self.at,
        }
        .into()
    }
}

impl Descriptor {
    /// Refuses a blob that is not the registry's own.
    pub(crate) fn refuse_foreign(&self) -> Result<(), Error> {
        if !self.is_foreign() {
            return Ok(());
        }
        let hosts = self.urls.iter().take(5).map(|url| host_only(url)).collect();
        Err(ErrorKind::ForeignLayer {
            digest: self.digest,
            hosts,
        }
        .into())
    }
}

/// Refuses bytes that are not the blob's own: nothing is ever decoded, since what is decoded has
/// another digest.
pub(super) fn refuse_encoding(answer: &Answer) -> Result<(), Error> {
    let encodings = answer.response.headers.get_all(CONTENT_ENCODING);
    let other = encodings.iter().find(|value| {
        let value = value.as_bytes().trim_ascii();
        !value.is_empty() && !value.eq_ignore_ascii_case(b"identity")
    });
    let Some(other) = other else {
        return Ok(());
    };
    let shown: String = String::from_utf8_lossy(other.as_bytes())
        .chars()
        .take(32)
        .collect();
    Err(ErrorKind::Malformed {
        host: answer.host.clone(),
        url: answer.url.clone(),
        reason: format!(
            "it encodes the bytes as `{shown}`, although they were asked for as they are"
        ),
    }
    .into())
}

/// Refuses a whole of another size than the descriptor's, before any of it has come.
pub(super) fn check_length(answer: &Answer, blob: &Descriptor) -> Result<(), Error> {
    match answer.response.body.expected() {
        Some(announced) if announced != blob.size => Err(ErrorKind::SizeMismatch {
            host: answer.host.clone(),
            digest: blob.digest,
            expected: blob.size,
            found: announced,
        }
        .into()),
        _ => Ok(()),
    }
}

/// Returns whether an answer may be due to the range that was asked for, and not to the blob.
fn is_about_the_range(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused { status, .. } if matches!(status, 400 | 405 | 416 | 501))
}

/// Returns what a 206 covers, or nothing if it is not the beginning of what was asked for.
fn covered(answer: &Answer, asked: &Range<u64>, size: u64) -> Option<Range<u64>> {
    let headers = &answer.response.headers;
    let several = value(headers, CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.trim_start().as_bytes();
        kind.get(..10)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
    });
    if several {
        return None;
    }
    let (found, total) = content_range(value(headers, CONTENT_RANGE)?)?;
    let fits = found.start == asked.start
        && found.end <= size
        && total.is_none_or(|total| total == size)
        && answer
            .response
            .body
            .expected()
            .is_none_or(|length| length == found.end - found.start);
    fits.then_some(found.start..found.end.min(asked.end))
}

/// Reads `bytes 0-99/1000`: the offsets, and the length of the whole if it is told.
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (unit, rest) = text.trim().split_once(' ')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        let text = text.trim();
        // `parse` takes a sign.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| digits)
    };
    let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total)?),
    };
    (first < end).then_some((first..end, total))
}

fn value(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the host of a URL in a manifest, which may hold anything.
fn host_only(url: &str) -> String {
    url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "an unreadable address".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_not_believed() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0..100, Some(1000))));
        assert_eq!(content_range(" Bytes 5-5/* "), Some((5..6, None)));
        for text in [
            "",
            "bytes",
            "bytes 0-99",
            "bytes */1000",
            "bytes 9-8/10",
            "bytes -1-8/10",
            "bytes +1-8/10",
            "items 0-1/2",
            "bytes 0-18446744073709551615/*",
            "bytes 0-1/ten",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
