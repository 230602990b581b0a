//! One command from its begin to its last line: who listens, who may interrupt, what is written at the end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::args::TalkArgs;
use super::clients::Parts;
use super::environment::Environment;
use super::host;
use super::hosted::Brief;
use super::journal::Keeper;
use super::printer::{Decision, Form, Printer};
use super::reports::Preparation;
use super::signals;
use super::terminal::Terminal;
use crate::engine::cancel::Cancel;
use crate::engine::plan::{place, quotas};
use crate::engine::run::{Stopped, resume, run};
use crate::engine::task::{Task, Tasks};
use crate::engine::world::{Context, State, World};
use crate::failure::Failure;
use crate::net::{HostTotals, RequestLog};
use crate::outcome::ExitCode;
use crate::pipeline::mask::Learned;
use crate::report::event::{HostRequests, StepLine};
use crate::report::fanout::SharedSummary;
use crate::report::{Consumer as _, Detail, Emitter, Event, Fanout, Mask, Report};

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
    /// What the launcher has to say, in the component.
    pub brief: Option<Brief>,
    /// Whether another process runs what this one reads, and tells the warnings about it.
    pub(super) is_reader: bool,
    /// What the document's mistakes, already told, lead to.
    pub(super) refusal: ExitCode,
    /// What the report says that no event told.
    pub(super) preparation: Preparation,
    /// Writes down what happens.
    pub(super) journal: Arc<Keeper>,
    summary: Arc<SharedSummary>,
    mask: Arc<dyn Mask>,
    /// The secrets that no document names: logins of this machine, and what they are exchanged for.
    pub(super) learned: Learned,
}

impl Session {
    /// Starts to listen for events. Signals are listened for from [`Session::mind_signals`] on.
    #[must_use]
    pub fn new(talk: &TalkArgs, environment: Environment) -> Self {
        let terminal = Terminal::detect(&environment);
        let roots = environment.roots();
        let files = Arc::new(move |file: &str| roots.file_of_project(file));
        let printer = Arc::new(Printer::new(Decision::new(talk, &terminal), files));
        let summary = Arc::new(SharedSummary::default());
        let journal = Arc::new(Keeper::default());
        // The journal first: what others are told of must be written down by then.
        let listeners = Fanout::new()
            .with(journal.clone())
            .with(printer.clone())
            .with(summary.clone());
        let preparation = Preparation {
            began: environment.clock.now().to_string(),
            ..Preparation::default()
        };
        let learned = Learned::default();
        let mask: Arc<dyn Mask> = Arc::new(learned.clone());
        printer.set_mask(mask.clone());
        Self {
            environment,
            printer,
            events: Emitter::new(listeners.into_sink()),
            cancel: Cancel::new(),
            brief: host::brief(),
            is_reader: false,
            refusal: ExitCode::Done,
            preparation,
            journal,
            summary,
            mask,
            learned,
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
        let mask = Arc::new(Masks(mask, self.learned.clone()));
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
            deadline: None,
        }
    }

    /// Makes the world of these parts, and returns the context of steps in it.
    ///
    /// # Errors
    /// As [`Parts::build`].
    pub fn world(&self, parts: Parts) -> Result<Context, Failure> {
        let world = parts.build(&self.environment, &self.events, self.brief.as_ref())?;
        Ok(self.context(world))
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
        for (image, reference, digest) in context.world.images.pinned() {
            self.events.emit(Detail::ImagePinned {
                image,
                reference,
                digest,
            });
        }
        let log = self.count_requests(context);
        let exit = self.minding(run(tasks, selected, context)).await;
        self.conclude(exit, asked(&log, context), &context.world.state);
        exit
    }

    /// Runs what a stopped run has left, tells its end, and returns the exit code of the whole run.
    pub async fn resume(
        &self,
        tasks: &Tasks,
        selected: &[bool],
        stopped: &Stopped,
        context: &Context,
    ) -> ExitCode {
        let log = self.count_requests(context);
        let exit = self
            .minding(resume(tasks, selected, stopped, context))
            .await;
        self.conclude(exit, asked(&log, context), &context.world.state);
        exit
    }

    /// Lets the journal say what is asked of the network, for whoever tells of this run if it is killed.
    fn count_requests(&self, context: &Context) -> RequestLog {
        let log = context.world.http.log().clone();
        let before = self.journal.course();
        let counted = log.clone();
        self.journal.count(move || {
            let before = before.requests().iter().cloned();
            sum(before.chain(requests(&counted)))
        });
        log
    }

    /// Tells the end of a run.
    pub fn conclude(&self, exit: ExitCode, asked: Vec<HostRequests>, state: &State) {
        let before = self.journal.course();
        let hosts = sum(before.requests().iter().cloned().chain(asked));
        self.events.emit(Detail::RequestsCounted { hosts });
        let first = state.first_failure();
        self.events.emit(Detail::RunFinished {
            exit,
            reason: first.map(|first| first.failure.summary()),
        });
    }

    /// Takes up another run, of which these events were told by another process. It began this long ago.
    pub fn take_up(&mut self, events: &[Event], ago: Duration) {
        self.journal.follow(events);
        self.printer.take_up(events);
        self.summary.restart(events);
        self.events = self.events.of_run_begun(ago);
    }

    /// Lets bars move and the journal show that the run goes on, while it does.
    async fn minding(&self, work: impl Future<Output = ExitCode>) -> ExitCode {
        tokio::select! {
            exit = work => exit,
            () = self.printer.keep_ticking(&self.events) => ExitCode::Unexpected,
            () = self.journal.keep_alive(&self.printer) => ExitCode::Unexpected,
        }
    }

    /// Returns an emitter for a rehearsal: waits and warnings are told; images are put into the report alone,
    /// since the plan itself says what was found.
    #[must_use]
    pub fn rehearsal_events(&self) -> Emitter {
        let waits = self.events.of_waits();
        let summary = Arc::clone(&self.summary);
        waits.hearing(move |event| {
            let kept = matches!(
                event.detail,
                Detail::ImageResolved { .. } | Detail::RegistryLogin { .. }
            );
            if kept {
                summary.event(event);
            }
        })
    }

    /// Returns the report of all events so far.
    #[must_use]
    pub fn heard(&self) -> Report {
        self.summary.report()
    }

    /// Returns the mask, for whoever keeps it.
    #[must_use]
    pub fn mask_in_use(&self) -> Arc<dyn Mask> {
        Arc::clone(&self.mask)
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

    /// Prints a value as JSON, on one line or indented.
    ///
    /// # Errors
    /// As [`Session::data`].
    pub fn json(&self, value: &impl Serialize, indented: bool) -> Result<(), Failure> {
        self.printer.json(value, indented).map_err(unwritten)
    }
}

/// What the document names, and what the run has learned.
struct Masks(Arc<dyn Mask>, Learned);

impl Mask for Masks {
    fn mask(&self, text: &str) -> String {
        self.1.text(&self.0.mask(text))
    }

    fn forms(&self) -> Vec<String> {
        self.0.forms()
    }
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(ExitCode::Unexpected, "standard output can't be written")
        .caused_by(error.to_string())
}

/// Returns the requests of a run by host and scheme.
fn requests(log: &RequestLog) -> Vec<HostRequests> {
    let hosts = log.hosts().into_iter();
    let entry = |(url, totals): (String, HostTotals)| HostRequests {
        host: place(&url),
        requests: totals.requests,
        failed: totals.failed,
        received: totals.body_bytes,
        quota: None,
    };
    hosts.map(entry).collect()
}

/// Returns the requests of a run, and how many more each registry allows.
fn asked(log: &RequestLog, context: &Context) -> Vec<HostRequests> {
    let quotas = quotas(&context.world.registries);
    let mut asked = sum(requests(log));
    for entry in &mut asked {
        entry.quota = quotas.get(&entry.host).cloned();
    }
    asked
}

/// Sums up requests by host and port.
fn sum(entries: impl IntoIterator<Item = HostRequests>) -> Vec<HostRequests> {
    let mut hosts: BTreeMap<String, HostRequests> = BTreeMap::new();
    for entry in entries {
        match hosts.entry(entry.host.clone()) {
            Entry::Vacant(place) => {
                place.insert(entry);
            }
            Entry::Occupied(mut place) => {
                let sum = place.get_mut();
                sum.requests += entry.requests;
                sum.failed += entry.failed;
                sum.received += entry.received;
                // What was said last counts.
                sum.quota = entry.quota.or(sum.quota.take());
            }
        }
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
