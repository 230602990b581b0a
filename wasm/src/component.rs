//! Compiles the component, gives it what is granted, and runs it to its end.

use std::env;
use std::path::{Path, PathBuf};

use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store, Trap};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::arguments::{Arguments, Folder};
use crate::exit;
use crate::failure::Failure;
use crate::network;

/// Runs the component and returns the exit code that it reported.
pub fn run(arguments: Arguments) -> Result<u8, Failure> {
    let path = component_path(arguments.component.clone())?;
    let bytes = std::fs::read(&path).map_err(|error| Failure::Component {
        path: path.clone(),
        cause: error.to_string(),
    })?;
    let engine = Engine::new(&Config::new()).map_err(host)?;
    let component = Component::new(&engine, &bytes).map_err(|error| Failure::Compile {
        path: path.clone(),
        cause: words(&error),
    })?;
    drop(bytes);

    let private = tempfile::tempdir().map_err(host)?;
    let context = context(arguments, &path, private.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(host)?;
    let succeeded = runtime.block_on(execute(&engine, &component, context, &path))?;
    Ok(exit::code(succeeded, exit::reported(private.path())))
}

async fn execute(
    engine: &Engine,
    component: &Component,
    context: WasiCtx,
    path: &Path,
) -> Result<bool, Failure> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(host)?;
    let mut store = Store::new(
        engine,
        State {
            context,
            table: ResourceTable::new(),
        },
    );
    let command = Command::instantiate_async(&mut store, component, &linker)
        .await
        .map_err(|error| Failure::Instantiate {
            path: path.to_owned(),
            cause: words(&error),
        })?;
    match command.wasi_cli_run().call_run(&mut store).await {
        Ok(result) => Ok(result.is_ok()),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code == 0),
            None => Err(Failure::Trap {
                cause: trap(&error),
            }),
        },
    }
}

struct State {
    context: WasiCtx,
    table: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

fn context(arguments: Arguments, path: &Path, private: &Path) -> Result<WasiCtx, Failure> {
    let mut context = WasiCtxBuilder::new();
    // One component and one thread: handing each file operation to another thread only costs.
    context.allow_blocking_current_thread(true).inherit_stdio();
    context.arg(
        path.file_stem()
            .map_or("shipgate".into(), |stem| stem.to_string_lossy()),
    );
    context.args(&arguments.arguments);
    for name in arguments.variables {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is where a variable is granted"
        )]
        let value = env::var(&name);
        match value {
            Ok(value) => {
                context.env(name, value);
            }
            Err(env::VarError::NotPresent) => {}
            Err(env::VarError::NotUnicode(_)) => return Err(Failure::Variable { name }),
        }
    }
    for Folder {
        host,
        guest,
        read_only,
    } in arguments.folders
    {
        let permissions = if read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        context
            .preopened_dir(&host, guest, permissions)
            .map_err(|error| Failure::Folder {
                path: host,
                cause: words(&error),
            })?;
    }
    context
        .preopened_dir(private, exit::GUEST_FOLDER, FsPerms::ReadWrite)
        .map_err(host)?;
    network::grant(&mut context, arguments.hosts);
    Ok(context.build())
}

fn component_path(named: Option<PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        return Ok(path);
    }
    let beside = env::current_exe()
        .ok()
        .map(|program| program.with_file_name("shipgate.wasm"));
    match beside {
        Some(path) if path.exists() => Ok(path),
        looked_at => Err(Failure::NoComponent { looked_at }),
    }
}

fn host(error: impl std::fmt::Display) -> Failure {
    Failure::Host {
        cause: format!("{error:#}"),
    }
}

/// Returns what stopped the component, without the list of its functions.
fn trap(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => trap.to_string(),
        None => words(error),
    }
}

/// Returns the error with its causes on one line.
fn words(error: &wasmtime::Error) -> String {
    let all = format!("{error:#}");
    all.split_whitespace().collect::<Vec<_>>().join(" ")
}
