//! Simple signing payloads, cosign's older form
//! ([signature spec](https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md)).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::candidate::Check;
use super::judge::{Judge, quoted};
use super::keyless::{self, Evidence};

/// The media type of layers that are simple signing payloads.
pub(super) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The annotation of a layer that holds the signature in base64.
pub(super) const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// What `critical.type` has to be.
pub(super) const TYPE: &str = "cosign container image signature";

/// Checks a payload, and returns beside the result the repository that it names.
pub(super) fn check(
    payload: &Bytes,
    annotations: &std::collections::BTreeMap<String, String>,
    judge: &Judge<'_>,
) -> (Check, Option<String>) {
    let claim: Payload = match serde_json::from_slice(payload) {
        Ok(claim) => claim,
        Err(error) => {
            let check = Check::Malformed {
                reason: "the payload can't be read".into(),
                expected: "a simple signing payload".into(),
                found: quoted(&error.to_string()),
            };
            return (check, None);
        }
    };
    let claims = claim
        .critical
        .identity
        .and_then(|identity| identity.docker_reference)
        .filter(|reference| !reference.is_empty())
        .map(|reference| quoted(&reference));
    if claim.critical.kind != TYPE {
        let check = Check::Malformed {
            reason: "the payload is of another type".into(),
            expected: TYPE.into(),
            found: quoted(&claim.critical.kind),
        };
        return (check, claims);
    }
    // What is in the annotation was never checked by anybody, so a key there must not count as one:
    // only the policy's own keys are tried.
    let signature = annotations
        .get(SIGNATURE_ANNOTATION)
        .ok_or("no such annotation".to_owned())
        .and_then(|text| {
            BASE64_STANDARD
                .decode(text)
                .map_err(|error| error.to_string())
        });
    let check = match signature {
        Err(found) => Check::Malformed {
            reason: "the signature can't be read".into(),
            expected: format!("base64 in the annotation {SIGNATURE_ANNOTATION}"),
            found,
        },
        Ok(signature) => {
            let signed = [claim.critical.image.docker_manifest_digest];
            let evidence = Evidence::Annotations {
                payload,
                signature: &signature,
                annotations,
            };
            let check = judge.signature(payload, &signature, &signed, None, &evidence);
            let certified = annotations
                .get(keyless::CERTIFICATE)
                .is_some_and(|text| !text.is_empty());
            match check {
                Check::UnknownKey { .. } if certified => {
                    let der = keyless::annotated_certificate(annotations);
                    judge.certificate(der.as_deref(), &signed, &evidence)
                }
                check => check,
            }
        }
    };
    (check, claims)
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    identity: Option<Identity>,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Identity {
    docker_reference: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}
