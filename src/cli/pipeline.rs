//! `run`, `plan`, `validate` and `schema`: what is done with a pipeline file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{Format, RunArgs, ValidateArgs};
use super::clients::Access;
use super::document::{self, document, source};
use super::outputs::Wanted;
use super::playground::{self, Stage};
use super::printer::Form;
use super::session::Session;
use super::setting::{self, Setting};
use super::{journal, lock, outputs, reports};
use crate::engine::grants::Grants;
use crate::engine::plan::{self as rehearsal, Plan};
use crate::engine::selection::Selection;
use crate::engine::task::Tasks;
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::mask::Mask;
use crate::pipeline::{self, Diagnostic, Document, Mode, RunNames, Source};
use crate::report::model::DiagnosticReport;
use crate::report::words;
use crate::state::Header;
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

/// A pipeline that is ready to run.
pub(super) struct Opened {
    pub(super) context: Context,
    pub(super) source: Source,
    pub(super) tasks: Tasks,
    pub(super) selected: Vec<bool>,
    pub(super) grants: Grants,
    /// What the document says of the ways to hosts.
    pub(super) ways: Vec<String>,
    setting: Setting,
    pub(super) playground: Option<Stage>,
    pub(super) header: Header,
}

impl Opened {
    pub(super) async fn close(self) {
        if let Some(playground) = self.playground {
            playground.stop().await;
        }
    }
}

/// Reads, checks and prepares a pipeline. Nothing comes back if its mistakes were told.
pub(super) async fn open(
    arguments: &RunArgs,
    access: Access,
    session: &mut Session,
) -> Result<Option<Opened>, Failure> {
    let path = path_of(arguments);
    session.reads(path);
    let inputs = document::inputs(&arguments.inputs)?;
    let source = match source(path) {
        Ok(source) => source,
        Err(unreadable) => {
            session.tell(&[unreadable]);
            return Ok(None);
        }
    };
    let run = RunNames {
        id: run_id(session)?,
        link: session.environment.job_link(),
    };
    session.preparation.run.clone_from(&run.id);
    let playground = start_playground(&source, &run, session).await?;
    let names = playground.as_ref().map(Stage::names);
    let loaded = document(
        &source,
        inputs.clone(),
        run.clone(),
        names,
        Mode::Run,
        &session.environment,
    );
    session.mask(Arc::new(Mask::new(&loaded.secrets)));
    session.tell(&loaded.diagnostics);
    let Some(document) = loaded.document else {
        return Ok(None);
    };
    session.preparation.pipeline = Some(setting::name(&document));
    if document.playground && arguments.lock.is_some() {
        return Err(
            Failure::new(ExitCode::Usage, "a playground can't be locked")
                .caused_by("its addresses and its key are new in every run")
                .hinted("leave --lock out"),
        );
    }
    let mut opened = prepare(arguments, access, session, &source, &document, run, inputs)?;
    match &playground {
        None => session.mind_signals()?,
        Some(_) => {
            let folder = playground_folder(session, &opened.header.run);
            opened.header.playground = Some(folder.display().to_string());
        }
    }
    Ok(Some(Opened {
        playground,
        ..opened
    }))
}

/// Makes a document that was read ready to run.
///
/// # Errors
/// A file that it names can't be used, or what the arguments ask for does not fit.
pub(super) fn prepare(
    arguments: &RunArgs,
    access: Access,
    session: &Session,
    source: &Source,
    document: &Document,
    run: RunNames,
    inputs: BTreeMap<String, String>,
) -> Result<Opened, Failure> {
    let setting = Setting::of(source, document, &inputs)?;
    let lock = lock::read(arguments, &setting)?;
    let locked = lock.as_ref().map(|lock| lock.images.clone());
    let header = journal::header(arguments, session, source, &run, inputs, locked);
    let tasks = step::tasks(document, source)?;
    let selected = select(arguments, &tasks)?;
    let mut parts = setting::parts(source, document, &arguments.store, run)?;
    parts.policy = setting.policy.clone();
    parts.lock = lock;
    parts.access = access;
    parts.learned = session.learned.clone();
    let mut grants = setting::grants(document, path_of(arguments), &session.environment);
    if let Some(folder) = &arguments.report {
        grants.write(folder.display().to_string(), "report");
    }
    outputs::grant(&mut grants, &session.environment);
    if let Some(file) = &arguments.lock {
        let path = file.display().to_string();
        if header.locked.is_some() {
            grants.read(path, "lock file");
        } else {
            grants.write_file(path, "lock file");
        }
    }
    let ways = parts.ways.said();
    let context = session.world(parts)?;
    // A run opens it, and keeps its journal there, whatever its steps are.
    grants.write(context.world.cache.root().display().to_string(), "journal");
    for (task, _) in tasks
        .steps
        .iter()
        .zip(&selected)
        .filter(|(_, selected)| **selected)
    {
        task.action.grants(&mut grants, &context);
    }
    for task in tasks.on_failure.iter().chain(&tasks.finally) {
        task.action.grants(&mut grants, &context);
    }
    Ok(Opened {
        context,
        source: source.clone(),
        tasks,
        selected,
        grants,
        ways,
        setting,
        playground: None,
        header,
    })
}

fn path_of(arguments: &RunArgs) -> &Path {
    arguments
        .pipeline
        .as_deref()
        .unwrap_or(Path::new("pipeline.yml"))
}

fn select(arguments: &RunArgs, tasks: &Tasks) -> Result<Vec<bool>, Failure> {
    let selection = if !arguments.only.is_empty() {
        Selection::Only(arguments.only.iter().cloned().collect::<BTreeSet<_>>())
    } else if arguments.from.is_some() || arguments.until.is_some() {
        Selection::Range {
            from: arguments.from.clone(),
            until: arguments.until.clone(),
        }
    } else {
        Selection::All
    };
    let ids: Vec<&str> = tasks.steps.iter().map(|task| task.id.as_str()).collect();
    selection
        .resolve(&ids)
        .map_err(|error| Failure::new(ExitCode::Usage, error.to_string()).hinted(error.hint()))
}

/// Starts the playground if the document asks for one.
async fn start_playground(
    source: &Source,
    run: &RunNames,
    session: &Session,
) -> Result<Option<Stage>, Failure> {
    if !pipeline::wants_playground(source) {
        return Ok(None);
    }
    // From here on a signal may not end the process by itself: there is a folder to remove.
    session.mind_signals()?;
    let hosted = session.brief.as_ref();
    if let Some(names) = hosted.and_then(|brief| brief.playground.clone()) {
        return Ok(Some(Stage::Hosted(names)));
    }
    let folder = playground_folder(session, &run.id);
    playground::start(folder, &session.environment.clock)
        .await
        .map(|playground| Some(Stage::Own(playground)))
}

/// Returns a folder for the playground of this run alone: others on the machine have playgrounds too.
fn playground_folder(session: &Session, run: &str) -> PathBuf {
    let folder = session.environment.temporary_folder();
    folder.join(format!("shipgate-{run}"))
}

fn run_id(session: &Session) -> Result<String, Failure> {
    if let Some(given) = session.brief.as_ref().and_then(|brief| brief.run.clone()) {
        return Ok(given);
    }
    let mut random = [0; 4];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| Failure::new(ExitCode::Unexpected, "the system has no random numbers"))?;
    let at = session
        .environment
        .clock
        .now()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    Ok(format!("{at}-{}", hex::encode(random)))
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
    fn reads(&mut self, path: &Path) {
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
    fn tell(&mut self, found: &[Diagnostic]) -> ExitCode {
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
