//! What was seen, when.

use std::fmt;
use std::time::Duration;

/// What one answer of a probe says about the service.
///
/// What counts as which is decided by the probe; its page in `docs/gates.md` has the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// The service answered otherwise than asked for, or did not answer. The reason says how,
    /// without numbers that change at each try.
    Bad(String),
    /// The service answered as asked for.
    Good,
    /// The question was never put to the service, or its answer could not be read in full: this
    /// says nothing of the service.
    Unknown(String),
}

impl Value {
    /// Returns the name used in reports: `good`, `bad` or `unknown`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bad(_) => "bad",
            Self::Good => "good",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Returns why it is not good.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Bad(reason) | Self::Unknown(reason) => Some(reason),
            Self::Good => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {reason}", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

/// One answer of one probe.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sample {
    /// The probe's name in the document.
    pub probe: String,
    /// When the answer was there, counted from the gate's begin.
    pub at: Duration,
    /// What it says.
    pub value: Value,
}

/// The answers of all probes to one question each, asked at the same time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Round {
    /// When it began, counted from the gate's begin.
    pub began: Duration,
    /// When the last answer was there.
    pub ended: Duration,
    /// At most one sample a probe; a probe that is missing counts as unknown.
    pub samples: Vec<Sample>,
    /// What the control probe says, if the gate has one.
    pub control: Option<Value>,
}
