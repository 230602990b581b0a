//! The program as a component, under the launcher and under the stock runtime.

use std::path::PathBuf;
use std::process::Command;

use super::{Output, Sandbox, tool};

/// What runs the component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runtime {
    /// The launcher of `wasm/`: only the hosts that are granted, and all exit codes.
    Launcher,
    /// The stock `wasmtime`: the whole network, and WASI's two exit codes.
    Stock,
}

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Launcher, Self::Stock];

    /// Runs the component with the sandbox's folder, and with the network towards these hosts.
    pub fn run(self, sandbox: &Sandbox, hosts: &[&str], arguments: &[&str]) -> Output {
        let component = built(
            "wasm32-wasip2/debug/shipgate.wasm",
            "--target wasm32-wasip2",
        );
        let folder = sandbox.path().display();
        let mut command = match self {
            Self::Launcher => {
                let mut command =
                    Command::new(built("debug/shipgate-wasm", "--package shipgate-wasm"));
                command.arg("--component").arg(&component);
                command.args(hosts.iter().flat_map(|host| ["--allow-host", host]));
                command.args(["--env", "HOME", "--env", "XDG_CACHE_HOME"]);
                command
            }
            Self::Stock => {
                let mut command = Command::new(tool("wasmtime"));
                command.args(["run", "-S", "inherit-network", "-S", "allow-ip-name-lookup"]);
                command
                    .arg("--env")
                    .arg(format!("HOME={}", sandbox.home().display()));
                command
                    .arg("--env")
                    .arg(format!("XDG_CACHE_HOME={folder}/cache"));
                command
            }
        };
        // Under its own name for the cache, and as the working folder for what a pipeline names.
        command.args([
            "--dir",
            &format!("{folder}::{folder}"),
            "--dir",
            &format!("{folder}::."),
        ]);
        match self {
            Self::Launcher => command.arg("--"),
            Self::Stock => command.arg(&component),
        };
        command.args(arguments);
        sandbox.start_command(command).finish()
    }

    /// Returns what is left of an exit code outside.
    pub fn code(self, code: i32) -> i32 {
        match self {
            Self::Launcher => code,
            Self::Stock => code.min(1),
        }
    }
}

/// Returns a file of the build folder that `tests/run` made.
fn built(path: &str, flags: &str) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_shipgate"));
    let target = program.ancestors().nth(2).unwrap();
    let file = target.join(path);
    assert!(
        file.exists(),
        "{} is missing: cargo build {flags}",
        file.display()
    );
    file
}
