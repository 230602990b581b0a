//! One command from its begin to its last line: who listens, who may interrupt, what is written at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::args::TalkArgs;
use super::environment::Environment;
use super::printer::{Decision, Form, Printer};
use super::reports::Preparation;
use super::signals;
use super::terminal::Terminal;
use crate::engine::cancel::Cancel;
use crate::engine::plan::place;
use crate::engine::run::run;
use crate::engine::task::{Task, Tasks};
use crate::engine::world::{Context, World};
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::event::{HostRequests, StepLine};
use crate::report::fanout::SharedSummary;
use crate::report::{Consumer as _, Detail, Emitter, Fanout, Mask, NoMask, Report};

/// What every command has: the environment, a voice, ears and a brake.
pub struct Session {
    /// The environment.
    pub environment: Environment,
    /// The one outlet.
    pub printer: Arc<Printer>,
    /// Tells what happens.
    pub events: Emitter,
    /// Raised by signals.
    pub cancel: Cancel,
    /// What the document's mistakes, already told, lead to.
    pub(super) refusal: ExitCode,
    /// What the report says that no event told.
    pub(super) preparation: Preparation,
    summary: Arc<SharedSummary>,
    mask: Arc<dyn Mask>,
}

impl Session {
    /// Starts to listen for events. Signals are listened for from [`Session::mind_signals`] on.
    #[must_use]
    pub fn new(talk: &TalkArgs, environment: Environment) -> Self {
        let terminal = Terminal::detect(|name| environment.variable(name));
        let roots = environment.roots();
        let files = Arc::new(move |file: &str| roots.file_of_project(file));
        let printer = Arc::new(Printer::new(Decision::new(talk, &terminal), files));
        let summary = Arc::new(SharedSummary::default());
        let listeners = Fanout::new().with(printer.clone()).with(summary.clone());
        let preparation = Preparation {
            began: environment.clock.now().to_string(),
            ..Preparation::default()
        };
        Self {
            environment,
            printer,
            events: Emitter::new(listeners.into_sink()),
            cancel: Cancel::new(),
            refusal: ExitCode::Done,
            preparation,
            summary,
            mask: Arc::new(NoMask),
        }
    }

    /// Lets signals cancel what runs from here on.
    ///
    /// # Errors
    /// The system takes no handlers.
    pub fn mind_signals(&self) -> Result<(), Failure> {
        signals::listen(self.cancel.clone()).map_err(|error| {
            Failure::new(ExitCode::Unexpected, "signals can't be listened for")
                .caused_by(error.to_string())
        })
    }

    /// Masks secrets in everything that is printed or written from here on.
    pub fn mask(&mut self, mask: Arc<dyn Mask>) {
        self.printer.set_mask(mask.clone());
        self.mask = mask;
    }

    /// Returns the context of steps in a world.
    #[must_use]
    pub fn context(&self, world: World) -> Context {
        Context {
            events: self.events.clone(),
            cancel: self.cancel.clone(),
            world: Arc::new(World {
                mask: self.mask.clone(),
                ..world
            }),
        }
    }

    /// Runs tasks, tells their beginning and end, and returns the exit code that they earned.
    pub async fn run(&self, tasks: &Tasks, selected: &[bool], context: &Context) -> ExitCode {
        self.events.emit(Detail::RunStarted {
            name: context.world.run.pipeline.clone(),
            run: context.world.run.id.clone(),
            file: context.world.run.file.clone(),
            at: self.environment.clock.now().to_string(),
            steps: lines(tasks),
        });
        let exit = tokio::select! {
            exit = run(tasks, selected, context) => exit,
            () = self.printer.keep_ticking(&self.events) => ExitCode::Unexpected,
        };
        self.events.emit(Detail::RequestsCounted {
            hosts: requests(context),
        });
        let first = context.world.state.first_failure();
        self.events.emit(Detail::RunFinished {
            exit,
            reason: first.map(|first| first.failure.summary()),
        });
        exit
    }

    /// Returns an emitter for a rehearsal: waits and warnings are told; images are put into the report alone,
    /// since the plan itself says what was found.
    #[must_use]
    pub fn rehearsal_events(&self) -> Emitter {
        let waits = self.events.of_waits();
        let summary = Arc::clone(&self.summary);
        waits.hearing(move |event| {
            if matches!(event.detail, Detail::ImageResolved { .. }) {
                summary.event(event);
            }
        })
    }

    /// Returns the report of all events so far.
    #[must_use]
    pub fn heard(&self) -> Report {
        self.summary.report()
    }

    /// Returns the mask of whatever leaves the program.
    #[must_use]
    pub fn masked(&self) -> &dyn Mask {
        &*self.mask
    }

    /// Says whether data is printed: a stream of events leaves no room for it.
    #[must_use]
    pub fn prints_data(&self) -> bool {
        self.printer.decision().form != Form::Json
    }

    /// Prints data.
    ///
    /// # Errors
    /// Standard output can't be written, on a full disk for instance.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        self.printer.data(text).map_err(unwritten)
    }

    /// Prints JSON.
    ///
    /// # Errors
    /// As [`Session::data`].
    pub fn json(&self, text: &str) -> Result<(), Failure> {
        self.printer.json(text).map_err(unwritten)
    }
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(ExitCode::Unexpected, "standard output can't be written")
        .caused_by(error.to_string())
}

/// Sums up the requests of a run by host and port.
fn requests(context: &Context) -> Vec<HostRequests> {
    let mut hosts: BTreeMap<String, HostRequests> = BTreeMap::new();
    for record in context.world.http.log().records() {
        let host = place(&record.url);
        let sum = hosts.entry(host.clone()).or_insert(HostRequests {
            host,
            requests: 0,
            failed: 0,
            received: 0,
        });
        sum.requests += 1;
        sum.failed += u64::from(
            record.error.is_some()
                || record
                    .status
                    .is_none_or(|status| status >= 500 || status == 429),
        );
        sum.received += record.body_bytes;
    }
    hosts.into_values().collect()
}

fn lines(tasks: &Tasks) -> Vec<StepLine> {
    let lists = [
        ("steps", &tasks.steps),
        ("on-failure", &tasks.on_failure),
        ("finally", &tasks.finally),
    ];
    let line = |list: &'static str| {
        move |task: &Task| StepLine {
            id: task.id.clone(),
            verb: task.action.verb().to_owned(),
            list: list.to_owned(),
            line: task.line,
        }
    };
    lists
        .into_iter()
        .flat_map(|(list, tasks)| tasks.iter().map(line(list)))
        .collect()
}
