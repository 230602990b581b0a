//! What is known of one probe, and for how long the pass expression has been true.

use std::time::Duration;

use super::sample::Value;

/// What the answers so far prove of one probe, and what they leave possible.
///
/// The two differ by what was not seen: [`proven`](Self::proven) takes nothing for granted,
/// [`possible`](Self::possible) takes every answer that is missing for a good one.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// Good answers since the last bad one; unknown answers are passed over.
    streak: u32,
    /// Answers, good or unknown, since the last bad one; nothing if there was no bad one.
    since_bad: Option<u32>,
    /// Whether the latest round saw it good.
    good_now: bool,
}

impl Track {
    /// Takes an answer, or nothing if the probe could not be seen.
    pub(super) fn take(&mut self, value: Option<&Value>) {
        match value {
            Some(Value::Bad(_)) => {
                *self = Self {
                    since_bad: Some(0),
                    ..Self::default()
                };
                return;
            }
            Some(Value::Good) => {
                self.streak = self.streak.saturating_add(1);
                self.good_now = true;
            }
            Some(Value::Unknown(_)) | None => self.good_now = false,
        }
        self.since_bad = self.since_bad.map(|rounds| rounds.saturating_add(1));
    }

    /// Notes that the deadline came before the answer: a good one would not have counted.
    pub(super) fn cut_off(&mut self) {
        self.good_now = false;
    }

    /// Says whether it is good: seen so now, and often enough in a row.
    pub(super) fn proven(&self, needed: u32) -> bool {
        self.good_now && self.streak >= needed
    }

    /// Says whether it would be good if all that was not seen had been good.
    pub(super) fn possible(&self, needed: u32) -> bool {
        self.missing(needed) == 0
    }

    /// Returns how many more rounds it takes at least until it can be good.
    pub(super) fn missing(&self, needed: u32) -> u32 {
        self.since_bad
            .map_or(0, |rounds| needed.saturating_sub(rounds))
    }

    /// Returns the good answers since the last bad one.
    pub(super) const fn streak(&self) -> u32 {
        self.streak
    }
}

/// Whether the pass expression is true at a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Truth {
    False,
    True,
    Unknown,
}

/// How long the pass expression has been true without having been false.
#[derive(Clone, Debug, Default)]
pub(super) struct Hold {
    held: Duration,
    last_true: Option<Duration>,
}

impl Hold {
    /// Returns a hold that counts as true from this moment on.
    pub(super) fn true_since(at: Duration) -> Self {
        Self {
            held: Duration::ZERO,
            last_true: Some(at),
        }
    }

    /// Notes the truth at a moment. The time between two true moments counts, if nothing else
    /// was noted between them; an unknown moment stops the clock, a false one sets it back.
    pub(super) fn note(&mut self, at: Duration, truth: Truth) {
        match truth {
            Truth::False => *self = Self::default(),
            Truth::True => {
                if let Some(last) = self.last_true {
                    self.held = self.held.saturating_add(at.saturating_sub(last));
                }
                self.last_true = Some(at);
            }
            Truth::Unknown => self.last_true = None,
        }
    }

    /// Returns the time that counts.
    pub(super) const fn held(&self) -> Duration {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(line: &str) -> Track {
        let mut track = Track::default();
        for letter in line.chars() {
            match letter {
                'G' => track.take(Some(&Value::Good)),
                'B' => track.take(Some(&Value::Bad(String::new()))),
                '?' => track.take(Some(&Value::Unknown(String::new()))),
                '-' => track.take(None),
                _ => track.cut_off(),
            }
        }
        track
    }

    #[test]
    fn unknown_answers_neither_grow_nor_break_a_streak() {
        for (line, needed, proven, possible) in [
            ("", 1, false, true),
            ("G", 1, true, true),
            ("G", 2, false, true),
            ("G?G", 2, true, true),
            ("GG?", 2, false, true),
            ("GGB", 2, false, false),
            ("BG", 2, false, false),
            ("B?", 2, false, false),
            ("B?G", 2, false, true),
            ("B--", 2, false, true),
            ("BGG", 2, true, true),
            ("GGx", 2, false, true),
            ("Bxxx", 1, false, false),
        ] {
            let track = track(line);
            assert_eq!(track.proven(needed), proven, "{line} of {needed}");
            assert_eq!(track.possible(needed), possible, "{line} of {needed}");
        }
    }

    #[test]
    fn a_hold_counts_seen_time_only() {
        let mut hold = Hold::default();
        let mut note = |at: u64, truth| {
            hold.note(Duration::from_secs(at), truth);
            hold.held().as_secs()
        };
        assert_eq!(note(5, Truth::True), 0);
        assert_eq!(note(10, Truth::True), 5);
        assert_eq!(note(15, Truth::Unknown), 5);
        assert_eq!(note(60, Truth::True), 5);
        assert_eq!(note(65, Truth::True), 10);
        assert_eq!(note(70, Truth::False), 0);
        assert_eq!(note(75, Truth::True), 0);
    }
}
