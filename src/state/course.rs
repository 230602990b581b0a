//! How far a run has come, as its events tell, and what is left of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::image::Images;
use crate::engine::run::{CANCELLED, KILLED, Stopped, TIME_IS_OVER};
use crate::engine::world::State;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::report::event::{HostRequests, StepOutcome};
use crate::report::{Detail, Event};

/// How far a run has come.
#[derive(Clone, Debug, Default)]
pub struct Course {
    started: Option<String>,
    steps: Vec<Step>,
    under_way: Option<usize>,
    images: BTreeMap<String, (String, Digest)>,
    requests: Vec<HostRequests>,
    exit: Option<ExitCode>,
    resumed: bool,
    last: Duration,
}

#[derive(Clone, Debug, Default)]
struct Step {
    id: String,
    list: List,
    name: String,
    began: Duration,
    outcome: Option<StepOutcome>,
    /// What it failed with, if that counts.
    failure: Option<Failure>,
    /// Why it did not run.
    skipped: Option<String>,
    notice: Notice,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum List {
    #[default]
    Steps,
    OnFailure,
    Finally,
}

impl Step {
    fn is_skipped_for(&self, reasons: &[&str]) -> bool {
        let skipped = self.skipped.as_deref();
        skipped.is_some_and(|skipped| reasons.contains(&skipped))
    }
}

/// What became of a step's notice.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Notice {
    #[default]
    None,
    Delivered,
    GivenUp,
}

impl Course {
    /// Adds an event.
    pub fn apply(&mut self, event: &Event) {
        self.last = self.last.max(event.elapsed);
        match &event.detail {
            Detail::RunStarted { at, steps, .. } => {
                self.started = Some(at.clone());
                let step = |line: &crate::report::event::StepLine| Step {
                    id: line.id.clone(),
                    name: line.id.clone(),
                    list: match line.list.as_str() {
                        "on-failure" => List::OnFailure,
                        "finally" => List::Finally,
                        _ => List::Steps,
                    },
                    ..Step::default()
                };
                self.steps = steps.iter().map(step).collect();
            }
            Detail::RunResumed { left, .. } => self.reopen(left),
            Detail::RunFinished { exit, .. } => self.exit = Some(*exit),
            Detail::ImageResolved {
                image,
                reference,
                digest,
                ..
            } => {
                let known = (reference.clone(), *digest);
                self.images.entry(image.clone()).or_insert(known);
            }
            Detail::RequestsCounted { hosts } => self.requests.clone_from(hosts),
            _ => self.step(event),
        }
    }

    fn step(&mut self, event: &Event) {
        let place = self
            .steps
            .iter()
            .position(|step| Some(&step.id) == event.step.as_ref());
        let Some(place) = place else { return };
        let step = &mut self.steps[place];
        match &event.detail {
            Detail::StepStarted { name, .. } => {
                step.name.clone_from(name);
                step.began = event.elapsed;
                step.notice = Notice::None;
                step.skipped = None;
                self.under_way = Some(place);
            }
            Detail::StepFinished {
                outcome,
                failure,
                continued,
                ..
            } => {
                step.outcome = Some(*outcome);
                step.failure = failure.clone().filter(|_| !continued);
                self.under_way = None;
            }
            Detail::StepSkipped { reason } => {
                step.outcome = Some(StepOutcome::Skipped);
                step.skipped = Some(reason.clone());
            }
            Detail::NoticeSent {
                delivered,
                attempts,
                ..
            } => {
                step.notice = match (delivered, attempts) {
                    (true, _) => Notice::Delivered,
                    (false, 0) => Notice::None,
                    (false, _) => Notice::GivenUp,
                };
            }
            _ => {}
        }
    }

    fn reopen(&mut self, left: &[String]) {
        self.resumed = true;
        for (place, step) in self.steps.iter_mut().enumerate() {
            if left.contains(&step.id) {
                step.outcome = None;
                step.failure = None;
                step.skipped = None;
                step.notice = Notice::None;
                self.under_way = self.under_way.filter(|under_way| *under_way != place);
            } else if step.notice == Notice::GivenUp {
                // Whoever gave it up had all the time that it needed.
                step.notice = Notice::None;
            }
        }
    }

    /// Returns when the run began, RFC 3339, if it did.
    #[must_use]
    pub fn started(&self) -> Option<&str> {
        self.started.as_deref()
    }

    /// Returns the time from the beginning of the run to its last event.
    #[must_use]
    pub fn last(&self) -> Duration {
        self.last
    }

    /// Returns what the run asked of the network, as far as it had counted.
    #[must_use]
    pub fn requests(&self) -> &[HostRequests] {
        &self.requests
    }

    /// Returns where the run stopped.
    #[must_use]
    pub fn stopped(&self) -> Stopped {
        let during = self.under_way.map(|place| &self.steps[place]);
        Stopped {
            during: during.map(|step| (step.id.clone(), self.took(step))),
            exit: self.exit,
        }
    }

    /// Returns the step under way if its notice was delivered, and how long it took: all that is missing
    /// is the word that it ended.
    #[must_use]
    pub fn settled(&self) -> Option<(String, Duration)> {
        let step = &self.steps[self.under_way?];
        (step.notice == Notice::Delivered).then(|| (step.id.clone(), self.took(step)))
    }

    /// Returns the ids of the steps that are left to do, those of `on-failure` first.
    ///
    /// These are steps that should run after what happened and have not ended, that were cut because
    /// the time after a cancellation was over, or whose notice was given up by whoever finished the run.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let open = |step: &&Step| self.is_open(step);
        let left = self.steps.iter().filter(open);
        left.map(|step| step.id.clone()).collect()
    }

    /// Returns the ids of all steps that have not ended, whether they should still run or not.
    #[must_use]
    pub fn unended(&self) -> Vec<String> {
        let open = |step: &&Step| step.outcome.is_none() || self.is_open(step);
        let left = self.steps.iter().filter(open);
        left.map(|step| step.id.clone()).collect()
    }

    /// Says whether a notice was given up since the run is being finished.
    #[must_use]
    pub fn owes_a_notice(&self) -> bool {
        let owed = |step: &Step| self.is_open(step) && step.notice == Notice::GivenUp;
        self.steps.iter().any(owed)
    }

    /// Fills a state with what ended, what failed, and whether the run was cancelled.
    pub fn restore(&self, state: &State) {
        for step in self.steps.iter().filter(|step| !self.is_open(step)) {
            if let Some(outcome) = step.outcome {
                state.ended(&step.id, outcome);
            }
            if let Some(failure) = &step.failure {
                state.failed(&step.id, &step.name, failure);
            }
        }
        if self.was_cancelled() {
            state.cancelled();
        }
    }

    /// Tells the images what they were resolved to.
    pub fn recall(&self, images: &Images) {
        for (name, (reference, digest)) in &self.images {
            images.recall(name, reference, *digest);
        }
    }

    fn is_open(&self, step: &Step) -> bool {
        let given_up = self.resumed && step.notice == Notice::GivenUp;
        match step.list {
            List::Steps => false,
            List::OnFailure => {
                given_up || step.outcome.is_none() && self.has_failed() && !self.was_cancelled()
            }
            List::Finally => {
                let cut = matches!(step.outcome, None | Some(StepOutcome::Cancelled));
                cut || step.is_skipped_for(&[TIME_IS_OVER]) || given_up
            }
        }
    }

    fn has_failed(&self) -> bool {
        let failed = |step: &Step| step.list == List::Steps && step.failure.is_some();
        self.steps.iter().any(failed)
    }

    /// Says whether the run was cut before `finally`.
    fn was_cancelled(&self) -> bool {
        let cut = |step: &Step| {
            step.outcome == Some(StepOutcome::Cancelled)
                || step.is_skipped_for(&[CANCELLED, KILLED])
        };
        let before = |step: &&Step| step.list != List::Finally;
        self.steps.iter().filter(before).any(cut)
    }

    fn took(&self, step: &Step) -> Duration {
        self.last.saturating_sub(step.began)
    }
}
