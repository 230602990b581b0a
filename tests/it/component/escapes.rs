//! Attempts to get out: a component built for it, in the launcher's cage. Each ends in a named refusal.

use std::time::Duration;

use crate::harness::{Output, Sandbox, Service, hostile, launcher};

/// Lets the hostile component try something with these grants.
fn attempt(sandbox: &Sandbox, grants: &[&str], words: &[&str]) -> Output {
    let component = hostile().to_str().unwrap();
    let line = [&["--component", component], grants, &["--"], words].concat();
    sandbox.launch(&line)
}

/// It did not work, whoever said so.
#[track_caller]
fn denied(output: Output) -> Output {
    let output = output.expect(1);
    let said = output.stdout.starts_with("denied: ");
    assert!(said, "{}{}", output.stdout, output.stderr);
    output
}

/// The launcher refused it by its name.
#[track_caller]
fn refused(output: Output, what: &str) -> Output {
    denied(output).says(&format!("refused: {what}"))
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_bind() {
    let sandbox = Sandbox::new();
    for address in ["127.0.0.1:0", "127.0.0.1:8080", "0.0.0.0:8080", "[::1]:0"] {
        let grants = ["--allow-host", "127.0.0.1:8080"];
        let output = attempt(&sandbox, &grants, &["bind", address]);
        refused(output, &format!("binding a socket to {address}"));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_listening() {
    let sandbox = Sandbox::new();
    // A socket without an address of its own is bound by every connection; listening is what is left to refuse.
    for (address, told) in [("0.0.0.0:0", "0.0.0.0:"), ("[::]:0", "[::]:")] {
        let output = attempt(&sandbox, &[], &["bind", address]);
        refused(output, &format!("listening on {told}"));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_udp() {
    let sandbox = Sandbox::new();
    let grants = ["--allow-host", "127.0.0.1:53"];
    let output = attempt(&sandbox, &grants, &["udp", "127.0.0.1:53"]);
    refused(output, "a socket for datagrams (UDP)");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_to_another_port() {
    let (granted, other) = (Service::constant(200, ""), Service::constant(200, ""));
    let sandbox = Sandbox::new();
    let grants = ["--allow-host", &*granted.address()];
    let output = attempt(&sandbox, &grants, &["probe", "127.0.0.1", &port(&other)]);
    refused(output, &format!("a connection to {}", other.address()));
    assert_eq!(other.requests().len(), 0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_to_another_name_at_the_same_address() {
    let service = Service::constant(200, "up");
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    let local = format!("localhost:{port}");
    let send = |bytes: &str| {
        let words = ["send", "localhost", port, bytes];
        refused(
            attempt(&sandbox, &["--allow-host", &local], &words),
            &format!("a request to {local}"),
        )
    };
    send(&format!(
        "GET / HTTP/1.1\\r\\nHost: other.example:{port}\\r\\n\\r\\n"
    ))
    .says("its `Host` is not that of the connection: other.example");
    // A greeting of TLS names a host that nobody here can see.
    send("\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc\\x03\\x03")
        .says("it is TLS, in a connection for plain HTTP");
    assert_eq!(service.requests().len(), 0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_dns_labels() {
    let sandbox = Sandbox::new();
    let grants = ["--allow-host", "evil.example:443"];
    let name = "c2VjcmV0.evil.example";
    let output = attempt(&sandbox, &grants, &["resolve", name]);
    refused(output, &format!("a look-up of {name}"));
    let output = attempt(&sandbox, &grants, &["probe", name, "443"]);
    refused(output, &format!("a connection to {name}:443"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_a_name_that_is_inside() {
    let names = Names::new();
    for inside in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "168.63.129.16",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ] {
        names.write(inside);
        let output = names.attempt("probe registry.example 80");
        let shown = inside.trim_start_matches("::ffff:");
        refused(output, "registry.example at ").says(shown);
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_rebinding() {
    let names = Names::new();
    let words = "rebind registry.example 80 /names/hosts 93.184.216.34 127.0.0.1";
    let output = refused(names.attempt(words), "registry.example at 127.0.0.1");
    // The first address was public, and there was no way to it.
    let first = output.stdout.split("not-public").next().unwrap_or_default();
    assert!(first.contains("93.184.216.34"), "{}", output.stdout);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_ipv4_in_ipv6() {
    let service = Service::constant(200, "");
    let sandbox = Sandbox::new();
    let port = &*port(&service);
    for host in [
        "::ffff:127.0.0.2",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ] {
        let grants = ["--allow-host", &*service.address()];
        let output = attempt(&sandbox, &grants, &["probe", host, port]);
        refused(output, &format!("a connection to [{host}]:{port}"));
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_to_a_metadata_address() {
    let sandbox = Sandbox::new();
    for host in [
        "169.254.169.254",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
    ] {
        let grants = ["--allow-host", "127.0.0.1:80"];
        let output = attempt(&sandbox, &grants, &["probe", host, "80"]);
        refused(output, &format!("a connection to {}", place(host, "80")));
        let output = attempt(&sandbox, &grants, &["connect", &place(host, "80")]);
        refused(output, &format!("a connection to {}", place(host, "80")))
            .says("it goes around the launcher's egress");
    }
}

/// A folder that is granted as `/given`, and a secret beside it.
fn given(sandbox: &Sandbox) -> String {
    sandbox.write("secret", "secret");
    sandbox.write("given/open", "open");
    sandbox.write("given/inner/file", "");
    format!("{}::/given", sandbox.path().join("given").display())
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_dot_dot() {
    let sandbox = Sandbox::new();
    let folder = given(&sandbox);
    let grants = ["--dir", &*folder];
    for path in ["/given/../secret", "/given/inner/../../secret"] {
        let output = attempt(&sandbox, &grants, &["read", path]);
        refused(output, "the path ").says("it leads out of the folder that is granted");
    }
    let output = attempt(&sandbox, &grants, &["write", "/given/../new"]);
    refused(output, "the path ");
    assert!(!sandbox.path().join("new").exists());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_symlink() {
    let sandbox = Sandbox::new();
    let folder = given(&sandbox);
    let grants = ["--dir", &*folder];
    let secret = sandbox.path().join("secret");
    let link = sandbox.path().join("given/link");
    for target in ["../secret", secret.to_str().unwrap(), "/etc/passwd"] {
        // One that the component makes, and one that is there.
        let output = attempt(&sandbox, &grants, &["link", target, "/given/link"]);
        refused(output, "the path ");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let output = attempt(&sandbox, &grants, &["read", "/given/link"]);
        refused(output, "the path link").says("it leads out of the folder that is granted");
        std::fs::remove_file(&link).unwrap();
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_environment() {
    let mut sandbox = Sandbox::new();
    sandbox.set("AWS_SECRET_ACCESS_KEY", "hunter22hunter22");
    let nothing = attempt(&sandbox, &[], &["environment"]).expect(0);
    assert_eq!(nothing.stdout, "allowed: []\n");
    // A variable can be had by naming it, and that is seen and can be refused.
    let component = hostile().to_str().unwrap();
    sandbox.write(
        "p.yml",
        "version: 1
# attempt: environment
secrets:
  key: {env: AWS_SECRET_ACCESS_KEY}
steps:
  - gate:
      within: 1s
      every: 200ms
      probes: {page: {http: {url: \"http://127.0.0.1:1/\", headers: {x-key: \"${secret.key}\"}}}}
",
    );
    let line = [
        "p.yml",
        "--component",
        component,
        "--deny",
        "variable:AWS_*",
    ];
    let output = sandbox.launch(&line).expect(13);
    let output = output.says("not granted: variable AWS_SECRET_ACCESS_KEY");
    assert!(!output.stdout.contains("hunter22") && !output.stderr.contains("hunter22"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_spinning() {
    attempt(&Sandbox::new(), &["--max-time", "200ms"], &["spin"])
        .expect(1)
        .says("it ran longer than it may")
        .says("--max-time");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_memory() {
    attempt(&Sandbox::new(), &["--max-memory", "64MiB"], &["memory"])
        .expect(1)
        .says("it asked for more memory than it may have")
        .says("--max-memory");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_output() {
    let flood = attempt(&Sandbox::new(), &["--max-output", "100KiB"], &["flood"]);
    let flood = flood.expect(1).says("it printed more than it may");
    assert!(flood.stdout.len() <= 100 << 10, "{}", flood.stdout.len());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_a_flipped_byte() {
    let sandbox = Sandbox::new();
    // Folders of its own: what the other tests use stays as it is. All positions are for a test of the launcher's.
    let run = || {
        sandbox.launch_line(&format!(
            "XDG_CACHE_HOME=$PWD/own XDG_STATE_HOME=$PWD/state exec {} --component {} -- environment",
            launcher().display(),
            hostile().display()
        ))
    };
    run().expect(0);
    let folder = sandbox.path().join("own/shipgate-wasm/compiled");
    let mut files = std::fs::read_dir(folder).unwrap();
    let file = files.next().unwrap().unwrap().path();
    let good = std::fs::read(&file).unwrap();
    for place in [0, good.len() / 3, good.len() - 1] {
        let mut bad = good.clone();
        bad[place] ^= 1;
        std::fs::write(&file, bad).unwrap();
        run()
            .expect(0)
            .says("is not used and compiled anew: it was altered");
    }
    assert_eq!(std::fs::read(&file).unwrap().len(), good.len());
}

// --- More of the same kind ---

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_moving_and_linking_files() {
    let sandbox = Sandbox::new();
    let folder = given(&sandbox);
    let grants = ["--dir", &*folder];
    for words in [
        ["rename", "/given/../secret", "/given/taken"],
        ["rename", "/given/open", "/given/../taken"],
        ["hard-link", "/given/../secret", "/given/taken"],
        ["hard-link", "/given/open", "/given/../taken"],
    ] {
        refused(attempt(&sandbox, &grants, &words), "the path ");
    }
    let names = |path| {
        std::fs::read_dir(sandbox.path().join(path))
            .unwrap()
            .count()
    };
    assert_eq!(names("given"), 2);
    assert!(!sandbox.path().join("taken").exists());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_a_request_inside_another() {
    let service = Service::constant(200, "up");
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    let local = format!("localhost:{port}");
    let own = format!("Host: {local}\\r\\n");
    let hidden = "GET /hidden HTTP/1.1\\r\\nHost: other.example\\r\\n\\r\\n";
    let length = hidden.replace("\\r", "r").replace("\\n", "n").len();
    for (bytes, says) in [
        (
            format!("GET / HTTP/1.1\\r\\n{own}Content-Length: {length}\\r\\n\\r\\n{hidden}"),
            "not all servers read one here",
        ),
        (
            format!(
                "POST / HTTP/1.1\\r\\n{own}Expect: 100-continue\\r\\nContent-Length: {length}\\r\\n\\r\\n{hidden}"
            ),
            "`Expect`",
        ),
        (
            format!("POST / HTTP/1.1\\r\\n{own}Content_Length: {length}\\r\\n\\r\\n{hidden}"),
            "`_`",
        ),
        (
            format!(
                "POST / HTTP/1.1\\r\\n{own}Transfer-Encoding: chunked\\r\\n\\r\\n0\\r\\nHost: other.example\\r\\n\\r\\n"
            ),
            "trailers",
        ),
        (
            "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n".to_owned(),
            "no strict HTTP/1.1",
        ),
        (
            format!("GET //other.example/ HTTP/1.1\\r\\n{own}\\r\\n"),
            "`//`",
        ),
    ] {
        let words = ["send", "localhost", port, &bytes];
        let output = attempt(&sandbox, &["--allow-host", &local], &words);
        refused(output, &format!("a request to {local}")).says(says);
    }
    let asked = service.requests();
    assert!(asked.iter().all(|it| it.target != "/hidden"));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_spelling() {
    // What could be said by small and capital letters is not heard outside.
    let service = Service::constant(200, "up");
    let port = &*port(&service);
    let sandbox = Sandbox::new();
    let local = format!("localhost:{port}");
    let bytes = format!("GET / HTTP/1.1\\r\\nHost: lOcAlHoSt.:{port}\\r\\n\\r\\n");
    let words = ["send", "LOCALhost", port, &bytes];
    attempt(&sandbox, &["--allow-host", &local], &words).expect(0);
    let asked = service.requests();
    let hosts: Vec<_> = asked.iter().map(|it| it.header("host")).collect();
    assert_eq!(hosts, [Some(&*local)]);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_a_flood_of_refusals_drowns_nothing() {
    let service = Service::constant(200, "up");
    let sandbox = Sandbox::new();
    let grants = ["--allow-host", &*service.address()];
    let output = attempt(&sandbox, &grants, &["many-names", "150"]);
    denied(output)
        .says("100 different attempts were told: further refusals are not told")
        .says("refused: 50 attempts that were not told");
}

/// The hostile component with the grants of a pipeline, on a machine that has no network and these names.
struct Names(Sandbox);

impl Names {
    fn new() -> Self {
        let names = Self(Sandbox::new());
        names.write("127.0.0.1");
        names
    }

    fn write(&self, address: &str) {
        self.0
            .write("names/hosts", format!("{address} registry.example\n"));
    }

    /// What is granted by hand may be anywhere, so a pipeline grants it.
    fn attempt(&self, words: &str) -> Output {
        self.0.write(
            "p.yml",
            format!(
                "version: 1
# attempt: {words}
steps:
  - gate:
      within: 1s
      every: 200ms
      probes: {{page: {{http: {{url: \"http://registry.example/\"}}}}}}
"
            ),
        );
        self.0.launch_line(&format!(
            "PATH=$PATH:/usr/sbin exec unshare --map-root-user --net --mount sh -c \
             'ip link set lo up && mount --bind names/hosts /etc/hosts && exec \"$@\"' sh \
             {} \"$PWD/p.yml\" --component {} --dir names::/names",
            launcher().display(),
            hostile().display()
        ))
    }
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
        let output = attempt(&sandbox, &grants, &["resolve", name]);
        refused(output, &format!("a look-up of {name}"));
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
fn escape_by_redirect() {
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
    let output = attempt(&sandbox, &["--dir", &read_only], &["write", "/given/open"]);
    refused(output, "the path open").says("granted to be read only");
    denied(attempt(&sandbox, &grants, &["write", "/new"]));
    denied(attempt(&sandbox, &grants, &["write", "/given/../new"]));
    assert_eq!(std::fs::read_to_string(given.join("open")).unwrap(), "open");
    // The launcher's own files can't be granted.
    let own = concat!(env!("CARGO_TARGET_TMPDIR"), "/launcher/state/shipgate-wasm");
    denied(attempt(&sandbox, &[], &["read", "/x"]));
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
fn a_component_that_fails_is_no_success_whatever_it_claims() {
    attempt(&Sandbox::new(), &[], &["succeed-falsely"]).expect(1);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_component_that_spins_is_ended_by_a_signal() {
    let sandbox = Sandbox::new();
    let component = hostile().to_str().unwrap();
    let mut running = sandbox.start_launcher(&["--component", component, "--", "spin"]);
    // What runs is said before it starts, and the signals are minded before that.
    running.wait_for_stderr("sandbox: it is");
    running.signal(crate::harness::Signal::Terminate);
    assert!(running.ends_within(Duration::from_secs(5)));
    running
        .finish()
        .expect(70)
        .says("it does not listen for the end");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_launcher_writes_through_no_link_of_the_components() {
    let mut sandbox = Sandbox::new();
    let temporary = tempfile::tempdir().unwrap();
    sandbox.set("TMPDIR", temporary.path().to_str().unwrap());
    let secret = temporary.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let component = hostile().to_str().unwrap();
    let line = ["lie-in-wait", "../../secret"];
    let line = [&["--component", component, "--"], &line[..]].concat();
    let mut running = sandbox.start_launcher(&line);
    // It may have links of its own in its own folder, and none in the launcher's.
    running.wait_for_stderr("links: [false, false, true, true]");
    running.signal(crate::harness::Signal::Terminate);
    running.signal(crate::harness::Signal::Interrupt);
    running
        .finish()
        .expect(70)
        .says("the component did not end when the run was cancelled");
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "secret");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_thread_that_stands_still_is_left_behind() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("given")).unwrap();
    let pipe = |name: &str| {
        let pipe = sandbox.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        pipe
    };
    // Nobody ever opens it to write.
    pipe("given/pipe");
    attempt(
        &sandbox,
        &["--max-time", "300ms", "--dir", "given::/given"],
        &["read", "/given/pipe"],
    )
    .expect(1)
    .says("it ran longer than it may");
    // Somebody opened it, and never reads.
    let full = std::fs::File::options()
        .read(true)
        .write(true)
        .open(pipe("full"));
    let _full = full.unwrap();
    let (launcher, component) = (crate::harness::launcher(), hostile());
    let flood = format!(
        "exec {} --component {} --max-time 300ms -- flood >full",
        launcher.display(),
        component.display()
    );
    sandbox
        .launch_line(&flood)
        .expect(1)
        .says("it ran longer than it may");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn folders_are_read_entry_by_entry_and_few_at_once() {
    let sandbox = Sandbox::new();
    for number in 0..300 {
        sandbox.write(&format!("given/{number:03}"), "");
    }
    std::fs::create_dir(sandbox.path().join("given/folder")).unwrap();
    let grants = ["--dir", "given::/given"];
    let names: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    let names = [names, vec!["folder".to_owned()]].concat();
    let listed = attempt(&sandbox, &grants, &["list", "/given", "1"]).expect(0);
    assert_eq!(listed.stdout, format!("allowed: {names:?}\n"));
    attempt(&sandbox, &grants, &["list", "/given", "100"]).expect(0);
    denied(attempt(&sandbox, &grants, &["list", "/given", "200"]));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn what_decides_what_runs_is_not_granted_to_be_written() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("given")).unwrap();
    let component = sandbox.path().join("given/component.wasm");
    std::fs::copy(hostile(), &component).unwrap();
    let launch = |component: &str, grants: &[&str]| {
        let line = [&["--component", component], grants, &["--", "environment"]].concat();
        sandbox.launch(&line)
    };
    let component = component.to_str().unwrap();
    launch(component, &["--dir", "given::/given:ro"]).expect(0);
    launch(component, &["--dir", "given::/given"])
        .expect(2)
        .says("component.wasm runs, or says what may run");
    // By a link that it could replace, too.
    std::os::unix::fs::symlink(hostile(), sandbox.path().join("given/link.wasm")).unwrap();
    let link = sandbox.path().join("given/link.wasm");
    launch(link.to_str().unwrap(), &["--dir", "given::/given"]).expect(2);
    sandbox.write("given/policy.yml", "version: 1\nallow: {write: [.]}\n");
    let policy = ["--policy", "given/policy.yml", "--dir", "given::/given"];
    launch(hostile().to_str().unwrap(), &policy)
        .expect(2)
        .says("policy.yml runs, or says what may run");
    launch(hostile().to_str().unwrap(), &["--dir", "given::/given"]).expect(0);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn nothing_that_is_printed_gives_orders() {
    let sandbox = Sandbox::new();
    let (launcher, component) = (crate::harness::launcher(), hostile());
    let print = |text: &str| {
        sandbox.launch_line(&format!(
            "{} --quiet --component {} -- print '{text}' | cat",
            launcher.display(),
            component.display()
        ))
    };
    let shown = print("\\x1b[2J::set-output name=a::b\\n ::stop-commands::t\\n##[add-path]x\\n");
    assert_eq!(
        shown.stdout,
        "\\u{1b}[2J::set-output name=a::b\n \\u{3a}:stop-commands::t\n##\\u{5b}add-path]x\nallowed: printed\n"
    );
    let own = print("\\x1b[31mred\\x1b[0m\\n::group::a\\n");
    assert_eq!(
        own.stdout,
        "\x1b[31mred\x1b[0m\n::group::a\nallowed: printed\n"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_document_from_standard_input_is_all_that_is_read_of_it() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        "version: 1\nsteps:\n  - check: {registry: \"a.example\"}\n",
    );
    let component = crate::harness::component();
    crate::harness::warm(&component);
    let line = format!(
        "{} validate - --component {}",
        crate::harness::launcher().display(),
        component.display()
    );
    sandbox.launch_line(&format!("{line} <p.yml")).expect(0);
    // Nobody closes it: the document is read to its bound, and no further.
    let endless = format!("yes | {line}");
    sandbox.launch_line(&endless).expect(10).says("larger");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn escape_by_an_order_behind_what_the_launcher_says() {
    let sandbox = Sandbox::new();
    // Into a file it is printed as it is.
    let shown = sandbox.launch_line(&format!(
        "{} --quiet --component {} -- interrupted 127.0.0.1:1 '::set-env name=a::b\\n' 2>&1 | cat",
        launcher().display(),
        hostile().display()
    ));
    let said = shown.stdout;
    assert!(
        said.starts_with("begunrefused: a connection to 127.0.0.1:1"),
        "{said}"
    );
    assert!(said.contains("\n\\u{3a}:set-env name=a::b"), "{said}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
#[expect(
    clippy::disallowed_methods,
    reason = "where the launcher, which is native, makes its private folders"
)]
fn neither_private_folders_nor_processes_can_be_granted() {
    let sandbox = Sandbox::new();
    let private = std::env::temp_dir().display().to_string();
    for (folder, cause) in [
        (format!("{private}::/x"), "the private folders of all runs"),
        (
            format!("{private}::/x:ro"),
            "the private folders of all runs",
        ),
        ("/proc/self::/x:ro".to_owned(), "processes are shown there"),
    ] {
        let output = attempt(&sandbox, &["--dir", &*folder], &["environment"]);
        output.expect(2).says("can't grant ").says(cause);
    }
}
