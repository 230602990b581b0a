//! What a job leaves behind: annotations, the summary, outputs, and no secret in any of it.
//!
//! Without `act`, which takes commands out of the log and hides its own secrets.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{Answer, Runner, Sandbox, Service};

#[test]
fn mistakes_become_annotations_at_their_places() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "deploy/web.yml",
        "version: 1\nname: web\nimages:\n  web: \"127.0.0.1:5000/acme/web:v1\"\nsteps:\n  - preload: {imagez: [web]}\n  - preload: {images: [wob]}\n",
    );
    // From the root of the repository, whatever folder it runs in.
    for (folder, file) in [("", "deploy/web.yml"), ("deploy", "web.yml")] {
        let runner = Runner::new(&sandbox)
            .with("working-directory", folder)
            .with("pipeline", file);
        let output = runner.run().expect(10);
        let log = output.stdout + &output.stderr;
        for place in ["line=6,endLine=6,col=15", "line=7,endLine=7,col=24"] {
            let command = format!("::error file=deploy/web.yml,{place},");
            assert!(log.contains(&command), "no {command} in\n{log}");
        }
        assert_eq!(runner.output("status"), "pipeline-invalid");
        assert_eq!(runner.output("digests"), "{}");
    }
}

#[test]
fn a_failed_step_becomes_an_annotation_at_its_line() {
    let sandbox = Sandbox::new();
    let text = fs::read_to_string(root().join("examples/failing.yml")).unwrap();
    let line = text
        .lines()
        .position(|line| line.contains("id: live"))
        .unwrap()
        + 1;
    sandbox.write("failing.yml", text);
    let runner = Runner::new(&sandbox).with("pipeline", "failing.yml");
    let output = runner.run().expect(50);
    let log = output.stdout + &output.stderr;
    let command = format!("::error file=failing.yml,line={line},");
    assert!(log.contains(&command), "no {command} in\n{log}");
    let groups = |command| log.lines().filter(|line| line.starts_with(command)).count();
    assert!(groups("::group::") >= 3, "{log}");
    assert_eq!(groups("::group::"), groups("::endgroup::"), "{log}");
}

#[test]
fn a_pipeline_of_the_workflow_has_places_too() {
    let sandbox = Sandbox::new();
    let runner = Runner::new(&sandbox).with(
        "pipeline",
        "version: 1\nname: inline\nsteps:\n  - prelaod: {images: []}",
    );
    let output = runner.run().expect(10);
    let log = output.stdout + &output.stderr;
    let told = log
        .lines()
        .find(|line| line.starts_with("::error"))
        .unwrap();
    // No file of the repository, so the annotation has no place, and its text has it.
    assert!(!told.contains("file="), "{told}");
    assert!(
        told.contains("pipeline.yml:4:5") && told.contains("preload"),
        "{told}"
    );
}

#[test]
fn the_summary_is_written_unless_it_is_not_wanted() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "pipeline.yml",
        fs::read(root().join("pipeline.yml")).unwrap(),
    );
    let runner = Runner::new(&sandbox);
    runner.run().expect(0);
    let digest: serde_json::Value = serde_json::from_str(&runner.output("digests")).unwrap();
    let summary = runner.summary("run");
    for fact in [
        digest["web"].as_str().unwrap(),
        "signed by playground",
        "health",
    ] {
        assert!(summary.contains(fact), "no {fact} in\n{summary}");
    }
    let runner = runner.with("summary", "false");
    runner.run().expect(0);
    assert_eq!(runner.summary("run"), "");
    assert_eq!(runner.output("status"), "done");
}

#[test]
fn plans_and_checks_have_outputs_as_well() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "pipeline.yml",
        fs::read(root().join("pipeline.yml")).unwrap(),
    );
    let runner = Runner::new(&sandbox).with("command", "plan");
    let output = runner.run().expect(0);
    assert!(output.stdout.contains("preload"), "{}", output.stdout);
    assert_eq!(runner.output("status"), "done");
    assert!(runner.output("digests").contains("sha256:"));
    let runner = Runner::new(&sandbox).with("command", "validate");
    runner.run().expect(0);
    assert_eq!(runner.output("status"), "done");
    assert!(Path::new(&runner.output("report")).is_file());
}

#[test]
fn no_secret_is_left_anywhere() {
    let token = "tok-3n-of-ci";
    let pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END KEY-----\n";
    // Says whatever it knows, in each form that services are known to repeat secrets in.
    let body = json!({"echo": format!(
        "{token} {} {} {}", STANDARD.encode(format!("ci:{token}")), STANDARD.encode(pem), pem
    )})
    .to_string();
    let gossip = Service::start(move |_| Answer::text(401, &body));
    let sandbox = Sandbox::new();
    sandbox.write("pipeline.yml", leaky(&gossip));
    let runner = Runner::new(&sandbox)
        .with("log-level", "verbose")
        .with("cache", "images")
        .env("TOKEN", token)
        .env("PEM", pem)
        .env("HOOK", &gossip.url("/hooks/T0PS3CR3T"));
    let output = runner.run();
    assert!(!output.status.success(), "{}", output.stderr);
    assert!(gossip.requests().len() > 4, "{}", output.stderr);

    // The commands by which the runner learns what to hide hold it, and come before all else.
    let log = output.stdout + &output.stderr;
    let (masks, rest): (Vec<&str>, Vec<&str>) = log
        .lines()
        .partition(|line| line.starts_with("::add-mask::"));
    for form in [
        token,
        "MIIEvQIBADANBgkqhkiG9w0B",
        "AQEFAASCBKcwggSjAgEAAoIB",
    ] {
        assert!(
            masks.contains(&format!("::add-mask::{form}").as_str()),
            "{log}"
        );
    }
    let first = log
        .lines()
        .position(|line| !line.starts_with("::add-mask::"));
    assert_eq!(first, Some(masks.len()), "{log}");

    let mut left = vec![("the log".to_owned(), rest.join("\n"))];
    collect(sandbox.path(), &mut left);
    collect(&runner.temporary(), &mut left);
    assert!(left.iter().any(|(name, _)| name.ends_with("report.json")));
    // Pieces of it would be too much as well: excerpts are cut anywhere.
    let pieces = [
        pieces(token, 8),
        pieces("MIIEvQIBADANBgkqhkiG9w0B", 8),
        pieces("AQEFAASCBKcwggSjAgEAAoIB", 8),
        pieces("T0PS3CR3T", 8),
        pieces(&STANDARD.encode(format!("ci:{token}")), 12),
        pieces(&STANDARD.encode(pem), 12),
    ]
    .concat();
    for (name, text) in left {
        for piece in &pieces {
            assert!(!text.contains(piece), "{piece} in {name}:\n{text}");
        }
    }
}

/// Returns every part of so many characters.
fn pieces(text: &str, length: usize) -> Vec<String> {
    let starts = 0..=text.len() - length;
    starts.map(|at| text[at..at + length].to_owned()).collect()
}

/// A pipeline that gives its secrets to one who repeats them.
fn leaky(gossip: &Service) -> String {
    format!(
        r#"version: 1
name: leaky
secrets:
  token: {{env: TOKEN}}
  pem: {{env: PEM}}
  hook: {{env: HOOK}}
registries:
  "{0}": {{auth: {{username: ci, password: "${{secret.token}}"}}}}
images:
  web: "{0}/acme/web:v1"
steps:
  - check: {{registry: "{0}"}}
    continue-on-error: true
  - preload: {{images: [web]}}
    continue-on-error: true
  - gate:
      within: 200ms
      every: 20ms
      probes:
        echo:
          http:
            url: "http://{0}/"
            status: 401
            headers: {{authorization: "Bearer ${{secret.token}}"}}
            json: {{path: $.echo, equals: fine}}
finally:
  - notify: {{slack: {{webhook: "${{secret.hook}}"}}, on: [failure]}}
"#,
        gossip.address()
    )
}

/// Reads every file below a folder.
fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.push((path.display().to_string(), text));
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
