//! A folder with a home, where `shipgate` runs as a user would run it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::{PATIENCE, Process, Signal};

/// A temporary folder with `home/` and `cache/`, and nothing of the caller's environment.
pub struct Sandbox {
    folder: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

impl Sandbox {
    /// Makes an empty sandbox.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("shipgate-it-")
            .tempdir()
            .unwrap();
        fs::create_dir(folder.path().join("home")).unwrap();
        Self {
            folder,
            variables: Vec::new(),
        }
    }

    /// Returns the folder that commands run in.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the home folder.
    pub fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    /// Returns the folder that commands keep images in.
    pub fn cache(&self) -> PathBuf {
        self.path().join("cache/shipgate")
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes `~/.docker/config.json` with a login.
    pub fn docker_login(&self, registry: &str, user: &str, password: &str) {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let config = serde_json::json!({"auths": {registry: {"auth": auth}}});
        self.write("home/.docker/config.json", config.to_string());
    }

    /// Sets a variable for every command that follows.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.into(), value.into()));
    }

    /// Runs `shipgate` to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.start(arguments).finish()
    }

    /// Starts `shipgate`.
    pub fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shipgate"));
        command.args(arguments);
        self.start_command(command)
    }

    /// Starts `shipgate` on a terminal of its own, where keys can be pressed.
    pub fn start_on_terminal(&self, arguments: &str) -> Running {
        let mut command = Command::new("script");
        let line = format!("exec {} {arguments}", env!("CARGO_BIN_EXE_shipgate"));
        command.args([
            "--quiet",
            "--flush",
            "--return",
            "--command",
            &line,
            "/dev/null",
        ]);
        self.start_with(command, Stdio::piped())
    }

    /// Starts any command here, with the sandbox's environment and nothing else.
    pub fn start_command(&self, command: Command) -> Running {
        self.start_with(command, Stdio::null())
    }

    /// Starts any command here as CI systems do: with variables of its own besides the sandbox's, and with pipes
    /// for its outputs.
    pub fn start_piped(
        &self,
        mut command: Command,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Running {
        let logs = tempfile::tempdir().unwrap();
        self.surround(&mut command);
        command.envs(variables).stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let readers = vec![
            reader(child.stdout.take().unwrap(), &logs.path().join("stdout")),
            reader(child.stderr.take().unwrap(), &logs.path().join("stderr")),
        ];
        Running {
            readers,
            ..self.running(child, logs)
        }
    }

    fn start_with(&self, mut command: Command, stdin: Stdio) -> Running {
        let logs = tempfile::tempdir().unwrap();
        self.surround(&mut command);
        let child = command
            .stdin(stdin)
            .stdout(fs::File::create(logs.path().join("stdout")).unwrap())
            .stderr(fs::File::create(logs.path().join("stderr")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        self.running(child, logs)
    }

    /// Gives a command this sandbox's environment and folder.
    fn surround(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.home())
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path());
    }

    fn running(&self, mut child: Child, logs: tempfile::TempDir) -> Running {
        Running {
            keys: child.stdin.take(),
            process: Process::of(child, logs.path().join("stderr")),
            stdout: logs.path().join("stdout"),
            sandbox: self.path().into(),
            readers: Vec::new(),
            _logs: logs,
        }
    }
}

/// Copies a pipe into a file until its last writer is gone.
fn reader(mut pipe: impl Read + Send + 'static, file: &Path) -> JoinHandle<()> {
    let mut file = fs::File::create(file).unwrap();
    std::thread::spawn(move || {
        io::copy(&mut pipe, &mut file).unwrap();
    })
}

/// A command that runs.
pub struct Running {
    keys: Option<ChildStdin>,
    process: Process,
    stdout: PathBuf,
    sandbox: PathBuf,
    readers: Vec<JoinHandle<()>>,
    _logs: tempfile::TempDir,
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Presses Ctrl-C at the terminal.
    pub fn press_interrupt(&mut self) {
        let keys = self
            .keys
            .as_mut()
            .unwrap_or_else(|| panic!("not started on a terminal"));
        keys.write_all(b"\x03").unwrap();
        keys.flush().unwrap();
    }

    /// Waits until standard error holds a text.
    pub fn wait_for_stderr(&mut self, text: &str) {
        self.process
            .wait_for(text, |log| log.contains(text).then_some(()));
    }

    /// Returns what it has printed on standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8(fs::read(&self.stdout).unwrap()).unwrap()
    }

    /// Says whether it ends within `limit`.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        self.process.ended_within(limit).is_some()
    }

    /// Waits for the end.
    pub fn finish(self) -> Output {
        self.finish_within(PATIENCE)
    }

    /// Waits for the end of something that takes longer than most.
    pub fn finish_within(mut self, limit: Duration) -> Output {
        let Some(status) = self.process.ended_within(limit) else {
            panic!("still running after {limit:?}:\n{}", self.process.log());
        };
        for reader in self.readers {
            reader.join().unwrap();
        }
        Output {
            status,
            stdout: String::from_utf8(fs::read(&self.stdout).unwrap()).unwrap(),
            stderr: self.process.log(),
            sandbox: self.sandbox.clone(),
        }
    }
}

/// What a command left.
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    sandbox: PathBuf,
}

impl Output {
    /// Panics with both outputs unless the exit code is this one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Panics unless stderr holds the text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in\n{}",
            self.stderr
        );
        self
    }

    /// Returns stdout as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in\n{}", self.stdout))
    }

    /// Returns stdout as JSON values, one a line.
    pub fn json_lines(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line}")))
            .collect()
    }

    /// Returns code, stdout and stderr without what differs from run to run.
    pub fn normal(&self) -> String {
        let code = self
            .status
            .code()
            .map_or("signal".into(), |c| c.to_string());
        let text = format!(
            "exit: {code}\n--- stdout\n{}--- stderr\n{}",
            self.stdout, self.stderr
        );
        normalise(&text, &self.sandbox)
    }
}

/// Replaces paths, ports, times and durations; digests stay, since they are facts.
pub fn normalise(text: &str, sandbox: &Path) -> String {
    let text = text.replace(&*sandbox.to_string_lossy(), "[SANDBOX]");
    let further = [
        (r"\b\d+(\.\d+)? ?(ms|µs|s)\b", "[TIME]"),
        (r"\b\d+(\.\d+)? [kKMG]?i?B/s", "[RATE]"),
    ];
    without_chance(&text, &further)
}

/// Replaces what no two runs have in common (their ids, ports and times of day), and what `further` patterns find.
pub fn without_chance(text: &str, further: &[(&str, &str)]) -> String {
    let always = [
        (r"\d{8}T\d{6}Z-[0-9a-f]{8}", "[RUN]"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:[PORT]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[INSTANT]"),
    ];
    let mut text = text.to_owned();
    for (pattern, name) in always.iter().chain(further) {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, *name).into_owned();
    }
    text
}
