//! Who has to have signed which image.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::key::PublicKey;
use super::keyless::{Identity, LogRequirement, TrustRoot};
use super::notation::{Notary, Revocation};
use super::pattern::Pattern;
use crate::failure::{Explain, Fact};
use crate::oci::{Digest, Repository};

/// The trust rules of a pipeline: named signers, and which of them each image needs.
///
/// An image that no rule matches is not trusted.
#[derive(Clone, Debug)]
pub struct Policy {
    signers: BTreeMap<String, Signer>,
    rules: Vec<Rule>,
    roots: Vec<TrustRoot>,
    revocation: Revocation,
}

impl Policy {
    /// Makes a policy.
    ///
    /// # Errors
    ///
    /// Refuses what could not be decided, or not as it reads: a signer without a key, a key that
    /// two signers share (it would count as two), identities of one rule that one certificate could be
    /// where it needs more than one, a rule that names an unknown signer, two rules of which neither is
    /// more specific than the other.
    pub fn new(signers: BTreeMap<String, Signer>, rules: Vec<Rule>) -> Result<Self, PolicyError> {
        let mut owners: BTreeMap<Digest, &str> = BTreeMap::new();
        for (name, signer) in &signers {
            let keys = match signer {
                Signer::Key { keys, .. } => keys,
                Signer::Identity { identity, .. } => {
                    let anybody = identity.subjects.iter().all(|subject| subject.is_anybody());
                    if anybody && identity.claims.is_empty() {
                        return Err(PolicyError::Anybody {
                            signer: name.clone(),
                            issuer: identity.issuer.clone(),
                        });
                    }
                    continue;
                }
                Signer::Notation { .. } => continue,
            };
            if keys.is_empty() {
                return Err(PolicyError::NoKey {
                    signer: name.clone(),
                });
            }
            for key in keys {
                match owners.insert(key.fingerprint(), name) {
                    Some(other) if other != name => {
                        return Err(PolicyError::SharedKey {
                            first: other.to_owned(),
                            second: name.clone(),
                            key: key.fingerprint(),
                        });
                    }
                    _ => {}
                }
            }
        }
        for rule in &rules {
            if let Some(unknown) = rule
                .requirement
                .of
                .iter()
                .find(|name| !signers.contains_key(*name))
            {
                return Err(PolicyError::UnknownSigner {
                    pattern: rule.pattern.to_string(),
                    signer: unknown.clone(),
                    known: signers.keys().cloned().collect(),
                });
            }
            if let Some(signer) = anybodys(&rule.requirement, &signers) {
                return Err(PolicyError::Lenient {
                    pattern: rule.pattern.to_string(),
                    signer,
                });
            }
            if let Some((first, second)) = overlapping(&rule.requirement, &signers) {
                return Err(PolicyError::SharedIdentity {
                    pattern: rule.pattern.to_string(),
                    first,
                    second,
                });
            }
        }
        for (index, rule) in rules.iter().enumerate() {
            if let Some(other) = rules[..index].iter().find(|other| {
                rule.pattern.specificity(&other.pattern) == Ordering::Equal
                    && rule.pattern.overlaps(&other.pattern)
            }) {
                return Err(PolicyError::Tie {
                    first: other.pattern.to_string(),
                    second: rule.pattern.to_string(),
                });
            }
        }
        Ok(Self {
            signers,
            rules,
            roots: Vec::new(),
            revocation: Revocation::default(),
        })
    }

    /// Gives it the trust roots by which certificates and log entries are verified.
    #[must_use]
    pub fn with_roots(mut self, roots: Vec<TrustRoot>) -> Self {
        self.roots = roots;
        self
    }

    /// Lets hosts be asked whether certificates of Notary signatures are revoked.
    #[must_use]
    pub fn with_revocation(mut self, revocation: Revocation) -> Self {
        self.revocation = revocation;
        self
    }

    /// Returns which hosts may be asked whether certificates are revoked.
    #[must_use]
    pub const fn revocation(&self) -> &Revocation {
        &self.revocation
    }

    /// Returns the trust roots.
    #[must_use]
    pub fn roots(&self) -> &[TrustRoot] {
        &self.roots
    }

    /// Returns the rule for a repository: the most specific one that matches.
    #[must_use]
    pub fn rule_for(&self, repository: &Repository) -> Option<&Rule> {
        self.rules
            .iter()
            .filter(|rule| rule.pattern.matches(repository))
            .max_by(|a, b| a.pattern.specificity(&b.pattern))
    }

    /// Returns the signers by name.
    #[must_use]
    pub const fn signers(&self) -> &BTreeMap<String, Signer> {
        &self.signers
    }

    /// Returns the rules in the order in which they were given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Finds the signer and the key that made a signature.
    pub(super) fn signed_by(&self, message: &[u8], signature: &[u8]) -> Option<KeyHolder<'_>> {
        self.signers.iter().find_map(|(name, signer)| {
            let Signer::Key { keys, log } = signer else {
                return None;
            };
            let key = keys.iter().find(|key| key.verifies(message, signature))?;
            Some(KeyHolder {
                signer: name,
                key,
                log: *log,
            })
        })
    }

    /// Returns the signers that are identities.
    pub(super) fn identities(&self) -> impl Iterator<Item = (&str, &Identity, LogRequirement)> {
        self.signers
            .iter()
            .filter_map(|(name, signer)| match signer {
                Signer::Identity { identity, log } => Some((name.as_str(), identity, *log)),
                Signer::Key { .. } | Signer::Notation { .. } => None,
            })
    }
}

/// The key that made a signature, and whose it is.
pub(super) struct KeyHolder<'a> {
    pub(super) signer: &'a str,
    pub(super) key: &'a PublicKey,
    pub(super) log: LogRequirement,
}

/// Finds two identities of a rule that one certificate could be, where it would count as two.
fn overlapping(
    requirement: &Requirement,
    signers: &BTreeMap<String, Signer>,
) -> Option<(String, String)> {
    if requirement.at_least < 2 {
        return None;
    }
    let named: Vec<(&String, &Signer)> = requirement
        .of
        .iter()
        .filter_map(|name| Some((name, signers.get(name)?)))
        .collect();
    named.iter().enumerate().find_map(|(index, (first, one))| {
        let mut others = named[index + 1..].iter();
        let (second, _) = others.find(|(_, other)| match (one, other) {
            (
                Signer::Identity { identity: one, .. },
                Signer::Identity {
                    identity: other, ..
                },
            ) => one.overlaps(other),
            (Signer::Notation { notary: one }, Signer::Notation { notary: other }) => {
                one.overlaps(other)
            }
            _ => false,
        })?;
        Some(((*first).clone(), (*second).clone()))
    })
}

/// Finds a signer who is anybody, where more than one has to have signed.
fn anybodys(requirement: &Requirement, signers: &BTreeMap<String, Signer>) -> Option<String> {
    let lenient = |name: &&String| matches!(signers.get(*name), Some(Signer::Notation { notary }) if notary.trusts_anybody());
    let name = requirement.of.iter().find(lenient)?;
    (requirement.of.len() > 1).then(|| name.clone())
}

/// Somebody who signs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Signer {
    /// Whoever has a certificate that names this identity.
    Identity {
        /// Whom the certificate has to name.
        identity: Identity,
        /// Whether a transparency log has to have the signature.
        log: LogRequirement,
    },
    /// Whoever has a certificate that a trust policy of the Notary Project accepts.
    Notation {
        /// Which certificates those are, and how strictly signatures are checked.
        notary: Notary,
    },
    /// Whoever holds one of these keys. Several keys are one signer, for instance while a
    /// key is being replaced.
    Key {
        /// The keys, at least one.
        keys: Vec<PublicKey>,
        /// Whether a transparency log has to have the signature.
        log: LogRequirement,
    },
}

/// What the images of a pattern need.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which repositories it is about.
    pub pattern: Pattern,
    /// Who has to have signed.
    pub requirement: Requirement,
}

/// How many of which signers have to have signed.
///
/// Signers are counted, not signatures: ten signatures of one signer are one.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Requirement {
    at_least: usize,
    of: BTreeSet<String>,
}

impl Requirement {
    /// Requires every one of the signers.
    ///
    /// # Errors
    ///
    /// Refuses an empty list.
    pub fn all<S: Into<String>>(of: impl IntoIterator<Item = S>) -> Result<Self, PolicyError> {
        let of: BTreeSet<String> = of.into_iter().map(Into::into).collect();
        Self::checked(of.len(), of)
    }

    /// Requires one of the signers.
    ///
    /// # Errors
    ///
    /// Refuses an empty list.
    pub fn any<S: Into<String>>(of: impl IntoIterator<Item = S>) -> Result<Self, PolicyError> {
        Self::at_least(1, of)
    }

    /// Requires some of the signers, a name given twice being one signer.
    ///
    /// # Errors
    ///
    /// Refuses an empty list, 0, and more than there are different signers.
    pub fn at_least<S: Into<String>>(
        at_least: usize,
        of: impl IntoIterator<Item = S>,
    ) -> Result<Self, PolicyError> {
        Self::checked(at_least, of.into_iter().map(Into::into).collect())
    }

    /// Returns how many different signers are needed.
    #[must_use]
    pub const fn needed(&self) -> usize {
        self.at_least
    }

    /// Returns the signers that count.
    #[must_use]
    pub const fn signers(&self) -> &BTreeSet<String> {
        &self.of
    }

    /// Tells whether these signers are enough.
    #[must_use]
    pub fn satisfied_by(&self, signers: &BTreeSet<String>) -> bool {
        self.of.intersection(signers).count() >= self.at_least
    }

    fn checked(at_least: usize, of: BTreeSet<String>) -> Result<Self, PolicyError> {
        if of.is_empty() {
            return Err(PolicyError::NoSigner);
        }
        if at_least == 0 || at_least > of.len() {
            return Err(PolicyError::Count {
                at_least,
                signers: of.len(),
            });
        }
        Ok(Self { at_least, of })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.of.iter().map(String::as_str).collect();
        let names = names.join(", ");
        match (self.at_least, self.of.len()) {
            (1, 1) => write!(f, "{names}"),
            (needed, all) if needed == all => write!(f, "all of {names}"),
            (1, _) => write!(f, "any of {names}"),
            (needed, _) => write!(f, "at least {needed} of {names}"),
        }
    }
}

/// A refusal to make a policy.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// A signer is anybody to whom an issuer gives tokens.
    #[error("signer `{signer}` is anybody whom {issuer} knows")]
    Anybody {
        /// Its name.
        signer: String,
        /// Its issuer.
        issuer: String,
    },
    /// More signers are needed than there are, or none.
    #[error("`at-least: {at_least}` of {signers} different signers can't be decided")]
    Count {
        /// How many are needed.
        at_least: usize,
        /// How many different signers are named.
        signers: usize,
    },
    /// A rule of several signers has one that is anybody.
    #[error(
        "the rule for `{pattern}` names the signer `{signer}` beside others, and takes anybody for it"
    )]
    Lenient {
        /// The rule's pattern.
        pattern: String,
        /// The signer.
        signer: String,
    },
    /// A signer has no key.
    #[error("signer `{signer}` has no key")]
    NoKey {
        /// Its name.
        signer: String,
    },
    /// A rule names no signer.
    #[error("the rule names no signer")]
    NoSigner,
    /// One certificate could be two signers of a rule that needs more than one.
    #[error(
        "the rule for `{pattern}` needs several signers, and one certificate could be both `{first}` and `{second}`"
    )]
    SharedIdentity {
        /// The rule's pattern.
        pattern: String,
        /// One of the signers.
        first: String,
        /// The other one.
        second: String,
    },
    /// Two signers have the same key, which would count twice.
    #[error("signers `{first}` and `{second}` have the same key {key}")]
    SharedKey {
        /// One of the signers.
        first: String,
        /// The other one.
        second: String,
        /// The key's fingerprint.
        key: Digest,
    },
    /// Two rules could match the same image, and neither is more specific.
    #[error(
        "the rules `{first}` and `{second}` can match the same image, and neither is more specific"
    )]
    Tie {
        /// The pattern of one rule.
        first: String,
        /// The pattern of the other rule.
        second: String,
    },
    /// A rule names a signer that there is not.
    #[error("the rule for `{pattern}` names the signer `{signer}`, which is not defined")]
    UnknownSigner {
        /// The rule's pattern.
        pattern: String,
        /// The name.
        signer: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

impl Explain for PolicyError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Anybody { signer, .. } => format!(
                "name whom you mean: `{signer}: {{subject: \"https://github.com/acme/*/.github/workflows/release.yml@refs/tags/**\"}}`, or what they must claim: `claims: {{repository: acme/web}}`"
            ),
            Self::SharedIdentity { first, second, .. } => format!(
                "write the subjects of `{first}` and `{second}` more exactly, so that no identity is both"
            ),
            Self::Count { signers, .. } => format!(
                "give `at-least` a number from 1 to {signers}; a signer named twice counts once"
            ),
            Self::Lenient { signer, .. } => format!(
                "with the levels `audit` and `skip` nobody has to have signed for `{signer}`: make it `strict` or `permissive`, or give it a rule of its own"
            ),
            Self::NoKey { signer } => {
                format!("give it a key: `{signer}: {{key: [cosign.pub]}}`")
            }
            Self::NoSigner => "name at least one: `signed-by: {any: [ops]}`".into(),
            Self::SharedKey { first, second, .. } => format!(
                "take the key out of `{first}` or `{second}`: with it in both, one signature would count as two signers"
            ),
            Self::Tie { first, second } if first == second => "join the two rules into one".into(),
            Self::Tie { .. } => {
                "write one of them more exactly, for instance with a name where it has `**`".into()
            }
            Self::UnknownSigner { known, signer, .. } => match nearest(signer, known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!(
                    "define it under `trust.signers`, where there are: {}",
                    known.join(", ")
                ),
            },
        })
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::SharedKey { key, .. } => vec![Fact::new("key", key)],
            _ => Vec::new(),
        }
    }
}

fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    known
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(which: &str) -> PublicKey {
        let pem: &[u8] = match which {
            "p256" => include_bytes!("fixtures/keys/p256.pub"),
            "other" => include_bytes!("fixtures/keys/other.pub"),
            _ => include_bytes!("fixtures/keys/rsa.pub"),
        };
        PublicKey::from_pem(pem).unwrap()
    }

    fn signers(of: &[(&str, &[&str])]) -> BTreeMap<String, Signer> {
        of.iter()
            .map(|(name, keys)| {
                let keys = keys.iter().map(|which| key(which)).collect();
                let log = LogRequirement::Ignored;
                ((*name).to_owned(), Signer::Key { keys, log })
            })
            .collect()
    }

    fn rule(pattern: &str, of: &[&str]) -> Rule {
        Rule {
            pattern: pattern.parse().unwrap(),
            requirement: Requirement::any(of.iter().copied()).unwrap(),
        }
    }

    #[test]
    fn the_most_specific_rule_wins_whatever_the_order() {
        let patterns = ["**", "ghcr.io/acme/**", "ghcr.io/acme/web", "ghcr.io/**"];
        let repository: crate::oci::Reference = "ghcr.io/acme/web:v1".parse().unwrap();
        for turn in 0..patterns.len() {
            let mut turned = patterns;
            turned.rotate_left(turn);
            let rules = turned
                .iter()
                .map(|pattern| rule(pattern, &["ci"]))
                .collect();
            let policy = Policy::new(signers(&[("ci", &["p256"])]), rules).unwrap();
            let rule = policy.rule_for(&repository.repository).unwrap();
            assert_eq!(rule.pattern.to_string(), "ghcr.io/acme/web");
        }
    }

    #[test]
    fn refusals_have_a_hint() {
        let ci = || signers(&[("ci", &["p256"])]);
        let errors = [
            Policy::new(signers(&[("ci", &[])]), vec![]).unwrap_err(),
            Policy::new(
                signers(&[("ci", &["p256"]), ("ops", &["other", "p256"])]),
                vec![],
            )
            .unwrap_err(),
            Policy::new(ci(), vec![rule("**", &["cj"])]).unwrap_err(),
            Policy::new(ci(), vec![rule("**", &["release"])]).unwrap_err(),
            Policy::new(ci(), vec![rule("**", &["ci"]), rule("**", &["ci"])]).unwrap_err(),
            Policy::new(
                ci(),
                vec![rule("r.io/**/a/**", &["ci"]), rule("r.io/**/b/**", &["ci"])],
            )
            .unwrap_err(),
            Requirement::all(Vec::<String>::new()).unwrap_err(),
            Requirement::at_least(0, ["ci"]).unwrap_err(),
            Requirement::at_least(2, ["ci", "ci"]).unwrap_err(),
        ];
        let told: Vec<String> = errors
            .iter()
            .map(|error| format!("{error} ({})", error.hint().unwrap()))
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_key_may_stand_twice_in_one_signer() {
        assert!(Policy::new(signers(&[("ci", &["p256", "p256"])]), vec![]).is_ok());
    }

    #[test]
    fn requirements_count_different_signers() {
        let two = Requirement::at_least(2, ["a", "b", "c", "a"]).unwrap();
        let having = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(!two.satisfied_by(&having(&["a"])));
        assert!(!two.satisfied_by(&having(&["a", "stranger"])));
        assert!(two.satisfied_by(&having(&["a", "c"])));
        assert_eq!(two.to_string(), "at least 2 of a, b, c");
        assert_eq!(
            Requirement::all(["b", "a"]).unwrap().to_string(),
            "all of a, b"
        );
        assert_eq!(
            Requirement::any(["b", "a"]).unwrap().to_string(),
            "any of a, b"
        );
        assert_eq!(Requirement::any(["a"]).unwrap().to_string(), "a");
    }
}
