//! What `plan` promises, held against nginx's log of the run that follows.

use serde_json::Value;

use crate::harness::{
    Authority, Image, Index, Layout, PASSWORD, Proxy, Registry, Sandbox, Signer, USER,
};

#[test]
#[ignore = "needs real peers: tests/run"]
fn requests_and_bytes_equal_the_log_of_the_cold_run() {
    let registry = Registry::start();
    let signer = Signer::new();
    let web =
        Image::new("web", &[1000, 200_000, 70_000]).push(registry.address(), "acme/web", "v1");
    let index = Index::of(vec![
        Image::of_platform("amd", &[30_000], "linux", "amd64"),
        Image::of_platform("arm", &[30_000], "linux", "arm64"),
    ]);
    let worker = index.push(registry.address(), "acme/worker", "v1");
    signer.sign(&web, Layout::Bundle);
    signer.sign(&worker, Layout::Tag);

    let proxy = Proxy::before(registry.address());
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", std::fs::read(signer.public_key()).unwrap());
    let address = proxy.address();
    sandbox.write(
        "p.yml",
        format!("version: 1\nname: plan\nimages:\n  web: \"{address}/acme/web:v1\"\n  worker: {{ref: \"{address}/acme/worker:v1\", platform: linux/amd64}}\ntrust:\n  signers:\n    ops: {{key: ops.pub}}\n  images:\n    \"{address}/**\": {{signed-by: ops}}\nsteps:\n  - check: {{registry: \"{address}\"}}\n  - preload: {{images: [web, worker]}}\n  - verify: {{images: [web, worker]}}\n"),
    );
    let plan = sandbox
        .run(["plan", "p.yml", "--format", "json"])
        .expect(0)
        .json();
    assert!(!sandbox.cache().exists(), "plan writes nothing");
    assert_plan_equals_run(&plan, &proxy, &sandbox);
    for (image, digest) in [("web", web), ("worker", worker)] {
        let planned = plan["images"][image]["digest"].as_str().unwrap();
        assert!(
            digest.ends_with(planned),
            "{image}: {planned}, not {digest}"
        );
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_login_is_in_the_plan_too() {
    let registry = Registry::start();
    Image::new("login", &[1000, 2000]).push(registry.address(), "acme/web", "v1");
    let locked = registry.with_password();
    let (tokens, _service) = registry.with_tokens(&Authority::new());
    for registry in [locked, tokens] {
        let proxy = Proxy::before(registry.address());
        let sandbox = Sandbox::new();
        let address = proxy.address();
        sandbox.docker_login(address, USER, PASSWORD);
        sandbox.write(
            "p.yml",
            format!("version: 1\nname: plan\ncredentials: [docker-config]\nimages:\n  web: \"{address}/acme/web:v1\"\nsteps:\n  - check: {{registry: \"{address}\"}}\n  - preload: {{images: [web]}}\n"),
        );
        let plan = sandbox
            .run(["plan", "p.yml", "--format", "json"])
            .expect(0)
            .json();
        assert_plan_equals_run(&plan, &proxy, &sandbox);
    }
}

/// Runs `p.yml` and panics unless what nginx logs of it is what the plan said of nginx's address.
fn assert_plan_equals_run(plan: &Value, proxy: &Proxy, sandbox: &Sandbox) {
    let before = proxy.accesses().len();
    sandbox.run(["p.yml"]).expect(0);
    let run = proxy.accesses().split_off(before);
    let listed: Vec<_> = run.iter().map(|access| format!("{access:?}")).collect();
    let listed = listed.join("\n");
    let bytes: u64 = run.iter().map(|access| access.bytes).sum();
    let planned = &plan["requests"][proxy.address()];
    assert_eq!(
        (planned["requests"].as_u64(), planned["bytes"].as_u64()),
        (Some(run.len() as u64), Some(bytes)),
        "{plan:#}\n{listed}"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_grants_name_host_folder_and_variable() {
    let registry = Registry::start();
    Image::new("grants", &[1000]).push(registry.address(), "acme/web", "v1");
    let mut sandbox = Sandbox::new();
    sandbox.set("TOKEN", "a-long-enough-token");
    let address = registry.address();
    sandbox.write(
        "p.yml",
        format!("version: 1\nname: grants\nsecrets:\n  token: {{env: TOKEN}}\nregistries:\n  \"{address}\": {{auth: {{username: ci, password: \"${{secret.token}}\"}}}}\nimages:\n  web: \"{address}/acme/web:v1\"\nsteps:\n  - preload: {{images: [web]}}\n"),
    );
    let output = sandbox.run(["plan", "p.yml"]).expect(0);
    for fact in [address, "TOKEN", "cache/shipgate"] {
        assert!(output.stdout.contains(fact), "{fact} in\n{}", output.stdout);
    }
    assert!(!output.stdout.contains("a-long-enough-token"));
}
