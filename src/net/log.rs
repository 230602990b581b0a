//! What was requested: counts for plans, records for reports.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use url::{Position, Url};

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

    /// Returns what was asked of each host, by the begin of its URLs up to the path. Requests whose records were
    /// dropped count as they stood then.
    #[must_use]
    pub fn hosts(&self) -> BTreeMap<String, HostTotals> {
        let state = self.state();
        let mut hosts = state.dropped.clone();
        for record in &state.records {
            count(&mut hosts, record);
        }
        hosts
    }

    pub(super) fn begin(&self, method: Method, url: String) -> Entry {
        let mut state = self.state();
        state.totals.requests += 1;
        if state.records.len() == Self::KEPT {
            let State {
                records, dropped, ..
            } = &mut *state;
            records
                .pop_front()
                .iter()
                .for_each(|old| count(dropped, old));
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

/// The sums over the requests to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostTotals {
    /// Requests sent, those that failed included.
    pub requests: u64,
    /// Those without an answer, or with one that says to come again: a status from 500 on, or 429.
    pub failed: u64,
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

impl Record {
    fn has_failed(&self) -> bool {
        let answered = |status| status < 500 && status != 429;
        self.error.is_some() || !self.status.is_some_and(answered)
    }
}

fn count(hosts: &mut BTreeMap<String, HostTotals>, record: &Record) {
    let parsed = Url::parse(&record.url);
    let host = parsed.as_ref().map_or(&*record.url, |url| {
        &url[Position::BeforeScheme..Position::BeforePath]
    });
    let totals = hosts.entry(host.to_owned()).or_default();
    totals.requests += 1;
    totals.failed += u64::from(record.has_failed());
    totals.body_bytes += record.body_bytes;
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
    /// The sums over the records that were dropped.
    dropped: BTreeMap<String, HostTotals>,
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
    fn requests_are_counted_by_host_when_their_records_are_gone() {
        let log = RequestLog::default();
        let sent = RequestLog::KEPT as u64 + 7;
        for number in 0..sent {
            let entry = log.begin(Method::GET, format!("http://a.example:80/{number}"));
            entry.received(2);
            entry.update(|record| record.status = Some(200));
        }
        log.begin(Method::GET, "https://b.example/x?y".to_owned());
        let hosts: Vec<_> = log.hosts().into_iter().collect();
        let totals = |requests, failed, body_bytes| HostTotals {
            requests,
            failed,
            body_bytes,
        };
        assert_eq!(
            hosts,
            [
                ("http://a.example".to_owned(), totals(sent, 0, 2 * sent)),
                ("https://b.example".to_owned(), totals(1, 1, 0)),
            ]
        );
    }

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
