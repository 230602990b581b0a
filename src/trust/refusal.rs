//! Why an image does not satisfy its rule.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::candidate::{OverLimit, Place};
use super::source::LookupError;
use crate::failure::{Explain, Fact};
use crate::oci::Digest;
use crate::outcome::ExitCode;

/// Why an image does not satisfy its rule.
///
/// Good signatures of enough signers make an image verified whatever else is there: an attestation, a
/// broken bundle or an unreachable signature more never changes that. Where they are not enough,
/// the first of these that applies is the reason:
///
/// 1. [`CouldNotLookUp`](Self::CouldNotLookUp), [`LimitReached`](Self::LimitReached),
///    [`RevocationUnknown`](Self::RevocationUnknown): something was
///    not read that could have been the missing signature, so nothing is certain;
/// 2. [`BadSignature`](Self::BadSignature): a signature of another digest before an altered or
///    malformed one;
/// 3. [`Revoked`](Self::Revoked), [`Expired`](Self::Expired), [`NotLogged`](Self::NotLogged), [`RootTooOld`](Self::RootTooOld);
/// 4. [`WrongSigner`](Self::WrongSigner);
/// 5. [`Unsigned`](Self::Unsigned): there is no signature of any form, attestations not counted.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Refusal {
    /// There is a signature that belongs to another digest, is malformed or was altered.
    #[error("bad signature: {reason}")]
    BadSignature {
        /// What is wrong with it.
        reason: String,
        /// What was expected.
        expected: String,
        /// What was found.
        found: String,
        /// Where it was found.
        place: Place,
        /// The manifest that carries it.
        manifest: Digest,
    },
    /// The registry could not be asked: whether the image is signed remains unknown.
    #[error("the signatures could not be looked up")]
    CouldNotLookUp {
        /// What went wrong.
        #[source]
        error: LookupError,
    },
    /// There is a signature that was made when its certificate, an authority or a log was not valid.
    #[error("expired: outside the validity of {what}")]
    Expired {
        /// Which of them.
        what: String,
        /// When it would have been valid.
        expected: String,
        /// When it was signed.
        found: String,
        /// Where it was found.
        place: Place,
        /// The manifest that carries it.
        manifest: Digest,
    },
    /// A cap was reached before a good signature was found.
    #[error("the search for signatures was cut short: {over}")]
    LimitReached {
        /// Which cap, and by how much.
        over: OverLimit,
    },
    /// No rule matches the repository, and what no rule allows is not trusted.
    #[error("no trust rule matches {repository}")]
    NoRule {
        /// The repository.
        repository: String,
        /// The patterns that there are.
        patterns: Vec<String>,
    },
    /// There is a signature that has to be in a transparency log, and nothing proves that it is.
    #[error("not logged: signed by {}, and no transparency log is proven to have it", signer.as_deref().unwrap_or("somebody else"))]
    NotLogged {
        /// The signer, if it is one of the policy's.
        signer: Option<String>,
        /// What would prove it.
        expected: String,
        /// What there is.
        found: String,
    },
    /// There is a signature that rests on an authority that is newer than the trust root.
    #[error("the trust root `{root}` is older than the signature")]
    RootTooOld {
        /// The trust root.
        root: String,
        /// When its newest authority came in.
        newest: Timestamp,
        /// When the signature was made, by its own account.
        signed: Timestamp,
        /// What the root does not know.
        missing: String,
    },
    /// The rule's signers have trust policies, and not enough of those say anything about the repository.
    #[error("no statement of the trust policy of {} is about {repository}", signers.join(", "))]
    NoStatement {
        /// The repository.
        repository: String,
        /// The signers.
        signers: Vec<String>,
        /// The registry scopes that there are.
        scopes: Vec<String>,
    },
    /// There is no signature.
    #[error("unsigned: the registry answered, and has no signature of this digest{}", beside(*.others))]
    Unsigned {
        /// The command that signs it.
        command: String,
        /// How many attestations or other things were found that are not signatures of an image.
        others: usize,
    },
    /// There is a signature by a signer of the rule, and nobody could be asked whether its certificate was revoked.
    #[error("revocation unknown: nobody says whether {certificate} is revoked")]
    RevocationUnknown {
        /// The certificate.
        certificate: String,
        /// What came of each place that could have been asked.
        reasons: Vec<String>,
        /// The hosts among them that the policy does not let anybody ask.
        unlisted: Vec<String>,
        /// The edit or the command that helps.
        hint: String,
    },
    /// There is a signature by a signer of the rule, with a certificate that its authority took back.
    #[error("revoked: {certificate} is revoked since {since}")]
    Revoked {
        /// The signer.
        signer: String,
        /// The certificate.
        certificate: String,
        /// Since when.
        since: Timestamp,
        /// Who says so.
        by: String,
        /// The manifest that carries the signature.
        manifest: Digest,
    },
    /// The image is signed, but not by enough of the rule's signers.
    #[error("wrong signer: signed by {}, but the rule needs {needed}", alone(.found, .strangers))]
    WrongSigner {
        /// Whom the rule needs.
        needed: String,
        /// The signers of the policy that have signed, those included that the rule does not name.
        found: BTreeSet<String>,
        /// The identities that have signed and are no signers of the policy, at most three of them.
        strangers: Vec<String>,
        /// How many signatures there are by keys, identities or authorities that the policy does not know.
        unknown: usize,
        /// The edit or the command that helps.
        hint: String,
    },
}

impl Refusal {
    /// Returns the exit code.
    #[must_use]
    pub const fn exit(&self) -> ExitCode {
        match self {
            Self::BadSignature { .. } => ExitCode::BadSignature,
            Self::CouldNotLookUp { .. } | Self::LimitReached { .. } => ExitCode::LookupFailed,
            Self::Expired { .. } => ExitCode::SignatureExpired,
            Self::NoRule { .. } | Self::NoStatement { .. } => ExitCode::Untrusted,
            Self::RevocationUnknown { .. } => ExitCode::LookupFailed,
            Self::Revoked { .. } => ExitCode::SignatureRevoked,
            Self::NotLogged { .. } => ExitCode::NotLogged,
            Self::RootTooOld { .. } => ExitCode::TrustRootTooOld,
            Self::Unsigned { .. } => ExitCode::Unsigned,
            Self::WrongSigner { .. } => ExitCode::WrongSigner,
        }
    }

    /// Tells whether asking again could end otherwise.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::CouldNotLookUp { error } => {
                error.limit.is_none() && matches!(error.status, None | Some(408 | 429 | 500..))
            }
            Self::RevocationUnknown { unlisted, .. } => unlisted.is_empty(),
            _ => false,
        }
    }
}

impl Explain for Refusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadSignature { .. } => {
                "sign the digest that is to run, and find out who changed the signature that is there".into()
            }
            Self::CouldNotLookUp { error } => return error.hint(),
            Self::Expired { .. } => {
                "sign the image again, while all that the signature rests on is valid".into()
            }
            Self::NotLogged { signer, .. } => format!(
                "sign it so that a transparency log has it, or write `tlog: ignored` for the signer{}",
                signer.as_deref().map(|signer| format!(" `{signer}`")).unwrap_or_default()
            ),
            Self::RootTooOld { root, .. } => format!(
                "name a newer `trusted_root.json` in `trust.roots` in place of `{root}`"
            ),
            Self::LimitReached { .. } => {
                "`cosign tree IMAGE` lists signatures and attestations: remove what is no longer needed".into()
            }
            Self::NoRule { repository, .. } => {
                format!("add a rule under `trust.images`: `\"{repository}\": {{signed-by: {{any: [SIGNER]}}}}`")
            }
            Self::NoStatement { repository, .. } => format!(
                "add `{repository}` to the `registryScopes` of a statement, or a statement for `*`"
            ),
            Self::RevocationUnknown { hint, .. } => hint.clone(),
            Self::Revoked { .. } => {
                "sign the image again, with a certificate that is not revoked, and find out why this one is".into()
            }
            Self::Unsigned { command, .. } => format!("sign it: `{command}`"),
            Self::WrongSigner { hint, .. } => hint.clone(),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::BadSignature {
                expected,
                found,
                place,
                manifest,
                ..
            } => vec![
                Fact::new("expected", expected),
                Fact::new("found", found),
                Fact::new("place", place),
                Fact::new("manifest", manifest),
            ],
            Self::CouldNotLookUp { error } => error.facts(),
            Self::Expired {
                expected,
                found,
                place,
                manifest,
                ..
            } => vec![
                Fact::new("expected", expected),
                Fact::new("found", found),
                Fact::new("place", place),
                Fact::new("manifest", manifest),
            ],
            Self::NotLogged {
                expected, found, ..
            } => vec![Fact::new("expected", expected), Fact::new("found", found)],
            Self::RootTooOld {
                newest,
                signed,
                missing,
                ..
            } => vec![
                Fact::new("trust root of", newest),
                Fact::new("signed", signed),
                Fact::new("missing", missing),
            ],
            Self::LimitReached { over } => vec![
                Fact::new("limit", over.limit),
                Fact::new("found", over.found),
            ],
            Self::NoRule { patterns, .. } => vec![Fact::new("rules", patterns.join(", "))],
            Self::NoStatement { scopes, .. } => vec![Fact::new("scopes", scopes.join(", "))],
            Self::RevocationUnknown {
                certificate,
                reasons,
                ..
            } => {
                let mut facts = vec![Fact::new("certificate", certificate)];
                facts.extend(reasons.iter().map(|reason| Fact::new("asked", reason)));
                facts
            }
            Self::Revoked {
                signer,
                since,
                by,
                manifest,
                ..
            } => vec![
                Fact::new("signer", signer),
                Fact::new("revoked", since),
                Fact::new("by", by),
                Fact::new("manifest", manifest),
            ],
            Self::Unsigned { .. } => Vec::new(),
            Self::WrongSigner {
                needed,
                found,
                strangers,
                unknown,
                ..
            } => {
                let mut facts = vec![
                    Fact::new("expected", needed),
                    Fact::new("found", listed(found)),
                ];
                facts.extend(strangers.iter().map(|name| Fact::new("found", name)));
                facts.push(Fact::new("signatures by unknown signers", unknown));
                facts
            }
        }
    }
}

fn alone(signers: &BTreeSet<String>, strangers: &[String]) -> String {
    if signers.is_empty() && !strangers.is_empty() {
        strangers.join(", ")
    } else if signers.is_empty() {
        "none of the known signers".into()
    } else {
        format!("{} only", listed(signers))
    }
}

fn listed(signers: &BTreeSet<String>) -> String {
    let names: Vec<&str> = signers.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => "none".into(),
        names => names.join(", "),
    }
}

fn beside(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", only 1 attestation or other artifact".into(),
        others => format!(", only {others} attestations or other artifacts"),
    }
}
