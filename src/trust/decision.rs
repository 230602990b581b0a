//! What the candidates of an image come to.

use std::collections::BTreeSet;

use super::candidate::{Candidate, Check, OverLimit};
use super::judge::quoted;
use super::notation::Fault;
use super::policy::{Policy, Rule, Signer};
use super::refusal::Refusal;
use super::source::LookupError;
use super::verdict::Outcome;

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

pub(super) fn decide(policy: &Policy, rule: &Rule, image: &str, findings: &Findings) -> Outcome {
    let signers = findings.signers();
    if rule.requirement.satisfied_by(&signers) {
        return Outcome::Verified { signers };
    }
    let refusal = unknown(findings)
        .or_else(|| findings.candidates.iter().find_map(revocation_unknown))
        .or_else(|| bad(&findings.candidates))
        .or_else(|| findings.candidates.iter().find_map(revoked))
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
    let signers = rule.requirement.signers().iter();
    let signers: Vec<&Signer> = signers
        .filter_map(|name| policy.signers().get(name))
        .collect();
    let is_key = |signer: &Signer| matches!(signer, Signer::Key { .. });
    let is_notation = |signer: &Signer| matches!(signer, Signer::Notation { .. });
    if signers.iter().any(|it| is_key(it)) {
        format!("cosign sign --key cosign.key {image}")
    } else if signers.iter().all(|it| is_notation(it)) {
        format!("notation sign {image}")
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

fn revocation_unknown(candidate: &Candidate) -> Option<Refusal> {
    let Check::Notation(
        fault @ Fault::RevocationUnknown {
            certificate,
            reasons,
            unlisted,
            ..
        },
    ) = &candidate.check
    else {
        return None;
    };
    Some(Refusal::RevocationUnknown {
        certificate: certificate.clone(),
        reasons: reasons.clone(),
        unlisted: unlisted.clone(),
        hint: fault.hint(),
    })
}

fn revoked(candidate: &Candidate) -> Option<Refusal> {
    let Check::Notation(Fault::Revoked {
        signer,
        certificate,
        since,
        by,
    }) = &candidate.check
    else {
        return None;
    };
    Some(Refusal::Revoked {
        signer: signer.clone(),
        certificate: certificate.clone(),
        since: *since,
        by: by.clone(),
        manifest: candidate.manifest,
    })
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
                    | Check::Notation(
                        Fault::NotAsked
                            | Fault::UnknownSubject { .. }
                            | Fault::UntrustedChain { .. }
                    )
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
            Check::Notation(
                Fault::UnknownSubject { subject, .. } | Fault::UntrustedChain { subject, .. },
            ) => Some(subject.clone()),
            _ => None,
        })
        .take(3)
        .collect();
    // The edit that would let this very signature count is the candidate's own.
    let edit = candidates
        .iter()
        .find_map(|candidate| match &candidate.check {
            Check::UnknownAuthority { .. } | Check::UnknownIdentity { .. } | Check::Notation(_) => {
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
