//! What a registry reads in a manifest: what it refers to, and what it says of itself to those who look for referrers.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::refusal::{Code, Refusal};
use crate::oci::Digest;

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest as it was sent, and what was read in it.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) body: Bytes,
    pub(super) media_type: String,
    /// Blobs that must be in the repository.
    pub(super) blobs: Vec<Digest>,
    /// Manifests that must be in the repository.
    pub(super) manifests: Vec<Digest>,
    /// What it refers to; that need not be in the repository.
    pub(super) subject: Option<Digest>,
    artifact_type: Option<String>,
    annotations: Option<Map<String, Value>>,
}

impl Manifest {
    /// Reads a manifest that was sent with a content type; a missing one is taken from the manifest itself.
    pub(super) fn parse(content_type: Option<&str>, body: Bytes) -> Result<Self, Refusal> {
        let document: Document = serde_json::from_slice(&body)
            .map_err(|error| invalid(format!("not a manifest: {error}")))?;
        if document.schema_version.is_some_and(|version| version != 2) {
            return Err(invalid("schemaVersion is not 2"));
        }
        let sent = content_type
            .map(|value| value.split(';').next().unwrap_or_default().trim())
            .filter(|value| !value.is_empty());
        let media_type = match (sent, document.media_type) {
            (Some(sent), Some(inside)) if sent != inside => {
                return Err(invalid(format!(
                    "Content-Type is {sent}, but mediaType is {inside}"
                )));
            }
            (Some(media_type), _) => media_type.to_owned(),
            (None, Some(media_type)) => media_type,
            (None, None) => return Err(invalid("neither Content-Type nor mediaType is given")),
        };
        let digest = |descriptor: &Descriptor| {
            descriptor
                .digest
                .parse::<Digest>()
                .map_err(|error| invalid(format!("{}: {error}", descriptor.digest)))
        };
        let blobs = document
            .config
            .iter()
            .chain(&document.layers)
            .chain(&document.blobs)
            .filter(|descriptor| !descriptor.is_elsewhere())
            .map(digest)
            .collect::<Result<_, _>>()?;
        // An empty artifactType counts as none. Only image manifests fall back to the type of their configuration.
        let artifact_type = document
            .artifact_type
            .filter(|artifact_type| !artifact_type.is_empty())
            .or_else(|| document.config.and_then(|config| config.media_type));
        Ok(Self {
            blobs,
            manifests: document
                .manifests
                .iter()
                .map(digest)
                .collect::<Result<_, _>>()?,
            subject: document.subject.as_ref().map(digest).transpose()?,
            artifact_type,
            annotations: document.annotations,
            media_type,
            body,
        })
    }

    /// Returns the descriptor for a list of referrers.
    pub(super) fn descriptor(&self, digest: &Digest) -> Value {
        let mut descriptor = json!({
            "mediaType": self.media_type,
            "digest": digest,
            "size": self.body.len(),
        });
        if let Some(artifact_type) = &self.artifact_type {
            descriptor["artifactType"] = artifact_type.as_str().into();
        }
        if let Some(annotations) = &self.annotations {
            descriptor["annotations"] = annotations.clone().into();
        }
        descriptor
    }

    /// Tells whether it passes a filter by artifact type.
    pub(super) fn is_of(&self, artifact_type: Option<&str>) -> bool {
        artifact_type.is_none() || artifact_type == self.artifact_type.as_deref()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    /// The artifact manifest of the release candidates of image-spec 1.1, which old clients still push.
    #[serde(default)]
    blobs: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    #[serde(default)]
    urls: Vec<String>,
}

impl Descriptor {
    /// Layers that may not be distributed are fetched from their own addresses and are never pushed.
    fn is_elsewhere(&self) -> bool {
        !self.urls.is_empty()
            || self.media_type.as_deref().is_some_and(|media_type| {
                media_type.contains(".nondistributable.") || media_type.contains(".foreign.")
            })
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad_request(Code::ManifestInvalid, message)
}
