//! Signatures by certificate: who signed is what an issuer of identities says, and when is what a log or a
//! time-stamp authority says. Log entries of signatures by key are checked here too.
//!
//! `sigstore-verify` does the verification; around it stands what it does not look at (`docs/decisions/0005-keyless.md`).

pub mod identity;
pub mod root;
pub mod subject;

mod certificate;
mod flaw;
mod material;
mod provider;

#[cfg(test)]
mod tests;

pub use identity::{Claim, Identity, Mismatch};
pub use root::{RootError, TrustRoot};
pub use subject::{SubjectError, SubjectPattern};

pub(super) use certificate::{claimed, claims};
pub(super) use flaw::Flaw;
pub(super) use identity::Certificate;
pub(super) use material::{CERTIFICATE, Evidence, annotated_certificate};

use jiff::Timestamp;
use serde::Serialize;
use sigstore_verify::types::{
    Artifact, Bundle, DerPublicKey, MediaType, Sha256Hash, TransparencyLogEntry,
};
use sigstore_verify::{
    PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult, Verifier,
};

use self::certificate::Claimed;
use super::key::PublicKey;
use crate::oci::Digest;

/// Whether a signature has to be in a transparency log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogRequirement {
    /// It counts without; who holds the key or the identity can sign unseen.
    Ignored,
    /// It counts only if a log of the trust root has it.
    #[default]
    Required,
}

/// What a log or a time-stamp authority proves of a signature.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Proof {
    /// The trust root that knows them.
    pub root: String,
    /// Whether a transparency log has it.
    pub logged: bool,
    /// When it was there at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// Verifies the certificate of a signature, the signature, and when it was made.
///
/// What the certificate says of its holder is returned; whether that is enough is for the caller to decide.
pub(super) fn certified(
    roots: &[TrustRoot],
    evidence: &Evidence<'_>,
    digest: Digest,
    log: LogRequirement,
) -> Result<(Certificate, Proof), Flaw> {
    let bundle = evidence.bundle()?;
    let Some(der) = bundle.signing_certificate() else {
        return Err(Flaw::Bad {
            reason: "the bundle has no certificate".into(),
            expected: "a certificate".into(),
            found: "none".into(),
        });
    };
    let claimed = certificate::read(der.as_bytes())?;
    let proof = under_one(roots, |root| {
        certified_under(root, bundle.clone(), &claimed, evidence, digest, log)
    })?;
    Ok((claimed.certificate, proof))
}

/// Verifies that the signature of a key is in a transparency log.
pub(super) fn logged(
    roots: &[TrustRoot],
    evidence: &Evidence<'_>,
    digest: Digest,
    key: &PublicKey,
) -> Result<Proof, Flaw> {
    let bundle = evidence.bundle()?;
    under_one(roots, |root| {
        let mut bundle = bundle.clone();
        // They are not needed to trust a key, and authorities that the root does not know would be in the way.
        let material = &mut bundle.verification_material;
        material
            .timestamp_verification_data
            .rfc3161_timestamps
            .clear();
        let claimed = material
            .tlog_entries
            .iter()
            .find_map(|entry| entry.integrated_time);
        keep_known_entries(root, &mut bundle, claimed)?;
        let policy = PublicKeyVerificationPolicy::new(DerPublicKey::new(key.der().to_vec()));
        let result = evidence
            .verified(digest, |artifact| {
                root.verifier().verify(artifact, &bundle, &policy)
            })
            .map_err(|error| Flaw::of(&error, None, root))?;
        proof(root, &bundle, &result)
    })
}

/// Tries one root after the other; if none will do, the one that got furthest says why.
fn under_one(
    roots: &[TrustRoot],
    verify: impl Fn(&TrustRoot) -> Result<Proof, Flaw>,
) -> Result<Proof, Flaw> {
    let mut flaw = Flaw::Stranger {
        expected: "a trust root".into(),
        found: "none".into(),
    };
    for root in roots {
        match verify(root) {
            Ok(proof) => return Ok(proof),
            Err(found) if found.depth() > flaw.depth() || flaw.depth() == 0 => flaw = found,
            Err(_) => {}
        }
    }
    Err(flaw)
}

fn certified_under(
    root: &TrustRoot,
    mut bundle: Bundle,
    claimed: &Claimed,
    evidence: &Evidence<'_>,
    digest: Digest,
    log: LogRequirement,
) -> Result<Proof, Flaw> {
    let chain = material::authorities(&bundle);
    if !chain.iter().any(|name| root.knows_authority(name)) {
        let ours = root.knows_organization(claimed.organization.as_deref());
        if ours && claimed.not_before > root.newest() {
            return Err(too_old(root, claimed.not_before, &claimed.authority_shown));
        }
        return Err(Flaw::Stranger {
            expected: root.authorities(),
            found: claimed.authority_shown.clone(),
        });
    }
    let mut policy = VerificationPolicy::any_identity();
    if root.has_certificate_logs() {
        let logs = &claimed.certificate_logs;
        let unknown = logs.iter().find(|id| !root.knows_certificate_log(id));
        if let Some(unknown) = unknown {
            let unknown = format!("the certificate log {}", hex::encode(unknown));
            return Err(unknown_log(root, Some(claimed.not_before), &unknown));
        }
    } else {
        policy = policy.skip_sct();
    }
    match log {
        LogRequirement::Required => {
            keep_known_entries(root, &mut bundle, Some(claimed.not_before))?;
        }
        LogRequirement::Ignored => {
            let entries = &mut bundle.verification_material.tlog_entries;
            entries.retain(|entry| is_proven_by(root, entry));
            // A bundle of the first version is one with a promise of the log, which nobody asks for here.
            if entries.is_empty() && bundle.media_type == MediaType::Bundle0_1 {
                bundle.media_type = MediaType::Bundle0_2;
            }
            policy = policy.skip_tlog_unsafe();
        }
    }
    let result = evidence
        .verified(digest, |artifact| {
            root.verifier().verify(artifact, &bundle, &policy)
        })
        .map_err(|error| Flaw::of(&error, Some(claimed), root))?;
    proof(root, &bundle, &result)
}

/// Looks at what was proven: a log counts only for the time in which it was trusted.
fn proof(root: &TrustRoot, bundle: &Bundle, result: &VerificationResult) -> Result<Proof, Flaw> {
    let times = result.verified_timestamps();
    for entry in &bundle.verification_material.tlog_entries {
        let id = entry.log_id.key_id.as_bytes();
        let closed = times
            .iter()
            .find_map(|time| Some((time, root.log_closed_at(id, *time)?)));
        if let Some((time, (url, window))) = closed {
            return Err(Flaw::Expired {
                what: format!("the transparency log {url}"),
                expected: format!(
                    "a time from {} to {}",
                    window.start,
                    window
                        .end
                        .map_or_else(|| "now".into(), |end| end.to_string())
                ),
                found: time.to_string(),
            });
        }
    }
    Ok(Proof {
        root: root.name().to_owned(),
        logged: result.tlog_verified(),
        at: times.iter().min().copied(),
    })
}

/// Leaves the entries of logs that the root knows: others prove nothing, and are not in the way.
fn keep_known_entries(
    root: &TrustRoot,
    bundle: &mut Bundle,
    signed: Option<Timestamp>,
) -> Result<(), Flaw> {
    let entries = &mut bundle.verification_material.tlog_entries;
    let expected = || format!("an entry in {}", root.logs());
    let Some(first) = entries.first() else {
        return Err(Flaw::NotLogged {
            expected: expected(),
            found: "no entry".into(),
        });
    };
    if !root.has_logs() {
        return Err(Flaw::NotLogged {
            expected: "an entry in a transparency log".into(),
            found: format!("the trust root `{}`, which has none", root.name()),
        });
    }
    let unknown = hex::encode(first.log_id.key_id.as_bytes());
    let known = entries
        .iter()
        .any(|entry| root.knows_log(entry.log_id.key_id.as_bytes()));
    entries.retain(|entry| is_proven_by(root, entry));
    if !entries.is_empty() {
        return Ok(());
    }
    if known {
        return Err(Flaw::NotLogged {
            expected: expected(),
            found: "an entry with neither proof nor promise of inclusion".into(),
        });
    }
    Err(unknown_log(
        root,
        signed,
        &format!("the transparency log {unknown}"),
    ))
}

fn is_proven_by(root: &TrustRoot, entry: &TransparencyLogEntry) -> bool {
    let proven = entry.inclusion_proof.is_some() || entry.inclusion_promise.is_some();
    proven && root.knows_log(entry.log_id.key_id.as_bytes())
}

fn unknown_log(root: &TrustRoot, signed: Option<Timestamp>, missing: &str) -> Flaw {
    match signed.filter(|signed| *signed > root.newest()) {
        Some(signed) => too_old(root, signed, missing),
        None => Flaw::Bad {
            reason: "it rests on a log that the trust root does not know".into(),
            expected: format!("{} or {}", root.logs(), root.certificate_logs()),
            found: missing.to_owned(),
        },
    }
}

fn too_old(root: &TrustRoot, signed: Timestamp, missing: &str) -> Flaw {
    Flaw::RootTooOld {
        root: root.name().to_owned(),
        newest: root.newest(),
        signed,
        missing: missing.to_owned(),
    }
}

impl Evidence<'_> {
    /// Runs a verification on what was signed: the payload itself, or a statement about the image's digest.
    fn verified(
        &self,
        digest: Digest,
        verify: impl FnOnce(Artifact<'_>) -> sigstore_verify::Result<VerificationResult>,
    ) -> sigstore_verify::Result<VerificationResult> {
        match self {
            Self::Bundle(_) => verify(Artifact::from(Sha256Hash::new(*digest.as_bytes()))),
            Self::Annotations { payload, .. } => {
                provider::with_message(payload, || verify(Artifact::from_blob(payload.as_ref())))
            }
        }
    }
}

const _: fn() = || {
    fn shared_between_tasks<T: Send + Sync>() {}
    shared_between_tasks::<Verifier>();
};
