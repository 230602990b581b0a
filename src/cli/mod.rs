//! The command line: the only place that reads variables, the home folder and the clock,
//! and that writes to a terminal.

pub mod args;
pub mod init;
