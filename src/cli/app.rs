//! From the command line to an exit code.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process;

use clap::{CommandFactory, Parser};

use super::args::{CacheCommand, Cli, Command, Format, TalkArgs};
use super::environment::Environment;
use super::sandbox_args::SandboxArgs;
use super::session::Session;
use super::terminal::Terminal;
use super::{cache, cache_out, derive, finish, handover, host, images, init, pipeline, runtime};
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::inert::inert_lines;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> process::ExitCode {
    let environment = Environment::of_process();
    let terminal = Terminal::detect(&environment);
    let code = match Cli::try_parse() {
        Ok(cli) => obey(cli, environment),
        Err(error) => {
            let first = std::env::args_os().nth(1);
            if let Some(command) = meant(first.as_ref().and_then(|word| word.to_str())) {
                // The parser takes an unknown first word for a pipeline, and then says so.
                let hint = format!("shipgate: did you mean `shipgate {command}`?\n\n");
                let _ = std::io::stderr().write_all(hint.as_bytes());
            }
            // Help that nobody reads is no failure.
            let _ = print(&error, &terminal);
            if error.use_stderr() {
                ExitCode::Usage.code()
            } else {
                ExitCode::Done.code()
            }
        }
    };
    host::report(code);
    process::ExitCode::from(code)
}

/// Returns the command that a mistyped one was probably meant to be.
fn meant(word: Option<&str>) -> Option<String> {
    let word = word.filter(|word| !word.starts_with('-') && !word.contains(['.', '/']))?;
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    let near = names
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, _)| (1..=2).contains(distance));
    near.min().map(|(_, name)| name.to_owned())
}

/// Prints help, or what is wrong with the command line, which is quoted: a CI system must not obey it.
fn print(error: &clap::Error, terminal: &Terminal) -> std::io::Result<()> {
    if !terminal.ci {
        return error.print();
    }
    let text = inert_lines(&error.render().to_string());
    if error.use_stderr() {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    }
}

fn obey(cli: Cli, environment: Environment) -> u8 {
    let mut session = Session::new(&cli.talk_settled(), environment);
    match sandboxed(&cli, &session) {
        Ok(None) => {}
        Ok(Some(code)) => return code,
        Err(failure) => {
            // A job that shows the report must find one, also where there is no launcher.
            let failure = derive::refused(failure, &cli, &mut session);
            session.printer.failure(&failure);
            return failure.exit.code();
        }
    }
    let printer = session.printer.clone();
    // A panic's message may quote anything: it is masked and made harmless as all else.
    set_hook(Box::new(move |panic| {
        let trace = Backtrace::capture();
        let trace = match trace.status() {
            BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        printer.panicked(&format!("{panic}{trace}"));
    }));
    let work = AssertUnwindSafe(|| match runtime::runtime() {
        Ok(runtime) => {
            let done = runtime.block_on(command(cli, &mut session));
            // A name look-up that hangs in a thread must not hold up the end.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(
            Failure::new(ExitCode::Unexpected, "the runtime can't start")
                .caused_by(error.to_string()),
        ),
    });
    // Whatever happens, the printer gets to close the groups that it opened.
    let done = catch_unwind(work).unwrap_or_else(|_| {
        Err(Failure::new(
            ExitCode::Unexpected,
            "shipgate has come upon a fault of its own",
        )
        .caused_by("a panic, which is told above")
        .hinted("report it with the lines above; a cache that was being filled is whole"))
    });
    let finished = session.printer.finish();
    let exit = match done {
        Ok(ExitCode::Done) if finished.is_err() => ExitCode::Unexpected,
        Ok(exit) => exit,
        Err(failure) => {
            session.printer.failure(&failure);
            failure.exit
        }
    };
    exit.code()
}

/// Hands a run over that is asked to be in the sandbox. Nothing comes back if it goes on here.
fn sandboxed(cli: &Cli, session: &Session) -> Result<Option<u8>, Failure> {
    let Some(sandbox) = cli.sandbox() else {
        return Ok(None);
    };
    if sandbox.sandbox {
        return handover::hand_over(sandbox, &session.environment);
    }
    match sandbox.idle() {
        // In the component the launcher has minded them.
        Some(flag) if session.brief.is_none() => {
            let message = format!("{flag} has no effect without --sandbox");
            Err(Failure::new(ExitCode::Usage, message).hinted("add --sandbox, or leave it out"))
        }
        _ => Ok(None),
    }
}

impl Cli {
    /// Returns how a command runs in the sandbox, if it can.
    #[must_use]
    pub fn sandbox(&self) -> Option<&SandboxArgs> {
        match &self.command {
            None => Some(&self.run.sandbox),
            Some(Command::Run(run) | Command::Plan(run)) => Some(&run.sandbox),
            Some(Command::Validate(validate)) => Some(&validate.sandbox),
            Some(_) => None,
        }
    }

    /// Returns how the command talks: what prints one JSON document leaves no room for events beside it.
    #[must_use]
    pub fn talk_settled(&self) -> TalkArgs {
        let mut talk = self.talk.clone();
        if let Some(Command::Plan(_) | Command::Cache { .. }) = self.command
            && talk.format == Format::Json
        {
            talk.format = Format::Plain;
        }
        talk
    }
}

async fn command(cli: Cli, session: &mut Session) -> Result<ExitCode, Failure> {
    match cli.command {
        None => pipeline::run(&cli.run, session).await,
        Some(Command::Run(arguments)) => pipeline::run(&arguments, session).await,
        Some(Command::Plan(arguments)) => {
            pipeline::plan(&arguments, cli.talk.format, session).await
        }
        Some(Command::Validate(arguments)) => pipeline::validate(&arguments, session),
        Some(Command::Finish(arguments)) => finish::finish(&arguments, session).await,
        Some(Command::Init(arguments)) => init::init(&arguments, session),
        Some(Command::Schema) => pipeline::schema(session),
        Some(Command::Pull(arguments)) => images::pull(&arguments, session).await,
        Some(Command::Verify(arguments)) => images::verify(&arguments, session).await,
        Some(Command::Cache { command }) => cache_command(command, cli.talk.format, session).await,
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shipgate", &mut script);
            session.data(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::Done)
        }
    }
}

async fn cache_command(
    command: CacheCommand,
    format: Format,
    session: &Session,
) -> Result<ExitCode, Failure> {
    match command {
        CacheCommand::Export(arguments) => cache_out::export(&arguments, format, session).await,
        CacheCommand::Gc(arguments) => cache::gc(&arguments, format, session).await,
        CacheCommand::Key(arguments) => cache::key(&arguments, session),
        CacheCommand::Ls(arguments) => cache::ls(&arguments, format, session),
        CacheCommand::Rm(arguments) => cache::rm(&arguments, format, session).await,
        CacheCommand::Serve(arguments) => cache_out::serve(&arguments, format, session).await,
        CacheCommand::Verify(arguments) => cache::verify(&arguments, format, session),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_recognised_and_a_pipeline_is_none() {
        assert_eq!(meant(Some("valdate")).as_deref(), Some("validate"));
        assert_eq!(meant(Some("plna")).as_deref(), Some("plan"));
        for word in ["validate", "plan.yml", "./plna", "--help", "web"] {
            assert_eq!(meant(Some(word)), None, "{word}");
        }
    }
}
