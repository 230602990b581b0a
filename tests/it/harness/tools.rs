//! The real clients and servers, as `tests/run` set them up.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::Sandbox;

/// Returns the path of a real program.
///
/// # Panics
///
/// Where `tests/run` did not set it up: a test that lacks its peer fails, it does not pass.
pub fn tool(name: &str) -> PathBuf {
    let path = peers().join("bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: its set-up failed, see the first lines of tests/run",
        path.display()
    );
    path
}

/// A call of a real client with a home of its own and nothing of the caller's environment.
pub struct Tool(Command);

impl Tool {
    /// Prepares a call.
    pub fn new(sandbox: &Sandbox, name: &str) -> Self {
        let mut command = Command::new(tool(name));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", sandbox.home())
            .env("XDG_CONFIG_HOME", sandbox.home().join(".config"))
            .env("XDG_RUNTIME_DIR", sandbox.home())
            .env("DOCKER_CONFIG", sandbox.home().join(".docker"))
            .env("COSIGN_PASSWORD", "")
            .current_dir(sandbox.path())
            .stdin(Stdio::null());
        Self(command)
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<std::ffi::OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        self.0.args(arguments);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs it and returns what it printed; panics unless it succeeds.
    pub fn run(mut self) -> String {
        let output = self.0.output().unwrap();
        assert!(
            output.status.success(),
            "{:?}: {}\n{}",
            self.0,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it and returns whatever came of it.
    pub fn attempt(mut self) -> Output {
        self.0.output().unwrap()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests/run says where the peers are"
)]
fn peers() -> PathBuf {
    std::env::var_os("SHIPGATE_PEERS").map_or_else(
        || {
            panic!(
                "this test needs real peers and SHIPGATE_PEERS does not say where: use tests/run"
            )
        },
        PathBuf::from,
    )
}
