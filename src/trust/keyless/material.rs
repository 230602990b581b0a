//! Bundles as `sigstore-verify` takes them: read within caps, or put together of the older annotations.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use rustls_pki_types::pem::{self, SectionKind};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::json;
use sigstore_verify::types::Bundle;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use x509_cert::der::{Decode, Encode};

use super::flaw::Flaw;
use crate::oci::Digest;
use crate::trust::judge::quoted;

/// The most log entries, time stamps and certificates that a bundle may have of each: as many as other verifiers take.
const MOST: usize = 32;

/// What comes with a signature.
pub(in crate::trust) enum Evidence<'a> {
    /// A bundle, as it was fetched.
    Bundle(&'a [u8]),
    /// The annotations of a simple signing payload.
    Annotations {
        payload: &'a Bytes,
        signature: &'a [u8],
        annotations: &'a BTreeMap<String, String>,
    },
}

impl Evidence<'_> {
    /// Returns it as a bundle.
    pub(super) fn bundle(&self) -> Result<Bundle, Flaw> {
        match self {
            Self::Bundle(bytes) => parse(bytes),
            Self::Annotations {
                payload,
                signature,
                annotations,
            } => {
                let bundle = assemble(payload, signature, annotations)?;
                parse(bundle.to_string().as_bytes())
            }
        }
    }
}

/// Returns the names in DER of all authorities that the certificates of a bundle name as theirs.
pub(super) fn authorities(bundle: &Bundle) -> Vec<Vec<u8>> {
    let ders: Vec<&[u8]> = match &bundle.verification_material.content {
        VerificationMaterialContent::Certificate(certificate) => {
            vec![certificate.raw_bytes.as_bytes()]
        }
        VerificationMaterialContent::X509CertificateChain { certificates } => {
            let ders = certificates.iter();
            ders.map(|certificate| certificate.raw_bytes.as_bytes())
                .collect()
        }
        _ => Vec::new(),
    };
    ders.into_iter()
        .filter_map(|der| x509_cert::Certificate::from_der(der).ok())
        .filter_map(|certificate| certificate.tbs_certificate.issuer.to_der().ok())
        .collect()
}

/// Returns the certificate in the annotation, if there is one that can be read.
pub(in crate::trust) fn annotated_certificate(
    annotations: &BTreeMap<String, String>,
) -> Option<Vec<u8>> {
    certificates(annotations.get(CERTIFICATE)?)
        .ok()?
        .into_iter()
        .next()
}

fn parse(bytes: &[u8]) -> Result<Bundle, Flaw> {
    let unreadable = |error: &dyn fmt::Display| Flaw::Bad {
        reason: "the bundle can't be read".into(),
        expected: "a Sigstore bundle".into(),
        found: quoted(&error.to_string()),
    };
    // A first look that keeps next to nothing: how many of what there are, and of which kind.
    let outline: Outline = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let entries = outline
        .verification_material
        .tlog_entries
        .unwrap_or_default();
    for entry in entries.0 {
        let Some(Kind { kind, version }) = entry.kind_version else {
            continue;
        };
        if !KINDS.contains(&(kind.as_str(), version.as_str())) {
            let kinds = KINDS.map(|(kind, version)| format!("{kind} {version}"));
            return Err(Flaw::Bad {
                reason: "the transparency log entry is of a kind that is not supported".into(),
                expected: kinds.join(", "),
                found: quoted(&format!("{kind} {version}")),
            });
        }
    }
    serde_json::from_slice(bytes).map_err(|error| unreadable(&error))
}

/// The kinds of entries that `sigstore-verify` can hold against a signature.
const KINDS: [(&str, &str); 4] = [
    ("hashedrekord", "0.0.1"),
    ("hashedrekord", "0.0.2"),
    ("dsse", "0.0.1"),
    ("intoto", "0.0.2"),
];

/// Puts a bundle together of the annotations of cosign's older layout
/// ([signature spec](https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md)).
fn assemble(
    payload: &Bytes,
    signature: &[u8],
    annotations: &BTreeMap<String, String>,
) -> Result<serde_json::Value, Flaw> {
    let present = |name: &str| annotations.get(name).filter(|text| !text.is_empty());
    let mut material = serde_json::Map::new();
    let certificate = present(CERTIFICATE)
        .map(|text| certificates(text))
        .transpose()?;
    match certificate {
        Some(mut chain) => {
            // Whatever stands behind the first certificate is its chain, as in the annotation for it.
            if let Some(text) = present(CHAIN) {
                chain.extend(certificates(text)?);
            }
            let chain: Vec<_> = chain
                .iter()
                .map(|der| json!({"rawBytes": BASE64_STANDARD.encode(der)}))
                .collect();
            material.insert(
                "x509CertificateChain".into(),
                json!({"certificates": chain}),
            );
        }
        None => {
            material.insert("publicKey".into(), json!({"hint": ""}));
        }
    }
    let mut version = "0.2";
    if let Some(text) = present(BUNDLE) {
        let entry: RekorBundle =
            serde_json::from_str(text).map_err(|error| unreadable(BUNDLE, &error))?;
        let body = BASE64_STANDARD
            .decode(&entry.payload.body)
            .map_err(|error| unreadable(BUNDLE, &error))?;
        let kind: Body =
            serde_json::from_slice(&body).map_err(|error| unreadable(BUNDLE, &error))?;
        let log = hex::decode(&entry.payload.log_id).map_err(|error| unreadable(BUNDLE, &error))?;
        // The log's promise is all there is to it: no proof of inclusion, which is the first version's form.
        version = "0.1";
        material.insert(
            "tlogEntries".into(),
            json!([{
                "logIndex": entry.payload.log_index.to_string(),
                "logId": {"keyId": BASE64_STANDARD.encode(log)},
                "kindVersion": {"kind": kind.kind, "version": kind.api_version},
                "integratedTime": entry.payload.integrated_time.to_string(),
                "inclusionPromise": {"signedEntryTimestamp": entry.signed_entry_timestamp},
                "canonicalizedBody": entry.payload.body,
            }]),
        );
    }
    if let Some(text) = present(TIMESTAMP) {
        let stamp: Stamp =
            serde_json::from_str(text).map_err(|error| unreadable(TIMESTAMP, &error))?;
        material.insert(
            "timestampVerificationData".into(),
            json!({"rfc3161Timestamps": [{"signedTimestamp": stamp.signed_timestamp}]}),
        );
    }
    Ok(json!({
        "mediaType": format!("application/vnd.dev.sigstore.bundle+json;version={version}"),
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": {
                "algorithm": "SHA2_256",
                "digest": BASE64_STANDARD.encode(Digest::of(payload).as_bytes()),
            },
            "signature": BASE64_STANDARD.encode(signature),
        },
    }))
}

/// Reads certificates in PEM, and nothing but certificates.
fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Flaw> {
    let mut rest = text.as_bytes();
    let mut found = Vec::new();
    loop {
        match pem::from_buf(&mut rest) {
            Ok(Some((SectionKind::Certificate, der))) if found.len() < MOST => found.push(der),
            Ok(Some((SectionKind::Certificate, _))) => {
                return Err(unreadable(
                    CERTIFICATE,
                    &format!("more than {MOST} certificates"),
                ));
            }
            Ok(Some(_)) => {
                return Err(unreadable(
                    CERTIFICATE,
                    &"PEM of something that is no certificate",
                ));
            }
            Ok(None) if found.is_empty() => return Err(unreadable(CERTIFICATE, &"no certificate")),
            Ok(None) => return Ok(found),
            Err(error) => return Err(unreadable(CERTIFICATE, &format!("{error:?}"))),
        }
    }
}

fn unreadable(annotation: &str, error: &dyn fmt::Display) -> Flaw {
    Flaw::Bad {
        reason: "an annotation of the signature can't be read".into(),
        expected: format!("what cosign writes into {annotation}"),
        found: quoted(&error.to_string()),
    }
}

/// The annotation of a layer that holds the signing certificate.
pub(in crate::trust) const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RekorBundle {
    signed_entry_timestamp: String,
    payload: RekorPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RekorPayload {
    body: String,
    integrated_time: i64,
    log_index: i64,
    #[serde(rename = "logID")]
    log_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    kind: String,
    api_version: String,
}

#[derive(Deserialize)]
struct Stamp {
    #[serde(rename = "SignedRFC3161Timestamp")]
    signed_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    verification_material: OutlineMaterial,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutlineMaterial {
    tlog_entries: Option<Capped<OutlineEntry>>,
    #[serde(rename = "timestampVerificationData")]
    _timestamps: Option<OutlineTimestamps>,
    #[serde(rename = "x509CertificateChain")]
    _chain: Option<OutlineChain>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutlineEntry {
    kind_version: Option<Kind>,
    #[serde(rename = "inclusionProof")]
    _proof: Option<OutlineProof>,
}

#[derive(Deserialize)]
struct OutlineProof {
    #[serde(rename = "hashes")]
    _hashes: Option<Capped<IgnoredAny, 64>>,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct OutlineTimestamps {
    #[serde(rename = "rfc3161Timestamps")]
    _stamps: Option<Capped<IgnoredAny>>,
}

#[derive(Deserialize)]
struct OutlineChain {
    #[serde(rename = "certificates")]
    _certificates: Option<Capped<IgnoredAny>>,
}

/// A list that is refused as soon as it is too long, not when all of it has been read.
struct Capped<T, const LIMIT: usize = MOST>(Vec<T>);

impl<T, const LIMIT: usize> Default for Capped<T, LIMIT> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const LIMIT: usize> Deserialize<'de> for Capped<T, LIMIT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counting<T, const LIMIT: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for Counting<T, LIMIT> {
            type Value = Capped<T, LIMIT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {LIMIT}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(next) = list.next_element()? {
                    if found.len() == LIMIT {
                        return Err(A::Error::custom(format!("a list of more than {LIMIT}")));
                    }
                    found.push(next);
                }
                Ok(Capped(found))
            }
        }

        deserializer.deserialize_seq(Counting(PhantomData))
    }
}
