//! What the verification of one image came to.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::candidate::{Candidate, Check, OverLimit, Place};
use super::judge::quoted;
use super::policy::{Policy, Rule, Signer};
use super::source::LookupError;
use crate::failure::{Explain, Fact, Failure};
use crate::oci::{Digest, Repository};
use crate::outcome::ExitCode;

/// The result of verifying one image, with everything that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The repository, `registry/path`.
    pub repository: String,
    /// The digest that was verified.
    pub digest: Digest,
    /// The rule that applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<AppliedRule>,
    /// How it ended.
    pub outcome: Outcome,
    /// Every candidate that was looked at, in that order.
    pub candidates: Vec<Candidate>,
    /// How many more the registry lists that were not looked at, since the rule was satisfied
    /// before, or a cap was reached.
    pub unread: usize,
    /// What the transparency log had to say.
    pub transparency_log: TransparencyLog,
}

impl Verdict {
    /// Tells whether the image satisfies its rule.
    #[must_use]
    pub const fn is_verified(&self) -> bool {
        matches!(self.outcome, Outcome::Verified { .. })
    }

    /// Returns the exit code that this verdict alone leads to.
    #[must_use]
    pub const fn exit(&self) -> ExitCode {
        match &self.outcome {
            Outcome::Refused(refusal) => refusal.exit(),
            Outcome::Verified { .. } => ExitCode::Done,
        }
    }

    /// Returns the failure to report, unless the image is verified.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        let Outcome::Refused(refusal) = &self.outcome else {
            return None;
        };
        let image = format!("{}@{}", self.repository, self.digest);
        let message = match refusal {
            Refusal::CouldNotLookUp { .. } | Refusal::LimitReached { .. } => {
                format!("{image} could not be verified")
            }
            _ => format!("{image} is not trusted"),
        };
        let mut failure = Failure::explained(refusal.exit(), message, refusal);
        let shown = self.candidates.iter().take(MOST_SHOWN);
        failure.causes.extend(shown.map(ToString::to_string));
        let hidden = self.candidates.len().saturating_sub(MOST_SHOWN);
        if hidden > 0 {
            failure = failure.caused_by(format!(
                "{hidden} more candidates, all listed in the report"
            ));
        }
        if let Some(rule) = &self.rule {
            failure = failure
                .fact("rule", &rule.pattern)
                .fact("signed-by", &rule.signed_by);
        }
        Some(failure.fact("transparency log", self.transparency_log))
    }

    pub(super) fn no_rule(policy: &Policy, repository: &Repository, digest: Digest) -> Self {
        Self {
            repository: repository.to_string(),
            digest,
            rule: None,
            outcome: Outcome::Refused(Refusal::NoRule {
                repository: repository.to_string(),
                patterns: policy
                    .rules()
                    .iter()
                    .map(|rule| rule.pattern.to_string())
                    .collect(),
            }),
            candidates: Vec::new(),
            unread: 0,
            transparency_log: TransparencyLog::NotChecked,
        }
    }

    pub(super) fn of(
        policy: &Policy,
        rule: &Rule,
        repository: &Repository,
        digest: Digest,
        findings: Findings,
    ) -> Self {
        let transparency_log = TransparencyLog::of(&findings.candidates);
        Self {
            repository: repository.to_string(),
            digest,
            rule: Some(AppliedRule {
                pattern: rule.pattern.to_string(),
                signed_by: rule.requirement.to_string(),
            }),
            outcome: decide(policy, rule, &format!("{repository}@{digest}"), &findings),
            candidates: findings.candidates,
            unread: findings.unread,
            transparency_log,
        }
    }
}

const MOST_SHOWN: usize = 10;

/// The rule that applied to an image, as it is shown.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppliedRule {
    /// Its pattern.
    pub pattern: String,
    /// Who has to have signed.
    pub signed_by: String,
}

/// What a transparency log says of the good signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransparencyLog {
    /// It has every one of them.
    Checked,
    /// Nothing was asked of it: log entries were neither needed nor trusted.
    NotChecked,
    /// It has some; of others nothing was asked.
    PartlyChecked,
}

impl TransparencyLog {
    fn of(candidates: &[Candidate]) -> Self {
        let logged = candidates
            .iter()
            .filter_map(|candidate| match &candidate.check {
                Check::Good { proof, .. } => Some(proof.as_ref().is_some_and(|proof| proof.logged)),
                _ => None,
            });
        let (logged, without): (Vec<bool>, Vec<bool>) = logged.partition(|logged| *logged);
        match (logged.is_empty(), without.is_empty()) {
            (true, _) => Self::NotChecked,
            (false, true) => Self::Checked,
            (false, false) => Self::PartlyChecked,
        }
    }
}

impl std::fmt::Display for TransparencyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checked => f.write_str("checked"),
            Self::NotChecked => f.write_str("not checked"),
            Self::PartlyChecked => f.write_str("checked for some of the signatures"),
        }
    }
}

/// How a verification ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The image does not satisfy its rule.
    Refused(Refusal),
    /// Enough signers of the rule have signed the digest.
    Verified {
        /// The signers of the rule that were found, at least as many as it needs.
        signers: BTreeSet<String>,
    },
}

/// Why an image does not satisfy its rule.
///
/// Good signatures of enough signers make an image verified whatever else is there: an attestation, a
/// broken bundle or an unreachable signature more never changes that. Where they are not enough,
/// the first of these that applies is the reason:
///
/// 1. [`CouldNotLookUp`](Self::CouldNotLookUp), [`LimitReached`](Self::LimitReached): something was
///    not read that could have been the missing signature, so nothing is certain;
/// 2. [`BadSignature`](Self::BadSignature): a signature of another digest before an altered or
///    malformed one;
/// 3. [`Expired`](Self::Expired), [`NotLogged`](Self::NotLogged), [`RootTooOld`](Self::RootTooOld);
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
    #[error("expired: it was signed outside the validity of {what}")]
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
    /// There is no signature.
    #[error("unsigned: the registry answered, and has no signature of this digest{}", beside(*.others))]
    Unsigned {
        /// The command that signs it.
        command: String,
        /// How many attestations or other things were found that are not signatures of an image.
        others: usize,
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
            Self::NoRule { .. } => ExitCode::Untrusted,
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
                "sign the image again: the signature was not made while all that it rests on was valid".into()
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

/// What a search brought.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) candidates: Vec<Candidate>,
    /// A place that could not be asked.
    pub(super) lookup: Option<LookupError>,
    /// A cap that stopped the search.
    pub(super) over: Option<OverLimit>,
    pub(super) unread: usize,
}

impl Findings {
    /// Returns the signers of the rule whose good signatures were found.
    pub(super) fn signers(&self) -> BTreeSet<String> {
        let good = self
            .candidates
            .iter()
            .filter_map(|candidate| match &candidate.check {
                Check::Good { signer, .. } => Some(signer.clone()),
                _ => None,
            });
        good.collect()
    }
}

fn decide(policy: &Policy, rule: &Rule, image: &str, findings: &Findings) -> Outcome {
    let signers = findings.signers();
    if rule.requirement.satisfied_by(&signers) {
        return Outcome::Verified { signers };
    }
    let refusal = unknown(findings)
        .or_else(|| bad(&findings.candidates))
        .or_else(|| findings.candidates.iter().find_map(expired))
        .or_else(|| findings.candidates.iter().find_map(not_logged))
        .or_else(|| findings.candidates.iter().find_map(root_too_old))
        .or_else(|| wrong_signer(rule, &findings.candidates))
        .unwrap_or_else(|| Refusal::Unsigned {
            command: command(policy, rule, image),
            others: findings.candidates.len(),
        });
    Outcome::Refused(refusal)
}

/// Returns how a signer of the rule signs: with a key, unless all of them are identities.
fn command(policy: &Policy, rule: &Rule, image: &str) -> String {
    let mut signers = rule.requirement.signers().iter();
    let is_key = |name: &String| matches!(policy.signers().get(name), Some(Signer::Key { .. }));
    if signers.any(is_key) {
        format!("cosign sign --key cosign.key {image}")
    } else {
        format!("cosign sign {image}")
    }
}

/// What was not read could have been the signature that is missing.
fn unknown(findings: &Findings) -> Option<Refusal> {
    let unreadable = findings
        .candidates
        .iter()
        .find_map(|candidate| match &candidate.check {
            Check::Unreadable(error) => Some(error),
            _ => None,
        });
    let large = findings
        .candidates
        .iter()
        .find_map(|candidate| match &candidate.check {
            Check::OverLimit(over) => Some(over),
            _ => None,
        });
    let error = findings.lookup.as_ref().or(unreadable);
    let over = findings.over.as_ref().or(large);
    match (error, over) {
        (Some(error), _) => Some(Refusal::CouldNotLookUp {
            error: error.clone(),
        }),
        (None, Some(over)) => Some(Refusal::LimitReached { over: *over }),
        (None, None) => None,
    }
}

fn bad(candidates: &[Candidate]) -> Option<Refusal> {
    let is_other = |candidate: &&Candidate| matches!(candidate.check, Check::OtherDigest { .. });
    let is_malformed = |candidate: &&Candidate| {
        matches!(
            candidate.check,
            Check::Altered { .. } | Check::Malformed { .. }
        )
    };
    let candidate = candidates
        .iter()
        .find(is_other)
        .or_else(|| candidates.iter().find(is_malformed))?;
    let (reason, expected, found) = match &candidate.check {
        Check::Altered { signer, key } => (
            "the signature or what it signs was altered".to_owned(),
            format!("a signature by key {key} of {signer}"),
            "one that this key did not make".to_owned(),
        ),
        Check::OtherDigest {
            expected, found, ..
        } => (
            "signature of another digest".to_owned(),
            expected.to_string(),
            found.join(", "),
        ),
        Check::Malformed {
            reason,
            expected,
            found,
        } => (reason.clone(), expected.clone(), found.clone()),
        _ => return None,
    };
    Some(Refusal::BadSignature {
        reason,
        expected,
        found,
        place: candidate.place,
        manifest: candidate.manifest,
    })
}

fn expired(candidate: &Candidate) -> Option<Refusal> {
    let Check::Expired {
        what,
        expected,
        found,
    } = &candidate.check
    else {
        return None;
    };
    Some(Refusal::Expired {
        what: what.clone(),
        expected: expected.clone(),
        found: found.clone(),
        place: candidate.place,
        manifest: candidate.manifest,
    })
}

fn not_logged(candidate: &Candidate) -> Option<Refusal> {
    let Check::NotLogged {
        signer,
        expected,
        found,
    } = &candidate.check
    else {
        return None;
    };
    Some(Refusal::NotLogged {
        signer: signer.clone(),
        expected: expected.clone(),
        found: found.clone(),
    })
}

fn root_too_old(candidate: &Candidate) -> Option<Refusal> {
    let Check::RootTooOld {
        root,
        newest,
        signed,
        missing,
    } = &candidate.check
    else {
        return None;
    };
    Some(Refusal::RootTooOld {
        root: root.clone(),
        newest: *newest,
        signed: *signed,
        missing: missing.clone(),
    })
}

fn wrong_signer(rule: &Rule, candidates: &[Candidate]) -> Option<Refusal> {
    let found: BTreeSet<String> = candidates
        .iter()
        .filter_map(|candidate| candidate.check.signer().map(str::to_owned))
        .collect();
    let unknown = candidates
        .iter()
        .filter(|candidate| {
            matches!(
                candidate.check,
                Check::UnknownKey { .. }
                    | Check::UnknownAuthority { .. }
                    | Check::UnknownIdentity { .. }
                    | Check::Certificate { .. }
            )
        })
        .count();
    if found.is_empty() && unknown == 0 {
        return None;
    }
    let identities: Vec<String> = candidates
        .iter()
        .filter_map(|candidate| match &candidate.check {
            Check::UnknownIdentity {
                identity, issuer, ..
            } => Some(format!("{} (issuer {})", quoted(identity), quoted(issuer))),
            _ => None,
        })
        .take(3)
        .collect();
    // The edit that would let this very signature count is the candidate's own.
    let edit = candidates
        .iter()
        .find_map(|candidate| match &candidate.check {
            Check::UnknownAuthority { .. } | Check::UnknownIdentity { .. } => {
                candidate.check.hint()
            }
            _ => None,
        });
    let counting = rule.requirement.signers();
    let missing: Vec<&str> = counting.difference(&found).map(String::as_str).collect();
    let strangers: Vec<&str> = found.difference(counting).map(String::as_str).collect();
    let hint = if found.intersection(counting).next().is_some() {
        let have = found.intersection(counting).count();
        let more = rule.requirement.needed().saturating_sub(have);
        let names = missing.join(", ");
        if more == missing.len() {
            format!("{names} must sign this digest as well")
        } else {
            format!("{more} more of {names} must sign this digest")
        }
    } else if !strangers.is_empty() {
        format!(
            "have it signed by {}, or add {} to `signed-by` of the rule `{}`",
            missing.join(", "),
            strangers.join(", "),
            rule.pattern
        )
    } else if let Some(edit) = edit {
        format!("have it signed by {}; {edit}", missing.join(", "))
    } else {
        format!(
            "have it signed by {}, or add the public key that signed it to a signer of the rule",
            missing.join(", ")
        )
    };
    Some(Refusal::WrongSigner {
        needed: rule.requirement.to_string(),
        found,
        strangers: identities,
        unknown,
        hint,
    })
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
