//! Who fetches which bytes next: blobs in segments, in order, over as many connections as pay. Pure.
//!
//! A blob is split only once its registry has answered a range of it with that range: a cache that
//! is still filling answers with the whole, and asked twice it would fetch twice. Segments of a blob
//! are given out in order, so that what is ahead of the hash is bounded by connections times segment.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::host::{Cursor, Host, LARGEST_SEGMENT, Ranges, Transfer, YOUNG, usual_rate};
use super::ramp::Flow;

/// All blobs that are wanted, and all transfers under way.
#[derive(Debug)]
pub(super) struct Schedule {
    blobs: BTreeMap<BlobId, Blob>,
    transfers: BTreeMap<TransferId, Transfer>,
    hosts: HashMap<String, Host>,
    most: usize,
    next: TransferId,
    looked: Duration,
}

pub(super) type BlobId = u64;
pub(super) type TransferId = u64;

/// A transfer to begin.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: TransferId,
    pub(super) blob: BlobId,
    /// The offsets to ask for, or nothing for the whole without a range.
    pub(super) range: Option<Range<u64>>,
    pub(super) cursor: Arc<Cursor>,
}

#[derive(Debug)]
struct Blob {
    host: String,
    size: u64,
    /// What nobody fetches yet, in order.
    waiting: VecDeque<Range<u64>>,
    split: Split,
    /// Transfers that were given up because others were faster.
    strikes: u64,
}

/// Whether a blob may be fetched over several connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Split {
    /// Its registry has answered a range of it with that range.
    Allowed,
    /// It is never asked for by ranges.
    Never,
    /// The first answer is awaited.
    Probing,
    /// Nobody has asked, or the last answer was the whole.
    Unknown,
}

impl Schedule {
    /// Makes one with at most so many connections to a host.
    pub(super) fn new(most: usize) -> Self {
        Self {
            blobs: BTreeMap::new(),
            transfers: BTreeMap::new(),
            hosts: HashMap::new(),
            most,
            next: 0,
            looked: Duration::ZERO,
        }
    }

    /// Adds a blob of which these parts are missing. Only a blob that is not to be trusted to ranges
    /// comes `whole`.
    pub(super) fn add(
        &mut self,
        id: BlobId,
        host: &str,
        size: u64,
        missing: Vec<Range<u64>>,
        whole: bool,
    ) {
        let most = self.most;
        self.hosts
            .entry(host.to_owned())
            .or_insert_with(|| Host::new(most));
        let blob = Blob {
            host: host.to_owned(),
            size,
            waiting: missing.into(),
            split: if whole { Split::Never } else { Split::Unknown },
            strikes: 0,
        };
        self.blobs.insert(id, blob);
    }

    /// Forgets a blob; returns its transfers, which have to be stopped.
    pub(super) fn remove(&mut self, id: BlobId) -> Vec<TransferId> {
        self.blobs.remove(&id);
        let transfers = self.transfers.iter();
        let own: Vec<_> = transfers
            .filter(|(_, transfer)| transfer.blob == id)
            .map(|(id, _)| *id)
            .collect();
        for transfer in &own {
            self.drop_transfer(*transfer);
        }
        own
    }

    /// Says whether nothing of a blob is left to fetch or under way.
    pub(super) fn is_done(&self, id: BlobId) -> bool {
        let under_way = self.transfers.values().any(|transfer| transfer.blob == id);
        let waiting = self
            .blobs
            .get(&id)
            .is_some_and(|blob| !blob.waiting.is_empty());
        !under_way && !waiting
    }

    /// Returns how many connections a blob has.
    pub(super) fn connections(&self, id: BlobId) -> usize {
        let transfers = self.transfers.values();
        transfers.filter(|transfer| transfer.blob == id).count()
    }

    /// Returns the next transfer to begin, if there is one and a connection for it.
    pub(super) fn next(&mut self, now: Duration) -> Option<Task> {
        let mut hosts: Vec<String> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.active < host.ramp.limit())
            .map(|(name, _)| name.clone())
            .collect();
        // The same in every run.
        hosts.sort();
        for name in hosts {
            let Some(host) = self.hosts.get(&name) else {
                continue;
            };
            let probed = match host.ranges {
                Ranges::Probing { since } => now.saturating_sub(since) < PROBE,
                _ => false,
            };
            let candidate = self
                .blobs
                .iter()
                .filter(|(_, blob)| blob.host == name && !blob.waiting.is_empty())
                .filter(|(id, blob)| match blob.split {
                    Split::Allowed => true,
                    Split::Never => self.connections(**id) == 0,
                    Split::Probing => false,
                    Split::Unknown => blob.is_small_and_new() || !probed,
                })
                // Many blobs side by side: each is hashed by whoever brings it.
                .min_by_key(|(id, blob)| (self.connections(**id), std::cmp::Reverse(blob.left())))
                .map(|(id, _)| *id);
            if let Some(id) = candidate {
                return self.begin(id, now);
            }
            if let Some(task) = self.steal(&name, now) {
                return Some(task);
            }
        }
        None
    }

    fn begin(&mut self, id: BlobId, now: Duration) -> Option<Task> {
        let segment = self.segment(id);
        let blob = self.blobs.get_mut(&id)?;
        let host = self.hosts.get_mut(&blob.host)?;
        if blob.split == Split::Unknown && host.ranges == Ranges::Refused {
            blob.split = Split::Never;
        }
        let ask = match blob.split {
            Split::Never => None,
            Split::Unknown if blob.is_small_and_new() => None,
            Split::Unknown | Split::Probing | Split::Allowed => {
                let first = blob.waiting.pop_front()?;
                // No crumbs, which would cost as much as a segment.
                let end = match first.end - first.start {
                    length if length < segment + segment / 2 => first.end,
                    _ => first.start + segment,
                };
                if end < first.end {
                    blob.waiting.push_front(end..first.end);
                }
                if blob.split == Split::Unknown {
                    blob.split = Split::Probing;
                    if host.ranges == Ranges::Unknown {
                        host.ranges = Ranges::Probing { since: now };
                    }
                }
                Some(first.start..end)
            }
        };
        if ask.is_none() {
            blob.waiting.clear();
            blob.split = if blob.split == Split::Never {
                Split::Never
            } else {
                Split::Probing
            };
        }
        let range = ask.clone().unwrap_or(0..blob.size);
        Some(self.start(id, range, ask, now))
    }

    fn start(
        &mut self,
        blob: BlobId,
        range: Range<u64>,
        ask: Option<Range<u64>>,
        now: Duration,
    ) -> Task {
        self.next += 1;
        let cursor = Arc::new(Cursor::new(&range));
        let host = self
            .blobs
            .get(&blob)
            .map(|blob| blob.host.clone())
            .unwrap_or_default();
        if let Some(host) = self.hosts.get_mut(&host) {
            host.active += 1;
        }
        let transfer = Transfer {
            blob,
            host,
            range,
            cursor: cursor.clone(),
            began: now,
            opened: None,
            seen: 0,
            rate: 0.0,
        };
        self.transfers.insert(self.next, transfer);
        Task {
            id: self.next,
            blob,
            range: ask,
            cursor,
        }
    }

    /// Chooses how much of a blob one request asks for.
    fn segment(&self, id: BlobId) -> u64 {
        let Some(blob) = self.blobs.get(&id) else {
            return SMALLEST_SEGMENT;
        };
        let Some(host) = self.hosts.get(&blob.host) else {
            return SMALLEST_SEGMENT;
        };
        let wanted = host.segment();
        // And so short that there is one for each connection.
        let waiting: u64 = self
            .blobs
            .values()
            .filter(|other| other.host == blob.host)
            .map(Blob::left)
            .sum();
        let share = waiting.div_ceil(host.ramp.limit() as u64);
        wanted.min(share.max(SMALLEST_SEGMENT / 2))
    }

    /// Takes the second half of what the slowest transfer has left.
    fn steal(&mut self, host: &str, now: Duration) -> Option<Task> {
        let (time, blob, range, cursor) = self
            .transfers
            .values()
            // One that has just begun has no rate to go by.
            .filter(|transfer| {
                let open = transfer.opened.map(|opened| now.saturating_sub(opened));
                transfer.host == host && open.is_some_and(|open| open >= YOUNG / 2)
            })
            .filter(|transfer| {
                let blob = self.blobs.get(&transfer.blob);
                blob.is_some_and(|blob| blob.split == Split::Allowed)
            })
            .map(|transfer| {
                let left = transfer.cursor.left();
                let time = (left.end - left.start) as f64 / transfer.rate.max(1.0);
                (time, transfer.blob, left, transfer.cursor.clone())
            })
            .filter(|(time, _, left, _)| {
                *time >= WORTH_STEALING && left.end - left.start >= LEAST_STOLEN
            })
            .max_by(|one, other| one.0.total_cmp(&other.0))?;
        debug_assert!(time > 0.0);
        let middle = range.start + (range.end - range.start) / 2;
        cursor.cut(middle);
        for transfer in self.transfers.values_mut() {
            if Arc::ptr_eq(&transfer.cursor, &cursor) {
                transfer.range.end = middle;
            }
        }
        let stolen = middle..range.end;
        Some(self.start(blob, stolen.clone(), Some(stolen), now))
    }

    /// Takes notice of the head of an answer: the whole, or a range.
    pub(super) fn opened(
        &mut self,
        id: TransferId,
        covers: &Range<u64>,
        whole: bool,
        now: Duration,
    ) {
        let Some(transfer) = self.transfers.get_mut(&id) else {
            return;
        };
        let latency = now.saturating_sub(transfer.began);
        transfer.opened = Some(now);
        let Some(blob) = self.blobs.get_mut(&transfer.blob) else {
            return;
        };
        let Some(host) = self.hosts.get_mut(&transfer.host) else {
            return;
        };
        host.learn_latency(latency);
        if whole {
            // It brings everything: what is not begun need not be.
            blob.waiting.clear();
            transfer.range = 0..blob.size;
            transfer.cursor.set(&transfer.range);
            if let Ranges::Probing { .. } = host.ranges {
                host.ranges = Ranges::Unknown;
            }
            return;
        }
        host.ranges = Ranges::Answered;
        blob.split = match blob.split {
            Split::Never => Split::Never,
            _ => Split::Allowed,
        };
        let end = transfer.cursor.left().end;
        if covers.end < end {
            // It sends less than was asked for: the rest is for somebody else.
            blob.waiting.push_front(covers.end..end);
            transfer.range.end = covers.end;
            transfer.cursor.cut(covers.end);
        }
    }

    /// Returns the blob of a transfer and the offsets that it was to fetch.
    pub(super) fn transfer(&self, id: TransferId) -> Option<(BlobId, Range<u64>)> {
        let transfer = self.transfers.get(&id)?;
        Some((transfer.blob, transfer.range.clone()))
    }

    /// Takes notice that a host has no sound answer to ranges: all its blobs come whole from now on.
    pub(super) fn refused(&mut self, id: TransferId) {
        let Some(transfer) = self.transfers.get(&id) else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(&transfer.host) {
            host.ranges = Ranges::Refused;
        }
        if let Some(blob) = self.blobs.get_mut(&transfer.blob) {
            blob.split = Split::Never;
        }
    }

    /// Says whether a range of a blob may be asked for.
    pub(super) fn may_ask_for_ranges(&self, id: BlobId) -> bool {
        let Some(blob) = self.blobs.get(&id) else {
            return false;
        };
        let host = self.hosts.get(&blob.host);
        blob.split != Split::Never && host.is_none_or(|host| host.ranges != Ranges::Refused)
    }

    /// Takes notice that a transfer is over; of what it was to fetch, these parts are missing.
    pub(super) fn ended(&mut self, id: TransferId, missing: Vec<Range<u64>>, now: Duration) {
        let Some(transfer) = self.transfers.get(&id) else {
            return;
        };
        let blob = transfer.blob;
        let rate = transfer.rate;
        if let Some(burst) = transfer.unseen_rate(now)
            && let Some(host) = self.hosts.get_mut(&transfer.host)
        {
            host.burst = burst;
        }
        if missing.is_empty()
            && rate > 0.0
            && let Some(host) = self.hosts.get_mut(&transfer.host)
        {
            host.learn_rate(rate);
        }
        self.drop_transfer(id);
        let others = self.connections(blob) > 0;
        let Some(blob) = self.blobs.get_mut(&blob) else {
            return;
        };
        for part in missing.into_iter().rev() {
            let place = blob
                .waiting
                .partition_point(|waiting| waiting.start < part.start);
            blob.waiting.insert(place, part);
        }
        if blob.split == Split::Probing && !others {
            blob.split = Split::Unknown;
        }
        if blob.split == Split::Never && !blob.waiting.is_empty() {
            blob.waiting = std::iter::once(0..blob.size).collect();
        }
    }

    /// Looks at all transfers; returns those to give up, whose rest others will fetch sooner.
    pub(super) fn look(&mut self, now: Duration) -> Vec<TransferId> {
        let passed = now.saturating_sub(self.looked).as_secs_f64();
        if passed <= 0.0 {
            return Vec::new();
        }
        self.looked = now;
        for transfer in self.transfers.values_mut() {
            transfer.measure(passed);
        }
        let mut slow = Vec::new();
        let transfers = &self.transfers;
        for (name, host) in &mut self.hosts {
            let own = || transfers.iter().filter(|(_, one)| one.host == *name);
            let came: u64 = own().map(|(_, one)| one.cursor.came()).sum();
            host.ramp.observe(Flow {
                now,
                bytes: host.came + came,
                active: host.active,
                latency: host.latency,
            });
            let Some(usual) = usual_rate(host, own().map(|(_, one)| one)) else {
                continue;
            };
            slow.extend(
                own()
                    .filter(|(_, one)| one.is_slow(usual, host.latency, now))
                    .map(|(id, _)| *id),
            );
        }
        slow.retain(|id| {
            let blob = transfers.get(id).map(|one| one.blob);
            let blob = blob.and_then(|blob| self.blobs.get_mut(&blob));
            blob.is_some_and(|blob| {
                let may = blob.split == Split::Allowed
                    && blob.strikes < MOST_STRIKES + blob.size / LARGEST_SEGMENT;
                blob.strikes += u64::from(may);
                may
            })
        });
        slow
    }

    fn drop_transfer(&mut self, id: TransferId) {
        let Some(transfer) = self.transfers.remove(&id) else {
            return;
        };
        if let Some(host) = self.hosts.get_mut(&transfer.host) {
            host.active = host.active.saturating_sub(1);
            host.came += transfer.cursor.came();
            if let Ranges::Probing { since } = host.ranges
                && since == transfer.began
            {
                host.ranges = Ranges::Unknown;
            }
        }
    }
}

impl Blob {
    fn left(&self) -> u64 {
        self.waiting.iter().map(|part| part.end - part.start).sum()
    }

    /// Says whether it is fetched whole, since a second connection would cost more than it brings.
    fn is_small_and_new(&self) -> bool {
        self.size < SMALL && self.left() == self.size
    }
}

pub(super) const MIB: u64 = 1024 * 1024;
/// Blobs below this are fetched whole, in bytes.
const SMALL: u64 = 8 * MIB;
pub(super) const SMALLEST_SEGMENT: u64 = 4 * MIB;
/// How long the others wait for the first answer of a host to a range.
const PROBE: Duration = Duration::from_secs(2);
/// The least time that a transfer has left for its rest to be split, in seconds.
const WORTH_STEALING: f64 = 0.25;
const LEAST_STOLEN: u64 = MIB / 2;
/// How often transfers of one blob are given up, beside once for each of its largest segments.
const MOST_STRIKES: u64 = 8;
