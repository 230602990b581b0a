//! The program as a component, under the launcher and under the stock runtime.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::{Output, Running, Sandbox, tool};

/// What runs the component.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runtime {
    /// The launcher of `wasm/`, with the grants that it derives.
    Launcher,
    /// The stock `wasmtime`: the whole network, and WASI's two exit codes.
    Stock,
}

impl Runtime {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Launcher, Self::Stock];

    /// Runs the component with a command of shipgate in the sandbox's folder.
    pub fn run(self, sandbox: &Sandbox, arguments: &[&str]) -> Output {
        match self {
            Self::Launcher => sandbox.caged(arguments),
            Self::Stock => stock(sandbox, arguments),
        }
    }

    /// Returns what is left of an exit code outside.
    pub fn code(self, code: i32) -> i32 {
        match self {
            Self::Launcher => code,
            Self::Stock => code.min(1),
        }
    }
}

fn stock(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let folder = sandbox.path().display();
    let mut command = Command::new(tool("wasmtime"));
    command.args(["run", "-S", "inherit-network", "-S", "allow-ip-name-lookup"]);
    let home = format!("HOME={}", sandbox.home().display());
    let cache = format!("XDG_CACHE_HOME={folder}/cache");
    command.args(["--env", &home, "--env", &cache]);
    // Under its own name for the cache, and as the working folder for what a pipeline names.
    let (own, working) = (format!("{folder}::{folder}"), format!("{folder}::."));
    command.args(["--dir", &own, "--dir", &working]);
    command.arg(stock_component()).args(arguments);
    sandbox.start_command(command).finish()
}

impl Sandbox {
    /// Runs a command of shipgate under the launcher, to its end.
    pub fn caged(&self, arguments: &[&str]) -> Output {
        self.start_caged(arguments).finish()
    }

    /// Starts a command of shipgate under the launcher, by `--sandbox`.
    pub fn start_caged(&self, arguments: &[&str]) -> Running {
        warm(&component());
        self.start_caged_by(component().to_str().unwrap(), arguments)
    }

    /// Runs a command of shipgate under the launcher with another component, to its end.
    pub fn caged_by(&self, component: &str, arguments: &[&str]) -> Output {
        self.start_caged_by(component, arguments).finish()
    }

    fn start_caged_by(&self, component: &str, arguments: &[&str]) -> Running {
        let mut command = self.with_variables(Path::new(env!("CARGO_BIN_EXE_shipgate")));
        command.args(arguments).arg("--sandbox");
        command.arg("--launcher").arg(launcher());
        command.args(["--component", component]);
        self.start_command(command)
    }

    /// Runs the launcher itself, to its end.
    pub fn launch(&self, arguments: &[&str]) -> Output {
        self.start_launcher(arguments).finish()
    }

    /// Starts the launcher itself.
    pub fn start_launcher(&self, arguments: &[&str]) -> Running {
        let mut command = self.with_variables(&launcher());
        command.args(arguments);
        self.start_command(command)
    }

    /// Runs a line of shell, to its end.
    pub fn launch_line(&self, line: &str) -> Output {
        let mut command = self.with_variables(Path::new("sh"));
        command.args(["-c", line]);
        self.start_command(command).finish()
    }

    /// Compiled components are kept for all tests, everything else is this sandbox's own. `env` becomes
    /// the program, so that signals reach it.
    fn with_variables(&self, program: &Path) -> Command {
        let mut command = Command::new("env");
        let shared = shared().map(|(name, value)| format!("{name}={value}"));
        command
            .args(shared)
            .arg(format!("SHIPGATE_CACHE={}", self.cache().display()))
            .arg(program);
        command
    }
}

/// Returns a component that tries what it must not be able to do: see `hostile/attempts.rs`.
pub fn hostile() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/harness/hostile/attempts.rs"
        );
        let built = kept().join("hostile.wasm");
        std::fs::create_dir_all(kept()).unwrap();
        let status = Command::new("rustc")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--edition", "2024", "--target", "wasm32-wasip2", "-O"])
            .args(["-C", "link-arg=--component-type=wasm/wit/launcher.wit"])
            .args(["-C", "strip=symbols", "-o"])
            .arg(&built)
            .arg(source)
            .status()
            .unwrap();
        assert!(status.success(), "{source} does not compile");
        built
    })
}

/// Puts the program, the launcher and the component beside each other, as a build for the sandbox leaves
/// them, and returns the program.
pub fn installed(folder: &Path) -> PathBuf {
    warm(&component());
    std::fs::create_dir_all(folder).unwrap();
    let program = PathBuf::from(env!("CARGO_BIN_EXE_shipgate"));
    for file in [&program, &launcher(), &component()] {
        std::fs::copy(file, folder.join(file.file_name().unwrap())).unwrap();
    }
    folder.join("shipgate")
}

/// Returns the variables by which what was compiled is shared.
pub fn shared() -> [(&'static str, String); 2] {
    let kept = |name: &str| kept().join(name).display().to_string();
    [
        ("XDG_CACHE_HOME", kept("cache")),
        ("XDG_STATE_HOME", kept("state")),
    ]
}

/// Returns the launcher.
pub fn launcher() -> PathBuf {
    built("debug/shipgate-wasm", "--package shipgate-wasm")
}

/// Returns the component that is made for the launcher.
pub fn component() -> PathBuf {
    built(
        "wasm32-wasip2/debug/shipgate-hosted.wasm",
        "--target wasm32-wasip2 --features hosted --bin shipgate-hosted",
    )
}

/// Returns the component for stock runtimes.
pub fn stock_component() -> PathBuf {
    built(
        "wasm32-wasip2/debug/shipgate.wasm",
        "--target wasm32-wasip2",
    )
}

/// Has the launcher compile a component once for all tests: unoptimised it takes most of a minute on an idle machine.
pub fn warm(component: &Path) {
    static WARM: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut warm = WARM.lock().unwrap_or_else(PoisonError::into_inner);
    if warm.contains(component) {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.write(
        "p.yml",
        "version: 1\nsteps:\n  - check: {registry: \"a.example\"}\n",
    );
    let path = component.to_str().unwrap();
    sandbox
        .start_launcher(&["validate", "p.yml", "--component", path])
        .finish_within(Duration::from_secs(300))
        .expect(0);
    warm.insert(component.into());
}

/// Where what is slow to make is kept from run to run.
fn kept() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("launcher")
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
