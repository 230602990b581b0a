//! Signatures of an instance in memory: each good form, and everything that an attacker could change of it.

mod instance;

use serde_json::{Value, json};

use self::instance::{
    Asked, ISSUER, Instance, Log, SIGNED, SUBJECT, Signer as Made, base64, checkpoint, email,
    sha256, uri, user_name,
};
use super::*;
use crate::outcome::ExitCode;
use crate::trust::tests::{Memory, image, refer_bundle, verdict};
use crate::trust::{Policy, PublicKey, Requirement, Rule, Signer, Verdict};

fn identity(issuer: &str, subject: &str) -> Identity {
    Identity {
        issuer: issuer.into(),
        subjects: vec![subject.parse().unwrap()],
        claims: vec![],
    }
}

fn signer_of(identity: Identity) -> Signer {
    Signer::Identity {
        identity,
        log: LogRequirement::Required,
    }
}

fn ci() -> Signer {
    signer_of(identity(
        ISSUER,
        "https://github.com/acme/*/.github/workflows/release.yml@refs/tags/**",
    ))
}

fn root_of(json: &Value) -> TrustRoot {
    TrustRoot::from_json("test", json.to_string().as_bytes()).unwrap()
}

fn policy_with(root: &Value, signers: Vec<(&str, Signer)>, requirement: Requirement) -> Policy {
    let signers = signers
        .into_iter()
        .map(|(name, signer)| (name.to_owned(), signer));
    let rule = Rule {
        pattern: "r.example/acme/*".parse().unwrap(),
        requirement,
    };
    Policy::new(signers.collect(), vec![rule])
        .unwrap()
        .with_roots(vec![root_of(root)])
}

/// A policy with one signer, `ci`.
fn policy_of(root: &Value, signer: Signer) -> Policy {
    policy_with(
        root,
        vec![("ci", signer)],
        Requirement::any(["ci"]).unwrap(),
    )
}

async fn judge_bundle(bundle: &Value, policy: &Policy) -> Verdict {
    let mut memory = Memory::with_api();
    refer_bundle(&mut memory, bundle.to_string().as_bytes());
    verdict(&memory, policy).await
}

fn payload() -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": "r.example/acme/web"},
            "image": {"docker-manifest-digest": image()},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

async fn judge_annotations(
    annotations: &std::collections::BTreeMap<String, String>,
    policy: &Policy,
) -> Verdict {
    let payload = payload();
    let manifest = json!({
        "schemaVersion": 2,
        "layers": [{
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "size": payload.len(),
            "digest": Digest::of(payload.as_bytes()),
            "annotations": annotations,
        }],
    });
    let mut memory = Memory::default();
    memory.tag_signature(manifest.to_string().as_bytes(), payload.as_bytes());
    verdict(&memory, policy).await
}

fn told(verdict: &Verdict) -> String {
    let candidates: Vec<String> = verdict
        .candidates
        .iter()
        .map(|candidate| candidate.check.to_string())
        .collect();
    candidates.join(" | ")
}

#[tokio::test]
async fn a_bundle_of_the_older_log() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let verdict = judge_bundle(&instance.bundle(&Asked::default(), image()), &policy).await;
    assert_eq!(verdict.exit(), ExitCode::Done, "{}", told(&verdict));
    let mut shown = serde_json::to_value(&verdict).unwrap();
    shown["candidates"][0]["manifest"] = json!("…");
    insta::assert_json_snapshot!(shown);
    insta::assert_snapshot!(told(&verdict));
}

#[tokio::test]
async fn every_form_of_a_good_signature() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    let policy = policy_of(&root, ci());
    let stamp = Some(SIGNED);
    for (log, stamp) in [
        (Log::Dsse, None),
        (Log::Dsse, stamp),
        (Log::Intoto, None),
        (Log::Tiles, stamp),
    ] {
        let asked = Asked {
            log,
            stamp,
            ..Asked::default()
        };
        let bundle = instance.bundle(&asked, image());
        let verdict = judge_bundle(&bundle, &policy).await;
        assert_eq!(
            verdict.exit(),
            ExitCode::Done,
            "{log:?}: {}",
            told(&verdict)
        );
        assert_eq!(verdict.transparency_log.to_string(), "checked");
        // The two older versions of bundles, which hold a chain.
        for version in ["0.1", "0.2"] {
            if version == "0.1" && log == Log::Tiles {
                continue;
            }
            let mut older = bundle.clone();
            older["mediaType"] = json!(format!(
                "application/vnd.dev.sigstore.bundle+json;version={version}"
            ));
            let material = older["verificationMaterial"].as_object_mut().unwrap();
            let leaf = material.remove("certificate").unwrap();
            material.insert(
                "x509CertificateChain".into(),
                json!({"certificates": [leaf]}),
            );
            let verdict = judge_bundle(&older, &policy).await;
            assert_eq!(
                verdict.exit(),
                ExitCode::Done,
                "{version} {log:?}: {}",
                told(&verdict)
            );
        }
    }
    let payload = payload();
    for stamp in [None, stamp] {
        let asked = Asked {
            stamp,
            ..Asked::default()
        };
        let made = instance.certificate(&asked);
        let annotations = instance.annotations(&made, &asked, payload.as_bytes());
        let verdict = judge_annotations(&annotations, &policy).await;
        assert_eq!(verdict.exit(), ExitCode::Done, "{}", told(&verdict));
    }
}

#[tokio::test]
async fn a_chain_up_to_the_root_comes_with_the_bundle() {
    let instance = Instance::new();
    let mut root = instance.trusted_root();
    let chain = root["certificateAuthorities"][0]["certChain"]["certificates"]
        .as_array_mut()
        .unwrap();
    let intermediate = chain.remove(0);
    let mut bundle = instance.bundle(&Asked::default(), image());
    bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    let leaf = material.remove("certificate").unwrap();
    material.insert(
        "x509CertificateChain".into(),
        json!({"certificates": [leaf, intermediate]}),
    );
    let verdict = judge_bundle(&bundle, &policy_of(&root, ci())).await;
    assert_eq!(verdict.exit(), ExitCode::Done, "{}", told(&verdict));
}

#[tokio::test]
async fn identities_of_every_kind() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    for (name, subject) in [
        (email("ops@acme.example"), "*@acme.example"),
        (uri(SUBJECT), SUBJECT),
        (user_name("ops!acme.example"), "ops!acme.example"),
    ] {
        let asked = Asked {
            names: Some(vec![name]),
            ..Asked::default()
        };
        let policy = policy_of(&root, signer_of(identity(ISSUER, subject)));
        let verdict = judge_bundle(&instance.bundle(&asked, image()), &policy).await;
        assert_eq!(
            verdict.exit(),
            ExitCode::Done,
            "{subject}: {}",
            told(&verdict)
        );
    }
}

#[tokio::test]
async fn somebody_else_signed() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    let bundle = instance.bundle(&Asked::default(), image());
    let mut claims = identity(ISSUER, SUBJECT);
    claims.claims = vec![(Claim::Repository, "acme/api".into())];
    let mut shown = Vec::new();
    for (name, signer) in [
        (
            "issuer",
            signer_of(identity("https://accounts.example", SUBJECT)),
        ),
        (
            "subject",
            signer_of(identity(ISSUER, "https://github.com/acme/api/**")),
        ),
        ("claim", signer_of(claims)),
    ] {
        let verdict = judge_bundle(&bundle, &policy_of(&root, signer)).await;
        assert_eq!(
            verdict.exit(),
            ExitCode::WrongSigner,
            "{name}: {}",
            told(&verdict)
        );
        let failure = verdict.failure().unwrap();
        shown.push(format!(
            "{name}: {}\n  {}\n  hint: {}",
            failure.causes[0],
            told(&verdict),
            failure.hint.unwrap()
        ));
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn a_signer_that_the_rule_does_not_name_and_one_that_it_does() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    let other = || signer_of(identity(ISSUER, "https://github.com/other/**"));
    let signers = || vec![("ci", ci()), ("other", other())];
    let policy = policy_with(&root, signers(), Requirement::any(["other"]).unwrap());
    let bundle = instance.bundle(&Asked::default(), image());
    let verdict = judge_bundle(&bundle, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::WrongSigner);
    assert_eq!(
        told(&verdict),
        "signer not in the rule; expected other, found ci"
    );
    let policy = policy_with(&root, signers(), Requirement::any(["ci", "other"]).unwrap());
    assert!(judge_bundle(&bundle, &policy).await.is_verified());
}

/// CVE-2026-49834: signatures were counted, not signers.
#[tokio::test]
async fn cve_2026_49834_one_identity_twice_is_one_signer() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    let key = Made::key();
    let ops = Signer::Key {
        keys: vec![PublicKey::from_der(&key.der).unwrap()],
        log: LogRequirement::Required,
    };
    let policy = policy_with(
        &root,
        vec![("ci", ci()), ("ops", ops)],
        Requirement::all(["ci", "ops"]).unwrap(),
    );
    let asked = Asked::default();
    let mut memory = Memory::with_api();
    for _ in 0..2 {
        let bundle = instance.bundle(&asked, image());
        refer_bundle(&mut memory, bundle.to_string().as_bytes());
    }
    let twice = verdict(&memory, &policy).await;
    assert_eq!(twice.exit(), ExitCode::WrongSigner, "{}", told(&twice));
    let bundle = instance.bundle_by(&key, &asked, image());
    refer_bundle(&mut memory, bundle.to_string().as_bytes());
    let both = verdict(&memory, &policy).await;
    assert!(both.is_verified(), "{}", told(&both));
    assert_eq!(both.transparency_log.to_string(), "checked");

    let any = || signer_of(identity(ISSUER, "https://github.com/acme/**"));
    let rule = Rule {
        pattern: "**".parse().unwrap(),
        requirement: Requirement::all(["ci", "any"]).unwrap(),
    };
    let error = Policy::new(
        [("ci".into(), ci()), ("any".into(), any())].into(),
        vec![rule],
    );
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("could be both `any` and `ci`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_key_with_and_without_a_log() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    let key = Made::key();
    let ops = |log| {
        let keys = vec![PublicKey::from_der(&key.der).unwrap()];
        policy_of(&root, Signer::Key { keys, log })
    };
    let payload = payload();
    for log in [Log::None, Log::Dsse, Log::Tiles] {
        let asked = Asked {
            log,
            ..Asked::default()
        };
        let bundle = instance.bundle_by(&key, &asked, image());
        let annotations = instance.annotations(&key, &asked, payload.as_bytes());
        let expected = if log == Log::None {
            ExitCode::NotLogged
        } else {
            ExitCode::Done
        };
        let verdict = judge_bundle(&bundle, &ops(LogRequirement::Required)).await;
        assert_eq!(verdict.exit(), expected, "{log:?}: {}", told(&verdict));
        let verdict = judge_annotations(&annotations, &ops(LogRequirement::Required)).await;
        assert_eq!(verdict.exit(), expected, "{log:?}: {}", told(&verdict));
        for verdict in [
            judge_bundle(&bundle, &ops(LogRequirement::Ignored)).await,
            judge_annotations(&annotations, &ops(LogRequirement::Ignored)).await,
        ] {
            assert_eq!(
                verdict.exit(),
                ExitCode::Done,
                "{log:?}: {}",
                told(&verdict)
            );
            assert_eq!(verdict.transparency_log.to_string(), "not checked");
        }
    }
    let asked = Asked {
        log: Log::None,
        ..Asked::default()
    };
    let bundle = instance.bundle_by(&key, &asked, image());
    let failure = judge_bundle(&bundle, &ops(LogRequirement::Required))
        .await
        .failure()
        .unwrap();
    insta::assert_snapshot!(format!("{}\n{}", failure.causes[0], failure.hint.unwrap()));
}

#[tokio::test]
async fn without_a_log_a_time_stamp_says_when() {
    let instance = Instance::new();
    let root = instance.trusted_root();
    let policy = policy_of(
        &root,
        Signer::Identity {
            identity: identity(ISSUER, SUBJECT),
            log: LogRequirement::Ignored,
        },
    );
    let payload = payload();
    for (stamp, expected) in [
        (Some(SIGNED), ExitCode::Done),
        (Some("2025-06-15T13:00:00Z"), ExitCode::SignatureExpired),
        (None, ExitCode::BadSignature),
    ] {
        let asked = Asked {
            log: Log::None,
            stamp,
            ..Asked::default()
        };
        let verdict = judge_bundle(&instance.bundle(&asked, image()), &policy).await;
        assert_eq!(verdict.exit(), expected, "{stamp:?}: {}", told(&verdict));
        let made = instance.certificate(&asked);
        let annotations = instance.annotations(&made, &asked, payload.as_bytes());
        let verdict = judge_annotations(&annotations, &policy).await;
        assert_eq!(verdict.exit(), expected, "{stamp:?}: {}", told(&verdict));
    }
}

#[tokio::test]
async fn a_root_without_logs_asks_for_none_of_certificates_and_says_so_of_signatures() {
    let instance = Instance::new();
    let mut root = instance.trusted_root();
    root["ctlogs"] = json!([]);
    let asked = Asked {
        stamps: 0,
        ..Asked::default()
    };
    let bundle = instance.bundle(&asked, image());
    assert!(
        judge_bundle(&bundle, &policy_of(&root, ci()))
            .await
            .is_verified()
    );
    root["tlogs"] = json!([]);
    let verdict = judge_bundle(&bundle, &policy_of(&root, ci())).await;
    assert_eq!(verdict.exit(), ExitCode::NotLogged, "{}", told(&verdict));
}

/// A root of before the log, the authority or the certificate log that a signature rests on.
#[tokio::test]
async fn a_root_that_is_older_than_the_signature() {
    let instance = Instance::new();
    let newer = Instance::new();
    let elsewhere = Instance::of("elsewhere.example");
    let mut shown = Vec::new();
    for part in ["tlogs", "ctlogs", "certificateAuthorities"] {
        for (made, by, expected) in [
            ("later", &newer, ExitCode::TrustRootTooOld),
            ("by somebody else", &elsewhere, ExitCode::TrustRootTooOld),
            ("earlier", &newer, ExitCode::BadSignature),
        ] {
            let mut root = by.trusted_root();
            root[part] = instance.trusted_root()[part].clone();
            if made == "earlier" {
                root["timestampAuthorities"][0]["validFor"]["start"] =
                    json!("2026-01-01T00:00:00Z");
            }
            let expected = match (part, made) {
                ("certificateAuthorities", "earlier" | "by somebody else") => ExitCode::WrongSigner,
                _ => expected,
            };
            let bundle = by.bundle(&Asked::default(), image());
            let verdict = judge_bundle(&bundle, &policy_of(&root, ci())).await;
            let told = told(&verdict);
            if part == "certificateAuthorities" && made != "by somebody else" {
                // The names are the same, so that the chain itself has to tell the two apart.
                assert_eq!(
                    verdict.exit(),
                    ExitCode::BadSignature,
                    "{part} {made}: {told}"
                );
                continue;
            }
            assert_eq!(verdict.exit(), expected, "{part} {made}: {told}");
            if made == "later" {
                let failure = verdict.failure().unwrap();
                let of = failure
                    .facts
                    .iter()
                    .find(|fact| fact.name == "trust root of")
                    .unwrap();
                assert_eq!(of.value, "2024-01-01T00:00:00Z");
                shown.push(format!("{}; {}", failure.causes[0], failure.hint.unwrap()));
            }
        }
    }
    insta::assert_snapshot!(shown.join("\n"));
}

#[tokio::test]
async fn several_roots_are_never_mixed() {
    let instance = Instance::new();
    let other = Instance::of("other.example");
    let mut mixed = instance.trusted_root();
    mixed["tlogs"] = other.trusted_root()["tlogs"].clone();
    let rule = || Rule {
        pattern: "**".parse().unwrap(),
        requirement: Requirement::any(["ci"]).unwrap(),
    };
    let policy = |roots: &[&Value]| {
        Policy::new([("ci".into(), ci())].into(), vec![rule()])
            .unwrap()
            .with_roots(roots.iter().map(|root| root_of(root)).collect())
    };
    let bundle = instance.bundle(&Asked::default(), image());
    let good = policy(&[&other.trusted_root(), &instance.trusted_root()]);
    assert!(judge_bundle(&bundle, &good).await.is_verified());
    let mixed = policy(&[&other.trusted_root(), &mixed]);
    assert!(!judge_bundle(&bundle, &mixed).await.is_verified());
}

type Mutation = fn(&mut Value, &Instance);

/// What an attacker, a broken client or a broken registry could make of a good bundle.
const MUTATIONS: &[(&str, ExitCode, Mutation)] = &[
    ("another signature", ExitCode::BadSignature, |bundle, _| {
        bundle["dsseEnvelope"]["signatures"][0]["sig"] = json!(base64(b"0"));
    }),
    ("a second signature", ExitCode::BadSignature, |bundle, _| {
        let one = bundle["dsseEnvelope"]["signatures"][0].clone();
        bundle["dsseEnvelope"]["signatures"]
            .as_array_mut()
            .unwrap()
            .push(one);
    }),
    (
        "another statement about this image",
        ExitCode::BadSignature,
        |bundle, _| {
            let payload = json!({
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {"sha256": image().hex()}}],
                "predicateType": "https://sigstore.dev/cosign/sign/v1",
                "predicate": {"x": 1},
            });
            bundle["dsseEnvelope"]["payload"] = json!(base64(payload.to_string().as_bytes()));
        },
    ),
    (
        "another payload type (CVE-2026-48758)",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["dsseEnvelope"]["payloadType"] = json!("application/vnd.in-toto+jsön");
        },
    ),
    (
        "another certificate",
        ExitCode::BadSignature,
        |bundle, instance| {
            let made = instance.certificate(&Asked::default());
            bundle["verificationMaterial"]["certificate"]["rawBytes"] = json!(base64(&made.der));
        },
    ),
    (
        "a flipped bit in the certificate",
        ExitCode::BadSignature,
        |bundle, _| {
            flip(
                &mut bundle["verificationMaterial"]["certificate"]["rawBytes"],
                120,
            );
        },
    ),
    (
        "a certificate cut short",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["certificate"]["rawBytes"] =
                json!(base64(&[0x30, 0x82]));
        },
    ),
    ("no certificate", ExitCode::BadSignature, |bundle, _| {
        bundle["verificationMaterial"]
            .as_object_mut()
            .unwrap()
            .remove("certificate");
    }),
    (
        "a key beside the certificate",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["publicKey"] = json!({"hint": "x"});
        },
    ),
    ("no entry", ExitCode::NotLogged, |bundle, _| {
        bundle["verificationMaterial"]["tlogEntries"] = json!([]);
    }),
    (
        "neither proof nor promise",
        ExitCode::NotLogged,
        |bundle, _| {
            let entry = entry(bundle);
            entry.remove("inclusionProof");
            entry.remove("inclusionPromise");
        },
    ),
    (
        "no proof in a bundle that needs one",
        ExitCode::BadSignature,
        |bundle, _| {
            entry(bundle).remove("inclusionProof");
        },
    ),
    ("no checkpoint", ExitCode::BadSignature, |bundle, _| {
        bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"] =
            json!(null);
    }),
    ("another promise", ExitCode::BadSignature, |bundle, _| {
        flip(
            &mut bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]["signedEntryTimestamp"],
            20,
        );
    }),
    ("another leaf", ExitCode::BadSignature, |bundle, _| {
        flip(
            &mut bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"][0],
            3,
        );
    }),
    ("another index", ExitCode::BadSignature, |bundle, _| {
        bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["logIndex"] = json!("0");
    }),
    (
        "a tree that ends before the entry",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["treeSize"] =
                json!("1");
        },
    ),
    (
        "another place in the log",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"] = json!("8");
        },
    ),
    (
        "an entry of a log that nobody knows",
        ExitCode::TrustRootTooOld,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"] =
                json!(base64(&[7; 32]));
        },
    ),
    (
        "the entry of the other log",
        ExitCode::BadSignature,
        |bundle, instance| {
            let id = instance::log_id(&instance.tiles);
            bundle["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"] = json!(base64(&id));
        },
    ),
    (
        "an entry of a kind that is not supported",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["version"] =
                json!("0.0.9");
        },
    ),
    (
        "an entry of another kind than its body",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"] =
                json!({"kind": "hashedrekord", "version": "0.0.1"});
        },
    ),
    (
        "an entry that claims to be of the newer log",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"] =
                json!({"kind": "hashedrekord", "version": "0.0.2"});
        },
    ),
    ("garbage for a body", ExitCode::BadSignature, |bundle, _| {
        bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] =
            json!(base64(b"{}"));
    }),
    (
        "a time before the certificate (CVE-2024-55655)",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] =
                json!("1500000000");
        },
    ),
    (
        "a time stamp of something else",
        ExitCode::BadSignature,
        |bundle, instance| {
            let stamp = instance.stamp(b"another signature", SIGNED);
            bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] =
                json!([{"signedTimestamp": base64(&stamp)}]);
        },
    ),
    (
        "garbage for a time stamp",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] =
                json!([{"signedTimestamp": base64(b"0")}]);
        },
    ),
    (
        "a version that nobody knows",
        ExitCode::BadSignature,
        |bundle, _| {
            bundle["mediaType"] = json!("application/vnd.dev.sigstore.bundle.v0.4+json");
        },
    ),
    (
        "a chain in a bundle that has none",
        ExitCode::BadSignature,
        |bundle, _| {
            let material = bundle["verificationMaterial"].as_object_mut().unwrap();
            let leaf = material.remove("certificate").unwrap();
            material.insert(
                "x509CertificateChain".into(),
                json!({"certificates": [leaf]}),
            );
        },
    ),
    ("an empty chain", ExitCode::BadSignature, |bundle, _| {
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        material.remove("certificate");
        material.insert("x509CertificateChain".into(), json!({"certificates": []}));
    }),
    (
        "a subject of another image as well as none of ours (CVE-2026-31830)",
        ExitCode::BadSignature,
        |bundle, instance| {
            *bundle = instance.bundle(&Asked::default(), Digest::of(b"another image"));
        },
    ),
    (
        "an attestation (CVE-2022-35929)",
        ExitCode::Unsigned,
        |bundle, instance| {
            let predicate = "https://slsa.dev/provenance/v1";
            *bundle = instance.bundle(
                &Asked {
                    predicate,
                    ..Asked::default()
                },
                image(),
            );
        },
    ),
];

fn entry(bundle: &mut Value) -> &mut serde_json::Map<String, Value> {
    bundle["verificationMaterial"]["tlogEntries"][0]
        .as_object_mut()
        .unwrap()
}

fn flip(encoded: &mut Value, at: usize) {
    use base64::Engine as _;
    let text = encoded.as_str().unwrap();
    let mut bytes = base64::prelude::BASE64_STANDARD.decode(text).unwrap();
    bytes[at] ^= 1;
    *encoded = json!(base64(&bytes));
}

#[tokio::test]
async fn whatever_is_changed_of_a_bundle_is_refused() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let good = instance.bundle(&Asked::default(), image());
    let mut shown = Vec::new();
    for (name, exit, mutate) in MUTATIONS {
        let mut bundle = good.clone();
        mutate(&mut bundle, &instance);
        let verdict = judge_bundle(&bundle, &policy).await;
        assert_eq!(verdict.exit(), *exit, "{name}: {}", told(&verdict));
        let check = &verdict.candidates[0].check;
        shown.push(format!(
            "{name}: {}",
            check.found().split(": expected").next().unwrap_or_default()
        ));
    }
    shown.retain(|line| !line.contains("sha256:"));
    insta::assert_snapshot!(shown.join("\n"));
}

/// What a certificate must not be, though the authority signed it.
#[tokio::test]
async fn a_certificate_that_is_not_one_for_signing() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let plain = Asked::default;
    let extensions = |alter: fn(&mut Vec<(u64, &'static str)>)| {
        let mut asked = Asked::default();
        alter(&mut asked.extensions);
        asked
    };
    let cases: Vec<(&str, ExitCode, Asked)> = vec![
        (
            "for servers",
            ExitCode::BadSignature,
            Asked {
                params: |params| {
                    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
                },
                ..plain()
            },
        ),
        (
            "for nothing in particular",
            ExitCode::BadSignature,
            Asked {
                params: |params| params.extended_key_usages = vec![],
                ..plain()
            },
        ),
        (
            "of an authority",
            ExitCode::BadSignature,
            Asked {
                params: |params| {
                    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
                },
                ..plain()
            },
        ),
        (
            "for agreement of keys",
            ExitCode::BadSignature,
            Asked {
                params: |params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyAgreement],
                ..plain()
            },
        ),
        (
            "with an unknown critical extension",
            ExitCode::BadSignature,
            Asked {
                params: |params| {
                    let mut unknown =
                        rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                    unknown.set_criticality(true);
                    params.custom_extensions.push(unknown);
                },
                ..plain()
            },
        ),
        (
            "without a name",
            ExitCode::BadSignature,
            Asked {
                names: None,
                ..plain()
            },
        ),
        (
            "with two names",
            ExitCode::BadSignature,
            Asked {
                names: Some(vec![uri("https://github.com/evil"), uri(SUBJECT)]),
                ..plain()
            },
        ),
        (
            "with a host for a name",
            ExitCode::BadSignature,
            Asked {
                names: Some(vec![(0x82, b"github.com".to_vec())]),
                ..plain()
            },
        ),
        (
            "with a name that is not critical",
            ExitCode::BadSignature,
            Asked {
                critical: false,
                ..plain()
            },
        ),
        (
            "without an issuer",
            ExitCode::BadSignature,
            extensions(|list| {
                list.retain(|(number, _)| !matches!(number, 1 | 8));
            }),
        ),
        (
            "with two issuers",
            ExitCode::BadSignature,
            extensions(|list| {
                list[0] = (1, "https://accounts.example");
            }),
        ),
        (
            "with an issuer twice",
            ExitCode::BadSignature,
            extensions(|list| {
                list.push((8, "https://accounts.example"));
            }),
        ),
        (
            "with the older issuer alone",
            ExitCode::Done,
            extensions(|list| {
                list.retain(|(number, _)| *number != 8);
            }),
        ),
        (
            "by the root itself",
            ExitCode::Done,
            Asked {
                by_root: true,
                ..plain()
            },
        ),
        (
            "without a certificate timestamp",
            ExitCode::BadSignature,
            Asked {
                stamps: 0,
                ..plain()
            },
        ),
    ];
    for (name, exit, asked) in cases {
        let verdict = judge_bundle(&instance.bundle(&asked, image()), &policy).await;
        assert_eq!(verdict.exit(), exit, "{name}: {}", told(&verdict));
    }
}

/// CVE-2022-23649, CVE-2022-36056, CVE-2026-22703: a log entry that is true, of another signature.
#[tokio::test]
async fn cve_2022_36056_an_entry_of_another_signature_in_every_form() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    for (log, stamp) in [
        (Log::Dsse, None),
        (Log::Intoto, None),
        (Log::Tiles, Some(SIGNED)),
    ] {
        let asked = Asked {
            log,
            stamp,
            ..Asked::default()
        };
        let donor = instance.bundle(&asked, Digest::of(b"another image"));
        // The same certificate signs both, so that only what is signed differs.
        let made = instance.certificate(&asked);
        let sibling = instance.bundle_by(&made, &asked, Digest::of(b"another image"));
        for other in [donor, sibling] {
            let mut bundle = instance.bundle_by(&made, &asked, image());
            assert!(judge_bundle(&bundle, &policy).await.is_verified());
            bundle["verificationMaterial"]["tlogEntries"] =
                other["verificationMaterial"]["tlogEntries"].clone();
            let verdict = judge_bundle(&bundle, &policy).await;
            assert_eq!(
                verdict.exit(),
                ExitCode::BadSignature,
                "{log:?}: {}",
                told(&verdict)
            );
        }
    }
    let payload = payload();
    let asked = Asked::default();
    let made = instance.certificate(&asked);
    let mut annotations = instance.annotations(&made, &asked, payload.as_bytes());
    let other = instance.annotations(&made, &asked, b"another payload");
    annotations.insert(
        "dev.sigstore.cosign/bundle".into(),
        other["dev.sigstore.cosign/bundle"].clone(),
    );
    let verdict = judge_annotations(&annotations, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::BadSignature, "{}", told(&verdict));
}

/// CVE-2024-53267: each part of an entry binds it to its signature. The log has really signed these.
#[tokio::test]
async fn cve_2024_53267_every_part_of_an_entry_is_compared() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let paths: &[(Log, &[&str])] = &[
        (
            Log::Dsse,
            &[
                "/spec/payloadHash/value",
                "/spec/signatures/0/signature",
                "/spec/signatures/0/verifier",
            ],
        ),
        (
            Log::Intoto,
            &[
                "/spec/content/payloadHash/value",
                "/spec/content/envelope/payloadType",
                "/spec/content/envelope/signatures/0/sig",
                "/spec/content/envelope/signatures/0/publicKey",
            ],
        ),
        (
            Log::Tiles,
            &[
                "/spec/hashedRekordV002/data/digest",
                "/spec/hashedRekordV002/signature/content",
                "/spec/hashedRekordV002/signature/verifier/x509Certificate/rawBytes",
            ],
        ),
    ];
    let other = instance.certificate(&Asked::default());
    for (log, paths) in paths {
        let asked = Asked {
            log: *log,
            stamp: Some(SIGNED),
            ..Asked::default()
        };
        for path in *paths {
            let mut bundle = instance.bundle(&asked, image());
            let kind = bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"].clone();
            let mut body = body_of(&bundle);
            let part = body.pointer_mut(path).unwrap();
            *part = json!(match *path {
                path if path.ends_with("value") => "11".repeat(32),
                path if path.ends_with("payloadType") => "application/json".into(),
                path if path.ends_with("rawBytes") => base64(&other.der),
                path if path.ends_with("verifier") || path.ends_with("publicKey") =>
                    base64(other.pem.as_bytes()),
                path if path.ends_with("/sig") => base64(base64(b"other").as_bytes()),
                path if path.ends_with("digest") => base64(&sha256(b"other")),
                _ => base64(b"other"),
            });
            let entry = match log {
                Log::Tiles => instance.tile_entry(&body),
                _ => {
                    let kind = (
                        kind["kind"].as_str().unwrap(),
                        kind["version"].as_str().unwrap(),
                    );
                    instance.entry(kind, &body, SIGNED)
                }
            };
            bundle["verificationMaterial"]["tlogEntries"] = json!([entry]);
            let verdict = judge_bundle(&bundle, &policy).await;
            assert_eq!(
                verdict.exit(),
                ExitCode::BadSignature,
                "{path}: {}",
                told(&verdict)
            );
        }
    }
}

fn body_of(bundle: &Value) -> Value {
    use base64::Engine as _;
    let body = bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"].as_str();
    let body = base64::prelude::BASE64_STANDARD
        .decode(body.unwrap())
        .unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// CVE-2024-54140: a proof that is right in itself, under a root that no log has signed.
#[tokio::test]
async fn cve_2024_54140_a_checkpoint_that_no_log_signed() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let attacker = Instance::new();
    for (log, key, origin) in [
        (Log::Dsse, &attacker.log, "rekor.example"),
        (Log::Tiles, &attacker.tiles, "tiles.example"),
    ] {
        let asked = Asked {
            log,
            stamp: Some(SIGNED),
            ..Asked::default()
        };
        let mut bundle = instance.bundle(&asked, image());
        let entry = &mut bundle["verificationMaterial"]["tlogEntries"][0];
        let root = entry["inclusionProof"]["rootHash"]
            .as_str()
            .unwrap()
            .to_owned();
        let root = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, root).unwrap();
        let forged = checkpoint(key, origin, &root);
        entry["inclusionProof"]["checkpoint"]["envelope"] = json!(forged);
        let verdict = judge_bundle(&bundle, &policy).await;
        assert_eq!(
            verdict.exit(),
            ExitCode::BadSignature,
            "{log:?}: {}",
            told(&verdict)
        );
    }
}

/// CVE-2024-55655: the log's time has to be one in which the certificate was valid, and not the future.
#[tokio::test]
async fn cve_2024_55655_a_time_outside_the_certificate() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let payload = payload();
    for (at, exit) in [
        ("2025-06-15T11:57:59Z", ExitCode::SignatureExpired),
        ("2025-06-15T11:58:00Z", ExitCode::Done),
        ("2025-06-15T12:08:00Z", ExitCode::Done),
        ("2025-06-15T12:08:01Z", ExitCode::SignatureExpired),
        ("2199-01-01T00:00:00Z", ExitCode::BadSignature),
    ] {
        for log in [Log::Dsse, Log::Intoto] {
            let asked = Asked {
                at,
                log,
                ..Asked::default()
            };
            let verdict = judge_bundle(&instance.bundle(&asked, image()), &policy).await;
            assert_eq!(verdict.exit(), exit, "{at}: {}", told(&verdict));
        }
        let asked = Asked {
            at,
            ..Asked::default()
        };
        let made = instance.certificate(&asked);
        let annotations = instance.annotations(&made, &asked, payload.as_bytes());
        let verdict = judge_annotations(&annotations, &policy).await;
        assert_eq!(verdict.exit(), exit, "{at}: {}", told(&verdict));
        let asked = Asked {
            log: Log::Tiles,
            stamp: Some(at),
            ..Asked::default()
        };
        let verdict = judge_bundle(&instance.bundle(&asked, image()), &policy).await;
        let exit = if exit == ExitCode::BadSignature {
            ExitCode::SignatureExpired
        } else {
            exit
        };
        assert_eq!(verdict.exit(), exit, "stamp {at}: {}", told(&verdict));
    }
    let asked = Asked {
        at: "2025-06-15T12:09:00Z",
        ..Asked::default()
    };
    let verdict = judge_bundle(&instance.bundle(&asked, image()), &policy).await;
    let failure = verdict.failure().unwrap();
    insta::assert_snapshot!(format!("{}\n{}", failure.causes[0], failure.hint.unwrap()));
}

/// CVE-2026-48816: an integrated time that only a proof of inclusion stands beside is anybody's claim.
#[tokio::test]
async fn cve_2026_48816_a_time_without_a_promise_is_none() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let mut bundle = instance.bundle(&Asked::default(), image());
    entry(&mut bundle).remove("inclusionPromise");
    let verdict = judge_bundle(&bundle, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::BadSignature, "{}", told(&verdict));
    assert!(
        told(&verdict).contains("nothing proves when"),
        "{}",
        told(&verdict)
    );
    let mut bundle = instance.bundle(
        &Asked {
            log: Log::Tiles,
            ..Asked::default()
        },
        image(),
    );
    entry(&mut bundle).insert("integratedTime".into(), json!("1749988800"));
    let verdict = judge_bundle(&bundle, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::BadSignature, "{}", told(&verdict));
}

/// CVE-2026-24122: the authority's certificate had ended when it signed.
#[tokio::test]
async fn cve_2026_24122_an_authority_that_had_expired() {
    for (until, exit) in [
        ("2025-06-15T11:59:59Z", ExitCode::SignatureExpired),
        ("2025-06-15T12:00:01Z", ExitCode::Done),
    ] {
        let instance = Instance::new().with_authority_until(until);
        let policy = policy_of(&instance.trusted_root(), ci());
        let verdict = judge_bundle(&instance.bundle(&Asked::default(), image()), &policy).await;
        assert_eq!(verdict.exit(), exit, "{until}: {}", told(&verdict));
    }
}

/// CVE-2026-39984: a time stamp is by the authority that the root names, whatever certificates come in it.
#[tokio::test]
async fn cve_2026_39984_a_stamp_of_another_authority() {
    let instance = Instance::new();
    let attacker = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let asked = Asked {
        log: Log::Tiles,
        stamp: Some(SIGNED),
        ..Asked::default()
    };
    let mut bundle = instance.bundle(&asked, image());
    let signature = bundle["dsseEnvelope"]["signatures"][0]["sig"]
        .as_str()
        .unwrap();
    let signature = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, signature).unwrap();
    let forged = attacker.stamp(&signature, SIGNED);
    bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] =
        json!(base64(&forged));
    let verdict = judge_bundle(&bundle, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::BadSignature, "{}", told(&verdict));
}

/// CVE-2026-54787: an authority, a log or a time-stamp authority counts within its window only.
#[tokio::test]
async fn cve_2026_54787_windows_of_validity() {
    let instance = Instance::new();
    let windows = [
        ("/tlogs/0/publicKey/validFor", Log::Dsse),
        ("/tlogs/1/publicKey/validFor", Log::Tiles),
        ("/ctlogs/0/publicKey/validFor", Log::Dsse),
        ("/certificateAuthorities/0/validFor", Log::Dsse),
        ("/timestampAuthorities/0/validFor", Log::Tiles),
    ];
    for (window, log) in windows {
        let asked = Asked {
            log,
            stamp: (log == Log::Tiles).then_some(SIGNED),
            ..Asked::default()
        };
        let bundle = instance.bundle(&asked, image());
        for (end, good) in [
            ("2025-06-15T11:00:00Z", false),
            ("2025-06-15T13:00:00Z", true),
        ] {
            let mut root = instance.trusted_root();
            root.pointer_mut(window).unwrap()["end"] = json!(end);
            let verdict = judge_bundle(&bundle, &policy_of(&root, ci())).await;
            assert_eq!(
                verdict.is_verified(),
                good,
                "{window} {end}: {}",
                told(&verdict)
            );
        }
    }
}

/// GHSA-fx35-mq7g-6g98: a bare key in the certificate's annotation names nobody.
#[tokio::test]
async fn ghsa_fx35_mq7g_6g98_a_key_in_the_place_of_a_certificate() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let asked = Asked::default();
    let key = Made::key();
    let payload = payload();
    let mut annotations = instance.annotations(&key, &asked, payload.as_bytes());
    annotations.insert("dev.sigstore.cosign/certificate".into(), key.pem.clone());
    let verdict = judge_annotations(&annotations, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::BadSignature, "{}", told(&verdict));
    // Nor does one that stands before a certificate.
    let made = instance.certificate(&asked);
    annotations.insert(
        "dev.sigstore.cosign/certificate".into(),
        format!("{}{}", key.pem, made.pem),
    );
    let verdict = judge_annotations(&annotations, &policy).await;
    assert_eq!(verdict.exit(), ExitCode::BadSignature, "{}", told(&verdict));
}

/// CVE-2024-45395: lists without end in a bundle.
#[tokio::test]
async fn cve_2024_45395_lists_are_bounded() {
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let good = instance.bundle(&Asked::default(), image());
    let paths = [
        "/tlogEntries",
        "/timestampVerificationData/rfc3161Timestamps",
        "/x509CertificateChain/certificates",
        "/tlogEntries/0/inclusionProof/hashes",
    ];
    for path in paths {
        let mut bundle = good.clone();
        let material = &mut bundle["verificationMaterial"];
        if path.starts_with("/x509") {
            material.as_object_mut().unwrap().remove("certificate");
            material["x509CertificateChain"] = good["verificationMaterial"]["certificate"].clone();
            material["x509CertificateChain"] =
                json!({"certificates": [good["verificationMaterial"]["certificate"]]});
        }
        let list = material.pointer_mut(path).unwrap().as_array_mut().unwrap();
        let one = list
            .first()
            .cloned()
            .unwrap_or_else(|| json!({"signedTimestamp": ""}));
        list.resize(1000, one);
        let verdict = judge_bundle(&bundle, &policy).await;
        assert_eq!(
            verdict.exit(),
            ExitCode::BadSignature,
            "{path}: {}",
            told(&verdict)
        );
        assert!(
            told(&verdict).contains("a list of more than"),
            "{path}: {}",
            told(&verdict)
        );
    }
}

/// The older annotations, changed one by one.
#[tokio::test]
async fn whatever_is_changed_of_annotations_is_refused() {
    type Alter = fn(&mut std::collections::BTreeMap<String, String>);
    let instance = Instance::new();
    let policy = policy_of(&instance.trusted_root(), ci());
    let asked = Asked::default();
    let payload = payload();
    let cases: [(&str, ExitCode, Alter); 8] = [
        ("no entry", ExitCode::NotLogged, |map| {
            drop(map.remove("dev.sigstore.cosign/bundle"))
        }),
        ("garbage for an entry", ExitCode::BadSignature, |map| {
            map.insert("dev.sigstore.cosign/bundle".into(), "{}".into());
        }),
        ("another time", ExitCode::BadSignature, |map| {
            let bundle = map.get_mut("dev.sigstore.cosign/bundle").unwrap();
            let mut changed: Value = serde_json::from_str(bundle).unwrap();
            changed["Payload"]["integratedTime"] = json!(1_749_988_801);
            *bundle = changed.to_string();
        }),
        ("an unsupported entry", ExitCode::BadSignature, |map| {
            let bundle = map.get_mut("dev.sigstore.cosign/bundle").unwrap();
            let mut changed: Value = serde_json::from_str(bundle).unwrap();
            changed["Payload"]["body"] =
                json!(base64(br#"{"kind": "rekord", "apiVersion": "0.0.1"}"#));
            *bundle = changed.to_string();
        }),
        ("another signature", ExitCode::BadSignature, |map| {
            map.insert("dev.cosignproject.cosign/signature".into(), base64(b"0"));
        }),
        ("garbage for a certificate", ExitCode::BadSignature, |map| {
            map.insert("dev.sigstore.cosign/certificate".into(), "x".into());
        }),
        ("garbage for a chain", ExitCode::BadSignature, |map| {
            map.insert("dev.sigstore.cosign/chain".into(), "x".into());
        }),
        ("garbage for a time stamp", ExitCode::BadSignature, |map| {
            map.insert("dev.sigstore.cosign/rfc3161timestamp".into(), "x".into());
        }),
    ];
    for (name, exit, alter) in cases {
        let made = instance.certificate(&asked);
        let mut annotations = instance.annotations(&made, &asked, payload.as_bytes());
        alter(&mut annotations);
        let verdict = judge_annotations(&annotations, &policy).await;
        assert_eq!(verdict.exit(), exit, "{name}: {}", told(&verdict));
    }
}
