//! Our verdicts against those of the real notation, on the same signatures, trust policies and trust stores.

use serde_json::{Value, json};

use crate::harness::{
    Extensions, Image, Notary, Registry, Sandbox, digest, fetch, push_blob, put_manifest,
};

const KEYS: [&str; 6] = [
    "RSA:2048", "RSA:3072", "RSA:4096", "P-256", "P-384", "P-521",
];
const FORMS: [&str; 2] = ["jws", "cose"];
const ACME: &[&str] = &["x509.subject: C=US, ST=WA, O=acme"];

fn strict() -> Value {
    json!({"level": "strict"})
}

/// Pushes an image and returns its reference by digest.
fn pushed(registry: &Registry, repository: &str) -> (Image, String) {
    let image = Image::new(repository, &[500]);
    let reference = image.push(registry.address(), repository, "v1");
    (image, reference)
}

/// Verifies with the files that notation uses, as they are.
fn ours(notary: &Notary, reference: &str, hosts: &[&str]) -> (i32, String) {
    let policy = notary.config().join("trustpolicy.json");
    let store = notary.config().join("truststore");
    let mut arguments = vec![
        "verify",
        reference,
        "--trust-policy",
        policy.to_str().unwrap(),
        "--trust-store",
        store.to_str().unwrap(),
    ];
    for host in hosts {
        arguments.extend(["--revocation-host", host]);
    }
    let output = Sandbox::new().run(arguments);
    (
        output.status.code().unwrap(),
        format!("{}{}", output.stdout, output.stderr),
    )
}

/// Asks both, and expects the same of both.
fn agree(notary: &Notary, reference: &str, hosts: &[&str], code: i32, what: &str) -> String {
    let (theirs, said) = notary.accepts(reference);
    let (code_of_ours, said_by_us) = ours(notary, reference, hosts);
    assert_eq!(
        code_of_ours, code,
        "{what}\nours: {said_by_us}\ntheirs: {said}"
    );
    assert_eq!(
        theirs,
        code == 0,
        "{what}\ntheirs: {said}\nours: {said_by_us}"
    );
    said_by_us
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn every_key_in_both_envelopes() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.policy(strict(), &["ca:root"], ACME);
    for (number, kind) in KEYS.into_iter().enumerate() {
        let name = format!("key{number}");
        notary.signer(&name, "root", kind, Extensions::default());
        for form in FORMS {
            let (_, reference) = pushed(&registry, &format!("acme/{form}{number}"));
            agree(&notary, &reference, &[], 30, "unsigned");
            notary.sign(&reference, &name, &["--signature-format", form]);
            agree(&notary, &reference, &[], 0, &format!("{kind} {form}"));
        }
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn somebody_else_another_name_and_both_at_once() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.authority("other", "ca");
    notary.signer("release", "root", "P-256", Extensions::default());
    notary.signer("stranger", "other", "P-256", Extensions::default());
    for form in FORMS {
        let (_, reference) = pushed(&registry, &format!("acme/{form}"));
        notary.policy(strict(), &["ca:root"], ACME);
        notary.sign(&reference, "stranger", &["--signature-format", form]);
        agree(&notary, &reference, &[], 31, "by another authority");
        notary.sign(&reference, "release", &["--signature-format", form]);
        agree(&notary, &reference, &[], 0, "both have signed");
        notary.policy(strict(), &["ca:root", "ca:other"], &["*"]);
        agree(&notary, &reference, &[], 0, "anybody of both");
        notary.policy(
            strict(),
            &["ca:root"],
            &["x509.subject: C=US, ST=WA, O=acme, CN=somebody"],
        );
        agree(&notary, &reference, &[], 31, "by another name");
        notary.policy(
            strict(),
            &["ca:root"],
            &["x509.subject: CN=release, O=acme, S=WA, C=US"],
        );
        agree(
            &notary,
            &reference,
            &[],
            0,
            "by its whole name, in another order",
        );
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn levels_with_a_signature_that_ends_and_a_certificate_that_ended() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.authority("other", "ca");
    notary.signer("release", "root", "P-256", Extensions::default());
    let (_, lasting) = pushed(&registry, "acme/lasting");
    notary.sign(&lasting, "release", &["--expiry", "24h"]);
    // The shortest life that there is, which has ended by the time that anybody looks.
    let (_, ended) = pushed(&registry, "acme/ended");
    notary.sign(&ended, "release", &["--expiry", "1s"]);
    crate::harness::wait_for("the end of a signature", || {
        notary.policy(strict(), &["ca:root"], ACME);
        (!notary.accepts(&ended).0).then_some(())
    });
    for (level, overrides, lasts, ends, foreign) in [
        ("strict", json!({}), 0, 35, 31),
        ("strict", json!({"expiry": "log"}), 0, 0, 31),
        ("permissive", json!({}), 0, 0, 31),
        ("permissive", json!({"expiry": "enforce"}), 0, 35, 31),
        ("audit", json!({}), 0, 0, 0),
        ("audit", json!({"authenticity": "enforce"}), 0, 0, 31),
        ("strict", json!({"authenticity": "log"}), 0, 35, 0),
    ] {
        let what = format!("{level} {overrides}");
        let verification = json!({"level": level, "override": overrides});
        notary.policy(verification.clone(), &["ca:root"], ACME);
        agree(&notary, &lasting, &[], lasts, &what);
        let said = agree(&notary, &ended, &[], ends, &what);
        assert_eq!(said.contains("not enforced"), ends == 0, "{what}: {said}");
        notary.policy(verification, &["ca:other"], ACME);
        agree(
            &notary,
            &lasting,
            &[],
            foreign,
            &format!("{what}, another authority"),
        );
    }
    let document = json!({"version": "1.0", "trustPolicies": [
        {"name": "none", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}},
    ]});
    std::fs::write(
        notary.config().join("trustpolicy.json"),
        document.to_string(),
    )
    .unwrap();
    let (_, unsigned) = pushed(&registry, "acme/unsigned");
    let said = agree(&notary, &unsigned, &[], 0, "skip");
    assert!(said.contains("nothing was verified"), "{said}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn scopes_choose_the_statement() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.authority("other", "ca");
    notary.signer("release", "root", "P-256", Extensions::default());
    let address = registry.address();
    let document = |scopes: [Value; 2]| {
        let [first, second] = scopes;
        let document = json!({"version": "1.0", "trustPolicies": [
            {"name": "one", "registryScopes": first, "signatureVerification": {"level": "strict"}, "trustStores": ["ca:root"], "trustedIdentities": ["*"]},
            {"name": "two", "registryScopes": second, "signatureVerification": {"level": "strict"}, "trustStores": ["ca:other"], "trustedIdentities": ["*"]},
        ]});
        std::fs::write(
            notary.config().join("trustpolicy.json"),
            document.to_string(),
        )
        .unwrap();
    };
    let (_, reference) = pushed(&registry, "acme/web");
    notary.sign(&reference, "release", &[]);
    let (web, db) = (format!("{address}/acme/web"), format!("{address}/acme/db"));
    document([json!([web]), json!(["*"])]);
    agree(&notary, &reference, &[], 0, "exact before all");
    document([json!(["*"]), json!([web])]);
    agree(
        &notary,
        &reference,
        &[],
        31,
        "exact before all, the other way",
    );
    document([json!([db]), json!([format!("{address}/acme/x")])]);
    agree(&notary, &reference, &[], 34, "no statement");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn time_stamps_of_openssl() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.authority("time", "tsa");
    notary.authority("other", "tsa");
    notary.stamper("stamper", "time");
    let stamps = notary.stamping_service("stamper");
    notary.signer("release", "root", "P-256", Extensions::default());
    for form in FORMS {
        let (_, stamped) = pushed(&registry, &format!("acme/stamped-{form}"));
        let root = notary.file("time.crt");
        notary.sign(
            &stamped,
            "release",
            &[
                "--signature-format",
                form,
                "--timestamp-url",
                &stamps.url("/"),
                "--timestamp-root-cert",
                root.to_str().unwrap(),
            ],
        );
        let (_, bare) = pushed(&registry, &format!("acme/bare-{form}"));
        notary.sign(&bare, "release", &["--signature-format", form]);
        let always = json!({"level": "strict", "verifyTimestamp": "always"});
        notary.policy(always.clone(), &["ca:root", "tsa:time"], ACME);
        agree(&notary, &stamped, &[], 0, "stamped");
        agree(&notary, &bare, &[], 32, "without a stamp");
        notary.policy(always, &["ca:root", "tsa:other"], ACME);
        agree(
            &notary,
            &stamped,
            &[],
            32,
            "by another time-stamp authority",
        );
        let after = json!({"level": "strict", "verifyTimestamp": "afterCertExpiry"});
        notary.policy(after, &["ca:root", "tsa:time"], ACME);
        agree(&notary, &bare, &[], 0, "a stamp is not needed yet");
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn revocation_by_responder_and_by_list() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    let service = notary.authority_service("root");
    let host = service.address();
    let (responder, list) = (service.url("/ocsp"), service.url("/crl"));
    let nobody = "http://127.0.0.1:1/crl";
    let cases = [
        ("ocsp", Some(responder.as_str()), None),
        ("crl", None, Some(list.as_str())),
        ("both", Some(responder.as_str()), Some(list.as_str())),
        ("fallback", Some(nobody), Some(list.as_str())),
        ("down", Some(nobody), Some(nobody)),
    ];
    notary.policy(strict(), &["ca:root"], ACME);
    for (name, responder, list) in cases {
        let extensions = Extensions {
            responder,
            list,
            end: None,
        };
        notary.signer(name, "root", "P-256", extensions);
        let (_, reference) = pushed(&registry, &format!("acme/{name}"));
        notary.sign(&reference, name, &[]);
        let hosts = [host.as_str(), "127.0.0.1:1"];
        let down = name == "down";
        agree(&notary, &reference, &hosts, if down { 33 } else { 0 }, name);
        let before = service.requests().len();
        let (code, said) = ours(&notary, &reference, &[]);
        assert_eq!(code, 33, "{name}: no host is listed\n{said}");
        assert_eq!(service.requests().len(), before, "{name}: nobody is asked");
        notary.revoke(name, "root");
        agree(
            &notary,
            &reference,
            &hosts,
            if down { 33 } else { 38 },
            &format!("{name}, revoked"),
        );
        notary.policy(json!({"level": "permissive"}), &["ca:root"], ACME);
        let said = agree(&notary, &reference, &hosts, 0, "permissive");
        assert!(said.contains("not enforced"), "{said}");
        notary.policy(strict(), &["ca:root"], ACME);
    }
}

/// Whatever is changed of a signature behind notation's back, neither accepts it.
#[test]
#[ignore = "needs real peers: tests/run"]
fn tampered_afterwards() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.signer("release", "root", "P-256", Extensions::default());
    notary.policy(strict(), &["ca:root"], ACME);
    for form in FORMS {
        let (_, reference) = pushed(&registry, &format!("acme/{form}"));
        notary.sign(
            &reference,
            "release",
            &["--signature-format", form, "--user-metadata", "build=17"],
        );
        let signature = Signature::of(&registry, &format!("acme/{form}"), &reference);
        let length = signature.envelope.len();
        // The signature, the payload and the certificates are all over it.
        for number in 0..30 {
            let mut envelope = signature.envelope.clone();
            let index = length * (number * 2 + 1) / 60;
            envelope[index] ^= 1;
            let repository = format!("acme/{form}-{number}");
            let image = Image::new(&format!("acme/{form}"), &[500]);
            let reference = image.push(registry.address(), &repository, "v1");
            signature.attach(&registry, &repository, &envelope);
            let (theirs, said) = notary.accepts(&reference);
            let (ours, said_by_us) = ours(&notary, &reference, &[]);
            let what = format!("{form}, byte {index} of {length}");
            assert_eq!(
                theirs,
                ours == 0,
                "{what}\ntheirs: {said}\nours: {said_by_us}"
            );
            if ours != 0 {
                assert_eq!(ours, 32, "{what}\n{said_by_us}");
            }
        }
        // Onto another image, as it is.
        let repository = format!("acme/{form}-moved");
        let image = Image::new("another", &[500]);
        let moved = image.push(registry.address(), &repository, "v1");
        let other = signature.onto(&image);
        other.attach(&registry, &repository, &signature.envelope);
        agree(&notary, &moved, &[], 32, "the signature of another image");
    }
}

/// The document's own form, in which a signer of the Notary Project counts beside a key of cosign.
#[test]
#[ignore = "needs real peers: tests/run"]
fn a_document_with_a_signer_of_each_kind() {
    let registry = Registry::start();
    let notary = Notary::new();
    notary.authority("root", "ca");
    notary.signer("release", "root", "P-521", Extensions::default());
    let cosign = crate::harness::Signer::new();
    let (_, reference) = pushed(&registry, "acme/web");
    let sandbox = Sandbox::new();
    sandbox.write("ca.crt", std::fs::read(notary.file("root.crt")).unwrap());
    sandbox.write("ops.pub", std::fs::read(cosign.public_key()).unwrap());
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: verify\nimages:\n  web: \"{reference}\"\ntrust:\n  signers:\n    ops: {{key: ops.pub}}\n    corp: {{notation: {{ca: ca.crt, identity: \"C=US, ST=WA, O=acme\"}}}}\n  images:\n    \"{}/**\": {{signed-by: {{all: [ops, corp]}}}}\nsteps:\n  - verify: {{images: [web]}}\n",
            registry.address()
        ),
    );
    sandbox.run(["run", "p.yml"]).expect(30);
    notary.sign(&reference, "release", &["--signature-format", "cose"]);
    sandbox.run(["run", "p.yml"]).expect(31);
    cosign.sign(&reference, crate::harness::Layout::Bundle);
    sandbox.run(["run", "p.yml"]).expect(0);
}

/// A signature as it lies in the registry.
struct Signature {
    manifest: Value,
    envelope: Vec<u8>,
}

impl Signature {
    fn of(registry: &Registry, repository: &str, reference: &str) -> Self {
        let address = registry.address();
        let get = |path: String| {
            let accept = [(
                "Accept",
                "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json",
            )];
            let reply = fetch(
                "GET",
                address,
                &format!("/v2/{repository}/{path}"),
                &accept,
                b"",
            );
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
            reply.body
        };
        let digest = reference.split('@').nth(1).unwrap();
        let index = get(format!("manifests/{}", digest.replace(':', "-")));
        let index: Value = serde_json::from_slice(&index).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        let manifest = get(format!("manifests/{digest}"));
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let blob = manifest["layers"][0]["digest"].as_str().unwrap().to_owned();
        Self {
            envelope: get(format!("blobs/{blob}")),
            manifest,
        }
    }

    /// Returns it with another image as its subject.
    fn onto(&self, image: &Image) -> Self {
        let mut manifest = self.manifest.clone();
        manifest["subject"]["digest"] = json!(image.digest());
        manifest["subject"]["size"] = json!(image.manifest.len());
        Self {
            manifest,
            envelope: self.envelope.clone(),
        }
    }

    /// Pushes it with another envelope, and lists it in the referrers tag.
    fn attach(&self, registry: &Registry, repository: &str, envelope: &[u8]) {
        let address = registry.address();
        push_blob(address, repository, envelope);
        push_blob(address, repository, b"{}");
        let mut manifest = self.manifest.clone();
        manifest["layers"][0]["digest"] = json!(digest(envelope));
        manifest["layers"][0]["size"] = json!(envelope.len());
        let bytes = manifest.to_string().into_bytes();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        put_manifest(address, repository, &digest(&bytes), media_type, &bytes);
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": media_type,
                "digest": digest(&bytes),
                "size": bytes.len(),
                "artifactType": "application/vnd.cncf.notary.signature",
            }],
        });
        let subject = manifest["subject"]["digest"]
            .as_str()
            .unwrap()
            .replace(':', "-");
        let index = index.to_string().into_bytes();
        let media_type = "application/vnd.oci.image.index.v1+json";
        put_manifest(address, repository, &subject, media_type, &index);
    }
}
