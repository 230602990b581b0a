//! Manifests, indexes and descriptors (OCI image spec, and Docker's schema 2).

use std::collections::BTreeMap;

use bytes::Bytes;
use oci_client::manifest as names;
use serde::{Deserialize, Deserializer, Serialize};

use super::Digest;
use super::platform::Platform;

/// The largest manifest that is read, in bytes: what the distribution spec asks registries to take.
pub const LARGEST_MANIFEST: u64 = 4 * 1024 * 1024;

/// The media types of manifests that are asked for, the preferred first.
pub const ACCEPTED: [&str; 4] = [
    names::OCI_IMAGE_INDEX_MEDIA_TYPE,
    names::OCI_IMAGE_MEDIA_TYPE,
    names::IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    names::IMAGE_MANIFEST_MEDIA_TYPE,
];

/// What some bytes are: type, digest and size.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Other places to have them from; never followed.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Free names and values.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// What kind of artifact a manifest carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The platform of a manifest in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// Makes a descriptor with nothing but the three facts that every descriptor has.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            artifact_type: None,
            platform: None,
        }
    }

    /// Returns whether it describes an index of manifests.
    #[must_use]
    pub fn is_index(&self) -> bool {
        kind_of(&self.media_type) == Some(Kind::Index)
    }

    /// Returns whether the bytes may be missing from the registry: layers that are fetched from `urls`.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        !self.urls.is_empty()
            || self.media_type.contains(".foreign.")
            || self.media_type.contains(".nondistributable.")
    }

    /// Returns whether it is an attestation that the build left beside the image, which runs nowhere.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown" && platform.architecture == "unknown")
    }
}

/// A manifest or index, with the very bytes that its digest stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// The digest of the bytes, always computed here.
    pub digest: Digest,
    /// The media type: the body's own word before the registry's.
    pub media_type: String,
    /// The bytes as they were served.
    pub bytes: Bytes,
    /// What they say.
    pub document: Document,
}

impl Manifest {
    /// Parses a manifest's bytes.
    ///
    /// The content type is a hint only: the body's own `mediaType` and its shape decide.
    ///
    /// # Errors
    ///
    /// Schema 1, another kind of document, or one that is image and index at once.
    pub fn parse(bytes: Bytes, content_type: Option<&str>) -> Result<Self, ManifestError> {
        if bytes.len() as u64 > LARGEST_MANIFEST {
            return Err(ManifestError::TooLarge {
                size: bytes.len() as u64,
            });
        }
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(ManifestError::Malformed {
                reason: "it is not a JSON object".into(),
            });
        }
        let shape: Shape = serde_json::from_slice(&bytes).map_err(ManifestError::json)?;
        let declared = shape.media_type.or_else(|| {
            content_type
                .map(essence)
                .filter(|name| kind_of(name).is_some())
        });
        let schema_1 = shape.schema_version == Some(1)
            || declared
                .as_deref()
                .is_some_and(|name| name.contains("docker.distribution.manifest.v1+"));
        if schema_1 {
            return Err(ManifestError::Schema1);
        }
        let image = shape.config.is_some() || shape.layers.is_some();
        let index = shape.manifests.is_some();
        let kind = match (image, index) {
            (true, true) => return Err(ManifestError::Ambiguous),
            (true, false) => Kind::Image,
            (false, true) => Kind::Index,
            // `"manifests": null` is how some Go programs write an empty index.
            (false, false) => match declared.as_deref().and_then(kind_of) {
                Some(Kind::Index) => Kind::Index,
                _ => {
                    return Err(ManifestError::Unsupported {
                        media_type: declared.unwrap_or_else(|| "none".into()),
                    });
                }
            },
        };
        let media_type = match declared {
            None => kind.default_media_type().to_owned(),
            Some(name) => match kind_of(&name) {
                Some(found) if found == kind => name,
                Some(_) => return Err(ManifestError::Contradiction { media_type: name }),
                None => return Err(ManifestError::Unsupported { media_type: name }),
            },
        };
        let document = match kind {
            Kind::Image => {
                Document::Image(serde_json::from_slice(&bytes).map_err(ManifestError::json)?)
            }
            Kind::Index => {
                Document::Index(serde_json::from_slice(&bytes).map_err(ManifestError::json)?)
            }
        };
        Ok(Self {
            digest: Digest::of(&bytes),
            media_type,
            bytes,
            document,
        })
    }

    /// Returns the descriptor of these bytes.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.bytes.len() as u64)
    }

    /// Returns the image manifest, if it is one.
    #[must_use]
    pub fn image(&self) -> Option<&ImageManifest> {
        match &self.document {
            Document::Image(image) => Some(image),
            Document::Index(_) => None,
        }
    }
}

/// What a manifest's bytes say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Document {
    /// One image or artifact.
    Image(Box<ImageManifest>),
    /// A list of manifests.
    Index(Index),
}

/// One image or artifact: a config and layers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// The config blob.
    pub config: Descriptor,
    /// The layers, the lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is, if it is no image.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Free names and values.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A list of manifests, for instance one a platform.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// The manifests in the order of the document.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Free names and values.
    #[serde(default, deserialize_with = "or_default")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// Returns the entries that may hold the platform, in the order in which they are to be tried.
    ///
    /// The first entry that names the platform wins. Nested indexes that name no platform come in
    /// their place, since only their content can tell. An entry without a platform is taken if it
    /// is the only image. Attestations never match.
    pub fn candidates<'a>(&'a self, wanted: &Platform) -> Vec<&'a Descriptor> {
        let images: Vec<_> = self
            .manifests
            .iter()
            .filter(|m| !m.is_attestation())
            .collect();
        let mut found: Vec<&Descriptor> = images
            .iter()
            .copied()
            .filter(|entry| match &entry.platform {
                Some(platform) => wanted.matches(platform),
                None => entry.is_index(),
            })
            .collect();
        if found.is_empty() && images.len() == 1 && images[0].platform.is_none() {
            found.push(images[0]);
        }
        found
    }

    /// Returns the platforms that the index names, without attestations.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        let mut named: Vec<Platform> = self
            .manifests
            .iter()
            .filter(|entry| !entry.is_attestation())
            .filter_map(|entry| entry.platform.clone())
            .collect();
        named.dedup();
        named
    }
}

/// A document that is not a manifest that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// It has the fields of an image and of an index (CVE-2021-41190).
    #[error("the manifest is an image and an index at once")]
    Ambiguous,
    /// Its media type contradicts its fields.
    #[error("the manifest calls itself {media_type}, but has the fields of another type")]
    Contradiction {
        /// What it calls itself.
        media_type: String,
    },
    /// It is not JSON, or lacks a field.
    #[error("the manifest can't be read: {reason}")]
    Malformed {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// It is a Docker schema 1 manifest, which carries no digest of its layers' order.
    #[error("the manifest has Docker's schema 1, which is no longer supported anywhere")]
    Schema1,
    /// It is over the limit.
    #[error("the manifest has {size} bytes, more than the limit of {LARGEST_MANIFEST}")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
    },
    /// It is something else.
    #[error("the manifest has the unsupported media type {media_type}")]
    Unsupported {
        /// Which.
        media_type: String,
    },
}

impl ManifestError {
    fn json(error: serde_json::Error) -> Self {
        Self::Malformed {
            reason: error.to_string(),
        }
    }
}

/// Reads `null` as nothing, as Go programs write empty lists.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The fields that tell the kinds apart; what is in them is of no interest yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Image,
    Index,
}

impl Kind {
    const fn default_media_type(self) -> &'static str {
        match self {
            Self::Image => names::OCI_IMAGE_MEDIA_TYPE,
            Self::Index => names::OCI_IMAGE_INDEX_MEDIA_TYPE,
        }
    }
}

fn kind_of(media_type: &str) -> Option<Kind> {
    match media_type {
        names::OCI_IMAGE_MEDIA_TYPE | names::IMAGE_MANIFEST_MEDIA_TYPE => Some(Kind::Image),
        names::OCI_IMAGE_INDEX_MEDIA_TYPE | names::IMAGE_MANIFEST_LIST_MEDIA_TYPE => {
            Some(Kind::Index)
        }
        _ => None,
    }
}

/// Returns a content type without its parameters.
fn essence(content_type: &str) -> String {
    let end = content_type.find(';').unwrap_or(content_type.len());
    content_type[..end].trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &serde_json::Value, content_type: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(Bytes::from(value.to_string()), Some(content_type))
    }

    fn blob(media_type: &str) -> serde_json::Value {
        json!({"mediaType": media_type, "digest": Digest::of(b"x"), "size": 1})
    }

    fn entry(platform: &str, of: &[u8]) -> serde_json::Value {
        let mut parts = platform.split('/');
        json!({
            "mediaType": names::OCI_IMAGE_MEDIA_TYPE, "digest": Digest::of(of), "size": 1,
            "platform": {"os": parts.next(), "architecture": parts.next(), "variant": parts.next()},
        })
    }

    #[test]
    fn the_body_wins_over_the_content_type() {
        let image = json!({"schemaVersion": 2, "config": blob("c"), "layers": [blob("l")]});
        for lie in ["text/plain", "application/octet-stream", ""] {
            let manifest = parse(&image, lie).unwrap();
            assert_eq!(manifest.media_type, names::OCI_IMAGE_MEDIA_TYPE);
            assert!(manifest.image().is_some());
        }
        let docker = parse(
            &image,
            "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8",
        );
        assert_eq!(docker.unwrap().media_type, names::IMAGE_MANIFEST_MEDIA_TYPE);
        let mut own = image;
        own["mediaType"] = names::IMAGE_MANIFEST_MEDIA_TYPE.into();
        let manifest = parse(&own, names::OCI_IMAGE_INDEX_MEDIA_TYPE).unwrap();
        assert_eq!(manifest.media_type, names::IMAGE_MANIFEST_MEDIA_TYPE);
    }

    #[test]
    fn nulls_are_empty_lists() {
        let image =
            json!({"schemaVersion": 2, "config": blob("c"), "layers": null, "annotations": null});
        assert!(
            parse(&image, "")
                .unwrap()
                .image()
                .unwrap()
                .layers
                .is_empty()
        );
        let index = json!({"schemaVersion": 2, "mediaType": names::OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": null});
        assert!(
            matches!(parse(&index, "").unwrap().document, Document::Index(index) if index.manifests.is_empty())
        );
    }

    #[test]
    fn refusals() {
        let both = json!({"config": blob("c"), "layers": [], "manifests": []});
        let schema_1 = json!({"schemaVersion": 1, "fsLayers": [], "history": []});
        let other = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.artifact.manifest.v1+json"});
        let liar = json!({"mediaType": names::OCI_IMAGE_INDEX_MEDIA_TYPE, "config": blob("c"), "layers": []});
        let negative = json!({"config": {"mediaType": "c", "digest": Digest::of(b"x"), "size": -1}, "layers": []});
        let short =
            json!({"config": {"mediaType": "c", "digest": "sha256:12", "size": 1}, "layers": []});
        let messages: Vec<String> = [
            both,
            schema_1,
            other,
            liar,
            negative,
            short,
            json!([]),
            json!({}),
        ]
        .iter()
        .map(|value| parse(value, "text/html").unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(messages.join("\n"), @r"
        the manifest is an image and an index at once
        the manifest has Docker's schema 1, which is no longer supported anywhere
        the manifest has the unsupported media type application/vnd.oci.artifact.manifest.v1+json
        the manifest calls itself application/vnd.oci.image.index.v1+json, but has the fields of another type
        the manifest can't be read: invalid value: integer `-1`, expected u64 at line 1 column 119
        the manifest can't be read: expected 64 lower-case hex digits after `sha256:`, found 2 characters at line 1 column 47
        the manifest can't be read: it is not a JSON object
        the manifest has the unsupported media type none
        ");
        let large = Bytes::from(vec![b' '; 4 * 1024 * 1024 + 1]);
        assert!(matches!(
            Manifest::parse(large, None),
            Err(ManifestError::TooLarge { .. })
        ));
    }

    #[test]
    fn the_first_match_wins_and_attestations_never_do() {
        let manifest = parse(
            &json!({"manifests": [
                entry("unknown/unknown", b"attestation"),
                entry("linux/arm64/v8", b"first"),
                entry("linux/arm64", b"second"),
                entry("linux/amd64", b"other"),
            ]}),
            "",
        )
        .unwrap();
        let Document::Index(index) = &manifest.document else {
            panic!("not an index");
        };
        let chosen = |platform: &str| -> Option<Digest> {
            let platform = platform.parse().unwrap();
            index
                .candidates(&platform)
                .first()
                .map(|entry| entry.digest)
        };
        assert_eq!(chosen("linux/arm64"), Some(Digest::of(b"first")));
        assert_eq!(chosen("linux/x86_64"), Some(Digest::of(b"other")));
        assert_eq!(chosen("linux/s390x"), None);
        assert_eq!(index.platforms().len(), 3);
    }

    #[test]
    fn a_lone_entry_without_platform_is_taken() {
        let mut lone = entry("a/b", b"lone");
        lone.as_object_mut().unwrap().remove("platform");
        let with_attestation = json!({"manifests": [entry("unknown/unknown", b"a"), lone]});
        let Document::Index(index) = parse(&with_attestation, "").unwrap().document else {
            panic!("not an index");
        };
        let platform = "linux/amd64".parse().unwrap();
        assert_eq!(index.candidates(&platform).len(), 1);
    }
}
