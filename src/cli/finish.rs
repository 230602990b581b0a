//! `finish`: ends what killed runs left open.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::args::{FinishArgs, RunArgs, StoreArgs};
use super::claims::{Claimed, Kept, claim};
use super::clients::{Access, view_cache};
use super::document::{self, document};
use super::machine;
use super::opened::{Opened, prepare};
use super::outputs::Wanted;
use super::pipeline::ending;
use super::reports::Preparation;
use super::sandbox_args::SandboxArgs;
use super::session::Session;
use crate::engine::Urgency;
use crate::engine::run::{KILLED, Stopped};
use crate::engine::world::State;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::mask::Mask;
use crate::pipeline::{Mode, RunNames, Source};
use crate::report::Detail;
use crate::report::event::StepOutcome;
use crate::state::{self, Course, Found, Header, Journal, Shelves};

/// After this long nobody waits for what a killed run has to say, and it may be wrong by then.
const TOO_OLD: Duration = Duration::from_secs(24 * 60 * 60);

/// Finishes the dead runs of a cache, the oldest first.
///
/// # Errors
/// The cache can't be read, or holds no run of the id that was given. What can't be finished is told,
/// and is an exit code.
pub async fn finish(arguments: &FinishArgs, session: &mut Session) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.cache.clone(), &session.environment)?;
    // Each run goes to the folder that it was begun in.
    let here = machine::folder();
    let absolute = |path: &Path| match &here {
        Some(here) => Path::new(here).join(path),
        None => path.to_owned(),
    };
    let place = Place {
        cache: absolute(cache.root()),
        report: arguments.report.as_deref().map(absolute),
        named: arguments.run.is_some(),
    };
    let folder = place.cache.join(state::FOLDER);
    let kept = match session.environment.launcher_state() {
        Some(state) => {
            let shelf = Shelves::in_folder(&state).of(&place.cache);
            shelf.map_or(Kept::Nowhere, Kept::On)
        }
        // Whoever names a run answers for its journal.
        None if place.named && !state::is_marked(&place.cache) => Kept::Nowhere,
        None => Kept::Unknown,
    };
    let unreadable = |error: state::JournalError| {
        let message = format!("the journals in {} can't be read", folder.display());
        Failure::explained(ExitCode::Unexpected, message, &error)
    };
    state::sweep(&folder).map_err(unreadable)?;
    let runs = chosen(state::list(&folder).map_err(unreadable)?, arguments)?;
    session.mind_signals()?;

    let mut exit = ExitCode::Done;
    let (mut found, mut alone) = (false, false);
    for (run, path) in runs {
        // A signal gives what is left a bounded time, as it does in a run: in a job that is being cancelled
        // it comes the moment this begins. Only a second one by hand means it.
        if session.cancel.urgency() == Urgency::Abort {
            exit = exit.worse(ExitCode::Cancelled);
            break;
        }
        match claim(&run, &path, &kept, session).await {
            Ok(Claimed::Gone) => continue,
            Ok(Claimed::Alive) => {
                session.printer.note(&format!(
                    "run {run} goes on, or is being finished: left alone"
                ));
                alone = true;
                continue;
            }
            Ok(Claimed::Doubtful(why)) if !place.named => {
                let message = format!("the journal of run {run} {why}: it is left alone");
                let hint = foreign(&path);
                session.printer.warning(&message, Some(&hint));
                alone = true;
                continue;
            }
            Ok(Claimed::Doubtful(why)) => {
                let failure = Failure::new(ExitCode::Unexpected, unfinished(&run))
                    .caused_by(format!("its journal {why}"))
                    .hinted(foreign(&path));
                exit = exit.worse(refuse(&failure, session));
            }
            Ok(Claimed::Dead(dead, record)) => {
                let ended = one(*dead, &place, session).await;
                // What is known of a run is needed as long as its journal is there.
                if let Some(record) = record.filter(|_| !path.exists()) {
                    let _ = record.remove();
                }
                match ended {
                    Ok(Some(ended)) => exit = exit.worse(ended),
                    Ok(None) => {
                        alone = true;
                        continue;
                    }
                    Err(failure) => exit = exit.worse(refuse(&failure, session)),
                }
            }
            Err(failure) => exit = exit.worse(refuse(&failure, session)),
        }
        found = true;
        if let Some(here) = &here {
            // Where that fails, every path is absolute already.
            let _ = machine::enter(here);
        }
    }
    let what = if alone { "nothing else" } else { "nothing" };
    let closing = match (found, exit) {
        (false, ExitCode::Done) => format!("{what} to finish in {}", place.cache.display()),
        (_, ExitCode::Done) => format!("{what} is left open, {}", ending(exit)),
        _ => ending(exit),
    };
    if found {
        // The last line names the exit code, and that of the run stands above.
        session.printer.error(&closing);
    } else {
        session.printer.note(&closing);
    }
    Ok(exit)
}

/// What is the same for every run.
struct Place {
    cache: PathBuf,
    /// The folder of `--report`.
    report: Option<PathBuf>,
    /// Whether the run was named.
    named: bool,
}

fn chosen(
    runs: Vec<(String, PathBuf)>,
    arguments: &FinishArgs,
) -> Result<Vec<(String, PathBuf)>, Failure> {
    let Some(wanted) = &arguments.run else {
        return Ok(runs);
    };
    let known: Vec<String> = runs.iter().map(|(run, _)| run.clone()).collect();
    let one: Vec<_> = runs.into_iter().filter(|(run, _)| run == wanted).collect();
    if one.is_empty() {
        let message = format!("there is no journal of run {wanted}");
        let hint = match &known[..] {
            [] => "it is over and left nothing open, or had another cache: name that with --cache"
                .into(),
            known => format!("the journals are those of {}", known.join(", ")),
        };
        return Err(Failure::new(ExitCode::Usage, message).hinted(hint));
    }
    Ok(one)
}

pub(super) fn unfinished(run: &str) -> String {
    format!("run {run} is not finished")
}

fn refuse(failure: &Failure, session: &Session) -> ExitCode {
    session.printer.failure(failure);
    failure.exit
}

fn foreign(journal: &Path) -> String {
    format!(
        "whoever writes a journal decides who is told what: call `shipgate finish` as the user of the run, with the same home, or remove {}",
        journal.display()
    )
}

/// Finishes one run, and returns what that came to, or nothing if it was left alone.
async fn one(
    dead: Found,
    place: &Place,
    session: &mut Session,
) -> Result<Option<ExitCode>, Failure> {
    let Found {
        journal,
        header,
        events,
    } = dead;
    // Before anything that it says is acted on: the folder of another machine may not even be here.
    if !place.named && is_from_elsewhere(&header, session) {
        leave_alone(&header.run, journal.path(), session);
        return Ok(None);
    }
    if let Some(folder) = &header.folder {
        machine::enter(folder).map_err(|error| {
            Failure::new(ExitCode::Unexpected, unfinished(&header.run))
                .caused_by(format!("the folder {folder} can't be entered: {error}"))
                .hinted(give_up(journal.path()))
        })?;
    }
    let mut course = Course::default();
    events.iter().for_each(|event| course.apply(event));
    session.preparation = Preparation {
        began: header.at.clone(),
        run: header.run.clone(),
        files: vec![header.file.clone()],
        ..Preparation::default()
    };
    let Some(started) = course.started() else {
        return forget(journal, &header, session).map(Some);
    };
    let ago = since(started, session).max(course.last());
    let lost = lost(&header, ago.saturating_sub(course.last()), place.named);

    let opened = match lost {
        Some(_) => {
            session.take_up(&events, ago);
            None
        }
        None => Some(
            open(&header, place, session, |session| {
                session.take_up(&events, ago);
            })
            .map_err(|failure| {
                let hint = failure.hint.clone();
                let advice = give_up(journal.path());
                failure.hinted(hint.map_or(advice.clone(), |hint| format!("{hint}\n{advice}")))
            })?,
        ),
    };
    session.journal.keep(journal, session.mask_in_use());
    let stopped = course.stopped();
    tell_resumption(&course, &stopped, &header.run, lost, session);
    match opened {
        Some(opened) => go_on(&opened, &header, &stopped, session).await,
        None => close(&stopped, lost.unwrap_or(KILLED), session),
    }
    clean_up(&header);
    Ok(Some(leave(&header, place, session)))
}

/// Says whether a run was begun on another machine, or before this one was started, as far as that can be known.
fn is_from_elsewhere(header: &Header, session: &Session) -> bool {
    let here = machine::boot(&session.environment);
    here.is_some() && here != header.boot
}

fn leave_alone(run: &str, journal: &Path, session: &Session) {
    let message = format!(
        "run {run} was begun elsewhere, or before this machine was started: its journal is left alone"
    );
    let hint = format!(
        "if you know where it comes from: `shipgate finish --run {run}`; otherwise remove {}",
        journal.display()
    );
    session.printer.warning(&message, Some(&hint));
}

/// Removes the journal of a run that had not come to its first step.
fn forget(journal: Journal, header: &Header, session: &Session) -> Result<ExitCode, Failure> {
    clean_up(header);
    let run = &header.run;
    let removed = journal.remove();
    session.printer.note(&format!(
        "run {run} was killed before its first step: nothing to finish"
    ));
    removed
        .map(|()| ExitCode::Done)
        .map_err(|error| Failure::explained(ExitCode::Unexpected, unfinished(run), &error))
}

/// Tells that a run is taken up again, and the end of a step whose notice was delivered already.
fn tell_resumption(
    course: &Course,
    stopped: &Stopped,
    run: &str,
    lost: Option<&str>,
    session: &Session,
) {
    let settled = course.settled();
    let done = settled.as_ref().map(|(id, _)| id);
    let left = course.left().into_iter().filter(|id| Some(id) != done);
    session.events.emit(Detail::RunResumed {
        name: session.heard().pipeline,
        run: run.to_owned(),
        at: session.environment.clock.now().to_string(),
        during: stopped.during.as_ref().map(|(id, _)| id.clone()),
        left: left.filter(|_| lost.is_none()).collect(),
    });
    if let Some((id, took)) = settled {
        // The receiver has the notice; only the word that the step ended is missing.
        tell_end(&id, StepOutcome::Passed, took, session);
    }
}

/// Does what is left of a run.
async fn go_on(opened: &Opened, header: &Header, stopped: &Stopped, session: &Session) {
    let world = &opened.context.world;
    let course = session.journal.course();
    course.restore(&world.state);
    for (name, image) in header.locked.iter().flatten() {
        world.images.recall(name, &image.reference, image.digest);
    }
    course.recall(&world.images);
    session
        .resume(&opened.tasks, &opened.selected, stopped, &opened.context)
        .await;
}

/// Writes what is left of a run and closes its journal if nothing more is to be done.
fn leave(header: &Header, place: &Place, session: &Session) -> ExitCode {
    let report = session.report_of_run();
    let earned = report.exit.map(|exit| exit.name);
    let folder = || header.options.report.as_ref().map(PathBuf::from);
    let wanted = Wanted {
        report: place.report.clone().or_else(folder),
        lock: header.options.lock.as_ref().map(PathBuf::from),
        plan: None,
    };
    let written = Some(session.leave(report, &wanted)) == earned;
    let course = session.journal.course();
    session.end_journal(written, false);
    if !written {
        ExitCode::Unexpected
    } else if course.left().is_empty() {
        ExitCode::Done
    } else if course.owes_a_notice() {
        ExitCode::NotifyFailed
    } else {
        ExitCode::Cancelled
    }
}

/// Returns why nothing of a run is done any more, if that is so.
fn lost(header: &Header, age: Duration, named: bool) -> Option<&'static str> {
    if header.playground.is_some() {
        Some("it went to the playground, which died with the run")
    } else if age > TOO_OLD && !named {
        Some("the run was killed more than a day ago")
    } else {
        None
    }
}

/// Reads the document as the run had it, with the secrets of today, and makes it ready to run.
fn open(
    header: &Header,
    place: &Place,
    session: &mut Session,
    take_up: impl FnOnce(&mut Session),
) -> Result<Opened, Failure> {
    let invalid = |exit, cause: &str| Failure::new(exit, unfinished(&header.run)).caused_by(cause);
    let source = Source::from_bytes(header.file.clone(), header.document.as_bytes())
        .map_err(|found| invalid(ExitCode::PipelineInvalid, &found.message))?;
    let run = RunNames {
        id: header.run.clone(),
        link: header.link.clone(),
    };
    let loaded = document(
        &source,
        header.inputs.clone(),
        run.clone(),
        None,
        Mode::Run,
        &session.environment,
    );
    take_up(session);
    session.mask(Arc::new(Mask::new(&loaded.secrets)));
    let Some(document) = loaded.document else {
        for found in &loaded.diagnostics {
            session.printer.finding(&document::finding(found));
        }
        let exit = document::exit(&loaded.diagnostics);
        return Err(
            invalid(exit, "what its pipeline needs is not here any more")
                .hinted("set what is missing above, and call `shipgate finish` again"),
        );
    };
    let options = &header.options;
    let arguments = RunArgs {
        pipeline: Some(header.file.clone().into()),
        inputs: Vec::new(),
        only: options.only.clone(),
        from: options.from.clone(),
        until: options.until.clone(),
        // The digests that it pinned are in the journal.
        lock: None,
        report: None,
        store: StoreArgs {
            cache: Some(place.cache.clone()),
            plain_http: options.plain_http,
        },
        sandbox: SandboxArgs::default(),
    };
    let inputs = header.inputs.clone();
    prepare(
        &arguments,
        Access::Fill,
        session,
        &source,
        &document,
        run,
        inputs,
    )
    .map_err(|failure| Failure {
        causes: [vec![failure.message], failure.causes].concat(),
        message: unfinished(&header.run),
        ..failure
    })
}

/// Ends a run without doing anything of what is left.
fn close(stopped: &Stopped, reason: &str, session: &Session) {
    let course = session.journal.course();
    let state = State::default();
    course.restore(&state);
    let mut left = Vec::new();
    for id in course.unended() {
        match &stopped.during {
            Some((step, took)) if *step == id && !course.left().contains(&id) => {
                tell_end(&id, StepOutcome::Cancelled, *took, session);
            }
            _ => {
                let reason = if course.left().contains(&id) {
                    left.push(id.clone());
                    reason
                } else {
                    KILLED
                };
                let reason = reason.to_owned();
                session
                    .events
                    .of_step(&id)
                    .emit(Detail::StepSkipped { reason });
            }
        }
    }
    if !left.is_empty() {
        session.events.emit(Detail::Warned {
            message: format!("{} will not be done: {reason}", left.join(", ")),
            hint: None,
        });
    }
    if stopped.exit.is_none_or(|exit| exit == ExitCode::Cancelled) {
        state.cancelled();
    }
    session.conclude(state.exit(), Vec::new(), &state);
}

fn tell_end(id: &str, outcome: StepOutcome, took: Duration, session: &Session) {
    session.events.of_step(id).emit(Detail::StepFinished {
        outcome,
        took,
        failure: None,
        continued: false,
    });
}

/// Removes the folder of a playground that died. What a journal names is removed only if a run has named it so.
fn clean_up(header: &Header) {
    let Some(folder) = header.playground.as_ref().map(Path::new) else {
        return;
    };
    if folder.file_name() == Some(format!("shipgate-{}", header.run).as_ref()) {
        crate::playground::forget(folder);
    }
}

fn since(started: &str, session: &Session) -> Duration {
    let now = session.environment.clock.now();
    started
        .parse::<Timestamp>()
        .ok()
        .and_then(|started| Duration::try_from(now.duration_since(started)).ok())
        .unwrap_or_default()
}

fn give_up(journal: &Path) -> String {
    format!("to give the run up, remove {}", journal.display())
}
