//! The launcher's command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

use crate::network::Grant;

/// Runs the shipgate component in wasmtime, with no more than it is granted.
#[derive(Debug, Parser)]
#[command(version, about, after_help = AFTER_HELP)]
pub struct Arguments {
    /// The component; by default `shipgate.wasm` beside this program.
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,

    /// Lets it connect to this host and port; may be repeated. Without any it has no network.
    #[arg(long = "allow-host", value_name = "HOST:PORT")]
    pub hosts: Vec<Grant>,

    /// Gives it this folder, under the same or another name, read-only with `:ro`; may be
    /// repeated.
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]")]
    pub folders: Vec<Folder>,

    /// Gives it this variable, if it is set; may be repeated.
    #[arg(long = "env", value_name = "NAME", value_parser = variable)]
    pub variables: Vec<String>,

    /// What the component gets as its command line.
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<String>,
}

const AFTER_HELP: &str = "\
The component gets these arguments, hosts, folders and variables, and the launcher's standard
streams; its exit code becomes the launcher's.

Not enforced yet: a grant by name holds for the addresses that the name resolves to, whatever host
name the component then speaks to there; with any grant, the component may look up any name; time
and memory are not limited.";

/// A folder of this machine, and what the component may do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The folder here.
    pub host: PathBuf,
    /// Its name in there.
    pub guest: String,
    /// Whether nothing in it may change.
    pub read_only: bool,
}

impl FromStr for Folder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (paths, read_only) = match text.strip_suffix(":ro") {
            Some(paths) => (paths, true),
            None => (text, false),
        };
        let (host, guest) = paths.split_once("::").unwrap_or((paths, paths));
        if host.is_empty() || guest.is_empty() {
            return Err("write FOLDER, FOLDER::NAME, or either with :ro".to_owned());
        }
        Ok(Self {
            host: host.into(),
            guest: guest.to_owned(),
            read_only,
        })
    }
}

fn variable(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("write the variable's name alone: its value is taken from here".to_owned());
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(host: &str, guest: &str, read_only: bool) -> Folder {
        Folder {
            host: host.into(),
            guest: guest.to_owned(),
            read_only,
        }
    }

    #[test]
    fn folders_are_parsed() {
        assert_eq!(".".parse(), Ok(folder(".", ".", false)));
        assert_eq!("/a:ro".parse(), Ok(folder("/a", "/a", true)));
        assert_eq!("/a::b".parse(), Ok(folder("/a", "b", false)));
        assert_eq!("/a::/b:ro".parse(), Ok(folder("/a", "/b", true)));
        for bad in ["", "::b", "a::", ":ro"] {
            assert!(bad.parse::<Folder>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_follows_the_dashes_is_the_components() {
        let arguments = Arguments::parse_from([
            "shipgate-wasm",
            "--env",
            "A",
            "--allow-host",
            "a:1",
            "--",
            "plan",
            "--env",
            "-x",
        ]);
        assert_eq!(arguments.arguments, ["plan", "--env", "-x"]);
        assert_eq!(arguments.variables, ["A"]);
    }

    #[test]
    fn a_variable_is_named_without_a_value() {
        assert!(Arguments::try_parse_from(["shipgate-wasm", "--env", "A=b"]).is_err());
    }
}
