//! A part of a blob: what a registry makes of a `Range`, believed as far as it proves itself.
//!
//! A registry may answer with the part, with another one, with the whole, or not at all (RFC 9110
//! section 14). What it says is compared with what was asked; whether the bytes are right is for
//! the digest to say, once all of them are there.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Repository;
use super::answer::Answer;
use super::client::Client;
use super::error::{Error, ErrorKind};
use super::hedge::{Lane, Pulse, hedged};
use super::manifest::Descriptor;
use super::mirror::Target;
use super::traffic::Slot;
use super::transport::{Attempts, Transport};
use crate::net::{self, Piece};

/// An answer to the question for a part of a blob.
#[derive(Debug)]
pub(crate) enum Answered<B> {
    /// Bytes come.
    Body(B),
    /// The registry, or what stands before it, has no sound answer to ranges.
    NoRanges,
}

/// Bytes that arrive; drop it to stop the transfer.
///
/// A body that stalls is asked for again from where it stands on a second connection, and the first
/// of the two that goes on is the one that is read from then on.
#[derive(Debug)]
pub(crate) struct Part {
    asker: Asker,
    /// Gone while it is waited for, and for good once it has failed.
    stream: Option<Stream>,
    covers: Range<u64>,
    /// The offset of the next byte.
    at: u64,
    whole: bool,
    /// The first connection's, kept although a second one may have taken its place.
    _slot: Option<Slot>,
}

/// Counts the attempts at one part.
#[derive(Default)]
pub(crate) struct PartAttempts {
    attempts: Attempts,
    /// How often a mirror broke off, and another server was there to go on.
    passed_on: u32,
}

impl Client {
    /// Asks once for a blob, or for a range of it. The body of the answer may go into a sink.
    pub(crate) async fn part(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        range: Option<&Range<u64>>,
        sink: Option<net::Sink>,
    ) -> Result<Answered<Part>, Error> {
        match self.sources(&repository.registry) {
            Some(sources) => {
                blob.refuse_foreign()?;
                // Several may be asked at once, and who sent a wrong byte is to be known.
                Box::pin(self.part_from_any(&sources, repository, blob, range)).await
            }
            None => {
                let target = Target::origin(&self.transport);
                self.part_from(&target, repository, blob, range, sink).await
            }
        }
    }

    /// Asks one server once for a blob, or for a range of it.
    pub(super) async fn part_from(
        &self,
        target: &Target,
        repository: &Repository,
        blob: &Descriptor,
        range: Option<&Range<u64>>,
        sink: Option<net::Sink>,
    ) -> Result<Answered<Part>, Error> {
        let asker = Asker {
            ticket: sink.map(|sink| sink.ticket),
            client: self.clone(),
            target: target.clone(),
            repository: repository.clone(),
            blob: blob.clone(),
        };
        let Answered::Body(mut stream) = Box::pin(asker.ask(&target.transport, range)).await?
        else {
            return Ok(Answered::NoRanges);
        };
        Ok(Answered::Body(Part {
            _slot: stream.answer.slot.take(),
            at: stream.at,
            covers: stream.at..stream.end,
            whole: stream.whole,
            stream: Some(stream),
            asker,
        }))
    }

    /// Waits before the next attempt, or gives the error back if there is none.
    pub(crate) async fn pause(
        &self,
        attempts: &mut PartAttempts,
        error: Error,
    ) -> Result<(), Error> {
        // Others have the rest: nothing is won by waiting.
        if error.mirror().is_some() && attempts.passed_on < MOST_PASSED_ON {
            attempts.passed_on += 1;
            return Ok(());
        }
        self.transport.pause(&mut attempts.attempts, error).await
    }
}

/// How often in a row a mirror may break off before there is a pause.
const MOST_PASSED_ON: u32 = 4;

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
        match &self.stream {
            Some(stream) => &stream.answer.host,
            None => &self.asker.repository.registry,
        }
    }

    /// Returns the next bytes, or nothing when all that are covered have come. Nothing is hashed.
    /// Whoever drops the future before its end has to drop the part too.
    ///
    /// # Errors
    ///
    /// The transfer broke off, or the whole is longer than the descriptor says. An error is final.
    pub(crate) async fn piece(&mut self) -> Result<Option<Piece>, Error> {
        let next = self.next().await;
        next.map_err(|error| match self.asker.dispensable_mirror() {
            Some(name) => {
                let Asker { client, blob, .. } = &self.asker;
                client.mirror_broke_off(&name, blob.digest, &error);
                error.of_mirror(&name)
            }
            None => error,
        })
    }

    async fn next(&mut self) -> Result<Option<Piece>, Error> {
        // The end of the whole is waited for: only so more bytes than there should be are noticed.
        if self.at == self.covers.end && !self.whole {
            return Ok(None);
        }
        let Some(mut stream) = self.stream.take() else {
            return Err(self
                .asker
                .wrong_size(&self.asker.repository.registry, self.at));
        };
        if self.at == self.covers.end {
            // All is there; only for its end nobody is asked twice.
            let end = stream.next(&self.asker, self.at).await?;
            self.stream = Some(stream);
            return Ok(end);
        }
        let (host, what) = (stream.answer.host.clone(), stream.answer.what.clone());
        let pulse = Pulse::default();
        pulse.connected(stream.answer.response.remote);
        let first = Mutex::new(Some(stream));
        let (first, this) = (&first, &*self);
        let next = |lane| async move {
            let taken = match lane {
                Lane::First => first.lock().unwrap_or_else(PoisonError::into_inner).take(),
                Lane::Second => None,
            };
            let mut stream = match taken {
                Some(stream) => stream,
                None => this.again().await?,
            };
            let piece = stream.next(&this.asker, this.at).await?;
            Ok::<_, Error>((stream, piece))
        };
        let transport = &this.asker.target.transport;
        let tell = |silence| transport.silent(&host, &what, silence);
        let stall = transport.inner.config.retry.stall;
        let (stream, piece) = hedged(stall, &pulse, next, tell).await?;
        // A second answer may end earlier than what was promised first.
        self.covers.end = self.covers.end.min(stream.end);
        self.at += piece.as_ref().map_or(0, Piece::size);
        self.stream = Some(stream);
        Ok(piece)
    }

    /// Asks for what is still to come, on a connection that no slot is needed for: the first one keeps its
    /// own meanwhile.
    async fn again(&self) -> Result<Stream, Error> {
        let transport = self.asker.target.transport.uncounted();
        let rest = self.at..self.covers.end;
        let range = Some(&rest).filter(|rest| rest.start > 0 || !self.whole);
        match self.asker.ask(&transport, range).await? {
            Answered::Body(stream) => Ok(stream),
            Answered::NoRanges => match self.asker.ask(&transport, None).await? {
                Answered::Body(stream) => Ok(stream),
                Answered::NoRanges => Err(self.asker.wrong_size(self.host(), self.at)),
            },
        }
    }
}

/// Who asks for what.
struct Asker {
    client: Client,
    target: Target,
    repository: Repository,
    blob: Descriptor,
    /// The sink that bodies may go into.
    ticket: Option<String>,
}

/// The body of one answer.
#[derive(Debug)]
struct Stream {
    answer: Answer,
    /// The offset of the next byte.
    at: u64,
    /// Where it ends.
    end: u64,
    whole: bool,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker")
            .field("server", &self.target.server)
            .field("repository", &self.repository)
            .field("blob", &self.blob.digest)
            .finish_non_exhaustive()
    }
}

impl Asker {
    async fn ask(
        &self,
        transport: &Transport,
        range: Option<&Range<u64>>,
    ) -> Result<Answered<Stream>, Error> {
        let Self {
            target,
            repository,
            blob,
            ..
        } = self;
        let mut call = self.client.blob_call(target, repository, blob)?;
        call.sink = self.ticket.clone().map(|ticket| net::Sink {
            ticket,
            range: range.cloned().unwrap_or(0..blob.size),
        });
        call.range = range.and_then(|range| {
            let last = range.end.saturating_sub(1);
            HeaderValue::from_str(&format!("bytes={}-{last}", range.start)).ok()
        });
        let mut answer = match transport.attempt(&call).await {
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
        let patience = transport.inner.config.retry.patience;
        answer.response.body.set_idle_timeout(patience);
        target.mind_silence(&mut answer);
        Ok(Answered::Body(Stream {
            answer,
            at: covers.start,
            end: covers.end,
            whole: !partial,
        }))
    }

    /// Returns the mirror that is asked, if others have what it sends.
    fn dispensable_mirror(&self) -> Option<String> {
        let mirror = self.target.mirror().filter(|_| self.target.has_others)?;
        Some(mirror.name())
    }

    fn wrong_size(&self, host: &str, found: u64) -> Error {
        ErrorKind::SizeMismatch {
            host: host.to_owned(),
            digest: self.blob.digest,
            expected: self.blob.size,
            found,
        }
        .into()
    }
}

impl Stream {
    /// Returns the next bytes from an offset on, or nothing at the end; those before it are skipped.
    async fn next(&mut self, asker: &Asker, from: u64) -> Result<Option<Piece>, Error> {
        loop {
            let piece = self.answer.piece().await;
            let Some(mut piece) = piece.map_err(|error| error.at_offset(self.at))? else {
                if self.at < self.end {
                    return Err(asker.wrong_size(&self.answer.host, self.at));
                }
                return Ok(None);
            };
            let left = self.end - self.at;
            if piece.size() > left {
                if self.whole {
                    let found = self.at + piece.size();
                    return Err(asker.wrong_size(&self.answer.host, found));
                }
                piece.truncate(left);
            }
            let begin = self.at;
            self.at += piece.size();
            piece.skip(from.saturating_sub(begin));
            if piece.size() > 0 {
                return Ok(Some(piece));
            }
            // A part that goes on after its end brings nothing that was asked for.
            if self.at == self.end && !self.whole {
                return Ok(None);
            }
        }
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
    match error.kind() {
        // Gateways forbid what they don't know; if it is the blob, the next answer says so too.
        ErrorKind::Denied { .. } => true,
        ErrorKind::Refused { status, .. } => matches!(status, 400 | 405 | 416 | 501),
        _ => false,
    }
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
    // A part may be shorter than what was asked for; crumbs would never make a blob.
    let crumb = found.end < asked.end && found.end - found.start < LEAST_PART;
    let fits = found.start == asked.start
        && !crumb
        && found.end <= size
        && total.is_none_or(|total| total == size)
        && answer
            .response
            .body
            .expected()
            .is_none_or(|length| length == found.end - found.start);
    fits.then_some(found.start..found.end.min(asked.end))
}

/// The least that an answer that ends early has to bring, in bytes.
const LEAST_PART: u64 = 64 * 1024;

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
