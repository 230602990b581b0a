//! What can be wrong with a Notary signature, before it is known whether its signer's level minds.

use std::fmt;

use jiff::Timestamp;

use super::fault::Fault;
use crate::trust::candidate::Check;

/// Why a signature does not count.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::trust) enum Flaw {
    /// Altered, forged or malformed.
    Bad {
        reason: String,
        expected: String,
        found: String,
    },
    /// Past its own end, or by a certificate that was not valid.
    Expired {
        what: String,
        expected: String,
        found: String,
    },
    /// By a certificate that its authority took back.
    Revoked {
        certificate: String,
        since: Timestamp,
        by: String,
    },
    /// By a certificate of which nobody could be asked whether it was taken back.
    Unknown {
        certificate: String,
        reasons: Vec<String>,
        unlisted: Vec<String>,
    },
}

impl Flaw {
    pub(super) fn bad(
        reason: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self::Bad {
            reason: reason.into(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// Returns the result for a candidate whose signer is known by now.
    pub(super) fn check(self, signer: &str) -> Check {
        match self {
            Self::Bad {
                reason,
                expected,
                found,
            } => Check::Malformed {
                reason,
                expected,
                found,
            },
            Self::Expired {
                what,
                expected,
                found,
            } => Check::Expired {
                what,
                expected,
                found,
            },
            Self::Revoked {
                certificate,
                since,
                by,
            } => Check::Notation(Fault::Revoked {
                signer: signer.to_owned(),
                certificate,
                since,
                by,
            }),
            Self::Unknown {
                certificate,
                reasons,
                unlisted,
            } => Check::Notation(Fault::RevocationUnknown {
                signer: signer.to_owned(),
                certificate,
                reasons,
                unlisted,
            }),
        }
    }
}

/// The line for people, where a level logs what it does not enforce.
impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad {
                reason,
                expected,
                found,
            } => write!(f, "{reason}: expected {expected}, found {found}"),
            Self::Expired {
                what,
                expected,
                found,
            } => write!(
                f,
                "outside the validity of {what}: expected {expected}, found {found}"
            ),
            Self::Revoked {
                certificate,
                since,
                by,
            } => write!(f, "{certificate} was revoked on {since}, says {by}"),
            Self::Unknown {
                certificate,
                reasons,
                ..
            } => write!(
                f,
                "it is not known whether {certificate} is revoked: {}",
                reasons.join("; ")
            ),
        }
    }
}
