//! What a gate saw, in a form that reports can show and that does not grow without bound.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::sample::Value;

/// What a gate saw, for reports.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Rounds that were taken, the dropped ones too.
    pub rounds: u32,
    /// Rounds that were dropped, since the control probe was not good.
    pub blind_rounds: u32,
    /// Samples in those rounds.
    pub dropped_samples: u32,
    /// What the control probe said last when it was not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// How long the pass expression had been seen true at the last round, in milliseconds.
    #[serde(rename = "held-ms", serialize_with = "milliseconds")]
    #[schemars(with = "u64")]
    pub held: Duration,
    /// What was seen of each probe.
    pub probes: BTreeMap<String, History>,
}

/// What a gate saw of one probe.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct History {
    /// Number of good samples.
    pub good: u32,
    /// Number of bad samples.
    pub bad: u32,
    /// Number of unknown samples.
    pub unknown: u32,
    /// Number of samples in blind rounds.
    pub dropped: u32,
    /// When it was first seen good, in milliseconds since the gate began.
    #[serde(rename = "first-good-ms", serialize_with = "optional_milliseconds")]
    #[schemars(with = "Option<u64>")]
    pub first_good: Option<Duration>,
    /// When it was last seen good, in milliseconds since the gate began.
    #[serde(rename = "last-good-ms", serialize_with = "optional_milliseconds")]
    #[schemars(with = "Option<u64>")]
    pub last_good: Option<Duration>,
    /// When the bad samples began that no good one has followed, in milliseconds.
    #[serde(rename = "bad-since-ms", serialize_with = "optional_milliseconds")]
    #[schemars(with = "Option<u64>")]
    pub bad_since: Option<Duration>,
    /// The last bad sample.
    pub last_bad: Option<Seen>,
    /// The last unknown sample.
    pub last_unknown: Option<Seen>,
    /// The samples in order, equal neighbours taken together; at most [`History::RUNS`].
    pub runs: VecDeque<Run>,
    /// Number of samples in older runs that are not kept.
    pub forgotten: u32,
}

impl History {
    /// How many runs are kept.
    pub const RUNS: usize = 100;

    /// Returns the newest samples as letters, the oldest first: `G` good, `B` bad, `?` unknown,
    /// `-` dropped. A line that does not hold them all begins with `…`.
    #[must_use]
    pub fn line(&self, longest: usize) -> String {
        let mut letters: VecDeque<char> = VecDeque::new();
        let mut whole = self.forgotten == 0;
        for run in self.runs.iter().rev() {
            let room = longest.saturating_sub(letters.len());
            let count = run.count as usize;
            whole &= count <= room;
            for _ in 0..count.min(room) {
                letters.push_front(run.kind.letter());
            }
        }
        if !whole {
            letters.push_front('…');
        }
        letters.into_iter().collect()
    }

    pub(super) fn take(&mut self, at: Duration, value: &Value) {
        match value {
            Value::Bad(reason) => {
                self.bad += 1;
                self.bad_since.get_or_insert(at);
                self.last_bad = Some(Seen {
                    at,
                    reason: reason.clone(),
                });
                self.push(at, Kind::Bad, Some(reason));
            }
            Value::Good => {
                self.good += 1;
                self.first_good.get_or_insert(at);
                self.last_good = Some(at);
                self.bad_since = None;
                self.push(at, Kind::Good, None);
            }
            Value::Unknown(reason) => {
                self.unknown += 1;
                self.last_unknown = Some(Seen {
                    at,
                    reason: reason.clone(),
                });
                self.push(at, Kind::Unknown, Some(reason));
            }
        }
    }

    pub(super) fn drop_sample(&mut self, at: Duration) {
        self.dropped += 1;
        self.push(at, Kind::Dropped, None);
    }

    fn push(&mut self, at: Duration, kind: Kind, reason: Option<&String>) {
        if let Some(run) = self.runs.back_mut()
            && run.kind == kind
            && run.reason.as_ref() == reason
        {
            run.count += 1;
            run.to = at;
            return;
        }
        if self.runs.len() == Self::RUNS
            && let Some(oldest) = self.runs.pop_front()
        {
            self.forgotten += oldest.count;
        }
        self.runs.push_back(Run {
            kind,
            count: 1,
            from: at,
            to: at,
            reason: reason.cloned(),
        });
    }
}

/// A sample with its reason.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Seen {
    /// When, in milliseconds since the gate began.
    #[serde(rename = "at-ms", serialize_with = "milliseconds")]
    #[schemars(with = "u64")]
    pub at: Duration,
    /// Why it was not good.
    pub reason: String,
}

/// Equal samples that followed each other.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Run {
    /// What they were.
    pub kind: Kind,
    /// How many.
    pub count: u32,
    /// When the first was there, in milliseconds since the gate began.
    #[serde(rename = "from-ms", serialize_with = "milliseconds")]
    #[schemars(with = "u64")]
    pub from: Duration,
    /// When the last was there, in milliseconds since the gate began.
    #[serde(rename = "to-ms", serialize_with = "milliseconds")]
    #[schemars(with = "u64")]
    pub to: Duration,
    /// Why they were not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a sample came to.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The service was seen bad.
    Bad,
    /// The sample was in a blind round.
    Dropped,
    /// The service was seen good.
    Good,
    /// Nothing was seen of the service.
    Unknown,
}

impl Kind {
    /// Returns the letter in a [`History::line`].
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Bad => 'B',
            Self::Dropped => '-',
            Self::Good => 'G',
            Self::Unknown => '?',
        }
    }
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn optional_milliseconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn samples_become_runs_and_facts() {
        let mut history = History::default();
        history.take(at(0), &Value::Bad("503".into()));
        history.take(at(5), &Value::Bad("503".into()));
        history.take(at(10), &Value::Bad("500".into()));
        history.take(at(15), &Value::Good);
        history.drop_sample(at(20));
        history.take(at(25), &Value::Unknown("no grant".into()));
        history.take(at(30), &Value::Bad("502".into()));
        assert_eq!(history.line(60), "BBBG-?B");
        assert_eq!(history.line(3), "…-?B");
        insta::assert_json_snapshot!(history, @r#"
        {
          "good": 1,
          "bad": 4,
          "unknown": 1,
          "dropped": 1,
          "first-good-ms": 15000,
          "last-good-ms": 15000,
          "bad-since-ms": 30000,
          "last-bad": {
            "at-ms": 30000,
            "reason": "502"
          },
          "last-unknown": {
            "at-ms": 25000,
            "reason": "no grant"
          },
          "runs": [
            {
              "kind": "bad",
              "count": 2,
              "from-ms": 0,
              "to-ms": 5000,
              "reason": "503"
            },
            {
              "kind": "bad",
              "count": 1,
              "from-ms": 10000,
              "to-ms": 10000,
              "reason": "500"
            },
            {
              "kind": "good",
              "count": 1,
              "from-ms": 15000,
              "to-ms": 15000
            },
            {
              "kind": "dropped",
              "count": 1,
              "from-ms": 20000,
              "to-ms": 20000
            },
            {
              "kind": "unknown",
              "count": 1,
              "from-ms": 25000,
              "to-ms": 25000,
              "reason": "no grant"
            },
            {
              "kind": "bad",
              "count": 1,
              "from-ms": 30000,
              "to-ms": 30000,
              "reason": "502"
            }
          ],
          "forgotten": 0
        }
        "#);
    }

    #[test]
    fn a_flapping_probe_does_not_grow_without_bound() {
        let mut history = History::default();
        for second in 0..1000 {
            let value = if second % 2 == 0 {
                Value::Good
            } else {
                Value::Bad("x".into())
            };
            history.take(at(second), &value);
        }
        assert_eq!(history.runs.len(), History::RUNS);
        assert_eq!(history.forgotten, 900);
        assert_eq!(history.good + history.bad, 1000);
        assert_eq!(history.line(4), "…GBGB");
        assert_eq!(history.line(1000).chars().count(), 101);
    }
}
