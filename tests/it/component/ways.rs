//! The launcher goes the ways to hosts, and the component knows nothing of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::{Between, Runtime, Sandbox};
use crate::preload::assert_holds;
use crate::ways::{NAME, Peers, plain};

#[test]
#[ignore = "needs real peers: tests/run"]
fn in_the_sandbox_the_launcher_goes_these_ways() {
    let peers = Peers::start();
    let login = format!("Basic {}", STANDARD.encode("ci:pa55word"));
    let between = Between::with_login(&peers.registry.address(), &login);
    let mut sandbox = Sandbox::new();
    let address = between.address();
    sandbox.set("HTTP_PROXY", &format!("http://ci:pa55word@{address}"));
    peers.pipeline(&sandbox, NAME, &plain());
    let output = Runtime::Launcher.run(&sandbox, &["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &peers.image);
    assert!(
        output.stderr.contains("by the launcher alone"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("HTTP_PROXY "), "{}", output.stderr);
    assert!(!output.stderr.contains("pa55word"), "{}", output.stderr);
    assert!(
        between
            .heads()
            .iter()
            .all(|head| head.contains(" http://registry.proxied.invalid"))
    );

    let sandbox = Sandbox::new();
    let lines = format!(
        "registries:\n  \"{NAME}\": {{plain-http: true, connect-to: \"{}\"}}\n",
        peers.registry.address()
    );
    peers.pipeline(&sandbox, NAME, &lines);
    Runtime::Launcher.run(&sandbox, &["p.yml"]).expect(0);
    assert_holds(&sandbox.cache(), &peers.image);
    let refused = Runtime::Launcher.run(&sandbox, &["p.yml", "--deny", "connect:127.0.0.1"]);
    refused
        .expect(13)
        .says("connect-to of registry.proxied.invalid:5000");
}
