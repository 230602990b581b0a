//! The tables of inputs in the component's README.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use super::template::{Input, Template, project};

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
