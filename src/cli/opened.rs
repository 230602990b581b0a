//! A pipeline file on its way to a run: read, checked, and prepared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::RunArgs;
use super::clients::Access;
use super::document::{self, document, source};
use super::playground::{self, Stage};
use super::session::Session;
use super::setting::{self, Setting};
use super::{journal, lock, outputs};
use crate::engine::grants::Grants;
use crate::engine::selection::Selection;
use crate::engine::task::Tasks;
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::mask::Mask;
use crate::pipeline::{self, Document, Mode, RunNames, Source};
use crate::state::Header;
use crate::step;

/// A pipeline that is ready to run.
pub(super) struct Opened {
    pub(super) context: Context,
    pub(super) source: Source,
    pub(super) tasks: Tasks,
    pub(super) selected: Vec<bool>,
    pub(super) grants: Grants,
    /// What the document says of the ways to hosts.
    pub(super) ways: Vec<String>,
    pub(super) setting: Setting,
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

pub(super) fn path_of(arguments: &RunArgs) -> &Path {
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
