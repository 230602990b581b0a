//! What came of a Notary signature, where no other kind of signature ends so.

use jiff::Timestamp;
use serde::Serialize;

use crate::trust::judge::quoted;

/// Why a whole Notary signature does not count.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Fault {
    /// The policy has no signer of this kind, so that it was not read.
    NotAsked,
    /// It is by a signer of the rule, and does not say what has to be said beside the digest.
    OtherMetadata {
        /// The signer.
        signer: String,
        /// The name of what has to be said.
        name: String,
        /// What it has to be.
        expected: String,
        /// What it is.
        found: Option<String>,
    },
    /// Nobody could be asked whether a certificate was revoked.
    RevocationUnknown {
        /// The signer.
        signer: String,
        /// The certificate.
        certificate: String,
        /// What came of each place that could have been asked.
        reasons: Vec<String>,
        /// The hosts among them that the policy does not let anybody ask.
        unlisted: Vec<String>,
    },
    /// An authority took a certificate back.
    Revoked {
        /// The signer.
        signer: String,
        /// The certificate.
        certificate: String,
        /// Since when.
        since: Timestamp,
        /// Who says so.
        by: String,
    },
    /// Its certificate names somebody else.
    UnknownSubject {
        /// Whom it names.
        subject: String,
        /// Whom each signer of the rule that trusts its authority asks for.
        expected: Vec<(String, String)>,
    },
    /// Its chain leads to no certificate that a signer of the rule trusts.
    UntrustedChain {
        /// Whom it names.
        subject: String,
        /// The end of its chain.
        authority: String,
        /// What would have counted.
        expected: String,
    },
}

impl Fault {
    /// Returns the check that failed, in a few words.
    pub(in crate::trust) const fn verdict(&self) -> &'static str {
        match self {
            Self::NotAsked => "signed for the Notary Project",
            Self::OtherMetadata { .. } => "without the metadata",
            Self::RevocationUnknown { .. } => "revocation unknown",
            Self::Revoked { .. } => "revoked",
            Self::UnknownSubject { .. } => "by no known subject",
            Self::UntrustedChain { .. } => "by no trusted authority",
        }
    }

    /// Returns the signer, if it is known.
    pub(in crate::trust) fn signer(&self) -> Option<&str> {
        match self {
            Self::OtherMetadata { signer, .. } => Some(signer),
            _ => None,
        }
    }

    /// Returns what was expected and what was found, in one phrase.
    pub(in crate::trust) fn found(&self) -> String {
        let (expected, found) = match self {
            Self::NotAsked => (
                "a signature of another kind".into(),
                "one of the Notary Project, which no signer of the policy makes".into(),
            ),
            Self::OtherMetadata {
                signer,
                name,
                expected,
                found,
            } => (
                format!("{}={} by {signer}", quoted(name), quoted(expected)),
                match found {
                    Some(found) => format!("{}={}", quoted(name), quoted(found)),
                    None => "nothing of that name".into(),
                },
            ),
            Self::RevocationUnknown {
                certificate,
                reasons,
                ..
            } => {
                return format!(
                    "nobody says whether {certificate} is revoked: {}",
                    reasons.join("; ")
                );
            }
            Self::Revoked {
                certificate,
                since,
                by,
                ..
            } => {
                return format!("{certificate} is revoked since {since}, says {by}");
            }
            Self::UnknownSubject { subject, expected } => {
                let expected: Vec<String> = expected
                    .iter()
                    .take(3)
                    .map(|(signer, subject)| format!("`{signer}` as {subject}"))
                    .collect();
                (expected.join(", or "), subject.clone())
            }
            Self::UntrustedChain {
                subject,
                authority,
                expected,
            } => (
                format!("a chain that leads to {expected}"),
                format!("{subject} below {authority}"),
            ),
        };
        format!("expected {expected}, found {found}")
    }

    /// Returns the edit or the command that would make it count.
    pub(in crate::trust) fn hint(&self) -> String {
        match self {
            Self::NotAsked => {
                "to accept it, add a signer `{notation: {ca: [ca.pem], identity: \"C=…, ST=…, O=…\"}}` to the rule".into()
            }
            Self::OtherMetadata { name, .. } => format!(
                "sign it with `notation sign --user-metadata {}=…`, or remove it from the signer's `metadata`",
                quoted(name)
            ),
            Self::RevocationUnknown { unlisted, .. } if !unlisted.is_empty() => format!(
                "to let it be asked, write `revocation: {{hosts: [{}]}}` under `trust`; to do without, write `override: {{revocation: log}}` for the signer",
                unlisted.iter().map(|host| quoted(host)).collect::<Vec<_>>().join(", ")
            ),
            Self::RevocationUnknown { .. } => {
                "run again when the authority answers; to do without, write `override: {revocation: log}` for the signer".into()
            }
            Self::Revoked { .. } => {
                "sign the image again, with a certificate that is not revoked, and find out why this one is".into()
            }
            Self::UnknownSubject { subject, expected } => match expected.first() {
                Some((signer, _)) => format!(
                    "to accept it, add `identity: \"{subject}\"` to the signer `{signer}`"
                ),
                None => format!("to accept it, add a signer with `identity: \"{subject}\"`"),
            },
            Self::UntrustedChain { authority, .. } => format!(
                "to accept it, add the certificate of {authority} to the `ca` of a signer of the rule: `notation inspect IMAGE` shows it"
            ),
        }
    }
}
