//! The cryptography of `sigstore-verify`, by ring: the same on both targets.

use std::cell::RefCell;

use bytes::Bytes;
use ring::digest;
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use sigstore_verify::crypto::{
    CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider,
};
use sigstore_verify::types::HashAlgorithm;

/// Makes ring the provider of this process, unless a program that uses this library has chosen another.
pub(super) fn install() {
    let _ = install_default_provider(&Ring);
}

/// Runs a verification whose artifact is a message at hand.
///
/// `sigstore-verify` checks the signatures of messages by their digest alone, and ring verifies whole messages
/// only. So the message waits here for the one call in which it is needed, and is used if it has that digest.
pub(super) fn with_message<T>(message: &Bytes, verify: impl FnOnce() -> T) -> T {
    MESSAGE.with(|slot| slot.replace(Some(message.clone())));
    let _taken = TakeBack;
    verify()
}

thread_local! {
    static MESSAGE: RefCell<Option<Bytes>> = const { RefCell::new(None) };
}

struct TakeBack;

impl Drop for TakeBack {
    fn drop(&mut self) {
        MESSAGE.with(|slot| slot.replace(None));
    }
}

#[derive(Debug)]
struct Ring;

impl CryptoProvider for Ring {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        let algorithm = hash(algorithm)
            .ok_or_else(|| Error::UnsupportedAlgorithm(format!("the hash {algorithm}")))?;
        Ok(Box::new(Hashing(digest::Context::new(algorithm))))
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        message: &[u8],
        made: &[u8],
    ) -> Result<()> {
        UnparsedPublicKey::new(algorithm(scheme)?, key)
            .verify(message, made)
            .map_err(|_| Error::Verification("the key did not make this signature".into()))
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        made: &[u8],
    ) -> Result<()> {
        let message = MESSAGE.with(|slot| slot.borrow().clone());
        match (message, scheme.hash_algorithm().and_then(hash)) {
            (Some(message), Some(hash)) if digest::digest(hash, &message).as_ref() == digest => {
                self.verify_raw(scheme, key, &message, made)
            }
            _ => Err(Error::UnsupportedAlgorithm(
                "the signature of a digest without its message".into(),
            )),
        }
    }
}

struct Hashing(digest::Context);

impl HashContext for Hashing {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

fn hash(algorithm: HashAlgorithm) -> Option<&'static digest::Algorithm> {
    Some(match algorithm {
        HashAlgorithm::Sha2256 => &digest::SHA256,
        HashAlgorithm::Sha2384 => &digest::SHA384,
        HashAlgorithm::Sha2512 => &digest::SHA512,
        _ => return None,
    })
}

fn algorithm(scheme: SigningScheme) -> Result<&'static dyn VerificationAlgorithm> {
    Ok(match scheme {
        SigningScheme::EcdsaP256Sha256 => &signature::ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP256Sha384 => &signature::ECDSA_P256_SHA384_ASN1,
        SigningScheme::EcdsaP384Sha256 => &signature::ECDSA_P384_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &signature::ECDSA_P384_SHA384_ASN1,
        SigningScheme::Ed25519 => &signature::ED25519,
        SigningScheme::RsaPkcs1Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        SigningScheme::RsaPkcs1Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        SigningScheme::RsaPkcs1Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        SigningScheme::RsaPssSha256 => &signature::RSA_PSS_2048_8192_SHA256,
        SigningScheme::RsaPssSha384 => &signature::RSA_PSS_2048_8192_SHA384,
        SigningScheme::RsaPssSha512 => &signature::RSA_PSS_2048_8192_SHA512,
        other => return Err(Error::UnsupportedAlgorithm(other.name().into())),
    })
}
