//! Gates over real sockets: what the program sees of a service, and how it ends.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{Answer, Sandbox, Service};

/// A pipeline of one quick gate with these probes, and more lines at the gate's level.
fn pipeline(probes: &str, more: &str) -> String {
    let indented = |text: &str, by: usize| {
        let margin = " ".repeat(by);
        text.lines()
            .map(|line| format!("{margin}{line}\n"))
            .collect::<String>()
    };
    format!(
        "version: 1\nname: gate\nsteps:\n  - id: live\n    gate:\n      within: 1500ms\n      every: 50ms\n{}      probes:\n{}",
        indented(more, 6),
        indented(probes, 8),
    )
}

/// Returns an address on which nothing listens: servers of other tests have free ports of 127.0.0.1,
/// so that a port which is closed now may be open in a moment.
fn closed() -> String {
    "127.0.0.77:9".to_owned()
}

#[test]
fn a_healthy_service_passes_by_http_and_tcp() {
    let service = Service::constant(200, "{\"status\": \"green\", \"nodes\": [1, 2]}");
    let sandbox = Sandbox::new();
    let probes = format!(
        "page: {{http: {{url: \"{}\", status: 200, body: {{contains: green}}, json: {{path: \"$.status\", equals: green}}}}}}\nport: {{tcp: \"{}\"}}",
        service.url("/health"),
        service.address()
    );
    sandbox.write("p.yml", pipeline(&probes, "hold: 200ms"));
    sandbox.run(["p.yml"]).expect(0);
    let asked = service
        .requests()
        .iter()
        .filter(|r| r.target == "/health")
        .count();
    assert!(
        asked >= 3,
        "held for 200 ms at 50 ms a round, asked {asked} times"
    );
}

#[test]
fn a_failing_service_fails_with_the_samples() {
    let service = Service::constant(503, "starting");
    let sandbox = Sandbox::new();
    let probes = format!(
        "page: {{http: {{url: \"{}\", status: 200}}}}",
        service.url("/health")
    );
    sandbox.write("p.yml", pipeline(&probes, ""));
    sandbox
        .run(["run", "p.yml", "--report", "out"])
        .expect(50)
        .says("503");
    let report = std::fs::read_to_string(sandbox.path().join("out/report.json")).unwrap();
    assert!(
        report.contains("503") && report.contains("gate-failed"),
        "{report}"
    );
}

#[test]
fn a_service_that_comes_up_late_passes() {
    let asked = AtomicU32::new(0);
    let service = Service::start(move |_| {
        let late = asked.fetch_add(1, Ordering::SeqCst) < 5;
        Answer::text(if late { 503 } else { 200 }, "")
    });
    let sandbox = Sandbox::new();
    let probes = format!(
        "page:\n  http: {{url: \"{}\", status: 200}}\n  rule: {{consecutive: 3}}",
        service.url("/")
    );
    sandbox.write("p.yml", pipeline(&probes, ""));
    sandbox.run(["p.yml"]).expect(0);
    assert!(service.requests().len() >= 8);
}

#[test]
fn a_blind_prober_is_inconclusive_and_a_broken_service_is_not() {
    let sandbox = Sandbox::new();
    let dead = closed();
    let probes = format!("port: {{tcp: \"{dead}\"}}");

    let blind = format!("control: {{tcp: \"{}\"}}", closed());
    sandbox.write("blind.yml", pipeline(&probes, &blind));
    sandbox.run(["blind.yml"]).expect(51).says("control");

    let good = Service::constant(200, "");
    let seeing = format!(
        "control: {{http: {{url: \"{}\", status: 200}}}}",
        good.url("/")
    );
    sandbox.write("seeing.yml", pipeline(&probes, &seeing));
    sandbox.run(["seeing.yml"]).expect(50).says(&dead);
}

#[test]
fn one_good_probe_of_two_is_enough_only_where_the_document_says_so() {
    let good = Service::constant(200, "");
    let sandbox = Sandbox::new();
    let probes = format!(
        "up: {{tcp: \"{}\"}}\ndown: {{tcp: \"{}\"}}",
        good.address(),
        closed()
    );
    for (pass, code) in [
        ("all: [up, down]", 50),
        ("any: [up, down]", 0),
        ("at-least: {count: 1, of: [up, down]}", 0),
    ] {
        sandbox.write("p.yml", pipeline(&probes, &format!("pass: {{{pass}}}")));
        sandbox.run(["p.yml"]).expect(code);
    }
}

#[test]
fn a_service_that_never_answers_is_bounded() {
    let silent = Service::start(|_| Answer::Silence);
    let sandbox = Sandbox::new();
    let probes = format!(
        "page: {{http: {{url: \"{}\", status: 200}}}}",
        silent.url("/")
    );
    sandbox.write("p.yml", pipeline(&probes, ""));
    let code = sandbox.run(["p.yml"]).status.code();
    assert!(matches!(code, Some(50 | 51)), "{code:?}");
}

/// A playground pipeline whose gate compares what runs with the digest of this image.
fn comparing(image: &str, more: &str) -> String {
    format!(
        "version: 1
name: live
playground: true
images:
  web: \"${{playground.registry}}/acme/web:v1\"
  other: \"${{playground.registry}}/acme/unsigned:v1\"
steps:
  - preload: {{images: [web, other]}}
  - id: live
    gate:
      within: 1500ms
      every: 50ms
      probes:
        page: {{http: {{url: \"${{playground.service}}/health\", json: {{path: $.image, equals: \"${{image.{image}.digest}}\"}}{more}}}}}
"
    )
}

#[test]
fn what_answers_must_be_the_image_that_was_pulled() {
    let sandbox = Sandbox::new();
    sandbox.write("same.yml", comparing("web", ""));
    sandbox.run(["same.yml"]).expect(0);
    sandbox.write("other.yml", comparing("other", ""));
    let output = sandbox.run(["other.yml"]).expect(50);
    let digest = regex("sha256:[0-9a-f]{64}", &output.stderr);
    assert!(
        digest.len() >= 2,
        "both digests are named in\n{}",
        output.stderr
    );
}

#[test]
fn a_gate_alone_resolves_the_image_that_it_compares_with() {
    let sandbox = Sandbox::new();
    sandbox.write("p.yml", comparing("web", ""));
    sandbox.run(["p.yml", "--only", "live"]).expect(0);
    let body = ", body: {contains: \"${image.web.digest}\"}";
    sandbox.write("body.yml", comparing("web", body));
    sandbox.run(["body.yml", "--only", "live"]).expect(0);
    sandbox
        .run(["plan", "body.yml", "--only", "live"])
        .expect(0);
    let lost = comparing("web", "").replace("/acme/web:v1", "/acme/gone:v1");
    sandbox.write("gone.yml", lost);
    sandbox
        .run(["gone.yml", "--only", "live"])
        .expect(51)
        .says("image `web` could not be resolved");
}

fn regex(pattern: &str, text: &str) -> std::collections::BTreeSet<String> {
    let found = regex::Regex::new(pattern).unwrap();
    found
        .find_iter(text)
        .map(|m| m.as_str().to_owned())
        .collect()
}
