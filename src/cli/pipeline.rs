//! `run`, `plan`, `validate` and `schema`: what is done with a pipeline file.

use std::path::{Path, PathBuf};

use super::args::{Format, RunArgs, ValidateArgs};
use super::clients::Access;
use super::document::{self, source};
use super::opened::{Opened, open};
use super::outputs::Wanted;
use super::printer::Form;
use super::session::Session;
use super::setting::{self};
use super::{lock, reports};
use crate::engine::plan::{self as rehearsal, Plan};
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::{self, Diagnostic};
use crate::report::model::DiagnosticReport;
use crate::report::words;
use crate::step;

/// Runs a pipeline.
///
/// # Errors
/// What can't even be begun. A run that fails is an exit code.
pub async fn run(arguments: &RunArgs, session: &mut Session) -> Result<ExitCode, Failure> {
    let opened = match open(arguments, Access::Fill, session).await {
        Ok(Some(opened)) => opened,
        refused => return session.leave_unopened(refused.err(), arguments, "run"),
    };
    session.begin_journal(
        opened.context.world.cache.root(),
        opened.header.clone(),
        &opened.tasks,
    );
    let exit = session
        .run(&opened.tasks, &opened.selected, &opened.context)
        .await;
    let mut report = session.report_of_run();
    if let Some(failure) = write_lock(arguments, &opened, exit, session) {
        report.worsen(&failure);
    }
    let earned = report.exit.map(|exit| exit.name);
    let left = session.leave(report, &wanted(arguments));
    if left != exit {
        session.printer.error(&ending(left));
    }
    // What a playground's run tells its own receiver, nobody else can.
    if session.end_journal(Some(left) == earned, opened.playground.is_some()) {
        session.printer.note(&ending(left));
    }
    let for_people = matches!(session.printer.decision().form, Form::Live | Form::Plain);
    if opened.playground.is_some() && for_people && left == ExitCode::Done {
        session.printer.note(NEXT);
    }
    opened.close().await;
    Ok(left)
}

/// Writes the lock file, says why there is none, or returns why it can't be written, which is told too.
fn write_lock(
    arguments: &RunArgs,
    opened: &Opened,
    exit: ExitCode,
    session: &Session,
) -> Option<Failure> {
    let locked = opened.header.locked.is_some();
    let world = &opened.context.world;
    match lock::write(arguments, locked, &opened.setting, world) {
        Ok(None) => None,
        Ok(Some(reason)) => {
            let message = format!("the lock file was not written: {reason}");
            session.printer.warning(&message, None);
            session.printer.note(&ending(exit));
            None
        }
        Err(failure) => {
            session.printer.failure(&failure);
            Some(failure)
        }
    }
}

/// What a newcomer is told after a run in the playground.
const NEXT: &str = "
next: `shipgate examples/failing.yml` shows a gate that fails, `shipgate examples/refused.yml` a signature that is refused
      `shipgate plan PIPELINE` says what a run would do and touch, `shipgate init` writes a first pipeline of your own
      docs/pipeline.md describes every key";

/// Shows what a run would do.
///
/// # Errors
/// What can't even be begun. A step that would fail is an exit code.
pub async fn plan(
    arguments: &RunArgs,
    format: Format,
    session: &mut Session,
) -> Result<ExitCode, Failure> {
    let opened = match open(arguments, Access::Look, session).await {
        Ok(Some(opened)) => opened,
        refused => return session.leave_unopened(refused.err(), arguments, "plan"),
    };
    let context = &Context {
        events: session.rehearsal_events(),
        ..opened.context.clone()
    };
    let planned = tokio::select! {
        biased;
        () = session.cancel.reached(crate::engine::Urgency::Cancel) => None,
        planned = rehearse(arguments, &opened, context) => Some(planned),
    };
    let Some((plan, exit, followed)) = planned else {
        opened.close().await;
        session.printer.error(&ending(ExitCode::Cancelled));
        let report = session.report_without_run("plan", ExitCode::Cancelled);
        return Ok(session.leave(report, &wanted(arguments)));
    };
    let words = plan.text(words::size);
    let printed = if format == Format::Json {
        session.json(&plan, true)
    } else {
        session.data(&words)
    };
    let mut report = session.report_of_plan(&plan, exit);
    if let Err(failure) = &printed {
        report.worsen(failure);
    }
    let unwritten = match followed {
        Err(failure) => {
            session.printer.failure(&failure);
            Some(failure)
        }
        Ok(()) if exit == ExitCode::Done => write_lock(arguments, &opened, exit, session),
        Ok(()) => None,
    };
    if let Some(failure) = unwritten {
        report.worsen(&failure);
    }
    let wanted = Wanted {
        plan: Some(words),
        ..wanted(arguments)
    };
    let exit = session.leave(report, &wanted);
    opened.close().await;
    printed.map(|()| exit)
}

/// Rehearses a run. If a lock file is to be written, it is also found out where blobs are.
async fn rehearse(
    arguments: &RunArgs,
    opened: &Opened,
    context: &Context,
) -> (Plan, ExitCode, Result<(), Failure>) {
    let locked = opened.header.locked.is_some();
    let (tasks, selected) = (&opened.tasks, &opened.selected);
    let (mut plan, exit) = rehearsal::plan(tasks, selected, opened.grants.clone(), context).await;
    if exit != ExitCode::Done {
        return (plan, exit, Ok(()));
    }
    let followed = lock::follow_blobs(arguments, locked, context).await;
    rehearsal::add_met(&mut plan.grants, context);
    (plan, exit, followed)
}

/// Checks pipelines without network, variables and files.
///
/// # Errors
/// Standard output can't be written.
pub fn validate(arguments: &ValidateArgs, session: &mut Session) -> Result<ExitCode, Failure> {
    let mut exit = ExitCode::Done;
    for path in &arguments.pipelines {
        exit = exit.worse(validate_one(path, session));
    }
    let report = session.report_without_run("validate", exit);
    let wanted = Wanted {
        report: arguments.report.clone(),
        ..Wanted::default()
    };
    Ok(session.leave(report, &wanted))
}

fn validate_one(path: &Path, session: &mut Session) -> ExitCode {
    session.reads(path);
    let source = match source(path) {
        Ok(source) => source,
        Err(unreadable) => return session.tell(&[unreadable]),
    };
    let loaded = document::checked(&source, &session.environment);
    let exit = session.tell(&loaded.diagnostics);
    let Some(document) = loaded.document else {
        return exit;
    };
    session.preparation.pipeline = Some(setting::name(&document));
    if let Err(failure) = step::validate(&document) {
        session.printer.failure_in(source.name(), &failure);
        let found = reports::diagnostic(source.name(), &failure);
        session.preparation.diagnostics.push(found);
        return exit.worse(failure.exit);
    }
    if exit == ExitCode::Done {
        session
            .printer
            .note(&format!("{} is a valid pipeline", path.display()));
    }
    exit
}

/// Prints the JSON Schema of the document.
///
/// # Errors
/// Standard output can't be written.
pub fn schema(session: &Session) -> Result<ExitCode, Failure> {
    session.json(&pipeline::schema(), true)?;
    Ok(ExitCode::Done)
}

fn wanted(arguments: &RunArgs) -> Wanted {
    Wanted {
        report: arguments.report.clone(),
        lock: arguments.lock.clone(),
        plan: None,
    }
}

/// Says how a command without a run's closing lines ended.
pub(super) fn ending(exit: ExitCode) -> String {
    format!("exit code {} ({})", exit.code(), exit.name())
}

impl Session {
    /// Notes a pipeline file for the report.
    pub(super) fn reads(&mut self, path: &Path) {
        self.preparation.files.push(document::called(path));
    }

    /// Notes pipeline files for the report of a command that was refused before it read them.
    pub(super) fn will_read(&mut self, paths: &[PathBuf]) {
        if self.preparation.files.is_empty() {
            paths.iter().for_each(|path| self.reads(path));
        }
    }

    /// Writes what is left of a command whose pipeline could not be opened, and returns how it ends.
    pub(super) fn leave_unopened(
        &self,
        failure: Option<Failure>,
        arguments: &RunArgs,
        command: &str,
    ) -> Result<ExitCode, Failure> {
        let report = match &failure {
            Some(failure) => self.report_of_failure(command, failure),
            None => self.report_without_run(command, self.refused()),
        };
        let exit = self.leave(report, &wanted(arguments));
        failure.map_or(Ok(exit), |failure| Err(Failure { exit, ..failure }))
    }

    /// Prints what was found in a document and returns the exit code that it leads to.
    pub(super) fn tell(&mut self, found: &[Diagnostic]) -> ExitCode {
        let exit = document::exit(found);
        let told = found
            .iter()
            .filter(|_| !self.is_reader || exit != ExitCode::Done);
        for diagnostic in told {
            self.printer.finding(&document::finding(diagnostic));
        }
        self.preparation
            .diagnostics
            .extend(found.iter().map(DiagnosticReport::from));
        self.refusal = exit;
        exit
    }

    fn refused(&self) -> ExitCode {
        if self.refusal == ExitCode::Done {
            ExitCode::PipelineInvalid
        } else {
            self.refusal
        }
    }
}
