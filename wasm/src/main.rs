//! The launcher: runs the shipgate component with what the pipeline needs, and nothing else.
//!
//! The document is read by shipgate's own library, in this process; what `plan` would list is what the
//! component gets. `docs/sandbox.md` says what is enforced and what is not.

mod arguments;
mod artifact;
mod bounds;
mod cage;
mod compiled;
mod component;
mod describe;
mod directories;
mod egress;
mod evidence;
mod exit;
mod failure;
mod files;
mod filter;
mod folder;
mod guard;
mod hasher;
mod interface;
mod launch;
mod loading;
mod network;
mod outlet;
mod output;
mod paths;
mod policies;
mod record;
mod refusals;
mod sealed;
mod shelf;
mod sink;
mod source;
mod stage;
mod stale;
mod table;
mod trust;

use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::parse(std::env::args_os()) {
        Ok(line) => ExitCode::from(launch::launch(line)),
        Err(error) => {
            // Help that nobody reads is no failure.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 })
        }
    }
}
