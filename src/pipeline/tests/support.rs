//! Loads documents as tests need them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::pipeline::tree::{self, Node};
use crate::pipeline::{Given, Loaded, Mode, RunNames, Source, load, schema};

/// The variables of every test.
fn variables(name: &str) -> Option<String> {
    match name {
        "GHCR_TOKEN" => Some("ghp_0123456789".to_owned()),
        "SLACK_WEBHOOK_URL" => Some("https://hooks.slack.example/T0/B0".to_owned()),
        "SHORT" => Some("abc".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match path.to_str() {
        Some("token.txt") => Ok(b"file-token-1\n".to_vec()),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

/// Returns what every test is given.
pub fn given(mode: Mode) -> Given<'static> {
    Given {
        inputs: BTreeMap::new(),
        variables: &variables,
        read_file: &read_file,
        run: RunNames {
            id: "run-1".to_owned(),
            link: None,
        },
        playground: None,
        mode,
    }
}

/// Loads a document with inputs as on the command line.
pub fn load_with(text: &str, inputs: &[(&str, &str)], mode: Mode) -> Loaded {
    let given = Given {
        inputs: inputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..given(mode)
    };
    load(&Source::new("pipeline.yml", text), &given)
}

/// Loads a document to run it, and shows everything that was found.
pub fn findings(text: &str) -> String {
    shown(&load_with(text, &[], Mode::Run))
}

/// Shows everything that was found.
pub fn shown(loaded: &Loaded) -> String {
    let mut text = String::new();
    for diagnostic in &loaded.diagnostics {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        let _ = write!(text, "{diagnostic}");
    }
    if text.is_empty() {
        text.push_str("nothing");
    }
    text
}

/// Judges documents by the published schema, as an editor does.
pub struct SchemaJudge {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl SchemaJudge {
    /// Compiles the schema.
    pub fn new() -> Self {
        let mut compiler = boon::Compiler::new();
        compiler.add_resource("pipeline.json", schema()).unwrap();
        let mut schemas = boon::Schemas::new();
        let index = compiler.compile("pipeline.json", &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// Says whether the schema accepts a document.
    pub fn accepts(&self, text: &str) -> Result<(), String> {
        let root = tree::parse(&Source::new("pipeline.yml", text), &mut Vec::new());
        let value = root.as_ref().map_or(Value::Null, json);
        self.schemas
            .validate(&value, self.index)
            .map_err(|error| error.to_string())
    }
}

/// Reads a tree as editors do, by YAML's core schema.
fn json(node: &Node) -> Value {
    match &node.value {
        tree::Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json(&entry.node)))
            .collect(),
        tree::Value::Sequence(items) => items.iter().map(json).collect(),
        tree::Value::Scalar(scalar) if scalar.is_null() => Value::Null,
        tree::Value::Scalar(scalar) if scalar.is_boolean() => {
            Value::Bool(scalar.text.to_lowercase() == "true")
        }
        tree::Value::Scalar(scalar) if scalar.is_number() => {
            serde_json::from_str(&scalar.text).unwrap_or_else(|_| Value::from(0.5))
        }
        tree::Value::Scalar(scalar) => Value::String(scalar.text.clone()),
    }
}
