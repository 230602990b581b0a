//! Two components from one source: one for stock runtimes, one for the launcher.

use std::fs;
use std::process::Command;

use crate::harness::{
    Image, Registry, Sandbox, component, digest, launcher, stock_component, tool, warm,
};

const PIPELINE: &str = "version: 1\nsteps:\n  - check: {registry: \"127.0.0.1:9\"}\n";

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_launcher_runs_both_and_says_which() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", PIPELINE);
    for component in [component(), stock_component()] {
        warm(&component);
        let path = component.display().to_string();
        sandbox
            .launch(&["validate", "p.yml", "--component", &path])
            .expect(0)
            // As `sha256sum` prints it.
            .says(&format!(
                "{path}, {}",
                digest(&fs::read(&component).unwrap())
            ));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_one_for_the_launcher_is_found_first() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", PIPELINE);
    let beside = sandbox.path().join("bin");
    fs::create_dir(&beside).unwrap();
    let program = beside.join("shipgate-wasm");
    fs::copy(launcher(), &program).unwrap();
    let line = format!("{} validate p.yml", program.display());
    sandbox
        .launch_line(&line)
        .expect(2)
        .says("bin/shipgate-hosted.wasm does not exist");
    for component in [stock_component(), component()] {
        warm(&component);
        let name = component.file_name().unwrap();
        fs::copy(&component, beside.join(name)).unwrap();
        sandbox
            .launch_line(&line)
            .expect(0)
            .says(&format!("bin/{}, sha256:", name.display()));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_one_for_the_launcher_does_not_start_elsewhere() {
    let output = Command::new(tool("wasmtime"))
        .arg("run")
        .arg(component())
        .arg("--version")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("shipgate:launcher/"), "{said}");
}

/// What the launcher hashes is what the component would have: sizes around those of blocks, pieces and queues.
#[test]
#[ignore = "needs real peers: tests/run"]
fn both_find_the_same_digests() {
    let registry = Registry::start();
    let image = Image::new("digests", &[1, 63, 64, 65, 70_000, 3_000_000]);
    let reference = image.push(registry.address(), "acme/digests", "v1");
    for component in [component(), stock_component()] {
        warm(&component);
        let sandbox = Sandbox::new();
        sandbox.write(
            "p.yml",
            format!("version: 1\nimages: {{web: \"{reference}\"}}\nsteps:\n  - preload: {{images: [web]}}\n"),
        );
        let path = component.display().to_string();
        sandbox.launch(&["p.yml", "--component", &path]).expect(0);
        crate::preload::assert_holds(&sandbox.cache(), &image);
    }
}
