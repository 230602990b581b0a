//! From the command line to an exit code.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::process;

use clap::{CommandFactory, Parser};

use super::args::{CacheCommand, Cli, Command, Format, TalkArgs};
use super::environment::Environment;
use super::session::Session;
use super::terminal::Terminal;
use super::{exit, finish, images, init, ls, pipeline, runtime};
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::inert::inert_lines;

/// Does what the command line asks for.
#[must_use]
pub fn main() -> process::ExitCode {
    let environment = Environment::of_process();
    let terminal = Terminal::detect(&environment);
    let exit = match Cli::try_parse() {
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
                ExitCode::Usage
            } else {
                ExitCode::Done
            }
        }
    };
    exit::report(exit.code());
    process::ExitCode::from(exit.code())
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

fn obey(cli: Cli, environment: Environment) -> ExitCode {
    let mut session = Session::new(&talk(&cli), environment);
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
    match done {
        Ok(ExitCode::Done) if finished.is_err() => ExitCode::Unexpected,
        Ok(exit) => exit,
        Err(failure) => {
            session.printer.failure(&failure);
            failure.exit
        }
    }
}

/// Returns how a command talks: what prints one JSON document leaves no room for events beside it.
fn talk(cli: &Cli) -> TalkArgs {
    let mut talk = cli.talk.clone();
    if let Some(Command::Plan(_) | Command::Cache { .. }) = cli.command
        && talk.format == Format::Json
    {
        talk.format = Format::Plain;
    }
    talk
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
        Some(Command::Cache {
            command: CacheCommand::Ls(arguments),
        }) => ls::ls(&arguments, cli.talk.format, session),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "shipgate", &mut script);
            session.data(&String::from_utf8_lossy(&script))?;
            Ok(ExitCode::Done)
        }
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
