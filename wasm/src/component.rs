//! Runs a component in its cage, to its end or to one of its bounds.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use shipgate::cli::hosted::{ANSWERS, CANCEL, FOLDER, LISTENING};
use shipgate::engine::{Cancel, Urgency};
use shipgate::failure::Failure;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::bindings::Command;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bounds::{self, Bounds, MemoryMeter};
use crate::cage::Cage;
use crate::egress::{Egress, Teller};
use crate::hasher::Hashing;
use crate::interface::{self, Granted, InterfaceView};
use crate::outlet::Stream;
use crate::output::{Output, Printed};
use crate::sink::Sinks;
use crate::stage::Stage;
use crate::{directories, failure, files, network, refusals};

/// How long a component may take to end once it was asked to: `finally` has 8 s of it, and GitHub
/// kills after 10 s.
const PATIENCE: Duration = Duration::from_millis(9000);

/// How long it may take to end when it was stopped, before it is left behind.
const GRACE: Duration = Duration::from_secs(1);

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
    /// From what was read from it already.
    Given(Vec<u8>),
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
/// wait for a socket would end with one thread waking another. That thread may stand still for good, in a call to a disk
/// that does not answer: so time and signals are watched here, and nobody waits for it.
///
/// # Errors
/// It could not be started, or did not end by itself.
pub async fn run(run: Run<'_>) -> Result<bool, Failure> {
    let output = Output::new(run.bounds.output);
    let mut context = context(&run, &output)?;
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
        teller: run.egress.teller(),
    };
    let ticker = tokio::spawn(bounds::tick(run.component.engine().clone()));
    let (stop, stopped) = oneshot::channel();
    let mut ended = alone(&run, state, stopped)?;
    let by_itself = async {
        let ended = (&mut ended).await;
        output.end().await;
        ended.unwrap_or_else(|_| Err(failure::host("the component's thread was stopped")))
    };
    let done = tokio::select! {
        done = by_itself => done,
        () = sleep(run.bounds.time) => Err(failure::time(run.bounds.time)),
        failure = unheard(&run) => Err(failure),
    };
    drop(stop);
    // What it printed last may say why, and the files that it has open are better closed.
    let _ = timeout(GRACE, async {
        if !ended.is_terminated() {
            let _ = (&mut ended).await;
        }
        output.end().await;
    })
    .await;
    ticker.abort();
    if output.is_exceeded() {
        return Err(failure::output(run.bounds.output));
    }
    done
}

/// Starts a component on a thread of its own, and returns how it ends. Once `stopped` is told, it ends as soon as it
/// can.
fn alone(
    run: &Run<'_>,
    state: State,
    stopped: oneshot::Receiver<()>,
) -> Result<oneshot::Receiver<Result<bool, Failure>>, Failure> {
    let (component, path) = (run.component.clone(), run.path.to_owned());
    let (memory, teller) = (run.bounds.memory, run.egress.teller());
    let (tell, ended) = oneshot::channel();
    let mut store = Store::new(run.component.engine(), state);
    let work = move || {
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_async_yield_and_update(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return drop(tell.send(Err(failure::host(error)))),
        };
        let ended = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stopped => Err(failure::host("the component was stopped")),
                ended = execute(&mut store, &component, &path, &teller) => ended,
            }
        });
        // Which bound was hit is known better here than by the trap that it caused.
        let ended = match store.data().memory.exceeded {
            true => Err(failure::memory(memory)),
            false => ended,
        };
        // What it had open is closed when it is said to have ended.
        drop(store);
        // A thread of its own may still wait for standard input.
        runtime.shutdown_background();
        let _ = tell.send(ended);
    };
    let thread = thread::Builder::new().name("component".into());
    thread.spawn(work).map_err(failure::host)?;
    Ok(ended)
}

async fn execute(
    store: &mut Store<State>,
    component: &Component,
    path: &Path,
    teller: &Arc<Teller>,
) -> Result<bool, Failure> {
    let mut linker = Linker::new(component.engine());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(failure::host)?;
    files::add_to_linker(&mut linker).map_err(failure::host)?;
    directories::add_to_linker(&mut linker).map_err(failure::host)?;
    refusals::add_to_linker(&mut linker, teller).map_err(failure::host)?;
    interface::add_to_linker::<State>(&mut linker, |state| InterfaceView {
        granted: &state.granted,
        hashing: &state.hashing,
        sinks: &state.sinks,
        teller: &state.teller,
        context: &mut state.context,
        table: &mut state.table,
    })
    .map_err(failure::host)?;
    let command = Command::instantiate_async(&mut *store, component, &linker)
        .await
        .map_err(|error| failure::instantiate(path, &error))?;
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
async fn unheard(run: &Run<'_>) -> Failure {
    run.cancel.reached(Urgency::Cancel).await;
    // Whatever it is: it is not followed.
    if run
        .stage
        .answers()
        .join(LISTENING)
        .symlink_metadata()
        .is_err()
    {
        return failure::unheeding();
    }
    let messages = run.stage.messages();
    // Where the word can't be written it isn't heard either, and the time runs all the same.
    let _ = std::fs::write(messages.join(CANCEL), "cancel");
    let abort = async {
        run.cancel.reached(Urgency::Abort).await;
        let part = messages.join("abort.part");
        let _ = std::fs::write(&part, "abort");
        let _ = std::fs::rename(part, messages.join(CANCEL));
        std::future::pending().await
    };
    tokio::select! {
        () = sleep(PATIENCE) => failure::deaf(PATIENCE),
        failure = abort => failure,
    }
}

struct State {
    context: WasiCtx,
    table: ResourceTable,
    memory: MemoryMeter,
    granted: Granted,
    hashing: Hashing,
    sinks: Sinks,
    teller: Arc<Teller>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

fn context(run: &Run<'_>, output: &Arc<Output>) -> Result<WasiCtxBuilder, Failure> {
    let mut context = WasiCtxBuilder::new();
    // One component and one thread: handing each file operation to another thread only costs.
    context.allow_blocking_current_thread(true);
    context
        .stdout(Printed::on(Stream::Standard, output))
        .stderr(Printed::on(Stream::Error, output));
    match &run.stdin {
        Stdin::Inherited => {
            context.inherit_stdin();
        }
        Stdin::Given(bytes) => {
            context.stdin(MemoryInputPipe::new(bytes.clone()));
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
    for (folder, name, permissions) in [
        (run.stage.messages(), FOLDER, FsPerms::ReadOnly),
        (run.stage.answers(), ANSWERS, FsPerms::ReadWrite),
    ] {
        context
            .preopened_dir(folder, name, permissions)
            .map_err(failure::host)?;
    }
    Ok(context)
}
