//! A child process that never outlives its test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{wait_for, wait_within};

/// A running program whose output goes into a file.
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// The signals that tests send.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Interrupt,
    Kill,
    Terminate,
}

impl Process {
    /// Starts a server. The kernel ends it with the test's thread, should the test binary be killed.
    pub fn server(program: &Path, arguments: &[&str], log: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments);
        Self::start(&mut command, log)
    }

    /// Starts a command with both outputs going into `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Self::of(child, log.into())
    }

    /// Takes care of a child that is running already.
    pub fn of(child: Child, log: PathBuf) -> Self {
        Self { child, log }
    }

    /// Returns its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for what `find` looks for in the output; panics with the output when the process ends before.
    pub fn wait_for<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        wait_for(what, || {
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            let found = find(&log);
            if let (None, Some(status)) = (&found, ended) {
                panic!("ended with {status} before {what}:\n{log}");
            }
            found
        })
    }

    /// Sends a signal to this one process.
    pub fn signal(&self, signal: Signal) {
        send(signal, self.child.id());
    }

    /// Returns how it ended, if it does within `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_within(limit, || self.child.try_wait().unwrap())
    }
}

/// Sends a signal to the shipgate that a runner has started in a folder below this one.
pub fn signal_below(folder: &Path, signal: Signal) {
    let own = |entry: fs::DirEntry| {
        let process = entry.path();
        let program = fs::read_link(process.join("exe")).ok()?;
        let place = fs::read_link(process.join("cwd")).ok()?;
        let ours =
            program == Path::new(env!("CARGO_BIN_EXE_shipgate")) && place.starts_with(folder);
        ours.then(|| entry.file_name().to_str()?.parse().ok())?
    };
    let mut processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| own(entry.unwrap()));
    let id = processes.next();
    send(signal, id.unwrap_or_else(|| panic!("no shipgate runs")));
}

fn send(signal: Signal, id: u32) {
    let name = match signal {
        Signal::Interrupt => "INT",
        Signal::Kill => "KILL",
        Signal::Terminate => "TERM",
    };
    let script = format!("kill -s {name} {id}");
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
