//! Public keys that signatures are checked with.

use std::fmt;

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls_pki_types::pem::{self, SectionKind};
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use crate::failure::{Explain, Fact};
use crate::oci::Digest;

/// A public key of a supported algorithm.
#[derive(Clone, Eq, PartialEq)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    /// What the algorithm itself takes: a curve point, or an RSA key in PKCS#1.
    bits: Vec<u8>,
    der: Vec<u8>,
    fingerprint: Digest,
}

impl PublicKey {
    /// The most bytes that a key file may have.
    pub const MAX_FILE: usize = 16 * 1024;

    /// Parses the PEM form that `cosign generate-key-pair` writes to `cosign.pub`: one block
    /// `PUBLIC KEY` with a `SubjectPublicKeyInfo` (RFC 7468 section 13).
    ///
    /// # Errors
    ///
    /// Refuses everything else by its name: private keys, certificates, unsupported
    /// algorithms, several keys in one file.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        if text.len() > Self::MAX_FILE {
            return Err(KeyError::TooLarge { bytes: text.len() });
        }
        let mut rest = text;
        let mut found = None;
        if let Some(label) = refused_label(text) {
            return Err(label);
        }
        while let Some((kind, der)) =
            pem::from_buf(&mut rest).map_err(|error| KeyError::Malformed {
                reason: in_words(&error).into(),
            })?
        {
            match kind {
                SectionKind::PublicKey if found.is_some() => return Err(KeyError::SeveralKeys),
                SectionKind::PublicKey => found = Some(der),
                _ => return Err(KeyError::NotPem),
            }
        }
        Self::from_der(&found.ok_or(KeyError::NotPem)?)
    }

    /// Parses a DER `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7).
    ///
    /// # Errors
    ///
    /// Refuses unsupported algorithms, curves and sizes by name.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let malformed = |error: x509_cert::der::Error| KeyError::Malformed {
            reason: error.to_string(),
        };
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(malformed)?;
        let bits = info
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| KeyError::Malformed {
                reason: "the key is not a whole number of bytes".into(),
            })?;
        let algorithm = match info.algorithm.oid {
            EC => {
                let curve = info.algorithm.parameters_oid().map_err(|_| {
                    KeyError::UnsupportedAlgorithm {
                        name: "ECDSA with explicit curve parameters".into(),
                    }
                })?;
                elliptic(curve, bits)?
            }
            ED25519 if bits.len() == 32 => KeyAlgorithm::Ed25519,
            ED25519 => {
                return Err(KeyError::Malformed {
                    reason: format!("an Ed25519 key has 32 bytes, found {}", bits.len()),
                });
            }
            RSA => rsa(bits)?,
            other => {
                return Err(KeyError::UnsupportedAlgorithm {
                    name: algorithm_name(other),
                });
            }
        };
        Ok(Self {
            algorithm,
            bits: bits.to_vec(),
            der: der.to_vec(),
            fingerprint: Digest::of(der),
        })
    }

    /// Returns the SHA-256 of the DER form: what `openssl pkey -pubin -outform DER | sha256sum`
    /// prints, and, in base64, the `hint` that cosign writes into its bundles.
    #[must_use]
    pub const fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// Returns the DER form.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Tells whether `made` is this key's signature of `message`.
    ///
    /// ECDSA signatures are ASN.1 with SHA-256; with P-384 also SHA-384, which is what
    /// cosign 3 signs with. RSA is PKCS#1 v1.5 with SHA-256. Ed25519 is pure, not prehashed.
    #[must_use]
    pub fn verifies(&self, message: &[u8], made: &[u8]) -> bool {
        let verifies = |scheme: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(scheme, &self.bits)
                .verify(message, made)
                .is_ok()
        };
        match self.algorithm {
            KeyAlgorithm::EcdsaP256 => verifies(&signature::ECDSA_P256_SHA256_ASN1),
            KeyAlgorithm::EcdsaP384 => {
                verifies(&signature::ECDSA_P384_SHA384_ASN1)
                    || verifies(&signature::ECDSA_P384_SHA256_ASN1)
            }
            KeyAlgorithm::Ed25519 => verifies(&signature::ED25519),
            KeyAlgorithm::Rsa { .. } => verifies(&signature::RSA_PKCS1_2048_8192_SHA256),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.algorithm, self.fingerprint)
    }
}

/// The algorithm of a public key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve NIST P-256.
    EcdsaP256,
    /// ECDSA on the curve NIST P-384.
    EcdsaP384,
    /// EdDSA on Curve25519.
    Ed25519,
    /// RSA with a modulus of this many bits, 2048 to 8192.
    Rsa {
        /// The length of the modulus.
        bits: usize,
    },
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

/// A refusal to take a file for a public key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// It is a certificate.
    #[error("this is a certificate, not a public key")]
    Certificate,
    /// It claims to be a public key and can't be decoded.
    #[error("the public key can't be decoded: {reason}")]
    Malformed {
        /// What the decoder said.
        reason: String,
    },
    /// There is no PEM block `PUBLIC KEY` in it.
    #[error("there is no PEM block `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// It is a private key, which has no place in a pipeline.
    #[error("this is a private key (`{label}`), not a public key")]
    PrivateKey {
        /// The label of the PEM block.
        label: String,
    },
    /// The RSA modulus is shorter or longer than allowed.
    #[error("RSA keys have 2048 to 8192 bits, this one has {bits}")]
    RsaSize {
        /// The length of the modulus.
        bits: usize,
    },
    /// There is more than one key in the file.
    #[error("there is more than one public key in the file")]
    SeveralKeys,
    /// The file is larger than any key.
    #[error(
        "a key file has at most {} bytes, this one has {bytes}",
        PublicKey::MAX_FILE
    )]
    TooLarge {
        /// The size of the file.
        bytes: usize,
    },
    /// The algorithm is not supported.
    #[error("keys of the kind {name} are not supported")]
    UnsupportedAlgorithm {
        /// Its name, or its object identifier.
        name: String,
    },
    /// The PEM block is some other form of key.
    #[error("the PEM block is `{label}`, expected `PUBLIC KEY`")]
    UnsupportedForm {
        /// The label of the PEM block.
        label: String,
    },
}

impl Explain for KeyError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Certificate => {
                    "take the key out of it: `openssl x509 -in CERTIFICATE -noout -pubkey > cosign.pub`"
                }
                Self::PrivateKey { .. } => {
                    "give the public half: `cosign public-key --key cosign.key > cosign.pub`, and keep the private key out of the repository"
                }
                Self::UnsupportedForm { .. } => {
                    "convert it: `openssl rsa -RSAPublicKey_in -in KEY -pubout > cosign.pub`"
                }
                Self::RsaSize { .. } | Self::UnsupportedAlgorithm { .. } => {
                    "supported are ECDSA P-256 and P-384, Ed25519, and RSA from 2048 to 8192 bits: make a pair with `cosign generate-key-pair`"
                }
                Self::SeveralKeys => "give one file a key: `key: [first.pub, second.pub]`",
                Self::Malformed { .. } | Self::NotPem | Self::TooLarge { .. } => {
                    "write it with `cosign public-key --key cosign.key > cosign.pub`"
                }
            }
            .into(),
        )
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::RsaSize { bits } => vec![
                Fact::new("expected", "2048 to 8192 bits"),
                Fact::new("found", format!("{bits} bits")),
            ],
            Self::PrivateKey { label } | Self::UnsupportedForm { label } => vec![
                Fact::new("expected", "PUBLIC KEY"),
                Fact::new("found", label),
            ],
            Self::UnsupportedAlgorithm { name } => vec![Fact::new("found", name)],
            _ => Vec::new(),
        }
    }
}

/// Looks at the labels of all blocks, those included that the PEM parser does not know.
fn refused_label(text: &[u8]) -> Option<KeyError> {
    String::from_utf8_lossy(text).lines().find_map(|line| {
        let label = line
            .trim()
            .strip_prefix("-----BEGIN ")?
            .strip_suffix("-----")?;
        match label {
            "PUBLIC KEY" => None,
            "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                Some(KeyError::Certificate)
            }
            label if label.ends_with("PRIVATE KEY") => Some(KeyError::PrivateKey {
                label: shortened(label),
            }),
            label => Some(KeyError::UnsupportedForm {
                label: shortened(label),
            }),
        }
    })
}

/// The parser's own words show bytes as numbers.
fn in_words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "the line `-----END PUBLIC KEY-----` is missing",
        pem::Error::IllegalSectionStart { .. } => {
            "a line that begins with `-----BEGIN` is cut short"
        }
        pem::Error::Base64Decode(_) => "it is not base64 between the lines BEGIN and END",
        _ => "it is not PEM",
    }
}

fn shortened(label: &str) -> String {
    label.chars().take(64).collect()
}

fn elliptic(curve: ObjectIdentifier, point: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    let (algorithm, length) = match curve {
        P256 => (KeyAlgorithm::EcdsaP256, 65),
        P384 => (KeyAlgorithm::EcdsaP384, 97),
        other => {
            return Err(KeyError::UnsupportedAlgorithm {
                name: algorithm_name(other),
            });
        }
    };
    if point.len() != length || point.first() != Some(&4) {
        return Err(KeyError::Malformed {
            reason: format!(
                "expected an uncompressed curve point of {length} bytes, found {} bytes",
                point.len()
            ),
        });
    }
    Ok(algorithm)
}

/// Returns the length of the modulus of an RSA key.
pub(super) fn rsa_bits(key: &[u8]) -> x509_cert::der::Result<usize> {
    let modulus = SliceReader::new(key).and_then(|mut reader| {
        reader.sequence(|reader| {
            let modulus = UintRef::decode(reader)?;
            UintRef::decode(reader)?;
            Ok(modulus.as_bytes())
        })
    })?;
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros());
    Ok((modulus.len() * 8).saturating_sub(leading as usize))
}

fn rsa(key: &[u8]) -> Result<KeyAlgorithm, KeyError> {
    let bits = rsa_bits(key).map_err(|error| KeyError::Malformed {
        reason: error.to_string(),
    })?;
    if (2048..=8192).contains(&bits) {
        Ok(KeyAlgorithm::Rsa { bits })
    } else {
        Err(KeyError::RsaSize { bits })
    }
}

fn algorithm_name(oid: ObjectIdentifier) -> String {
    let name = match oid.to_string().as_str() {
        "1.3.132.0.35" => "ECDSA P-521",
        "1.3.132.0.33" => "ECDSA P-224",
        "1.3.132.0.10" => "ECDSA secp256k1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.10040.4.1" => "DSA",
        "1.3.101.113" => "Ed448",
        "1.3.101.110" => "X25519",
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        other => return format!("object identifier {other}"),
    };
    name.into()
}

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::*;

    const PEM: &[u8] = include_bytes!("fixtures/keys/p256.pub");

    #[test]
    fn every_supported_kind_is_named() {
        let kinds: Vec<String> = [
            PEM,
            include_bytes!("fixtures/keys/p384.pub"),
            include_bytes!("fixtures/keys/ed.pub"),
            include_bytes!("fixtures/keys/rsa.pub"),
        ]
        .map(|pem| PublicKey::from_pem(pem).unwrap().algorithm().to_string())
        .into();
        assert_eq!(kinds, ["ECDSA P-256", "ECDSA P-384", "Ed25519", "RSA 2048"]);
    }

    #[test]
    fn the_fingerprint_is_what_cosign_writes_as_its_hint() {
        let key = PublicKey::from_pem(PEM).unwrap();
        assert_eq!(
            BASE64_STANDARD.encode(key.fingerprint().as_bytes()),
            "57BqiAbjYUUnGCZSoklXGBm1jlseDLjouuAszxpOumI="
        );
    }

    #[test]
    fn refusals_name_what_was_given() {
        let twice = [PEM, PEM].concat();
        let huge = vec![b' '; PublicKey::MAX_FILE + 1];
        let cut = PEM[..PEM.len() - 40].to_vec();
        let cases: [(&str, &[u8]); 14] = [
            ("P-521", include_bytes!("fixtures/keys/p521.pub")),
            ("secp256k1", include_bytes!("fixtures/keys/secp256k1.pub")),
            ("RSA 1024", include_bytes!("fixtures/keys/rsa-1024.pub")),
            ("PKCS#1", include_bytes!("fixtures/keys/rsa-pkcs1.pub")),
            ("certificate", include_bytes!("fixtures/keys/certificate.pem")),
            (
                "cosign private",
                b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\neyJ9\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
            ),
            (
                "EC private",
                b"-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n",
            ),
            ("two keys", &twice),
            ("empty", b""),
            ("prose", b"cosign.pub"),
            ("cut short", &cut),
            ("bad base64", b"-----BEGIN PUBLIC KEY-----\n!!!!\n-----END PUBLIC KEY-----\n"),
            ("bad DER", b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n"),
            ("huge", &huge),
        ];
        let told: Vec<String> = cases
            .iter()
            .map(|(name, pem)| {
                let error = PublicKey::from_pem(pem).unwrap_err();
                assert!(error.hint().is_some());
                format!("{name}: {error}")
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_key_verifies_its_own_signatures_only() {
        let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let mut der = hex::decode("302a300506032b6570032100").unwrap();
        der.extend_from_slice(ring::signature::KeyPair::public_key(&pair).as_ref());
        let key = PublicKey::from_der(&der).unwrap();
        let signature = pair.sign(b"message");
        assert!(key.verifies(b"message", signature.as_ref()));
        assert!(!key.verifies(b"messages", signature.as_ref()));
        assert!(!key.verifies(b"message", &[]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PublicKey::from_der(&bytes);
            let _ = PublicKey::from_pem(&bytes);
            let armoured = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                BASE64_STANDARD.encode(&bytes)
            );
            let _ = PublicKey::from_pem(armoured.as_bytes());
        }
    }
}
