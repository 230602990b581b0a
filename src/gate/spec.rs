//! What a gate asks for, checked so that a gate that could never pass does not exist.

use std::collections::BTreeMap;
use std::time::Duration;

use super::words::setting;

/// The name that reports give to the control probe; no other probe may have it.
pub const CONTROL: &str = "control";

/// What a gate asks for, as it stands in the document.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The deadline, counted from the gate's begin.
    pub within: Duration,
    /// The pause between the begins of two rounds.
    pub every: Duration,
    /// How long after the gate's begin the first round is taken.
    pub start_after: Duration,
    /// How long the pass expression must stay true.
    pub hold: Duration,
    /// The probes by name, with what each needs to count as good.
    pub probes: BTreeMap<String, Rule>,
    /// Which probes must be good; nothing means all of them.
    pub pass: Option<Pass>,
    /// Whether a control probe is asked beside each round.
    pub control: bool,
}

/// When a probe counts as good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// After this many good answers in a row.
    Consecutive(u32),
}

impl Rule {
    /// Returns how many good answers in a row the rule needs.
    #[must_use]
    pub const fn needed(self) -> u32 {
        match self {
            Self::Consecutive(needed) => needed,
        }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self::Consecutive(1)
    }
}

/// Which probes must be good: `all`, and one of `any`, and enough of `at_least`.
///
/// A part that is left out asks for nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pass {
    /// Probes that must all be good.
    pub all: Vec<String>,
    /// Probes of which one must be good.
    pub any: Vec<String>,
    /// A number, and the probes of which so many must be good.
    pub at_least: Option<(u32, Vec<String>)>,
}

impl Pass {
    /// Evaluates the expression over what is said of each probe.
    #[must_use]
    pub fn holds(&self, mut good: impl FnMut(&str) -> bool) -> bool {
        self.all.iter().all(|name| good(name))
            && (self.any.is_empty() || self.any.iter().any(|name| good(name)))
            && self.at_least.as_ref().is_none_or(|(count, of)| {
                let good = of.iter().filter(|name| good(name)).count();
                good >= *count as usize
            })
    }

    /// Returns after how many rounds the expression can be true at the earliest, if each probe
    /// can be good after so many.
    pub(super) fn earliest(&self, mut rounds: impl FnMut(&str) -> u128) -> u128 {
        let all = self.all.iter().map(|name| rounds(name)).max();
        let any = self.any.iter().map(|name| rounds(name)).min();
        let at_least = self.at_least.as_ref().and_then(|(count, of)| {
            let mut each: Vec<u128> = of.iter().map(|name| rounds(name)).collect();
            each.sort_unstable();
            each.get((*count as usize).checked_sub(1)?).copied()
        });
        [all, any, at_least]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(0)
    }

    /// Returns each probe that is named, as often as it is, with the part that names it.
    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = self.all.iter().map(|name| ("all", name.as_str()));
        let any = self.any.iter().map(|name| ("any", name.as_str()));
        let of = self.at_least.iter().flat_map(|(_, of)| of);
        all.chain(any)
            .chain(of.map(|name| ("at-least", name.as_str())))
    }
}

/// A gate that can pass: what [`Settings`] become when nothing is wrong with them.
#[derive(Clone, Debug)]
pub struct Spec {
    settings: Settings,
    pass: Pass,
}

impl Spec {
    /// Checks the settings, and returns every fault at once.
    ///
    /// # Errors
    /// Each [`SpecError`] that applies, in the order of the document's keys.
    pub fn try_new(settings: Settings) -> Result<Self, Vec<SpecError>> {
        let pass = settings.pass.clone().unwrap_or_else(|| Pass {
            all: settings.probes.keys().cloned().collect(),
            ..Pass::default()
        });
        let mut errors = times(&settings);
        errors.extend(probes(&settings));
        errors.extend(expression(&settings, &pass));
        let spec = Self { settings, pass };
        if errors.is_empty() {
            errors.extend(spec.never_passes());
        }
        if errors.is_empty() {
            Ok(spec)
        } else {
            Err(errors)
        }
    }

    /// Returns the deadline, counted from the gate's begin.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.settings.within
    }

    /// Returns the pause between the begins of two rounds.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.settings.every
    }

    /// Returns how long after the gate's begin the first round is taken.
    #[must_use]
    pub const fn start_after(&self) -> Duration {
        self.settings.start_after
    }

    /// Returns how long the pass expression must stay true.
    #[must_use]
    pub const fn hold(&self) -> Duration {
        self.settings.hold
    }

    /// Returns the probes by name.
    #[must_use]
    pub const fn probes(&self) -> &BTreeMap<String, Rule> {
        &self.settings.probes
    }

    /// Returns the pass expression.
    #[must_use]
    pub const fn pass(&self) -> &Pass {
        &self.pass
    }

    /// Says whether a control probe is asked beside each round.
    #[must_use]
    pub const fn control(&self) -> bool {
        self.settings.control
    }

    /// Returns how many rounds can begin from `first` on and before the deadline.
    pub(super) fn rounds_from(&self, first: Duration) -> u128 {
        let room = self.within().saturating_sub(first);
        rounds(room, self.every())
    }

    /// Returns how many rounds beyond the first true one it takes to fill this time.
    pub(super) fn rounds_to_fill(&self, time: Duration) -> u128 {
        rounds(time, self.every())
    }

    fn never_passes(&self) -> Option<SpecError> {
        // Each probe by itself must be able to count, also one that `any` could do without: a
        // probe that can't is a mistake, and a verdict must not hang on samples that no time
        // was left for.
        let needed = self.probes().values().map(|rule| rule.needed()).max();
        let needed = u128::from(needed.unwrap_or(1));
        let hold_rounds = self.rounds_to_fill(self.hold());
        let rounds = needed.saturating_add(hold_rounds);
        if rounds <= self.rounds_from(self.start_after()) {
            return None;
        }
        let steps = u32::try_from(rounds - 1).unwrap_or(u32::MAX);
        let earliest = self
            .every()
            .saturating_mul(steps)
            .saturating_add(self.start_after());
        Some(SpecError::NeverPasses {
            earliest,
            within: self.within(),
        })
    }
}

/// A reason to refuse a gate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// More probes are asked for than are listed.
    #[error("`at-least` asks for {count} of {of} probes")]
    AtLeastTooMany {
        /// How many are asked for.
        count: u32,
        /// How many are listed.
        of: usize,
    },
    /// No probe is asked for.
    #[error("`at-least` asks for none of its probes")]
    AtLeastZero,
    /// A probe is named twice in one part of the pass expression.
    #[error("`{part}` names the probe `{probe}` twice")]
    DuplicateProbe {
        /// The part: `all`, `any` or `at-least`.
        part: &'static str,
        /// The probe.
        probe: String,
    },
    /// There is no time between two rounds.
    #[error("`every` is nought")]
    EveryZero,
    /// There are fewer than one round.
    #[error("`every` is {}, longer than `within`, which is {}", setting(*.every), setting(*.within))]
    EveryOverWithin {
        /// The pause between rounds.
        every: Duration,
        /// The deadline.
        within: Duration,
    },
    /// The hold is longer than the gate.
    #[error("`hold` is {}, longer than `within`, which is {}", setting(*.hold), setting(*.within))]
    HoldOverWithin {
        /// The hold.
        hold: Duration,
        /// The deadline.
        within: Duration,
    },
    /// Even a service that is good from the first moment could not pass.
    #[error(
        "the gate can never pass: the earliest moment is {} after its begin, \
         and `within` ends it at {}",
        setting(*.earliest),
        setting(*.within)
    )]
    NeverPasses {
        /// When a service that is always good would pass.
        earliest: Duration,
        /// The deadline.
        within: Duration,
    },
    /// The gate asks nothing.
    #[error("the gate has no probes")]
    NoProbes,
    /// A rule asks for no good answer at all.
    #[error("the probe `{probe}` needs at least 1 consecutive good answer")]
    RuleZero {
        /// The probe.
        probe: String,
    },
    /// The probe has the name that reports give to the control probe.
    #[error("a probe can't be called `control`")]
    ReservedName,
    /// The pass expression names a probe that is not there.
    #[error("`{part}` names the probe `{probe}`, which is not defined")]
    UndefinedProbe {
        /// The part: `all`, `any` or `at-least`.
        part: &'static str,
        /// The probe.
        probe: String,
    },
    /// A probe is asked and its answer ignored.
    #[error("the probe `{probe}` is not used in `pass`")]
    UnusedProbe {
        /// The probe.
        probe: String,
    },
}

impl SpecError {
    /// Returns the edit that helps.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::AtLeastTooMany { of, .. } => {
                format!("lower `count` to {of} or less, or list more probes in `of`")
            }
            Self::AtLeastZero => "set `count` to 1 or more, or remove `at-least`".to_owned(),
            Self::DuplicateProbe { probe, .. } => format!("name `{probe}` once"),
            Self::EveryZero => {
                "set `every` to the pause between two rounds, for instance 5s".to_owned()
            }
            Self::EveryOverWithin { .. } => "make `every` shorter, or `within` longer".to_owned(),
            Self::HoldOverWithin { .. } => "make `hold` shorter, or `within` longer".to_owned(),
            Self::NeverPasses { earliest, .. } => format!(
                "set `within` well over {}, or lower `start-after`, `hold`, `every` or `consecutive`",
                setting(*earliest)
            ),
            Self::NoProbes => "add at least one probe under `probes`".to_owned(),
            Self::RuleZero { .. } => "set `consecutive` to 1 or more".to_owned(),
            Self::ReservedName => "give the probe another name".to_owned(),
            Self::UndefinedProbe { probe, .. } => {
                format!("define `{probe}` under `probes`, or remove it from `pass`")
            }
            Self::UnusedProbe { probe, .. } => {
                format!("add `{probe}` to `pass`, or remove the probe")
            }
        }
    }
}

fn times(settings: &Settings) -> Vec<SpecError> {
    let Settings {
        within,
        every,
        hold,
        ..
    } = *settings;
    let mut errors = Vec::new();
    if every.is_zero() {
        errors.push(SpecError::EveryZero);
    }
    if every > within {
        errors.push(SpecError::EveryOverWithin { every, within });
    }
    if hold > within {
        errors.push(SpecError::HoldOverWithin { hold, within });
    }
    errors
}

fn probes(settings: &Settings) -> Vec<SpecError> {
    let mut errors = Vec::new();
    if settings.probes.is_empty() {
        errors.push(SpecError::NoProbes);
    }
    if settings.probes.contains_key(CONTROL) {
        errors.push(SpecError::ReservedName);
    }
    for (probe, rule) in &settings.probes {
        if rule.needed() == 0 {
            let probe = probe.clone();
            errors.push(SpecError::RuleZero { probe });
        }
    }
    errors
}

fn expression(settings: &Settings, pass: &Pass) -> Vec<SpecError> {
    let mut errors = Vec::new();
    let mut seen = Vec::new();
    for (part, probe) in pass.names() {
        let owned = probe.to_owned();
        if seen.contains(&(part, probe)) {
            errors.push(SpecError::DuplicateProbe { part, probe: owned });
        } else if !settings.probes.contains_key(probe) {
            errors.push(SpecError::UndefinedProbe { part, probe: owned });
        }
        seen.push((part, probe));
    }
    for probe in settings.probes.keys() {
        if !seen.iter().any(|(_, name)| name == probe) {
            let probe = probe.clone();
            errors.push(SpecError::UnusedProbe { probe });
        }
    }
    match &pass.at_least {
        Some((0, _)) => errors.push(SpecError::AtLeastZero),
        Some((count, of)) if *count as usize > of.len() => {
            errors.push(SpecError::AtLeastTooMany {
                count: *count,
                of: of.len(),
            });
        }
        _ => {}
    }
    errors
}

/// Returns how many steps of `every` it takes to cover `time`.
fn rounds(time: Duration, every: Duration) -> u128 {
    if every.is_zero() {
        return 0;
    }
    time.as_nanos().div_ceil(every.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(probes: &[(&str, u32)]) -> Settings {
        let probes = probes
            .iter()
            .map(|(name, needed)| ((*name).to_owned(), Rule::Consecutive(*needed)))
            .collect();
        Settings {
            within: Duration::from_secs(60),
            every: Duration::from_secs(5),
            start_after: Duration::ZERO,
            hold: Duration::ZERO,
            probes,
            pass: None,
            control: false,
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn errors(settings: Settings) -> Vec<String> {
        let errors = Spec::try_new(settings).unwrap_err();
        assert!(errors.iter().all(|error| !error.hint().is_empty()));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_pass_expression_all_probes_must_be_good() {
        let spec = Spec::try_new(settings(&[("a", 1), ("b", 2)])).unwrap();
        assert_eq!(spec.pass().all, ["a", "b"]);
        assert!(spec.pass().holds(|_| true));
        assert!(!spec.pass().holds(|name| name == "a"));
    }

    #[test]
    fn the_three_parts_are_joined_by_and() {
        let pass = Pass {
            all: list(&["a"]),
            any: list(&["b", "c"]),
            at_least: Some((2, list(&["d", "e", "f"]))),
        };
        let holds = |good: &str| pass.holds(|name| good.contains(name));
        assert!(holds("abde") && holds("acef") && holds("abcdef"));
        assert!(!holds("bde") && !holds("ade") && !holds("abd"));
    }

    #[test]
    fn faults_come_together() {
        let settings = Settings {
            within: Duration::from_secs(4),
            hold: Duration::from_secs(9),
            pass: Some(Pass {
                all: list(&["a", "a"]),
                any: list(&["x"]),
                at_least: Some((3, list(&["a"]))),
            }),
            ..settings(&[("a", 0), ("b", 1), ("control", 1)])
        };
        insta::assert_snapshot!(errors(settings).join("\n"), @r"
        `every` is 5s, longer than `within`, which is 4s
        `hold` is 9s, longer than `within`, which is 4s
        a probe can't be called `control`
        the probe `a` needs at least 1 consecutive good answer
        `all` names the probe `a` twice
        `any` names the probe `x`, which is not defined
        the probe `b` is not used in `pass`
        the probe `control` is not used in `pass`
        `at-least` asks for 3 of 1 probes
        ");
    }

    #[test]
    fn empty_and_nought_are_refused() {
        assert_eq!(errors(settings(&[])), ["the gate has no probes"]);
        let every = Settings {
            every: Duration::ZERO,
            ..settings(&[("a", 1)])
        };
        assert_eq!(errors(every), ["`every` is nought"]);
        let at_least = Settings {
            pass: Some(Pass {
                at_least: Some((0, list(&["a"]))),
                ..Pass::default()
            }),
            ..settings(&[("a", 1)])
        };
        assert_eq!(errors(at_least), ["`at-least` asks for none of its probes"]);
    }

    #[test]
    fn a_gate_that_can_never_pass_is_refused() {
        // Rounds begin at 0, 5, … 55 s: twelve of them.
        assert!(Spec::try_new(settings(&[("a", 12)])).is_ok());
        assert_eq!(
            errors(settings(&[("a", 13)])),
            [
                "the gate can never pass: the earliest moment is 1m after its begin, and `within` ends it at 1m"
            ]
        );
        let late = Settings {
            start_after: Duration::from_secs(20),
            hold: Duration::from_secs(31),
            ..settings(&[("a", 2)])
        };
        assert_eq!(
            errors(late),
            [
                "the gate can never pass: the earliest moment is 1m after its begin, and `within` ends it at 1m"
            ]
        );
        let start = Settings {
            start_after: Duration::from_secs(60),
            ..settings(&[("a", 1)])
        };
        assert_eq!(errors(start).len(), 1);
        let huge = Settings {
            hold: Duration::MAX,
            within: Duration::MAX,
            every: Duration::from_nanos(1),
            ..settings(&[("a", u32::MAX)])
        };
        assert_eq!(errors(huge).len(), 1);
    }

    #[test]
    fn earliest_is_the_slowest_of_all_the_fastest_of_any_and_the_nth_of_at_least() {
        let pass = Pass {
            all: list(&["1"]),
            any: list(&["9", "4"]),
            at_least: Some((2, list(&["7", "2", "6"]))),
        };
        let rounds = |name: &str| name.parse().unwrap();
        assert_eq!(pass.earliest(rounds), 6);
        assert_eq!(Pass::default().earliest(rounds), 0);
    }
}
