//! Sigstore bundles, in which cosign 3 keeps signatures.
//!
//! A signature of an image is a DSSE envelope around an in-toto statement whose predicate type is
//! [`SIGN_PREDICATE`] and whose subject is the image's digest
//! ([bundle spec](https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md)).

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use sigstore_types::bundle::{MediaType, PublicKeyIdentifier};
use sigstore_types::{DerCertificate, DsseEnvelope, bundle::MessageSignature};

use super::candidate::Check;
use super::judge::{Judge, digest_of_base64, quoted};
use super::keyless::Evidence;

/// What the media types of all versions of bundles begin with.
pub(super) const MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// The annotation in which cosign says of which type the predicate is.
pub(super) const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";

/// The predicate type that makes a statement a signature.
pub(super) const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The payload type of in-toto statements.
pub(super) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// Checks a bundle.
///
/// Log entries and timestamps in it are skipped over unread here: whether they count depends on the signer.
pub(super) fn check(bytes: &[u8], judge: &Judge<'_>) -> Check {
    let bundle: Bundle = match serde_json::from_slice(bytes) {
        Ok(bundle) => bundle,
        Err(error) => {
            return Check::Malformed {
                reason: "the bundle can't be read".into(),
                expected: "a Sigstore bundle".into(),
                found: quoted(&error.to_string()),
            };
        }
    };
    let (MediaType::Bundle0_1 | MediaType::Bundle0_2 | MediaType::Bundle0_3) = bundle.media_type
    else {
        return Check::Malformed {
            reason: "the bundle's version is not supported".into(),
            expected: MediaType::Bundle0_3.to_string(),
            found: quoted(bundle.media_type.as_str()),
        };
    };
    let envelope = match (bundle.dsse_envelope, bundle.message_signature) {
        (Some(envelope), None) => envelope,
        (None, Some(_)) => return Check::MessageSignature,
        (both, _) => {
            return Check::Malformed {
                reason: "the bundle has no one content".into(),
                expected: "either a DSSE envelope or a message signature".into(),
                found: both.map_or("neither", |_| "both").into(),
            };
        }
    };
    if envelope.payload_type != IN_TOTO {
        return Check::Malformed {
            reason: "the payload type is wrong".into(),
            expected: IN_TOTO.into(),
            found: quoted(&envelope.payload_type),
        };
    }
    let statement: Statement = match serde_json::from_slice(envelope.payload.as_bytes()) {
        Ok(statement) => statement,
        Err(error) => {
            return Check::Malformed {
                reason: "the payload can't be read".into(),
                expected: "an in-toto statement".into(),
                found: quoted(&error.to_string()),
            };
        }
    };
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Check::Malformed {
            reason: "the payload is no statement that is known".into(),
            expected: STATEMENTS[0].into(),
            found: quoted(&statement.kind),
        };
    }
    if statement.predicate_type != SIGN_PREDICATE {
        return Check::Attestation {
            predicate_type: quoted(&statement.predicate_type),
        };
    }
    let subjects: Vec<String> = statement
        .subject
        .into_iter()
        .filter_map(|subject| subject.digest.sha256)
        .map(|hex| format!("sha256:{hex}"))
        .collect();
    let evidence = Evidence::Bundle(bytes);
    let material = bundle.verification_material;
    let chain = material.x509_certificate_chain;
    let leaf = match (material.certificate, chain) {
        (Some(leaf), None) => Some(leaf),
        (None, Some(chain)) => Some(chain.certificates.0),
        (None, None) => None,
        (Some(_), Some(_)) => return unclear("a certificate and a chain"),
    };
    let key = match (material.public_key, leaf) {
        (Some(key), None) => key,
        (None, Some(leaf)) => {
            let der = leaf.raw_bytes.as_ref().map(DerCertificate::as_bytes);
            return judge.certificate(der, &subjects, &evidence);
        }
        (None, None) => return unclear("no verification material"),
        (Some(_), Some(_)) => return unclear("a key and a certificate"),
    };
    judge.signature(
        &envelope.pae(),
        envelope.signature.sig.as_bytes(),
        &subjects,
        digest_of_base64(&key.hint),
        &evidence,
    )
}

fn unclear(found: &str) -> Check {
    Check::Malformed {
        reason: "the bundle does not say what it was signed with".into(),
        expected: "a public key's hint, or a certificate".into(),
        found: found.into(),
    }
}

const STATEMENTS: [&str; 2] = [
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
];

/// The parts of a bundle that count. Everything else is skipped without being kept, so that a
/// bundle of ten megabytes of log entries costs no memory.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: MediaType,
    verification_material: Material,
    dsse_envelope: Option<DsseEnvelope>,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    public_key: Option<PublicKeyIdentifier>,
    certificate: Option<Certificate>,
    x509_certificate_chain: Option<Chain>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: First,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: Option<DerCertificate>,
}

/// The first of a list; the others are skipped.
struct First(Certificate);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Leaf;

        impl<'de> Visitor<'de> for Leaf {
            type Value = First;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of certificates")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First, A::Error> {
                let first = list.next_element()?.unwrap_or_default();
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_seq(Leaf)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Subject {
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    sha256: Option<String>,
}
