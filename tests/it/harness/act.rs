//! Workflows that use the action as a user does, run by the real `act` on this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Output, PATIENCE, Running, Sandbox, tool};

/// `actions/checkout`, which `act` does by itself: v6.0.2.
pub const CHECKOUT: &str = "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd";

/// A repository with the action in it and what its workflows work on.
pub struct Project {
    pub sandbox: Sandbox,
}

/// The step that keeps what is gone after the job.
const KEEP: &str = r#"
      - name: Keep
        if: ${{ always() }}
        env:
          OUTPUTS: ${{ toJSON(steps.gate.outputs) }}
          REPORT: ${{ steps.gate.outputs.report }}
        run: |
          printf '%s' "$OUTPUTS" >KEPT/outputs
          [ -z "$REPORT" ] || cp -R "${REPORT%/*}" KEPT/report
"#;

/// What a workflow left.
pub struct Job {
    pub code: i32,
    /// What the steps printed, without what `act` puts before it.
    pub log: String,
    /// The outputs of the step `gate`, as the last step saw them.
    pub outputs: Value,
    kept: PathBuf,
}

impl Project {
    /// Makes a repository that has the action and nothing else.
    pub fn new() -> Self {
        let project = Self {
            sandbox: Sandbox::new(),
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ["action.yml", "Cargo.toml"] {
            project.write(file, fs::read(root.join(file)).unwrap());
        }
        for script in fs::read_dir(root.join(".github/action")).unwrap() {
            let path = script.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            project.write(name, fs::read(&path).unwrap());
        }
        fs::create_dir(project.sandbox.path().join("kept")).unwrap();
        project
    }

    /// Returns the path of a file of the repository.
    pub fn file(&self, name: &str) -> PathBuf {
        self.sandbox.path().join("repository").join(name)
    }

    /// Returns the path of what a job leaves outside of its repository.
    pub fn kept(&self, name: &str) -> PathBuf {
        self.sandbox.path().join("kept").join(name)
    }

    /// Writes a file of the repository.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.sandbox.write(&format!("repository/{name}"), content);
    }

    /// Writes a program of the repository.
    pub fn write_program(&self, name: &str, script: &str) {
        self.write(name, script);
        fs::set_permissions(self.file(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes an example of our own repository to the same place.
    pub fn write_example(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        self.write(name, fs::read(path).unwrap());
    }

    /// Runs these steps, each indented by six blanks, after a checkout. One has the id `gate`.
    pub fn run(&self, steps: &str) -> Job {
        self.start(steps, &[]).finish()
    }

    /// Starts a workflow of these steps with secrets.
    pub fn start(&self, steps: &str, secrets: &[(&str, &str)]) -> Act {
        self.start_workflow(
            &format!(
                "on: push\njobs:\n  job:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: {CHECKOUT}\n{steps}{}",
                self.keep()
            ),
            secrets,
        )
    }

    /// Returns a step that keeps what the last step of a job sees.
    pub fn keep(&self) -> String {
        let kept = self.sandbox.path().join("kept");
        KEEP.replace("KEPT", &kept.display().to_string())
    }

    /// Starts a whole workflow.
    pub fn start_workflow(&self, workflow: &str, secrets: &[(&str, &str)]) -> Act {
        let workflow = workflow.replace("BINARY", env!("CARGO_BIN_EXE_shipgate"));
        self.write(".github/workflows/test.yml", workflow);
        let repository = self.sandbox.path().join("repository");
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command
                .args(["-c", "user.name=it", "-c", "user.email=it@example.com"])
                .arg("-C")
                .arg(&repository)
                .args(arguments);
            self.sandbox.start_command(command).finish().expect(0);
        };
        git(&["init", "--quiet", "--initial-branch=main"]);
        git(&["add", "--all", "--force"]);
        git(&["commit", "--quiet", "--allow-empty", "--message=test"]);
        git(&["tag", "--force", "v1.2.0"]);
        let mut command = Command::new(tool("act"));
        command
            .args(["push", "--directory"])
            .arg(&repository)
            .args(["--platform", "ubuntu-latest=-self-hosted"])
            .args(["--no-cache-server", "--no-recurse", "--pull=false"])
            .args(["--action-offline-mode"]);
        let secrets: String = secrets
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", serde_json::json!(value)))
            .collect();
        let file = self.sandbox.write("secrets.yml", secrets);
        command.arg("--secret-file").arg(file);
        Act {
            running: self.sandbox.start_command(command),
            kept: self.kept(""),
        }
    }
}

/// A workflow that runs.
pub struct Act {
    running: Running,
    kept: PathBuf,
}

impl Act {
    /// Waits for its end.
    pub fn finish(self) -> Job {
        self.finish_within(PATIENCE)
    }

    /// Waits for its end for so long.
    pub fn finish_within(self, limit: Duration) -> Job {
        let output: Output = self.running.finish_within(limit);
        let outputs = fs::read_to_string(self.kept.join("outputs")).unwrap_or_default();
        let log = output.stdout + &output.stderr;
        Job {
            code: output.status.code().unwrap(),
            log: log.lines().map(|line| bare(line) + "\n").collect(),
            outputs: serde_json::from_str(&outputs).unwrap_or_default(),
            kept: self.kept,
        }
    }
}

/// Returns what a step printed, without the name of its job.
fn bare(line: &str) -> String {
    let printed = line.split_once("]   | ");
    printed.map_or(line, |(_, printed)| printed).to_owned()
}

impl Job {
    /// Panics with the log unless the job ended so.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.log);
        self
    }

    /// Panics unless the log holds the text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.log.contains(text), "no {text:?} in\n{}", self.log);
        self
    }

    /// Returns the report that the step `gate` left.
    #[track_caller]
    pub fn report(&self) -> Value {
        let file = self.kept.join("report/report.json");
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("{error}: {}", self.log));
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Returns an output of the step `gate`.
    #[track_caller]
    pub fn output(&self, name: &str) -> &str {
        self.outputs[name]
            .as_str()
            .unwrap_or_else(|| panic!("no output {name} in {}\n{}", self.outputs, self.log))
    }
}
