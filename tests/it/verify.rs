//! Signatures of the real cosign, and the four ways in which an image is not trusted.

mod notation;

use crate::harness::{Image, Layout, Registry, Sandbox, Signer, Tool};

fn pipeline(reference: &str, keys: &str) -> String {
    let registry = reference.split('/').next().unwrap();
    format!(
        "version: 1\nname: verify\nimages:\n  web: \"{reference}\"\ntrust:\n  signers:\n    ops: {{key: {keys}}}\n  images:\n    \"{registry}/**\": {{signed-by: ops}}\nsteps:\n  - preload: {{images: [web]}}\n  - verify: {{images: [web]}}\n"
    )
}

/// Runs a pipeline that trusts this signer alone, and the command with the same key.
fn verdict(reference: &str, signer: &Signer) -> (i32, String) {
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
    sandbox.write("p.yml", pipeline(reference, "ops.pub"));
    let run = sandbox.run(["run", "p.yml", "--verbose"]);
    let code = run.status.code().unwrap();
    sandbox
        .run(["verify", reference, "--key", "ops.pub"])
        .expect(code);
    (code, run.stderr)
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn both_layouts_of_cosign_are_found() {
    let registry = Registry::start();
    let signer = Signer::new();
    for layout in [Layout::Bundle, Layout::Tag] {
        let repository = format!("acme/{}", format!("{layout:?}").to_lowercase());
        let reference =
            Image::new(&repository, &[1000]).push(registry.address(), &repository, "v1");
        signer.sign(&reference, layout);
        let tagged = format!("{}/{repository}:v1", registry.address());
        for reference in [&reference, &tagged] {
            let (code, said) = verdict(reference, &signer);
            assert_eq!(code, 0, "{layout:?} by {reference}\n{said}");
        }
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn one_of_two_keys_and_one_of_two_signatures_are_enough() {
    let registry = Registry::start();
    let (old, new, stranger) = (Signer::new(), Signer::new(), Signer::new());
    let reference = Image::new("rotation", &[1000]).push(registry.address(), "acme/web", "v1");
    stranger.sign(&reference, Layout::Bundle);
    new.sign(&reference, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.write("old.pub", std::fs::read(old.public_key()).unwrap());
    sandbox.write("new.pub", std::fs::read(new.public_key()).unwrap());
    sandbox.write("p.yml", pipeline(&reference, "[old.pub, new.pub]"));
    sandbox.run(["p.yml"]).expect(0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_unsigned_image_is_unsigned() {
    let registry = Registry::start();
    let reference = Image::new("unsigned", &[1000]).push(registry.address(), "acme/web", "v1");
    let (code, said) = verdict(&reference, &Signer::new());
    assert_eq!(code, 30, "{said}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn another_key_is_another_signer() {
    let registry = Registry::start();
    let stranger = Signer::new();
    for layout in [Layout::Bundle, Layout::Tag] {
        let repository = format!("acme/{}", format!("{layout:?}").to_lowercase());
        let reference =
            Image::new(&repository, &[1000]).push(registry.address(), &repository, "v1");
        stranger.sign(&reference, layout);
        let (code, said) = verdict(&reference, &Signer::new());
        assert_eq!(code, 31, "{layout:?}\n{said}");
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_signature_of_another_digest_is_bad() {
    let registry = Registry::start();
    let signer = Signer::new();
    for layout in [Layout::Bundle, Layout::Tag] {
        let repository = format!("acme/{}", format!("{layout:?}").to_lowercase());
        let signed = Image::new("signed", &[1000]);
        let forged = Image::new("forged", &[1000]);
        let reference = signed.push(registry.address(), &repository, "v1");
        signer.sign(&reference, layout);
        let target = forged.push(registry.address(), &repository, "v2");
        transplant(&registry, &repository, layout, &signed, &forged);
        assert!(!signer.accepts(&target), "cosign refuses it too");
        let (code, said) = verdict(&target, &signer);
        assert_eq!(code, 32, "{layout:?}\n{said}");
        assert!(
            said.contains(&signed.digest()),
            "what it is a signature of:\n{said}"
        );
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_registry_that_went_away_is_not_unsigned() {
    let registry = Registry::start();
    let signer = Signer::new();
    let reference = Image::new("gone", &[1000]).push(registry.address(), "acme/web", "v1");
    signer.sign(&reference, Layout::Bundle);
    drop(registry);
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
    sandbox
        .run(["verify", &reference, "--key", "ops.pub"])
        .expect(33);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_image_that_no_rule_matches_is_not_trusted() {
    let registry = Registry::start();
    let signer = Signer::new();
    let reference = Image::new("norule", &[1000]).push(registry.address(), "acme/web", "v1");
    signer.sign(&reference, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
    let registry = registry.address();
    let document = pipeline(&reference, "ops.pub")
        .replace(&format!("{registry}/**"), &format!("{registry}/other/**"));
    sandbox.write("p.yml", document);
    sandbox.run(["p.yml"]).expect(34);
}

/// Attaches the signature of one image to another, as somebody with push rights could.
fn transplant(registry: &Registry, repository: &str, layout: Layout, from: &Image, to: &Image) {
    let sandbox = Sandbox::new();
    let address = registry.address();
    let tag = |image: &Image| {
        let name = image.digest().replace(':', "-");
        let end = if layout == Layout::Tag { ".sig" } else { "" };
        format!("{address}/{repository}:{name}{end}")
    };
    Tool::new(&sandbox, "crane")
        .args(["copy", &tag(from), &tag(to)])
        .run();
}
