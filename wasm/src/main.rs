//! The launcher: runs the shipgate component with the hosts, folders and variables it is granted,
//! and nothing else.

mod arguments;
mod component;
mod exit;
mod failure;
mod network;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match component::run(arguments::Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}
