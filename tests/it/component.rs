//! The same program as a component: what it does natively it does in the sandbox.
//!
//! Each run compiles the component, some seconds of both cores: few runs, each with much in it.

use crate::harness::{Image, Layout, Registry, Runtime, Sandbox, Service, Signer};

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_validates_in_the_same_words() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "good.yml",
        "version: 1\nname: good\nsteps:\n  - check: {registry: \"127.0.0.1:5000\"}\n",
    );
    sandbox.write("bad.yml", "version: 1\nname: bad\nstepz: []\n");
    let arguments = ["validate", "good.yml", "bad.yml"];
    let outside = sandbox
        .run(arguments)
        .expect(10)
        .says("good.yml is a valid");
    for runtime in Runtime::ALL {
        let inside = runtime.run(&sandbox, &[], &arguments);
        let inside = inside.expect(runtime.code(10));
        assert_eq!(inside.stderr, outside.stderr, "{runtime:?}");
    }
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
    let (registry, service) = (registry.address(), service.address());
    let document = format!(
        "version: 1
name: component
images:
  web: \"{registry}/acme/web:v1\"
trust:
  signers:
    ops: {{key: ops.pub}}
  images:
    \"{registry}/**\": {{signed-by: ops}}
steps:
  - check: {{registry: \"{registry}\"}}
  - preload: {{images: [web]}}
  - verify: {{images: [web]}}
  - gate:
      within: 20s
      every: 50ms
      probes:
        page: {{http: {{url: \"http://{service}/health\", status: 200}}}}
        port: {{tcp: \"{service}\"}}
"
    );
    for runtime in Runtime::ALL {
        let sandbox = Sandbox::new();
        sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
        sandbox.write("p.yml", &document);
        runtime
            .run(&sandbox, &[registry, &service], &["p.yml"])
            .expect(0);
        super::preload::assert_holds(&sandbox.cache(), &image);
        // The folder is the same inside and outside, so natively nothing is left to fetch.
        let listed = sandbox.run(["cache", "ls"]).expect(0);
        assert!(listed.stdout.contains("acme/web"), "{}", listed.stdout);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_refuses_with_the_same_codes() {
    let registry = Registry::start();
    let unsigned = Image::new("unsigned", &[10]).push(registry.address(), "acme/unsigned", "v1");
    let signed = Image::new("signed", &[10]).push(registry.address(), "acme/signed", "v1");
    Signer::new().sign(&signed, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.write(
        "ops.pub",
        std::fs::read(Signer::new().public_key()).unwrap(),
    );
    let arguments = ["verify", &unsigned, &signed, "--key", "ops.pub"];
    for runtime in Runtime::ALL {
        let output = runtime.run(&sandbox, &[registry.address()], &arguments);
        // Two refusals, and the more dangerous one decides.
        output.expect(runtime.code(31));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_launcher_grants_no_host_that_was_not_named() {
    let registry = Registry::start();
    let reference = Image::new("grant", &[10]).push(registry.address(), "acme/web", "v1");
    let sandbox = Sandbox::new();
    let refused = Runtime::Launcher.run(&sandbox, &["127.0.0.1:9"], &["pull", &reference]);
    refused.expect(20).says(registry.address());
}
