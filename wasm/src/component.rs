//! Runs a component in its cage, to its end or to one of its bounds.

use std::future::Future;
use std::path::Path;
use std::thread;
use std::time::Duration;

use shipgate::cli::hosted::{CANCEL, FOLDER, LISTENING};
use shipgate::engine::{Cancel, Urgency};
use shipgate::failure::Failure;
use tokio::time::{sleep, timeout};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bounds::{self, Bounds, Counted, MemoryMeter, Output};
use crate::cage::Cage;
use crate::egress::Egress;
use crate::hasher::Hashing;
use crate::interface::{self, Granted, InterfaceView};
use crate::sink::Sinks;
use crate::stage::Stage;
use crate::{failure, files, network, refusals};

/// How long a component may take to end once it was asked to: `finally` has 8 s of it, and GitHub
/// kills after 10 s.
const PATIENCE: Duration = Duration::from_millis(9000);

/// The things of WASI that a component may hold at once: files, sockets, streams.
const RESOURCES: usize = 10_000;

/// What a component is run with.
pub struct Run<'a> {
    /// The component.
    pub component: &'a Component,
    /// Its file, for messages.
    pub path: &'a Path,
    /// What it gets.
    pub cage: &'a Cage,
    /// Its only way out.
    pub egress: &'a Egress,
    /// The files that are filled out here.
    pub sinks: Sinks,
    /// Its private folder.
    pub stage: &'a Stage,
    /// How much it may use.
    pub bounds: Bounds,
    /// Its command line, its own name left out.
    pub arguments: Vec<String>,
    /// Where its standard input comes from.
    pub stdin: Stdin,
    /// Raised by signals.
    pub cancel: Cancel,
}

/// Where a component's standard input comes from.
pub enum Stdin {
    /// From the launcher's.
    Inherited,
    /// From a text that was read from it already.
    Text(String),
    /// It is empty.
    Nothing,
}

/// Makes the engine that compiles and runs components.
///
/// # Errors
/// The processor is none that code can be made for.
pub fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    // A component that never waits is interrupted all the same.
    config.epoch_interruption(true);
    // What only debuggers and backtraces need is a sixth of the compiled code, which is read at every start.
    config.generate_address_map(false);
    config.native_unwind_info(false);
    config.wasm_backtrace_max_frames(None);
    Engine::new(&config)
}

/// Runs a component, and says whether it called its end a success.
///
/// It has a thread to itself, with its own input and output: were they those of the launcher's runtime, each
/// wait for a socket would end with one thread waking another.
///
/// # Errors
/// It could not be started, or did not end by itself.
pub async fn run(run: Run<'_>) -> Result<bool, Failure> {
    let ticker = tokio::spawn(bounds::tick(run.component.engine().clone()));
    let alone = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failure::host)?;
        let ended = runtime.block_on(alone(&run));
        // A thread of its own may still wait for standard input.
        runtime.shutdown_background();
        ended
    };
    // The launcher itself has nothing to do until it ends; what it does besides, its runtime does.
    let ended = thread::scope(|scope| {
        let thread = thread::Builder::new().name("component".into());
        let thread = thread.spawn_scoped(scope, alone).map_err(failure::host)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(failure::host("the component's thread was stopped")))
    });
    ticker.abort();
    ended
}

async fn alone(run: &Run<'_>) -> Result<bool, Failure> {
    let engine = run.component.engine().clone();
    let output = Output::new(run.bounds.output);
    let mut context = context(run, &output)?;
    network::apply(&mut context, run.egress);
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES);
    let state = State {
        context: context.build(),
        table,
        memory: MemoryMeter::new(run.bounds.memory),
        granted: Granted::new(&run.cage.folders),
        hashing: Hashing::new(),
        sinks: run.sinks.clone(),
    };
    let mut store = Store::new(&engine, state);
    store.limiter(|state| &mut state.memory);
    store.epoch_deadline_async_yield_and_update(1);
    let ended = tokio::select! {
        ended = execute(&mut store, run) => ended,
        () = sleep(run.bounds.time) => Err(failure::time(run.bounds.time)),
        () = unheard(run) => Err(failure::deaf(PATIENCE)),
    };
    // Which bound was hit is known better here than by the trap that it caused.
    if store.data().memory.exceeded {
        return Err(failure::memory(run.bounds.memory));
    }
    if output.is_exceeded() {
        return Err(failure::output(run.bounds.output));
    }
    ended
}

async fn execute(store: &mut Store<State>, run: &Run<'_>) -> Result<bool, Failure> {
    let mut linker = Linker::new(run.component.engine());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failure::host)?;
    files::add_to_linker(&mut linker).map_err(failure::host)?;
    refusals::add_to_linker(&mut linker, &run.egress.teller()).map_err(failure::host)?;
    interface::add_to_linker::<State>(&mut linker, |state| InterfaceView {
        granted: &state.granted,
        hashing: &state.hashing,
        sinks: &state.sinks,
        context: &mut state.context,
        table: &mut state.table,
    })
    .map_err(failure::host)?;
    let command = Command::instantiate_async(&mut *store, run.component, &linker)
        .await
        .map_err(|error| failure::instantiate(run.path, &error))?;
    match command.wasi_cli_run().call_run(&mut *store).await {
        Ok(result) => Ok(result.is_ok()),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(code)) => Ok(*code == 0),
            None => Err(failure::trap(&error)),
        },
    }
}

/// Passes the wish to end on to the component, and comes back when it had time enough to heed it.
///
/// One that does not listen has nothing to clean up: it is ended at once, as its native twin is by
/// the signal.
async fn unheard(run: &Run<'_>) {
    let private = run.stage.private();
    run.cancel.reached(Urgency::Cancel).await;
    if !private.join(LISTENING).exists() {
        return;
    }
    // Where the word can't be written it isn't heard either, and the time runs all the same.
    let _ = std::fs::write(private.join(CANCEL), "cancel");
    let abort = async {
        run.cancel.reached(Urgency::Abort).await;
        let part = private.join("abort.part");
        let _ = std::fs::write(&part, "abort");
        let _ = std::fs::rename(part, private.join(CANCEL));
        std::future::pending::<()>().await;
    };
    let _ = patient(abort).await;
}

async fn patient(work: impl Future<Output = ()>) -> bool {
    timeout(PATIENCE, work).await.is_ok()
}

struct State {
    context: WasiCtx,
    table: ResourceTable,
    memory: MemoryMeter,
    granted: Granted,
    hashing: Hashing,
    sinks: Sinks,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

fn context(run: &Run<'_>, output: &std::sync::Arc<Output>) -> Result<WasiCtxBuilder, Failure> {
    let mut context = WasiCtxBuilder::new();
    // One component and one thread: handing each file operation to another thread only costs.
    context.allow_blocking_current_thread(true);
    context
        .stdout(Counted::stdout(output))
        .stderr(Counted::stderr(output));
    match &run.stdin {
        Stdin::Inherited => {
            context.inherit_stdin();
        }
        Stdin::Text(text) => {
            context.stdin(MemoryInputPipe::new(text.clone()));
        }
        Stdin::Nothing => {}
    }
    context.arg("shipgate").args(&run.arguments);
    for (name, value) in run.cage.values()? {
        context.env(name, value);
    }
    let tree = if run.stage.is_written() {
        FsPerms::ReadWrite
    } else {
        FsPerms::ReadOnly
    };
    context
        .preopened_dir(run.stage.root(), "/", tree)
        .map_err(failure::host)?;
    for mount in &run.cage.folders {
        let permissions = if mount.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        for guest in &mount.guests {
            context
                .preopened_dir(&mount.host, guest, permissions)
                .map_err(|error| failure::folder(&mount.host, error))?;
        }
    }
    context
        .preopened_dir(run.stage.private(), FOLDER, FsPerms::ReadWrite)
        .map_err(failure::host)?;
    Ok(context)
}
