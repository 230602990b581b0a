//! Docker Engine and containerd, on sockets and folders of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{PATIENCE, Process, Signal, tool};

/// Which engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Era {
    /// 28, with containerd's image store.
    New,
    /// 20.10, with a graph driver.
    Old,
}

/// A running engine. Only root can start one.
pub struct Engine {
    process: Process,
    folder: tempfile::TempDir,
}

impl Engine {
    /// Starts Docker Engine, empty.
    pub fn docker(era: Era) -> Self {
        Self::start("dockerd", era, |folder| {
            let path = |name: &str| folder.join(name).display().to_string();
            let mut arguments = vec![
                "--host".to_owned(),
                format!("unix://{}", path("docker.sock")),
                "--data-root".to_owned(),
                path("data"),
                "--exec-root".to_owned(),
                path("exec"),
                "--pidfile".to_owned(),
                path("pid"),
                "--iptables=false".to_owned(),
                "--bridge=none".to_owned(),
            ];
            if era == Era::New {
                arguments.push("--ip6tables=false".to_owned());
                arguments.push("--feature=containerd-snapshotter=true".to_owned());
            }
            (arguments, "API listen on")
        })
    }

    /// Starts containerd, empty.
    pub fn containerd(era: Era) -> Self {
        Self::start("containerd", era, |folder| {
            let path = |name: &str| folder.join(name).display().to_string();
            let arguments = [
                "--address",
                &path("containerd.sock"),
                "--root",
                &path("data"),
                "--state",
                &path("state"),
            ];
            let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
            (arguments, "containerd successfully booted")
        })
    }

    fn start(
        program: &str,
        era: Era,
        arguments: impl FnOnce(&Path) -> (Vec<String>, &'static str),
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("shipgate-engine-")
            .tempdir()
            .unwrap();
        let (arguments, ready) = arguments(folder.path());
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(tool(&format!("{program}-{}", era.word())))
            .args(arguments)
            .env("SHIPGATE_ENGINE", folder.path());
        let mut process = Process::start(&mut command, &folder.path().join("log"));
        process.wait_for("the engine to listen", |log| {
            log.contains(ready).then_some(())
        });
        Self { process, folder }
    }

    /// Returns the folder that the engine shares with the machine.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a socket in it.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the address as `DOCKER_HOST` has it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket("docker.sock").display())
    }

    /// Asks Docker Engine, by curl, and returns its answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Path>) -> String {
        let mut command = Command::new("curl");
        command
            .args([
                "--silent",
                "--show-error",
                "--request",
                method,
                "--unix-socket",
            ])
            .arg(self.socket("docker.sock"))
            .arg(format!("http://docker{path}"));
        if let Some(body) = body {
            command.args([
                "--header",
                "Content-Type: application/x-tar",
                "--data-binary",
            ]);
            command.arg(format!("@{}", body.display()));
        }
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns the images of Docker Engine.
    pub fn images(&self) -> Vec<Value> {
        let text = self.ask("GET", "/v1.40/images/json", None);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Says whether it has an image of a name, whatever its kind.
    pub fn knows(&self, name: &str) -> bool {
        self.ask("GET", &format!("/images/{name}/json"), None)
            .contains("\"Id\"")
    }
}

impl Era {
    /// Returns the end of the programs' names.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Old => "old",
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It unmounts what it mounted when it is asked to end. What does not end is killed.
        self.process.signal(Signal::Terminate);
        let _ = self.process.ended_within(PATIENCE);
    }
}
