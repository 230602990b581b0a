//! From the command line to an exit code: what is asked for, what it needs, what is refused, the run.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shipgate::cli::args::{Cli, Command, RunArgs, ValidateArgs};
use shipgate::cli::clients;
use shipgate::cli::derive::{self, Derived, derive};
use shipgate::cli::environment::Environment;
use shipgate::cli::hosted::Brief;
use shipgate::cli::sandbox_args::SandboxArgs;
use shipgate::cli::session::Session;
use shipgate::cli::ways::Ways;
use shipgate::cli::{machine, outputs};
use shipgate::engine::Urgency;
use shipgate::engine::grants::Grants;
use shipgate::failure::Failure;
use shipgate::net::{Client, Config, Dialer};
use shipgate::outcome::ExitCode;
use shipgate::pipeline::mask::Learned;
use shipgate::pipeline::source::MAXIMUM_BYTES;
use shipgate::sandbox::{Component, Policy, capability};

use crate::arguments::{Line, Raw};
use crate::bounds::Bounds;
use crate::cage::{Cage, Purpose};
use crate::compiled::Places;
use crate::component::{self, Run, Stdin};
use crate::egress::Egress;
use crate::loading::{self, Early, Loading};
use crate::policies::{policy, refuse};
use crate::record::{self, Given};
use crate::sink::Sinks;
use crate::stage::Stage;
use crate::table::table;
use crate::trust::{self, Trust};
use crate::{describe, exit, failure};

/// How long a command may take whose steps are not known.
const RAW_TIME: Duration = Duration::from_secs(3600);
/// How long it may take to check documents.
const VALIDATE_TIME: Duration = Duration::from_secs(60);
/// How long the end of a run that was stopped may take.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Does what the command line asks for, and returns the exit code.
pub fn launch(line: Line) -> u8 {
    let talk = match &line {
        Line::Command(cli, _) => cli.talk_settled(),
        Line::Describe(describe) => describe.talk.clone(),
        Line::Raw(raw) => raw.talk.clone(),
    };
    let mut session = Session::new(&talk, Environment::of_process());
    // Two more threads, for time and the playground: the component has the one that waits here.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return told(&session, &failure::host(error)),
    };
    let ended = runtime.block_on(async {
        match line {
            Line::Command(cli, words) => command(&cli, words, &mut session).await,
            Line::Describe(line) => describe::describe(&line.component, &session),
            Line::Raw(raw) => by_hand(&raw, &session).await,
        }
    });
    // Compiling may still be under way when a run is cancelled.
    runtime.shutdown_background();
    ended.unwrap_or_else(|failure| told(&session, &failure))
}

fn told(session: &Session, failure: &Failure) -> u8 {
    session.printer.failure(failure);
    failure.exit.code()
}

/// Runs a command of shipgate with the grants that its documents come to.
async fn command(cli: &Cli, words: Vec<OsString>, session: &mut Session) -> Result<u8, Failure> {
    let (Some(sandbox), Some(asked)) = (cli.sandbox(), Asked::of(cli)) else {
        return Err(Failure::new(
            ExitCode::Usage,
            "the launcher derives grants for `run`, `plan` and `validate` only",
        )
        .hinted("give other commands their grants by hand: `shipgate-wasm --dir … -- COMMAND …`"));
    };
    let words = words.into_iter().map(|word| {
        word.into_string().map_err(|word| {
            failure::not_text(format!("can't hand over {}", word.to_string_lossy()))
        })
    });
    let arguments = words.collect::<Result<Vec<_>, _>>()?;
    let early = loading::begin(sandbox, session);
    let mut cage = cage(session)?;
    let policy = policy(sandbox).map_err(|failure| derive::refused(failure, cli, session))?;
    match asked {
        Asked::Validate(validate) => {
            session.mind_signals()?;
            let mut grants = Grants::default();
            for path in validate.pipelines.iter().filter(|path| !is_stdin(path)) {
                grants.read(path.display().to_string(), "pipeline");
            }
            if let Some(folder) = &validate.report {
                grants.write(folder.display().to_string(), "report");
            }
            outputs::grant(&mut grants, &session.environment);
            cage.add(&grants, &Purpose::Run, &session.environment);
            let task = Task {
                bounds: Bounds::new(sandbox, VALIDATE_TIME),
                arguments,
                sandbox,
                stdin: stdin_of(&validate.pipelines)?,
                brief: Brief::default(),
                // Documents are checked without network.
                dialer: Client::new(Config::default())
                    .map_err(failure::host)?
                    .dialer(),
                document: None,
                plain_http: None,
                given: None,
                early,
            };
            let ended = perform(task, cage, &policy, session).await;
            ended.map_err(|failure| derive::refused(failure, cli, session))
        }
        Asked::Run(run) | Asked::Plan(run) => {
            let command = if matches!(asked, Asked::Run(_)) {
                "run"
            } else {
                "plan"
            };
            let derived = match derive(run, command, session).await? {
                Ok(derived) => derived,
                // What is wrong with it has been told.
                Err(exit) => return Ok(exit.code()),
            };
            let purpose = match asked {
                Asked::Plan(_) => Purpose::Look {
                    cache: derived.cache(),
                },
                _ => Purpose::Run,
            };
            let mut task = task(&derived, run, arguments, sandbox);
            task.early = early;
            task.given = matches!(purpose, Purpose::Run).then(|| Given {
                cache: cage.working_folder.join(derived.cache()),
                header: derived.header().clone(),
            });
            let ended = pipeline(&derived, &purpose, task, cage, &policy, session).await;
            derived.close().await;
            ended.map_err(|failure| derive::refused(failure, cli, session))
        }
    }
}

fn task<'a>(
    derived: &Derived,
    run: &RunArgs,
    arguments: Vec<String>,
    sandbox: &'a SandboxArgs,
) -> Task<'a> {
    let path = run.pipeline.clone().unwrap_or_default();
    let text = derived.text().to_owned();
    let (stdin, document) = if is_stdin(&path) {
        (Stdin::Given(text.into_bytes()), None)
    } else {
        (Stdin::Nothing, Some((path, text)))
    };
    Task {
        bounds: Bounds::new(sandbox, derived.longest()),
        arguments,
        sandbox,
        stdin,
        brief: Brief {
            run: Some(derived.header().run.clone()),
            playground: derived.playground(),
            trusted: derived.trusted(),
            ways: derived.ways(),
            ..Brief::default()
        },
        dialer: derived.dialer(),
        document,
        plain_http: run.store.plain_http,
        given: None,
        early: None,
    }
}

async fn pipeline(
    derived: &Derived,
    purpose: &Purpose,
    task: Task<'_>,
    mut cage: Cage,
    policy: &Policy,
    session: &Session,
) -> Result<u8, Failure> {
    refuse(capability::lacking(derived.grants()), session)?;
    let mut grants: Grants = derived.grants().clone();
    // Standard input is no file.
    grants.read.remove("-");
    cage.add(&grants, purpose, &session.environment);
    perform(task, cage, policy, session).await
}

/// Runs any command with the grants that were given by hand.
async fn by_hand(raw: &Raw, session: &Session) -> Result<u8, Failure> {
    session.mind_signals()?;
    let early = loading::begin(&raw.sandbox, session);
    let policy = policy(&raw.sandbox)?;
    let task = Task {
        bounds: Bounds::new(&raw.sandbox, RAW_TIME),
        arguments: raw.arguments.clone(),
        sandbox: &raw.sandbox,
        stdin: Stdin::Inherited,
        // What is given by hand has the names that it is given by hand.
        brief: Brief::default(),
        dialer: clients::http(
            &[],
            &Ways::default(),
            &session.environment,
            &Learned::default(),
        )?
        .dialer(),
        document: None,
        plain_http: None,
        given: None,
        early,
    };
    let mut cage = cage(session)?;
    cage.front.clear();
    perform_named(task, cage, &policy, session, false).await
}

/// What the launcher derives grants for.
enum Asked<'a> {
    Plan(&'a RunArgs),
    Run(&'a RunArgs),
    Validate(&'a ValidateArgs),
}

impl<'a> Asked<'a> {
    fn of(cli: &'a Cli) -> Option<Self> {
        match &cli.command {
            None => Some(Self::Run(&cli.run)),
            Some(Command::Run(run)) => Some(Self::Run(run)),
            Some(Command::Plan(run)) => Some(Self::Plan(run)),
            Some(Command::Validate(validate)) => Some(Self::Validate(validate)),
            Some(_) => None,
        }
    }
}

/// One run of the component.
struct Task<'a> {
    sandbox: &'a SandboxArgs,
    bounds: Bounds,
    arguments: Vec<String>,
    stdin: Stdin,
    brief: Brief,
    /// Connects for it.
    dialer: Dialer,
    /// The document's path and text as they were read: what grants were derived from is what runs.
    document: Option<(PathBuf, String)>,
    /// Whether registries are spoken to without TLS, where the command line says so.
    plain_http: Option<bool>,
    /// What a run is given that keeps a journal.
    given: Option<Given>,
    /// The component, if it is being loaded already.
    early: Option<Early>,
}

async fn perform(
    task: Task<'_>,
    cage: Cage,
    policy: &Policy,
    session: &Session,
) -> Result<u8, Failure> {
    perform_named(task, cage, policy, session, true).await
}

/// Refuses, grants, loads and runs. `named` says whether files have the names inside that they have
/// outside.
async fn perform_named(
    mut task: Task<'_>,
    mut cage: Cage,
    policy: &Policy,
    session: &Session,
    named: bool,
) -> Result<u8, Failure> {
    cage.add_by_hand(task.sandbox);
    cage.without_denied_front(policy);
    cage.find_files();
    refuse(cage.denied(policy), session)?;
    let places = Places::usual(&session.environment);
    for own in places.iter().flat_map(Places::all) {
        if let Some(failure) = cage.opens(own) {
            return Err(failure);
        }
    }
    if let Some(failure) = cage.opens_others() {
        return Err(failure);
    }
    let trust = Trust::find(task.sandbox, &session.environment)?;
    let deciding = deciding(&task, trust.as_ref(), session);
    if let Some(failure) = deciding.iter().find_map(|own| cage.changes(own)) {
        return Err(failure);
    }
    let shown = table(&cage, &task.bounds, &session.environment);
    session.printer.note(&shown);
    cage.make_folders()?;
    // What stands between is the launcher's own business.
    let hosts = cage.hosts.iter().map(|(granted, _)| granted.clone());
    let sinks = Sinks::new(tokio::runtime::Handle::current());
    let egress = Egress::open(hosts.collect(), task.dialer.clone(), sinks.clone()).await;
    let egress = egress.map_err(failure::host)?;
    let stage = stage(&task, &cage, &egress, named, session)?;
    let loading = Loading {
        sandbox: task.sandbox,
        trust: trust.as_ref(),
        plain_http: task.plain_http,
        early: task.early.take(),
    };
    let loading = loading.finish(places, session);
    let (path, loaded) = tokio::select! {
        biased;
        () = session.cancel.reached(Urgency::Cancel) => {
            return Err(Failure::new(ExitCode::Cancelled, "cancelled before the component began"));
        }
        loaded = loading => loaded?,
    };
    if let Some(warning) = &loaded.warning {
        session.printer.warning(warning, None);
    }
    session
        .printer
        .note(&loading::running(&path, &loaded.digest));
    // Kept until the end of this function, and not before there is something to run.
    let record = record::keep(&cage, task.given.take(), session);
    let ended = component::run(Run {
        component: &loaded.component,
        path: &path,
        cage: &cage,
        egress: &egress,
        sinks,
        stage: &stage,
        bounds: task.bounds,
        arguments: task.arguments,
        stdin: task.stdin,
        cancel: session.cancel.clone(),
    })
    .await;
    let mut code = match ended {
        Ok(succeeded) => exit::code(succeeded, exit::reported(&stage.answers())),
        Err(failure) => {
            end_by_all_means(failure.exit.code());
            told(session, &failure)
        }
    };
    drop(record);
    let unwritten = stage.carry_out();
    if code == ExitCode::Done.code()
        && let Some(failure) = unwritten.first()
    {
        code = failure.exit.code();
    }
    let removed = stage.remove();
    // Nobody has to read what is still to be said.
    end_by_all_means(code);
    for failure in &unwritten {
        told(session, failure);
    }
    if let Err((folder, error)) = removed {
        let message = format!("{} can't be removed: {error}", folder.display());
        let hint = "the component made something in it that stays; copies of files that it read may be there too: remove it";
        session.printer.warning(&message, Some(hint));
    }
    Ok(code)
}

/// Ends the process some time after a run has ended or was stopped, even if nobody reads what is said about it.
fn end_by_all_means(code: u8) {
    let end = move || {
        #[expect(
            clippy::disallowed_methods,
            reason = "a thread of its own, for when the one that should end stands still"
        )]
        {
            std::thread::sleep(LAST_WORDS);
            #[expect(clippy::exit, reason = "the same")]
            std::process::exit(code.into());
        }
    };
    // Without a thread for it, whoever reads has all the time there is.
    let _ = std::thread::Builder::new().spawn(end);
}

/// Returns every file that decides what runs, or runs itself.
fn deciding(task: &Task<'_>, trust: Option<&Trust>, session: &Session) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = trust
        .into_iter()
        .flat_map(Trust::files)
        .map(Path::to_owned)
        .collect();
    files.extend(trust::usual(&session.environment));
    files.extend(task.sandbox.policy.iter().cloned());
    match &task.sandbox.component {
        Some(Component::File(path)) => files.push(path.clone()),
        Some(Component::Registry(_)) => {}
        None => files.extend(loading::component_beside()),
    }
    if let Ok(launcher) = std::env::current_exe() {
        let program = format!("shipgate{}", std::env::consts::EXE_SUFFIX);
        files.extend([launcher.with_file_name(program), launcher]);
    }
    files
}

fn stage(
    task: &Task<'_>,
    cage: &Cage,
    egress: &Egress,
    named: bool,
    session: &Session,
) -> Result<Stage, Failure> {
    let mut stage = Stage::new(&cage.working_folder).map_err(failure::host)?;
    let brief = Brief {
        working_folder: named.then(|| cage.working_folder.display().to_string()),
        boot: machine::boot(&session.environment).filter(|_| named),
        machine: Some((
            std::env::consts::OS.to_owned(),
            std::env::consts::ARCH.to_owned(),
        )),
        egress: Some(egress.way().clone()),
        ..task.brief.clone()
    };
    stage.brief(&brief).map_err(failure::host)?;
    for (path, _) in &cage.files {
        if let Some(real) = cage.found.get(path) {
            stage.copy(&cage.working_folder.join(path), real)?;
        }
    }
    if let Some((path, text)) = &task.document {
        stage.put(&cage.working_folder.join(path), text)?;
    }
    for (path, _, how) in &cage.carried {
        stage.carry(&cage.working_folder.join(path), &cage.real(path), *how)?;
    }
    Ok(stage)
}

fn cage(session: &Session) -> Result<Cage, Failure> {
    let folder = std::env::current_dir().map_err(failure::host)?;
    Ok(Cage::new(folder, &session.environment))
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Reads standard input, if it is one of the documents, and no more of it than a document may have.
fn stdin_of(pipelines: &[PathBuf]) -> Result<Stdin, Failure> {
    if !pipelines.iter().any(|path| is_stdin(path)) {
        return Ok(Stdin::Nothing);
    }
    let mut bytes = Vec::new();
    // One more: too large a document is found to be that.
    let limit = MAXIMUM_BYTES as u64 + 1;
    let read = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.map_err(|error| failure::file(Path::new("-"), error))?;
    Ok(Stdin::Given(bytes))
}
