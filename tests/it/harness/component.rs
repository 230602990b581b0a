//! The program as a component, under the stock runtime.

use std::path::PathBuf;
use std::process::Command;

use super::{Output, Sandbox, tool};

/// Runs the component under the stock `wasmtime`, with the sandbox's folder and the network.
pub fn run_component(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command = Command::new(tool("wasmtime"));
    command
        .args(["run", "-S", "inherit-network", "-S", "allow-ip-name-lookup"])
        // Relative paths of a pipeline are below the folder that is mounted as the working one.
        .args(["--dir", &format!("{}::.", sandbox.path().display())])
        .args(["--dir", &sandbox.path().display().to_string()])
        .args(["--env", &format!("HOME={}", sandbox.home().display())])
        .args([
            "--env",
            &format!("XDG_CACHE_HOME={}", sandbox.path().join("cache").display()),
        ])
        .arg(component())
        .args(arguments);
    sandbox.start_command(command).finish()
}

/// Returns the component that `tests/run` built.
fn component() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_shipgate"));
    let target = path.parent().and_then(|profile| profile.parent()).unwrap();
    let component = target.join("wasm32-wasip2/debug/shipgate.wasm");
    assert!(
        component.exists(),
        "{} is missing: cargo build --target wasm32-wasip2",
        component.display()
    );
    component
}
