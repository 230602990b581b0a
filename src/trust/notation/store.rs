//! Trust stores: the certificates that a signer's chain has to lead to.

use std::fmt;

use rustls_pki_types::pem::{self, SectionKind};

use super::certificate::Certificate;
use crate::failure::Explain;
use crate::oci::Digest;
use crate::trust::judge::quoted;

/// What the certificates of a trust store vouch for; the names are those of the folders below `x509`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum StoreKind {
    /// Signers of the scheme `notary.x509`.
    Authority,
    /// Signers of the scheme `notary.x509.signingAuthority`, whose word on the time counts.
    SigningAuthority,
    /// Time-stamp authorities.
    TimeStamping,
}

impl StoreKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Authority, Self::SigningAuthority, Self::TimeStamping];

    /// Returns the name of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::TimeStamping => "tsa",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The certificates of one kind that a statement trusts.
#[derive(Clone, Debug, Default)]
pub struct TrustStore(pub(super) Vec<Certificate>);

impl TrustStore {
    /// The most bytes of a file.
    pub const MAX_FILE: usize = 1024 * 1024;

    /// The most certificates of a store.
    pub const MOST: usize = 1000;

    /// Reads certificates in PEM or DER, each of which is an authority's or signed itself.
    ///
    /// # Errors
    /// A file without a certificate, or with one that can't be trusted as a whole.
    pub fn add(&mut self, kind: StoreKind, file: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let refused = |reason: String| StoreError {
            file: file.to_owned(),
            kind,
            reason,
        };
        if bytes.len() > Self::MAX_FILE {
            return Err(refused(format!(
                "it has more than {} bytes",
                Self::MAX_FILE
            )));
        }
        let found = certificates(bytes).map_err(refused)?;
        for der in found {
            let certificate = Certificate::from_der(&der).map_err(|error| {
                refused(format!(
                    "it holds a certificate that can't be read: {error}"
                ))
            })?;
            let name = certificate.name();
            if kind == StoreKind::TimeStamping {
                if !certificate.is_authority() || !certificate.is_self_signed() {
                    return Err(refused(format!(
                        "{name} is no root: time stamps are trusted by the certificate at the end of their chain"
                    )));
                }
            } else if !certificate.is_authority() && !certificate.is_self_signed() {
                return Err(refused(format!(
                    "{name} is neither that of an authority nor signed by itself"
                )));
            }
            if self.0.len() == Self::MOST {
                return Err(refused(format!(
                    "the store has more than {} certificates",
                    Self::MOST
                )));
            }
            self.0.push(certificate);
        }
        Ok(())
    }

    /// Tells whether it has no certificate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the digests of its certificates.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = Digest> {
        self.0
            .iter()
            .map(|certificate| Digest::of(&certificate.der))
    }

    /// Tells whether a certificate is one of these, to the byte.
    pub(super) fn has(&self, certificate: &Certificate) -> bool {
        self.0.iter().any(|trusted| trusted.der == certificate.der)
    }

    /// Tells whether one chain could lead to a certificate of each.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|one| {
            other.0.iter().any(|two| {
                one.der == two.der || one.is_issued_by(two).is_ok() || two.is_issued_by(one).is_ok()
            })
        })
    }

    /// Returns whom it trusts, to be shown.
    pub(super) fn names(&self) -> String {
        let names: Vec<String> = self.0.iter().take(3).map(Certificate::name).collect();
        match names.as_slice() {
            [] => "no certificate at all".into(),
            names => names.join(" or "),
        }
    }
}

/// A file that can't be part of a trust store.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file} can't be trusted for `{kind}`: {reason}")]
pub struct StoreError {
    /// The file.
    pub file: String,
    /// What it was to be trusted for.
    pub kind: StoreKind,
    /// What is wrong with it.
    pub reason: String,
}

impl Explain for StoreError {
    fn hint(&self) -> Option<String> {
        Some(match self.kind {
            StoreKind::TimeStamping => {
                "name the root certificate of the time-stamp authority, in PEM or DER".into()
            }
            _ => "name the certificate of the authority that issues signing certificates, in PEM or DER".into(),
        })
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    // A certificate in DER begins with the tag of a sequence, which no text does.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec()]);
    }
    let mut rest = bytes;
    loop {
        match pem::from_buf(&mut rest) {
            Ok(Some((SectionKind::Certificate, der))) => found.push(der),
            Ok(Some((kind, _))) => {
                return Err(format!(
                    "it holds something else than certificates: {kind:?}"
                ));
            }
            Ok(None) if found.is_empty() => {
                return Err("there is no certificate in it, neither in PEM nor in DER".into());
            }
            Ok(None) => return Ok(found),
            Err(error) => {
                return Err(format!(
                    "its PEM is broken: {}",
                    quoted(&format!("{error:?}"))
                ));
            }
        }
    }
}
