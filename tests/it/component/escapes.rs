//! Attempts to get out: a component built for it, in the launcher's cage. Each ends in a named refusal.

use std::time::Duration;

use crate::harness::{Output, Sandbox, Service, hostile};

/// Lets the hostile component try something with these grants.
fn attempt(sandbox: &Sandbox, grants: &[&str], words: &[&str]) -> Output {
    let component = hostile().to_str().unwrap();
    let line = [&["--component", component], grants, &["--"], words].concat();
    sandbox.launch(&line)
}

#[track_caller]
fn denied(output: Output) -> Output {
    let output = output.expect(1);
    let said = output.stdout.starts_with("denied: ");
    assert!(said, "{}{}", output.stdout, output.stderr);
    output
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn nothing_listens_and_nothing_is_sent_as_a_datagram() {
    let sandbox = Sandbox::new();
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "127.0.0.1:8080"] {
        denied(attempt(
            &sandbox,
            &["--allow-host", "127.0.0.1:1"],
            &["bind", address],
        ));
    }
    denied(attempt(
        &sandbox,
        &["--allow-host", "127.0.0.1:53"],
        &["udp", "127.0.0.1:53"],
    ));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn only_what_is_granted_is_connected_to() {
    let (granted, other) = (Service::constant(200, ""), Service::constant(200, ""));
    let sandbox = Sandbox::new();
    let (address, other) = (&*granted.address(), &*other.address());
    let grants = ["--allow-host", address];
    attempt(&sandbox, &grants, &["connect", address]).expect(0);
    let mapped = address.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    for target in [
        other,
        "127.0.0.2:80",
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "10.0.0.1:443",
        "[::1]:80",
    ] {
        let output = denied(attempt(&sandbox, &grants, &["connect", target]));
        output
            .says("refused: a connection to ")
            .says(&format!("it is none of {address}"))
            .says("--allow-host");
    }
    // An IPv4 address in IPv6 letters is no address for WASI, granted or not.
    for target in [&mapped, &other.replace("127.0.0.1", "[::ffff:127.0.0.1]")] {
        denied(attempt(&sandbox, &grants, &["connect", target]));
    }
    let nothing = denied(attempt(&sandbox, &[], &["connect", address]));
    assert!(nothing.stdout.contains("denied"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn names_that_are_not_granted_are_never_looked_up() {
    let sandbox = Sandbox::new();
    let grants = ["--allow-host", "localhost:80"];
    attempt(&sandbox, &grants, &["resolve", "localhost"]).expect(0);
    for name in [
        "c2VjcmV0.evil.example",
        "localhost.evil.example",
        "evil.localhost",
    ] {
        denied(attempt(&sandbox, &grants, &["resolve", name]))
            .says(&format!("refused: looking up {name}"))
            .says(&format!("--allow-host {name}:PORT"));
    }
    // Being granted on one port is no grant for another.
    let service = Service::constant(200, "");
    let port = service.address().rsplit_once(':').unwrap().1.to_owned();
    let elsewhere = format!("localhost:{port}");
    denied(attempt(&sandbox, &grants, &["connect", &elsewhere]));
    attempt(
        &sandbox,
        &["--allow-host", &elsewhere],
        &["connect", &elsewhere],
    )
    .expect(0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn files_outside_stay_outside() {
    let sandbox = Sandbox::new();
    sandbox.write("secret", "secret");
    sandbox.write("given/open", "open");
    let given = sandbox.path().join("given");
    let folder = format!("{}::/given", given.display());
    let grants = ["--dir", folder.as_str()];
    let open = attempt(&sandbox, &grants, &["read", "/given/open"]).expect(0);
    assert_eq!(open.stdout, "allowed: open\n");
    let secret = sandbox.path().join("secret");
    for path in [
        "/given/../secret",
        secret.to_str().unwrap(),
        "/etc/passwd",
        "secret",
    ] {
        denied(attempt(&sandbox, &grants, &["read", path]));
    }
    for target in ["../secret", secret.to_str().unwrap(), "/etc/passwd"] {
        let link = "/given/link";
        denied(attempt(&sandbox, &grants, &["link", target, link]));
        let _ = std::fs::remove_file(given.join("link"));
    }
    let read_only = format!("{folder}:ro");
    denied(attempt(
        &sandbox,
        &["--dir", &read_only],
        &["write", "/given/open"],
    ));
    denied(attempt(&sandbox, &grants, &["write", "/new"]));
    denied(attempt(&sandbox, &grants, &["write", "/given/../new"]));
    assert_eq!(std::fs::read_to_string(given.join("open")).unwrap(), "open");
    // The launcher's own files can't be granted.
    let own = concat!(env!("CARGO_TARGET_TMPDIR"), "/launcher/state/shipgate-wasm");
    attempt(&sandbox, &[], &["read", "/x"]);
    attempt(&sandbox, &["--dir", own], &["read", own])
        .expect(2)
        .says("the launcher keeps its own files");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn there_is_no_environment_and_no_other_program() {
    let mut sandbox = Sandbox::new();
    sandbox.set("AWS_SECRET_ACCESS_KEY", "hunter22hunter22");
    sandbox.set("GIVEN", "given");
    let nothing = attempt(&sandbox, &[], &["environment"]).expect(0);
    assert_eq!(nothing.stdout, "allowed: []\n");
    let one = attempt(&sandbox, &["--env", "GIVEN"], &["environment"]).expect(0);
    assert_eq!(one.stdout, "allowed: [(\"GIVEN\", \"given\")]\n");
    denied(attempt(&sandbox, &[], &["spawn"]));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn every_bound_is_hit_with_its_reason() {
    let sandbox = Sandbox::new();
    attempt(&sandbox, &["--max-time", "200ms"], &["spin"])
        .expect(1)
        .says("it ran longer than it may")
        .says("--max-time");
    attempt(&sandbox, &["--max-memory", "64MiB"], &["memory"])
        .expect(1)
        .says("it asked for more memory than it may have")
        .says("--max-memory");
    let flood = attempt(&sandbox, &["--max-output", "100KiB"], &["flood"]);
    let flood = flood.expect(1).says("it printed more than it may");
    assert!(flood.stdout.len() <= 100 << 10, "{}", flood.stdout.len());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_component_that_fails_is_no_success_whatever_it_claims() {
    attempt(&Sandbox::new(), &[], &["succeed-falsely"]).expect(1);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_component_that_spins_is_ended_by_a_signal() {
    let sandbox = Sandbox::new();
    let component = hostile().to_str().unwrap();
    let mut running = sandbox.start_launcher(&["--component", component, "--", "spin"]);
    // The table is said before it starts, and the signals are minded before that.
    running.wait_for_stderr("sandbox: the component gets");
    running.signal(crate::harness::Signal::Terminate);
    assert!(running.ends_within(Duration::from_secs(5)));
    running.finish().expect(70);
}
