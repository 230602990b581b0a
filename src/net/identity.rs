//! Client certificates: who this side is, for hosts that ask.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::SignatureAlgorithm;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use x509_cert::der::Decode as _;

use super::error::Error;

/// A certificate chain and the key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    name: String,
    subject: String,
    key: Arc<CertifiedKey>,
}

/// The PEM files of an identity, and the names to blame when they are bad.
#[derive(Clone, Copy, Debug)]
pub struct IdentityFiles<'a> {
    /// The certificate's name, such as its file's.
    pub certificate_name: &'a str,
    /// One or more `CERTIFICATE` blocks, the client's own first.
    pub certificate: &'a [u8],
    /// The key's name.
    pub key_name: &'a str,
    /// A `PRIVATE KEY` block, not encrypted.
    pub key: &'a [u8],
}

/// What is wrong with an identity's files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityFault {
    /// The key needs a password, which nobody is there to type.
    Encrypted,
    /// The certificate's time is over, since this time in RFC 3339.
    Expired(String),
    /// The key is of another certificate; its name.
    Mismatch(String),
    /// There is no certificate.
    NoCertificate,
    /// There is no key.
    NoKey,
    /// The certificate's time has not begun, until this time in RFC 3339.
    NotYetValid(String),
    /// It is there and can't be used.
    Unusable(String),
}

impl Identity {
    /// Reads a certificate and its key, and checks that they belong together and are in time.
    ///
    /// # Errors
    /// What is wrong with them, under the name of the file.
    pub fn read(files: IdentityFiles<'_>, now: Timestamp) -> Result<Self, Error> {
        let fault = |name: &str, fault| Error::InvalidIdentity {
            name: name.to_owned(),
            fault,
        };
        let certificate_fault = |it| fault(files.certificate_name, it);
        let key_fault = |it| fault(files.key_name, it);
        let unusable = |error: &dyn fmt::Display| IdentityFault::Unusable(error.to_string());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(files.certificate).collect();
        let chain = chain.map_err(|error| certificate_fault(unusable(&error)))?;
        let Some(leaf) = chain.first() else {
            return Err(certificate_fault(IdentityFault::NoCertificate));
        };
        let parsed = x509_cert::Certificate::from_der(leaf)
            .map_err(|error| certificate_fault(unusable(&error)))?;
        if is_encrypted(files.key) {
            return Err(key_fault(IdentityFault::Encrypted));
        }
        let key = match PrivateKeyDer::from_pem_slice(files.key) {
            Ok(key) => key,
            Err(rustls_pki_types::pem::Error::NoItemsFound) => {
                return Err(key_fault(IdentityFault::NoKey));
            }
            Err(error) => return Err(key_fault(unusable(&error))),
        };
        let subject = parsed.tbs_certificate.subject.to_string();
        let provider = ring::default_provider();
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            key_fault(match error {
                rustls::Error::InconsistentKeys(_) => {
                    IdentityFault::Mismatch(files.certificate_name.to_owned())
                }
                error => unusable(&error),
            })
        })?;
        let validity = &parsed.tbs_certificate.validity;
        let time = |time: x509_cert::time::Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        let (begin, end) = (time(validity.not_before), time(validity.not_after));
        if now > end {
            return Err(certificate_fault(IdentityFault::Expired(end.to_string())));
        }
        if now < begin {
            return Err(certificate_fault(IdentityFault::NotYetValid(
                begin.to_string(),
            )));
        }
        Ok(Self {
            name: files.certificate_name.to_owned(),
            subject,
            key: Arc::new(key),
        })
    }

    /// Returns the certificate's name, such as its file's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // The issuers that a server lists are often incomplete: it says itself what it does not take.
        let usable = self.key.key.choose_scheme(schemes).is_some();
        usable.then(|| Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm: SignatureAlgorithm = self.key.key.algorithm();
        f.debug_struct("Identity")
            .field("name", &self.name)
            .field("subject", &self.subject)
            .field("algorithm", &algorithm)
            .finish_non_exhaustive()
    }
}

impl IdentityFault {
    /// Returns what helps.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Encrypted => {
                "decrypt it where it is deployed: `openssl pkey -in KEY -out PLAIN-KEY`, readable by this user alone".to_owned()
            }
            Self::Expired(_) => {
                "renew the certificate; if it was renewed, compare this machine's clock".to_owned()
            }
            Self::Mismatch(_) => {
                "name the key that the certificate was issued for: `openssl x509 -noout -pubkey -in CERT` and `openssl pkey -pubout -in KEY` print the same".to_owned()
            }
            Self::NoCertificate => {
                "a client certificate is a PEM file with `-----BEGIN CERTIFICATE-----`".to_owned()
            }
            Self::NoKey => {
                "a key is a PEM file with `-----BEGIN PRIVATE KEY-----`: name it with `client-key`".to_owned()
            }
            Self::NotYetValid(_) => {
                "compare this machine's clock with the certificate's begin".to_owned()
            }
            Self::Unusable(_) => {
                "RSA, ECDSA (P-256, P-384) and Ed25519 are known, in PEM".to_owned()
            }
        }
    }
}

impl fmt::Display for IdentityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encrypted => f.write_str("the key is encrypted"),
            Self::Expired(end) => write!(f, "the certificate expired at {end}"),
            Self::Mismatch(certificate) => {
                write!(
                    f,
                    "the key does not belong to the certificate in {certificate}"
                )
            }
            Self::NoCertificate => f.write_str("no PEM certificate in it"),
            Self::NoKey => f.write_str("no PEM key in it"),
            Self::NotYetValid(begin) => {
                write!(f, "the certificate is not valid yet: it begins at {begin}")
            }
            Self::Unusable(detail) => f.write_str(detail),
        }
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}
