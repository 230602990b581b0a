//! Whole pipelines by the real runner, in its shell executor.

use std::fs;

use regex::{NoExpand, Regex};
use serde_json::{Value, json};

use super::linters::examples;
use super::project::{COMPONENT, Project};
use super::rules::HOSTILE;
use crate::harness::{
    Answer, Image, Layout, Output, Registry, Sandbox, Service, Signal, Signer, comparable, wait_for,
};

#[test]
#[ignore = "needs real peers: tests/run"]
fn one_job_runs_a_whole_pipeline() {
    let project = Project::including(&[("run", json!({}))], json!({})).own_file("pipeline.yml");
    project.run().expect(0);
    assert_eq!(exit(&project, "shipgate", "shipgate-report"), "done");
    assert_eq!(sections(&project, "shipgate"), 5, "one a step");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_gate_that_fails_and_a_signature_that_is_refused_fail_the_job() {
    for (file, code, name) in [
        ("examples/failing.yml", 50, "gate-failed"),
        ("examples/refused.yml", 31, "wrong-signer"),
    ] {
        let inputs = json!({"pipeline": file.strip_prefix("examples/").unwrap()});
        let project = Project::including(&[("run", inputs)], json!({})).own_file(file);
        failed(project.run(), code);
        assert_eq!(exit(&project, "shipgate", "shipgate-report"), name);
        assert!(sections(&project, "shipgate") >= 2);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn inputs_reach_the_pipeline() {
    let service = Service::constant(200, "up");
    let inputs = json!({
        "job": "watch the service",
        "stage": "watch",
        "pipeline": "ci/watch.yml",
        "inputs": format!("url={}\nexpect=$GREETING\n", service.url("/health")),
        "only": "live",
        "report-dir": "reports/watch",
        "cache-dir": "cache dir",
        "verbosity": "verbose",
        "rules": [{"if": "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"}],
        "needs": ["greet"],
        "tags": ["large"],
        "environment": "production",
        "resource-group": "production",
        "id-token-audience": "sigstore",
    });
    // The greeting comes from another job at run time, as a digest or an address would.
    let jobs = json!({
        "stages": ["build", "watch"],
        "greet": {
            "stage": "build",
            "script": ["echo GREETING=up >greeting.env"],
            "artifacts": {"reports": {"dotenv": "greeting.env"}},
        },
    });
    let project = Project::including(&[("run", inputs)], jobs).file(
        "ci/watch.yml",
        "version: 1
name: watch
inputs: {url: {}, expect: {}}
steps:
  - check: {registry: registry.invalid}
  - id: live
    gate: {within: 5s, every: 50ms, probes: {page: {http: {url: \"${input.url}\", body: {contains: \"${input.expect}\"}}}}}
",
    );
    project.run().expect(0);
    assert_eq!(exit(&project, "watch the service", "reports/watch"), "done");
    assert!(
        project.log("watch the service").contains("sample"),
        "verbose"
    );
}

/// Panics unless a job ended with this exit code.
#[track_caller]
fn failed(output: Output, code: i32) {
    let said = plain(&output.stderr);
    assert!(
        said.contains(&format!(" FAIL {code} ")),
        "{}\n{said}",
        output.stdout
    );
    output.expect(1);
}

/// Returns how many sections a job's log has; panics if one was left open.
fn sections(project: &Project, job: &str) -> usize {
    let log = plain(&project.log(job));
    // The runner swallows the marks and says what they mean.
    let named = |pattern: &str| -> Vec<String> {
        let found = Regex::new(pattern).unwrap();
        found
            .captures_iter(&log)
            .map(|found| found[1].to_owned())
            .collect()
    };
    let opened = named("(?m)^(shipgate_[a-z0-9_-]+)_started$");
    assert_eq!(opened, named("(?m)^(shipgate_[a-z0-9_-]+) took "), "{log}");
    opened.len()
}

fn exit(project: &Project, job: &str, folder: &str) -> String {
    let report = project.report(job, folder);
    report["exit"]["name"]
        .as_str()
        .unwrap_or_else(|| panic!("{report:#}"))
        .to_owned()
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn hostile_values_stay_values() {
    let sink = Service::constant(200, "");
    // GitLab itself turns `$NAME` in a value into a variable; `$$` is a dollar.
    let escaped = |value: &str| value.replace('$', "$$");
    for value in HOSTILE.iter().chain(&["$CI_JOB_TOKEN"]) {
        let inputs =
            json!({"inputs": format!("url={}\nnote={}", sink.url("/told"), escaped(value))});
        let project = Project::including(&[("run", inputs)], json!({})).file(
            "pipeline.yml",
            "version: 1
name: hostile
inputs: {url: {}, note: {}}
steps:
  - notify: {webhook: {url: \"${input.url}\"}, on: [success], message: \"${input.note}\"}
",
        );
        let told = sink.requests().len();
        let output = project
            .start(&["--variable", "CI_JOB_TOKEN=token-of-the-job"])
            .finish();
        let first = value.lines().next().unwrap();
        if first == *value {
            let output = output.expect(0);
            let requests = sink.requests();
            let body: Value = serde_json::from_slice(&requests[told].body).unwrap();
            let printable: String = value.chars().filter(|c| !c.is_control()).collect();
            let message: String = body["message"]
                .as_str()
                .unwrap()
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            assert!(
                message.ends_with(&printable),
                "{value:?} became {message:?}"
            );
            assert!(!output.stdout.contains("token-of-the-job"));
        } else {
            // The lines after the first are no inputs, and the program says so.
            output.expect(1);
            assert_eq!(sink.requests().len(), told);
        }
        let log = project.log("shipgate");
        assert!(!log.contains("section_start:1:owned"), "{log}");
        for entry in walk(project.sandbox.path()) {
            assert!(!entry.ends_with("owned"), "{value:?} made {entry}");
        }
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_value_that_does_not_fit_is_refused_by_name_before_anything_runs() {
    for (template, inputs, name, words) in [
        (
            "run",
            json!({"verbosity": "loud"}),
            "verbosity",
            "not in the list of allowed options",
        ),
        (
            "run",
            json!({"retry": 9}),
            "retry",
            "not in the list of allowed options",
        ),
        (
            "run",
            json!({"interruptible": "yes"}),
            "interruptible",
            "not a boolean",
        ),
        (
            "run",
            json!({"report-dir": "../elsewhere"}),
            "report-dir",
            "does not match",
        ),
        (
            "run",
            json!({"report-dir": "a$(touch owned)"}),
            "report-dir",
            "does not match",
        ),
        ("run", json!({"job": ".hidden"}), "job", "does not match"),
        ("run", json!({"binary": "-x"}), "binary", "does not match"),
        (
            "preload",
            json!({"lock": "/etc/passwd"}),
            "lock",
            "does not match",
        ),
        (
            "gate",
            json!({"from": "live; rm -rf ."}),
            "from",
            "does not match",
        ),
        (
            "shipgate",
            json!({}),
            "deploy-job",
            "required value has not been provided",
        ),
    ] {
        let project = Project::including(&[(template, inputs.clone())], json!({}));
        let output = project.run().expect(1);
        let said = plain(&output.stderr);
        assert!(
            said.contains(&format!("`{name}` input")) && said.contains(words),
            "{inputs}\n{said}"
        );
        assert!(!project.sandbox.path().join("owned").exists());
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_program_that_is_not_in_the_image_is_named_with_a_hint() {
    let inputs = json!({"binary": "bin/shipgate"});
    let project = Project::including(&[("run", inputs)], json!({})).own_file("pipeline.yml");
    failed(project.run(), 127);
    let log = project.log("shipgate");
    assert!(
        log.contains("error: bin/shipgate is not here\nhint: "),
        "{log}"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_gate_without_the_first_job_is_refused() {
    let project = Project::including(&[("gate", json!({"from": "live"}))], json!({}))
        .own_file("pipeline.yml");
    failed(project.run(), 12);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_job_that_is_cancelled_or_killed_ends_in_order() {
    for (signal, code, told, said) in [
        (Signal::Terminate, 70, "cancelled", "nothing to finish"),
        (Signal::Kill, 137, "cancelled", "nothing is left open"),
    ] {
        let silent = Service::start(|_| Answer::Silence);
        let sink = Service::constant(200, "");
        let inputs = json!({
            "inputs": format!("silent={}\nsink={}", silent.url("/"), sink.url("/told")),
            "cache-dir": "a cache",
        });
        let project = Project::including(&[("run", inputs)], json!({})).file(
            "pipeline.yml",
            "version: 1
name: stuck
inputs: {silent: {}, sink: {}}
steps:
  - gate: {within: 60s, every: 50ms, probes: {page: {http: {url: \"${input.silent}\", status: 200}}}}
finally:
  - notify: {webhook: {url: \"${input.sink}\"}, on: [cancelled]}
",
        );
        let running = project.start(&[]);
        wait_for("the gate to ask", || {
            (!silent.requests().is_empty()).then_some(())
        });
        project.signal(signal);
        failed(running.finish(), code);
        assert_eq!(sink.requests().len(), 1, "finally runs once, {signal:?}");
        assert_eq!(exit(&project, "shipgate", "shipgate-report"), told);
        let log = plain(&project.log("shipgate"));
        assert!(log.contains(said), "{log}");
        assert!(sections(&project, "shipgate") >= 2);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn no_secret_is_in_a_log_or_an_artifact() {
    let sink = Service::constant(500, "no");
    let secret = "T0K3N-of-the-hook";
    let inputs = json!({"inputs": format!("sink={}", sink.url("/")), "verbosity": "verbose"});
    let project = Project::including(&[("run", inputs)], json!({})).file(
        "pipeline.yml",
        "version: 1
name: secret
inputs: {sink: {}}
secrets: {token: {env: HOOK_TOKEN}}
steps:
  - notify: {webhook: {url: \"${input.sink}\", headers: {authorization: \"Bearer ${secret.token}\"}}, on: [success], required: true}
",
    );
    let variable = format!("HOOK_TOKEN={secret}");
    let output = project.start(&["--variable", &variable]).finish();
    let told = sink.requests();
    assert!(
        told[0]
            .headers
            .iter()
            .any(|(_, value)| value.contains(secret)),
        "it was used"
    );
    assert!(!output.stdout.contains(secret) && !output.stderr.contains(secret));
    for name in walk(project.sandbox.path()) {
        let content = String::from_utf8_lossy(&fs::read(&name).unwrap()).into_owned();
        assert!(!content.contains(secret), "{name}\n{content}");
    }
    failed(output, 80);
}

/// A registry with a signed image, a service that tells which digest was deployed, and the pipeline about both.
struct World {
    registry: Registry,
    image: Image,
    service: Service,
    deployed: Sandbox,
    signer: Signer,
}

impl World {
    fn new() -> Self {
        let registry = Registry::start();
        let image = Image::new("gitlab", &[40_000, 1000]);
        let signer = Signer::new();
        let reference = image.push(registry.address(), "acme/web", "v1");
        signer.sign(&reference, Layout::Bundle);
        let deployed = Sandbox::new();
        let file = deployed.path().join("deployed");
        let service = Service::start(move |_| match fs::read_to_string(&file) {
            Ok(digest) => Answer::text(200, &json!({"image": digest}).to_string()),
            Err(_) => Answer::text(503, "nothing is deployed"),
        });
        Self {
            registry,
            image,
            service,
            deployed,
            signer,
        }
    }

    /// Adds what a project has of its own: the pipeline, the key, and the script that deploys.
    fn furnish(&self, project: Project) -> Project {
        let other = Image::new("moved", &[1000]);
        let moved = other.push(self.registry.address(), "acme/web", "moved");
        let crane = crate::harness::tool("crane");
        let probe = format!(
            "version: {{http: {{url: \"{}\", json: {{path: $.image, equals: \"${{image.web.digest}}\"}}}}}}\n",
            self.service.url("/version")
        );
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/deploy.yml");
        let pipeline = replaced(
            &fs::read_to_string(path).unwrap(),
            &[
                ("ghcr.io", self.registry.address()),
                ("within: 5m", "within: 10s"),
                ("every: 5s", "every: 50ms"),
                ("hold: 30s", "hold: 100ms"),
            ],
        );
        let health = Regex::new("health: .*\n").unwrap();
        assert!(health.is_match(&pipeline));
        let pipeline = health.replace(&pipeline, NoExpand(&probe));
        project
            .file(
                "keys/release.pub",
                fs::read(self.signer.public_key()).unwrap(),
            )
            .file("examples/deploy.yml", &*pipeline)
            // Between the calls somebody moves the tag: the gate must not follow it.
            .file(
                "deploy.sh",
                format!(
                    "printf %s \"${{1#*@}}\" >'{}'\n'{}' copy '{moved}' '{}/acme/web:v1'\n",
                    self.deployed.path().join("deployed").display(),
                    crane.display(),
                    self.registry.address(),
                ),
            )
    }

    /// Makes a project of the example with two calls.
    fn two_calls(&self) -> Project {
        self.furnish(Project::new(
            &example("two-calls").replace("./deploy.sh", "sh ./deploy.sh"),
        ))
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn nothing_is_deployed_when_the_signature_is_refused() {
    let world = World::new();
    let stranger = Signer::new();
    let key = fs::read(stranger.public_key()).unwrap();
    let project = world.two_calls().file("keys/release.pub", key);
    release(&project).expect(1);
    let report = project.report("shipgate-preload", "shipgate-report/preload");
    assert_eq!(report["exit"]["name"], "wrong-signer");
    assert!(!world.deployed.path().join("deployed").exists());
    assert!(
        !project.artifact("shipgate-gate", "").exists(),
        "the gate does not run either"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn one_call_leaves_the_report_that_the_command_line_leaves() {
    let world = World::new();
    fs::write(world.deployed.path().join("deployed"), world.image.digest()).unwrap();
    let project = world.furnish(Project::new(&example("one-call")));
    release(&project).expect(0);
    let mut same = Sandbox::new();
    for name in ["keys/release.pub", "examples/deploy.yml"] {
        same.write(name, fs::read(project.sandbox.path().join(name)).unwrap());
    }
    same.set("REGISTRY_TOKEN", "token-of-the-registry");
    let arguments = "run examples/deploy.yml --input tag=v1 --report shipgate-report";
    same.run(arguments.split(' ')).expect(0);
    let local = fs::read_to_string(same.path().join("shipgate-report/report.json")).unwrap();
    assert_eq!(
        comparable(&project.report("shipgate", "shipgate-report")),
        comparable(&serde_json::from_str(&local).unwrap())
    );
}

/// The jobs around a deploy, and the folders of their reports.
const CALLS: [(&str, &str); 2] = [
    ("shipgate-preload", "shipgate-report/preload"),
    ("shipgate-gate", "shipgate-report/gate"),
];

/// Runs the pipeline of the tag v1.
fn release(project: &Project) -> Output {
    let variables = ["CI_COMMIT_TAG=v1", "REGISTRY_TOKEN=token-of-the-registry"];
    let arguments = variables.map(|variable| ["--variable", variable]).concat();
    project.start(&arguments).finish()
}

/// Returns an example that includes the component of its own project.
fn example(name: &str) -> String {
    let examples = examples();
    let file = examples
        .iter()
        .find(|path| path.ends_with(format!("{name}.gitlab-ci.yml")))
        .unwrap();
    let text = fs::read_to_string(file).unwrap();
    let component = Regex::new(r"\$CI_SERVER_FQDN/my-group/shipgate/([a-z]+)@main").unwrap();
    assert!(component.is_match(&text));
    let own = |found: &regex::Captures<'_>| COMPONENT.replace("{name}", &found[1]);
    component.replace_all(&text, own).into_owned()
}

/// Returns the names of all files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

/// Replaces texts, each of which must be there.
fn replaced(text: &str, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "no {from}");
        text.replace(from, to)
    })
}

/// Takes the colours out.
fn plain(text: &str) -> String {
    Regex::new("\u{1b}\\[[0-9;]*m")
        .unwrap()
        .replace_all(text, "")
        .into_owned()
}
#[test]
#[ignore = "needs real peers: tests/run"]
fn two_jobs_around_a_foreign_deploy_agree_on_the_digest() {
    let world = World::new();
    let project = world.two_calls();
    release(&project).expect(0);
    let [before, after] = CALLS.map(|(job, folder)| project.report(job, folder));
    assert_eq!(before["exit"]["name"], "done");
    assert_eq!(after["exit"]["name"], "done");
    assert_eq!(before["images"][0]["digest"], json!(world.image.digest()));
    let deployed = fs::read_to_string(world.deployed.path().join("deployed")).unwrap();
    assert_eq!(
        deployed,
        world.image.digest(),
        "the deploy got it by its variable"
    );
    let locks = ["shipgate-preload", "shipgate-gate"]
        .map(|job| fs::read(project.artifact(job, "shipgate.lock")).unwrap());
    assert_eq!(locks[0], locks[1]);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_pieces_do_what_the_whole_does() {
    let world = World::new();
    let jobs = json!({
        "stages": ["verify", "deploy", "watch"],
        "deploy": {"stage": "deploy", "script": ["sh ./deploy.sh \"web@$SHIPGATE_DIGEST_WEB\""]},
    });
    let inputs = json!({"pipeline": "examples/deploy.yml", "inputs": "tag=v1"});
    let with = |more: Value| {
        let mut inputs = inputs.clone();
        let more = more.as_object().unwrap().clone();
        inputs.as_object_mut().unwrap().extend(more);
        inputs
    };
    let preload = with(json!({"stage": "verify", "until": "verified"}));
    let gate = with(json!({"stage": "watch", "from": "live"}));
    let components = [("preload", preload), ("gate", gate)];
    let project = world.furnish(Project::including(&components, jobs));
    release(&project).expect(0);
    for (job, folder) in CALLS {
        assert_eq!(exit(&project, job, folder), "done");
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_invalid_pipeline_is_told_at_its_lines_in_every_report() {
    let project = Project::including(&[("run", json!({"pipeline": "ci/web.yml"}))], json!({})).file(
        "ci/web.yml",
        "version: 1\nname: web\nsteps:\n  - gat: {}\n  - gate: {within: soon, every: 1s, probes: {}}\n",
    );
    failed(project.run(), 10);
    let quality = project.artifact("shipgate", "shipgate-report/code-quality.json");
    let quality: Value = serde_json::from_str(&fs::read_to_string(quality).unwrap()).unwrap();
    let places: Vec<_> = quality
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            assert_eq!(found["location"]["path"], "ci/web.yml");
            found["location"]["lines"]["begin"].as_u64().unwrap()
        })
        .collect();
    assert!(places.contains(&4) && places.contains(&5), "{quality:#}");
    let junit =
        fs::read_to_string(project.artifact("shipgate", "shipgate-report/junit.xml")).unwrap();
    assert!(junit.contains("ci/web.yml:4"), "{junit}");
    let variables =
        fs::read_to_string(project.artifact("shipgate", "shipgate-report/gitlab.env")).unwrap();
    assert!(
        variables.contains("SHIPGATE_STATUS=pipeline-invalid"),
        "{variables}"
    );
}
