//! Who signed an image: rules, signatures and where they are kept, verdicts.
//!
//! [`verify`] takes a digest that was resolved before, and answers whether the signers that the
//! [`Policy`] asks for have signed that very digest. It reads signatures through [`Artifacts`], so it
//! knows no HTTP; it may not know the document, the cache or the terminal.
//!
//! Signers are keys and identities, and signatures those of cosign in both of its forms:
//! Sigstore bundles beside the image, and the older `sha256-<hex>.sig` tag. No log is ever asked:
//! what it proves comes with the signature, and every [`Verdict`] says whether that was looked at.
//! Signers of the Notary Project have certificates, and envelopes beside the image ([`notation`]).
//!
//! # Caps
//!
//! A registry can't make us read without end: [`MAX_CANDIDATES`] candidates, [`MAX_MANIFEST`] bytes
//! a manifest, [`MAX_BUNDLE`] bytes a bundle or payload, [`MAX_TOTAL`] bytes an image, and [`MAX_ENQUIRIES`]
//! questions to authorities about revocation. Going over one
//! of them before the rule is satisfied is an outcome of its own, [`Refusal::LimitReached`].
//!
//! # Requests
//!
//! Places are asked in turn, and none once the rule is satisfied: the referrers of the digest (API,
//! or the tag that stands in for it), the manifests listed there and their bundles, then that tag where
//! the API answered, then the signature tag. A digest with one good bundle costs three requests.

pub mod candidate;
pub mod key;
pub mod keyless;
pub mod notation;
pub mod pattern;
pub mod policy;
pub mod sign;
pub mod source;
pub mod verdict;

mod bundle;
mod decision;
mod discovery;
mod judge;
mod maker;
mod refusal;
mod registry;
mod simple_signing;

#[cfg(test)]
mod tests;

pub use candidate::{Candidate, Check};
pub use key::PublicKey;
pub use keyless::{Identity, LogRequirement, TrustRoot};
pub use notation::{Notary, Revocation};
pub use pattern::Pattern;
pub use policy::{Policy, Requirement, Rule, Signer};
pub use source::{Artifacts, LookupError};
pub use verdict::{Outcome, Refusal, Verdict};

use std::sync::atomic::AtomicUsize;

use crate::oci::{Digest, Repository};

/// The most candidates of one image that are looked at.
pub const MAX_CANDIDATES: usize = 100;

/// The most bytes of a manifest or an index.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// The most bytes of a bundle or of a simple signing payload.
pub const MAX_BUNDLE: u64 = 10 * 1024 * 1024;

/// The most bytes that are read for one image, manifests included.
pub const MAX_TOTAL: u64 = 32 * 1024 * 1024;

/// The most questions about revocation that are asked for one image.
pub const MAX_ENQUIRIES: usize = 32;

/// Verifies that a digest is signed as the policy's rule for the repository asks.
///
/// Nothing but the registry is asked, and only as long as the rule is not satisfied.
pub async fn verify<A: Artifacts>(
    artifacts: &A,
    policy: &Policy,
    repository: &Repository,
    digest: Digest,
) -> Verdict {
    let Some(rule) = policy.rule_for(repository) else {
        return Verdict::no_rule(policy, repository, digest);
    };
    if let Some(verdict) = Verdict::without_search(policy, rule, repository, digest) {
        return verdict;
    }
    let judge = judge::Judge {
        policy,
        rule,
        digest,
        enquiries: AtomicUsize::new(MAX_ENQUIRIES),
    };
    let findings = discovery::Search::new(artifacts, repository, &judge)
        .run()
        .await;
    Verdict::of(policy, rule, repository, digest, findings)
}
