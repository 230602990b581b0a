//! The one decision that all forms of signatures share.

use std::sync::atomic::AtomicUsize;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::candidate::{Check, Maker};
use super::key::{KeyAlgorithm, PublicKey};
use super::keyless::{self, Certificate, Evidence, Identity, LogRequirement};
use super::policy::{Policy, Rule, Signer};
use crate::oci::Digest;

/// Knows the image, the signers, and which of them count.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) rule: &'a Rule,
    pub(super) digest: Digest,
    /// How many questions about revocation are left for this image.
    pub(super) enquiries: AtomicUsize,
}

impl Judge<'_> {
    /// Tells whether anybody signs for the Notary Project.
    pub(super) fn asks_notation(&self) -> bool {
        let mut signers = self.policy.signers().values();
        signers.any(|signer| matches!(signer, Signer::Notation { .. }))
    }

    /// Decides what a signature is worth: who made it, and of what.
    ///
    /// With keys alone, a foreign signature and an altered one look the same: no key verifies
    /// it. What is signed tells them apart as far as that is possible: a signature that claims
    /// another digest is a bad one whoever made it; one that claims this digest and a key that
    /// counts was altered; one that claims this digest alone has the wrong signer.
    pub(super) fn signature(
        &self,
        message: &[u8],
        signature: &[u8],
        signed: &[String],
        claimed: Option<Digest>,
        evidence: &Evidence<'_>,
    ) -> Check {
        let maker = self.policy.signed_by(message, signature);
        if let Some(check) = self.other_digest(signed, maker.as_ref().map(|maker| maker.signer)) {
            return check;
        }
        let Some(maker) = maker else {
            return self.unknown(claimed);
        };
        let signer = maker.signer.to_owned();
        if !self.rule.requirement.signers().contains(maker.signer) {
            return self.other_signer(signer);
        }
        let proof = match maker.log {
            LogRequirement::Ignored => None,
            LogRequirement::Required => {
                let roots = self.policy.roots();
                match keyless::logged(roots, evidence, self.digest, maker.key) {
                    Ok(proof) => Some(proof),
                    Err(flaw) => return flaw.check(Some(&signer)),
                }
            }
        };
        Check::Good {
            signer,
            by: Maker::Key(maker.key.fingerprint()),
            proof,
        }
    }

    /// Decides what a signature by certificate is worth.
    pub(super) fn certificate(
        &self,
        der: Option<&[u8]>,
        signed: &[String],
        evidence: &Evidence<'_>,
    ) -> Check {
        if let Some(check) = self.other_digest(signed, None) {
            return check;
        }
        if self.policy.roots().is_empty() {
            return Check::Certificate {
                claimed: der.and_then(keyless::claimed),
            };
        }
        // Whether a log is asked for depends on whose signature it claims to be; that it is theirs comes out below.
        let log = der
            .and_then(keyless::claims)
            .and_then(|claims| self.signer_of(&claims))
            .map_or(LogRequirement::Required, |(_, log)| log);
        let verified = keyless::certified(self.policy.roots(), evidence, self.digest, log);
        let (certificate, proof) = match verified {
            Ok(verified) => verified,
            Err(flaw) => {
                let signer = der.and_then(keyless::claims);
                let signer = signer.as_ref().and_then(|claims| self.signer_of(claims));
                return flaw.check(signer.map(|(name, _)| name));
            }
        };
        match self.signer_of(&certificate) {
            // What was asked for rested on a claim; what counts is the signer that came out.
            Some((signer, LogRequirement::Required)) if !proof.logged => Check::NotLogged {
                signer: Some(signer.to_owned()),
                expected: "an entry in a transparency log".into(),
                found: "none that was verified".into(),
            },
            Some((signer, _)) if self.rule.requirement.signers().contains(signer) => Check::Good {
                signer: signer.to_owned(),
                by: Maker::Certificate {
                    identity: certificate.identity,
                    issuer: certificate.issuer,
                },
                proof: Some(proof),
            },
            Some((signer, _)) => self.other_signer(signer.to_owned()),
            None => Check::UnknownIdentity {
                mismatches: self
                    .counting()
                    .filter_map(|(name, identity, _)| {
                        Some((name.to_owned(), identity.mismatch(&certificate)?))
                    })
                    .collect(),
                identity: certificate.identity,
                issuer: certificate.issuer,
            },
        }
    }

    /// Finds the signer whom a certificate names, one of the rule's before another.
    fn signer_of(&self, certificate: &Certificate) -> Option<(&str, LogRequirement)> {
        let found =
            |(_, identity, _): &(&str, &Identity, _)| identity.mismatch(certificate).is_none();
        let (name, _, log) = self
            .counting()
            .find(found)
            .or_else(|| self.policy.identities().find(found))?;
        Some((name, log))
    }

    /// The identities that the rule names.
    fn counting(&self) -> impl Iterator<Item = (&str, &Identity, LogRequirement)> {
        let names = self.rule.requirement.signers();
        self.policy
            .identities()
            .filter(|(name, ..)| names.contains(*name))
    }

    fn other_signer(&self, signer: String) -> Check {
        Check::OtherSigner {
            signer,
            expected: self.rule.requirement.to_string(),
        }
    }

    fn other_digest(&self, signed: &[String], signer: Option<&str>) -> Option<Check> {
        let this = self.digest.to_string();
        if signed.is_empty() {
            return Some(Check::Malformed {
                reason: "nothing is signed".into(),
                expected: this,
                found: "no sha256 digest".into(),
            });
        }
        (!signed.contains(&this)).then(|| Check::OtherDigest {
            signer: signer.map(str::to_owned),
            expected: self.digest,
            found: signed.iter().take(3).map(|found| quoted(found)).collect(),
        })
    }

    fn unknown(&self, claimed: Option<Digest>) -> Check {
        let counting = self.rule.requirement.signers().iter();
        let keys: Vec<(&String, &PublicKey)> = counting
            .filter_map(|name| Some((name, self.policy.signers().get(name)?)))
            .flat_map(|(name, signer)| {
                let keys: &[PublicKey] = match signer {
                    Signer::Identity { .. } | Signer::Notation { .. } => &[],
                    Signer::Key { keys, .. } => keys,
                };
                keys.iter().map(move |key| (name, key))
            })
            .collect();
        let is_ed25519 = |key: &PublicKey| key.algorithm() == KeyAlgorithm::Ed25519;
        // With Ed25519 another kind of signature is likelier than an altered one.
        let claims = |(_, key): &&(&String, &PublicKey)| {
            Some(key.fingerprint()) == claimed && !is_ed25519(key)
        };
        if let Some((signer, key)) = keys.iter().find(claims) {
            return Check::Altered {
                signer: (*signer).clone(),
                key: key.fingerprint(),
            };
        }
        Check::UnknownKey {
            expected: keys.iter().map(|(_, key)| key.fingerprint()).collect(),
            claimed,
            ed25519: keys.iter().any(|(_, key)| is_ed25519(key)),
        }
    }
}

/// Shortens what somebody else wrote, and makes control characters visible, before it is shown.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}

/// Reads cosign's hint, the base64 of a key's fingerprint.
pub(super) fn digest_of_base64(hint: &str) -> Option<Digest> {
    let bytes = BASE64_STANDARD.decode(hint).ok()?;
    format!("sha256:{}", hex::encode(bytes)).parse().ok()
}
