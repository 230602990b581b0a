//! What action.yml, its types, its scripts and the README say of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use regex::Regex;
use shipgate::pipeline::Source;
use shipgate::pipeline::tree::{Entry, Node, parse};

/// How a step calls its script: no expression, so no input, can stand in it.
const CALL: &str = r#"exec bash --noprofile --norc -p "$GITHUB_ACTION_PATH/.github/action/"#;

/// What may stand before it: the step that finishes is signalled as soon as it starts.
const DEAF: &str = "trap '' INT TERM; ";

/// The case that a runner which sets INPUT_… by itself would hide.
#[test]
fn inputs_reach_the_scripts_as_variables_and_in_no_other_way() {
    let action = read("action.yml");
    let declared = keys(&action, "inputs");
    let mut mapped = BTreeSet::new();
    let mut places = Vec::new();
    walk(&action, &mut Vec::new(), &mut places);
    for (path, text) in places {
        if !text.contains("${{") || !text.contains("inputs.") {
            continue;
        }
        let [.., place, variable] = path.as_slice() else {
            panic!("{path:?} is `{text}`");
        };
        assert_eq!(
            place, "env",
            "{path:?} is `{text}`: inputs stand in `env` alone"
        );
        let input = text
            .strip_prefix("${{ inputs.")
            .and_then(|rest| rest.strip_suffix(" }}"))
            .unwrap_or_else(|| panic!("{path:?} is `{text}`: nothing else beside the input"));
        assert_eq!(*variable, variable_of(input));
        mapped.insert(input.to_owned());
    }
    assert_eq!(
        mapped, declared,
        "each input is mapped, and each that is mapped is declared"
    );
}

#[test]
fn steps_do_nothing_but_call_a_script_that_uses_all_that_it_is_given() {
    let common = used(&script("common"));
    for step in steps(&read("action.yml")) {
        let run = text(&step, "run");
        let call = run.strip_prefix(DEAF).unwrap_or(&run);
        let name = call
            .strip_prefix(CALL)
            .and_then(|rest| rest.strip_suffix(".sh\""))
            .unwrap_or_else(|| panic!("`{run}` does more than to call a script"));
        let given: BTreeSet<String> = variables(&step).into_keys().collect();
        let given: BTreeSet<String> = given
            .into_iter()
            .filter(|variable| variable.starts_with("WITH_"))
            .collect();
        let own = used(&script(name));
        let missing: Vec<_> = own.difference(&given).collect();
        assert!(
            missing.is_empty(),
            "{name}.sh reads {missing:?}, which its step does not set"
        );
        let all: BTreeSet<String> = own.union(&common).cloned().collect();
        let unused: Vec<_> = given.difference(&all).collect();
        assert!(unused.is_empty(), "{name}.sh does not read {unused:?}");
        if name != "binary" {
            let missing: Vec<_> = common.difference(&given).collect();
            assert!(
                missing.is_empty(),
                "common.sh reads {missing:?}, which {name}'s step does not set"
            );
        }
    }
}

#[test]
fn scripts_are_hardened_and_evaluate_nothing() {
    for name in ["binary", "finish", "run"] {
        let script = script(name);
        assert!(script.contains("\nset -euo pipefail\n"), "{name}.sh");
        for risky in ["eval", "INPUT_", "::set-output", "${{", "xargs", "sh -c"] {
            assert!(!script.contains(risky), "{name}.sh holds {risky}");
        }
    }
}

#[test]
fn the_types_are_those_of_the_manifest() {
    let (action, types) = (read("action.yml"), read("action-types.yml"));
    for kind in ["inputs", "outputs"] {
        assert_eq!(keys(&action, kind), keys(&types, kind), "{kind}");
    }
    for input in entries(&action, "inputs") {
        let described = text(&input.node, "description");
        let default = text(&input.node, "default");
        let kind = types.entry("inputs").unwrap().entry(&input.key).unwrap();
        let words: Vec<String> = match text(kind, "type").as_str() {
            "boolean" => vec!["true".into(), "false".into()],
            "enum" => kind
                .entry("allowed-values")
                .unwrap()
                .sequence()
                .unwrap()
                .iter()
                .map(scalar)
                .collect(),
            _ => Vec::new(),
        };
        for word in &words {
            assert!(
                described.contains(&format!("`{word}`")),
                "`{}` does not say `{word}`",
                input.key
            );
        }
        assert!(
            words.is_empty() || default.is_empty() || words.contains(&default),
            "{}",
            input.key
        );
    }
}

#[test]
fn everything_is_described_and_named_as_usual() {
    let action = read("action.yml");
    let name = Regex::new("^[a-z]+(-[a-z]+)*$").unwrap();
    assert!(
        text(&action, "description").len() <= 125,
        "the marketplace cuts it"
    );
    for place in ["icon", "color"] {
        assert!(
            action.entry("branding").unwrap().entry(place).is_some(),
            "{place}"
        );
    }
    for kind in ["inputs", "outputs"] {
        for entry in entries(&action, kind) {
            assert!(name.is_match(&entry.key), "{}", entry.key);
            assert!(
                text(&entry.node, "description").ends_with('.'),
                "{}",
                entry.key
            );
        }
    }
    let steps = steps(&action);
    let ids: Vec<String> = steps.iter().map(|step| text(step, "id")).collect();
    let step_outputs = Regex::new(r"steps\.([a-z]+)\.outputs\.([a-z-]+)").unwrap();
    for output in entries(&action, "outputs") {
        for step in step_outputs.captures_iter(&text(&output.node, "value")) {
            assert!(
                ids.contains(&step[1].to_owned()),
                "{}: {}",
                output.key,
                &step[1]
            );
            assert_eq!(output.key, step[2]);
        }
    }
}

/// What a newcomer copies.
#[test]
fn workflows_of_the_documentation_use_inputs_and_outputs_that_exist() {
    let action = read("action.yml");
    let (inputs, outputs) = (keys(&action, "inputs"), keys(&action, "outputs"));
    let step_outputs = Regex::new(r"steps\.[a-z]+\.outputs\.([a-z-]+)").unwrap();
    let mut calls = 0;
    for page in ["README.md", "docs/github-action.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            let mut mistakes = Vec::new();
            let node = parse(&Source::new(page, block), &mut mistakes);
            assert!(mistakes.is_empty(), "{page}: {mistakes:?}");
            for call in uses(&node.unwrap(), "acme/shipgate@") {
                let with = call
                    .entry("with")
                    .and_then(Node::mapping)
                    .unwrap_or_default();
                for input in with {
                    assert!(inputs.contains(&input.key), "{page}: {}", input.key);
                }
                calls += 1;
            }
            for output in step_outputs.captures_iter(block) {
                assert!(outputs.contains(&output[1]), "{page}: {}", &output[1]);
            }
        }
    }
    assert!(calls > 4, "{calls}");
}

/// The tables are generated: run the test with `SHIPGATE_BLESS=1` to write them anew.
#[test]
#[expect(clippy::disallowed_methods, reason = "a switch of the test suite")]
fn the_tables_in_the_readme_are_current() {
    let action = read("action.yml");
    let mut tables = String::from("| input | default | |\n| --- | --- | --- |\n");
    for input in entries(&action, "inputs") {
        let default = match text(&input.node, "default") {
            empty if empty.is_empty() => empty,
            default => format!("`{default}`"),
        };
        let described = text(&input.node, "description");
        writeln!(tables, "| `{}` | {default} | {described} |", input.key).unwrap();
    }
    tables += "\n| output | |\n| --- | --- |\n";
    for output in entries(&action, "outputs") {
        writeln!(
            tables,
            "| `{}` | {} |",
            output.key,
            text(&output.node, "description")
        )
        .unwrap();
    }
    let path = root().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = readme.split_once(TABLES_BEGIN).unwrap();
    let (_, foot) = rest.split_once(TABLES_END).unwrap();
    let current = format!("{head}{TABLES_BEGIN}{tables}{TABLES_END}{foot}");
    if std::env::var("SHIPGATE_BLESS").is_ok() {
        std::fs::write(&path, &current).unwrap();
    }
    assert!(
        readme == current || std::env::var("SHIPGATE_BLESS").is_ok(),
        "bless README.md"
    );
}

const TABLES_BEGIN: &str = "<!-- generated from action.yml -->\n";
const TABLES_END: &str = "<!-- end -->\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a YAML file of the repository.
pub fn read(name: &str) -> Node {
    let text = std::fs::read_to_string(root().join(name)).unwrap();
    let mut mistakes = Vec::new();
    let node = parse(&Source::new(name, text), &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    node.unwrap()
}

/// Returns the steps of the action.
pub fn steps(action: &Node) -> Vec<Node> {
    let steps = action.entry("runs").unwrap().entry("steps").unwrap();
    steps.sequence().unwrap().to_vec()
}

/// Returns what a step sets in `env`.
pub fn variables(step: &Node) -> BTreeMap<String, String> {
    let entries = step.entry("env").unwrap().mapping().unwrap();
    let pairs = entries.iter();
    pairs
        .map(|entry| (entry.key.clone(), scalar(&entry.node)))
        .collect()
}

/// Returns a text of a map.
pub fn text(node: &Node, key: &str) -> String {
    let value = node.entry(key).unwrap_or_else(|| panic!("no `{key}`"));
    scalar(value)
}

/// Returns the entries of a map in a map.
pub fn entries<'a>(node: &'a Node, key: &str) -> &'a [Entry] {
    node.entry(key).unwrap().mapping().unwrap()
}

fn keys(node: &Node, key: &str) -> BTreeSet<String> {
    entries(node, key)
        .iter()
        .map(|entry| entry.key.clone())
        .collect()
}

fn scalar(node: &Node) -> String {
    node.scalar().unwrap().text.clone()
}

fn variable_of(input: &str) -> String {
    format!("WITH_{}", input.to_uppercase().replace('-', "_"))
}

fn script(name: &str) -> String {
    std::fs::read_to_string(root().join(format!(".github/action/{name}.sh"))).unwrap()
}

fn used(script: &str) -> BTreeSet<String> {
    let names = Regex::new("WITH_[A-Z_]*[A-Z]").unwrap();
    names
        .find_iter(script)
        .map(|found| found.as_str().to_owned())
        .collect()
}

/// Collects the steps that use an action.
fn uses<'a>(node: &'a Node, action: &str) -> Vec<&'a Node> {
    if let Some(items) = node.sequence() {
        return items.iter().flat_map(|item| uses(item, action)).collect();
    }
    let called = node.entry("uses").and_then(Node::scalar);
    if called.is_some_and(|called| called.text.starts_with(action)) {
        return vec![node];
    }
    let entries = node.mapping().unwrap_or_default();
    entries
        .iter()
        .flat_map(|entry| uses(&entry.node, action))
        .collect()
}

/// Collects every single value with its path.
fn walk(node: &Node, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    if let Some(entries) = node.mapping() {
        for entry in entries {
            path.push(entry.key.clone());
            walk(&entry.node, path, found);
            path.pop();
        }
    } else if let Some(items) = node.sequence() {
        for item in items {
            walk(item, path, found);
        }
    } else {
        found.push((path.clone(), scalar(node)));
    }
}
