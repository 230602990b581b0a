//! `run`, `plan`, `validate` and `schema`: what is done with a pipeline file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::args::{Format, RunArgs, ValidateArgs};
use super::clients::{Access, read};
use super::document::{self, document, source};
use super::playground;
use super::session::Session;
use super::setting::{self, Setting};
use crate::engine::grants::Grants;
use crate::engine::lock::{Lock, MAX_BYTES};
use crate::engine::plan as rehearsal;
use crate::engine::selection::Selection;
use crate::engine::task::Tasks;
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::mask::Mask;
use crate::pipeline::{self, Diagnostic, Document, Mode, PlaygroundNames, RunNames, Source};
use crate::playground::Playground;
use crate::report::words;
use crate::step;

/// Runs a pipeline.
///
/// # Errors
/// What can't even be begun. A run that fails is an exit code.
pub async fn run(arguments: &RunArgs, session: &mut Session) -> Result<ExitCode, Failure> {
    let Some(opened) = open(arguments, Access::Fill, session).await? else {
        return Ok(session.refused());
    };
    let exit = session
        .run(&opened.tasks, &opened.selected, &opened.context)
        .await;
    let locked = write_lock(arguments, &opened).map(|unwritten| {
        if let Some(reason) = unwritten {
            let message = format!("the lock file was not written: {reason}");
            session.printer.warning(&message, None);
            session.printer.note(&ending(exit));
        }
    });
    let reported = arguments
        .report
        .as_deref()
        .map_or(Ok(()), |folder| session.write_report(folder));
    if opened.playground.is_some() && session.prints_data() && exit != ExitCode::Cancelled {
        session.printer.note(NEXT);
    }
    opened.close().await;
    let failures = [locked, reported].into_iter().filter_map(Result::err);
    Ok(session.fall_back(exit, failures))
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
    let Some(opened) = open(arguments, Access::Look, session).await? else {
        return Ok(session.refused());
    };
    // The plan itself says what was found; only what holds it up is told besides.
    let context = &Context {
        events: session.events.of_waits(),
        ..opened.context.clone()
    };
    let planned = tokio::select! {
        biased;
        () = session.cancel.reached(crate::engine::Urgency::Cancel) => None,
        planned = rehearsal::plan(&opened.tasks, &opened.selected, opened.grants.clone(), context) => Some(planned),
    };
    let Some((plan, exit)) = planned else {
        opened.close().await;
        session.printer.error(&ending(ExitCode::Cancelled));
        return Ok(ExitCode::Cancelled);
    };
    if format == Format::Json {
        let text = serde_json::to_string_pretty(&plan).map_err(|error| {
            Failure::new(ExitCode::Unexpected, "the plan can't be written")
                .caused_by(error.to_string())
        })?;
        session.json(&(text + "\n"))?;
    } else {
        session.data(&plan.text(words::size))?;
    }
    opened.close().await;
    Ok(exit)
}

/// Checks pipelines without network, variables and files.
///
/// # Errors
/// Standard output can't be written.
pub fn validate(arguments: &ValidateArgs, session: &mut Session) -> Result<ExitCode, Failure> {
    let mut exit = ExitCode::Done;
    for path in &arguments.pipelines {
        let found = match source(path) {
            Err(unreadable) => vec![unreadable],
            Ok(source) => {
                let loaded = document(
                    &source,
                    [].into(),
                    RunNames::default(),
                    None,
                    Mode::Validate,
                    &session.environment,
                );
                if let Some(document) = &loaded.document
                    && let Err(failure) = step::validate(document)
                {
                    session.tell(&loaded.diagnostics);
                    session.printer.failure(&failure);
                    exit = exit.worse(failure.exit);
                    continue;
                }
                loaded.diagnostics
            }
        };
        let worst = session.tell(&found);
        if worst == ExitCode::Done {
            session
                .printer
                .note(&format!("{} is a valid pipeline", path.display()));
        }
        exit = exit.worse(worst);
    }
    Ok(exit)
}

/// Prints the JSON Schema of the document.
///
/// # Errors
/// Standard output can't be written.
pub fn schema(session: &Session) -> Result<ExitCode, Failure> {
    let text = serde_json::to_string_pretty(&pipeline::schema()).unwrap_or_default();
    session.json(&(text + "\n"))?;
    Ok(ExitCode::Done)
}

/// A pipeline that is ready to run.
struct Opened {
    context: Context,
    tasks: Tasks,
    selected: Vec<bool>,
    grants: Grants,
    setting: Setting,
    playground: Option<Playground>,
    locked: bool,
}

impl Opened {
    async fn close(self) {
        if let Some(playground) = self.playground {
            playground.stop().await;
        }
    }
}

/// Reads, checks and prepares a pipeline. Nothing comes back if its mistakes were told.
async fn open(
    arguments: &RunArgs,
    access: Access,
    session: &mut Session,
) -> Result<Option<Opened>, Failure> {
    let path = arguments
        .pipeline
        .as_deref()
        .unwrap_or(Path::new("pipeline.yml"));
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
    let playground = start_playground(&source, &run, session).await?;
    let names = playground
        .as_ref()
        .map(|playground| offered(&playground.names()));
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
    if document.playground && arguments.lock.is_some() {
        return Err(
            Failure::new(ExitCode::Usage, "a playground can't be locked")
                .caused_by("its addresses and its key are new in every run")
                .hinted("leave --lock out"),
        );
    }
    let opened = prepare(arguments, access, session, &source, &document, run, inputs)?;
    if playground.is_none() {
        session.mind_signals()?;
    }
    Ok(Some(Opened {
        playground,
        ..opened
    }))
}

fn prepare(
    arguments: &RunArgs,
    access: Access,
    session: &Session,
    source: &Source,
    document: &Document,
    run: RunNames,
    inputs: std::collections::BTreeMap<String, String>,
) -> Result<Opened, Failure> {
    let setting = Setting::of(source, document, &inputs)?;
    let lock = read_lock(arguments, &setting)?;
    let locked = lock.is_some();
    let tasks = step::tasks(document, source)?;
    let selected = select(arguments, &tasks)?;
    let mut parts = setting::parts(source, document, &arguments.store, run)?;
    parts.policy = setting.policy.clone();
    parts.lock = lock;
    parts.access = access;
    let mut grants = setting::grants(document, path_of(arguments), &session.environment);
    if let Some(folder) = &arguments.report {
        grants.write(folder.display().to_string(), "report");
    }
    if let Some(file) = &arguments.lock {
        let path = file.display().to_string();
        if locked {
            grants.read(path, "lock file");
        } else {
            grants.write(path, "lock file");
        }
    }
    let context = session.context(parts.build(&session.environment, &session.events)?);
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
        tasks,
        selected,
        grants,
        setting,
        playground: None,
        locked,
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
) -> Result<Option<Playground>, Failure> {
    if !pipeline::wants_playground(source) {
        return Ok(None);
    }
    // From here on a signal may not end the process by itself: there is a folder to remove.
    session.mind_signals()?;
    // A folder of this run alone: others on the machine have playgrounds too.
    let folder = session
        .environment
        .temporary_folder()
        .join(format!("shipgate-{}", run.id));
    playground::start(folder, &session.environment.clock)
        .await
        .map(Some)
}

fn offered(names: &crate::playground::Names) -> PlaygroundNames {
    PlaygroundNames {
        registry: names.registry.clone(),
        service: names.service.clone(),
        service_address: names.service_address.clone(),
        key: names.key.display().to_string(),
        webhook: names.webhook.clone(),
    }
}

fn run_id(session: &Session) -> Result<String, Failure> {
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

fn read_lock(arguments: &RunArgs, setting: &Setting) -> Result<Option<Lock>, Failure> {
    let Some(path) = arguments.lock.as_deref().filter(|path| path.exists()) else {
        return Ok(None);
    };
    let message = format!("the lock file {} can't be used", path.display());
    let bytes = read(path, &message).map_err(|failure| Failure {
        exit: ExitCode::LockMismatch,
        ..failure
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new(ExitCode::LockMismatch, message)
            .caused_by("it is larger than 1 MiB")
            .hinted("name the file that an earlier run wrote with --lock"));
    }
    Lock::parse(&bytes, &setting.fingerprints)
        .map(Some)
        .map_err(|error| Failure::explained(ExitCode::LockMismatch, message, &error))
}

/// Writes the lock file if one was asked for and there was none, and returns why it wrote none.
fn write_lock(arguments: &RunArgs, opened: &Opened) -> Result<Option<String>, Failure> {
    let Some(path) = arguments.lock.as_ref().filter(|_| !opened.locked) else {
        return Ok(None);
    };
    let images = &opened.context.world.images;
    // A lock that lacks an image would refuse the next run.
    if let Some(name) = images.unresolved().first() {
        return Ok(Some(format!("image `{name}` was not resolved")));
    }
    let locked = images.locked();
    if locked.is_empty() {
        return Ok(Some(
            "no step of this run needed the digest of an image".into(),
        ));
    }
    let lock = Lock::new(opened.setting.fingerprints, locked);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.{}.part", opened.context.world.run.id));
    let written = fs::write(&part, lock.to_json()).and_then(|()| fs::rename(&part, path));
    written.map(|()| None).map_err(|error| {
        // The first error is the one that tells; the part may not even be there.
        let _ = fs::remove_file(&part);
        let message = format!("the lock file {} can't be written", path.display());
        Failure::new(ExitCode::Unexpected, message)
            .caused_by(error.to_string())
            .hinted("name a file with --lock in a folder that this user may write to")
    })
}

/// Says how a command without a run's closing lines ended.
fn ending(exit: ExitCode) -> String {
    format!("exit code {} ({})", exit.code(), exit.name())
}

impl Session {
    /// Tells what failed after a run, and returns the exit code that it comes to with the run's own.
    fn fall_back(&self, earned: ExitCode, failures: impl Iterator<Item = Failure>) -> ExitCode {
        let exit = failures.fold(earned, |exit, failure| {
            self.printer.failure(&failure);
            exit.worse(failure.exit)
        });
        if exit != earned {
            self.printer.error(&ending(exit));
        }
        exit
    }

    /// Prints what was found in a document and returns the exit code that it leads to.
    fn tell(&mut self, found: &[Diagnostic]) -> ExitCode {
        for diagnostic in found {
            self.printer.finding(&document::finding(diagnostic));
        }
        let exit = document::exit(found);
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
