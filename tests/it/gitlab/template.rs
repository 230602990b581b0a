//! The component's templates, read and filled in as GitLab does it.
//!
//! GitLab parses a template first and fills in the inputs then, value by value: a block that is a whole
//! value becomes the input with its type, a block beside other text becomes text. So no value can change the
//! structure. One difference is kept out by a test: GitLab gives a list beside other text Ruby's form.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::harness::yaml_documents;

/// A template of the component.
pub struct Template {
    pub name: String,
    /// What stands above its header, as one paragraph.
    pub about: String,
    pub inputs: Vec<Input>,
    /// The second document, before it is filled in.
    pub body: Map<String, Value>,
}

/// One input of a template.
pub struct Input {
    pub name: String,
    pub kind: String,
    pub default: Option<Value>,
    pub description: String,
    pub options: Vec<Value>,
    pub regex: Option<String>,
}

/// Returns the folder of the component project.
pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("gitlab")
}

impl Template {
    /// Reads all templates, in the order of their names.
    pub fn all() -> Vec<Self> {
        let folder = fs::read_dir(project().join("templates")).unwrap();
        let mut paths: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(!paths.is_empty());
        paths
            .iter()
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap();
                Self::read(name.strip_suffix(".yml").unwrap())
            })
            .collect()
    }

    /// Reads one.
    pub fn read(name: &str) -> Self {
        let text = fs::read_to_string(project().join(format!("templates/{name}.yml"))).unwrap();
        let [header, body] = <[Value; 2]>::try_from(yaml_documents(&text))
            .unwrap_or_else(|documents| panic!("{name} has {} documents", documents.len()));
        let about: Vec<_> = text
            .lines()
            .map_while(|line| line.strip_prefix("# "))
            .collect();
        let inputs = header["spec"]["inputs"].as_object().unwrap();
        let Value::Object(body) = body else {
            panic!("{name} is no map")
        };
        Self {
            name: name.into(),
            about: about.join(" "),
            inputs: inputs
                .iter()
                .map(|(name, spec)| input(name, spec))
                .collect(),
            body,
        }
    }

    /// Returns what an input is set to, or why GitLab would refuse it.
    pub fn value<'a>(
        &'a self,
        name: &str,
        given: &'a [(&str, Value)],
    ) -> Result<&'a Value, String> {
        let input = self.input(name);
        let value = given.iter().find(|(given, _)| *given == name);
        let value = match (value, &input.default) {
            (Some((_, value)), _) => value,
            (None, Some(default)) => default,
            (None, None) => return Err(format!("{name}: required")),
        };
        input.check(value).map(|()| value)
    }

    /// Fills in inputs, or says why GitLab would refuse them.
    pub fn filled(&self, given: &[(&str, Value)]) -> Result<Map<String, Value>, String> {
        for (name, _) in given {
            self.input(name);
        }
        for input in &self.inputs {
            self.value(&input.name, given)?;
        }
        let body = fill(&Value::Object(self.body.clone()), &|name| {
            self.value(name, given).unwrap().clone()
        });
        Ok(body.as_object().unwrap().clone())
    }

    /// Fills in inputs and merges what jobs extend into them: the jobs that GitLab would run.
    pub fn jobs(&self, given: &[(&str, Value)]) -> Map<String, Value> {
        let body = self.filled(given).unwrap();
        let visible = body.iter().filter(|(name, _)| !name.starts_with('.'));
        let jobs = visible.map(|(name, job)| {
            let mut merged = Value::Object(Map::new());
            for base in job["extends"].as_array().unwrap() {
                let base = base.as_str().unwrap();
                merge(
                    &mut merged,
                    body.get(base).unwrap_or_else(|| panic!("no {base}")),
                );
            }
            merge(&mut merged, job);
            merged.as_object_mut().unwrap().remove("extends");
            (name.clone(), merged)
        });
        jobs.collect()
    }

    fn input(&self, name: &str) -> &Input {
        let found = self.inputs.iter().find(|input| input.name == name);
        found.unwrap_or_else(|| panic!("{} has no input {name}", self.name))
    }
}

impl Input {
    /// Says whether GitLab would take a value.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match &*self.kind {
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            other => panic!("no type is called {other}"),
        };
        if !fits {
            return Err(format!("{}: not a {}", self.name, self.kind));
        }
        if !self.options.is_empty() && !self.options.contains(value) {
            return Err(format!("{}: not among the options", self.name));
        }
        match (&self.regex, value.as_str()) {
            (Some(regex), Some(text)) if !Regex::new(regex).unwrap().is_match(text) => {
                Err(format!("{}: does not match {regex}", self.name))
            }
            _ => Ok(()),
        }
    }
}

/// Returns the names of the inputs that a value's blocks ask for.
pub fn blocks(text: &str) -> Vec<String> {
    let found = BLOCK.captures_iter(text);
    found.map(|block| block[1].to_owned()).collect()
}

static BLOCK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$\[\[ inputs\.([a-z-]+) \]\]").unwrap());

fn input(name: &str, spec: &Value) -> Input {
    let text = |key: &str| spec[key].as_str().map(str::to_owned);
    Input {
        name: name.into(),
        kind: text("type").unwrap_or_else(|| "string".into()),
        default: spec.get("default").cloned(),
        description: text("description").unwrap_or_default(),
        options: spec["options"].as_array().cloned().unwrap_or_default(),
        regex: text("regex"),
    }
}

fn fill(value: &Value, of: &dyn Fn(&str) -> Value) -> Value {
    match value {
        Value::String(text) => {
            let names = blocks(text);
            if let [only] = &*names
                && text.len() == BLOCK.find(text).unwrap().len()
            {
                return of(only);
            }
            Value::String(fill_text(text, of))
        }
        Value::Array(items) => items.iter().map(|item| fill(item, of)).collect(),
        Value::Object(entries) => {
            let mut filled = Map::new();
            for (key, value) in entries {
                // The later of two equal keys holds: an empty value names the hidden job that has nothing.
                filled.insert(fill_text(key, of), fill(value, of));
            }
            Value::Object(filled)
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, of: &dyn Fn(&str) -> Value) -> String {
    let filled = BLOCK.replace_all(text, |found: &regex::Captures<'_>| match of(&found[1]) {
        Value::String(text) => text,
        other => other.to_string(),
    });
    filled.into_owned()
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
