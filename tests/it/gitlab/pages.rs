//! The tables of inputs in the component's README.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::linters::examples;
use super::template::{Input, Template, project};
use crate::harness::yaml_documents;

/// The tables are generated: run the test with `SHIPGATE_BLESS=1` to write them anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test suite, not of the library"
)]
fn the_tables_of_inputs_are_current() {
    let path = project().join("README.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut current = page.clone();
    for template in Template::all() {
        current = replaced(&current, &template);
    }
    if std::env::var("SHIPGATE_BLESS").is_ok() {
        fs::write(&path, &current).unwrap();
    } else {
        assert_eq!(page, current, "bless gitlab/README.md");
    }
}

/// What a reader copies names inputs that exist, with values that are taken.
#[test]
fn what_the_page_and_the_examples_include_is_there() {
    let page = fs::read_to_string(project().join("README.md")).unwrap();
    let mut texts = snippets(&page);
    assert!(texts.len() >= Template::all().len());
    texts.extend(
        examples()
            .iter()
            .map(|path| fs::read_to_string(path).unwrap()),
    );
    for text in texts {
        let pipeline = yaml_documents(&text).remove(0);
        for include in pipeline["include"].as_array().unwrap() {
            let component = include["component"].as_str().unwrap();
            let name = component
                .strip_prefix("$CI_SERVER_FQDN/my-group/shipgate/")
                .unwrap();
            let template = Template::read(name.strip_suffix("@main").unwrap());
            let inputs = include["inputs"].as_object().unwrap();
            let given: Vec<_> = inputs
                .iter()
                .map(|(name, value)| (&**name, value.clone()))
                .collect();
            template
                .filled(&given)
                .unwrap_or_else(|why| panic!("{why} in\n{text}"));
        }
    }
}

/// Returns the YAML blocks of a page.
pub fn snippets(page: &str) -> Vec<String> {
    let blocks = page.split("```yaml\n").skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap().to_owned())
        .collect()
}

/// Puts a template's table between its two marks.
fn replaced(page: &str, template: &Template) -> String {
    let begin = format!("<!-- inputs of {}: generated -->\n", template.name);
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    let mut table = String::from("| input | type | default | |\n| --- | --- | --- | --- |\n");
    for input in &template.inputs {
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            input.name,
            kind(input),
            input.default.as_ref().map_or("required".into(), shown),
            escaped(&input.description)
        );
    }
    format!("{before}{begin}{table}<!-- end -->{after}")
}

fn kind(input: &Input) -> String {
    if input.options.is_empty() {
        return input.kind.clone();
    }
    let options: Vec<_> = input.options.iter().map(shown).collect();
    options.join(", ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "empty".into(),
        Value::String(text) => format!("`{}`", escaped(text)),
        other => format!("`{}`", escaped(&other.to_string())),
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
