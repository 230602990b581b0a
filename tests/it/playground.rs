//! The playground: its registry against the clients that everybody uses, and the pipelines that
//! run with nothing else on the machine.

use std::path::{Path, PathBuf};

use serde_json::Value;
use shipgate::playground::registry::{Auth, Config, Login};

use crate::harness::{
    Image, Index, Layout, PASSWORD, PlaygroundRegistry, Registry, Sandbox, Signer, Tool, USER,
};

#[test]
#[ignore = "needs real peers: tests/run"]
fn crane_pushes_lists_copies_and_pulls() {
    let playground = PlaygroundRegistry::start(Config::default());
    let (sandbox, address) = (Sandbox::new(), playground.address());
    let crane = |arguments: &[&str]| Tool::new(&sandbox, "crane").args(arguments).run();
    let index = Index::of(vec![
        Image::of_platform("amd", &[70_000], "linux", "amd64"),
        Image::of_platform("arm", &[70_000], "linux", "arm64"),
    ]);
    index.push(address, "acme/index", "v1");
    let reference = format!("{address}/acme/index:v1");
    crane(&["validate", "--remote", &reference]);

    let copy = format!("{address}/other/place:v2");
    crane(&["copy", &reference, &copy]);
    assert_eq!(crane(&["digest", &copy]).trim(), index.digest());
    assert_eq!(
        crane(&["ls", &format!("{address}/other/place")]).trim(),
        "v2"
    );
    let repositories = crane(&["catalog", address]);
    assert_eq!(
        repositories.lines().collect::<Vec<_>>(),
        ["acme/index", "other/place"]
    );

    crane(&[
        "pull",
        "--platform",
        "linux/arm64",
        "--format",
        "oci",
        &copy,
        "pulled",
    ]);
    let layer = crate::harness::digest(&index.images[1].layers[0]).replace(':', "/");
    assert!(sandbox.path().join("pulled/blobs").join(layer).is_file());

    crane(&[
        "delete",
        &format!("{address}/other/place@{}", index.digest()),
    ]);
    let gone = Tool::new(&sandbox, "crane")
        .args(["digest", &copy])
        .attempt();
    assert!(!gone.status.success(), "deleted with its tag");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn oras_pushes_attaches_discovers_and_pulls() {
    let playground = PlaygroundRegistry::start(Config::default());
    let (sandbox, address) = (Sandbox::new(), playground.address());
    let oras = |arguments: &[&str]| Tool::new(&sandbox, "oras").args(arguments).run();
    sandbox.write("notes.txt", "what changed");
    sandbox.write("bill.json", "{\"parts\": []}");
    let reference = format!("{address}/acme/notes:v1");
    oras(&["push", "--plain-http", &reference, "notes.txt:text/plain"]);
    for (kind, file) in [
        ("application/vnd.acme.bill", "bill.json:application/json"),
        ("application/vnd.acme.note", "notes.txt:text/plain"),
    ] {
        oras(&[
            "attach",
            "--plain-http",
            "--distribution-spec",
            "v1.1-referrers-api",
            "--artifact-type",
            kind,
            &reference,
            file,
        ]);
    }
    let discover = |more: &[&str]| -> Value {
        let arguments = [
            &["discover", "--plain-http", "--format", "json"][..],
            more,
            &[&reference],
        ]
        .concat();
        serde_json::from_str(&oras(&arguments)).unwrap()
    };
    let all = discover(&[]);
    assert_eq!(all["referrers"].as_array().unwrap().len(), 2, "{all:#}");
    let bills = discover(&["--artifact-type", "application/vnd.acme.bill"]);
    assert_eq!(bills["referrers"].as_array().unwrap().len(), 1, "{bills:#}");
    oras(&["pull", "--plain-http", "-o", "out", &reference]);
    assert_eq!(
        std::fs::read_to_string(sandbox.path().join("out/notes.txt")).unwrap(),
        "what changed"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn skopeo_copies_from_and_to_the_reference_registry() {
    let playground = PlaygroundRegistry::start(Config::default());
    let reference_registry = Registry::start();
    let sandbox = Sandbox::new();
    let image = Image::new("skopeo", &[1000, 200_000]);
    image.push(reference_registry.address(), "acme/app", "v1");
    let [theirs, ours, back] = [
        format!("docker://{}/acme/app:v1", reference_registry.address()),
        format!("docker://{}/acme/copied:v1", playground.address()),
        format!("docker://{}/acme/back:v1", reference_registry.address()),
    ];
    let skopeo = |arguments: &[&str]| {
        Tool::new(&sandbox, "skopeo")
            .args(["--insecure-policy", "--tmpdir", "."])
            .args(arguments)
            .run()
    };
    for (from, to) in [(&theirs, &ours), (&ours, &back)] {
        skopeo(&[
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            "--preserve-digests",
            from,
            to,
        ]);
    }
    let found: Value =
        serde_json::from_str(&skopeo(&["inspect", "--tls-verify=false", &back])).unwrap();
    assert_eq!(found["Digest"].as_str(), Some(image.digest().as_str()));
    let tags: Value = serde_json::from_str(&skopeo(&[
        "list-tags",
        "--tls-verify=false",
        &format!("docker://{}/acme/copied", playground.address()),
    ]))
    .unwrap();
    assert_eq!(tags["Tags"][0], "v1");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn cosign_signs_by_the_referrers_api_and_verifies() {
    let playground = PlaygroundRegistry::start(Config::default());
    let sandbox = Sandbox::new();
    let (signer, stranger) = (Signer::new(), Signer::new());
    for layout in [Layout::Bundle, Layout::Tag] {
        let repository = format!("acme/{}", format!("{layout:?}").to_lowercase());
        let reference =
            Image::new(&repository, &[1000]).push(playground.address(), &repository, "v1");
        assert!(!signer.accepts(&reference));
        signer.sign(&reference, layout);
        assert!(
            signer.accepts(&reference),
            "{layout:?}\n{:#?}",
            playground.exchanges()
        );
        assert!(!stranger.accepts(&reference));
    }
    let tags = Tool::new(&sandbox, "crane")
        .args(["ls", &format!("{}/acme/bundle", playground.address())])
        .run();
    assert_eq!(tags.trim(), "v1", "no fallback tag where there is an API");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn cosign_falls_back_to_a_tag_without_the_referrers_api() {
    let playground = PlaygroundRegistry::start(Config {
        referrers_api: false,
        ..Config::default()
    });
    let signer = Signer::new();
    let reference = Image::new("old", &[1000]).push(playground.address(), "acme/old", "v1");
    signer.sign(&reference, Layout::Bundle);
    assert!(signer.accepts(&reference));
    let sandbox = Sandbox::new();
    let tags = Tool::new(&sandbox, "crane")
        .args(["ls", &format!("{}/acme/old", playground.address())])
        .run();
    assert!(tags.contains("sha256-"), "{tags}");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn notation_signs_and_verifies() {
    let playground = PlaygroundRegistry::start(Config::default());
    let sandbox = Sandbox::new();
    let notation = |arguments: &[&str]| Tool::new(&sandbox, "notation").args(arguments).run();
    let reference = Image::new("notation", &[1000]).push(playground.address(), "acme/app", "v1");
    notation(&["cert", "generate-test", "--default", "acme.test"]);
    notation(&[
        "sign",
        "--insecure-registry",
        "--force-referrers-tag=false",
        &reference,
    ]);
    let policy = r#"{"version": "1.0", "trustPolicies": [{"name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "strict"}, "trustStores": ["ca:acme.test"], "trustedIdentities": ["*"]}]}"#;
    sandbox.write("policy.json", policy);
    notation(&["policy", "import", "--force", "policy.json"]);
    notation(&["verify", "--insecure-registry", &reference]);
    let listed = notation(&["ls", "--insecure-registry", &reference]);
    assert!(
        listed.contains("application/vnd.cncf.notary.signature"),
        "{listed}"
    );
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn clients_log_in_by_password_and_by_token() {
    let login = Login {
        username: USER.into(),
        password: PASSWORD.into(),
    };
    let token = Auth::Token {
        login: login.clone(),
        lifetime: std::time::Duration::from_secs(60),
        anonymous_pull: false,
    };
    for auth in [Auth::Basic(login), token] {
        let kind = format!("{auth:?}");
        let playground = PlaygroundRegistry::start(Config {
            auth,
            ..Config::default()
        });
        let open = Registry::start();
        Image::new("login", &[1000]).push(open.address(), "acme/app", "v1");
        let from = format!("{}/acme/app:v1", open.address());
        let to = format!("{}/acme/app:v1", playground.address());
        let sandbox = Sandbox::new();
        let copy = || Tool::new(&sandbox, "crane").args(["copy", &from, &to]);
        assert!(!copy().attempt().status.success(), "{kind} without a login");
        sandbox.docker_login(playground.address(), USER, PASSWORD);
        copy().run();
        Tool::new(&sandbox, "crane")
            .args(["validate", "--remote", &to])
            .run();
        Tool::new(&sandbox, "skopeo")
            .args([
                "inspect",
                "--tls-verify=false",
                "--authfile",
                "home/.docker/config.json",
            ])
            .args([format!("docker://{to}")])
            .run();
    }
}

/// Returns a file of the repository that a user would run.
fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_first_pipeline_does_every_step_for_real() {
    let sandbox = Sandbox::new();
    let output = sandbox
        .run([
            shipped("pipeline.yml").as_os_str(),
            "--format".as_ref(),
            "json".as_ref(),
        ])
        .expect(0);
    let events = output.json_lines();
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .collect();
    for kind in [
        "run-started",
        "registry-checked",
        "image-resolved",
        "image-preloaded",
        "image-verified",
        "sampled",
        "gate-judged",
        "notice-sent",
        "run-finished",
    ] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let resolved = events
        .iter()
        .find(|event| event["event"] == "image-resolved")
        .unwrap();
    let verified = events
        .iter()
        .find(|event| event["event"] == "image-verified")
        .unwrap();
    assert_eq!(
        resolved["digest"], verified["digest"],
        "what was resolved is what was verified"
    );
    assert_eq!(events.last().unwrap()["exit"], "done");
}

#[test]
fn a_second_run_of_the_first_pipeline_finds_the_cache_warm() {
    let sandbox = Sandbox::new();
    let pipeline = shipped("pipeline.yml");
    let arguments = [pipeline.as_os_str(), "--format".as_ref(), "json".as_ref()];
    let fetched = || {
        let events = sandbox.run(arguments).expect(0).json_lines();
        let preloaded = events
            .into_iter()
            .find(|event| event["event"] == "image-preloaded");
        preloaded.unwrap()["fetched"].as_u64().unwrap()
    };
    assert!(fetched() > 0);
    assert_eq!(fetched(), 0);
}

#[test]
fn a_plan_of_the_first_pipeline_writes_nothing() {
    let sandbox = Sandbox::new();
    let pipeline = shipped("pipeline.yml");
    sandbox
        .run(["plan".as_ref(), pipeline.as_os_str()])
        .expect(0);
    assert!(!sandbox.cache().join("blobs").exists());
}

#[test]
fn the_examples_end_as_their_comments_say() {
    let sandbox = Sandbox::new();
    sandbox
        .run([shipped("examples/failing.yml")])
        .expect(50)
        .says("500");
    // Two images are refused, and the more dangerous refusal decides.
    let refused = sandbox.run([shipped("examples/refused.yml")]).expect(31);
    refused.says("unsigned").says("stranger");
}

#[test]
fn what_a_newcomer_reads() {
    let sandbox = Sandbox::new();
    let pipeline = shipped("pipeline.yml");
    let output = sandbox.run([pipeline.as_os_str(), "--format".as_ref(), "plain".as_ref()]);
    let said = output.expect(0).stderr;
    for words in [
        "registry 127.0.0.1",
        "web: verified",
        "signed by playground",
        "gate passed",
        "webhook",
        "done: pipeline playground",
    ] {
        assert!(said.contains(words), "{words} in\n{said}");
    }
    assert!(
        !said.contains('\u{1b}'),
        "no cursor codes in a log:\n{said}"
    );
}
