//! Images beyond the cache: layouts, archives and other registries, read by those who use them.

use std::fs;

use serde_json::Value;

use crate::harness::{
    Image, Index, Layout, PlaygroundRegistry, Proxy, Registry, Sandbox, Signer, Tool, digest,
};

fn two_platforms(seed: &str) -> Index {
    Index::of(vec![
        Image::of_platform(seed, &[20_000, 3000], "linux", "amd64"),
        Image::of_platform(seed, &[20_000, 4000], "linux", "arm64"),
    ])
}

/// Pulls with every file destination at once, and returns the sandbox that has them.
fn pulled(reference: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let to = [
        "docker-archive:d.tar",
        "oci-archive:o.tar",
        "oci-layout:layout",
    ];
    let mut arguments = vec!["pull", reference, "--platform", "linux/amd64"];
    arguments.extend(to.iter().flat_map(|to| ["--to", *to]));
    sandbox.run(arguments).expect(0);
    sandbox
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn crane_skopeo_and_oras_read_what_is_written() {
    let registry = Registry::start();
    two_platforms("files").push(registry.address(), "acme/web", "v1");
    let sandbox = pulled(&format!("{}/acme/web:v1", registry.address()));
    let tool = |name| Tool::new(&sandbox, name);
    tool("crane").args(["validate", "--tarball", "d.tar"]).run();
    for from in [
        "docker-archive:d.tar",
        "oci-archive:o.tar:v1",
        "oci:layout:v1",
    ] {
        let to = format!("dir:out-{}", &from[..3]);
        tool("skopeo").args(["copy", "--quiet", from, &to]).run();
        fs::remove_dir_all(sandbox.path().join(format!("out-{}", &from[..3]))).unwrap();
    }
    let copy = format!("{}/copy/oras:v1", registry.address());
    tool("oras")
        .args([
            "copy",
            "--from-oci-layout",
            "layout:v1",
            "--to-plain-http",
            &copy,
        ])
        .run();
    tool("crane").args(["validate", "--remote", &copy]).run();
    let copy = format!("{}/copy/crane:v1", registry.address());
    tool("crane").args(["push", "layout", &copy]).run();
    let copy = format!("{}/copy/tar:v1", registry.address());
    tool("crane").args(["push", "d.tar", &copy]).run();
    tool("crane").args(["validate", "--remote", &copy]).run();
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn no_blob_is_fetched_or_packed_again() {
    let registry = Registry::start();
    let image = Image::new("bytes", &[50_000, 60_000]);
    image.push(registry.address(), "acme/web", "v1");
    let proxy = Proxy::before(registry.address());
    let sandbox = pulled(&format!("{}/acme/web:v1", proxy.address()));
    assert_eq!(proxy.accesses().iter().filter(|a| a.is_blob()).count(), 3);
    // The layout has the very files of the cache, and the archive their bytes.
    let archive = fs::read(sandbox.path().join("d.tar")).unwrap();
    for layer in &image.layers {
        let found = archive.windows(layer.len()).any(|window| window == layer);
        assert!(found, "a layer was packed anew");
        let path = sandbox
            .path()
            .join("layout/blobs")
            .join(digest(layer).replace(':', "/"));
        assert_eq!(&fs::read(path).unwrap(), layer);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_layout_keeps_what_it_had_and_strange_folders_are_left_alone() {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    for name in ["web", "worker"] {
        let reference = Image::new(name, &[100]).push(registry.address(), name, "v1");
        sandbox
            .run(["pull", &reference, "--to", "oci-layout:all"])
            .expect(0);
        let tagged = format!("{}/{name}:v1", registry.address());
        sandbox
            .run(["pull", &tagged, "--to", "oci-layout:all"])
            .expect(0);
    }
    let index = fs::read(sandbox.path().join("all/index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 4);
    sandbox.write("mine/thesis.txt", "x");
    let tagged = format!("{}/web:v1", registry.address());
    let refused = sandbox
        .run(["pull", &tagged, "--to", "oci-layout:mine"])
        .expect(20);
    refused
        .says("thesis.txt")
        .says("name an empty or a new folder");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_copy_has_all_platforms_and_signatures_in_both_forms() {
    let (from, to) = (Registry::start(), Registry::start());
    let reference = two_platforms("copy").push(from.address(), "acme/web", "v1");
    let signer = Signer::new();
    signer.sign(&reference, Layout::Bundle);
    signer.sign(&reference, Layout::Tag);
    let source = format!("{}/acme/web:v1", from.address());
    let name = reference.split_once('/').unwrap().1;
    let sandbox = Sandbox::new();
    let destination = format!("registry:{}/mirror/", to.address());
    let done = sandbox
        .run(["pull", &source, "--to", &destination])
        .expect(0);
    done.says("2 manifests about it");
    let copy = format!("{}/mirror/{name}", to.address());
    assert!(signer.accepts(&copy));
    let tool = |arguments: &[&str]| Tool::new(&sandbox, "crane").args(arguments).run();
    tool(&[
        "validate",
        "--remote",
        &format!("{}/mirror/acme/web:v1", to.address()),
    ]);
    let tags = tool(&["ls", &format!("{}/mirror/acme/web", to.address())]);
    assert!(tags.contains(".sig"), "{tags}");
    // Again: nothing travels.
    let again = sandbox
        .run(["pull", &source, "--to", &destination])
        .expect(0);
    again.says("0 blobs sent (0 B)");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn within_a_registry_blobs_are_mounted_and_never_travel() {
    let registry = Registry::start();
    two_platforms("mount").push(registry.address(), "acme/web", "v1");
    let proxy = Proxy::before(registry.address());
    let sandbox = Sandbox::new();
    let source = format!("{}/acme/web:v1", proxy.address());
    let destination = format!("registry:{}/promoted/web:live", proxy.address());
    let done = sandbox
        .run(["pull", &source, "--to", &destination])
        .expect(0);
    done.says("0 blobs sent").says("5 mounted");
    let sent = proxy.accesses();
    assert!(sent.iter().all(|access| access.method != "PATCH"));
    Tool::new(&sandbox, "crane")
        .args([
            "validate",
            "--remote",
            &format!("{}/promoted/web:live", registry.address()),
        ])
        .run();
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_registry_with_the_referrers_api_lists_the_signatures_itself() {
    let from = Registry::start();
    let to = PlaygroundRegistry::start(Default::default());
    let reference = Image::new("api", &[100]).push(from.address(), "acme/web", "v1");
    let signer = Signer::new();
    signer.sign(&reference, Layout::Bundle);
    let sandbox = Sandbox::new();
    let destination = format!("registry:{}/acme/web", to.address());
    let source = format!("{}/acme/web:v1", from.address());
    sandbox
        .run(["pull", &source, "--to", &destination])
        .expect(0);
    let copy = format!("{}/{}", to.address(), reference.split_once('/').unwrap().1);
    assert!(signer.accepts(&copy));
    // No second list is kept where the registry has one.
    let tag = format!("manifests/sha256-{}", reference.rsplit(':').next().unwrap());
    let put = to
        .exchanges()
        .into_iter()
        .filter(|line| line.contains("PUT"))
        .collect::<Vec<_>>();
    assert!(put.iter().all(|line| !line.contains(&tag)), "{put:?}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn nothing_leaves_the_cache_before_its_rule_has_passed() {
    let (registry, other) = (Registry::start(), Registry::start());
    let reference = Image::new("trust", &[1000]).push(registry.address(), "acme/web", "v1");
    let signer = Signer::new();
    let sandbox = Sandbox::new();
    fs::copy(signer.public_key(), sandbox.path().join("key.pub")).unwrap();
    let pipeline = format!(
        "version: 1\nname: release\nimages: {{web: \"{host}/acme/web:v1\"}}\n\
         trust:\n  signers: {{ops: {{key: key.pub}}}}\n  images: {{\"{host}/acme/**\": {{signed-by: ops}}}}\n\
         steps:\n  - preload:\n      images: [web]\n      to: [cache, {{docker-archive: out/web.tar}}, {{oci-layout: layout}}, {{registry: \"{other}/acme/web\"}}]\n  \
         - verify: {{images: [web]}}\n",
        host = registry.address(),
        other = other.address(),
    );
    sandbox.write("p.yml", pipeline);
    sandbox.run(["plan", "p.yml"]).expect(30);
    sandbox.run(["p.yml"]).expect(30).says("unsigned");
    for path in ["out", "layout"] {
        assert!(!sandbox.path().join(path).exists(), "{path}");
    }
    let tags = Tool::new(&sandbox, "crane")
        .args(["ls", &format!("{}/acme/web", other.address())])
        .attempt();
    assert!(!tags.status.success(), "it was copied");
    signer.sign(&reference, Layout::Bundle);
    let planned = sandbox.run(["plan", "p.yml"]).expect(0);
    assert!(
        planned.stdout.contains("to docker-archive out/web.tar"),
        "{}",
        planned.stdout
    );
    assert!(!sandbox.path().join("layout").exists());
    sandbox.run(["p.yml"]).expect(0);
    assert!(sandbox.path().join("out/web.tar").is_file());
    assert!(signer.accepts(&format!(
        "{}/{}",
        other.address(),
        reference.split_once('/').unwrap().1
    )));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_cache_is_exported_and_served() {
    let registry = Registry::start();
    let index = two_platforms("served");
    index.push(registry.address(), "acme/web", "v1");
    let source = format!("{}/acme/web:v1", registry.address());
    let sandbox = Sandbox::new();
    for platform in ["linux/amd64", "linux/arm64"] {
        sandbox
            .run(["pull", &source, "--platform", platform])
            .expect(0);
    }
    // Both platforms are whole: the index goes as it is, and one archive for engines needs one of them.
    sandbox
        .run(["cache", "export", "--to", "oci-layout:all"])
        .expect(0);
    let digest = Tool::new(&sandbox, "crane").args(["digest", &source]).run();
    let written = fs::read_to_string(sandbox.path().join("all/index.json")).unwrap();
    assert!(written.contains(digest.trim()), "{written}");
    let refused = sandbox
        .run(["cache", "export", "--to", "docker-archive:d.tar"])
        .expect(2);
    refused.says("--platform");
    sandbox
        .run([
            "cache",
            "export",
            &source,
            "--to",
            "docker-archive:d.tar",
            "--platform",
            "linux/arm64",
        ])
        .expect(0);
    Tool::new(&sandbox, "crane")
        .args(["validate", "--tarball", "d.tar"])
        .run();

    let mut server = sandbox.start(["cache", "serve"]);
    server.wait_for_stderr("@sha256:");
    let address = server.stdout().trim().to_owned();
    let served = format!(
        "{address}/{}/acme/web",
        registry.address().replace(':', "_")
    );
    Tool::new(&sandbox, "crane")
        .args(["validate", "--remote", &format!("{served}:v1")])
        .run();
    Tool::new(&sandbox, "oras")
        .args(["pull", "--plain-http", "-o", "o", &format!("{served}:v1")])
        .run();
    Tool::new(&sandbox, "skopeo")
        .args([
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            &format!("docker://{served}@{}", digest.trim()),
            "dir:s",
        ])
        .run();
    // A pull from it is a pull like any other.
    let other = Sandbox::new();
    other.run(["pull", &format!("{served}:v1")]).expect(0);
    server.signal(crate::harness::Signal::Interrupt);
    server.finish().expect(0);
}
