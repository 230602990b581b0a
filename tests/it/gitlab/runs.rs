//! Whole pipelines by the real runner, in its shell executor.

use std::fs;

use serde_json::{Value, json};

use super::linters::examples;
use super::project::{COMPONENT, Project};
use super::rules::HOSTILE;
use crate::harness::{Answer, Image, Layout, Registry, Sandbox, Service, Signer};

#[test]
#[ignore = "needs real peers: tests/run"]
fn one_job_runs_a_whole_pipeline() {
    let project = Project::including(&[("run", json!({}))], json!({})).own_file("pipeline.yml");
    project.run().expect(0);
    assert_eq!(exit(&project, "shipgate", "shipgate-report"), "done");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_gate_that_fails_and_a_signature_that_is_refused_fail_the_job() {
    for (file, code, name) in [
        ("examples/failing.yml", 50, "gate-failed"),
        ("examples/refused.yml", 30, "unsigned"),
    ] {
        let inputs = json!({"pipeline": file.strip_prefix("examples/").unwrap()});
        let project = Project::including(&[("run", inputs)], json!({})).own_file(file);
        let output = project.run().expect(1);
        assert!(
            output.stdout.contains(&format!("FAIL {code}")),
            "{}",
            output.stdout
        );
        assert_eq!(exit(&project, "shipgate", "shipgate-report"), name);
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
    let output = project.run().expect(1);
    assert!(output.stdout.contains("FAIL 127"), "{}", output.stdout);
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
    let output = project.run().expect(1);
    assert!(output.stdout.contains("FAIL 12"), "{}", output.stdout);
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
        project
            .file("keys/release.pub", fs::read(self.signer.public_key()).unwrap())
            .file(
                "pipeline.yml",
                format!(
                    "version: 1
name: web
inputs: {{tag: {{type: string, pattern: 'v[0-9]+'}}}}
images: {{web: \"{registry}/acme/web:${{input.tag}}\"}}
trust:
  signers: {{release: {{key: keys/release.pub}}}}
  images: {{\"{registry}/**\": {{signed-by: release}}}}
steps:
  - check: {{registry: \"{registry}\"}}
  - preload: {{images: [web]}}
  - verify: {{images: [web]}}
  - id: live
    gate:
      within: 10s
      every: 50ms
      probes:
        version: {{http: {{url: \"{url}\", json: {{path: $.image, equals: \"${{image.web.digest}}\"}}}}}}
",
                    registry = self.registry.address(),
                    url = self.service.url("/version"),
                ),
            )
            // Between the calls somebody moves the tag: the gate must not follow it.
            .file(
                "deploy.sh",
                format!(
                    "printf %s \"$1\" >'{}'\n'{}' copy '{moved}' '{}/acme/web:v1'\n",
                    self.deployed.path().join("deployed").display(),
                    crane.display(),
                    self.registry.address(),
                ),
            )
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn two_jobs_around_a_foreign_deploy_agree_on_the_digest() {
    let world = World::new();
    let text = example("around-a-deploy").replace("./deploy.sh", "sh ./deploy.sh");
    let project = world.furnish(Project::new(&text));
    project.run().expect(0);
    let [before, after] = [("shipgate-preload", "preload"), ("shipgate-gate", "gate")]
        .map(|(job, folder)| project.report(job, &format!("shipgate-report/{folder}")));
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
fn nothing_is_deployed_when_the_signature_is_refused() {
    let world = World::new();
    let stranger = Signer::new();
    let text = example("around-a-deploy").replace("./deploy.sh", "sh ./deploy.sh");
    let project = world
        .furnish(Project::new(&text))
        .file("keys/release.pub", fs::read(stranger.public_key()).unwrap());
    project.run().expect(1);
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
fn the_pieces_do_what_the_whole_does() {
    let world = World::new();
    let jobs = json!({
        "stages": ["verify", "deploy", "watch"],
        "deploy": {"stage": "deploy", "script": ["sh ./deploy.sh \"$SHIPGATE_DIGEST_WEB\""]},
    });
    let preload = json!({"stage": "verify", "inputs": "tag=v1"});
    let gate = json!({"stage": "watch", "inputs": "tag=v1", "from": "live"});
    let project = world.furnish(Project::including(
        &[("preload", preload), ("gate", gate)],
        jobs,
    ));
    project.run().expect(0);
    assert_eq!(
        exit(&project, "shipgate-preload", "shipgate-report/preload"),
        "done"
    );
    assert_eq!(
        exit(&project, "shipgate-gate", "shipgate-report/gate"),
        "done"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_example_of_one_job_runs() {
    let project = Project::new(&example("one-job")).own_file("pipeline.yml");
    project.run().expect(0);
    assert_eq!(exit(&project, "shipgate", "shipgate-report"), "done");
}

/// Returns an example that includes the component of its own project.
fn example(name: &str) -> String {
    let examples = examples();
    let file = examples
        .iter()
        .find(|path| path.ends_with(format!("{name}.gitlab-ci.yml")))
        .unwrap();
    let text = fs::read_to_string(file).unwrap();
    let component = regex::Regex::new(r"\$CI_SERVER_FQDN/my-group/shipgate/([a-z]+)@main").unwrap();
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

/// Takes the colours out.
fn plain(text: &str) -> String {
    regex::Regex::new("\u{1b}\\[[0-9;]*m")
        .unwrap()
        .replace_all(text, "")
        .into_owned()
}
