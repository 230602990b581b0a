//! The verdicts over a registry in memory: artefacts of the real cosign 3.1.1 (`fixtures/README.md`),
//! and what an attacker or a broken registry would make of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::notation::Enquiry;
use super::sign::{Artifact, Blob, SigningKey};
use super::source::Raw;
use super::*;
use crate::oci::{Descriptor, Place, Referrers};
use crate::outcome::ExitCode;

macro_rules! fixture {
    ($path:literal) => {
        include_bytes!(concat!("fixtures/", $path)).as_slice()
    };
}

/// The image that all fixtures sign.
const IMAGE: &[u8] = fixture!("image.json");

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry in memory, with a log of what it was asked.
#[derive(Default)]
pub(super) struct Memory {
    manifests: BTreeMap<Digest, Bytes>,
    blobs: BTreeMap<Digest, Bytes>,
    tags: BTreeMap<String, Bytes>,
    /// What the referrers API answers, if there is one.
    api: Option<Vec<Descriptor>>,
    /// Requests that fail: what the line in the log contains, and the error.
    pub(super) failing: Vec<(&'static str, LookupError)>,
    /// The time; the beginning of all time if there is none.
    pub(super) now: Option<Timestamp>,
    /// What responders and lists answer, by their addresses.
    pub(super) authorities: BTreeMap<String, Bytes>,
    log: Mutex<Vec<String>>,
}

impl Memory {
    fn ask(&self, what: String) -> Result<(), LookupError> {
        let failure = self.failing.iter().find(|(part, _)| what.contains(part));
        self.log.lock().unwrap().push(what);
        failure.map_or(Ok(()), |(_, error)| Err(error.clone()))
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Loses its referrers.
    pub(super) fn forget(&mut self) {
        self.api = Some(Vec::new());
    }

    /// Answers with something else for a digest.
    pub(super) fn swap(&mut self, digest: Digest, bytes: &[u8]) {
        self.manifests.insert(digest, Bytes::copy_from_slice(bytes));
    }

    /// Has the image itself, as it was pushed.
    pub(super) fn with_image(mut self) -> Self {
        self.manifests
            .insert(image(), Bytes::copy_from_slice(IMAGE));
        self
    }

    fn requests(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    pub(super) fn with_api() -> Self {
        Self {
            api: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Pushes a manifest with one blob, and returns its descriptor as a referrer.
    fn push(&mut self, manifest: &[u8], blob: &[u8]) -> Descriptor {
        let descriptor = Descriptor {
            artifact_type: Some("application/vnd.dev.sigstore.bundle.v0.3+json".into()),
            ..Descriptor::new(MANIFEST, Digest::of(manifest), manifest.len() as u64)
        };
        self.manifests
            .insert(descriptor.digest, Bytes::copy_from_slice(manifest));
        self.blobs
            .insert(Digest::of(blob), Bytes::copy_from_slice(blob));
        descriptor
    }

    pub(super) fn refer(&mut self, manifest: &[u8], blob: &[u8]) -> &mut Self {
        let descriptor = self.push(manifest, blob);
        self.api.get_or_insert_default().push(descriptor);
        self
    }

    fn refer_artifact(&mut self, artifact: &Artifact) -> &mut Self {
        self.refer(&artifact.manifest.bytes, &artifact.blobs[1].bytes)
    }

    fn tag(&mut self, tag: &str, manifest: &[u8], blob: &[u8]) -> &mut Self {
        self.push(manifest, blob);
        self.tags
            .insert(tag.into(), Bytes::copy_from_slice(manifest));
        self
    }

    pub(super) fn tag_signature(&mut self, manifest: &[u8], payload: &[u8]) -> &mut Self {
        self.tag(&format!("sha256-{}.sig", image().hex()), manifest, payload)
    }

    fn index(&mut self, index: &[u8]) -> &mut Self {
        self.tags.insert(
            format!("sha256-{}", image().hex()),
            Bytes::copy_from_slice(index),
        );
        self
    }

    pub(super) fn fail(&mut self, part: &'static str, status: Option<u16>) -> &mut Self {
        let error = LookupError {
            host: "r.example".into(),
            status,
            retry_after: (status == Some(429)).then_some(Duration::from_secs(17)),
            limit: None,
            whole_registry: matches!(status, None | Some(401 | 403 | 429)),
            text: "no".into(),
            hint: None,
        };
        self.failing.push((part, error));
        self
    }
}

impl Artifacts for Memory {
    async fn manifest_by_tag(&self, _: &Repository, tag: &str) -> Result<Option<Raw>, LookupError> {
        self.ask(format!("tag {tag}"))?;
        Ok(self.tags.get(tag).map(|bytes| Raw {
            digest: Digest::of(bytes),
            media_type: String::new(),
            bytes: bytes.clone(),
        }))
    }

    async fn manifest_by_digest(
        &self,
        _: &Repository,
        digest: &Digest,
    ) -> Result<Option<Raw>, LookupError> {
        self.ask(format!("manifest {digest}"))?;
        Ok(self.manifests.get(digest).map(|bytes| Raw {
            digest: *digest,
            media_type: String::new(),
            bytes: bytes.clone(),
        }))
    }

    async fn blob(
        &self,
        _: &Repository,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Bytes>, LookupError> {
        assert!(size <= MAX_BUNDLE);
        self.ask(format!("blob {digest}"))?;
        Ok(self.blobs.get(digest).cloned())
    }

    fn now(&self) -> Timestamp {
        self.now.unwrap_or(Timestamp::UNIX_EPOCH)
    }

    async fn enquire(&self, enquiry: Enquiry) -> Result<Bytes, String> {
        let kind = if enquiry.request.is_some() {
            "ocsp"
        } else {
            "crl"
        };
        self.log
            .lock()
            .unwrap()
            .push(format!("{kind} {}", enquiry.url));
        let answer = self.authorities.get(enquiry.url.as_str());
        match answer {
            Some(answer) if answer.len() <= enquiry.limit => Ok(answer.clone()),
            Some(_) => Err("too large".into()),
            None => Err("nobody answers".into()),
        }
    }

    async fn referrers(&self, _: &Repository, digest: &Digest) -> Result<Referrers, LookupError> {
        self.ask(format!("referrers {digest}"))?;
        if let Some(descriptors) = &self.api {
            return Ok(Referrers {
                place: Place::Api,
                descriptors: descriptors.clone(),
            });
        }
        let tag = format!("sha256-{}", digest.hex());
        self.ask(format!("fallback {tag}"))?;
        let Some(index) = self.tags.get(&tag) else {
            return Ok(Referrers {
                place: Place::Neither,
                descriptors: Vec::new(),
            });
        };
        let index: Value = serde_json::from_slice(index).unwrap();
        Ok(Referrers {
            place: Place::FallbackTag,
            descriptors: serde_json::from_value(index["manifests"].clone()).unwrap(),
        })
    }
}

pub(super) fn image() -> Digest {
    Digest::of(IMAGE)
}

pub(super) fn image_descriptor() -> Descriptor {
    Descriptor::new(
        "application/vnd.docker.distribution.manifest.v2+json",
        image(),
        IMAGE.len() as u64,
    )
}

pub(super) fn repository() -> Repository {
    let reference: crate::oci::Reference = "r.example/acme/web:v1".parse().unwrap();
    reference.repository
}

fn pem(which: &str) -> &'static [u8] {
    match which {
        "ed" => fixture!("keys/ed.pub"),
        "other" => fixture!("keys/other.pub"),
        "p256" => fixture!("keys/p256.pub"),
        "p384" => fixture!("keys/p384.pub"),
        "rsa" => fixture!("keys/rsa.pub"),
        other => panic!("no key {other}"),
    }
}

fn signer(pem: &[u8]) -> Signer {
    Signer::Key {
        keys: vec![PublicKey::from_pem(pem).unwrap()],
        log: LogRequirement::Ignored,
    }
}

fn policy_of(signers: &[(&str, &[u8])], requirement: Requirement) -> Policy {
    let signers = signers
        .iter()
        .map(|(name, pem)| ((*name).to_owned(), signer(pem)))
        .collect();
    let rule = Rule {
        pattern: "r.example/acme/*".parse().unwrap(),
        requirement,
    };
    Policy::new(signers, vec![rule]).unwrap()
}

/// A policy with one signer, `ops`.
fn ops(which: &str) -> Policy {
    policy_of(&[("ops", pem(which))], Requirement::any(["ops"]).unwrap())
}

pub(super) async fn verdict(memory: &Memory, policy: &Policy) -> Verdict {
    verify(memory, policy, &repository(), image()).await
}

pub(super) fn refusal(verdict: &Verdict) -> &Refusal {
    match &verdict.outcome {
        Outcome::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// The image with the bundle that the real cosign made, in the referrers tag as it wrote it.
fn real_bundle() -> Memory {
    let mut memory = Memory::default();
    memory.push(
        fixture!("bundle-p256/manifest.json"),
        fixture!("bundle-p256/bundle.json"),
    );
    memory.index(fixture!("bundle-p256/index.json"));
    memory
}

fn real_tag() -> Memory {
    let mut memory = Memory::default();
    memory.tag_signature(
        fixture!("tag-p256/manifest.json"),
        fixture!("tag-p256/payload.json"),
    );
    memory
}

/// Puts another bundle into a manifest like the real one.
pub(super) fn refer_bundle(memory: &mut Memory, bundle: &[u8]) {
    let mut manifest: Value =
        serde_json::from_slice(fixture!("bundle-p256/manifest.json")).unwrap();
    manifest["layers"][0]["digest"] = json!(Digest::of(bundle));
    manifest["layers"][0]["size"] = json!(bundle.len());
    memory.refer(manifest.to_string().as_bytes(), bundle);
}

fn altered_bundle(alter: impl Fn(&mut Value)) -> Memory {
    let mut bundle: Value = serde_json::from_slice(fixture!("bundle-p256/bundle.json")).unwrap();
    alter(&mut bundle);
    let mut memory = Memory::with_api();
    refer_bundle(&mut memory, bundle.to_string().as_bytes());
    memory
}

fn altered_tag(alter: impl Fn(&mut Value, &mut String)) -> Memory {
    let mut manifest: Value = serde_json::from_slice(fixture!("tag-p256/manifest.json")).unwrap();
    let mut payload = String::from_utf8(fixture!("tag-p256/payload.json").to_vec()).unwrap();
    alter(&mut manifest, &mut payload);
    manifest["layers"][0]["digest"] = json!(Digest::of(payload.as_bytes()));
    manifest["layers"][0]["size"] = json!(payload.len());
    let mut memory = Memory::default();
    memory.tag_signature(manifest.to_string().as_bytes(), payload.as_bytes());
    memory
}

#[tokio::test]
async fn a_real_bundle_in_the_referrers_tag_with_the_wrong_artifact_type() {
    assert!(
        std::str::from_utf8(fixture!("bundle-p256/index.json"))
            .unwrap()
            .contains(r#""artifactType":"application/vnd.oci.empty.v1+json""#)
    );
    let memory = real_bundle();
    let verdict = verdict(&memory, &ops("p256")).await;
    insta::assert_json_snapshot!(verdict);
    // Two for the list, since the API is asked first.
    assert_eq!(memory.requests(), 4);
    assert_eq!(verdict.exit(), ExitCode::Done);
    assert!(verdict.failure().is_none());
}

#[tokio::test]
async fn one_bundle_behind_the_api_costs_three_requests() {
    let mut memory = Memory::with_api();
    memory.refer(
        fixture!("bundle-p256/manifest.json"),
        fixture!("bundle-p256/bundle.json"),
    );
    assert!(verdict(&memory, &ops("p256")).await.is_verified());
    assert_eq!(memory.requests(), 3);
}

#[tokio::test]
async fn five_bundles_cost_at_most_twelve_requests() {
    let mut memory = Memory::with_api();
    for _ in 0..4 {
        let key = SigningKey::generate().unwrap();
        let artifact = key.sign_bundle(&image_descriptor(), Timestamp::UNIX_EPOCH);
        memory.refer_artifact(&artifact.unwrap());
    }
    memory.refer(
        fixture!("bundle-p256/manifest.json"),
        fixture!("bundle-p256/bundle.json"),
    );
    let verdict = verdict(&memory, &ops("p256")).await;
    assert!(verdict.is_verified());
    assert_eq!(verdict.candidates.len(), 5);
    assert_eq!(memory.requests(), 11);
}

#[tokio::test]
async fn a_real_signature_in_the_older_layout() {
    let verdict = verdict(&real_tag(), &ops("p256")).await;
    insta::assert_json_snapshot!(verdict);
}

#[tokio::test]
async fn every_algorithm_of_cosign_in_both_layouts() {
    for (which, manifest, bundle) in [
        (
            "p384",
            fixture!("bundle-p384/manifest.json"),
            fixture!("bundle-p384/bundle.json"),
        ),
        (
            "rsa",
            fixture!("bundle-rsa/manifest.json"),
            fixture!("bundle-rsa/bundle.json"),
        ),
    ] {
        let mut memory = Memory::with_api();
        memory.refer(manifest, bundle);
        assert!(verdict(&memory, &ops(which)).await.is_verified(), "{which}");
    }
    for (which, manifest, payload) in [
        (
            "p384",
            fixture!("tag-p384/manifest.json"),
            fixture!("tag-p384/payload.json"),
        ),
        (
            "rsa",
            fixture!("tag-rsa/manifest.json"),
            fixture!("tag-rsa/payload.json"),
        ),
    ] {
        let mut memory = Memory::default();
        memory.tag_signature(manifest, payload);
        assert!(verdict(&memory, &ops(which)).await.is_verified(), "{which}");
    }
}

#[tokio::test]
async fn a_prehashed_ed25519_signature_is_refused_and_explained() {
    let mut memory = Memory::default();
    memory.tag_signature(
        fixture!("tag-ed/manifest.json"),
        fixture!("tag-ed/payload.json"),
    );
    let verdict = verdict(&memory, &ops("ed")).await;
    assert_eq!(verdict.exit(), ExitCode::WrongSigner);
    assert!(verdict.candidates[0].to_string().contains("Ed25519ph"));
}

#[tokio::test]
async fn unsigned() {
    for memory in [Memory::default(), Memory::with_api()] {
        let verdict = verdict(&memory, &ops("p256")).await;
        assert_eq!(verdict.exit(), ExitCode::Unsigned);
        assert_eq!(memory.requests(), 3);
        insta::allow_duplicates! { insta::assert_json_snapshot!(verdict.failure()); }
    }
}

#[tokio::test]
async fn attestations_and_signatures_of_blobs_are_no_signatures() {
    let mut memory = Memory::with_api();
    memory.refer(
        fixture!("attestation-p256/manifest.json"),
        fixture!("attestation-p256/bundle.json"),
    );
    memory.refer(
        fixture!("message-p256/manifest.json"),
        fixture!("message-p256/bundle.json"),
    );
    let first = verdict(&memory, &ops("p256")).await;
    assert_eq!(first.exit(), ExitCode::Unsigned);
    insta::assert_json_snapshot!(first.failure());
    // The attestation says so in its manifest, and is not even fetched.
    assert_eq!(memory.requests(), 6);

    // Saying otherwise does not help it: the statement itself is looked at.
    let lying = String::from_utf8(fixture!("attestation-p256/manifest.json").to_vec())
        .unwrap()
        .replace("https://slsa.dev/provenance/v1", bundle::SIGN_PREDICATE);
    let mut memory = Memory::with_api();
    memory.refer(lying.as_bytes(), fixture!("attestation-p256/bundle.json"));
    let second = verdict(&memory, &ops("p256")).await;
    assert_eq!(second.exit(), ExitCode::Unsigned);
    assert_eq!(
        second.candidates[0].check,
        Check::Attestation {
            predicate_type: "https://slsa.dev/provenance/v1".into()
        }
    );
}

#[tokio::test]
async fn unrelated_referrers_never_change_a_passing_verdict() {
    let mut memory = real_bundle();
    let mut index: Value = serde_json::from_slice(fixture!("bundle-p256/index.json")).unwrap();
    let sbom = br#"{"layers":[{"mediaType":"application/spdx+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}]}"#;
    for (manifest, blob) in [
        (sbom.as_slice(), b"{}".as_slice()),
        (
            fixture!("attestation-p256/manifest.json"),
            fixture!("attestation-p256/bundle.json"),
        ),
        (b"not json", b""),
    ] {
        let mut descriptor = memory.push(manifest, blob);
        descriptor.artifact_type = Some("application/vnd.oci.empty.v1+json".into());
        let entries = index["manifests"].as_array_mut().unwrap();
        entries.insert(0, serde_json::to_value(descriptor).unwrap());
    }
    memory.index(index.to_string().as_bytes());
    assert!(verdict(&memory, &ops("p256")).await.is_verified());
}

#[tokio::test]
async fn wrong_key_in_both_layouts() {
    let bundle = verdict(&real_bundle(), &ops("other")).await;
    assert_eq!(bundle.exit(), ExitCode::WrongSigner);
    insta::assert_json_snapshot!(bundle.failure());
    let tag = verdict(&real_tag(), &ops("other")).await;
    assert_eq!(tag.exit(), ExitCode::WrongSigner);
}

#[tokio::test]
async fn a_signer_that_the_rule_does_not_name() {
    let policy = policy_of(
        &[("ci", pem("other")), ("ops", pem("p256"))],
        Requirement::any(["ci"]).unwrap(),
    );
    let verdict = verdict(&real_bundle(), &policy).await;
    assert_eq!(verdict.exit(), ExitCode::WrongSigner);
    insta::assert_json_snapshot!(verdict.failure());
}

/// A signature of the right signer for another image, served as one of this image.
#[tokio::test]
async fn signatures_of_another_digest() {
    let key = SigningKey::generate().unwrap();
    let policy = policy_of(
        &[("ops", key.public_pem().as_bytes())],
        Requirement::any(["ops"]).unwrap(),
    );
    let other = Descriptor {
        digest: Digest::of(b"another image"),
        ..image_descriptor()
    };
    let artifact = key.sign_bundle(&other, Timestamp::UNIX_EPOCH).unwrap();

    // As it is: the manifest's subject gives it away.
    let mut memory = Memory::with_api();
    memory.refer_artifact(&artifact);
    let first = verdict(&memory, &policy).await;
    assert_eq!(first.exit(), ExitCode::BadSignature);

    // Spliced into a manifest about this image: the signed statement gives it away.
    let mut memory = Memory::with_api();
    refer_bundle(&mut memory, &artifact.blobs[1].bytes);
    let second = verdict(&memory, &policy).await;
    assert_eq!(second.exit(), ExitCode::BadSignature);
    assert_eq!(second.candidates[0].check.signer(), Some("ops"));
    let facts = second.failure().unwrap().facts;
    assert_eq!(facts[0].value, image().to_string());
    assert_eq!(facts[1].value, other.digest.to_string());

    // The older layout, under this image's tag.
    let artifact = key.sign_tag(&repository(), other.digest).unwrap();
    let mut memory = Memory::default();
    memory.tag_signature(&artifact.manifest.bytes, &artifact.blobs[1].bytes);
    let third = verdict(&memory, &policy).await;
    assert_eq!(third.exit(), ExitCode::BadSignature);

    // By whomever: what claims to be about another digest is not a wrong signer.
    let stranger = SigningKey::generate().unwrap();
    let artifact = stranger.sign_tag(&repository(), other.digest).unwrap();
    let mut memory = Memory::default();
    memory.tag_signature(&artifact.manifest.bytes, &artifact.blobs[1].bytes);
    assert_eq!(
        verdict(&memory, &policy).await.exit(),
        ExitCode::BadSignature
    );
}

#[tokio::test]
async fn altered_bundles_are_refused() {
    type Alteration = (&'static str, ExitCode, fn(&mut Value));
    let cases: [Alteration; 13] = [
        ("payload type", ExitCode::BadSignature, |b| {
            b["dsseEnvelope"]["payloadType"] = json!("application/vnd.in-toto+jsön");
        }),
        ("payload not base64", ExitCode::BadSignature, |b| {
            b["dsseEnvelope"]["payload"] = json!("!!!");
        }),
        ("payload not JSON", ExitCode::BadSignature, |b| {
            b["dsseEnvelope"]["payload"] = json!("bm8=");
        }),
        (
            "payload of this digest, but not the one signed",
            ExitCode::BadSignature,
            |b| {
                let payload = format!(
                    r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"{}","predicate":{{"a":1}}}}"#,
                    image().hex(),
                    bundle::SIGN_PREDICATE,
                );
                use base64::Engine as _;
                b["dsseEnvelope"]["payload"] =
                    json!(base64::prelude::BASE64_STANDARD.encode(payload));
            },
        ),
        ("no signature", ExitCode::BadSignature, |b| {
            b["dsseEnvelope"]["signatures"] = json!([])
        }),
        ("two signatures", ExitCode::BadSignature, |b| {
            let signature = b["dsseEnvelope"]["signatures"][0].clone();
            b["dsseEnvelope"]["signatures"] = json!([signature, signature]);
        }),
        ("signature not base64", ExitCode::BadSignature, |b| {
            b["dsseEnvelope"]["signatures"][0]["sig"] = json!("*");
        }),
        ("signature empty", ExitCode::BadSignature, |b| {
            b["dsseEnvelope"]["signatures"][0]["sig"] = json!("");
        }),
        ("unknown version", ExitCode::BadSignature, |b| {
            b["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v9+json");
        }),
        ("no media type", ExitCode::BadSignature, |b| {
            b.as_object_mut().unwrap().remove("mediaType");
        }),
        ("no material", ExitCode::BadSignature, |b| {
            b["verificationMaterial"] = json!({})
        }),
        ("a certificate", ExitCode::WrongSigner, |b| {
            b["verificationMaterial"] = json!({"certificate": {"rawBytes": "AAAA"}});
        }),
        ("two contents", ExitCode::BadSignature, |b| {
            b["messageSignature"] = json!({"signature": "AAAA"});
        }),
    ];
    let mut told = Vec::new();
    for (name, exit, alter) in cases {
        let verdict = verdict(&altered_bundle(alter), &ops("p256")).await;
        assert_eq!(verdict.exit(), exit, "{name}: {verdict:?}");
        told.push(format!("{name}: {}", verdict.candidates[0].check));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn log_entries_are_neither_needed_nor_trusted() {
    let memory = altered_bundle(|bundle| {
        bundle["verificationMaterial"]["tlogEntries"] =
            json!([{"kindVersion": {"kind": "unheard of"}}]);
        bundle["verificationMaterial"]["timestampVerificationData"] =
            json!({"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]});
    });
    let verdict = verdict(&memory, &ops("p256")).await;
    assert!(verdict.is_verified());
    assert_eq!(
        serde_json::json!(verdict)["transparency_log"],
        "not-checked"
    );
}

#[tokio::test]
async fn a_relabelled_bundle_of_an_older_version_still_verifies() {
    for version in ["0.1", "0.2"] {
        let memory = altered_bundle(|bundle| {
            bundle["mediaType"] = json!(format!(
                "application/vnd.dev.sigstore.bundle+json;version={version}"
            ));
        });
        assert!(verdict(&memory, &ops("p256")).await.is_verified());
    }
}

#[tokio::test]
async fn altered_simple_signing_is_refused() {
    type Alteration = (&'static str, ExitCode, fn(&mut Value, &mut String));
    const SIGNATURE: &str = simple_signing::SIGNATURE_ANNOTATION;
    let cases: [Alteration; 7] = [
        ("no signature", ExitCode::BadSignature, |manifest, _| {
            manifest["layers"][0]["annotations"] = json!({});
        }),
        ("not base64", ExitCode::BadSignature, |manifest, _| {
            manifest["layers"][0]["annotations"][SIGNATURE] = json!("***");
        }),
        ("not JSON", ExitCode::BadSignature, |_, payload| {
            payload.truncate(40)
        }),
        ("another type", ExitCode::BadSignature, |_, payload| {
            *payload = payload.replace("cosign container image", "atomic container");
        }),
        ("another digest", ExitCode::BadSignature, |_, payload| {
            *payload = payload.replace(&image().hex(), &Digest::of(b"").hex());
        }),
        (
            "this digest, but not the payload that was signed",
            ExitCode::WrongSigner,
            |_, payload| {
                payload.push('\n');
            },
        ),
        (
            "a public key where the certificate should be",
            ExitCode::WrongSigner,
            |manifest, payload| {
                payload.push('\n');
                let pem = String::from_utf8(pem("other").to_vec()).unwrap();
                manifest["layers"][0]["annotations"][keyless::CERTIFICATE] = json!(pem);
            },
        ),
    ];
    let mut told = Vec::new();
    for (name, exit, alter) in cases {
        let verdict = verdict(&altered_tag(alter), &ops("p256")).await;
        assert_eq!(verdict.exit(), exit, "{name}: {verdict:?}");
        told.push(format!("{name}: {}", verdict.candidates[0]));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn a_manifest_about_another_image_or_none() {
    for subject in [
        json!(null),
        json!({"digest": Digest::of(b""), "size": 0, "mediaType": "x"}),
    ] {
        let mut manifest: Value =
            serde_json::from_slice(fixture!("bundle-p256/manifest.json")).unwrap();
        manifest["subject"] = subject;
        let mut memory = Memory::with_api();
        memory.refer(
            manifest.to_string().as_bytes(),
            fixture!("bundle-p256/bundle.json"),
        );
        let verdict = verdict(&memory, &ops("p256")).await;
        assert_eq!(verdict.exit(), ExitCode::BadSignature);
        assert!(verdict.failure().unwrap().causes[0].contains("subject is another image"));
    }
}

#[tokio::test]
async fn a_registry_that_answers_with_other_bytes() {
    let mut memory = real_bundle();
    for bytes in memory.blobs.values_mut() {
        *bytes = Bytes::from_static(fixture!("bundle-rsa/bundle.json"));
    }
    assert_eq!(
        verdict(&memory, &ops("rsa")).await.exit(),
        ExitCode::BadSignature
    );
    let mut memory = real_bundle();
    for bytes in memory.manifests.values_mut() {
        *bytes = Bytes::from_static(fixture!("bundle-rsa/manifest.json"));
    }
    assert_eq!(
        verdict(&memory, &ops("rsa")).await.exit(),
        ExitCode::BadSignature
    );
}

#[tokio::test]
async fn what_could_not_be_asked_is_never_unsigned() {
    for status in [
        None,
        Some(400),
        Some(401),
        Some(403),
        Some(429),
        Some(500),
        Some(502),
        Some(503),
    ] {
        for part in ["referrers", "fallback", "tag sha256", "manifest", "blob"] {
            let mut memory = real_bundle();
            memory.tag_signature(
                fixture!("tag-rsa/manifest.json"),
                fixture!("tag-rsa/payload.json"),
            );
            memory.fail(part, status);
            let verdict = verdict(&memory, &ops("other")).await;
            assert_eq!(verdict.exit(), ExitCode::LookupFailed, "{part} {status:?}");
            let failure = verdict.failure().unwrap();
            assert!(failure.hint.is_some());
            assert!(failure.facts.iter().any(|fact| fact.value == "r.example"));
            assert_eq!(
                failure
                    .facts
                    .iter()
                    .any(|fact| fact.name == "retry after" && fact.value == "17 s"),
                status == Some(429)
            );
        }
    }
}

#[tokio::test]
async fn a_limit_on_requests_is_not_answered_with_more_requests() {
    for status in [None, Some(401), Some(429)] {
        let mut memory = real_tag();
        memory.fail("referrers", status);
        verdict(&memory, &ops("p256")).await;
        assert_eq!(memory.requests(), 1);
    }
    // A server error in one place leaves the other one worth asking.
    let mut memory = real_tag();
    memory.fail("referrers", Some(500));
    assert!(verdict(&memory, &ops("p256")).await.is_verified());
}

#[tokio::test]
async fn what_is_listed_and_gone_is_not_unsigned() {
    let mut memory = real_bundle();
    memory.blobs.clear();
    assert_eq!(
        verdict(&memory, &ops("p256")).await.exit(),
        ExitCode::LookupFailed
    );
    let mut memory = real_tag();
    memory.blobs.clear();
    assert_eq!(
        verdict(&memory, &ops("p256")).await.exit(),
        ExitCode::LookupFailed
    );
}

#[tokio::test]
async fn the_places_are_united() {
    // The API answers with nothing; cosign wrote into the tag before the registry had the API.
    let mut memory = real_bundle();
    memory.api = Some(Vec::new());
    let first = verdict(&memory, &ops("p256")).await;
    assert!(first.is_verified());
    assert_eq!(first.candidates[0].place, candidate::Place::ReferrersTag);

    // A bundle by one signer, a tag by another: together they are two.
    let mut memory = real_bundle();
    memory.tag_signature(
        fixture!("tag-rsa/manifest.json"),
        fixture!("tag-rsa/payload.json"),
    );
    let both = policy_of(
        &[("ci", pem("rsa")), ("ops", pem("p256"))],
        Requirement::all(["ci", "ops"]).unwrap(),
    );
    let second = verdict(&memory, &both).await;
    assert_eq!(
        second.outcome,
        Outcome::Verified {
            signers: BTreeSet::from(["ci".into(), "ops".into()])
        }
    );
}

#[tokio::test]
async fn one_signer_twice_is_not_two() {
    let mut memory = real_bundle();
    memory.tag_signature(
        fixture!("tag-p256/manifest.json"),
        fixture!("tag-p256/payload.json"),
    );
    let two = policy_of(
        &[("ci", pem("rsa")), ("ops", pem("p256"))],
        Requirement::at_least(2, ["ci", "ops"]).unwrap(),
    );
    let verdict = verdict(&memory, &two).await;
    assert_eq!(verdict.exit(), ExitCode::WrongSigner);
    insta::assert_json_snapshot!(verdict.failure());
}

#[tokio::test]
async fn any_key_of_a_signer_is_the_signer() {
    let keys = ["other", "p256"].map(|which| PublicKey::from_pem(pem(which)).unwrap());
    let signers = BTreeMap::from([(
        "ops".to_owned(),
        Signer::Key {
            keys: keys.into(),
            log: LogRequirement::Ignored,
        },
    )]);
    let rule = Rule {
        pattern: "**".parse().unwrap(),
        requirement: Requirement::any(["ops"]).unwrap(),
    };
    let policy = Policy::new(signers, vec![rule]).unwrap();
    assert!(verdict(&real_bundle(), &policy).await.is_verified());
}

#[tokio::test]
async fn an_image_without_a_rule_is_not_trusted_and_not_looked_up() {
    let memory = real_bundle();
    let elsewhere = Repository {
        registry: "r.example".into(),
        path: "acme-evil/web".into(),
    };
    let verdict = verify(&memory, &ops("p256"), &elsewhere, image()).await;
    assert_eq!(verdict.exit(), ExitCode::Untrusted);
    assert_eq!(memory.requests(), 0);
    insta::assert_json_snapshot!(verdict.failure());
}

#[tokio::test]
async fn the_hundred_and_first_candidate_is_not_looked_at() {
    let stranger = SigningKey::generate().unwrap();
    let mut memory = Memory::with_api();
    for second in 0..101 {
        let at = Timestamp::from_second(second).unwrap();
        memory.refer_artifact(&stranger.sign_bundle(&image_descriptor(), at).unwrap());
    }
    let first = verdict(&memory, &ops("p256")).await;
    assert_eq!(first.exit(), ExitCode::LookupFailed);
    assert_eq!((first.candidates.len(), first.unread), (100, 1));
    let Refusal::LimitReached { over } = refusal(&first) else {
        panic!("{first:?}");
    };
    assert_eq!(
        over.to_string(),
        "at most 100 candidates are looked at, there are 101"
    );
    assert_eq!(first.failure().unwrap().causes.len(), 12);

    // Attestations that say what they are come last, so they can't crowd a signature out.
    let mut memory = real_bundle();
    let mut index: Value = serde_json::from_slice(fixture!("bundle-p256/index.json")).unwrap();
    for number in 0..200 {
        let entry = Descriptor {
            artifact_type: Some("application/vnd.dev.sigstore.bundle.v0.3+json".into()),
            annotations: BTreeMap::from([(
                bundle::PREDICATE_ANNOTATION.into(),
                "https://slsa.dev/provenance/v1".into(),
            )]),
            ..Descriptor::new(MANIFEST, Digest::of(&[number]), 1)
        };
        let entries = index["manifests"].as_array_mut().unwrap();
        entries.insert(0, serde_json::to_value(entry).unwrap());
    }
    memory.index(index.to_string().as_bytes());
    assert!(verdict(&memory, &ops("p256")).await.is_verified());
}

#[tokio::test]
async fn a_hundred_thousand_layers_are_a_named_limit() {
    let mut memory = Memory::default();
    let layer = json!({
        "mediaType": simple_signing::MEDIA_TYPE,
        "digest": Digest::of(b""),
        "size": 0,
    });
    let manifest = json!({"layers": vec![layer; 20_000]}).to_string();
    memory.tag_signature(manifest.as_bytes(), b"");
    let verdict = verdict(&memory, &ops("p256")).await;
    assert_eq!(verdict.exit(), ExitCode::LookupFailed);
    assert_eq!(verdict.unread, 19_900);
    // One payload, however often it is named.
    assert_eq!(memory.requests(), 4);
}

#[tokio::test]
async fn what_is_too_large_is_not_fetched() {
    // A bundle of 10 GB, as far as its manifest says.
    let mut manifest: Value =
        serde_json::from_slice(fixture!("bundle-p256/manifest.json")).unwrap();
    manifest["layers"][0]["size"] = json!(10_000_000_000_u64);
    let mut memory = Memory::with_api();
    memory.refer(
        manifest.to_string().as_bytes(),
        fixture!("bundle-p256/bundle.json"),
    );
    let bundle = verdict(&memory, &ops("p256")).await;
    insta::assert_json_snapshot!(bundle.failure());
    assert!(
        !memory
            .log
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.starts_with("blob"))
    );

    // A manifest that is larger than its listing says.
    let large = format!("{{{}}}", " ".repeat(MAX_MANIFEST as usize));
    let mut memory = Memory::with_api();
    memory.refer(large.as_bytes(), b"");
    memory.api.as_mut().unwrap()[0].size = 2;
    let manifest = verdict(&memory, &ops("p256")).await;
    assert!(matches!(
        manifest.candidates[0].check,
        Check::OverLimit(candidate::OverLimit {
            cap: candidate::Cap::Manifest,
            ..
        })
    ));

    // Four bundles of 9 MB each are more than all together may have.
    let mut memory = Memory::with_api();
    for number in 0..4 {
        let mut bundle = vec![b' '; 9 * 1024 * 1024];
        bundle[0] = number;
        refer_bundle(&mut memory, &bundle);
    }
    let total = verdict(&memory, &ops("p256")).await;
    let Refusal::LimitReached { over } = refusal(&total) else {
        panic!("{total:?}");
    };
    assert_eq!(over.cap, candidate::Cap::Total);
    let fetched = memory
        .log
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.starts_with("blob"))
        .count();
    assert_eq!(fetched, 3);
}

#[tokio::test]
async fn nested_and_garbage_bundles_are_bounded() {
    for bundle in [
        "[".repeat(100_000),
        format!("{{\"verificationMaterial\":{}", "{\"a\":".repeat(100_000)),
        String::new(),
        "null".into(),
        "{\"mediaType\":1}".into(),
    ] {
        let mut memory = Memory::with_api();
        refer_bundle(&mut memory, bundle.as_bytes());
        assert_eq!(
            verdict(&memory, &ops("p256")).await.exit(),
            ExitCode::BadSignature
        );
    }
}

#[tokio::test]
async fn what_the_signer_makes_is_verified_in_both_layouts() {
    let key = SigningKey::generate().unwrap();
    let pem = key.public_pem();
    let policy = policy_of(
        &[("ops", pem.as_bytes())],
        Requirement::any(["ops"]).unwrap(),
    );
    let mut memory = Memory::with_api();
    memory.refer_artifact(
        &key.sign_bundle(&image_descriptor(), Timestamp::UNIX_EPOCH)
            .unwrap(),
    );
    assert!(verdict(&memory, &policy).await.is_verified());

    let artifact = key.sign_tag(&repository(), image()).unwrap();
    let mut memory = Memory::default();
    memory.tag(
        artifact.tag.as_ref().unwrap(),
        &artifact.manifest.bytes,
        &artifact.blobs[1].bytes,
    );
    let verdict = verdict(&memory, &policy).await;
    assert!(verdict.is_verified());
    assert_eq!(
        verdict.candidates[0].claims.as_deref(),
        Some("r.example/acme/web")
    );
}

/// A statement with this image among several subjects is about this image too.
#[tokio::test]
async fn a_statement_about_several_images() {
    let key = SigningKey::generate().unwrap();
    let policy = policy_of(
        &[("ops", key.public_pem().as_bytes())],
        Requirement::any(["ops"]).unwrap(),
    );
    let subjects = |digests: &[Digest]| -> Value {
        digests
            .iter()
            .map(|digest| json!({"digest": {"sha256": digest.hex()}}))
            .collect()
    };
    for (subject, exit) in [
        (subjects(&[Digest::of(b""), image()]), ExitCode::Done),
        (subjects(&[]), ExitCode::BadSignature),
        (
            json!([{"digest": {"sha512": "00"}}]),
            ExitCode::BadSignature,
        ),
        (
            json!([{"digest": {"sha256": image().hex().to_uppercase()}}]),
            ExitCode::BadSignature,
        ),
    ] {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subject,
            "predicateType": bundle::SIGN_PREDICATE,
        });
        let artifact = key
            .envelop(
                &image_descriptor(),
                &statement,
                bundle::SIGN_PREDICATE,
                Timestamp::UNIX_EPOCH,
            )
            .unwrap();
        let mut memory = Memory::with_api();
        memory.refer_artifact(&artifact);
        assert_eq!(verdict(&memory, &policy).await.exit(), exit, "{statement}");
    }
}

#[test]
fn what_a_signature_says_cannot_paint_the_terminal() {
    assert_eq!(judge::quoted("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
    assert_eq!(judge::quoted(&"x".repeat(300)).chars().count(), 201);
}

#[test]
fn blobs_are_described_by_what_they_are() {
    let blob = Blob::new("text/plain", "{}".into());
    assert_eq!(blob.descriptor().size, 2);
    assert_eq!(blob.descriptor().digest, Digest::of(b"{}"));
}

mod properties {
    use proptest::prelude::*;

    proptest! {
        /// The length prefixes make the encoding injective: no two pairs share one.
        #[test]
        fn the_encoding_that_is_signed_is_injective(
            a in ("\\PC{0,12}", proptest::collection::vec(any::<u8>(), 0..12)),
            b in ("\\PC{0,12}", proptest::collection::vec(any::<u8>(), 0..12)),
        ) {
            let encoded = |(kind, body): &(String, Vec<u8>)| sigstore_types::dsse::pae(kind, body);
            let expected = [
                format!("DSSEv1 {} {} {} ", a.0.len(), a.0, a.1.len()).as_bytes(),
                a.1.as_slice(),
            ]
            .concat();
            prop_assert_eq!(encoded(&a), expected);
            prop_assert_eq!(encoded(&a) == encoded(&b), a == b);
        }
    }
}
