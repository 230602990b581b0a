//! What a run remembers of its mirrors: who is dead, late, rests or lies, and who serves which blob.
//!
//! A mirror that did harm once is not given the chance to do it again: one that can't be reached costs
//! one wait, one that is late costs two, one that sends wrong bytes is not asked again at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ask::Server;
use super::{Fallback, Sources};
use crate::net::{self, Phase};
use crate::oci::error::{Error, ErrorKind};
use crate::oci::{Digest, Repository};

/// What a run remembers of its mirrors.
#[derive(Debug, Default)]
pub(in crate::oci) struct Standing(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    mirrors: HashMap<String, Record>,
    blobs: HashMap<Digest, Course>,
}

/// What is known of one mirror.
#[derive(Debug, Default)]
struct Record {
    /// Whether it has answered anything.
    heard: bool,
    /// How often another one, asked later, was sooner.
    late: u32,
    last_late: Option<Instant>,
    /// How often in a row it failed to answer as it should.
    broken: u32,
    /// How often it broke off while it sent a blob.
    broke_off: u32,
    /// Whether it comes last from now on.
    out: bool,
    /// Whether it has sent wrong bytes.
    lies: bool,
    /// Until when it wants quiet.
    rests: Option<Instant>,
    /// Whether it has no sound answer to ranges.
    no_ranges: bool,
    /// The repositories that it keeps from us.
    refuses: BTreeSet<String>,
    /// What was said of it already.
    told: BTreeSet<&'static str>,
}

/// Who serves a blob.
#[derive(Debug, Default)]
struct Course {
    /// Who answered first: a blob is finished where it was begun.
    home: Option<Server>,
    /// All who have sent some of it since it was last begun.
    sent: Vec<Server>,
    /// Mirrors that broke off while they sent it.
    left: BTreeSet<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(in crate::oci) enum Wanted {
    /// Something that a digest names.
    Content(Digest),
    /// A tag of an image.
    Tag,
}

impl Standing {
    /// Returns who is to be asked, in order.
    pub(super) fn order(
        &self,
        sources: &Sources,
        repository: &Repository,
        need: Wanted,
    ) -> Vec<Server> {
        let known = self.known();
        let now = Instant::now();
        let alone = sources.fallback == Fallback::Deny;
        let course = match need {
            Wanted::Content(digest) => known.blobs.get(&digest),
            Wanted::Tag => None,
        };
        let (mut first, mut last) = (Vec::new(), Vec::new());
        for mirror in &sources.mirrors {
            if matches!(need, Wanted::Tag) && !mirror.resolves {
                continue;
            }
            let name = mirror.name();
            let server = Server::Mirror(mirror.clone());
            let Some(record) = known.mirrors.get(&name) else {
                first.push(server);
                continue;
            };
            let refused = record.refuses.contains(&repository.path);
            if record.lies || refused && !alone {
                continue;
            }
            let left = course.is_some_and(|course| course.left.contains(&name));
            let rests = record.rests.is_some_and(|until| until > now);
            if record.out || rests || refused || left {
                last.push(server);
            } else {
                first.push(server);
            }
        }
        let origin = (!alone).then_some(Server::Origin);
        match course.and_then(|course| course.home.clone()) {
            // What is begun is finished there, or at the origin: another cache may be cold, and would
            // fetch the whole for each part of it.
            Some(home) => {
                let mut good: Vec<Server> = origin.into_iter().chain(first).collect();
                if let Some(place) = good.iter().position(|server| *server == home) {
                    good[..=place].rotate_right(1);
                }
                good.extend(last);
                good
            }
            None => first.into_iter().chain(origin).chain(last).collect(),
        }
    }

    /// Says whether it has answered in this run.
    pub(super) fn is_heard(&self, name: &str) -> bool {
        let known = self.known();
        known.mirrors.get(name).is_some_and(|record| record.heard)
    }

    /// Says whether others were sooner before.
    pub(super) fn is_late(&self, name: &str) -> bool {
        let known = self.known();
        known
            .mirrors
            .get(name)
            .is_some_and(|record| record.late > 0)
    }

    /// Says whether it is known to have no sound answer to ranges.
    pub(super) fn lacks_ranges(&self, name: &str) -> bool {
        let known = self.known();
        known
            .mirrors
            .get(name)
            .is_some_and(|record| record.no_ranges)
    }

    /// Takes notice that it has no sound answer to ranges.
    pub(super) fn without_ranges(&self, name: &str) {
        self.known().record(name).no_ranges = true;
    }

    /// Takes notice that it gave what was asked for.
    pub(super) fn gave(&self, server: &Server, need: Wanted) {
        let mut known = self.known();
        if let Server::Mirror(mirror) = server {
            let record = known.record(&mirror.name());
            record.heard = true;
            record.broken = 0;
            record.out = record.late >= MOST_LATE || record.broke_off >= MOST_BROKEN;
            record.rests = None;
        }
        if let Wanted::Content(digest) = need {
            let course = known.blobs.entry(digest).or_default();
            let stale = match &course.home {
                Some(Server::Mirror(home)) => course.left.contains(&home.name()),
                Some(Server::Origin) => false,
                None => true,
            };
            if stale {
                course.home = Some(server.clone());
            }
            if !course.sent.contains(server) {
                course.sent.push(server.clone());
            }
        }
    }

    /// Takes notice that another one, asked later, was sooner. Returns what to say of that, once.
    pub(super) fn was_late(&self, name: &str, connected: bool) -> Option<&'static str> {
        let mut known = self.known();
        let record = known.record(name);
        let now = Instant::now();
        // Requests side by side are late together.
        let again = record
            .last_late
            .is_none_or(|at| now.saturating_duration_since(at) >= SIDE_BY_SIDE);
        if again {
            record.late += 1;
            record.last_late = Some(now);
        }
        // Once may be due to a first look-up and a first handshake.
        if record.late < MOST_LATE {
            return None;
        }
        record.out = true;
        let words = match connected {
            false => "no connection to it came about in time",
            true => "others answer sooner",
        };
        record.told.insert(words).then_some(words)
    }

    /// Takes notice of what kept it from giving what was asked for. Returns what to say of that, once;
    /// that it does not have something is not worth a word.
    pub(super) fn failed(
        &self,
        name: &str,
        repository: &Repository,
        error: &Error,
    ) -> Option<&'static str> {
        let mut known = self.known();
        let record = known.record(name);
        record.heard |= !error.is_unreachable();
        let words = match error.kind() {
            ErrorKind::NotFound { .. } => return None,
            ErrorKind::RateLimited { retry_after, .. } => {
                let rest = retry_after.unwrap_or(USUAL_REST).min(LONGEST_REST);
                record.rests = Some(Instant::now() + rest);
                "it limits the rate of requests"
            }
            ErrorKind::Denied { .. }
            | ErrorKind::Unauthorized { .. }
            | ErrorKind::ForeignLogin { .. }
            | ErrorKind::NoLogin { .. }
            | ErrorKind::UnsafeLogin { .. } => {
                record.refuses.insert(repository.path.clone());
                "it gives no access"
            }
            ErrorKind::DigestMismatch { .. } => {
                record.lies = true;
                "it sent other bytes, and is not asked again"
            }
            ErrorKind::Unreachable { source, .. } if is_before_the_request(source) => {
                record.out = true;
                "it can't be reached"
            }
            _ => {
                record.broken += 1;
                record.out |= record.broken >= MOST_BROKEN;
                "it does not answer as it should"
            }
        };
        record.told.insert(words).then_some(words)
    }

    /// Takes notice that it broke off while it sent a blob. Returns what to say of that, once.
    pub(super) fn broke_off(&self, name: &str, digest: Digest) -> Option<&'static str> {
        let mut known = self.known();
        let course = known.blobs.entry(digest).or_default();
        course.left.insert(name.to_owned());
        if matches!(&course.home, Some(Server::Mirror(home)) if home.name() == name) {
            course.home = None;
        }
        let record = known.record(name);
        record.broke_off += 1;
        record.out |= record.broke_off >= MOST_BROKEN;
        let words = "it broke off, or sent nothing more";
        record.told.insert(words).then_some(words)
    }

    /// Takes notice that a blob whose bytes have come is another one, and returns the mirrors that sent
    /// some of it: none of them is asked again.
    pub(super) fn was_wrong(&self, digest: Digest) -> Vec<String> {
        let mut known = self.known();
        let course = known.blobs.remove(&digest).unwrap_or_default();
        let mirrors = course.sent.into_iter().filter_map(|server| match server {
            Server::Mirror(mirror) => Some(mirror.name()),
            Server::Origin => None,
        });
        let names: Vec<String> = mirrors.collect();
        for name in &names {
            known.record(name).lies = true;
        }
        names
    }

    /// Says whether it has sent wrong bytes.
    pub(super) fn lies(&self, name: &str) -> bool {
        let known = self.known();
        known.mirrors.get(name).is_some_and(|record| record.lies)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn record(&mut self, name: &str) -> &mut Record {
        self.mirrors.entry(name.to_owned()).or_default()
    }
}

/// Says whether not even a connection came about.
fn is_before_the_request(error: &net::Error) -> bool {
    matches!(
        error.phase(),
        None | Some(Phase::Resolve | Phase::Connect | Phase::Tls)
    )
}

/// A mirror that was late so often comes last.
const MOST_LATE: u32 = 2;
/// A mirror that failed so often in a row comes last.
const MOST_BROKEN: u32 = 2;
/// Requests that are late within this time count once.
const SIDE_BY_SIDE: Duration = Duration::from_millis(100);
/// How long a mirror is left alone that limits the rate of requests and names no time.
const USUAL_REST: Duration = Duration::from_secs(30);
const LONGEST_REST: Duration = Duration::from_secs(600);
