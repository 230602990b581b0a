//! How many connections a host is given: more as long as more of them carry more. Pure.

use std::time::Duration;

/// The number of connections to one host, found by trying.
///
/// It begins with a few, doubles while that pays, and goes back one step where it does not: where
/// each connection is capped, all of them are wanted; where the way or the server is the limit,
/// more of them only get in each other's way.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    limit: usize,
    most: usize,
    phase: Phase,
    /// The step before, and the bytes a second that it carried.
    before: Option<(usize, f64)>,
    hold: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// New connections need time to get going.
    Settle {
        until: Duration,
    },
    Measure {
        since: Duration,
        bytes: u64,
    },
    /// It is as it should be, until it is tried again.
    Hold {
        until: Duration,
    },
}

/// What a host does at a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// Now, on a clock that begins anywhere.
    pub(super) now: Duration,
    /// All bytes that the host has sent so far.
    pub(super) bytes: u64,
    /// The connections that are in use.
    pub(super) active: usize,
    /// How long the host takes to begin with an answer.
    pub(super) latency: Duration,
}

impl Ramp {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            limit: FIRST.min(most),
            most,
            phase: Phase::Settle {
                until: Duration::ZERO,
            },
            before: None,
            hold: SHORTEST_HOLD,
        }
    }

    /// Returns how many connections there may be.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes a look at what the host does.
    pub(super) fn observe(&mut self, flow: Flow) {
        let Flow { now, bytes, .. } = flow;
        if self.before.is_none() && self.limit < FIRST_FAR.min(self.most) && flow.latency >= FAR {
            self.limit = FIRST_FAR.min(self.most);
            return self.settle(flow);
        }
        match self.phase {
            Phase::Hold { until } => {
                if now >= until && self.limit < self.most {
                    self.before = None;
                    self.phase = Phase::Measure { since: now, bytes };
                }
            }
            // With less to do than there may be connections, nothing can be learnt.
            _ if flow.active < self.limit => self.settle(flow),
            Phase::Settle { until } => {
                if now >= until {
                    self.phase = Phase::Measure { since: now, bytes };
                }
            }
            Phase::Measure {
                since,
                bytes: before,
            } => {
                let window = now.saturating_sub(since);
                let came = bytes.saturating_sub(before);
                if window >= WINDOW.max(flow.latency) && came > 0 {
                    self.judge(flow, came as f64 / window.as_secs_f64());
                }
            }
        }
    }

    fn judge(&mut self, flow: Flow, rate: f64) {
        if let Some((limit, slower)) = self.before {
            let expected = self.limit as f64 / limit as f64 - 1.0;
            if rate / slower - 1.0 < WORTHWHILE * expected {
                self.limit = limit;
                return self.rest(flow.now);
            }
        }
        if self.limit == self.most {
            return self.rest(flow.now);
        }
        self.before = Some((self.limit, rate));
        self.limit = (self.limit * 2).min(self.most);
        self.settle(flow);
    }

    fn settle(&mut self, flow: Flow) {
        let until = flow.now + SETTLE.max(flow.latency * 2);
        self.phase = Phase::Settle { until };
    }

    fn rest(&mut self, now: Duration) {
        self.phase = Phase::Hold {
            until: now + self.hold,
        };
        self.hold = (self.hold * 2).min(LONGEST_HOLD);
    }
}

/// As many as the usual clients have.
const FIRST: usize = 4;
/// From here on a host is far: what one connection carries is bounded by the way, and each step takes so long
/// that a small image is over before many are taken.
pub(super) const FAR: Duration = Duration::from_millis(30);
/// With how many a host is begun that is far.
const FIRST_FAR: usize = 16;
/// The part of the growth that twice the connections promise, and that they have to bring.
const WORTHWHILE: f64 = 0.4;
const SETTLE: Duration = Duration::from_millis(40);
const WINDOW: Duration = Duration::from_millis(60);
const SHORTEST_HOLD: Duration = Duration::from_secs(3);
const LONGEST_HOLD: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a host whose rate depends on the connections, in MB/s, and returns the limits over time.
    fn run(rate: impl Fn(usize) -> f64, most: usize, ticks: u64) -> Vec<usize> {
        run_at(Duration::from_millis(1), rate, most, ticks)
    }

    fn run_at(
        latency: Duration,
        rate: impl Fn(usize) -> f64,
        most: usize,
        ticks: u64,
    ) -> Vec<usize> {
        let mut ramp = Ramp::new(most);
        let mut bytes = 0.0;
        (0..ticks)
            .map(|tick| {
                bytes += rate(ramp.limit()) * 1e6 * 0.025;
                ramp.observe(Flow {
                    now: Duration::from_millis(25 * tick),
                    bytes: bytes as u64,
                    active: ramp.limit(),
                    latency,
                });
                ramp.limit()
            })
            .collect()
    }

    #[test]
    fn capped_connections_are_all_used_within_half_a_second() {
        let limits = run(|connections| 30.0 * connections as f64, 24, 20);
        assert_eq!(limits.last(), Some(&24), "{limits:?}");
        // Once there, it stays.
        assert_eq!(run(|n| 30.0 * n as f64, 24, 4_000).last(), Some(&24));
    }

    #[test]
    fn a_server_that_gives_no_more_is_left_with_few() {
        for rate in [|_| 100.0, |n: usize| 400.0 / n as f64] as [fn(usize) -> f64; 2] {
            let limits = run(rate, 24, 4_000);
            let above = limits.iter().filter(|limit| **limit > 4).count();
            assert!(above * 20 < limits.len(), "{above} of {}", limits.len());
            assert!(limits.iter().all(|limit| *limit <= 8));
        }
    }

    #[test]
    fn a_host_that_is_far_is_begun_with_many() {
        let limits = run_at(Duration::from_millis(100), |n| 30.0 * n as f64, 24, 20);
        assert_eq!(limits.first(), Some(&16), "{limits:?}");
        assert_eq!(limits.last(), Some(&24), "{limits:?}");
        // Nor are there more where the way is full by then.
        let limits = run_at(Duration::from_millis(100), |_| 100.0, 64, 4_000);
        assert_eq!(limits.last(), Some(&16), "{limits:?}");
        assert_eq!(run_at(FAR, |_| 100.0, 6, 40).last(), Some(&6));
    }

    #[test]
    fn it_stops_where_the_way_is_full() {
        let limits = run(|n| (30.0 * n as f64).min(200.0), 64, 120);
        assert_eq!(limits.last(), Some(&8), "{limits:?}");
    }

    #[test]
    fn silence_and_idleness_teach_nothing() {
        assert!(run(|_| 0.0, 24, 100).iter().all(|limit| *limit == 4));
        let mut ramp = Ramp::new(24);
        for tick in 0..1_000_u64 {
            ramp.observe(Flow {
                now: Duration::from_millis(25 * tick),
                bytes: tick * 1_000_000,
                active: 2,
                latency: Duration::ZERO,
            });
        }
        assert_eq!(ramp.limit(), 4);
        assert_eq!(Ramp::new(2).limit(), 2);
    }
}
