//! Notices: what arrives at the receiver, and what a deaf receiver changes.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::harness::{Answer, Sandbox, Service};

fn pipeline(gate: &Service, notify: &str) -> String {
    format!(
        "version: 1\nname: web\nsecrets:\n  hook: {{env: HOOK}}\nsteps:\n  - id: live\n    gate:\n      within: 300ms\n      every: 50ms\n      probes:\n        page: {{http: {{url: \"{}\", status: 200}}}}\nfinally:\n  - notify: {notify}\n",
        gate.url("/")
    )
}

#[test]
fn a_webhook_learns_what_failed_and_why() {
    let (broken, sink) = (Service::constant(500, ""), Service::constant(200, ""));
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", &sink.url("/hook/s3cret-path"));
    sandbox.write(
        "p.yml",
        pipeline(
            &broken,
            "{webhook: {url: \"${secret.hook}\"}, on: [failure]}",
        ),
    );
    let output = sandbox.run(["run", "p.yml", "--verbose"]).expect(50);
    let requests = sink.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].target.as_str()),
        ("POST", "/hook/s3cret-path")
    );
    let notice: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    let text = notice.to_string();
    for fact in ["web", "live", "500", "gate-failed"] {
        assert!(text.contains(fact), "{fact} in {text}");
    }
    for said in [&output.stdout, &output.stderr] {
        assert!(!said.contains("s3cret-path"), "a secret in\n{said}");
    }
}

#[test]
fn slack_is_told_in_its_own_form() {
    let (broken, sink) = (Service::constant(500, ""), Service::constant(200, "ok"));
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", &sink.url("/services/T0/B0/XYZXYZ"));
    sandbox.write(
        "p.yml",
        pipeline(
            &broken,
            "{slack: {webhook: \"${secret.hook}\"}, on: [failure]}",
        ),
    );
    sandbox.run(["p.yml"]).expect(50);
    let notice: serde_json::Value = serde_json::from_slice(&sink.requests()[0].body).unwrap();
    assert!(
        notice["text"].is_string() || notice["blocks"].is_array(),
        "{notice}"
    );
}

#[test]
fn nobody_is_told_of_a_success_that_was_not_asked_for() {
    let (good, sink) = (Service::constant(200, ""), Service::constant(200, ""));
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", &sink.url("/hook"));
    sandbox.write(
        "p.yml",
        pipeline(&good, "{webhook: {url: \"${secret.hook}\"}, on: [failure]}"),
    );
    sandbox.run(["p.yml"]).expect(0);
    assert_eq!(sink.requests().len(), 0);
}

#[test]
fn a_receiver_that_stumbles_is_asked_again() {
    let count = AtomicU32::new(0);
    let good = Service::constant(200, "");
    let sink = Service::start(move |_| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        Answer::text(if first { 503 } else { 200 }, "")
    });
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", &sink.url("/hook"));
    sandbox.write(
        "p.yml",
        pipeline(&good, "{webhook: {url: \"${secret.hook}\"}, on: [success]}"),
    );
    sandbox.run(["p.yml"]).expect(0);
    assert_eq!(sink.requests().len(), 2);
}

#[test]
fn a_deaf_receiver_fails_a_run_only_where_it_is_required() {
    let (good, sink) = (
        Service::constant(200, ""),
        Service::constant(404, "no such hook"),
    );
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", &sink.url("/hook"));
    sandbox.write(
        "free.yml",
        pipeline(&good, "{webhook: {url: \"${secret.hook}\"}, on: [success]}"),
    );
    sandbox.run(["free.yml"]).expect(0).says("404");
    sandbox.write(
        "must.yml",
        pipeline(
            &good,
            "{webhook: {url: \"${secret.hook}\"}, on: [success], required: true}",
        ),
    );
    sandbox.run(["must.yml"]).expect(80).says("404");
}

#[test]
fn a_webhook_of_slack_under_the_other_key_is_refused_before_anything_runs() {
    let good = Service::constant(200, "");
    let mut sandbox = Sandbox::new();
    sandbox.set("HOOK", "https://hooks.slack.com/services/T0/B0/XYZXYZ");
    sandbox.write(
        "p.yml",
        pipeline(&good, "{webhook: \"${secret.hook}\", on: [success]}"),
    );
    let output = sandbox
        .run(["p.yml"])
        .expect(10)
        .says("write `slack: {webhook: …}`");
    assert!(!output.stderr.contains("XYZXYZ"), "{}", output.stderr);
    assert_eq!(good.requests().len(), 0);
}
