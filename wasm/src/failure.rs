//! The launcher's own errors, in shipgate's voice: what failed, why, what to change.

use std::path::Path;
use std::time::Duration;

use shipgate::failure::Failure;
use shipgate::outcome::ExitCode;
use shipgate::pipeline::scalar::{Size, duration_text};

use crate::compiled;

/// The component's file can't be read.
pub fn component(path: &Path, cause: impl ToString) -> Failure {
    let message = format!("can't read the component {}", path.display());
    Failure::new(ExitCode::Usage, message)
        .caused_by(cause.to_string())
        .hinted(NAME_IT)
}

/// No component was named, and none lies beside the launcher.
pub fn no_component(looked_at: Option<&Path>) -> Failure {
    let failure = Failure::new(ExitCode::Usage, "there is no component to run").hinted(NAME_IT);
    match looked_at {
        Some(path) => failure.caused_by(format!("{} does not exist", path.display())),
        None => failure,
    }
}

const NAME_IT: &str = "name it with `--component FILE`, after `cargo build --release --target \
                       wasm32-wasip2 --features hosted --bin shipgate-hosted`";

/// The component is not there, or is none.
pub fn load(path: &Path, error: &compiled::Error) -> Failure {
    match error {
        compiled::Error::Unreadable(error) => component(path, error),
        compiled::Error::Unusable(error) => compile(path, error),
    }
}

/// The component's file is too large.
pub fn too_large(path: &Path, bound: u64) -> Failure {
    component(path, format!("it is larger than {}", Size(bound)))
}

/// The component is still being compiled after a long time.
pub fn compiling(path: &Path, bound: Duration) -> Failure {
    let message = format!("{} is not compiled", path.display());
    Failure::new(ExitCode::Unexpected, message)
        .caused_by(format!("it takes longer than {}", duration_text(bound)))
        .hinted("use a component of shipgate's own, or a faster machine")
}

/// The file holds no component that this runtime can run.
fn compile(path: &Path, error: &wasmtime::Error) -> Failure {
    let message = format!("{} is no component to run", path.display());
    Failure::new(ExitCode::Unexpected, message)
        .caused_by(words(error))
        .hinted(
            "build it with `cargo build --release --target wasm32-wasip2`: core modules (wasip1) \
             are not components",
        )
}

/// The component asks for something that this launcher does not offer.
pub fn instantiate(path: &Path, error: &wasmtime::Error) -> Failure {
    let message = format!("can't start {}", path.display());
    Failure::new(ExitCode::Unexpected, message)
        .caused_by(words(error))
        .hinted("use the component and the launcher of the same release")
}

/// A folder can't be granted.
pub fn folder(path: &Path, cause: impl ToString) -> Failure {
    let message = format!("can't grant the folder {}", path.display());
    Failure::new(ExitCode::Usage, message)
        .caused_by(cause.to_string())
        .hinted("check the path, and that this user may open it")
}

/// A file can't be granted.
pub fn file(path: &Path, cause: impl ToString) -> Failure {
    let message = format!("can't grant the file {}", path.display());
    Failure::new(ExitCode::Usage, message).caused_by(cause.to_string())
}

/// A file that the component wrote can't be put where it belongs.
pub fn carry(path: &Path, cause: impl ToString) -> Failure {
    let message = format!("{} can't be written", path.display());
    Failure::new(ExitCode::Unexpected, message)
        .caused_by(cause.to_string())
        .hinted("name a file in a folder that this user may write to")
}

/// A granted variable, or a word of the command line, holds no text.
pub fn not_text(what: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Usage, what).caused_by("it is not UTF-8")
}

/// The host could not prepare the run.
pub fn host(cause: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Unexpected, "can't prepare the sandbox").caused_by(format!("{cause:#}"))
}

/// The component was stopped by a fault of its own.
pub fn trap(error: &wasmtime::Error) -> Failure {
    let cause = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => words(error),
    };
    Failure::new(
        ExitCode::Unexpected,
        "the component was stopped by a fault of its own",
    )
    .caused_by(cause)
    .hinted("what it printed last says more; please report it with the command line")
}

/// The component wanted more memory than it may have.
pub fn memory(bound: usize) -> Failure {
    stopped("it asked for more memory than it may have")
        .fact("bound", Size(bound as u64))
        .hinted("raise `--max-memory`, if this pipeline needs so much")
}

/// The component ran longer than it may.
pub fn time(bound: Duration) -> Failure {
    stopped("it ran longer than it may")
        .fact("bound", duration_text(bound))
        .hinted("raise `--max-time`, or the timeouts of the steps, which it is made of")
}

/// The component printed more than it may.
pub fn output(bound: u64) -> Failure {
    stopped("it printed more than it may")
        .fact("bound", Size(bound))
        .hinted("raise `--max-output`, or leave --verbose out")
}

/// The component was ended by a signal, for it does not listen to any.
pub fn unheeding() -> Failure {
    Failure::new(ExitCode::Cancelled, "the run was cancelled")
        .caused_by("the component was stopped at once: it does not listen for the end, or not yet")
}

/// The component was asked to end and did not.
pub fn deaf(patience: Duration) -> Failure {
    let message = "the component did not end when the run was cancelled";
    Failure::new(ExitCode::Cancelled, message)
        .caused_by(format!("it was given {}", duration_text(patience)))
        .hinted("`shipgate finish` ends what it left open, where this version has it")
}

fn stopped(why: &str) -> Failure {
    Failure::new(ExitCode::Unexpected, "the component was stopped").caused_by(why)
}

/// Returns the error with its causes on one line.
fn words(error: &wasmtime::Error) -> String {
    let all = format!("{error:#}");
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}
