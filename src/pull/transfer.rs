//! One transfer: a request, and what its answer brings, written at its place.

use std::ops::Range;

use super::error::Error;
use super::schedule::Task;
use super::source::{Body, Source};
use crate::cache::Partial;
use crate::net::{Piece, Sink};
use crate::oci::{Answered, Descriptor, Repository};

/// How a transfer ended that did not fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The host has no sound answer to ranges.
    NoRanges,
    /// All that it was to fetch has come.
    Whole,
}

/// What a transfer tells while it goes on.
pub(super) trait Listener: Send + Sync {
    /// The head of an answer is there.
    fn opened(&self, task: &Task, covers: &Range<u64>, whole: bool);
    /// Says whether a range may be asked for.
    fn may_ask_for_ranges(&self, task: &Task) -> bool;
    /// Bytes came from a host.
    fn came(&self, task: &Task, host: &str, bytes: u64);
}

/// Fetches what a task asks for, again and again from where it broke off, as long as the source
/// has patience.
pub(super) async fn run<S: Source>(
    source: &S,
    repository: &Repository,
    blob: &Descriptor,
    partial: &Partial,
    task: &Task,
    listener: &dyn Listener,
) -> Result<End, Error> {
    let mut attempts = S::Attempts::default();
    let mut range = task.range.clone();
    loop {
        let mut new = 0;
        let tried = once(
            source, repository, blob, partial, task, range, listener, &mut new,
        );
        let error = match tried.await {
            Err(Error::Registry(error)) => error,
            done => return done,
        };
        // Whoever brings something has earned another try.
        if new >= PROGRESS {
            attempts = S::Attempts::default();
        }
        let Some(error) = std::sync::Arc::into_inner(error) else {
            return Err(Error::Cancelled);
        };
        source.pause(&mut attempts, error).await?;
        let left = task.cursor.left();
        // Others may have taken all of it.
        if left.is_empty() {
            return Ok(End::Whole);
        }
        let anew = left.start == 0 && task.range.is_none();
        range = (!anew && listener.may_ask_for_ranges(task)).then_some(left);
    }
}

/// As many bytes that a broken transfer brought make up for the failure.
const PROGRESS: u64 = 256 * 1024;

#[expect(clippy::too_many_arguments, reason = "a part of the one caller")]
async fn once<S: Source>(
    source: &S,
    repository: &Repository,
    blob: &Descriptor,
    partial: &Partial,
    task: &Task,
    range: Option<Range<u64>>,
    listener: &dyn Listener,
    new: &mut u64,
) -> Result<End, Error> {
    let sink = partial.ticket().map(|ticket| Sink {
        ticket,
        range: range.clone().unwrap_or(0..blob.size),
    });
    let part = source.part(repository, blob, range.as_ref(), sink);
    let mut body = match part.await? {
        Answered::NoRanges => return Ok(End::NoRanges),
        Answered::Body(body) => body,
    };
    listener.opened(task, body.covers(), body.is_whole());
    let mut writer = partial.writer()?;
    while let Some(mut piece) = body.piece().await? {
        let left = task.cursor.left();
        piece.truncate(left.end - left.start);
        *new += match &piece {
            Piece::Here(bytes) => writer.write(left.start, bytes)?,
            Piece::Placed(size) => writer.placed(left.start, *size)?,
        };
        task.cursor.advance(piece.size());
        listener.came(task, body.host(), piece.size());
        // The rest was given to somebody else.
        let end = task.cursor.left();
        if end.is_empty() && end.end < body.covers().end {
            break;
        }
    }
    Ok(End::Whole)
}
