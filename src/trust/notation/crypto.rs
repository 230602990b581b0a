//! The cryptography of Notary signatures: by ring, and for P-521, which ring does not have, by RustCrypto.

use std::fmt;

use der::Decode;
use der::asn1::ObjectIdentifier;
use p521::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use serde::Serialize;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::trust::key::rsa_bits;

/// An algorithm of signatures of envelopes. Which one it is follows from the key alone
/// ([signature specification, "Algorithm Selection"](https://github.com/notaryproject/specifications)).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(super) enum Algorithm {
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
}

impl Algorithm {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    pub(super) const ALL: [Self; 6] = [
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];
}

/// The public key of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Key {
    kind: Kind,
    bits: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Ed25519,
    P256,
    P384,
    P521,
    Rsa(usize),
    Other(ObjectIdentifier),
}

impl Key {
    pub(super) fn of(info: &SubjectPublicKeyInfoOwned) -> Self {
        let bits = info.subject_public_key.as_bytes().unwrap_or_default();
        let kind = match info.algorithm.oid {
            EC => match info.algorithm.parameters.as_ref().map(|it| it.decode_as()) {
                Some(Ok(P256)) => Kind::P256,
                Some(Ok(P384)) => Kind::P384,
                Some(Ok(P521)) => Kind::P521,
                Some(Ok(other)) => Kind::Other(other),
                _ => Kind::Other(EC),
            },
            RSA => rsa_bits(bits).map_or(Kind::Other(RSA), Kind::Rsa),
            ED25519 => Kind::Ed25519,
            other => Kind::Other(other),
        };
        Self {
            kind,
            bits: bits.to_vec(),
        }
    }

    /// Returns the bytes of the key itself, without its algorithm: what OCSP identifies an issuer by.
    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// Returns the algorithm of envelopes that this key signs, if it may sign any.
    pub(super) const fn envelope(&self) -> Option<Algorithm> {
        match self.kind {
            Kind::P256 => Some(Algorithm::Es256),
            Kind::P384 => Some(Algorithm::Es384),
            Kind::P521 => Some(Algorithm::Es512),
            Kind::Rsa(2048) => Some(Algorithm::Ps256),
            Kind::Rsa(3072) => Some(Algorithm::Ps384),
            Kind::Rsa(4096) => Some(Algorithm::Ps512),
            _ => None,
        }
    }

    /// Tells whether it made the signature of an envelope: a point of fixed length, or RSA-PSS with a salt as long
    /// as the hash.
    pub(super) fn signed(&self, algorithm: Algorithm, message: &[u8], made: &[u8]) -> bool {
        if self.envelope() != Some(algorithm) {
            return false;
        }
        match algorithm {
            Algorithm::Es256 => self.ring(&signature::ECDSA_P256_SHA256_FIXED, message, made),
            Algorithm::Es384 => self.ring(&signature::ECDSA_P384_SHA384_FIXED, message, made),
            Algorithm::Es512 => p521::ecdsa::Signature::from_slice(made)
                .is_ok_and(|made| self.p521(&digest::SHA512, message, &made)),
            Algorithm::Ps256 => self.ring(&signature::RSA_PSS_2048_8192_SHA256, message, made),
            Algorithm::Ps384 => self.ring(&signature::RSA_PSS_2048_8192_SHA384, message, made),
            Algorithm::Ps512 => self.ring(&signature::RSA_PSS_2048_8192_SHA512, message, made),
        }
    }

    /// Tells whether it made a signature as certificates, revocation lists and time stamps carry them.
    ///
    /// `hash` is what a time stamp names beside its algorithm, which then may be that of the key alone.
    ///
    /// # Errors
    /// It did not, or the algorithm is not supported; which of them, in words.
    pub(super) fn made(
        &self,
        algorithm: &AlgorithmIdentifierOwned,
        hash: Option<ObjectIdentifier>,
        message: &[u8],
        made: &[u8],
    ) -> Result<(), String> {
        let unsupported = || {
            Err(format!(
                "the algorithm {} with a key of the kind {self}, which is not supported",
                algorithm_name(algorithm.oid)
            ))
        };
        let hash = match (algorithm.oid, hash) {
            (RSA_SHA256 | ECDSA_SHA256, _) => SHA256,
            (RSA_SHA384 | ECDSA_SHA384, _) => SHA384,
            (RSA_SHA512 | ECDSA_SHA512, _) => SHA512,
            (RSA | EC, Some(hash)) => hash,
            (ED25519, _) => SHA512,
            _ => return unsupported(),
        };
        let is_ecdsa = matches!(
            algorithm.oid,
            ECDSA_SHA256 | ECDSA_SHA384 | ECDSA_SHA512 | EC
        );
        let is_rsa = matches!(algorithm.oid, RSA_SHA256 | RSA_SHA384 | RSA_SHA512 | RSA);
        let verifies = match (self.kind, hash) {
            (Kind::P256, SHA256) if is_ecdsa => {
                self.ring(&signature::ECDSA_P256_SHA256_ASN1, message, made)
            }
            (Kind::P256, SHA384) if is_ecdsa => {
                self.ring(&signature::ECDSA_P256_SHA384_ASN1, message, made)
            }
            (Kind::P384, SHA256) if is_ecdsa => {
                self.ring(&signature::ECDSA_P384_SHA256_ASN1, message, made)
            }
            (Kind::P384, SHA384) if is_ecdsa => {
                self.ring(&signature::ECDSA_P384_SHA384_ASN1, message, made)
            }
            (Kind::P521, SHA256 | SHA384 | SHA512) if is_ecdsa => {
                hash_algorithm(hash).is_some_and(|hash| {
                    p521::ecdsa::Signature::from_der(made)
                        .is_ok_and(|made| self.p521(hash, message, &made))
                })
            }
            (Kind::Rsa(_), SHA256) if is_rsa => {
                self.ring(&signature::RSA_PKCS1_2048_8192_SHA256, message, made)
            }
            (Kind::Rsa(_), SHA384) if is_rsa => {
                self.ring(&signature::RSA_PKCS1_2048_8192_SHA384, message, made)
            }
            (Kind::Rsa(_), SHA512) if is_rsa => {
                self.ring(&signature::RSA_PKCS1_2048_8192_SHA512, message, made)
            }
            (Kind::Ed25519, _) if algorithm.oid == ED25519 => {
                self.ring(&signature::ED25519, message, made)
            }
            _ => return unsupported(),
        };
        if verifies {
            Ok(())
        } else {
            Err("a signature that its key did not make".into())
        }
    }

    fn ring(
        &self,
        scheme: &'static dyn VerificationAlgorithm,
        message: &[u8],
        made: &[u8],
    ) -> bool {
        UnparsedPublicKey::new(scheme, &self.bits)
            .verify(message, made)
            .is_ok()
    }

    fn p521(
        &self,
        hash: &'static digest::Algorithm,
        message: &[u8],
        made: &p521::ecdsa::Signature,
    ) -> bool {
        // The curve takes no hash of less than half its size, and those that are signed with are hashed to 32 bytes
        // at the least: shorter ones are filled up in front, which leaves the number as it is.
        let digest = digest::digest(hash, message);
        let mut filled = [0; 66];
        filled[66 - digest.as_ref().len()..].copy_from_slice(digest.as_ref());
        p521::ecdsa::VerifyingKey::from_sec1_bytes(&self.bits)
            .is_ok_and(|key| key.verify_prehash(&filled, made).is_ok())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Ed25519 => f.write_str("Ed25519"),
            Kind::P256 => f.write_str("ECDSA P-256"),
            Kind::P384 => f.write_str("ECDSA P-384"),
            Kind::P521 => f.write_str("ECDSA P-521"),
            Kind::Rsa(bits) => write!(f, "RSA {bits}"),
            Kind::Other(oid) => write!(f, "object identifier {oid}"),
        }
    }
}

/// Hashes with an algorithm that time stamps and OCSP may use.
pub(super) fn hash(algorithm: ObjectIdentifier, message: &[u8]) -> Option<Vec<u8>> {
    let algorithm = hash_algorithm(algorithm)?;
    Some(digest::digest(algorithm, message).as_ref().to_vec())
}

/// Hashes as OCSP names issuers: responders of public authorities know SHA-1 only, and nothing rests on it.
pub(super) fn name_hash(message: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, message)
        .as_ref()
        .to_vec()
}

fn hash_algorithm(oid: ObjectIdentifier) -> Option<&'static digest::Algorithm> {
    Some(match oid {
        SHA256 => &digest::SHA256,
        SHA384 => &digest::SHA384,
        SHA512 => &digest::SHA512,
        _ => return None,
    })
}

fn algorithm_name(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.113549.1.1.5" => "RSA with SHA-1".into(),
        "1.2.840.10045.4.1" => "ECDSA with SHA-1".into(),
        "1.2.840.113549.1.1.10" => "RSA-PSS".into(),
        _ => match oid {
            RSA_SHA256 | RSA_SHA384 | RSA_SHA512 | RSA => "RSA".into(),
            ECDSA_SHA256 => "ECDSA with SHA-256".into(),
            ECDSA_SHA384 => "ECDSA with SHA-384".into(),
            ECDSA_SHA512 => "ECDSA with SHA-512".into(),
            oid => oid.to_string(),
        },
    }
}

pub(super) const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// Reads an object whose signature is over the exact bytes of its first part: certificate, revocation list, response.
pub(super) fn first_part(der: &[u8]) -> Option<&[u8]> {
    use der::Reader as _;
    let mut reader = der::SliceReader::new(der).ok()?;
    let header = der::Header::decode(&mut reader).ok()?;
    if header.tag != der::Tag::Sequence {
        return None;
    }
    reader.tlv_bytes().ok()
}
