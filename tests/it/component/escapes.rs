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
    let address = &*granted.address();
    let (port, other_port) = (port(&granted), port(&other));
    let grants = ["--allow-host", address];
    attempt(&sandbox, &grants, &["probe", "127.0.0.1", &port]).expect(0);
    // IPv4 in IPv6 is the same address: no more and no less.
    attempt(&sandbox, &grants, &["probe", "::ffff:127.0.0.1", &port]).expect(0);
    for (host, port) in [
        ("127.0.0.1", &*other_port),
        ("::ffff:127.0.0.1", &other_port),
        ("127.0.0.2", &port),
        ("127.1", &port),
        ("2130706433", &port),
        ("0.0.0.0", &port),
        ("169.254.169.254", "80"),
        ("::ffff:169.254.169.254", "80"),
        ("fd00:ec2::254", "80"),
        ("10.0.0.1", "443"),
        ("::1", &port),
        ("localhost", &port),
    ] {
        denied(attempt(&sandbox, &grants, &["probe", host, port]))
            .says("refused: a connection to ")
            .says(&format!("it is none of {address}"))
            .says(&format!(
                "to allow it, add `--allow-host {}`",
                place(host, port)
            ));
    }
    denied(attempt(&sandbox, &[], &["probe", "127.0.0.1", &port]))
        .says("no host is granted")
        .says(&format!("--allow-host {address}"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn nothing_goes_around_the_egress() {
    let service = Service::constant(200, "");
    let sandbox = Sandbox::new();
    let address = &*service.address();
    let grants = ["--allow-host", address];
    // Not even to what is granted.
    for target in [address, "127.0.0.2:80", "[::1]:80", "169.254.169.254:80"] {
        denied(attempt(&sandbox, &grants, &["connect", target]))
            .says(&format!("refused: a connection to {target}"))
            .says("it goes around the launcher's egress");
    }
    // An IPv4 address in IPv6 letters is no address for WASI.
    let mapped = address.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    denied(attempt(&sandbox, &grants, &["connect", &mapped]));
    for name in ["localhost", "c2VjcmV0.evil.example"] {
        denied(attempt(&sandbox, &grants, &["resolve", name]));
    }
    assert!(service.requests().is_empty());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn names_that_are_not_granted_are_never_looked_up() {
    let service = Service::constant(200, "");
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    let local = format!("localhost:{port}");
    let grants = ["--allow-host", &local];
    attempt(&sandbox, &grants, &["probe", "localhost", port]).expect(0);
    for name in [
        "c2VjcmV0.evil.example",
        "localhost.evil.example",
        "evil.localhost",
    ] {
        denied(attempt(&sandbox, &grants, &["probe", name, port]))
            .says(&format!("refused: a connection to {name}:{port}"))
            .says(&format!("--allow-host {name}:{port}"));
    }
    // Being granted on one port is no grant for another.
    denied(attempt(&sandbox, &grants, &["probe", "localhost", "1"]));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_stream_is_held_to_the_host_that_was_granted() {
    let service = Service::constant(200, "up");
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    let local = format!("localhost:{port}");
    let grants = ["--allow-host", &local];
    let send = |bytes: &str| attempt(&sandbox, &grants, &["send", "localhost", port, bytes]);
    let own = format!("Host: {local}\\r\\n");
    send(&format!("GET /own HTTP/1.1\\r\\n{own}\\r\\n")).expect(0);
    for (bytes, says) in [
        (
            format!("GET / HTTP/1.1\\r\\nHost: other.example:{port}\\r\\n\\r\\n"),
            "its `Host` is not that of the connection: other.example",
        ),
        // The same address under its other name is another host.
        (
            format!("GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n"),
            "its `Host` is not that of the connection: 127.0.0.1",
        ),
        (
            format!("GET http://other.example/ HTTP/1.1\\r\\n{own}\\r\\n"),
            "it does not ask for a path of this host",
        ),
        (
            format!("GET / HTTP/1.1\\r\\n{own}{own}\\r\\n"),
            "more than one",
        ),
        (
            format!(
                "POST / HTTP/1.1\\r\\n{own}Content-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\n"
            ),
            "both `Content-Length` and `Transfer-Encoding`",
        ),
        (
            format!("CONNECT {local} HTTP/1.1\\r\\n{own}\\r\\n"),
            "`CONNECT` opens tunnels",
        ),
        (
            format!("GET / HTTP/1.1\\r\\n{own}Upgrade: h2c\\r\\n\\r\\n"),
            "`Upgrade` leads to something that is no HTTP",
        ),
        (
            "\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03".to_owned(),
            "it is TLS, in a connection for plain HTTP",
        ),
    ] {
        denied(send(&bytes))
            .says(&format!("refused: a request to {local}"))
            .says(says);
    }
    let asked: Vec<_> = service.requests();
    let asked: Vec<_> = asked.iter().map(|it| it.target.as_str()).collect();
    assert_eq!(asked, ["/own"]);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_egress_is_for_the_component_and_has_bounds() {
    let service = Service::start(|_| crate::harness::Answer::Silence);
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    let address = &*service.address();
    let grants = ["--allow-host", address];
    denied(attempt(&sandbox, &grants, &["guess", "127.0.0.1", port]))
        .says("refused: a connection to the egress")
        .says("it does not begin with this run's token");
    denied(attempt(&sandbox, &grants, &["flood-egress"])).says("this run's token");
    let many = ["many", "127.0.0.1", port, "100"];
    attempt(&sandbox, &grants, &many).expect(0);
    let too_many = ["many", "127.0.0.1", port, "200"];
    let output = denied(attempt(&sandbox, &grants, &too_many));
    assert!(
        output.stdout.contains("128 connections are open already"),
        "{}",
        output.stdout
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_redirect_leads_to_no_other_host() {
    let other = Service::constant(200, "secret");
    let to = other.url("/taken");
    let service = Service::start(move |_| {
        crate::harness::Answer::Reply(302, vec![("Location".into(), to.clone())], Vec::new())
    });
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        format!(
            "version: 1
steps:
  - gate:
      within: 1s
      every: 200ms
      probes: {{page: {{http: {{url: \"{}\", redirects: follow}}}}}}
",
            service.url("/")
        ),
    );
    let refused = sandbox.caged(&["p.yml"]);
    assert_ne!(refused.status.code(), Some(0));
    let line = format!("to allow it, add `--allow-host {}`", other.address());
    refused
        .says(&format!("refused: a connection to {}", other.address()))
        .says(&line);
    assert!(other.requests().is_empty());
    let host = other.address();
    sandbox.caged(&["p.yml", "--allow-host", &host]).expect(0);
    assert!(!other.requests().is_empty());
}

fn port(service: &Service) -> String {
    let address = service.address();
    address.rsplit_once(':').unwrap().1.to_owned()
}

fn place(host: &str, port: &str) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
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
fn a_sink_opens_nothing_that_was_not_granted() {
    let sandbox = Sandbox::new();
    sandbox.write("secret", "secret");
    sandbox.write("given/open", "open");
    sandbox.write("shown/open", "open");
    let path = |name: &str| sandbox.path().join(name);
    let given = format!("{}::/given", path("given").display());
    let shown = format!("{}::/shown:ro", path("shown").display());
    let grants = ["--dir", given.as_str(), "--dir", shown.as_str()];
    let sink = |words: &[&str]| attempt(&sandbox, &grants, &[&["sink"], words].concat());
    std::os::unix::fs::symlink("../secret", path("given/link")).unwrap();
    std::os::unix::fs::symlink("open", path("given/inside")).unwrap();
    std::os::unix::fs::symlink("..", path("given/up")).unwrap();
    for place in [
        "/given/../secret",
        "/given/link",
        "/given/up/secret",
        // A link at the end is never followed, wherever it leads.
        "/given/inside",
        "/given/missing",
        "/given",
        "/given/",
        "/shown/open",
        "/shown/../given/open",
        "/givenopen",
        "given/open",
        "",
        "/",
        "/etc/passwd",
        path("secret").to_str().unwrap(),
    ] {
        denied(sink(&[place, "6", "0", "XXXXXX"]));
    }
    // Outside of the file that it says it fills.
    for offset in ["6", "5", "18446744073709551615"] {
        denied(sink(&["/given/open", "6", offset, "XX"]));
    }
    denied(attempt(
        &sandbox,
        &grants,
        &["sink-many", "/given/open", "300"],
    ));
    denied(attempt(
        &sandbox,
        &grants,
        &["sink-scattered", "/given/missing"],
    ));
    assert_eq!(std::fs::read_to_string(path("secret")).unwrap(), "secret");
    assert_eq!(std::fs::read_to_string(path("shown/open")).unwrap(), "open");
    assert_eq!(std::fs::read_to_string(path("given/open")).unwrap(), "open");
    sink(&["/given/open", "6", "4", "ed"]).expect(0);
    assert_eq!(
        std::fs::read_to_string(path("given/open")).unwrap(),
        "opened"
    );
    sandbox.write("given/many", "");
    let words = ["sink-scattered", "/given/many"];
    let scattered = denied(attempt(&sandbox, &grants, &words));
    let says = scattered.stdout.contains("the sink does not reach there");
    assert!(says, "{}", scattered.stdout);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_sink_takes_the_answers_of_granted_hosts_and_only_while_it_is_open() {
    let service = Service::constant(200, "0123456789");
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    sandbox.write("given/a", "");
    sandbox.write("given/b", "");
    let folder = format!("{}::/given", sandbox.path().join("given").display());
    let address = service.address();
    let grants = ["--dir", folder.as_str(), "--allow-host", &address];
    let fetch = |path: &str, size: &str, how: &str| {
        let words = ["sink-fetch", "127.0.0.1", port, path, size, how];
        attempt(&sandbox, &grants, &words)
    };
    let placed = fetch("/given/a", "10", "open").expect(0);
    assert!(
        placed.stdout.contains("shipgate-placed: "),
        "{}",
        placed.stdout
    );
    let read = |name: &str| std::fs::read_to_string(sandbox.path().join(name)).unwrap();
    assert_eq!(read("given/a"), "0123456789");
    for (path, size, how) in [("/given/b", "10", "dropped"), ("/given/b", "9", "open")] {
        let came = fetch(path, size, how).expect(0);
        assert!(!came.stdout.contains("shipgate-placed"), "{}", came.stdout);
    }
    assert_eq!(read("given/b"), "");
    for request in service.requests() {
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name).collect();
        assert!(
            !names.iter().any(|name| name.contains("shipgate")),
            "{names:?}"
        );
    }
    // Without a grant there is no answer to place.
    let words = ["sink-fetch", "127.0.0.1", port, "/given/b", "10", "open"];
    denied(attempt(&sandbox, &["--dir", &folder], &words)).says("no host is granted");
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
