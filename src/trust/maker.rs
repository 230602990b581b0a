//! Who made a signature, in words.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::judge::quoted;
use super::keyless::{Mismatch, Proof};
use crate::oci::Digest;

/// What made a signature.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Maker {
    /// The key of a certificate, which names its holder.
    Certificate {
        /// Whom it names.
        identity: String,
        /// Who says so.
        issuer: String,
    },
    /// A key of the policy, by its fingerprint.
    Key(Digest),
    /// The key of a certificate of the Notary Project.
    Notation {
        /// Whom it names.
        subject: String,
        /// The statement of the trust policy that applied.
        statement: String,
        /// How strict that is.
        level: String,
        /// When it was signed at the latest, if somebody but the signer says so.
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// The checks that failed and are not enforced.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { identity, issuer } => {
                write!(f, "as {} (issuer {})", quoted(identity), quoted(issuer))
            }
            Self::Key(key) => write!(f, "with key {key}"),
            Self::Notation {
                subject,
                level,
                at,
                warnings,
                ..
            } => {
                write!(f, "as {subject} (level {level})")?;
                if let Some(at) = at {
                    write!(f, ", on {at}")?;
                }
                for warning in warnings {
                    write!(f, "; WARNING, not enforced: {warning}")?;
                }
                Ok(())
            }
        }
    }
}

/// What follows who signed, in words.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, logged, at } = self;
        if *logged {
            write!(f, ", in the transparency log")?;
        }
        if let Some(at) = at {
            write!(f, ", on {at}")?;
        }
        write!(f, " (trust root {root})")
    }
}

/// The edit by which an identity would become a signer.
pub(super) fn accepting(identity: &str, issuer: &str, mismatches: &[(String, Mismatch)]) -> String {
    let nearest = mismatches.iter().find(|(_, found)| found.what != "issuer");
    match nearest {
        Some((signer, Mismatch { what, found, .. })) => {
            let found = quoted(found);
            format!("to accept it, write `{what}: \"{found}\"` for the signer `{signer}`")
        }
        None => format!(
            "to accept it, add a signer `{{issuer: \"{}\", subject: \"{}\"}}` to the rule",
            quoted(issuer),
            quoted(identity)
        ),
    }
}
