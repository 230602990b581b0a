//! A project that includes the component, and gitlab-ci-local that runs its pipeline.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::template::project;
use crate::harness::{Output, Running, Sandbox, Signal, signal_below, tool};

/// The component's own reference form. gitlab-ci-local finds this commit of this project in its working tree.
pub const COMPONENT: &str = "$CI_SERVER_FQDN/$CI_PROJECT_PATH/{name}@$CI_COMMIT_SHA";

/// A git repository with the component and a pipeline that includes it.
pub struct Project {
    pub sandbox: Sandbox,
}

impl Project {
    /// Makes a project with this `.gitlab-ci.yml`.
    pub fn new(pipeline: &str) -> Self {
        let mut sandbox = Sandbox::new();
        let program = Path::new(env!("CARGO_BIN_EXE_shipgate")).parent().unwrap();
        sandbox.set("PATH", &format!("{}:/usr/bin:/bin", program.display()));
        sandbox.write("home/.gitconfig", "[user]\nname = A\nemail = a@acme.test\n");
        // For after_script it lays the tracked files into the job's folder once more, and deletes what the job
        // has made. A real runner does not: without these two options its rsync deletes nothing.
        sandbox.write(
            "home/.popt",
            "rsync alias --delete --recursive\nrsync alias --delete-excluded --recursive\n",
        );
        sandbox.write(".gitignore", "/home/\n/cache/\n/.gitlab-ci-local/\n");
        sandbox.write(".gitlab-ci.yml", pipeline);
        for entry in fs::read_dir(project().join("templates")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            sandbox.write(&format!("templates/{name}"), fs::read(&path).unwrap());
        }
        Self { sandbox }
    }

    /// Makes a project that includes components with these inputs, and has these jobs besides.
    pub fn including(components: &[(&str, Value)], jobs: Value) -> Self {
        let include: Vec<_> = components
            .iter()
            .map(|(name, inputs)| {
                let mut inputs = inputs.clone();
                inputs["image"] = json!("tools/shipgate:1");
                json!({"component": COMPONENT.replace("{name}", name), "inputs": inputs})
            })
            .collect();
        let mut pipeline = jobs;
        pipeline["include"] = json!(include);
        Self::new(&serde_json::to_string_pretty(&pipeline).unwrap())
    }

    /// Adds a file to the repository.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.sandbox.write(name, content);
        self
    }

    /// Adds a file that stands in shipgate's own repository.
    pub fn own_file(self, name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let file = Path::new(name).file_name().unwrap().to_str().unwrap();
        self.file(file, fs::read(path).unwrap())
    }

    /// Commits everything and starts the pipeline.
    pub fn start(&self, arguments: &[&str]) -> Running {
        for line in [
            "init --quiet --initial-branch main",
            "add --all",
            "commit --quiet --message all",
            "remote add origin https://gitlab.test/acme/web.git",
        ] {
            let mut git = Command::new("git");
            git.args(line.split(' '));
            self.sandbox.start_command(git).finish().expect(0);
        }
        let mut runner = Command::new(tool("gitlab-ci-local"));
        runner
            .args(["--force-shell-executor", "--shell-isolation"])
            // It calls itself something else than GitLab, unless it is told.
            .args([
                "--variable",
                "GITLAB_CI=true",
                "--ignore-predefined-vars",
                "GITLAB_CI,CI_COMMIT_TAG",
            ])
            .args(arguments);
        self.sandbox.start_command(runner)
    }

    /// Commits everything and runs the pipeline to its end.
    pub fn run(&self) -> Output {
        self.start(&[]).finish()
    }

    /// Returns where the artifacts of a job are.
    pub fn artifact(&self, job: &str, name: &str) -> PathBuf {
        self.state("artifacts").join(folder(job)).join(name)
    }

    /// Returns a job's report.
    pub fn report(&self, job: &str, folder: &str) -> Value {
        let path = self.artifact(job, &format!("{folder}/report.json"));
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap()
    }

    /// Returns the log of a job.
    pub fn log(&self, job: &str) -> String {
        fs::read_to_string(self.state("output").join(format!("{}.log", folder(job)))).unwrap()
    }

    /// Returns a folder of what the runner keeps.
    pub fn state(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(".gitlab-ci-local").join(name)
    }

    /// Sends a signal to the program of the running job, as the runner does to every process of a job.
    pub fn signal(&self, signal: Signal) {
        signal_below(self.sandbox.path(), signal);
    }
}

/// Returns the name that the runner gives to a job's folders.
fn folder(job: &str) -> String {
    use base64::Engine as _;
    let odd = regex::Regex::new("[^A-Za-z0-9_-]+").unwrap();
    let encode = |found: &regex::Captures<'_>| {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&found[0])
    };
    odd.replace_all(job, encode).into_owned()
}
