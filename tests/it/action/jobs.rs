//! Whole workflows that use the action as a user does, in the real `act`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::harness::{
    Answer, Image, Job, Layout, PASSWORD, Project, Registry, Sandbox, Service, Signal, Signer,
    comparable, signal_below, wait_for,
};

/// A step that uses the action; `with` is further lines below it.
fn gate(with: &str) -> String {
    let mut step = String::from(
        "      - uses: ./\n        id: gate\n        with:\n          binary: BINARY\n",
    );
    for line in with.lines() {
        step += &format!("          {line}\n");
    }
    step
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_pipeline_that_passes() {
    let project = Project::new();
    project.write_example("pipeline.yml");
    let job = project.run(&gate("")).expect(0);
    assert_eq!(job.output("status"), "done");
    assert_eq!(job.output("rolled-back"), "false");
    assert_eq!(job.output("cache-hit"), "false");
    assert_eq!(job.output("lock"), "");
    let digests: Value = serde_json::from_str(job.output("digests")).unwrap();
    assert!(
        digests["web"].as_str().unwrap().starts_with("sha256:"),
        "{digests}"
    );
    let report = job.report();
    assert_eq!(report["exit"]["name"], "done", "{report}");
    assert!(!job.log.contains("Main Finish"), "{}", job.log);
    job.says("Summary - ## ✅ `playground`: done");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_gate_that_fails_fails_the_job_and_says_why() {
    let project = Project::new();
    project.write_example("examples/failing.yml");
    let job = project
        .run(&gate("pipeline: examples/failing.yml"))
        .expect(1);
    assert_eq!(job.output("status"), "gate-failed");
    job.says("500 Internal Server Error")
        .says("Main Finish")
        .says("nothing to finish");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_image_that_nobody_signed_is_refused() {
    let project = Project::new();
    project.write_example("examples/refused.yml");
    let job = project
        .run(&gate("pipeline: examples/refused.yml"))
        .expect(1);
    assert_eq!(job.output("status"), "wrong-signer");
    job.says("unsigned").says("stranger");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_invalid_pipeline_is_annotated_at_its_lines() {
    let project = Project::new();
    project.write(
        "deploy/bad.yml",
        "version: 1\nsteps:\n  - chekc: {registry: a.example}\n  - preload: {images: [lost]}\n",
    );
    let job = project.run(&gate("pipeline: deploy/bad.yml")).expect(1);
    assert_eq!(job.output("status"), "pipeline-invalid");
    job.says("::error file=deploy/bad.yml,line=3,endLine=3,col=5,")
        .says("::error file=deploy/bad.yml,line=4,endLine=4,col=24,");
}

/// act itself kills the steps of a job that it cancels; GitHub signals the process that it started, as here.
#[test]
#[ignore = "needs real peers: tests/run"]
fn a_cancelled_run_ends_in_order() {
    let (silent, told) = (
        Service::start(|_| Answer::Silence),
        Service::constant(200, ""),
    );
    let project = Project::new();
    project.write(
        "pipeline.yml",
        format!(
            "version: 1\nname: stuck\nsteps:\n  - gate: {{within: 60s, every: 50ms, probes: {{page: {{http: \"{}\"}}}}}}\nfinally:\n  - notify: {{webhook: {{url: \"{}\"}}, on: [cancelled]}}\n",
            silent.url("/"),
            told.url("/told")
        ),
    );
    let running = project.start(&gate(""), &[]);
    wait_for("the gate to ask", || {
        (!silent.requests().is_empty()).then_some(())
    });
    signal_below(project.sandbox.path(), Signal::Interrupt);
    let job = running.finish().expect(1);
    assert_eq!(job.output("status"), "cancelled");
    assert_eq!(told.requests().len(), 1, "finally ran, and ran once");
    job.says("nothing to finish");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_pipeline_in_the_workflow_itself() {
    let project = Project::new();
    let job = project
        .run(&gate(
            "inputs: |\n  # what the pipeline is told\n  name=it's \"$(id)\" `id` ::set-output name=status::pwned %0A\n  other=--help\npipeline: |\n  version: 1\n  name: inline\n  playground: true\n  inputs:\n    name: {type: string}\n    other: {type: string}\n  steps:\n    - name: \"${input.name} ${input.other}\"\n      check: {registry: \"${playground.registry}\"}",
        ))
        .expect(0);
    assert_eq!(job.output("status"), "done");
    // act shows the command by which the group is opened as it was written.
    job.says("check: it's \"$(id)\" `id` ::set-output name=status::pwned %250A --help\n");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_report_is_that_of_the_command_line() {
    let shipped = Shipped::new();
    shipped.deploy();
    let job = shipped.run_example("one-call.yml").expect(0);
    let mut sandbox = Sandbox::new();
    for name in ["examples/deploy.yml", "keys/release.pub"] {
        sandbox.write(name, fs::read(shipped.project.file(name)).unwrap());
    }
    sandbox.set("REGISTRY_TOKEN", PASSWORD);
    sandbox
        .run([
            "run",
            "examples/deploy.yml",
            "-i",
            "tag=v1.2.0",
            "--report",
            "report",
        ])
        .expect(0);
    let own = fs::read(sandbox.path().join("report/report.json")).unwrap();
    let own: Value = serde_json::from_slice(&own).unwrap();
    assert_eq!(comparable(&job.report()), comparable(&own));
}

/// The folder of the build is kept, so that only the first time on a machine takes its minute.
#[test]
#[ignore = "needs real peers: tests/run"]
fn the_action_builds_shipgate_itself() {
    let mut project = Project::new();
    project.write_example("pipeline.yml");
    // The repository itself, under the name that stays the same.
    let root = env!("CARGO_MANIFEST_DIR");
    std::os::unix::fs::symlink(root, project.file("own")).unwrap();
    let homes = ["CARGO_HOME", "RUSTUP_HOME"].map(tool_home);
    project
        .sandbox
        .set("PATH", &format!("{}/bin:/usr/bin:/bin", homes[0]));
    project.sandbox.set("CARGO_HOME", &homes[0]);
    project.sandbox.set("RUSTUP_HOME", &homes[1]);
    project.sandbox.set("CARGO_NET_OFFLINE", "true");
    let step = |id: &str| {
        format!(
            "      - uses: ./own\n        id: {id}\n        with: {{build-dir: {root}/target/action, version: {}}}\n",
            env!("CARGO_PKG_VERSION")
        )
    };
    let job = project
        .start(&(step("first") + &step("gate")), &[])
        .finish_within(Duration::from_secs(900))
        .expect(0)
        .says("Building shipgate")
        .says("Finished `dev` profile [unoptimized]");
    assert_eq!(job.output("status"), "done");
    // The second call finds what the first one built.
    let (_, second) = job.log.rsplit_once("Building shipgate").unwrap();
    assert!(!second.contains("Compiling"), "{second}");
}

/// Returns where cargo or rustup keeps what it needs.
#[expect(
    clippy::disallowed_methods,
    reason = "the toolchain is the one that runs the tests"
)]
fn tool_home(variable: &str) -> String {
    let folder = format!(".{}", variable.split('_').next().unwrap().to_lowercase());
    std::env::var(variable).unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap();
        format!("{home}/{folder}")
    })
}

/// The README's workflow in a repository that has the README's pipeline.
#[test]
#[ignore = "needs real peers: tests/run"]
fn the_workflow_in_the_readme_works() {
    let project = Project::new();
    project.write_example("pipeline.yml");
    let readme = example("README.md");
    let (_, section) = readme
        .split_once("## As a GitHub Action\n\n```yaml\n")
        .unwrap();
    let (workflow, _) = section.split_once("```\n").unwrap();
    let workflow = ours(workflow) + &project.keep();
    let job = project.start_workflow(&workflow, &[]).finish().expect(0);
    assert_eq!(job.output("status"), "done");
}

/// The workflow of the documentation for one call, as it stands there.
#[test]
#[ignore = "needs real peers: tests/run"]
fn the_example_with_one_call_works() {
    let shipped = Shipped::new();
    shipped.deploy();
    let job = shipped.run_example("one-call.yml").expect(0);
    assert_eq!(job.output("status"), "done");
    job.says(&format!("images: {{\"web\":\"{}\"}}", shipped.digest));
}

/// The workflow of the documentation with a foreign deploy between two calls, as it stands there.
#[test]
#[ignore = "needs real peers: tests/run"]
fn the_example_with_two_calls_works() {
    let shipped = Shipped::new();
    let job = shipped.run_example("two-calls.yml").expect(0);
    assert_eq!(job.output("status"), "done");
    assert_eq!(
        job.output("digests"),
        format!("{{\"web\":\"{}\"}}", shipped.digest),
        "the second call says what the lock pins"
    );
    assert_eq!(
        fs::read_to_string(shipped.project.kept("deployed")).unwrap(),
        format!(
            "{}/acme/web@{}\n",
            shipped.registry.address(),
            shipped.digest
        ),
        "what was verified is what was deployed"
    );
}

/// An image in a registry that asks for a password, signed, and a service that answers once it is deployed.
struct Shipped {
    project: Project,
    registry: Registry,
    digest: String,
    _open: Registry,
    _service: Service,
}

impl Shipped {
    fn new() -> Self {
        let project = Project::new();
        let open = Registry::start();
        let registry = open.with_password();
        let signer = Signer::new();
        let reference =
            Image::new("shipped", &[1000, 70_000]).push(open.address(), "acme/web", "v1.2.0");
        signer.sign(&reference, Layout::Bundle);
        let deployed = project.kept("deployed");
        let service = Service::start(move |_| match deployed.exists() {
            true => Answer::text(200, "live"),
            false => Answer::text(503, "not yet"),
        });
        // The names of the real world become those of this test, and its patience the test's.
        let document = example("examples/deploy.yml")
            .replace("ghcr.io", registry.address())
            .replace("https://web.example", &service.url(""))
            .replace("every: 5s", "every: 20ms")
            .replace("hold: 30s", "hold: 50ms");
        project.write("examples/deploy.yml", document);
        project.write("keys/release.pub", fs::read(signer.public_key()).unwrap());
        project.write_program(
            "deploy.sh",
            &format!(
                "#!/bin/sh\necho \"$1\" >>'{}'\n",
                project.kept("deployed").display()
            ),
        );
        Self {
            digest: reference.split_once('@').unwrap().1.to_owned(),
            project,
            registry,
            _open: open,
            _service: service,
        }
    }

    fn deploy(&self) {
        fs::write(self.project.kept("deployed"), "").unwrap();
    }

    /// Runs an example with our own action in place of the one that it names.
    fn run_example(&self, name: &str) -> Job {
        let workflow = example(&format!("examples/github/{name}"));
        let workflow = ours(&workflow).replace("ghcr.io", self.registry.address());
        let workflow = format!("{workflow}{}", self.project.keep());
        let secrets = [("GITHUB_TOKEN", PASSWORD)];
        self.project.start_workflow(&workflow, &secrets).finish()
    }
}

/// Puts our own action in the place of the one that a workflow of the documentation names.
fn ours(workflow: &str) -> String {
    let call =
        Regex::new("uses: acme/shipgate@0{40}( #.*)?\n((?: +id: .*\n)?)( +)with:\n").unwrap();
    assert!(call.is_match(workflow), "{workflow}");
    let mine = "uses: ./\n${2}${3}with:\n${3}  binary: BINARY\n";
    call.replace_all(workflow, mine).into_owned()
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}
