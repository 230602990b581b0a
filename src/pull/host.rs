//! What is known of a host: its connections, its pace, and what it makes of ranges. Pure.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ramp::{FAR, Ramp};
use super::schedule::{BlobId, MIB, SMALLEST_SEGMENT};

/// Where a transfer is; it and the schedule share it.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The offset of the next byte.
    at: AtomicU64,
    /// Where it ends, which comes nearer when another connection takes over the rest.
    end: AtomicU64,
    /// Bytes that came, those that were there already included.
    came: AtomicU64,
}

impl Cursor {
    pub(super) fn new(range: &Range<u64>) -> Self {
        Self {
            at: range.start.into(),
            end: range.end.into(),
            came: 0.into(),
        }
    }

    /// Returns what is left to fetch.
    pub(super) fn left(&self) -> Range<u64> {
        let end = self.end.load(Ordering::Relaxed);
        self.at.load(Ordering::Relaxed).min(end)..end
    }

    /// Takes notice of bytes.
    pub(super) fn advance(&self, bytes: u64) {
        self.at.fetch_add(bytes, Ordering::Relaxed);
        self.came.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Ends a transfer earlier: the rest is somebody else's.
    pub(super) fn cut(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    pub(super) fn set(&self, range: &Range<u64>) {
        self.at.store(range.start, Ordering::Relaxed);
        self.end.store(range.end, Ordering::Relaxed);
    }

    pub(super) fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) blob: BlobId,
    pub(super) host: String,
    pub(super) range: Range<u64>,
    pub(super) cursor: Arc<Cursor>,
    pub(super) began: Duration,
    pub(super) opened: Option<Duration>,
    /// Bytes that had come at the last look.
    pub(super) seen: u64,
    /// Bytes a second, smoothed.
    pub(super) rate: f64,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) ramp: Ramp,
    pub(super) ranges: Ranges,
    pub(super) active: usize,
    /// Bytes of transfers that are over.
    pub(super) came: u64,
    pub(super) latency: Duration,
    /// Rates of the last transfers that went to their end.
    pub(super) rates: VecDeque<f64>,
    /// The rate of one that was over before anybody looked: nothing to measure others by, since servers
    /// that cap a connection may let its first bytes pass.
    pub(super) burst: f64,
}

/// What a host makes of ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ranges {
    Answered,
    Probing { since: Duration },
    Refused,
    Unknown,
}

impl Host {
    pub(super) fn new(most: usize) -> Self {
        Self {
            ramp: Ramp::new(most),
            ranges: Ranges::Unknown,
            active: 0,
            came: 0,
            latency: Duration::ZERO,
            rates: VecDeque::new(),
            burst: 0.0,
        }
    }

    pub(super) fn learn_latency(&mut self, latency: Duration) {
        self.latency = if self.latency.is_zero() {
            latency
        } else {
            (self.latency * 3 + latency) / 4
        };
    }

    /// Remembers the rate of a transfer that went to its end.
    pub(super) fn learn_rate(&mut self, rate: f64) {
        if self.rates.len() == REMEMBERED {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
    }

    /// Returns how many bytes one request had best ask for: so many that beginning costs little, whether that is time
    /// on the way or work in the server.
    pub(super) fn segment(&self) -> u64 {
        let time = SEGMENT_TIME.max(self.latency * 10);
        let rate = self.rate();
        match (rate * time.as_secs_f64()) as u64 {
            // Nothing is known but that each beginning costs a long way.
            _ if rate == 0.0 && self.latency >= FAR => FIRST_SEGMENT_FAR,
            wanted => wanted.clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT),
        }
    }

    /// Returns the usual rate of one connection, or zero.
    pub(super) fn rate(&self) -> f64 {
        median(self.rates.iter().copied().collect()).unwrap_or(self.burst)
    }
}

impl Transfer {
    /// Takes a look at what has come since the last one, so many seconds ago.
    pub(super) fn measure(&mut self, passed: f64) {
        let came = self.cursor.came();
        let rate = (came - self.seen) as f64 / passed;
        self.seen = came;
        // About half a second counts.
        let weight = (passed / 0.5).clamp(0.05, 1.0);
        self.rate = if self.rate == 0.0 {
            rate
        } else {
            self.rate + weight * (rate - self.rate)
        };
    }

    /// Returns the rate of a transfer that was over before anybody looked, if it can be told.
    pub(super) fn unseen_rate(&self, now: Duration) -> Option<f64> {
        let open = now.saturating_sub(self.opened?).as_secs_f64();
        let came = self.cursor.came();
        (self.rate == 0.0 && came >= TELLING).then(|| came as f64 / open.max(0.001))
    }

    /// Says whether others would fetch what is left in much less time.
    pub(super) fn is_slow(&self, usual: f64, latency: Duration, now: Duration) -> bool {
        let left = self.cursor.left();
        let left = (left.end - left.start) as f64;
        let anew = left / usual + (latency * 2).as_secs_f64() + 0.5;
        match self.opened {
            Some(opened) => {
                now.saturating_sub(opened) >= YOUNG
                    && self.rate < usual / 4.0
                    && left / self.rate.max(1.0) > 2.0 * anew
            }
            None => now.saturating_sub(self.began) > SILENT.max(latency * 10),
        }
    }
}

/// Returns the usual rate of a connection, if enough of them are known.
pub(super) fn usual_rate<'a>(host: &Host, own: impl Iterator<Item = &'a Transfer>) -> Option<f64> {
    let live = own.filter(|one| one.opened.is_some()).map(|one| one.rate);
    let rates: Vec<f64> = live.chain(host.rates.iter().copied()).collect();
    if rates.len() < ENOUGH {
        return None;
    }
    median(rates).filter(|rate| *rate > 0.0)
}

fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

/// A transfer is not judged before this.
pub(super) const YOUNG: Duration = Duration::from_millis(500);
/// The least silence before the head of an answer that is taken for a fault, where others are answered.
const SILENT: Duration = Duration::from_secs(5);
/// The number of rates from which a usual one can be told.
const ENOUGH: usize = 4;
const REMEMBERED: usize = 8;
/// How long a connection should be busy with a segment.
const SEGMENT_TIME: Duration = Duration::from_millis(250);
pub(super) const LARGEST_SEGMENT: u64 = 32 * MIB;
const FIRST_SEGMENT_FAR: u64 = 16 * MIB;
/// From how many bytes a rate can be told.
const TELLING: u64 = 1024 * 1024;
