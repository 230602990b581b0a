//! What sound documents mean.

use std::path::Path;
use std::time::Duration;

use super::support::*;
use crate::pipeline::address::Name;
use crate::pipeline::{Given, Kind, Mode, PlaygroundNames, SCHEMA_PATH, Severity, schema};
use crate::step::Verb;

const WHOLE: &str = r#"
version: 1
name: web
inputs:
  tag: {type: string, pattern: "v[0-9.]+", default: v1.2}
  namespace: {default: production, options: [staging, production]}
  wait: {type: duration, default: 5m}
  tries: {type: integer, default: 3}
  plain: 1.10
secrets:
  ghcr: {env: GHCR_TOKEN}
  slack: {env: SLACK_WEBHOOK_URL}
  file: {file: token.txt}
credentials: [docker-config]
net: {ca: [certs/corp.pem]}
registries:
  ghcr.io:
    auth: {username: ci, password: "${secret.ghcr}"}
  "127.0.0.1:5000": {plain-http: true}
images:
  web: "ghcr.io/acme/web:${input.tag}"
  worker: {ref: "ghcr.io/acme/worker:${input.plain}", platform: linux/arm64}
trust:
  signers:
    ops: {key: [keys/ops.pub]}
    ci: {key: keys/ci.pub}
  images:
    "ghcr.io/acme/**": {signed-by: {at-least: 1, of: [ops, ci]}}
steps:
  - check: {registry: ghcr.io, min-certificate-validity: 14d}
  - preload: {images: [web, worker], to: [cache]}
    retry: "${input.tries}"
  - verify: {images: [web, worker]}
  - id: live
    timeout: 10m
    name: "live ${image.web.digest:-?}"
    gate:
      within: "${input.wait}"
      every: 5s
      hold: 30s
      pass: {all: [http], any: [tcp]}
      probes:
        http: {http: {url: "https://web.example/health", status: [200, 2xx], headers: {x-token: "Bearer ${secret.file}"}, json: {path: "$.a[0].b", equals: 1.5}}, rule: {consecutive: 3}}
        tcp: {tcp: "web.example:8080"}
      control: {http: "https://status.example/"}
on-failure:
  - notify: {webhook: "http://127.0.0.1:1/", on: [always]}
    if: failed(live) and not (input.namespace == 'staging')
finally:
  - notify: {slack: {webhook: "${secret.slack}"}, on: [failure], message: "web is ${run.status}"}
"#;

#[test]
fn a_whole_document_is_read() {
    let loaded = load_with(WHOLE, &[], Mode::Run);
    assert_eq!(shown(&loaded), "nothing");
}

#[test]
fn values_mean_what_they_say() {
    let document = load_with(WHOLE, &[("tag", "v2.0")], Mode::Run)
        .document
        .unwrap();
    let image = |name: &str| {
        let image = document.images.find(&Name(name.into())).unwrap();
        image.r#ref.value.to_string()
    };
    assert_eq!(image("web"), "ghcr.io/acme/web:v2.0");
    assert_eq!(image("worker"), "ghcr.io/acme/worker:1.10");
    let ids: Vec<&str> = document
        .all_steps()
        .map(|step| step.id.0.as_str())
        .collect();
    assert_eq!(
        ids,
        ["check", "preload", "verify", "live", "notify", "notify-2"]
    );
    let Verb::Gate(gate) = &document.steps.0[3].verb else {
        panic!("a gate")
    };
    assert_eq!(gate.within.value, Duration::from_secs(300));
    assert_eq!(document.steps.0[1].retry.as_ref().unwrap().times.0, 3);
    let name = document.steps.0[3].name.as_ref().unwrap();
    assert_eq!(name.complete(&|_| None), "live ?");
}

#[test]
fn secrets_are_handed_on_with_the_users_beside_them() {
    let loaded = load_with(WHOLE, &[], Mode::Run);
    let secrets: Vec<_> = loaded
        .secrets
        .iter()
        .map(|secret| {
            (
                secret.name.as_str(),
                secret.value.expose(),
                secret.users.clone(),
            )
        })
        .collect();
    assert_eq!(
        secrets,
        [
            ("ghcr", "ghp_0123456789", vec!["ci".to_owned()]),
            ("slack", "https://hooks.slack.example/T0/B0", vec![]),
            ("file", "file-token-1", vec![]),
        ]
    );
    assert!(!format!("{:?}", loaded.document).contains("ghp_0123456789"));
}

#[test]
fn validating_needs_no_values() {
    let text = WHOLE
        .replace(", default: v1.2}", "}")
        .replace("{type: duration, default: 5m}", "{type: duration}");
    let loaded = load_with(&text, &[], Mode::Validate);
    assert_eq!(shown(&loaded), "nothing");
    assert!(loaded.secrets.is_empty());
    let run = load_with(&text, &[], Mode::Run);
    let kinds: Vec<Kind> = run.diagnostics.iter().map(|found| found.kind).collect();
    assert_eq!(kinds, [Kind::InputMissing, Kind::InputMissing]);
}

#[test]
fn defaults_stand_in_and_demands_are_made() {
    let text = r#"version: 1
inputs: {a: {}, b: "x${input.a:-y}", c: ""}
name: "${input.a:-${input.b:-z}} ${input.c:-empty} $$ $${input.a}"
steps:
  - check: {registry: "${input.a:?say where}"}
"#;
    let loaded = load_with(text, &[("a", "ghcr.io")], Mode::Run);
    let document = loaded.document.unwrap();
    assert_eq!(document.name.as_deref(), Some("ghcr.io empty $ ${input.a}"));
    assert!(
        findings(text).starts_with("error: say where\n"),
        "{}",
        findings(text)
    );
    let without = text.replace("${input.a:?say where}", "ghcr.io");
    assert_eq!(
        load_with(&without, &[], Mode::Run)
            .document
            .unwrap()
            .name
            .as_deref(),
        Some("xy empty $ ${input.a}")
    );
}

#[test]
fn a_playground_offers_its_names() {
    let text = r#"version: 1
playground: true
images: {demo: "${playground.registry}/demo/web:v1"}
trust:
  signers: {demo: {key: "${playground.key}"}}
  images: {"*/demo/*": {signed-by: demo}}
steps:
  - check: {registry: "${playground.registry}"}
  - preload: {images: [demo]}
  - verify: {images: [demo]}
  - gate: {within: 30s, every: 1s, probes: {http: {http: "${playground.service}/health"}, tcp: {tcp: "${playground.service-address}"}}}
finally:
  - notify: {slack: {webhook: "${playground.webhook}"}, on: [always]}
"#;
    assert_eq!(shown(&load_with(text, &[], Mode::Validate)), "nothing");
    let source = crate::pipeline::Source::new("p.yml", text);
    assert!(crate::pipeline::wants_playground(&source));
    let given = Given {
        playground: Some(PlaygroundNames {
            registry: "127.0.0.1:41234".into(),
            service: "http://127.0.0.1:41235".into(),
            service_address: "127.0.0.1:41235".into(),
            key: "/tmp/demo.pub".into(),
            webhook: "http://127.0.0.1:41235/hook".into(),
        }),
        ..given(Mode::Run)
    };
    let loaded = crate::pipeline::load(&source, &given);
    assert_eq!(shown(&loaded), "nothing");
}

#[test]
fn the_published_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCHEMA_PATH);
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    let current = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    assert!(
        published == current,
        "{SCHEMA_PATH} is not current: write it with `cargo run -- schema > {SCHEMA_PATH}`"
    );
}

/// The schema accepts what the parser accepts, and refuses what is wrong in form.
#[test]
fn the_schema_agrees_with_the_parser() {
    let judge = SchemaJudge::new();
    judge.accepts(WHOLE).unwrap();
    let form = [
        Kind::MissingKey,
        Kind::NotSupported,
        Kind::UnknownKey,
        Kind::UnknownValue,
        Kind::WrongType,
        Kind::Version,
    ];
    let mut refused = 0;
    for (name, text) in super::broken::documents() {
        let loaded = load_with(&text, &[], Mode::Run);
        let first = &loaded.diagnostics[0];
        let whole = loaded
            .diagnostics
            .iter()
            .all(|found| !found.kind.is_syntax());
        if whole && form.contains(&first.kind) && name != "verify-without-trust" {
            assert!(judge.accepts(&text).is_err(), "{name}");
            refused += 1;
        }
    }
    assert!(refused >= 15, "{refused}");
}

/// Every pipeline in the README and the docs is sound, and the schema accepts it too.
///
/// A YAML block is a whole pipeline if it starts with `version:` or the editors' `# yaml-language-server:`
/// line. One that starts with `# part of a pipeline` shows some sections: version and a step are added
/// where they are missing. Other blocks are other people's formats.
#[test]
fn every_pipeline_in_the_docs_is_sound() {
    let judge = SchemaJudge::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    files.extend(
        std::fs::read_dir(root.join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    let mut checked = 0;
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap_or_default();
            let whole =
                block.starts_with("version:") || block.starts_with("# yaml-language-server:");
            let part = block.starts_with("# part of a pipeline");
            if !whole && !part {
                continue;
            }
            let mut document = block.to_owned();
            if part && !block.contains("\nversion:") {
                document.push_str("version: 1\n");
            }
            if part && !block.contains("\nsteps:") {
                document.push_str("steps: [{check: {registry: ghcr.io}}]\n");
            }
            let loaded = load_with(&document, &[], Mode::Validate);
            let errors: Vec<_> = loaded
                .diagnostics
                .iter()
                .filter(|found| found.severity == Severity::Error)
                .map(ToString::to_string)
                .collect();
            assert!(
                errors.is_empty(),
                "{}:\n{}\n{document}",
                file.display(),
                errors.join("\n")
            );
            judge
                .accepts(&document)
                .unwrap_or_else(|error| panic!("{}: {error}\n{document}", file.display()));
            checked += 1;
        }
    }
    assert!(checked > 0);
}
