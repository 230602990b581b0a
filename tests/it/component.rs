//! The same program as a component: what it does natively it does in the sandbox.

use crate::harness::{Image, Layout, Registry, Sandbox, Service, Signer, run_component};

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_validates_in_the_same_words() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "good.yml",
        "version: 1\nname: good\nsteps:\n  - check: {registry: \"127.0.0.1:5000\"}\n",
    );
    sandbox.write("bad.yml", "version: 1\nname: bad\nstepz: []\n");
    run_component(&sandbox, &["validate", "good.yml"]).expect(0);
    let inside = run_component(&sandbox, &["validate", "bad.yml"]).expect(10);
    let outside = sandbox.run(["validate", "bad.yml"]).expect(10);
    assert_eq!(inside.stderr, outside.stderr);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_pulls_verifies_and_gates_over_the_network() {
    let registry = Registry::start();
    let signer = Signer::new();
    let service = Service::constant(200, "up");
    let image = Image::new("component", &[1000, 300_000]);
    let reference = image.push(registry.address(), "acme/web", "v1");
    signer.sign(&reference, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
    let address = registry.address();
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nname: component\nimages:\n  web: \"{address}/acme/web:v1\"\ntrust:\n  signers:\n    ops: {{key: ops.pub}}\n  images:\n    \"{address}/**\": {{signed-by: ops}}\nsteps:\n  - check: {{registry: \"{address}\"}}\n  - preload: {{images: [web]}}\n  - verify: {{images: [web]}}\n  - gate:\n      within: 10s\n      every: 50ms\n      probes:\n        page: {{http: {{url: \"{}\", status: 200}}}}\n        port: {{tcp: \"{}\"}}\n",
            service.url("/health"),
            service.address()
        ),
    );
    run_component(&sandbox, &["p.yml"]).expect(0);
    super::preload::assert_holds(&sandbox.cache(), &image);
    // The cache is the same one: natively nothing is left to fetch.
    drop(registry);
    sandbox.run(["cache", "ls"]).expect(0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_refuses_with_the_same_codes() {
    let registry = Registry::start();
    let stranger = Signer::new();
    let unsigned = Image::new("unsigned", &[10]).push(registry.address(), "acme/unsigned", "v1");
    let signed = Image::new("signed", &[10]).push(registry.address(), "acme/signed", "v1");
    Signer::new().sign(&signed, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(stranger.public_key()).unwrap());
    for (reference, code) in [(&unsigned, 30), (&signed, 31)] {
        run_component(&sandbox, &["verify", reference, "--key", "ops.pub"]).expect(code);
    }
}
