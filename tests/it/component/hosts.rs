//! Registries that lead to other hosts: natively they are followed, in the sandbox only if they are listed.

use std::fs;

use crate::harness::{Authority, Image, Registry, Sandbox, Service};

/// A registry whose blobs are at another host.
struct Peers {
    front: Service,
    storage: Service,
    _registry: Registry,
}

impl Peers {
    fn start() -> Self {
        let registry = Registry::start();
        Image::new("led", &[1000, 20_000]).push(registry.address(), "acme/web", "v1");
        let storage = Service::lying(registry.address().to_owned(), |_, _| ());
        let away = storage.address();
        let front = Service::lying(registry.address().to_owned(), move |request, reply| {
            if request.target.contains("/blobs/") {
                reply.status = 307;
                reply.headers = vec![(
                    "Location".into(),
                    format!("http://{away}{}", request.target),
                )];
                reply.body.clear();
            }
        });
        Self {
            front,
            storage,
            _registry: registry,
        }
    }

    /// Returns a folder with a pipeline that has these lines about the registry.
    fn sandbox(&self, lines: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        let address = self.front.address();
        sandbox.write(
            "p.yml",
            format!(
                "version: 1
name: led
{lines}images:
  web: \"{address}/acme/web:v1\"
steps:
  - preload: {{images: [web]}}
"
            ),
        );
        sandbox
    }

    /// Returns the line that lists the host of the blobs.
    fn line(&self) -> String {
        let (front, storage) = (self.front.address(), self.storage.address());
        format!("\"{front}\": {{blobs-from: [\"{storage}\"]}}")
    }
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn natively_a_registry_is_followed_and_a_plan_with_a_lock_tells_where_to() {
    let peers = Peers::start();
    let sandbox = peers.sandbox("");
    sandbox.run(["p.yml"]).expect(0);
    let asked = peers.storage.requests();
    assert_eq!(asked.len(), 3);
    assert!(
        asked
            .iter()
            .all(|request| request.header("authorization").is_none())
    );

    let plan = sandbox.run(["plan", "p.yml", "--lock", "p.lock"]).expect(0);
    let needs = format!(
        "connect   {:<48} blobs of {}: not listed, the sandbox needs {}",
        peers.storage.address(),
        peers.front.address(),
        peers.line(),
    );
    assert!(plan.stdout.contains(&needs), "{needs}\n{}", plan.stdout);
    let lock = fs::read_to_string(sandbox.path().join("p.lock")).unwrap();
    let lock: serde_json::Value = serde_json::from_str(&lock).unwrap();
    let hosts = serde_json::json!({peers.front.address(): {"blobs": [peers.storage.address()]}});
    assert_eq!(lock["hosts"], hosts);

    // From then on the lock file is the reason.
    let plan = sandbox.run(["plan", "p.yml", "--lock", "p.lock"]).expect(0);
    let reason = format!("blobs of {} (lock file)", peers.front.address());
    assert!(plan.stdout.contains(&reason), "{}", plan.stdout);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn an_unlisted_host_is_refused_with_the_line_that_lists_it() {
    let peers = Peers::start();
    let sandbox = peers.sandbox("");
    let output = sandbox.caged(&["p.yml"]);
    output
        .expect(20)
        .says(&format!("redirects to {}", peers.storage.address()))
        .says(&peers.line())
        .says("--lock");
    assert!(peers.storage.requests().is_empty(), "it was asked");

    // The line that was named is the whole cure.
    let listed = peers.sandbox(&format!("registries:\n  {}\n", peers.line()));
    listed
        .caged(&["p.yml"])
        .expect(0)
        .says(&format!("blobs of {} (blobs-from)", peers.front.address()));
    assert_eq!(peers.storage.requests().len(), 3);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_lock_file_of_a_native_plan_opens_the_sandbox_to_what_it_met() {
    let peers = Peers::start();
    let sandbox = peers.sandbox("");
    sandbox.run(["plan", "p.yml", "--lock", "p.lock"]).expect(0);
    // In the sandbox a plan fails as a run would, and leaves no lock file.
    sandbox
        .caged(&["plan", "p.yml", "--lock", "other.lock"])
        .expect(20)
        .says(&peers.line());
    assert!(!sandbox.path().join("other.lock").exists());
    let asked = peers.storage.requests().len();
    sandbox
        .caged(&["p.yml", "--lock", "p.lock"])
        .expect(0)
        .says(&format!("blobs of {} (lock file)", peers.front.address()));
    assert_eq!(peers.storage.requests().len(), asked + 3);

    // A lock file is a grant like any other: a policy caps it.
    let deny = format!("connect:{}", peers.storage.address());
    sandbox
        .caged(&["p.yml", "--lock", "p.lock", "--deny", &deny])
        .expect(13)
        .says("lock file");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn tls_is_spoken_by_the_launcher_with_the_authorities_of_the_document() {
    let open = Registry::start();
    Image::new("tls", &[1000, 300_000]).push(open.address(), "acme/web", "v1");
    let authority = Authority::new();
    let secure = open.with_tls(&authority);
    let port = secure.address().rsplit(':').next().unwrap().to_owned();
    let registry = format!("localhost:{port}");
    let pipeline = |authorities: &str| {
        format!(
            "version: 1
{authorities}registries: {{\"{registry}\": {{plain-http: false}}}}
images: {{web: \"{registry}/acme/web:v1\"}}
steps:
  - check: {{registry: \"{registry}\"}}
  - preload: {{images: [web]}}
"
        )
    };
    let sandbox = Sandbox::new();
    sandbox.write("ca.pem", fs::read(authority.ca()).unwrap());
    sandbox.write("p.yml", pipeline("net: {ca: [ca.pem]}\n"));
    sandbox.write("q.yml", pipeline(""));
    sandbox
        .caged(&["p.yml"])
        .expect(0)
        .says("trust     ca.pem")
        .says("certificate");
    let stranger = ["q.yml", "--cache", "other"];
    let outside = sandbox.run(stranger).expect(21);
    let inside = sandbox.caged(&stranger).expect(21);
    let cause = "was issued by `CN=test-authority`, which is not trusted";
    outside.says(cause);
    inside.says(cause);
    // A file that the component is not given is capped all the same.
    sandbox
        .caged(&["p.yml", "--deny", "read:ca.pem"])
        .expect(13)
        .says("not granted: read ca.pem");
    // By hand, the launcher is told by a variable of its own.
    sandbox.write("work/ca.pem", fs::read(authority.ca()).unwrap());
    let folder = format!("{}/work::/work", sandbox.path().display());
    let image = format!("{registry}/acme/web:v1");
    let by_hand = ["--allow-host", &registry, "--dir", &folder, "--component"];
    let component = crate::harness::component();
    let component = component.to_str().unwrap();
    let pull = [
        "pull",
        "--plain-http=false",
        &image,
        "--cache",
        "/work/third",
        "--ca",
        "/work/ca.pem",
    ];
    let line = [&by_hand[..], &[component, "--"], &pull].concat();
    sandbox
        .launch(&line)
        .expect(2)
        .says("the launcher does not trust the certificate authority /work/ca.pem")
        .says("SSL_CERT_FILE");
    let mut sandbox = sandbox;
    let ca = sandbox.path().join("ca.pem").display().to_string();
    sandbox.set("SSL_CERT_FILE", &ca);
    let pull = &pull[..pull.len() - 2];
    let line = [&by_hand[..], &[component, "--"], pull].concat();
    sandbox.launch(&line).expect(0);
    assert!(sandbox.path().join("work/third/index.json").is_file());
}
