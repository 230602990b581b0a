//! What is checked of a signature, and what follows when a check fails.

use std::collections::BTreeMap;
use std::fmt;

/// How strict a statement is (trust policy specification, "Signature Verification Details").
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Level {
    /// The signature must be whole; everything else is reported only.
    Audit,
    /// The signature must be whole and by the signer; time and revocation are reported only.
    Permissive,
    /// Nothing is looked at.
    Skip,
    /// Every check must pass.
    #[default]
    Strict,
}

impl Level {
    /// Every level with its name, the strictest first.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Strict, "strict"),
        (Self::Permissive, "permissive"),
        (Self::Audit, "audit"),
        (Self::Skip, "skip"),
    ];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Audit => "audit",
            Self::Permissive => "permissive",
            Self::Skip => "skip",
            Self::Strict => "strict",
        })
    }
}

/// A check that a statement can treat otherwise than its level does. That the signature is whole is none of them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Aspect {
    /// Who signed.
    Authenticity,
    /// When it was signed, held against the certificates.
    AuthenticTimestamp,
    /// The end that the signer gave the signature.
    Expiry,
    /// Whether certificates were taken back.
    Revocation,
}

impl Aspect {
    /// Every aspect with its name in trust policies.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Authenticity, "authenticity"),
        (Self::AuthenticTimestamp, "authenticTimestamp"),
        (Self::Expiry, "expiry"),
        (Self::Revocation, "revocation"),
    ];

    /// Returns its name in trust policies.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = Self::ALL.iter().find(|(aspect, _)| *aspect == self);
        known.map_or("", |(_, name)| name)
    }
}

/// What follows when a check fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// The signature does not count.
    Enforce,
    /// It counts, with a warning.
    Log,
    /// The check is not made.
    Skip,
}

impl Action {
    /// Every action with its name.
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Enforce, "enforce"),
        (Self::Log, "log"),
        (Self::Skip, "skip"),
    ];
}

/// A level with what is treated otherwise.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Strictness {
    level: Level,
    overrides: BTreeMap<Aspect, Action>,
}

impl Strictness {
    /// Makes one of a level and of what is treated otherwise.
    ///
    /// # Errors
    /// `skip` has nothing to override, and only revocation can be left unchecked.
    pub fn new(level: Level, overrides: BTreeMap<Aspect, Action>) -> Result<Self, &'static str> {
        if level == Level::Skip && !overrides.is_empty() {
            return Err("the level `skip` checks nothing, so that nothing can be overridden");
        }
        let unchecked = |(aspect, action): (&Aspect, &Action)| {
            *action == Action::Skip && *aspect != Aspect::Revocation
        };
        if overrides.iter().any(unchecked) {
            return Err("no check but `revocation` can be skipped");
        }
        Ok(Self { level, overrides })
    }

    /// Returns the level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Returns what follows when a check fails.
    #[must_use]
    pub fn of(&self, aspect: Aspect) -> Action {
        if let Some(action) = self.overrides.get(&aspect) {
            return *action;
        }
        match (self.level, aspect) {
            (Level::Skip, _) => Action::Skip,
            (Level::Strict, _) | (Level::Permissive, Aspect::Authenticity) => Action::Enforce,
            (Level::Permissive | Level::Audit, _) => Action::Log,
        }
    }
}

/// The level, and every override.
impl fmt::Display for Strictness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        for (aspect, action) in &self.overrides {
            let action = Action::ALL.iter().find(|(it, _)| it == action);
            let action = action.map_or("", |(_, name)| name);
            write!(f, ", {} {action}", aspect.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the trust policy specification, a row a level.
    #[test]
    fn every_level_treats_every_check_as_specified() {
        use Action::{Enforce, Log, Skip};
        let table = [
            (Level::Strict, [Enforce; 4]),
            (Level::Permissive, [Enforce, Log, Log, Log]),
            (Level::Audit, [Log; 4]),
            (Level::Skip, [Skip; 4]),
        ];
        for (level, expected) in table {
            let strictness = Strictness::new(level, BTreeMap::new()).unwrap();
            let found = Aspect::ALL.map(|(aspect, _)| strictness.of(aspect));
            assert_eq!(found, expected, "{level}");
            for (aspect, _) in Aspect::ALL {
                for (action, _) in Action::ALL {
                    let overridden = Strictness::new(level, BTreeMap::from([(aspect, action)]));
                    let allowed = level != Level::Skip
                        && (action != Action::Skip || aspect == Aspect::Revocation);
                    assert_eq!(overridden.is_ok(), allowed, "{level} {aspect:?} {action:?}");
                    if let Ok(overridden) = overridden {
                        assert_eq!(overridden.of(aspect), action);
                    }
                }
            }
        }
    }
}
