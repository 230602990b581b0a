//! The same program as a component: what it does natively it does in the sandbox.
//!
//! The launcher compiles the component once for all tests; the stock runtime does for each run.

mod artifacts;
mod cancel;
mod distribution;
mod escapes;
mod hosts;
mod journal;
mod refusals;
mod ways;

use std::fs;

use serde_json::Value;

use crate::harness::{
    Image, Layout, Output, Project, Registry, Runtime, Sandbox, Service, Signer, installed,
    normalise, shared,
};

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
        let inside = runtime.run(&sandbox, &arguments);
        let inside = inside.expect(runtime.code(10));
        assert_eq!(own_words(&inside), outside.stderr, "{runtime:?}");
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_pulls_verifies_and_gates_over_the_network() {
    let peers = Peers::start();
    for runtime in Runtime::ALL {
        let sandbox = peers.sandbox();
        runtime.run(&sandbox, &["p.yml"]).expect(0);
        super::preload::assert_holds(&sandbox.cache(), &peers.image);
        // The folder is the same inside and outside, so natively nothing is left to fetch.
        let listed = sandbox.run(["cache", "ls"]).expect(0);
        assert!(listed.stdout.contains("acme/web"), "{}", listed.stdout);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_run_in_the_sandbox_leaves_the_same_report_and_lock() {
    let peers = Peers::start();
    let (native, caged) = (peers.sandbox(), peers.sandbox());
    let arguments = ["p.yml", "--report", "out/report", "--lock", "p.lock"];
    let outside = native.run(arguments).expect(0);
    let inside = caged.caged(&arguments).expect(0);
    assert_eq!(report(&caged), report(&native));
    assert_eq!(normal_talk(&inside, &caged), normal_talk(&outside, &native));
    let lock = |sandbox: &Sandbox| fs::read_to_string(sandbox.path().join("p.lock")).unwrap();
    assert_eq!(lock(&caged), lock(&native));
    let leftovers = fs::read_dir(caged.path()).unwrap();
    let mut names: Vec<_> = leftovers
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["cache", "home", "ops.pub", "out", "p.lock", "p.yml"]
    );
    // With the lock a second run is the same too.
    caged.caged(&arguments).expect(0);
    native.run(arguments).expect(0);
    assert_eq!(report(&caged), report(&native));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_playground_is_hosted_by_the_launcher() {
    for (pipeline, code) in [
        ("pipeline.yml", 0),
        ("examples/failing.yml", 50),
        ("examples/refused.yml", 31),
    ] {
        let (native, caged) = (Sandbox::new(), Sandbox::new());
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let text = fs::read_to_string(format!("{root}{pipeline}")).unwrap();
        for sandbox in [&native, &caged] {
            sandbox.write("p.yml", &text);
        }
        let arguments = ["p.yml", "--report", "out/report"];
        native.run(arguments).expect(code);
        caged.caged(&arguments).expect(code);
        assert_eq!(report(&caged), report(&native), "{pipeline}");
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn what_is_wrong_is_told_in_the_same_words() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.yml", "version: 1\nname: bad\nstepz: []\n");
    sandbox.write(
        "input.yml",
        "version: 1\ninputs:\n  tag: {}\nsteps:\n  - check: {registry: \"${input.tag}\"}\n",
    );
    sandbox.write(
        "secret.yml",
        "version: 1\nsecrets: {a: {env: UNSET}}\nsteps:\n  - notify: {webhook: {url: \"${secret.a}\"}, on: [failure]}\n",
    );
    for (file, code) in [("bad.yml", 10), ("input.yml", 11), ("secret.yml", 11)] {
        let outside = sandbox.run(["run", file]).expect(code);
        let inside = sandbox.caged(&["run", file]).expect(code);
        assert_eq!(inside.stderr, outside.stderr);
    }
    sandbox.caged(&["run", "missing.yml"]).expect(10);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_refuses_with_the_same_codes() {
    let registry = Registry::start();
    let unsigned = Image::new("unsigned", &[10]).push(registry.address(), "acme/unsigned", "v1");
    let signed = Image::new("signed", &[10]).push(registry.address(), "acme/signed", "v1");
    Signer::new().sign(&signed, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.write("ops.pub", fs::read(Signer::new().public_key()).unwrap());
    let images = format!("images:\n  one: \"{unsigned}\"\n  two: \"{signed}\"\n");
    let trust = "trust:\n  signers: {ops: {key: ops.pub}}\n  images: {\"**\": {signed-by: ops}}\n";
    let steps = "steps:\n  - verify: {images: [one, two]}\n";
    sandbox.write("p.yml", format!("version: 1\n{images}{trust}{steps}"));
    for runtime in Runtime::ALL {
        // Two refusals, and the more dangerous one decides.
        runtime.run(&sandbox, &["p.yml"]).expect(runtime.code(31));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_plan_writes_nothing() {
    let peers = Peers::start();
    let (native, caged) = (peers.sandbox(), peers.sandbox());
    let outside = native.run(["plan", "p.yml", "--format", "json"]).expect(0);
    let inside = caged
        .caged(&["plan", "p.yml", "--format", "json"])
        .expect(0);
    let plan = |output: &Output, sandbox: &Sandbox| normalise(&output.stdout, sandbox.path());
    assert_eq!(plan(&inside, &caged), plan(&outside, &native));
    assert!(!caged.cache().exists());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_pipeline_is_read_from_standard_input_once() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", "version: 1\nsteps:\n  - gate: {within: 1s, every: 1s, probes: {a: {tcp: \"127.0.0.1:9\"}}}\n");
    let line = format!(
        "{} - --component {} <p.yml",
        crate::harness::launcher().display(),
        crate::harness::component().display()
    );
    sandbox.caged(&["validate", "p.yml"]).expect(0);
    sandbox.launch_line(&line).expect(50);
}

/// A real registry with a signed image, and a service that is up.
struct Peers {
    registry: Registry,
    service: Service,
    image: Image,
    signer: Signer,
}

impl Peers {
    fn start() -> Self {
        let registry = Registry::start();
        let signer = Signer::new();
        let image = Image::new("component", &[1000, 300_000]);
        let reference = image.push(registry.address(), "acme/web", "v1");
        signer.sign(&reference, Layout::Bundle);
        Self {
            registry,
            service: Service::constant(200, "up"),
            image,
            signer,
        }
    }

    fn sandbox(&self) -> Sandbox {
        let (registry, service) = (self.registry.address(), self.service.address());
        let sandbox = Sandbox::new();
        sandbox.write("ops.pub", fs::read(self.signer.public_key()).unwrap());
        sandbox.write(
            "p.yml",
            format!(
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
            ),
        );
        sandbox
    }
}

/// What differs between two runs of one pipeline, natively or not: times, ids, and sizes of answers
/// that hold a port. Ports, and the keys that a playground makes, are masked besides.
const MASKED: [&str; 8] = [
    "at_ms",
    "began_ms",
    "finished",
    "latency_ms",
    "received",
    "run",
    "started",
    "took_ms",
];

/// Returns the report of a run without what differs between any two runs.
fn report(sandbox: &Sandbox) -> Value {
    let path = sandbox.path().join("out/report/report.json");
    let text = fs::read_to_string(&path).unwrap();
    let mut report: Value = serde_json::from_str(&normalise(&text, sandbox.path())).unwrap();
    mask(&mut report);
    report
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                if MASKED.contains(&key.as_str()) {
                    *value = Value::Null;
                }
                mask(value);
            }
            // What a playground's new key signs has a new digest.
            if let Some(Value::Array(signatures)) = object.get_mut("signatures") {
                signatures
                    .iter_mut()
                    .for_each(|it| it["digest"] = Value::Null);
            }
            // Images of one step are fetched at the same time: which comes first, and which of two
            // fetches a blob that both have, is open.
            if let Some(Value::Array(images)) = object.get_mut("images") {
                for image in images {
                    image["fetched"] = Value::Null;
                    image["cached"] = Value::Null;
                }
            }
            // Hosts are sorted by their ports.
            for list in ["hosts", "images", "signatures"] {
                if let Some(Value::Array(items)) = object.get_mut(list) {
                    items.sort_by_key(ToString::to_string);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::String(text) => {
            let made = regex::Regex::new("(key|bundle,) sha256:[0-9a-f]{64}").unwrap();
            *text = made.replace_all(text, "$1 [MADE]").into_owned();
        }
        _ => {}
    }
}

/// Returns what the component itself says: the launcher's table stands before it.
fn own_words(output: &Output) -> String {
    let table = output.stderr.starts_with("sandbox: the component gets\n");
    let lines = output.stderr.split_inclusive('\n');
    lines
        .skip_while(|line| table && (line.starts_with("sandbox:") || line.starts_with("  ")))
        .collect()
}

fn normal_talk(output: &Output, sandbox: &Sandbox) -> String {
    let text = normalise(&own_words(output), sandbox.path());
    // What is too short or too small to be measured is said in other words, and columns follow.
    let text = text.replace("<[TIME]", "[TIME]").replace(" ([RATE])", "");
    let spaces = regex::Regex::new(" +").unwrap();
    spaces.replace_all(&text, " ").into_owned()
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_action_runs_a_pipeline_in_the_sandbox() {
    let project = Project::new();
    project.write_example("pipeline.yml");
    let program = installed(&project.sandbox.path().join("programs"));
    let variables: String = shared()
        .iter()
        .map(|(name, value)| format!("          {name}: {value}\n"))
        .collect();
    let job = project
        .run(&format!(
            "      - id: gate
        uses: ./
        with:
          sandbox: true
          binary: {}
          cache: {}
        env:
{variables}",
            program.display(),
            project.sandbox.cache().display()
        ))
        .says("sandbox: the component gets")
        .expect(0);
    assert_eq!(job.output("status"), "done");
    assert!(job.output("digests").contains("sha256:"), "{}", job.log);
}
