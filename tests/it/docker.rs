//! Images into real engines: Docker Engine 20.10 with a graph driver, 28 with containerd's image store, and
//! containerd. They run as root alone; without, these tests fail.

use std::process::Command;

use crate::harness::{Engine, Era, Image, Index, Registry, Sandbox, digest, tool};

fn reference(registry: &Registry, name: &str) -> String {
    format!("{}/acme/{name}:v1", registry.address())
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn both_engines_load_the_archive() {
    let registry = Registry::start();
    for era in [Era::Old, Era::New] {
        let engine = Engine::docker(era);
        let image = Image::new("load", &[3000, 70_000]);
        let zstd = Image::zstd("load-zstd", &[3000, 70_000]);
        image.push(registry.address(), "acme/gzip", "v1");
        zstd.push(registry.address(), "acme/zstd", "v1");
        let sandbox = Sandbox::new();
        for (name, image) in [("gzip", &image), ("zstd", &zstd)] {
            let reference = reference(&registry, name);
            let to = format!("docker-archive:{name}.tar");
            sandbox.run(["pull", &reference, "--to", &to]).expect(0);
            let archive = sandbox.path().join(format!("{name}.tar"));
            let said = engine.ask("POST", "/images/load?quiet=1", Some(&archive));
            assert!(!said.contains("error"), "{era:?} {said}");
            assert!(engine.knows(&reference), "{era:?} {name}");
            // What runs has the config that the registry has.
            if era == Era::Old {
                assert!(engine.knows(&digest(&image.config)), "{name}");
            }
        }
        // Where digests are kept, the archive brings that of the registry.
        let pinned = format!("{}/acme/gzip@{}", registry.address(), image.digest());
        assert_eq!(engine.knows(&pinned), era == Era::New);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_engine_gets_an_image_once_and_its_name_always() {
    let registry = Registry::start();
    for era in [Era::Old, Era::New] {
        let engine = Engine::docker(era);
        let index = Index::of(vec![
            Image::of_platform("once", &[3000, 70_000], "linux", "amd64"),
            Image::of_platform("once", &[3000, 80_000], "linux", "arm64"),
        ]);
        let pinned = index.push(registry.address(), "acme/web", "v1");
        let mut sandbox = Sandbox::new();
        sandbox.set("DOCKER_HOST", &engine.address());
        let web = reference(&registry, "web");
        let pull = |to: &str| {
            sandbox
                .run(["pull", &web, "--platform", "linux/amd64", "--to", to])
                .expect(0)
        };
        let first = pull("docker").says("pulled from the cache");
        // Without a network: the registry is not asked by the engine.
        assert_eq!(engine.knows(&pinned), era == Era::New);
        match era {
            Era::New => first.says("needs no network"),
            Era::Old => first.says("by its tag alone"),
        };
        // No name of the way there is left.
        let images = engine.images();
        assert_eq!(images.len(), 1, "{images:?}");
        assert_eq!(images[0]["RepoTags"], serde_json::json!([web]));
        assert!(!images[0]["RepoDigests"].to_string().contains("127.0.0.1:0"));
        pull("docker").says("was there as");
        engine.ask("POST", &format!("/images/{web}/tag?repo=other&tag=x"), None);
        engine.ask("DELETE", &format!("/images/{web}?noprune=1"), None);
        assert!(!engine.knows(&web));
        pull("docker").says("was there, and got the name");
        assert!(engine.knows(&web));
        // Another platform of the same tag.
        let arm = sandbox
            .run(["pull", &web, "--platform", "linux/arm64", "--to", "docker"])
            .expect(0);
        arm.says("pulled from the cache");
        assert!(engine.knows(&web));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_old_engine_is_handed_zstandard_unpacked_and_a_new_one_as_it_is() {
    let registry = Registry::start();
    let image = Image::zstd("zstd", &[3000, 70_000]);
    image.push(registry.address(), "acme/zstd", "v1");
    for (era, how) in [
        (Era::Old, "reads no Zstandard"),
        (Era::New, "pulled from the cache"),
    ] {
        let engine = Engine::docker(era);
        let sandbox = Sandbox::new();
        let to = format!("docker:{}", engine.address());
        let zstd = reference(&registry, "zstd");
        sandbox
            .run(["pull", &zstd, "--to", &to])
            .expect(0)
            .says(how);
        assert!(engine.knows(&zstd));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn two_platforms_of_one_name_are_refused_where_the_engine_can_t_hold_them() {
    let registry = Registry::start();
    let index = Index::of(vec![
        Image::of_platform("both", &[3000], "linux", "amd64"),
        Image::of_platform("both", &[4000], "linux", "arm64"),
    ]);
    index.push(registry.address(), "acme/web", "v1");
    let web = reference(&registry, "web");
    for era in [Era::Old, Era::New] {
        let engine = Engine::docker(era);
        let sandbox = Sandbox::new();
        sandbox.write("p.yml", format!(
            "version: 1\nname: both\nimages:\n  amd: {{ref: \"{web}\", platform: linux/amd64}}\n  arm: {{ref: \"{web}\", platform: linux/arm64}}\n\
             steps:\n  - preload: {{images: [amd, arm], to: [{{docker: \"{}\"}}]}}\n",
            engine.address()
        ));
        match era {
            Era::Old => {
                sandbox
                    .run(["p.yml"])
                    .expect(20)
                    .says("two images would be called");
                assert!(engine.images().is_empty());
            }
            Era::New => {
                sandbox.run(["p.yml"]).expect(0);
                let known = engine.ask(
                    "GET",
                    &format!("/v1.48/images/{web}/json?manifests=1"),
                    None,
                );
                let known: serde_json::Value = serde_json::from_str(&known).unwrap();
                let manifests = known["Manifests"].as_array().unwrap();
                assert_eq!(
                    manifests
                        .iter()
                        .filter(|it| it["Available"] == true)
                        .count(),
                    2,
                    "{known}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_engine_that_is_not_there_is_said_and_planned() {
    let registry = Registry::start();
    Image::new("none", &[100]).push(registry.address(), "acme/web", "v1");
    let mut sandbox = Sandbox::new();
    sandbox.set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let web = reference(&registry, "web");
    let failed = sandbox.run(["pull", &web, "--to", "docker"]).expect(20);
    failed.says("no engine listens at /nowhere/docker.sock");
    sandbox.write("p.yml", format!(
        "version: 1\nname: none\nimages: {{web: \"{web}\"}}\nsteps:\n  - preload: {{images: [web], to: [docker]}}\n"
    ));
    let planned = sandbox.run(["plan", "p.yml"]).expect(20);
    assert!(
        planned.stdout.contains("/nowhere/docker.sock"),
        "{}",
        planned.stdout
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn containerd_imports_under_tag_and_digest() {
    let registry = Registry::start();
    let index = Index::of(vec![
        Image::of_platform("ctr", &[3000, 70_000], "linux", "amd64"),
        Image::of_platform("ctr", &[4000], "linux", "arm64"),
    ]);
    let pinned = index.push(registry.address(), "acme/web", "v1");
    let web = reference(&registry, "web");
    for era in [Era::Old, Era::New] {
        let engine = Engine::containerd(era);
        let socket = engine.socket("containerd.sock").display().to_string();
        let mut sandbox = Sandbox::new();
        // The client runs in the engine's root, by the name that everybody calls it.
        let ctr = tool(&format!("ctr-{}", era.word()));
        let script = format!(
            "#!/bin/sh\nSHIPGATE_ENGINE='{}' exec '{}' \"$@\"\n",
            engine.folder().display(),
            ctr.display()
        );
        let program = sandbox.write("bin/ctr", script);
        let made = Command::new("chmod")
            .arg("+x")
            .arg(&program)
            .status()
            .unwrap();
        assert!(made.success());
        let path = format!(
            "{}:/usr/bin:/bin:/usr/sbin:/sbin",
            sandbox.path().join("bin").display()
        );
        sandbox.set("PATH", &path);
        sandbox.write("p.yml", format!(
            "version: 1\nname: ctr\nimages: {{web: {{ref: \"{web}\", platform: linux/amd64}}}}\nsteps:\n  \
             - preload: {{images: [web], to: [{{containerd: {{namespace: k8s.io, address: \"{socket}\"}}}}]}}\n"
        ));
        sandbox.run(["p.yml"]).expect(0);
        let listed = Command::new(&program)
            .args([
                "--address",
                &socket,
                "--namespace",
                "k8s.io",
                "images",
                "ls",
            ])
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for name in [&web, &pinned] {
            assert!(
                listed.contains(name.as_str()),
                "{era:?}: no {name} in\n{listed}"
            );
        }
    }
}
