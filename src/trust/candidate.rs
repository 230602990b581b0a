//! One thing that could be a signature, and what came of it.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::judge::quoted;
use super::keyless::{Mismatch, Proof};
pub use super::maker::Maker;
use super::maker::accepting;
use super::notation::Fault;
use super::source::LookupError;
use crate::oci::Digest;

/// Something in the registry that could be a signature of the image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Where it was found.
    pub place: Place,
    /// In which form it is kept.
    pub format: Format,
    /// The digest of the manifest that carries it.
    pub manifest: Digest,
    /// What came of it.
    pub check: Check,
    /// The repository that a simple signing payload names (`critical.identity.docker-reference`).
    ///
    /// It is shown and not enforced, as with cosign: a copied image keeps its signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<String>,
}

/// The line for people: place, form, manifest, what came of it.
impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {}, {}: {}",
            self.place, self.format, self.manifest, self.check
        )?;
        if let Some(claims) = &self.claims {
            write!(
                f,
                " (it names the repository {claims}, which is not checked)"
            )?;
        }
        if let Some(hint) = self.check.hint() {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Where a candidate was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The registry's referrers API.
    Referrers,
    /// The index under the tag `sha256-<hex>`, which stands in for the API.
    ReferrersTag,
    /// The manifest under the tag `sha256-<hex>.sig`, cosign's older layout.
    SignatureTag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Referrers => "referrers",
            Self::ReferrersTag => "referrers tag",
            Self::SignatureTag => "signature tag",
        })
    }
}

/// The form in which a candidate is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A Sigstore bundle.
    Bundle,
    /// An envelope of the Notary Project.
    Notation,
    /// A simple signing payload, with the signature in an annotation.
    SimpleSigning,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "bundle",
            Self::Notation => "notation",
            Self::SimpleSigning => "simple signing",
        })
    }
}

/// What came of checking a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// It claims a key that counts, which did not make it: the signature or what it signs was altered.
    Altered {
        /// The signer whose key it claims.
        signer: String,
        /// The fingerprint of that key.
        key: Digest,
    },
    /// An attestation. It says something about the image; that somebody approves of it, it does not.
    Attestation {
        /// The type of its predicate.
        predicate_type: String,
    },
    /// A signature by certificate, which was not verified: the policy has no signers of that kind.
    Certificate {
        /// The identity and the issuer that it claims, which nothing proves.
        claimed: Option<String>,
    },
    /// It was made when its certificate, an authority or a log was not valid.
    Expired {
        /// Which of them.
        what: String,
        /// When it would have been.
        expected: String,
        /// When it was made.
        found: String,
    },
    /// A signature of this digest by a signer that counts.
    Good {
        /// The signer.
        signer: String,
        /// What made it.
        by: Maker,
        /// What a log or a time-stamp authority says of it, if one was consulted.
        #[serde(skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
    },
    /// Something that is not what it should be, or was altered.
    Malformed {
        /// What is wrong.
        reason: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The signature of a blob (`cosign sign-blob`), which cosign does not take for an image either.
    MessageSignature,
    /// A whole signature of the Notary Project that does not count.
    Notation(Fault),
    /// Its signer's signatures have to be in a transparency log, and nothing proves that this one is.
    NotLogged {
        /// The signer, if it is one of the policy's.
        signer: Option<String>,
        /// What would prove it.
        expected: String,
        /// What there is.
        found: String,
    },
    /// A signature of another digest.
    OtherDigest {
        /// The signer, if it is one of the policy's.
        signer: Option<String>,
        /// The digest of the image.
        expected: Digest,
        /// The digests that were signed, at most three of them.
        found: Vec<String>,
    },
    /// A signature of this digest by a signer that the rule does not name.
    OtherSigner {
        /// The signer.
        signer: String,
        /// What the rule asks for.
        expected: String,
    },
    /// It was not read, since it or all together are too large.
    OverLimit(OverLimit),
    /// It rests on an authority that came after the trust root was made.
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
    /// Its certificate is by an authority that no trust root of the policy knows.
    UnknownAuthority {
        /// The authorities that would have counted.
        expected: String,
        /// The authority.
        found: String,
    },
    /// A good signature of this digest by an identity that is no signer of the policy.
    UnknownIdentity {
        /// Whom the certificate names.
        identity: String,
        /// Who says so.
        issuer: String,
        /// What each signer of the policy that is an identity asks for instead.
        mismatches: Vec<(String, Mismatch)>,
    },
    /// It says that it signs this digest, and no key of the policy made the signature.
    UnknownKey {
        /// The fingerprints of the keys that would have counted.
        expected: Vec<Digest>,
        /// The fingerprint of the key that it claims, which nothing proves.
        claimed: Option<Digest>,
        /// Whether an Ed25519 key would have counted, for which cosign 3 makes another kind of signature.
        ed25519: bool,
    },
    /// It could not be fetched.
    Unreadable(LookupError),
}

impl Check {
    /// Returns `good`, or the check that failed, in a few words.
    #[must_use]
    pub const fn verdict(&self) -> &'static str {
        match self {
            Self::Altered { .. } => "altered",
            Self::Attestation { .. } => "not a signature: an attestation",
            Self::Certificate { .. } => "signed with a certificate",
            Self::Expired { .. } => "expired",
            Self::Good { .. } => "good",
            Self::Malformed { .. } => "malformed",
            Self::MessageSignature => "not a signature of an image: a signature of a blob",
            Self::Notation(fault) => fault.verdict(),
            Self::NotLogged { .. } => "not in a transparency log",
            Self::OtherDigest { .. } => "signature of another digest",
            Self::OtherSigner { .. } => "signer not in the rule",
            Self::OverLimit(_) => "not read: too large",
            Self::RootTooOld { .. } => "trust root too old",
            Self::UnknownAuthority { .. } => "certificate of an unknown authority",
            Self::UnknownIdentity { .. } => "by no known identity",
            Self::UnknownKey { .. } => "by no known key",
            Self::Unreadable(_) => "could not be fetched",
        }
    }

    /// Returns the signer, if a key of the policy made the signature.
    #[must_use]
    pub fn signer(&self) -> Option<&str> {
        match self {
            Self::Good { signer, .. } | Self::OtherSigner { signer, .. } => Some(signer),
            Self::NotLogged { signer, .. } | Self::OtherDigest { signer, .. } => signer.as_deref(),
            Self::Notation(fault) => fault.signer(),
            _ => None,
        }
    }

    /// Returns the checks of a good signature that failed and are not enforced.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        match self {
            Self::Good {
                by: Maker::Notation { warnings, .. },
                ..
            } => warnings,
            _ => &[],
        }
    }

    /// Returns what was expected and what was found, in one phrase.
    #[must_use]
    pub fn found(&self) -> String {
        let (expected, found) = match self {
            Self::Altered { signer, key } => (
                format!("a signature by key {key} of {signer}"),
                "one that this key did not make".into(),
            ),
            Self::Attestation { predicate_type } => (
                super::bundle::SIGN_PREDICATE.to_owned(),
                predicate_type.clone(),
            ),
            Self::Certificate { claimed } => (
                "a signature by key".into(),
                match claimed {
                    Some(claimed) => format!("one by certificate that claims {claimed}"),
                    None => "one by certificate".into(),
                },
            ),
            Self::Expired {
                what,
                expected,
                found,
            } => {
                return format!(
                    "outside the validity of {what}: expected {expected}, found {found}"
                );
            }
            Self::Good { signer, by, proof } => {
                let proof = proof.as_ref().map(Proof::to_string).unwrap_or_default();
                return format!("signed by {signer} {by}{proof}");
            }
            Self::Malformed {
                reason,
                expected,
                found,
            } => return format!("{reason}: expected {expected}, found {found}"),
            Self::MessageSignature => (
                super::bundle::SIGN_PREDICATE.to_owned(),
                "a message signature".into(),
            ),
            Self::Notation(fault) => return fault.found(),
            Self::NotLogged {
                expected, found, ..
            }
            | Self::UnknownAuthority { expected, found } => (expected.clone(), found.clone()),
            Self::RootTooOld {
                root,
                newest,
                signed,
                missing,
            } => {
                return format!(
                    "the trust root `{root}` knows authorities up to {newest}, and this was signed on {signed} with {missing}"
                );
            }
            Self::UnknownIdentity {
                identity,
                issuer,
                mismatches,
            } => {
                let shown = |(signer, mismatch): &(String, Mismatch)| {
                    format!("`{signer}` with {} {}", mismatch.what, mismatch.expected)
                };
                let signers: Vec<String> = mismatches.iter().take(3).map(shown).collect();
                let expected = match signers.as_slice() {
                    [] => "a key of the rule".into(),
                    signers => signers.join(", or "),
                };
                let claims: String = mismatches
                    .iter()
                    .map(|(_, mismatch)| mismatch)
                    .filter(|mismatch| mismatch.what.starts_with("claims."))
                    .take(3)
                    .map(|claim| format!(", {} {}", claim.what, quoted(&claim.found)))
                    .collect();
                let (identity, issuer) = (quoted(identity), quoted(issuer));
                (expected, format!("{identity} (issuer {issuer}){claims}"))
            }
            Self::OtherDigest {
                signer,
                expected,
                found,
            } => {
                let by = signer.as_deref().unwrap_or("no known key");
                (
                    expected.to_string(),
                    format!("{} (signed by {by})", found.join(", ")),
                )
            }
            Self::OtherSigner { signer, expected } => (expected.clone(), signer.clone()),
            Self::OverLimit(over) => return over.to_string(),
            Self::UnknownKey {
                expected, claimed, ..
            } => (
                listed(expected),
                claimed.map_or_else(
                    || "a signature that none of them made".into(),
                    |claimed| format!("a signature that claims key {claimed}"),
                ),
            ),
            Self::Unreadable(error) => return error.to_string(),
        };
        format!("expected {expected}, found {found}")
    }

    /// Returns the edit or the command that would make it count.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::OtherSigner { signer, .. } => {
                format!("to accept it, add `{signer}` to the rule's `signed-by`")
            }
            Self::UnknownKey { ed25519: true, .. } => {
                "to accept it, add its public key to a signer of the rule; if cosign 3 made it with an Ed25519 key, it is an Ed25519ph signature, which is not supported: sign with an ECDSA P-256 key".into()
            }
            Self::UnknownKey { .. } => {
                "to accept it, add its public key to a signer of the rule; if the key is there already, the signature was altered".into()
            }
            Self::Certificate { .. } => "to accept it, add a signer `{issuer: …, subject: …}` to the rule, or sign with a key as well: `cosign sign --key cosign.key IMAGE`".into(),
            Self::Expired { .. } => "sign the image again; the signer's clock, log and time-stamp authority must agree".into(),
            Self::Notation(fault) => fault.hint(),
            Self::NotLogged { signer, .. } => {
                let signer = signer.as_deref().unwrap_or("the signer");
                format!("sign with a transparency log, or write `tlog: ignored` for {signer}")
            }
            Self::RootTooOld { root, .. } => format!(
                "name a newer `trusted_root.json` in `trust.roots` in place of `{root}`"
            ),
            Self::UnknownAuthority { .. } => {
                "to accept it, add the `trusted_root.json` of its Sigstore instance to `trust.roots`".into()
            }
            Self::UnknownIdentity {
                identity,
                issuer,
                mismatches,
            } => accepting(identity, issuer, mismatches),
            Self::OtherDigest { .. } => "sign this digest: `cosign sign --key cosign.key IMAGE@DIGEST`".into(),
            Self::Unreadable(error) => return crate::failure::Explain::hint(error),
            Self::Altered { .. }
            | Self::Attestation { .. }
            | Self::Good { .. }
            | Self::Malformed { .. }
            | Self::MessageSignature
            | Self::OverLimit(_) => return None,
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.verdict(), self.found())
    }
}

/// A cap that was gone over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct OverLimit {
    /// Which.
    pub cap: Cap,
    /// How much is allowed: candidates or bytes.
    pub limit: u64,
    /// How much there is.
    pub found: u64,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cap, limit, found } = self;
        match cap {
            Cap::Bundle => write!(
                f,
                "a signature has at most {limit} bytes, this one has {found}"
            ),
            Cap::Candidates => write!(
                f,
                "at most {limit} candidates are looked at, there are {found}"
            ),
            Cap::Manifest => write!(
                f,
                "a manifest has at most {limit} bytes, this one has {found}"
            ),
            Cap::Total => write!(
                f,
                "all signatures of an image have at most {limit} bytes together, these have at least {found}"
            ),
        }
    }
}

/// The caps on what a registry can make us read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cap {
    /// Bytes of one bundle or payload.
    Bundle,
    /// Candidates of one image.
    Candidates,
    /// Bytes of one manifest.
    Manifest,
    /// Bytes of all manifests, bundles and payloads of one image.
    Total,
}

fn listed(keys: &[Digest]) -> String {
    match keys {
        [] => "a key of the rule".into(),
        [key] => format!("key {key}"),
        keys => {
            let keys: Vec<String> = keys.iter().take(3).map(ToString::to_string).collect();
            format!("one of the keys {}", keys.join(", "))
        }
    }
}
