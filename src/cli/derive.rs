//! What the launcher grants: read off the document by the same code that plans and runs it.

use std::path::PathBuf;
use std::time::Duration;

use super::args::{Cli, Command, RunArgs};
use super::clients::Access;
use super::opened::{Opened, open};
use super::playground::Stage;
use super::session::Session;
pub use super::setting::AUTHORITY;
use crate::engine::grants::Grants;
use crate::failure::Failure;
use crate::net::Dialer;
use crate::outcome::ExitCode;
use crate::pipeline::PlaygroundNames;
use crate::state::Header;

/// What a run takes beyond its steps: reading, reports, the end of what was cancelled.
const MARGIN: Duration = Duration::from_secs(60);

/// A pipeline as the launcher has to know it. Its playground runs until it is closed.
pub struct Derived {
    opened: Opened,
}

/// Reads a pipeline and finds out what a run of it may touch. Nothing is asked of the network, and
/// nothing is written but what is left behind where it can't be read. `command` is `run` or `plan`.
///
/// # Errors
/// The exit code, once what was wrong has been told; or what is still to be told.
pub async fn derive(
    arguments: &RunArgs,
    command: &str,
    session: &mut Session,
) -> Result<Result<Derived, ExitCode>, Failure> {
    session.is_reader = true;
    match open(arguments, Access::Look, session).await {
        Ok(Some(opened)) => Ok(Ok(Derived { opened })),
        refused => session
            .leave_unopened(refused.err(), arguments, command)
            .map(Err),
    }
}

/// Leaves behind what a command leaves that was refused before it began: its report, and what CI systems
/// read. Returns the failure with the exit code that this comes to.
#[must_use]
pub fn refused(failure: Failure, cli: &Cli, session: &mut Session) -> Failure {
    let (files, command, run) = match &cli.command {
        None => (run_files(&cli.run), "run", &cli.run),
        Some(Command::Run(run)) => (run_files(run), "run", run),
        Some(Command::Plan(run)) => (run_files(run), "plan", run),
        Some(Command::Validate(validate)) => {
            // It has nothing of a run's flags but the report.
            let run = RunArgs {
                report: validate.report.clone(),
                ..RunArgs::default()
            };
            session.will_read(&validate.pipelines);
            return left(&failure, &run, "validate", session);
        }
        Some(_) => return failure,
    };
    session.will_read(files);
    left(&failure, run, command, session)
}

fn run_files(run: &RunArgs) -> &[PathBuf] {
    run.pipeline.as_slice()
}

fn left(failure: &Failure, run: &RunArgs, command: &str, session: &Session) -> Failure {
    let left = session.leave_unopened(Some(failure.clone()), run, command);
    left.err().unwrap_or_else(|| failure.clone())
}

impl Derived {
    /// Returns what the document, its steps and the flags may touch.
    #[must_use]
    pub const fn grants(&self) -> &Grants {
        &self.opened.grants
    }

    /// Returns what connects as a native run of this pipeline would.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        self.opened.context.world.http.dialer()
    }

    /// Returns the files with certificate authorities that it trusts.
    #[must_use]
    pub fn trusted(&self) -> Vec<String> {
        let files = self.opened.grants.read.iter();
        let trusted = files.filter(|(_, reasons)| reasons.contains(AUTHORITY));
        trusted.map(|(path, _)| path.clone()).collect()
    }

    /// Returns what the document says of the ways to hosts.
    #[must_use]
    pub fn ways(&self) -> Vec<String> {
        self.opened.ways.clone()
    }

    /// Returns the cache folder, as the grants name it.
    #[must_use]
    pub fn cache(&self) -> String {
        self.opened.context.world.cache.root().display().to_string()
    }

    /// Returns what the run is given, as its journal has it.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.opened.header
    }

    /// Returns the document's text as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        self.opened.source.text()
    }

    /// Returns what the playground offers, if the document asked for one.
    #[must_use]
    pub fn playground(&self) -> Option<PlaygroundNames> {
        self.opened.playground.as_ref().map(Stage::names)
    }

    /// Returns the longest time that a run can take by the timeouts of its steps.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let tasks = &self.opened.tasks;
        let lists = [&tasks.steps, &tasks.on_failure, &tasks.finally];
        let all = lists.into_iter().flatten();
        all.fold(MARGIN, |sum, task| sum.saturating_add(task.timeout))
    }

    /// Stops the playground.
    pub async fn close(self) {
        self.opened.close().await;
    }
}
