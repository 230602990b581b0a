//! Signatures of the Notary Project (notation): by certificate, in envelopes of JSON or CBOR.
//!
//! What is checked, and in which order, follows the project's specifications (signature envelopes 1.0, trust store and
//! trust policy 1.0): the envelope is whole and its chain has the right form; it is about this image; a signer of the
//! rule trusts its certificates and its name; it has not ended; the certificates were valid when it was made; none
//! of them is revoked. What a signer's level does not enforce becomes a warning. `docs/notation.md` lists what is stricter
//! here than in notation itself.

pub mod document;
pub mod level;
pub mod revocation;
pub mod statement;
pub mod store;
pub mod subject;

mod certificate;
mod cose;
mod crl;
mod crypto;
mod envelope;
mod fault;
mod flaw;
mod jws;
mod ocsp;
mod timestamp;
mod verdict;

#[cfg(test)]
mod tests;

pub use document::{NotaryError, identities};
pub use fault::Fault;
pub use level::{Action, Aspect, Level, Strictness};
pub use revocation::{Enquiry, Revocation, RevocationHost};
pub use statement::{Notary, Scope, Statement, TimeStamps};
pub use store::{StoreError, StoreKind, TrustStore};
pub use subject::{Subject, SubjectError};

pub(super) use verdict::check;

/// The type of manifests, or of their configurations, that carry an envelope.
pub(super) const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
