//! The component as an artifact in a registry: pushed and pulled by oras, signed by cosign, fetched and
//! verified by the launcher.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{
    Image, Layout, Output, Registry, Sandbox, Signer, Tool, component, digest, hostile, launcher,
};

const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// Pushes a component as the page about the sandbox says, and returns its name with the digest.
fn push(registry: &Registry, repository: &str, component: &Path) -> String {
    push_with(registry, repository, component, &[])
}

fn push_with(registry: &Registry, repository: &str, component: &Path, more: &[&str]) -> String {
    let sandbox = Sandbox::new();
    fs::copy(component, sandbox.path().join("shipgate.wasm")).unwrap();
    let described = sandbox.launch(&["describe", "shipgate.wasm"]).expect(0);
    sandbox.write("config.json", &described.stdout);
    let name = format!("{}/{repository}", registry.address());
    let tagged = format!("{name}:v1");
    let config = format!("config.json:{CONFIG}");
    let words = ["push", "--plain-http", "--config", &config, &tagged];
    Tool::new(&sandbox, "oras")
        .args(words)
        .args(["shipgate.wasm:application/wasm"])
        .args(more)
        .run();
    let resolved = Tool::new(&sandbox, "oras")
        .args(["resolve", "--plain-http", &tagged])
        .run();
    format!("{name}@{}", resolved.trim())
}

impl Sandbox {
    /// Runs the hostile component by a name, with nothing of what other tests have fetched or compiled.
    fn fetch(&self, component: &str, flags: &[&str]) -> Output {
        let name = format!("oci://{component}");
        let mut command = Command::new(launcher());
        command.args(["--component", &name]).args(flags);
        self.start_command({
            command.args(["--", "environment"]);
            command
        })
        .finish()
    }

    /// Writes a trust policy with the key of a signer, in the launcher's own folder.
    fn trust(&self, signer: &Signer, pattern: &str) {
        self.trust_in("home/.config/shipgate-wasm", signer, pattern);
    }

    fn trust_in(&self, folder: &str, signer: &Signer, pattern: &str) {
        let key = fs::read(signer.public_key()).unwrap();
        self.write(&format!("{folder}/ops.pub"), key);
        self.write(
            &format!("{folder}/trust.yml"),
            format!("version: 1\ntrust:\n  signers: {{ops: {{key: ops.pub}}}}\n  images: {{\"{pattern}\": {{signed-by: ops}}}}\n"),
        );
    }

    /// Returns the files of the launcher's cache with an extension.
    fn kept(&self, extension: &str) -> Vec<std::path::PathBuf> {
        let folder = self.path().join("cache/shipgate-wasm/components");
        let files = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|end| end == extension))
            .collect()
    }
}

#[track_caller]
fn ran(output: Output) -> Output {
    let output = output.expect(0);
    assert_eq!(output.stdout, "allowed: []\n");
    output
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn oras_pushes_and_pulls_it_in_the_standard_media_types() {
    let registry = Registry::start();
    let name = push(&registry, "acme/shipgate", hostile());
    let sandbox = Sandbox::new();
    let oras = |words: &[&str]| Tool::new(&sandbox, "oras").args(words).run();
    let manifest = oras(&["manifest", "fetch", "--plain-http", &name]);
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(manifest["config"]["mediaType"], CONFIG);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(layers[0]["mediaType"], "application/wasm");
    let bytes = fs::read(hostile()).unwrap();
    assert_eq!(layers[0]["digest"], digest(&bytes));
    let config = oras(&["manifest", "fetch-config", "--plain-http", &name]);
    let config: Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["architecture"], "wasm");
    assert_eq!(config["os"], "wasip2");
    assert_eq!(config["layerDigests"], json!([digest(&bytes)]));
    let names = |key: &str| config["component"][key].to_string();
    assert!(names("exports").contains("wasi:cli/run@0.2."), "{config}");
    assert!(
        names("imports").contains("wasi:sockets/tcp@0.2."),
        "{config}"
    );
    oras(&["pull", "--plain-http", "-o", "out", &name]);
    let pulled = fs::read(sandbox.path().join("out/shipgate.wasm")).unwrap();
    assert!(pulled == bytes, "oras pulls what was pushed");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn it_is_fetched_once_and_hashed_whenever_it_is_read() {
    let registry = Registry::start();
    let name = push(&registry, "acme/shipgate", hostile());
    let sandbox = Sandbox::new();
    ran(sandbox.fetch(&name, &[])).says("trusted for its digest alone");
    drop(registry);
    // Whoever would ask now would be refused the connection.
    ran(sandbox.fetch(&name, &[]));
    let tagged = name.replace('@', ":v1@");
    ran(sandbox.fetch(&tagged, &[]));
    let [layer] = &sandbox.kept("wasm")[..] else {
        panic!("one layer");
    };
    let mut bytes = fs::read(layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(layer, bytes).unwrap();
    sandbox
        .fetch(&name, &[])
        .expect(20)
        .says("is fetched anew")
        .says("was altered")
        .says("refused the connection");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_launchers_own_policy_decides() {
    let registry = Registry::start();
    let (ops, stranger) = (Signer::new(), Signer::new());
    let pattern = format!("{}/**", registry.address());
    let unsigned = push(&registry, "acme/unsigned", hostile());
    let strange = push(&registry, "acme/strange", hostile());
    stranger.sign(&strange, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox
        .fetch(&unsigned, &["--require-component-trust"])
        .expect(34)
        .says("nothing says who must have signed the component")
        .says("home/.config/shipgate-wasm/trust.yml");
    sandbox.trust(&ops, &pattern);
    sandbox
        .fetch(&unsigned, &[])
        .expect(30)
        .says("home/.config/shipgate-wasm/trust.yml");
    sandbox.fetch(&strange, &[]).expect(31);
    // Of what is not trusted nothing is fetched.
    assert_eq!(sandbox.kept("wasm").len(), 0);
    for layout in [Layout::Bundle, Layout::Tag] {
        let repository = format!("acme/{}", format!("{layout:?}").to_lowercase());
        let signed = push(&registry, &repository, hostile());
        ops.sign(&signed, layout);
        let sandbox = Sandbox::new();
        sandbox.trust(&ops, &pattern);
        ran(sandbox.fetch(&signed, &["--require-component-trust"])).says("signed by ops");
        // The flag's file, and not the usual one.
        sandbox.trust_in("given", &stranger, &pattern);
        sandbox
            .fetch(&signed, &["--component-trust", "given/trust.yml"])
            .expect(31);
        // A signature of something else.
        let forged = push_with(&registry, &repository, hostile(), &["--annotation", "a=b"]);
        if layout == Layout::Tag {
            let tag =
                |name: &str| format!("{}.sig", name.split_once('@').unwrap().1).replace(':', "-");
            let source = format!("{}/{repository}:{}", registry.address(), tag(&signed));
            Tool::new(&sandbox, "oras")
                .args(["tag", "--plain-http", &source, &tag(&forged)])
                .run();
            sandbox.fetch(&forged, &[]).expect(32);
        } else {
            sandbox.fetch(&forged, &[]).expect(30);
        }
    }
    let sandbox = Sandbox::new();
    sandbox.trust(&ops, "ghcr.io/acme/**");
    sandbox.fetch(&unsigned, &[]).expect(34);
    sandbox.trust(&ops, &pattern);
    drop(registry);
    // A registry that could not be asked is not "unsigned".
    sandbox.fetch(&unsigned, &[]).expect(33);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_warm_start_asks_nobody_and_trusts_nothing_that_was_kept() {
    let registry = Registry::start();
    let (ops, stranger) = (Signer::new(), Signer::new());
    let pattern = format!("{}/**", registry.address());
    let name = push(&registry, "acme/shipgate", hostile());
    ops.sign(&name, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.trust(&ops, &pattern);
    ran(sandbox.fetch(&name, &[]));
    drop(registry);
    ran(sandbox.fetch(&name, &[])).says("signed by ops");
    // The policy of today decides, by what was kept and by what can still be asked.
    sandbox.trust(&stranger, &pattern);
    sandbox.fetch(&name, &[]).expect(33);
    sandbox.trust(&ops, &pattern);
    ran(sandbox.fetch(&name, &[]));
    let [evidence] = &sandbox.kept("signatures")[..] else {
        panic!("one file of evidence");
    };
    let text = fs::read_to_string(evidence).unwrap();
    // Of whatever is changed in it nothing is believed.
    let changed = text.replace("\\\"sig\\\":\\\"M", "\\\"sig\\\":\\\"N");
    assert_ne!(changed, text);
    fs::write(evidence, changed).unwrap();
    sandbox.fetch(&name, &[]).expect(33);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn what_is_no_component_is_refused_before_it_is_fetched() {
    let registry = Registry::start();
    let sandbox = Sandbox::new();
    let tag = format!("{}/acme/shipgate:v1", registry.address());
    sandbox
        .fetch(&tag, &[])
        .expect(2)
        .says("a tag can be moved")
        .says(&format!("oras resolve {tag}"));
    let image = Image::new("image", &[1000]).push(registry.address(), "acme/image", "v1");
    sandbox
        .fetch(&image, &[])
        .expect(2)
        .says("is no component to run")
        .says("its config is application/vnd.oci.image.config.v1+json");
    sandbox.write("other.wasm", "other");
    let other = sandbox.path().join("other.wasm").display().to_string();
    let other = format!("{other}:application/wasm");
    let two = push_with(
        &registry,
        "acme/two",
        hostile(),
        &["--disable-path-validation", &other],
    );
    sandbox.fetch(&two, &[]).expect(2).says("it has 2 layers");
    assert_eq!(sandbox.kept("wasm").len(), 0);
    let missing = format!("{}/acme/none@{}", registry.address(), digest(b"none"));
    sandbox.fetch(&missing, &[]).expect(20);
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_login_is_that_of_dockers_configuration() {
    let open = Registry::start();
    let closed = open.with_password();
    let name = push(&open, "acme/shipgate", hostile());
    let name = name.replace(open.address(), closed.address());
    let sandbox = Sandbox::new();
    sandbox
        .fetch(&name, &[])
        .expect(20)
        .says("no credentials were given");
    sandbox.docker_login(
        closed.address(),
        crate::harness::USER,
        crate::harness::PASSWORD,
    );
    ran(sandbox.fetch(&name, &[]));
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn the_component_cannot_change_what_decides_about_it() {
    let registry = Registry::start();
    let ops = Signer::new();
    let name = push(&registry, "acme/shipgate", hostile());
    ops.sign(&name, Layout::Bundle);
    let sandbox = Sandbox::new();
    sandbox.trust_in("given", &ops, "**");
    let flags = ["--component-trust", "given/trust.yml", "--dir"];
    let with = |folder| [&flags[..], &[folder]].concat();
    sandbox
        .fetch(&name, &with("given"))
        .expect(2)
        .says("can't grant")
        .says("whoever can change it, or what leads to it, is outside the sandbox");
    sandbox.fetch(&name, &with("given:ro")).expect(0);
    // The usual place is nobody's, whether there is a policy or not.
    fs::create_dir_all(sandbox.home().join(".config")).unwrap();
    sandbox
        .fetch(&name, &["--dir", "home/.config"])
        .expect(2)
        .says("shipgate-wasm/trust.yml");
    let own = sandbox.path().join("cache").display().to_string();
    sandbox
        .fetch(&name, &["--dir", &own])
        .expect(2)
        .says("the launcher keeps its own files");
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn a_pipeline_runs_in_a_component_from_a_registry() {
    let registry = Registry::start();
    let checked = Registry::start();
    let ops = Signer::new();
    let sandbox = Sandbox::new();
    sandbox.trust_in("own", &ops, "**");
    sandbox.write(
        "p.yml",
        format!(
            "version: 1\nsteps:\n  - check: {{registry: \"{}\"}}\n",
            checked.address()
        ),
    );
    // Compiled once for all tests.
    sandbox.caged(&["p.yml"]).expect(0);
    let name = push(&registry, "acme/shipgate", &component());
    ops.sign(&name, Layout::Bundle);
    let named = format!("oci://{name}");
    let run = |policy: &str| {
        sandbox.caged_by(
            &named,
            &["p.yml", "--report", "out", "--component-trust", policy],
        )
    };
    let output = run("own/trust.yml").expect(0).says("signed by ops");
    // Whom the launcher asks is no matter of the component's.
    let table = output.stderr.lines();
    let connect = table.filter(|line| line.trim_start().starts_with("connect "));
    let hosts: Vec<_> = connect.collect();
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    assert!(hosts[0].contains(checked.address()));
    // What is refused leaves the report that any refused run leaves.
    sandbox.trust_in("other", &Signer::new(), "**");
    run("other/trust.yml").expect(31);
    let report = fs::read_to_string(sandbox.path().join("out/report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["exit"]["name"], "wrong-signer");
}
