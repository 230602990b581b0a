//! The command line: help, flags, exit codes, generated files.

use std::path::Path;
use std::process::Command;

use crate::harness::Sandbox;

const MINIMAL: &str = "version: 1\nname: minimal\nsteps:\n  - gate:\n      within: 1s\n      every: 100ms\n      probes:\n        up: {tcp: \"127.0.0.1:9\"}\n";

#[test]
fn help_names_every_command_on_stdout() {
    let output = Sandbox::new().run(["--help"]).expect(0);
    for command in [
        "run",
        "plan",
        "validate",
        "init",
        "schema",
        "pull",
        "verify",
        "cache",
        "completions",
    ] {
        assert!(
            output
                .stdout
                .lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command} in\n{}",
            output.stdout
        );
    }
    assert_eq!(output.stderr, "");
}

#[test]
fn every_command_explains_itself() {
    let sandbox = Sandbox::new();
    for command in [
        "run",
        "plan",
        "validate",
        "init",
        "schema",
        "pull",
        "verify",
        "cache",
        "completions",
    ] {
        let output = sandbox.run([command, "--help"]).expect(0);
        assert!(
            output.stdout.contains("Usage: shipgate"),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn the_version_is_the_package_s() {
    let output = Sandbox::new().run(["--version"]).expect(0);
    assert_eq!(
        output.stdout.trim(),
        concat!("shipgate ", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn wrong_usage_is_code_2_and_leaves_stdout_empty() {
    let sandbox = Sandbox::new();
    let wrong: [&[&str]; 7] = [
        &[],
        &["--frobnicate"],
        &["run"],
        &["pull"],
        &["validate"],
        &["plan", "a.yml", "--only", "x", "--from", "y"],
        &["run", "a.yml", "--quiet", "--verbose"],
    ];
    for arguments in wrong {
        let output = sandbox.run(arguments).expect(2);
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(
            output.stderr.contains("shipgate"),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}

#[test]
fn a_mistyped_flag_is_met_with_the_right_one() {
    let output = Sandbox::new()
        .run(["run", "p.yml", "--reprot", "out"])
        .expect(2);
    output.says("--report");
}

#[test]
fn an_input_without_a_value_is_wrong_usage() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", MINIMAL);
    let output = sandbox
        .run(["run", "p.yml", "--input", "word"])
        .expect(2)
        .says("an --input has no `=`");
    assert!(
        !output.stderr.contains("word"),
        "it may be a piece of a secret: {}",
        output.stderr
    );
}

#[test]
fn completions_are_scripts_of_their_shell() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = sandbox.run(["completions", shell]).expect(0);
        assert!(output.stdout.contains("validate"), "{shell}");
    }
    let script = sandbox.run(["completions", "bash"]).stdout;
    let file = sandbox.write("completions.bash", script);
    let checked = Command::new("bash").arg("-n").arg(file).status().unwrap();
    assert!(checked.success());
}

#[test]
fn the_published_schema_is_current() {
    let output = Sandbox::new().run(["schema"]).expect(0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/pipeline.schema.json");
    let published = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    assert_eq!(
        output.stdout, published,
        "cargo run -- schema > schema/pipeline.schema.json"
    );
}

#[test]
fn a_first_pipeline_is_valid_and_never_overwritten_unasked() {
    let sandbox = Sandbox::new();
    let flags = [
        "--image",
        "127.0.0.1:5000/acme/web:v1",
        "--key",
        "keys/cosign.pub",
        "--url",
        "http://127.0.0.1:8080/health",
        "--slack-env",
        "SLACK",
    ];
    sandbox
        .run(["init", "first.yml"].iter().chain(&flags))
        .expect(0);
    sandbox.write("keys/cosign.pub", "");
    sandbox.run(["validate", "first.yml"]).expect(0);
    let written = std::fs::read_to_string(sandbox.path().join("first.yml")).unwrap();

    let again = sandbox.run(["init", "first.yml", "--image", "127.0.0.1:5000/other:v2"]);
    assert_ne!(again.status.code(), Some(0));
    again.says("--force");
    assert_eq!(
        std::fs::read_to_string(sandbox.path().join("first.yml")).unwrap(),
        written
    );

    let printed = sandbox.run(["init", "-"].iter().chain(&flags)).expect(0);
    assert_eq!(printed.stdout, written);
}

#[test]
fn validate_looks_at_every_file() {
    let sandbox = Sandbox::new();
    sandbox.write("good.yml", MINIMAL);
    sandbox.write("one.yml", "version: 1\nname: one\nstepz: []\n");
    sandbox.write("two.yml", "version: 1\nname: two\nsteps: 7\n");
    sandbox.run(["validate", "good.yml"]).expect(0);
    let output = sandbox
        .run(["validate", "one.yml", "good.yml", "two.yml"])
        .expect(10);
    output.says("one.yml:3:1").says("two.yml:3:8");
}

#[test]
fn what_is_missing_is_said_before_anything_runs() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "needs.yml",
        "version: 1\nname: needs\ninputs:\n  tag: {type: string, pattern: \"v[0-9]+\"}\nsecrets:\n  token: {env: TOKEN}\nimages:\n  web: \"127.0.0.1:9/acme/web:${input.tag}\"\nregistries:\n  \"127.0.0.1:9\": {auth: {username: ci, password: \"${secret.token}\"}}\nsteps:\n  - preload: {images: [web]}\n",
    );
    sandbox.run(["validate", "needs.yml"]).expect(0);
    sandbox.run(["run", "needs.yml"]).expect(11).says("tag");
    sandbox
        .run(["run", "needs.yml", "-i", "tag=latest"])
        .expect(11)
        .says("v[0-9]+");
    sandbox
        .run(["run", "needs.yml", "-i", "tag=v1"])
        .expect(11)
        .says("TOKEN");
}

#[test]
fn a_lock_of_another_pipeline_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", MINIMAL);
    sandbox.write("lock.json", "{\"version\": 1}");
    sandbox
        .run(["run", "p.yml", "--lock", "lock.json"])
        .expect(12)
        .says("lock.json");
}

#[test]
fn a_call_that_goes_on_needs_the_lock_of_the_one_before() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", MINIMAL);
    let id = "gate";
    sandbox
        .run(["run", "p.yml", "--from", id, "--lock", "gone.lock"])
        .expect(12)
        .says("there is no lock file gone.lock")
        .says("hand the file over");
    assert!(!sandbox.path().join("gone.lock").exists());
}

#[test]
fn an_unknown_step_id_is_wrong_usage() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", MINIMAL);
    sandbox
        .run(["run", "p.yml", "--only", "nowhere"])
        .expect(2)
        .says("nowhere");
}

#[test]
fn the_empty_cache_is_empty() {
    let sandbox = Sandbox::new();
    sandbox.run(["cache", "ls"]).expect(0);
    assert!(!sandbox.cache().exists(), "looking makes no folder");
}

#[test]
fn a_missing_launcher_leaves_what_any_refused_run_leaves() {
    let mut sandbox = Sandbox::new();
    sandbox.write("p.yml", MINIMAL);
    let output = sandbox.write("output", "");
    sandbox.set("GITHUB_OUTPUT", output.to_str().unwrap());
    sandbox.set("GITHUB_ACTIONS", "true");
    for command in ["run", "plan", "validate"] {
        let refused = sandbox.run([
            command,
            "p.yml",
            "--sandbox",
            "--launcher",
            "missing",
            "--report",
            command,
        ]);
        refused.expect(2).says("the launcher ./missing does not");
        let report = sandbox.path().join(command).join("report.json");
        let report: serde_json::Value =
            serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
        assert_eq!(report["exit"]["name"], "usage");
        assert_eq!(report["command"], command);
        assert_eq!(report["files"], serde_json::json!(["p.yml"]));
        let reason = report["reason"].as_str().unwrap();
        assert!(reason.contains("./missing"), "{reason}");
    }
    let outputs = std::fs::read_to_string(output).unwrap();
    assert_eq!(outputs.matches("\nusage\n").count(), 3, "{outputs}");
}
