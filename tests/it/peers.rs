//! The peers themselves: when one of these fails, blame the harness before the product.

use crate::harness::{
    Authority, Image, Index, Layout, PASSWORD, Proxy, Registry, Sandbox, Service, Signer, Tool,
    USER, fetch,
};

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_registry_serves_our_images_to_four_clients() {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    let image = Image::new("peers", &[1000, 70_000]);
    let reference = image.push(registry.address(), "acme/app", "v1");
    let tagged = format!("{}/acme/app:v1", registry.address());
    let digest = Tool::new(&sandbox, "crane").args(["digest", &tagged]).run();
    assert_eq!(digest.trim(), image.digest());
    Tool::new(&sandbox, "crane")
        .args(["validate", "--remote", &tagged])
        .run();
    Tool::new(&sandbox, "oras")
        .args(["pull", "--plain-http", "-o", "oras", &reference])
        .run();
    Tool::new(&sandbox, "skopeo")
        .args([
            "inspect",
            "--tls-verify=false",
            &format!("docker://{tagged}"),
        ])
        .run();
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_index_is_valid_for_crane() {
    let registry = Registry::start();
    let index = Index::of(vec![
        Image::of_platform("amd", &[100], "linux", "amd64"),
        Image::of_platform("arm", &[100], "linux", "arm64"),
    ]);
    let reference = index.push(registry.address(), "acme/app", "v1");
    let sandbox = Sandbox::new();
    Tool::new(&sandbox, "crane")
        .args(["validate", "--remote", &reference])
        .run();
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn cosign_accepts_what_it_signed_and_nothing_else() {
    let registry = Registry::start();
    let (signer, stranger) = (Signer::new(), Signer::new());
    for layout in [Layout::Bundle, Layout::Tag] {
        let image = Image::new(&format!("{layout:?}"), &[100]);
        let reference = image.push(registry.address(), "acme/app", "v1");
        assert!(
            !signer.accepts(&reference),
            "{layout:?} before it is signed"
        );
        signer.sign(&reference, layout);
        assert!(signer.accepts(&reference), "{layout:?}");
        assert!(!stranger.accepts(&reference), "{layout:?} by another key");
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn doors_with_password_and_tls_lead_to_the_same_images() {
    let registry = Registry::start();
    let image = Image::new("doors", &[100]);
    image.push(registry.address(), "acme/app", "v1");
    let sandbox = Sandbox::new();

    let locked = registry.with_password();
    let reference = format!("{}/acme/app:v1", locked.address());
    let refused = Tool::new(&sandbox, "crane")
        .args(["digest", &reference])
        .attempt();
    assert!(!refused.status.success());
    sandbox.docker_login(locked.address(), USER, PASSWORD);
    let digest = Tool::new(&sandbox, "crane")
        .args(["digest", &reference])
        .run();
    assert_eq!(digest.trim(), image.digest());

    let authority = Authority::new();
    let secure = registry.with_tls(&authority);
    let reference = format!(
        "localhost:{}/acme/app:v1",
        secure.address().split(':').nth(1).unwrap()
    );
    let digest = Tool::new(&sandbox, "crane")
        .args(["digest", &reference])
        .env("SSL_CERT_FILE", authority.ca())
        .run();
    assert_eq!(digest.trim(), image.digest());
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_door_with_tokens_opens_to_a_login_only() {
    let registry = Registry::start();
    let image = Image::new("tokens", &[100]);
    image.push(registry.address(), "acme/app", "v1");
    let (locked, tokens) = registry.with_tokens(&Authority::new());
    let sandbox = Sandbox::new();
    let reference = format!("{}/acme/app:v1", locked.address());
    let refused = Tool::new(&sandbox, "crane")
        .args(["digest", &reference])
        .attempt();
    assert!(!refused.status.success());
    sandbox.docker_login(locked.address(), USER, PASSWORD);
    let digest = Tool::new(&sandbox, "crane")
        .args(["digest", &reference])
        .run();
    assert_eq!(digest.trim(), image.digest());
    assert!(
        tokens
            .requests()
            .iter()
            .any(|r| r.target.contains("scope=repository"))
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_proxy_logs_every_request_and_byte() {
    let registry = Registry::start();
    let proxy = Proxy::before(registry.address());
    let image = Image::new("proxy", &[50_000]);
    image.push(registry.address(), "acme/app", "v1");
    let sandbox = Sandbox::new();
    let tagged = format!("{}/acme/app:v1", proxy.address());
    Tool::new(&sandbox, "crane")
        .args(["validate", "--remote", &tagged])
        .run();
    let accesses = proxy.accesses();
    let layer = accesses
        .iter()
        .find(|a| a.is_blob() && a.bytes > 50_000)
        .unwrap();
    assert_eq!(layer.bytes, image.layers[0].len() as u64);
    assert_eq!((layer.method.as_str(), layer.status), ("GET", 200));
}

#[test]
fn the_service_remembers_what_it_was_asked() {
    let service = Service::constant(418, "teapot");
    let reply = fetch(
        "POST",
        &service.address(),
        "/brew?x=1",
        &[("X-Kind", "tea")],
        b"leaves",
    );
    assert_eq!((reply.status, reply.body.as_slice()), (418, &b"teapot"[..]));
    let [request] = &service.requests()[..] else {
        panic!("one request, not {:?}", service.requests());
    };
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("POST", "/brew?x=1")
    );
    assert_eq!(request.body, b"leaves");
}
