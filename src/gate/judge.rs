//! The verdict.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::{History, Summary};
use super::reason;
use super::sample::{Round, Value};
use super::spec::Spec;
use super::track::{Hold, Track, Truth};
use crate::failure::Failure;

/// Takes rounds of samples and says what they come to.
///
/// Two readings of the samples run side by side. The strict one takes nothing for granted; the
/// kind one takes every answer that is missing for a good one.
///
/// | verdict | when |
/// |---|---|
/// | passed | strictly read, the pass expression was true for `hold` |
/// | failed | even kindly read, it was not and can't be any more before `within` |
/// | inconclusive | `within` is over, and it hangs on what was not seen |
///
/// From this follows what each answer does:
///
/// | answer | to the probe's streak | to the hold's clock |
/// |---|---|---|
/// | good | one more | runs on, if the expression is true |
/// | bad | back to nought; the probe is not good until it has `consecutive` good answers again | back to nought, if the expression gets false |
/// | unknown, or none | passed over: neither more nor less | stands still, unless the expression is true without this probe |
/// | any, in a blind round | as unknown | stands still |
///
/// A blind round is one in which the control probe was not good: what the other probes found is
/// dropped, good answers too. A round before `start_after` is ignored, and so is one that begins
/// at the deadline or later. A probe whose answer the deadline cut off has not answered: this
/// neither helps nor excuses it.
///
/// The verdict never gets worse when an answer gets better (bad, unknown, good, in this order),
/// and without a single bad answer the gate does not fail, without a single good one it does not
/// pass.
#[derive(Clone, Debug)]
pub struct Judge {
    spec: Spec,
    tracks: BTreeMap<String, Track>,
    strict: Hold,
    kind: Hold,
    /// When the next round may begin.
    next: Duration,
    /// When the last round that counts began.
    last: Option<Duration>,
    /// When the kind reading was false last, and which probes made it so.
    broken: Option<(Duration, Vec<String>)>,
    blind_now: bool,
    passed: bool,
    summary: Summary,
}

/// What the samples so far come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// The service was seen to fail.
    Failed {
        /// What was bad, since when, and the last answer.
        reason: String,
    },
    /// Too little was seen to decide.
    Inconclusive {
        /// What was not seen, and why.
        reason: String,
    },
    /// The service was seen good for as long as asked for.
    Passed,
    /// Take another round.
    Wait {
        /// For what, in one phrase that stays the same while nothing changes.
        reason: String,
        /// When to begin it, counted from the gate's begin; never after `within`.
        until: Duration,
    },
}

impl Judge {
    /// Returns a judge that has seen nothing.
    #[must_use]
    pub fn new(spec: Spec) -> Self {
        let names = || spec.probes().keys().cloned();
        let tracks = names().map(|name| (name, Track::default())).collect();
        let probes = names().map(|name| (name, History::default())).collect();
        Self {
            tracks,
            strict: Hold::default(),
            kind: Hold::true_since(spec.start_after()),
            next: spec.start_after(),
            last: None,
            broken: None,
            blind_now: false,
            passed: false,
            summary: Summary {
                probes,
                ..Summary::default()
            },
            spec,
        }
    }

    /// Takes the answers of one round.
    ///
    /// Samples of probes that the gate does not have are ignored, and of two samples of one probe
    /// the last counts. After the gate has passed, nothing changes that.
    pub fn feed(&mut self, round: &Round) {
        if self.passed || round.began < self.spec.start_after() || round.began >= self.spec.within()
        {
            return;
        }
        let began = round.began.max(self.last.unwrap_or_default());
        self.last = Some(began);
        self.next = began.saturating_add(self.spec.every()).max(round.ended);
        self.summary.rounds += 1;
        self.blind_now = self.spec.control() && round.control != Some(Value::Good);
        if self.blind_now {
            self.drop_round(round);
        } else {
            self.take_round(round);
        }
        self.note(began);
    }

    /// Returns what the rounds so far come to at this time, counted from the gate's begin.
    #[must_use]
    pub fn decide(&self, now: Duration) -> Decision {
        if self.passed {
            return Decision::Passed;
        }
        let within = self.spec.within();
        let over = now >= within || !self.has_time();
        if self.too_late() || (over && !self.could_have_passed()) {
            return Decision::Failed {
                reason: reason::failed(self),
            };
        }
        if over {
            return Decision::Inconclusive {
                reason: reason::inconclusive(self),
            };
        }
        Decision::Wait {
            reason: reason::waiting(self, now),
            until: self.next,
        }
    }

    /// Returns what was seen so far, for reports.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the failure for the report if the decision at this time is that the gate failed or
    /// is inconclusive.
    #[must_use]
    pub fn failure(&self, now: Duration) -> Option<Failure> {
        reason::failure(self, now)
    }

    pub(super) const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Says whether another round can begin before the deadline.
    pub(super) fn has_time(&self) -> bool {
        self.next < self.spec.within()
    }

    pub(super) const fn blind_now(&self) -> bool {
        self.blind_now
    }

    /// Returns how long the strict reading has been true.
    pub(super) const fn held(&self) -> Duration {
        self.strict.held()
    }

    /// Returns when the kind reading was false last, and by which probes.
    pub(super) fn broken(&self) -> Option<(Duration, &[String])> {
        let (at, probes) = self.broken.as_ref()?;
        Some((*at, probes))
    }

    /// Says whether the kind reading is true at the last round.
    pub(super) fn possible(&self) -> bool {
        self.spec.pass().holds(|name| {
            let (track, needed) = self.track(name);
            track.possible(needed)
        })
    }

    /// Says whether the strict reading is true at the last round.
    pub(super) fn proven(&self) -> bool {
        self.spec.pass().holds(|name| {
            let (track, needed) = self.track(name);
            track.proven(needed)
        })
    }

    /// Returns what is known of a probe of the gate, and how many good answers it needs.
    pub(super) fn track(&self, name: &str) -> (Track, u32) {
        let track = self.tracks.get(name).cloned().unwrap_or_default();
        let needed = self.spec.probes().get(name).copied().unwrap_or_default();
        (track, needed.needed())
    }

    fn take_round(&mut self, round: &Round) {
        let within = self.spec.within();
        let cut_off = round.ended >= within;
        for (name, track) in &mut self.tracks {
            let sample = round
                .samples
                .iter()
                .rev()
                .find(|sample| sample.probe == *name);
            match sample.filter(|sample| sample.at <= within) {
                Some(sample) => {
                    track.take(Some(&sample.value));
                    if let Some(history) = self.summary.probes.get_mut(name) {
                        history.take(sample.at, &sample.value);
                    }
                }
                None if cut_off => track.cut_off(),
                None => track.take(None),
            }
        }
    }

    fn drop_round(&mut self, round: &Round) {
        let cut_off = round.ended >= self.spec.within();
        self.summary.blind_rounds += 1;
        self.summary.control = match &round.control {
            Some(value) => value.reason().map(str::to_owned),
            None => Some("no answer".to_owned()),
        };
        for (name, track) in &mut self.tracks {
            if let Some(sample) = round.samples.iter().rev().find(|it| it.probe == *name) {
                self.summary.dropped_samples += 1;
                if let Some(history) = self.summary.probes.get_mut(name) {
                    history.drop_sample(sample.at);
                }
            }
            if cut_off {
                track.cut_off()
            } else {
                track.take(None)
            }
        }
    }

    fn note(&mut self, at: Duration) {
        let possible = self.possible();
        let proven = self.proven();
        let (strict, kind) = match (proven, possible) {
            (true, _) => (Truth::True, Truth::True),
            (false, true) => (Truth::Unknown, Truth::True),
            (false, false) => (Truth::False, Truth::False),
        };
        self.strict.note(at, strict);
        self.kind.note(at, kind);
        self.summary.held = self.held();
        if !possible {
            self.broken = Some((at, self.blockers()));
        }
        self.passed = proven && self.held() >= self.spec.hold();
    }

    /// Returns the probes that are not good even kindly read.
    fn blockers(&self) -> Vec<String> {
        let names = self.spec.probes().keys();
        names
            .filter(|name| {
                let (track, needed) = self.track(name);
                !track.possible(needed)
            })
            .cloned()
            .collect()
    }

    /// Says whether no answers to come can make up for what was bad, however slow the rounds are.
    fn too_late(&self) -> bool {
        let (within, hold) = (self.spec.within(), self.spec.hold());
        let Some(last) = self.last else { return false };
        if self.possible() {
            let room = within.saturating_sub(last);
            return self.kind.held() < hold && self.kind.held().saturating_add(room) <= hold;
        }
        let rounds = self.rounds_until_possible().saturating_sub(1);
        let wait = self
            .spec
            .every()
            .saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        let first_true = self.next.saturating_add(wait);
        first_true.saturating_add(hold) >= within
    }

    /// Says whether the gate would have passed by the deadline if every answer that is missing
    /// had been there and good, in rounds on time.
    fn could_have_passed(&self) -> bool {
        let room = self.spec.rounds_from(self.next);
        let hold = self.spec.hold();
        let needed = if self.possible() {
            let missing = hold.saturating_sub(self.kind.held());
            if missing.is_zero() {
                0
            } else {
                let gap = self.next.saturating_sub(self.last.unwrap_or(self.next));
                1 + self.spec.rounds_to_fill(missing.saturating_sub(gap))
            }
        } else {
            self.rounds_until_possible() + self.spec.rounds_to_fill(hold)
        };
        needed <= room
    }

    fn rounds_until_possible(&self) -> u128 {
        self.spec.pass().earliest(|name| {
            let (track, needed) = self.track(name);
            u128::from(track.missing(needed))
        })
    }
}
