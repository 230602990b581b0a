//! The command line: the only place that reads variables, the home folder and the clock,
//! and that writes to a terminal.

mod app;
pub mod args;
mod cache;
mod cache_out;
mod claims;
pub mod clients;
pub mod derive;
mod document;
pub mod environment;
pub mod finish;
#[cfg_attr(not(target_family = "wasm"), path = "handover_native.rs")]
#[cfg_attr(target_family = "wasm", path = "handover_wasi.rs")]
mod handover;
#[cfg_attr(not(target_family = "wasm"), path = "host_native.rs")]
#[cfg_attr(target_family = "wasm", path = "host_wasi.rs")]
mod host;
pub mod hosted;
mod images;
pub mod init;
pub mod journal;
mod lock;
mod logins;
#[cfg_attr(not(target_family = "wasm"), path = "machine_native.rs")]
#[cfg_attr(target_family = "wasm", path = "machine_wasi.rs")]
pub mod machine;
mod mirrors;
mod notary;
mod opened;
pub mod outputs;
mod pipeline;
mod playground;
pub mod printer;
pub mod reports;
#[cfg_attr(not(target_family = "wasm"), path = "runtime_native.rs")]
#[cfg_attr(target_family = "wasm", path = "runtime_wasi.rs")]
mod runtime;
pub mod sandbox_args;
pub mod session;
pub mod setting;
#[cfg_attr(unix, path = "signals_unix.rs")]
#[cfg_attr(windows, path = "signals_windows.rs")]
#[cfg_attr(target_family = "wasm", path = "signals_wasi.rs")]
pub mod signals;
#[cfg_attr(unix, path = "streams_unix.rs")]
#[cfg_attr(windows, path = "streams_windows.rs")]
#[cfg_attr(target_family = "wasm", path = "streams_wasi.rs")]
mod streams;
pub mod terminal;
pub mod ways;

pub use app::main;
