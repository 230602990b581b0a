//! What a playground's registry holds at the start: three images, of which one is signed as it should be.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::layer::Layer;
use super::registry::{Refusal, Registry};
use crate::oci::Digest;
use crate::trust::sign::{Blob, SigningError, SigningKey};

/// A seed that could not be put into the registry.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The registry takes no more, most likely because its limit is too low.
    #[error("the registry refused a seeded image")]
    Refused(#[from] Refusal),
    /// There is no signature.
    #[error("a seeded image could not be signed")]
    Sign(#[from] SigningError),
}

/// An image that is signed by the key that the playground offers.
pub const SIGNED: &str = "acme/web";
/// An image that nobody signed.
pub const UNSIGNED: &str = "acme/unsigned";
/// An image that somebody else signed.
pub const STRANGER: &str = "acme/stranger";
/// The tag of all of them.
pub const TAG: &str = "v1";

/// Puts the images into a registry, with signatures that say when they were made, and returns the digest of the
/// signed one.
///
/// # Errors
///
/// The registry may be too small, and the system may have no randomness.
pub fn seed(
    registry: &Registry,
    trusted: &SigningKey,
    stranger: &SigningKey,
    at: Timestamp,
) -> Result<Digest, SeedError> {
    let signed = signed_image(registry, SIGNED, trusted, at)?;
    signed_image(registry, STRANGER, stranger, at)?;
    image(registry, UNSIGNED)?;
    Ok(signed)
}

/// Puts an image and its signature into a registry and returns the image's digest.
fn signed_image(
    registry: &Registry,
    repository: &str,
    key: &SigningKey,
    at: Timestamp,
) -> Result<Digest, SeedError> {
    let index = image(registry, repository)?;
    let signature = key.sign_bundle(&index.descriptor(), at)?;
    for blob in signature.blobs {
        registry.put_blob(repository, blob.bytes)?;
    }
    let Blob {
        media_type, bytes, ..
    } = signature.manifest;
    registry.put_manifest(repository, None, &media_type, bytes)?;
    Ok(index.digest)
}

/// Puts an image for two platforms into a registry and returns its index.
fn image(registry: &Registry, repository: &str) -> Result<Blob, Refusal> {
    let manifests = ["amd64", "arm64"]
        .into_iter()
        .map(|architecture| platform(registry, repository, architecture))
        .collect::<Result<Vec<_>, _>>()?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": manifests,
        "annotations": {"org.opencontainers.image.version": TAG},
    })
    .to_string();
    let index = Blob::new(INDEX, index);
    registry.put_manifest(repository, Some(TAG), INDEX, index.bytes.clone())?;
    Ok(index)
}

/// Puts an image for one platform into a registry and returns its descriptor.
fn platform(registry: &Registry, repository: &str, architecture: &str) -> Result<Value, Refusal> {
    let common = Layer::of_file(
        "etc/playground",
        b"This image was made by shipgate's playground. It holds text and nothing that runs.\n",
    );
    let own = Layer::of_file(
        "srv/index.html",
        format!("<h1>{repository}:{TAG}</h1>\n<p>linux/{architecture}</p>\n").as_bytes(),
    );
    let config = json!({
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {"WorkingDir": "/srv"},
        "rootfs": {"type": "layers", "diff_ids": [common.diff_id, own.diff_id]},
        "history": [
            {"created": CREATED, "created_by": "playground: who made this"},
            {"created": CREATED, "created_by": "playground: a page"},
        ],
    })
    .to_string();
    let mut descriptors = Vec::new();
    for (media_type, bytes) in [
        (CONFIG, Bytes::from(config)),
        (LAYER, common.bytes),
        (LAYER, own.bytes),
    ] {
        let size = bytes.len();
        let digest = registry.put_blob(repository, bytes)?;
        descriptors.push(json!({"mediaType": media_type, "digest": digest, "size": size}));
    }
    let layers = descriptors.split_off(1);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptors.pop(),
        "layers": layers,
    })
    .to_string();
    let size = manifest.len();
    let digest = registry.put_manifest(repository, None, MANIFEST, manifest)?;
    Ok(json!({
        "mediaType": MANIFEST,
        "digest": digest,
        "size": size,
        "platform": {"architecture": architecture, "os": "linux"},
    }))
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// A fixed date, so that digests are the same on every machine and every day.
const CREATED: &str = "2026-01-01T00:00:00Z";
