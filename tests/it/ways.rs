//! Proxies, private addresses and client certificates, as a user sets them up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::faults;
use crate::harness::{Between, FaultProxy, Image, Sandbox, Service};
use crate::preload::assert_holds;

/// A name that nobody but the proxy knows.
pub const NAME: &str = "registry.proxied.invalid:5000";

pub struct Peers {
    pub image: Image,
    pub registry: FaultProxy,
}

impl Peers {
    pub fn start() -> Self {
        let image = Image::new("ways", &[60_000, 3000]);
        let registry = faults::registry(&image);
        Self { image, registry }
    }

    /// Writes a pipeline that preloads the image under a name, with these lines about the network.
    pub fn pipeline(&self, sandbox: &Sandbox, name: &str, lines: &str) {
        sandbox.write(
            "p.yml",
            format!(
                "version: 1\nname: ways\n{lines}images:\n  web: \"{name}/acme/web:v1\"\nsteps:\n  - preload: {{images: [web]}}\n"
            ),
        );
    }
}

pub fn plain() -> String {
    format!("registries:\n  \"{NAME}\": {{plain-http: true}}\n")
}

#[test]
fn a_pull_goes_by_the_variables_and_the_proxy_looks_the_name_up() {
    let peers = Peers::start();
    let login = format!("Basic {}", STANDARD.encode("ci:pa55word"));
    let between = Between::with_login(&peers.registry.address(), &login);
    let mut sandbox = Sandbox::new();
    let proxy = format!("http://ci:pa55word@{}", between.address());
    sandbox.set("HTTP_PROXY", &proxy);
    let reference = format!("{NAME}/acme/web:v1");
    let output = sandbox.run(["pull", "--plain-http", &reference]).expect(0);
    assert_holds(&sandbox.cache(), &peers.image);
    assert!(!output.stderr.contains("pa55word"), "{}", output.stderr);
    let heads = between.heads();
    assert!(heads.len() >= 4, "{heads:?}");
    for head in &heads {
        assert!(
            head.contains(&format!(" http://{NAME}/v2/acme/web/")),
            "{head}"
        );
        assert!(
            head.to_lowercase().contains(&format!("host: {NAME}")),
            "{head}"
        );
    }
    let beyond = peers.registry.exchanges();
    let names =
        |seen: &crate::harness::Exchange| seen.request.header("proxy-authorization").is_some();
    assert!(!beyond.iter().any(names), "the login went past the proxy");
}

#[test]
fn a_plan_shows_what_stands_between_and_no_password() {
    let peers = Peers::start();
    let between = Between::to(&peers.registry.address());
    let mut sandbox = Sandbox::new();
    let address = between.address();
    sandbox.set("http_proxy", &format!("ci:pa55word@{address}"));
    sandbox.set("NO_PROXY", "corp.example");
    peers.pipeline(&sandbox, NAME, &plain());
    let output = sandbox.run(["plan", "p.yml"]).expect(0);
    let shown = format!("{}{}", output.stdout, output.stderr);
    for part in [
        &address,
        "proxy for http (http_proxy)",
        "variable  NO_PROXY",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("pa55word"), "{shown}");
}

#[test]
fn what_a_proxy_refuses_says_how_to_log_in() {
    let peers = Peers::start();
    let between = Between::with_login(&peers.registry.address(), "Basic eA==");
    let address = between.address();
    let mut sandbox = Sandbox::new();
    sandbox.set("PROXY_PASSWORD", "s3cret-word");
    let net = format!(
        "secrets: {{proxy: {{env: PROXY_PASSWORD}}}}\nnet:\n  proxy: {{url: \"http://{address}\", auth: {{username: ci, password: \"${{secret.proxy}}\"}}}}\n"
    );
    for (name, lines) in [
        (NAME, format!("{net}{}", plain())),
        ("registry.proxied.invalid", net),
    ] {
        peers.pipeline(&sandbox, name, &lines);
        let output = sandbox.run(["p.yml"]).expect(20);
        output
            .says(&format!(
                "the proxy http://{address} (net.proxy) does not take the login (407)"
            ))
            .says("`net.proxy.auth`");
    }
    assert!(peers.registry.exchanges().is_empty());
    assert!(between.heads().len() <= 3, "a refusal is not tried again");
}

#[test]
fn a_document_can_do_without_the_variables() {
    let peers = Peers::start();
    let dead = "http://127.0.0.1:9";
    let mut sandbox = Sandbox::new();
    sandbox.set("HTTP_PROXY", dead);
    let lines = format!(
        "net: {{proxy: none}}\nregistries:\n  \"{NAME}\": {{plain-http: true, connect-to: \"{}\"}}\n",
        peers.registry.address()
    );
    peers.pipeline(&sandbox, NAME, &lines);
    sandbox.run(["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &peers.image);
    let exchanges = peers.registry.exchanges();
    assert!(
        exchanges
            .iter()
            .all(|it| it.request.header("host") == Some(NAME))
    );
    // And exempt it can be by them, too.
    let mut sandbox = Sandbox::new();
    sandbox.set("HTTP_PROXY", dead);
    sandbox.set("NO_PROXY", "proxied.invalid:5000,127.0.0.1");
    let lines = lines.replace("net: {proxy: none}\n", "");
    peers.pipeline(&sandbox, NAME, &lines);
    sandbox.run(["p.yml"]).expect(0);
}

#[test]
fn probes_and_notices_go_the_same_way() {
    let service = Service::constant(200, "ok");
    let between = Between::to(&service.address());
    let mut sandbox = Sandbox::new();
    sandbox.set("ALL_PROXY", &between.address());
    sandbox.write(
        "p.yml",
        "version: 1\nname: ways\nsecrets: {hook: {env: HOOK}}\nsteps:\n  - gate: {within: 5s, every: 50ms, probes: {web: {http: {url: \"http://web.invalid/health\", status: 200}}}}\nfinally:\n  - notify: {webhook: {url: \"${secret.hook}\"}, on: [success, failure]}\n",
    );
    sandbox.set("HOOK", "http://hooks.invalid/T000/secret-path");
    sandbox.run(["p.yml"]).expect(0);
    let heads = between.heads();
    for line in [
        "GET http://web.invalid/health ",
        "POST http://hooks.invalid/T000/",
    ] {
        assert!(heads.iter().any(|head| head.starts_with(line)), "{heads:?}");
    }
}

#[test]
fn a_variable_that_is_no_proxy_is_blamed_by_its_name() {
    let mut sandbox = Sandbox::new();
    sandbox.set("ALL_PROXY", "socks5://me:pa55word@127.0.0.1:1080");
    let output = sandbox.run(["pull", "127.0.0.1:9/acme/web:v1"]).expect(11);
    let output = output
        .says("the proxy in ALL_PROXY can't be used")
        .says("`socks5` is no kind of proxy");
    assert!(!output.stderr.contains("pa55word"), "{}", output.stderr);
}

#[test]
fn a_client_certificate_that_is_no_good_ends_the_run_before_it_asks() {
    let peers = Peers::start();
    let sandbox = Sandbox::new();
    sandbox.write("c.pem", "nothing");
    let lines = format!(
        "registries:\n  \"{NAME}\": {{client-cert: c.pem, connect-to: \"{}\"}}\n",
        peers.registry.address()
    );
    peers.pipeline(&sandbox, NAME, &lines);
    sandbox
        .run(["p.yml"])
        .expect(11)
        .says("no PEM certificate in it")
        .says("c.pem");
    assert!(peers.registry.exchanges().is_empty());
}
