//! GitHub's runner, as far as the steps of our own action go.
//!
//! Unlike `act` it gives a composite's steps no `INPUT_…` variables, and it starts each as the real
//! one does: `bash --noprofile --norc -e -o pipefail FILE`, whose process it signals.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::{Captures, Regex};
use shipgate::pipeline::Source;
use shipgate::pipeline::tree::{Node, parse};

use super::{Output, Running, Sandbox};

/// The repository of the action.
const ACTION: &str = env!("CARGO_MANIFEST_DIR");

/// One use of the action in a job.
pub struct Runner<'a> {
    sandbox: &'a Sandbox,
    // Outside of the workspace, as with the real one.
    temporary: tempfile::TempDir,
    action: Node,
    with: BTreeMap<String, String>,
    env: Vec<(String, String)>,
}

impl<'a> Runner<'a> {
    /// Makes a job's use of the action, in a sandbox that is the workspace.
    pub fn new(sandbox: &'a Sandbox) -> Self {
        let runner = Self {
            sandbox,
            temporary: tempfile::tempdir().unwrap(),
            action: manifest(),
            with: BTreeMap::new(),
            env: Vec::new(),
        };
        runner.with("binary", env!("CARGO_BIN_EXE_shipgate"))
    }

    /// Sets an input.
    #[must_use]
    pub fn with(mut self, input: &str, value: &str) -> Self {
        assert!(self.declared(input).is_some(), "no input is called {input}");
        self.with.insert(input.into(), value.into());
        self
    }

    /// Sets a variable, as `env:` at the step that uses the action does.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Returns the folder that the runner empties between jobs.
    pub fn temporary(&self) -> PathBuf {
        self.temporary.path().into()
    }

    /// Gets shipgate and runs it, and returns what the step left that came last.
    pub fn run(&self) -> Output {
        let found = self.step("binary").finish();
        if !found.status.success() {
            return found;
        }
        self.step("run").finish()
    }

    /// Starts one step.
    pub fn step(&self, id: &str) -> Running {
        let steps = self.action.entry("runs").unwrap().entry("steps").unwrap();
        let steps = steps.sequence().unwrap();
        let step = steps.iter().find(|step| text(step, "id") == id).unwrap();
        assert_eq!(text(step, "shell"), "bash");
        let script = self.temporary().join(format!("{id}.sh"));
        fs::write(&script, text(step, "run")).unwrap();
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]);
        command.arg(&script);

        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut variables = vec![
            ("CI".to_owned(), "true".to_owned()),
            ("GITHUB_ACTIONS".to_owned(), "true".to_owned()),
            ("GITHUB_ACTION_PATH".to_owned(), ACTION.to_owned()),
            ("GITHUB_OUTPUT".to_owned(), path(self.file("outputs", id))),
            (
                "GITHUB_STEP_SUMMARY".to_owned(),
                path(self.file("summary", id)),
            ),
            (
                "GITHUB_WORKSPACE".to_owned(),
                path(self.sandbox.path().into()),
            ),
            ("RUNNER_TEMP".to_owned(), path(self.temporary())),
        ];
        for file in ["outputs", "summary"] {
            fs::write(self.file(file, id), "").unwrap();
        }
        variables.extend(self.env.iter().cloned());
        for entry in step.entry("env").unwrap().mapping().unwrap() {
            let value = &entry.node.scalar().unwrap().text;
            variables.push((entry.key.clone(), self.evaluate(value)));
        }
        self.sandbox.start_piped(command, variables)
    }

    /// Returns an output of the action.
    pub fn output(&self, name: &str) -> String {
        let outputs = self.action.entry("outputs").unwrap();
        self.evaluate(&text(outputs.entry(name).unwrap(), "value"))
    }

    /// Returns what a step wrote into the summary of the job.
    pub fn summary(&self, id: &str) -> String {
        fs::read_to_string(self.file("summary", id)).unwrap()
    }

    fn file(&self, kind: &str, id: &str) -> PathBuf {
        self.temporary().join(format!("{kind}-{id}"))
    }

    fn declared(&self, input: &str) -> Option<&Node> {
        self.action.entry("inputs").unwrap().entry(input)
    }

    /// Evaluates the expressions that the action is made of: names, and `||` between them.
    fn evaluate(&self, text: &str) -> String {
        let expression = Regex::new(r"\$\{\{ (.*?) \}\}").unwrap();
        let value = expression.replace_all(text, |found: &Captures<'_>| {
            let values = found[1].split(" || ").map(|name| self.value(name));
            values
                .reduce(|first, second| if first.is_empty() { second } else { first })
                .unwrap()
        });
        value.into_owned()
    }

    fn value(&self, name: &str) -> String {
        match name.split('.').collect::<Vec<_>>()[..] {
            ["inputs", input] => self.with.get(input).cloned().unwrap_or_else(|| {
                let declared = self.declared(input).unwrap();
                text(declared, "default")
            }),
            ["steps", id, "outputs", output] => outputs(&self.file("outputs", id))
                .remove(output)
                .unwrap_or_default(),
            _ => panic!("the runner of the tests does not know `{name}`"),
        }
    }
}

/// Reads what a step wrote into `GITHUB_OUTPUT`: `name=value` lines, and blocks with an own end.
fn outputs(file: &Path) -> BTreeMap<String, String> {
    let written = fs::read_to_string(file).unwrap_or_default();
    let mut found = BTreeMap::new();
    let mut lines = written.lines();
    while let Some(line) = lines.next() {
        match (line.find('='), line.find("<<")) {
            (Some(equals), block) if block.is_none_or(|block| equals < block) => {
                found.insert(line[..equals].to_owned(), line[equals + 1..].to_owned());
            }
            (_, Some(block)) => {
                let end = &line[block + 2..];
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
                found.insert(line[..block].to_owned(), value.join("\n"));
            }
            _ => panic!("no output: {line:?}"),
        }
    }
    found
}

fn manifest() -> Node {
    let text = fs::read_to_string(Path::new(ACTION).join("action.yml")).unwrap();
    let mut mistakes = Vec::new();
    parse(&Source::new("action.yml", text), &mut mistakes).unwrap()
}

fn text(node: &Node, key: &str) -> String {
    node.entry(key).unwrap().scalar().unwrap().text.clone()
}
