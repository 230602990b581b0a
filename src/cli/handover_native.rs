//! Hands the command line over to the launcher, which runs the component.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::environment::Environment;
use super::sandbox_args::SandboxArgs;
use crate::failure::Failure;
use crate::outcome::ExitCode;

/// The launcher's file name.
const LAUNCHER: &str = if cfg!(windows) {
    "shipgate-wasm.exe"
} else {
    "shipgate-wasm"
};

/// Becomes the launcher with this process's own arguments. Comes back only if that fails, or, where
/// a process can't become another, with the launcher's exit code.
///
/// # Errors
/// There is no launcher, or it does not start.
pub fn hand_over(
    arguments: &SandboxArgs,
    environment: &Environment,
) -> Result<Option<u8>, Failure> {
    let launcher = launcher(arguments, environment)?;
    start(&launcher, env::args_os().skip(1).collect()).map(Some)
}

/// Finds the launcher: the one that was named, the one beside this program, the one on the search path.
fn launcher(arguments: &SandboxArgs, environment: &Environment) -> Result<PathBuf, Failure> {
    if let Some(named) = &arguments.launcher {
        // A name without a folder is a file here, never a program of the search path.
        return Ok(Path::new(".").join(named));
    }
    let beside = env::current_exe()
        .ok()
        .map(|program| program.with_file_name(LAUNCHER));
    let path = environment.filled("PATH").unwrap_or_default();
    // An empty entry means the working folder, which is not searched.
    let on_path = env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(LAUNCHER));
    let mut places = beside.iter().cloned().chain(on_path);
    places.find(|place| place.is_file()).ok_or_else(|| {
        let failure = Failure::new(ExitCode::Usage, "there is no launcher for --sandbox");
        let failure = match beside {
            Some(path) => failure.caused_by(format!("{} does not exist", path.display())),
            None => failure,
        };
        failure
            .caused_by(format!("no {LAUNCHER} is on the search path"))
            .hinted(
                "build it with `cargo build --release -p shipgate-wasm` and put it beside \
                 shipgate, or name it with --launcher FILE",
            )
    })
}

/// Replaces this process, so that signals reach the launcher and nobody stands between.
#[cfg(unix)]
fn start(launcher: &Path, arguments: Vec<OsString>) -> Result<u8, Failure> {
    use std::os::unix::process::CommandExt as _;
    let error = Command::new(launcher).args(arguments).exec();
    Err(unstartable(launcher, &error))
}

#[cfg(not(unix))]
fn start(launcher: &Path, arguments: Vec<OsString>) -> Result<u8, Failure> {
    let status = Command::new(launcher).args(arguments).status();
    let status = status.map_err(|error| unstartable(launcher, &error))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(ExitCode::Unexpected.code()))
}

fn unstartable(launcher: &Path, error: &std::io::Error) -> Failure {
    let message = format!("the launcher {} does not start", launcher.display());
    Failure::new(ExitCode::Usage, message)
        .caused_by(error.to_string())
        .hinted("name the launcher of this version with --launcher FILE")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn found(arguments: &SandboxArgs, path: &str) -> Result<PathBuf, Failure> {
        let clock = Clock::fixed(jiff::Timestamp::UNIX_EPOCH);
        launcher(arguments, &Environment::given(&[("PATH", path)], clock))
    }

    #[test]
    fn the_search_path_comes_last_and_the_working_folder_never() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(LAUNCHER);
        std::fs::write(&place, "").unwrap();
        let path = format!("relative::{}", folder.path().display());
        assert_eq!(found(&SandboxArgs::default(), &path).unwrap(), place);
        let named = SandboxArgs {
            launcher: Some("mine".into()),
            ..SandboxArgs::default()
        };
        assert_eq!(found(&named, &path).unwrap(), Path::new("./mine"));
    }

    #[test]
    fn a_missing_launcher_is_explained() {
        let failure = found(&SandboxArgs::default(), "").unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
        assert!(failure.causes.iter().any(|cause| cause.contains(LAUNCHER)));
        assert!(failure.hint.unwrap().contains("--launcher"));
    }
}
