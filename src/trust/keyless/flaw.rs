//! What can be wrong with a signature by certificate, or with its place in a log.

use jiff::Timestamp;
use sigstore_verify::{CertificateError, Error, TimestampError, TransparencyLogError};

use super::certificate::Claimed;
use super::root::TrustRoot;
use crate::trust::candidate::Check;
use crate::trust::judge::quoted;

/// Why a signature does not count, before it is known to which candidate it belongs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::trust) enum Flaw {
    /// Altered, forged or malformed.
    Bad {
        reason: String,
        expected: String,
        found: String,
    },
    /// Made outside the time in which it could be.
    Expired {
        what: String,
        expected: String,
        found: String,
    },
    /// Nothing proves that it is in a transparency log.
    NotLogged { expected: String, found: String },
    /// By an authority that came after the root was made.
    RootTooOld {
        root: String,
        newest: Timestamp,
        signed: Timestamp,
        missing: String,
    },
    /// By an authority of somebody else.
    Stranger { expected: String, found: String },
}

impl Flaw {
    /// Names a fault in what `sigstore-verify` refused.
    ///
    /// Its errors are typed down to the part at fault; the rest is its own sentence, which is shown as what was found.
    pub(super) fn of(error: &Error, claimed: Option<&Claimed>, root: &TrustRoot) -> Self {
        let found = quoted(&error.to_string());
        let bad = |reason: &str, expected: String| Self::Bad {
            reason: reason.into(),
            expected,
            found: found.clone(),
        };
        let validity = || {
            claimed.map_or_else(String::new, |claimed| {
                format!(
                    "a time from {} to {}",
                    claimed.not_before, claimed.not_after
                )
            })
        };
        let expired = |what: &str, expected: String, found: String| Self::Expired {
            what: what.into(),
            expected,
            found,
        };
        match error {
            Error::Certificate(CertificateError::NotYetValid { time, .. })
            | Error::Certificate(CertificateError::Expired { time, .. }) => {
                expired("the certificate", validity(), time.to_string())
            }
            Error::Certificate(CertificateError::ChainInvalid(text))
                if text.contains("CertExpired") || text.contains("CertNotValidYet") =>
            {
                expired("the certificate", validity(), found.clone())
            }
            Error::Certificate(CertificateError::NoValidAuthority { time }) => expired(
                "the certificate authority",
                format!("a time when {} was valid", root.authorities()),
                time.to_string(),
            ),
            Error::Certificate(CertificateError::ChainInvalid(_)) => bad(
                "the certificate is not one of the authority that it names",
                root.authorities(),
            ),
            Error::Certificate(CertificateError::Sct(_)) => bad(
                "the certificate is in no log of certificates",
                format!(
                    "a signed certificate timestamp of {}",
                    root.certificate_logs()
                ),
            ),
            Error::Certificate(_) => bad("the certificate can't be read", "a certificate".into()),
            Error::TransparencyLog(TransparencyLogError::IntegratedTime(text))
                if !text.contains("future") =>
            {
                expired("the certificate", validity(), found.clone())
            }
            Error::TransparencyLog(TransparencyLogError::EntryMismatch(_)) => bad(
                "the transparency log entry is that of another signature",
                "the entry of this one".into(),
            ),
            Error::TransparencyLog(_) => bad(
                "the transparency log entry is not proven",
                format!("an entry that {} has signed", root.logs()),
            ),
            Error::Timestamp(TimestampError::OutsideAuthorityValidity { time }) => expired(
                "the time-stamp authority",
                "a time when it was valid".into(),
                time.to_string(),
            ),
            Error::Timestamp(TimestampError::NoVerifiedTimestamp(_)) => bad(
                "nothing proves when it was signed",
                "a signed entry timestamp of the log, or a time stamp".into(),
            ),
            Error::Timestamp(TimestampError::Invalid(text))
                if text.contains("CertExpired") || text.contains("CertNotValidYet") =>
            {
                expired(
                    "the time-stamp authority",
                    "a time when it was valid".into(),
                    found.clone(),
                )
            }
            Error::Timestamp(_) => bad(
                "the time stamp does not verify",
                "one of an authority of the trust root, for this signature".into(),
            ),
            Error::SignatureInvalid(_) => bad(
                "the signature or what it signs was altered",
                "a signature by the key of the certificate".into(),
            ),
            Error::ArtifactMismatch(_) => bad(
                "the transparency log entry is that of another signature",
                "the entry of this one".into(),
            ),
            _ => bad("the bundle can't be verified", "a Sigstore bundle".into()),
        }
    }

    /// Returns the result for a candidate.
    pub(in crate::trust) fn check(self, signer: Option<&str>) -> Check {
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
            Self::NotLogged { expected, found } => Check::NotLogged {
                signer: signer.map(str::to_owned),
                expected,
                found,
            },
            Self::RootTooOld {
                root,
                newest,
                signed,
                missing,
            } => Check::RootTooOld {
                root,
                newest,
                signed,
                missing,
            },
            Self::Stranger { expected, found } => Check::UnknownAuthority { expected, found },
        }
    }

    /// How much of the signature was understood before it failed: of several roots, the one that got furthest speaks.
    pub(super) const fn depth(&self) -> u8 {
        match self {
            Self::Stranger { .. } => 0,
            Self::RootTooOld { .. } => 1,
            Self::NotLogged { .. } => 2,
            Self::Bad { .. } => 3,
            Self::Expired { .. } => 4,
        }
    }
}
