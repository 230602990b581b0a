//! What was requested: counts for plans, records for reports.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;

use super::Timing;

/// A shared view of every request that a [`Client`](super::Client) has sent.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<Mutex<State>>);

impl RequestLog {
    /// The most records that are kept; older ones are dropped, and still counted.
    pub const KEPT: usize = 10_000;

    /// Returns how many requests were sent and how many body bytes were read so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// Returns the records, oldest first; those of requests under way are as far as these are.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.state().records.iter().cloned().collect()
    }

    pub(super) fn begin(&self, method: Method, url: String) -> Entry {
        let mut state = self.state();
        state.totals.requests += 1;
        if state.records.len() == Self::KEPT {
            state.records.pop_front();
        }
        state.records.push_back(Record {
            method,
            url,
            status: None,
            request_id: None,
            body_bytes: 0,
            error: None,
            timing: Timing::default(),
            remote: None,
        });
        Entry {
            log: self.clone(),
            number: state.totals.requests,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sums over all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent, those that failed included.
    pub requests: u64,
    /// Body bytes received.
    pub body_bytes: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The method.
    pub method: Method,
    /// The redacted URL.
    pub url: String,
    /// The status, once there is one.
    pub status: Option<u16>,
    /// The id that the server gave the request, for its support.
    pub request_id: Option<String>,
    /// Body bytes received so far.
    pub body_bytes: u64,
    /// Why it failed.
    pub error: Option<String>,
    /// How long its parts took.
    pub timing: Timing,
    /// The address that answered.
    pub remote: Option<SocketAddr>,
}

/// One request's place in the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    log: RequestLog,
    number: u64,
}

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut Record)) {
        let mut state = self.log.state();
        if let Some(record) = state.record(self.number) {
            change(record);
        }
    }

    pub(super) fn received(&self, bytes: u64) {
        let mut state = self.log.state();
        state.totals.body_bytes += bytes;
        if let Some(record) = state.record(self.number) {
            record.body_bytes += bytes;
        }
    }
}

#[derive(Debug, Default)]
struct State {
    records: VecDeque<Record>,
    totals: Totals,
}

impl State {
    fn record(&mut self, number: u64) -> Option<&mut Record> {
        let kept = self.records.len() as u64;
        let first = self.totals.requests - kept + 1;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        self.records.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_records_go_and_counts_stay() {
        let log = RequestLog::default();
        let first = log.begin(Method::GET, "0".to_owned());
        let second = log.begin(Method::GET, "1".to_owned());
        for number in 2..=RequestLog::KEPT {
            log.begin(Method::GET, number.to_string());
        }
        first.received(5);
        second.received(7);
        let records = log.records();
        assert_eq!(records.len(), RequestLog::KEPT);
        assert_eq!((records[0].url.as_str(), records[0].body_bytes), ("1", 7));
        assert_eq!(
            log.totals(),
            Totals {
                requests: RequestLog::KEPT as u64 + 1,
                body_bytes: 12
            }
        );
    }
}
