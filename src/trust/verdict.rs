//! What the verification of one image came to.

use std::collections::BTreeSet;

use serde::Serialize;

use super::candidate::{Candidate, Check};
use super::decision::{Findings, decide};
use super::policy::{Policy, Rule, Signer};
pub use super::refusal::Refusal;
use crate::failure::Failure;
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
        matches!(
            self.outcome,
            Outcome::Skipped { .. } | Outcome::Verified { .. }
        )
    }

    /// Returns the exit code that this verdict alone leads to.
    #[must_use]
    pub const fn exit(&self) -> ExitCode {
        match &self.outcome {
            Outcome::Refused(refusal) => refusal.exit(),
            Outcome::Skipped { .. } | Outcome::Verified { .. } => ExitCode::Done,
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
            Refusal::CouldNotLookUp { .. }
            | Refusal::LimitReached { .. }
            | Refusal::RevocationUnknown { .. } => {
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

    /// Decides what needs no signature to be decided: a trust policy that checks nothing, or none that is about
    /// the repository.
    pub(super) fn without_search(
        policy: &Policy,
        rule: &Rule,
        repository: &Repository,
        digest: Digest,
    ) -> Option<Self> {
        let names = rule.requirement.signers();
        let mut scopes = BTreeSet::new();
        let mut without = Vec::new();
        let mut skipped = None;
        for name in names {
            let Some(Signer::Notation { notary }) = policy.signers().get(name) else {
                continue;
            };
            match notary.statement_for(repository) {
                None => {
                    let statements = notary.statements().iter();
                    scopes.extend(statements.map(|it| it.scope.to_string()));
                    without.push(name.clone());
                }
                Some(statement) if statement.skips() && names.len() == 1 => {
                    skipped = Some(Outcome::Skipped {
                        signer: name.clone(),
                        statement: statement.name.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        let enough = names.len() - without.len() >= rule.requirement.needed();
        let outcome = match skipped {
            Some(skipped) => skipped,
            None if enough => return None,
            None => Outcome::Refused(Refusal::NoStatement {
                repository: repository.to_string(),
                signers: without,
                scopes: scopes.into_iter().collect(),
            }),
        };
        let mut verdict = Self::of(policy, rule, repository, digest, Findings::default());
        verdict.outcome = outcome;
        Some(verdict)
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
    /// The signer's trust policy says that nothing is checked: nobody has to have signed.
    Skipped {
        /// The signer.
        signer: String,
        /// The statement that says so.
        statement: String,
    },
    /// Enough signers of the rule have signed the digest.
    Verified {
        /// The signers of the rule that were found, at least as many as it needs.
        signers: BTreeSet<String>,
    },
}
