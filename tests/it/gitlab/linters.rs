//! The linters that GitLab's users have: the schema of pipelines and shellcheck.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::pages::snippets;
use super::rules::scripts;
use super::template::Template;
use crate::harness::{Sandbox, Tool, yaml_documents};

#[test]
#[ignore = "needs real peers: tests/run"]
fn templates_and_examples_fit_the_schema_of_pipelines() {
    let sandbox = Sandbox::new();
    let mut files = Vec::new();
    for template in Template::all() {
        let text = std::fs::read_to_string(
            super::template::project().join(format!("templates/{}.yml", template.name)),
        )
        .unwrap();
        let header = &yaml_documents(&text)[0];
        files.push(sandbox.write(
            &format!("{}-header.json", template.name),
            header.to_string(),
        ));
        for (kind, given) in [("usual", usual(&template)), ("full", full(&template))] {
            // The schema knows types, so inputs are filled in first.
            let body = Value::Object(template.filled(&given).unwrap());
            files.push(sandbox.write(&format!("{}-{kind}.json", template.name), body.to_string()));
            let jobs = Value::Object(template.jobs(&given));
            files.push(sandbox.write(
                &format!("{}-{kind}-jobs.json", template.name),
                jobs.to_string(),
            ));
        }
    }
    files.extend(examples());
    let page = std::fs::read_to_string(super::template::project().join("README.md")).unwrap();
    for (number, snippet) in snippets(&page).iter().enumerate() {
        files.push(sandbox.write(&format!("snippet-{number}.yml"), snippet));
    }
    Tool::new(&sandbox, "check-jsonschema")
        .args(["--builtin-schema", "vendor.gitlab-ci"])
        .args(&files)
        .run();
}

#[test]
#[ignore = "needs real peers: tests/run"]
fn shellcheck_finds_nothing_in_the_scripts() {
    let sandbox = Sandbox::new();
    for template in Template::all() {
        for (part, text) in scripts(&template) {
            let name = format!("{}-{part}.sh", template.name);
            sandbox.write(&name, text);
            for shell in ["sh", "dash", "bash"] {
                let found = Tool::new(&sandbox, "shellcheck")
                    .args(["--shell", shell, "--severity", "style", &name])
                    .attempt();
                let said = String::from_utf8_lossy(&found.stdout);
                assert!(found.status.success(), "{shell}\n{said}");
            }
        }
    }
}

/// Returns the example files for GitLab.
pub fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gitlab");
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().ends_with(".gitlab-ci.yml"));
    files.sort();
    files
}

fn usual(template: &Template) -> Vec<(&'static str, Value)> {
    known(
        template,
        vec![
            ("image", json!("tools/shipgate:1")),
            ("deploy-job", json!("deploy")),
        ],
    )
}

fn full(template: &Template) -> Vec<(&'static str, Value)> {
    let mut given = usual(template);
    given.extend(known(
        template,
        vec![
            ("environment", json!("production")),
            ("id-token-audience", json!("sigstore")),
            ("lock", json!("shipgate.lock")),
            (
                "needs",
                json!(["build", {"job": "test", "artifacts": false}]),
            ),
            ("rules", json!([{"if": "$CI_COMMIT_TAG", "when": "manual"}])),
            ("tags", json!(["docker", "large"])),
        ],
    ));
    given
}

fn known<'a>(template: &Template, given: Vec<(&'a str, Value)>) -> Vec<(&'a str, Value)> {
    let known = |name: &str| template.inputs.iter().any(|input| input.name == name);
    given.into_iter().filter(|(name, _)| known(name)).collect()
}
