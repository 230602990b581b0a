//! A small signer, for the playground and for tests. Real images are signed with cosign.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;
use sigstore_types::bundle::{
    Bundle, MediaType, PublicKeyIdentifier, SignatureContent, VerificationMaterial,
    VerificationMaterialContent,
};
use sigstore_types::{DsseEnvelope, DsseSignature, PayloadBytes, SignatureBytes};

use super::bundle::{IN_TOTO, PREDICATE_ANNOTATION, SIGN_PREDICATE};
use super::simple_signing;
use crate::oci::{Descriptor, Digest, Repository};

/// A key pair on the curve P-256 that lives in memory only.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
    public_der: Vec<u8>,
}

impl SigningKey {
    /// Makes a new key pair.
    ///
    /// # Errors
    ///
    /// Fails if the system has no randomness.
    pub fn generate() -> Result<Self, SigningError> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .map_err(|_| SigningError::NoRandomness)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|_| SigningError::NoRandomness)?;
        let public_der = [P256_HEADER.as_slice(), pair.public_key().as_ref()].concat();
        Ok(Self {
            pair,
            random,
            public_der,
        })
    }

    /// Returns the public half as the PEM file that cosign calls `cosign.pub`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        let encoded = BASE64_STANDARD.encode(&self.public_der);
        let (first, second) = encoded.split_at(64.min(encoded.len()));
        format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
    }

    /// Signs an image in the form of cosign 3: a bundle in a manifest that refers to the image.
    ///
    /// # Errors
    ///
    /// Fails if the system has no randomness.
    pub fn sign_bundle(&self, image: &Descriptor, at: Timestamp) -> Result<Artifact, SigningError> {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": image.digest.hex()}}],
            "predicateType": SIGN_PREDICATE,
            "predicate": {},
        });
        self.envelop(image, &statement, SIGN_PREDICATE, at)
    }

    /// Signs an image in cosign's older form: a payload and a signature under a tag of the digest.
    ///
    /// # Errors
    ///
    /// Fails if the system has no randomness.
    pub fn sign_tag(
        &self,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Artifact, SigningError> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": repository.to_string()},
                "image": {"docker-manifest-digest": digest},
                "type": simple_signing::TYPE,
            },
            "optional": null,
        });
        let payload = Blob::new(simple_signing::MEDIA_TYPE, payload.to_string());
        let signature = BASE64_STANDARD.encode(self.sign(&payload.bytes)?);
        let config = json!({
            "architecture": "",
            "os": "",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [payload.digest]},
        });
        let config = Blob::new(
            "application/vnd.oci.image.config.v1+json",
            config.to_string(),
        );
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [{
                "mediaType": payload.media_type,
                "size": payload.bytes.len(),
                "digest": payload.digest,
                "annotations": {simple_signing::SIGNATURE_ANNOTATION: signature},
            }],
        });
        Ok(Artifact {
            tag: Some(format!("sha256-{}.sig", digest.hex())),
            manifest: Blob::new(MANIFEST, manifest.to_string()),
            blobs: vec![config, payload],
        })
    }

    /// Signs any statement, so that tests can make attestations and false signatures.
    pub(super) fn envelop(
        &self,
        image: &Descriptor,
        statement: &serde_json::Value,
        predicate_type: &str,
        at: Timestamp,
    ) -> Result<Artifact, SigningError> {
        let payload = PayloadBytes::from_bytes(statement.to_string().as_bytes());
        let message = sigstore_types::dsse::pae(IN_TOTO, payload.as_bytes());
        let signature = SignatureBytes::from_bytes(&self.sign(&message)?);
        let envelope = DsseEnvelope::new(
            IN_TOTO,
            payload,
            DsseSignature::new(signature, sigstore_types::KeyId::default()),
        );
        let hint = BASE64_STANDARD.encode(Digest::of(&self.public_der).as_bytes());
        let material = VerificationMaterial::new(VerificationMaterialContent::PublicKey(
            PublicKeyIdentifier::new(hint),
        ));
        let bundle = Bundle::new(
            MediaType::Bundle0_3,
            material,
            SignatureContent::DsseEnvelope(envelope),
        );
        let bundle = bundle.to_json().map_err(|error| SigningError::Encoding {
            reason: error.to_string(),
        })?;
        let bundle = Blob::new(MediaType::Bundle0_3.as_str(), bundle);
        let config = Blob::new("application/vnd.oci.empty.v1+json", "{}".into());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": MediaType::Bundle0_3.as_str(),
            "config": config.descriptor(),
            "layers": [bundle.descriptor()],
            "subject": {"mediaType": image.media_type, "size": image.size, "digest": image.digest},
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                PREDICATE_ANNOTATION: predicate_type,
                "org.opencontainers.image.created": at.to_string(),
            },
        });
        Ok(Artifact {
            tag: None,
            manifest: Blob::new(MANIFEST, manifest.to_string()),
            blobs: vec![config, bundle],
        })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let signature = self.pair.sign(&self.random, message);
        Ok(signature
            .map_err(|_| SigningError::NoRandomness)?
            .as_ref()
            .to_vec())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// What has to be pushed to a registry for a signature to be there.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The tag of the manifest; without one it is pushed by its digest.
    pub tag: Option<String>,
    /// The manifest.
    pub manifest: Blob,
    /// The blobs that the manifest names.
    pub blobs: Vec<Blob>,
}

/// Bytes with their digest and media type.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The media type.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The bytes.
    pub bytes: Bytes,
}

impl Blob {
    /// Makes a blob.
    #[must_use]
    pub fn new(media_type: &str, content: String) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(content.as_bytes()),
            bytes: Bytes::from(content),
        }
    }

    /// Returns the descriptor of the bytes.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.bytes.len() as u64)
    }
}

/// A signature that could not be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SigningError {
    /// The bundle could not be written as JSON.
    #[error("the bundle can't be encoded: {reason}")]
    Encoding {
        /// What the encoder said.
        reason: String,
    },
    /// The system gives no random bytes.
    #[error("the system has no randomness to make keys and signatures with")]
    NoRandomness,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What comes before the curve point in the DER of a P-256 public key (RFC 5480 section 2).
const P256_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::PublicKey;

    #[test]
    fn the_public_key_is_read_back() {
        let key = SigningKey::generate().unwrap();
        let public = PublicKey::from_pem(key.public_pem().as_bytes()).unwrap();
        assert_eq!(public.algorithm().to_string(), "ECDSA P-256");
        let signature = key.sign(b"message").unwrap();
        assert!(public.verifies(b"message", &signature));
        assert_eq!(format!("{key:?}"), "SigningKey");
    }
}
