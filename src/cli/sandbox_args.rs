//! The flags of `--sandbox`: the same for `shipgate run` and for the launcher.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::pipeline::convert::FromScalar;
use crate::pipeline::scalar::Size;
use crate::sandbox::given::variable;
use crate::sandbox::policy::Deny;
use crate::sandbox::{Component, Folder, Host};

/// How a pipeline runs in the sandbox.
#[derive(Args, Clone, Debug, Default, Eq, PartialEq)]
#[command(next_help_heading = "Sandbox (docs/sandbox.md)")]
pub struct SandboxArgs {
    /// Run as a WebAssembly component that may touch only what `plan` lists.
    #[arg(long)]
    pub sandbox: bool,
    /// The launcher [default: shipgate-wasm beside this program, or on the search path].
    #[arg(long, value_name = "FILE")]
    pub launcher: Option<PathBuf>,
    /// The component: a file, or `oci://HOST/REPOSITORY@sha256:…` [default: shipgate-hosted.wasm or shipgate.wasm beside
    /// the launcher].
    #[arg(long, value_name = "FILE|oci://…")]
    pub component: Option<Component>,
    /// Run a component from a registry only if it is signed as this file asks
    /// [default: ~/.config/shipgate-wasm/trust.yml, if it is there].
    #[arg(long, value_name = "FILE")]
    pub component_trust: Option<PathBuf>,
    /// Refuse a component for which no such file says who must have signed it.
    #[arg(long)]
    pub require_component_trust: bool,
    /// Cap the grants by a policy; may be repeated, and each must allow a grant.
    #[arg(long, value_name = "FILE")]
    pub policy: Vec<PathBuf>,
    /// Refuse a pipeline that needs this: `connect:HOST[:PORT]`, `read:PATH`, `write:PATH`, `variable:NAME`.
    #[arg(long, value_name = "KIND:PATTERN")]
    pub deny: Vec<Deny>,
    /// Grant a host and port besides.
    #[arg(long = "allow-host", value_name = "HOST:PORT")]
    pub hosts: Vec<Host>,
    /// Grant a folder besides, under the same or another name, read-only with `:ro`.
    #[arg(long = "dir", value_name = "FOLDER[::NAME][:ro]")]
    pub folders: Vec<Folder>,
    /// Grant a variable besides, if it is set.
    #[arg(long = "env", value_name = "NAME", value_parser = variable)]
    pub variables: Vec<String>,
    /// The most memory that the component may have [default: 1GiB].
    #[arg(long, value_name = "SIZE", value_parser = scalar::<Size>)]
    pub max_memory: Option<Size>,
    /// The longest time that it may run [default: the timeouts of its steps together].
    #[arg(long, value_name = "DURATION", value_parser = scalar::<Duration>)]
    pub max_time: Option<Duration>,
    /// The most that it may print [default: 64MiB].
    #[arg(long, value_name = "SIZE", value_parser = scalar::<Size>)]
    pub max_output: Option<Size>,
}

impl SandboxArgs {
    /// Returns the first flag that would have no effect since `--sandbox` is missing.
    #[must_use]
    pub fn idle(&self) -> Option<&'static str> {
        if self.sandbox {
            return None;
        }
        let given = [
            ("--launcher", self.launcher.is_some()),
            ("--component", self.component.is_some()),
            ("--component-trust", self.component_trust.is_some()),
            ("--require-component-trust", self.require_component_trust),
            ("--policy", !self.policy.is_empty()),
            ("--deny", !self.deny.is_empty()),
            ("--allow-host", !self.hosts.is_empty()),
            ("--dir", !self.folders.is_empty()),
            ("--env", !self.variables.is_empty()),
            ("--max-memory", self.max_memory.is_some()),
            ("--max-time", self.max_time.is_some()),
            ("--max-output", self.max_output.is_some()),
        ];
        let idle = given.into_iter().find(|(_, given)| *given);
        idle.map(|(flag, _)| flag)
    }
}

/// Reads a value as documents write it: `512MiB`, `1h30m`.
fn scalar<T: FromScalar>(text: &str) -> Result<T, String> {
    T::parse(text).map_err(|problem| match problem.suggestion {
        Some(meant) => format!("{}; did you mean `{meant}`?", problem.cause),
        None => problem.cause,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        sandbox: SandboxArgs,
    }

    fn parse(arguments: &[&str]) -> SandboxArgs {
        let line = std::iter::once(&"x").chain(arguments);
        Line::try_parse_from(line).unwrap().sandbox
    }

    #[test]
    fn every_flag_is_idle_without_the_sandbox() {
        for flags in [
            ["--launcher", "a"],
            ["--component", "a"],
            ["--component-trust", "a"],
            ["--policy", "a"],
            ["--deny", "connect:a"],
            ["--allow-host", "a:1"],
            ["--dir", "a"],
            ["--env", "A"],
            ["--max-memory", "1GiB"],
            ["--max-time", "1h"],
            ["--max-output", "1KiB"],
        ] {
            assert_eq!(parse(&flags).idle(), Some(flags[0]));
            let with = [&flags[..], &["--sandbox"]].concat();
            assert_eq!(parse(&with).idle(), None);
        }
        let required = ["--require-component-trust"];
        assert_eq!(parse(&required).idle(), Some(required[0]));
        assert_eq!(parse(&[]).idle(), None);
    }
}
