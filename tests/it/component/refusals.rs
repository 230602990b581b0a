//! What the launcher refuses before anything runs, each by its name.

use crate::harness::{Sandbox, Service};

/// A pipeline that needs a host, a file, a variable and its cache.
fn sandbox(service: &Service) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.set("WEBHOOK", &service.url("/told"));
    sandbox.write("token", "a long secret");
    sandbox.write(
        "p.yml",
        format!(
            "version: 1
secrets:
  hook: {{env: WEBHOOK}}
  token: {{file: token}}
steps:
  - gate:
      within: 5s
      every: 50ms
      probes: {{page: {{http: {{url: \"{}\", headers: {{x-token: \"${{secret.token}}\"}}}}}}}}
finally:
  - notify: {{webhook: {{url: \"${{secret.hook}}\"}}, on: [success, failure]}}
",
            service.url("/")
        ),
    );
    sandbox
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn each_grant_can_be_denied_by_a_flag() {
    let service = Service::constant(200, "up");
    let sandbox = sandbox(&service);
    sandbox.caged(&["p.yml"]).expect(0);
    let asked = service.requests().len();
    let host = service.address();
    for (deny, says) in [
        (
            format!("connect:{host}"),
            format!("not granted: connect {host}"),
        ),
        (
            "connect:127.0.0.1".into(),
            format!("not granted: connect {host}"),
        ),
        ("read:token".into(), "not granted: read token".into()),
        ("read:p.yml".into(), "not granted: read p.yml".into()),
        (
            "variable:WEB*".into(),
            "not granted: variable WEBHOOK".into(),
        ),
        ("write:cache".into(), "not granted: write".into()),
    ] {
        for command in ["run", "plan"] {
            let output = sandbox.caged(&[command, "p.yml", "--deny", &deny]);
            output
                .expect(13)
                .says(&says)
                .says(&format!("--deny {deny}"));
        }
    }
    // Nothing has run: nobody was asked.
    assert_eq!(service.requests().len(), asked);
    // What is denied and not needed changes nothing.
    sandbox
        .caged(&["p.yml", "--deny", "variable:AWS_*"])
        .expect(0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_policy_caps_what_a_pipeline_asks_for() {
    let service = Service::constant(200, "up");
    let sandbox = sandbox(&service);
    sandbox.write(
        "wide.yml",
        "version: 1\nallow:\n  connect: [127.0.0.1]\n  read: [.]\n  write: [cache]\n  variable: [WEBHOOK]\n",
    );
    sandbox.write(
        "narrow.json",
        r#"{"version": 1, "allow": {"connect": ["*.example"]}}"#,
    );
    sandbox.write("broken.yml", "version: 1\nalow: {}\n");
    sandbox.caged(&["p.yml", "--policy", "wide.yml"]).expect(0);
    sandbox
        .caged(&["p.yml", "--policy", "wide.yml", "--policy", "narrow.json"])
        .expect(13)
        .says("narrow.json allows no such thing under `allow.connect`");
    // Granting by hand is no way around it.
    sandbox
        .caged(&[
            "p.yml",
            "--policy",
            "wide.yml",
            "--env",
            "HOME",
            "--allow-host",
            "a.example:1",
        ])
        .expect(13)
        .says("not granted: connect a.example:1")
        .says("allow.connect");
    sandbox
        .caged(&["p.yml", "--policy", "broken.yml"])
        .expect(2)
        .says("did you mean `allow`?");
    sandbox
        .caged(&["p.yml", "--policy", "missing.yml"])
        .expect(2)
        .says("can't be read");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_link_does_not_lead_around_a_policy() {
    let service = Service::constant(200, "up");
    let sandbox = sandbox(&service);
    std::fs::remove_file(sandbox.path().join("token")).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), "a long secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), sandbox.path().join("token")).unwrap();
    sandbox.write("policy.yml", "version: 1\nallow: {read: [.]}\n");
    sandbox
        .caged(&["p.yml", "--policy", "policy.yml"])
        .expect(13)
        .says("not granted: read token");
    // Without a policy it is read, and the table says where it leads.
    let shown = outside.path().display().to_string();
    sandbox
        .caged(&["p.yml"])
        .expect(0)
        .says(&format!("(it is {shown})"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_login_of_a_credential_helper_is_refused_with_the_reason() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "home/.docker/config.json",
        r#"{"credHelpers": {"127.0.0.1:5000": "ecr-login"}, "credsStore": "desktop"}"#,
    );
    let pipeline =
        |registry| format!("version: 1\nsteps:\n  - check: {{registry: \"{registry}\"}}\n");
    sandbox.write("helped.yml", pipeline("127.0.0.1:5000"));
    sandbox.write("other.yml", pipeline("127.0.0.1:1"));
    for command in ["run", "plan"] {
        sandbox
            .caged(&[command, "helped.yml"])
            .expect(13)
            .says("docker-credential-ecr-login")
            .says("credentials: []");
    }
    // A store that has no login for it is not missed.
    sandbox.caged(&["other.yml"]).expect(21);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_table_says_what_is_granted_and_quiet_leaves_it_out() {
    let service = Service::constant(200, "up");
    let sandbox = sandbox(&service);
    let shown = sandbox.caged(&["p.yml", "--env", "LANG", "--dir", "home::/elsewhere:ro"]);
    let shown = shown.expect(0);
    for line in [
        "sandbox: the component gets",
        "WEBHOOK",
        "secret hook",
        "LANG",
        "given by hand (not set)",
        "home/",
        "front",
        "at most",
    ] {
        assert!(
            shown.stderr.contains(line),
            "no {line} in\n{}",
            shown.stderr
        );
    }
    assert!(!shown.stderr.contains("a long secret"));
    let quiet = sandbox.caged(&["p.yml", "--quiet"]).expect(0);
    assert!(!quiet.stderr.contains("sandbox:"), "{}", quiet.stderr);
}

#[test]
fn a_flag_of_the_sandbox_is_not_ignored_without_it() {
    let sandbox = Sandbox::new();
    sandbox
        .run(["run", "p.yml", "--deny", "connect:a.example"])
        .expect(2)
        .says("--deny has no effect without --sandbox");
    sandbox
        .run(["run", "--sandbox", "p.yml", "--launcher", "missing"])
        .expect(2)
        .says("./missing does not start");
}
