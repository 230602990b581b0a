//! The command line: the only place that reads variables, the home folder and the clock,
//! and that writes to a terminal.

pub mod args;
pub mod environment;
pub mod init;
pub mod printer;
#[cfg_attr(unix, path = "signals_unix.rs")]
#[cfg_attr(windows, path = "signals_windows.rs")]
#[cfg_attr(target_family = "wasm", path = "signals_wasi.rs")]
pub mod signals;
pub mod terminal;
