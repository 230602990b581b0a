//! The launcher's command line: shipgate's own, or any command of the component behind ` -- `.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use shipgate::cli::args::{Cli, TalkArgs};
use shipgate::cli::sandbox_args::SandboxArgs;

/// What is asked for.
#[derive(Debug)]
pub enum Line {
    /// A command of shipgate, whose grants are derived, and the words of it.
    Command(Box<Cli>, Vec<OsString>),
    /// A component is to be described.
    Describe(Box<Describe>),
    /// Any command, with the grants that are given by hand and no others.
    Raw(Box<Raw>),
}

/// A command whose grants are all given by hand.
#[derive(Debug, Parser)]
pub struct Raw {
    /// The grants.
    #[command(flatten)]
    pub sandbox: SandboxArgs,
    /// How the launcher talks.
    #[command(flatten)]
    pub talk: TalkArgs,
    /// What the component gets as its command line.
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

/// Prints the config of a component, for the artifact that it is in a registry.
#[derive(Debug, Parser)]
#[command(name = "shipgate-wasm describe", bin_name = "shipgate-wasm describe")]
pub struct Describe {
    /// The component.
    #[arg(value_name = "FILE")]
    pub component: PathBuf,
    /// How the launcher talks.
    #[command(flatten)]
    pub talk: TalkArgs,
}

/// Reads the command line of a process.
///
/// # Errors
/// What clap has to say, help and version among it.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Line, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    if words.get(1).is_some_and(|word| word == "describe") {
        let describe = Describe::try_parse_from(&words[1..])?;
        return Ok(Line::Describe(Box::new(describe)));
    }
    // `shipgate-wasm --allow-host … -- ARGS` names no command before the dashes.
    if words.iter().any(|word| word == "--")
        && let Ok(raw) = Raw::try_parse_from(&words)
    {
        return Ok(Line::Raw(Box::new(raw)));
    }
    let command = Cli::command()
        .name("shipgate-wasm")
        .bin_name("shipgate-wasm")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP);
    let matches = command.try_get_matches_from(&words)?;
    let cli = Cli::from_arg_matches(&matches)?;
    Ok(Line::Command(
        Box::new(cli),
        words.into_iter().skip(1).collect(),
    ))
}

const ABOUT: &str = "\
Runs a pipeline in the sandbox: a WebAssembly component that may touch what `plan` lists, and nothing else.";

const AFTER_HELP: &str = "\
`shipgate-wasm PIPELINE` is `shipgate run --sandbox PIPELINE`; `run`, `plan` and `validate` derive
their grants from the document. Any other command gets what is given by hand:
`shipgate-wasm --allow-host HOST:PORT --dir DIR --env NAME -- COMMAND …`.
`shipgate-wasm describe FILE` prints the config that a component has in a registry.
What is enforced, and what is not: docs/sandbox.md";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> Line {
        let words = ["shipgate-wasm"].iter().chain(words);
        parse(words.map(OsString::from)).unwrap()
    }

    #[test]
    fn what_follows_the_dashes_is_the_components() {
        let line = line(&[
            "--env",
            "A",
            "--allow-host",
            "a:1",
            "--",
            "plan",
            "--env",
            "-x",
        ]);
        let Line::Raw(raw) = line else {
            panic!("{line:?}");
        };
        assert_eq!(raw.arguments, ["plan", "--env", "-x"]);
        assert_eq!(raw.sandbox.variables, ["A"]);
    }

    #[test]
    fn a_command_before_the_dashes_is_a_command() {
        for words in [
            &["run", "--", "p.yml"][..],
            &["p.yml"],
            &["plan", "--sandbox", "--deny", "connect:a", "p.yml"],
        ] {
            let Line::Command(cli, rest) = line(words) else {
                panic!("{words:?}");
            };
            assert!(cli.sandbox().is_some());
            assert_eq!(rest, words);
        }
    }

    #[test]
    fn a_component_is_described() {
        let Line::Describe(describe) = line(&["describe", "a.wasm", "--quiet"]) else {
            panic!("not described");
        };
        assert_eq!(describe.component, PathBuf::from("a.wasm"));
        // A pipeline of that name has a path.
        assert!(matches!(line(&["./describe"]), Line::Command(..)));
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        for words in [
            &["run"][..],
            &["--nonsense"],
            &["p.yml", "--env", "A=b"],
            &["describe"],
        ] {
            let words = ["shipgate-wasm"].iter().chain(words);
            assert!(parse(words.map(OsString::from)).is_err());
        }
    }
}
