//! What a signature is worth to the signers of a policy.

use jiff::Timestamp;

use super::certificate::Certificate;
use super::envelope::{Envelope, Scheme};
use super::fault::Fault;
use super::flaw::Flaw;
use super::level::{Action, Aspect};
use super::statement::{Statement, TimeStamps};
use super::store::StoreKind;
use super::subject::Subject;
use super::{revocation, timestamp};
use crate::oci::{Digest, Repository};
use crate::trust::candidate::{Check, Maker};
use crate::trust::judge::{Judge, quoted};
use crate::trust::policy::Signer;
use crate::trust::source::Artifacts;

/// Decides what an envelope is worth: whole, of which image, by whom, when, and with certificates that still count.
///
/// `image` fetches the image's own descriptor, whose type and size are signed as well. It is asked for once
/// somebody who counts has signed the digest.
pub(in crate::trust) async fn check<A: Artifacts>(
    media_type: &str,
    bytes: &[u8],
    judge: &Judge<'_>,
    repository: &Repository,
    artifacts: &A,
) -> Check {
    let envelope = match Envelope::read(media_type, bytes) {
        Ok(envelope) => envelope,
        Err(flaw) => return flaw.check(""),
    };
    if envelope.target.digest != judge.digest.to_string() {
        return Check::OtherDigest {
            signer: None,
            expected: judge.digest,
            found: vec![quoted(&envelope.target.digest)],
        };
    }
    let asked = Asked {
        judge,
        repository,
        envelope: &envelope,
    };
    let (counting, warnings) = match asked.signers() {
        Ok(found) => found,
        Err(check) => return check,
    };
    if let Some(check) = other_image(&envelope, judge.digest, repository, artifacts).await {
        return check;
    }
    let mut first = None;
    for ((name, statement), warnings) in counting.into_iter().zip(warnings) {
        let examination = Examination {
            statement,
            envelope: &envelope,
            judge,
            artifacts,
            warnings,
        };
        let check = examination.run(name).await;
        if matches!(check, Check::Good { .. }) {
            return check;
        }
        first.get_or_insert(check);
    }
    first.unwrap_or(Check::Notation(Fault::NotAsked))
}

/// An envelope, held against the signers of the policy.
struct Asked<'a> {
    judge: &'a Judge<'a>,
    repository: &'a Repository,
    envelope: &'a Envelope,
}

type Signers<'a> = (Vec<(&'a str, &'a Statement)>, Vec<Vec<String>>);

impl<'a> Asked<'a> {
    /// Returns the signers of the rule that it could be of, with what they would have minded and only log.
    ///
    /// Those whose certificates and names it has stand before those who take anybody's.
    fn signers(&self) -> Result<Signers<'a>, Check> {
        let mut counting = Vec::new();
        let mut lenient = Vec::new();
        let mut strangers = Vec::new();
        for (name, statement) in self.statements(true) {
            match self.authentic(statement) {
                Ok(()) => counting.push(((name, statement), Vec::new())),
                Err(stranger) if statement.strictness.of(Aspect::Authenticity) == Action::Log => {
                    let fault = self.fault(vec![(name, statement, stranger)]);
                    lenient.push(((name, statement), vec![fault.found()]));
                }
                Err(stranger) => strangers.push((name, statement, stranger)),
            }
        }
        counting.append(&mut lenient);
        if !counting.is_empty() {
            return Ok(counting.into_iter().unzip());
        }
        let mut others = self.statements(false);
        if let Some((name, _)) = others.find(|(_, statement)| self.authentic(statement).is_ok()) {
            return Err(Check::OtherSigner {
                signer: name.to_owned(),
                expected: self.judge.rule.requirement.to_string(),
            });
        }
        let asked = self
            .judge
            .policy
            .signers()
            .values()
            .any(|signer| matches!(signer, Signer::Notation { .. }));
        if !asked {
            return Err(Check::Notation(Fault::NotAsked));
        }
        Err(Check::Notation(self.fault(strangers)))
    }

    /// The statements about this repository of signers that the rule names, or of all others.
    fn statements(&self, counting: bool) -> impl Iterator<Item = (&'a str, &'a Statement)> {
        let names = self.judge.rule.requirement.signers();
        let repository = self.repository;
        let signers = self.judge.policy.signers().iter();
        signers.filter_map(move |(name, signer)| match signer {
            Signer::Notation { notary } if names.contains(name) == counting => {
                let statement = notary.statement_for(repository)?;
                (!statement.skips()).then_some((name.as_str(), statement))
            }
            _ => None,
        })
    }

    /// Checks that the chain leads to a certificate that a statement trusts, and names whom it names.
    fn authentic(&self, statement: &Statement) -> Result<(), Stranger> {
        let kind = match self.envelope.scheme {
            Scheme::X509 => StoreKind::Authority,
            Scheme::SigningAuthority => StoreKind::SigningAuthority,
        };
        let trusted = statement
            .store(kind)
            .is_some_and(|store| self.envelope.chain.iter().any(|it| store.has(it)));
        if !trusted {
            return Err(Stranger::Authority);
        }
        if statement.identities.is_empty() {
            return Ok(());
        }
        let leaf = self.envelope.chain.first();
        let subject = leaf.map(|leaf| Subject::of(&leaf.parsed.tbs_certificate.subject));
        match subject {
            Some(Ok(subject)) if statement.identities.iter().any(|it| it.covers(&subject)) => {
                Ok(())
            }
            _ => Err(Stranger::Subject),
        }
    }

    /// Puts the mismatches of several signers into one fault: somebody else's name says more than somebody else's
    /// authority.
    fn fault(&self, strangers: Vec<(&str, &Statement, Stranger)>) -> Fault {
        let leaf = self.envelope.chain.first();
        let subject = leaf.map_or_else(String::new, |leaf| {
            match Subject::of(&leaf.parsed.tbs_certificate.subject) {
                Ok(subject) if !subject.to_string().is_empty() => subject.to_string(),
                Ok(_) => leaf.name(),
                Err(reason) => format!("{} (which has {reason})", leaf.name()),
            }
        });
        let named: Vec<(String, String)> = strangers
            .iter()
            .filter(|(_, _, stranger)| *stranger == Stranger::Subject)
            .map(|(name, statement, _)| {
                let names: Vec<String> = statement
                    .identities
                    .iter()
                    .take(3)
                    .map(ToString::to_string)
                    .collect();
                ((*name).to_owned(), names.join(" or "))
            })
            .collect();
        if !named.is_empty() {
            return Fault::UnknownSubject {
                subject,
                expected: named,
            };
        }
        let kind = match self.envelope.scheme {
            Scheme::X509 => StoreKind::Authority,
            Scheme::SigningAuthority => StoreKind::SigningAuthority,
        };
        let expected: Vec<String> = strangers
            .iter()
            .take(3)
            .map(|(name, statement, _)| match statement.store(kind) {
                Some(store) => format!("{} of `{name}`", store.names()),
                None => format!("a `{kind}` store, of which `{name}` has none"),
            })
            .collect();
        Fault::UntrustedChain {
            subject,
            authority: self
                .envelope
                .chain
                .last()
                .map_or_else(String::new, Certificate::name),
            expected: if expected.is_empty() {
                "a signer of the rule, of whom none is of the Notary Project".into()
            } else {
                expected.join(", or ")
            },
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stranger {
    Authority,
    Subject,
}

/// An envelope by a signer who counts, held against what their statement asks beside that.
struct Examination<'a, A> {
    statement: &'a Statement,
    envelope: &'a Envelope,
    judge: &'a Judge<'a>,
    artifacts: &'a A,
    warnings: Vec<String>,
}

impl<A: Artifacts> Examination<'_, A> {
    async fn run(mut self, signer: &str) -> Check {
        let annotations = &self.envelope.target.annotations;
        let mut metadata = self.statement.metadata.iter();
        if let Some((name, expected)) =
            metadata.find(|(name, expected)| annotations.get(*name) != Some(expected))
        {
            return Check::Notation(Fault::OtherMetadata {
                signer: signer.to_owned(),
                name: name.clone(),
                expected: expected.clone(),
                found: annotations.get(name).cloned(),
            });
        }
        let now = self.artifacts.now();
        if let Err(flaw) = self.note(Aspect::Expiry, self.expiry(now)) {
            return flaw.check(signer);
        }
        let stamped = match self.statement.strictness.of(Aspect::AuthenticTimestamp) {
            Action::Skip => Ok(None),
            _ => self.time(now).await,
        };
        let at = match stamped {
            Ok(at) => at,
            Err(flaw) => match self.note(Aspect::AuthenticTimestamp, Err(flaw)) {
                Ok(()) => None,
                Err(flaw) => return flaw.check(signer),
            },
        };
        if self.statement.strictness.of(Aspect::Revocation) != Action::Skip {
            let time = (self.envelope.scheme == Scheme::SigningAuthority)
                .then_some(self.envelope.signed_at);
            let chain = &self.envelope.chain;
            let state = revocation::check(chain, time, self.judge, self.artifacts).await;
            if let Err(flaw) = self.note(Aspect::Revocation, state) {
                return flaw.check(signer);
            }
        }
        let leaf = self.envelope.chain.first();
        Check::Good {
            signer: signer.to_owned(),
            by: Maker::Notation {
                subject: leaf.map_or_else(String::new, Certificate::name),
                statement: self.statement.name.clone(),
                level: self.statement.strictness.to_string(),
                at,
                warnings: self.warnings,
            },
            proof: None,
        }
    }

    /// Keeps a flaw as a warning, if the statement does not mind.
    fn note(&mut self, aspect: Aspect, result: Result<(), Flaw>) -> Result<(), Flaw> {
        match (result, self.statement.strictness.of(aspect)) {
            (Ok(()), _) | (Err(_), Action::Skip) => Ok(()),
            (Err(flaw), Action::Enforce) => Err(flaw),
            (Err(flaw), Action::Log) => {
                self.warnings.push(format!("{}: {flaw}", aspect.name()));
                Ok(())
            }
        }
    }

    fn expiry(&self, now: Timestamp) -> Result<(), Flaw> {
        match self.envelope.expiry {
            Some(expiry) if now >= expiry => Err(Flaw::Expired {
                what: "the signature itself".into(),
                expected: format!("a time before {expiry}"),
                found: now.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks when it was signed, and returns that if somebody but the signer says so.
    async fn time(&self, now: Timestamp) -> Result<Option<Timestamp>, Flaw> {
        let chain = &self.envelope.chain;
        if self.envelope.scheme == Scheme::SigningAuthority {
            let time = self.envelope.signed_at;
            within(chain, time, time, "the signing authority says that it was")?;
            return Ok(Some(time));
        }
        let store = self.statement.store(StoreKind::TimeStamping);
        let ended = chain.iter().any(|it| now > it.not_after);
        let Some(store) =
            store.filter(|_| self.statement.time_stamps == TimeStamps::Always || ended)
        else {
            within(
                chain,
                now,
                now,
                "nothing proves when it was signed, and now it is",
            )?;
            return Ok(None);
        };
        let Some(token) = &self.envelope.time_stamp else {
            return Err(Flaw::bad(
                "nothing proves when it was signed",
                format!("a time stamp by {}", store.names()),
                "none",
            ));
        };
        let stamp = timestamp::verify(token, &self.envelope.signature, store)?;
        within(
            chain,
            stamp.earliest,
            stamp.latest,
            "the time-stamp authority says that it was",
        )?;
        revocation::check(&stamp.chain, None, self.judge, self.artifacts).await?;
        Ok(Some(stamp.latest))
    }
}

/// Checks that every certificate was valid the whole time.
fn within(chain: &[Certificate], from: Timestamp, to: Timestamp, says: &str) -> Result<(), Flaw> {
    let invalid = chain
        .iter()
        .find(|it| !it.is_valid_at(from) || !it.is_valid_at(to));
    let Some(certificate) = invalid else {
        return Ok(());
    };
    let found = if from == to {
        format!("{from}: {says}")
    } else {
        format!("between {from} and {to}: {says}")
    };
    Err(Flaw::Expired {
        what: format!("the certificate {}", certificate.name()),
        expected: format!(
            "a time from {} to {}",
            certificate.not_before, certificate.not_after
        ),
        found,
    })
}

/// Holds the type and the size that are signed against those of the image. The digest is the same by now.
async fn other_image<A: Artifacts>(
    envelope: &Envelope,
    digest: Digest,
    repository: &Repository,
    artifacts: &A,
) -> Option<Check> {
    let raw = match artifacts.manifest_by_digest(repository, &digest).await {
        Ok(Some(raw)) if Digest::of(&raw.bytes) == digest => raw,
        Ok(Some(raw)) => {
            return Some(Check::Malformed {
                reason: "the registry answered with another manifest".into(),
                expected: digest.to_string(),
                found: Digest::of(&raw.bytes).to_string(),
            });
        }
        Ok(None) => {
            return Some(Check::Malformed {
                reason: "the image is not there".into(),
                expected: digest.to_string(),
                found: "no manifest of that digest".into(),
            });
        }
        Err(error) => return Some(Check::Unreadable(error)),
    };
    let declared = serde_json::from_slice::<Declared>(&raw.bytes).ok();
    let media_type = match raw.media_type.as_str() {
        "" => declared.and_then(|it| it.media_type).unwrap_or_default(),
        given => given.to_owned(),
    };
    let target = &envelope.target;
    let size = raw.bytes.len() as u64;
    if target.size == size && target.media_type == media_type {
        return None;
    }
    Some(Check::Malformed {
        reason: "what is signed is described otherwise than the image is".into(),
        expected: format!("{} of {size} bytes", quoted(&media_type)),
        found: format!("{} of {} bytes", quoted(&target.media_type), target.size),
    })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declared {
    media_type: Option<String>,
}
