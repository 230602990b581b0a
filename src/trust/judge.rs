//! The one decision that all forms of signatures share.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::candidate::Check;
use super::key::{KeyAlgorithm, PublicKey};
use super::policy::{Policy, Rule, Signer};
use crate::oci::Digest;

/// Knows the image, the keys, and which of their holders count.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) rule: &'a Rule,
    pub(super) digest: Digest,
}

impl Judge<'_> {
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
    ) -> Check {
        let maker = self.policy.signed_by(message, signature);
        let this = self.digest.to_string();
        if signed.is_empty() {
            return Check::Malformed {
                reason: "nothing is signed".into(),
                expected: this,
                found: "no sha256 digest".into(),
            };
        }
        if !signed.contains(&this) {
            return Check::OtherDigest {
                signer: maker.map(|(signer, _)| signer.to_owned()),
                expected: self.digest,
                found: signed.iter().take(3).map(|found| quoted(found)).collect(),
            };
        }
        match maker {
            Some((signer, key)) if self.rule.requirement.signers().contains(signer) => {
                Check::Good {
                    signer: signer.to_owned(),
                    key: key.fingerprint(),
                }
            }
            Some((signer, _)) => Check::OtherSigner {
                signer: signer.to_owned(),
                expected: self.rule.requirement.to_string(),
            },
            None => self.unknown(claimed),
        }
    }

    fn unknown(&self, claimed: Option<Digest>) -> Check {
        let counting = self.rule.requirement.signers().iter();
        let keys: Vec<(&String, &PublicKey)> = counting
            .filter_map(|name| Some((name, self.policy.signers().get(name)?)))
            .flat_map(|(name, Signer::Key { keys })| keys.iter().map(move |key| (name, key)))
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
