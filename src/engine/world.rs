//! What steps are given to work with, and what they learn from each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::Cancel;
use super::image::Images;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::failure::Failure;
use crate::net;
use crate::notice::Status;
use crate::oci::{self, Digest};
use crate::outcome::ExitCode;
use crate::pipeline::LateName;
use crate::report::event::StepOutcome;
use crate::report::{Emitter, Mask};
use crate::trust::Policy;

/// Everything that a step may use.
#[derive(Clone)]
pub struct Context {
    /// Where the step tells what happens.
    pub events: Emitter,
    /// Where it hears that the run is to end. Being dropped is the usual way to hear it.
    pub cancel: Cancel,
    /// What the run has, and what it knows so far.
    pub world: Arc<World>,
    /// When the step's time is over, where it has a bound.
    pub deadline: Option<Instant>,
}

impl Context {
    /// Returns the client of every registry, which waits for none past the step's time.
    #[must_use]
    pub fn registries(&self) -> oci::Client {
        match self.deadline {
            Some(deadline) => self.world.registries.until(deadline),
            None => self.world.registries.clone(),
        }
    }
}

/// What a run has, and what it knows so far.
pub struct World {
    /// The wall clock.
    pub clock: Clock,
    /// What the run is called.
    pub run: RunNames,
    /// The HTTP client of probes and notices.
    pub http: net::Client,
    /// The client of every registry.
    pub registries: oci::Client,
    /// Where images are kept.
    pub cache: Cache,
    /// The document's images, each resolved at most once.
    pub images: Images,
    /// Where Docker Engine listens by the environment's word (`DOCKER_HOST`), if it has one.
    pub docker_host: Option<String>,
    /// Who must have signed what; without it nothing can be verified.
    pub policy: Option<Policy>,
    /// What the steps so far have found.
    pub state: State,
    /// Hides secrets in what is remembered of failures, since notices carry that to others.
    pub mask: Arc<dyn Mask>,
}

impl World {
    /// Returns what a name of the document stands for that only the run can know.
    #[must_use]
    pub fn late(&self, name: &LateName) -> Option<String> {
        match name {
            LateName::ImageDigest(image) => self.digest(image).map(|digest| digest.to_string()),
            LateName::ImageRef(image) => {
                let repository = &self.images.reference(image)?.repository;
                Some(format!("{repository}@{}", self.digest(image)?))
            }
            LateName::RunReason => self
                .state
                .first_failure()
                .map(|first| first.failure.message),
            LateName::RunStatus => Some(self.state.status().word().to_owned()),
            LateName::StepOutcome(step) => {
                self.state.outcome(step).map(|outcome| outcome.to_string())
            }
        }
    }

    fn digest(&self, image: &str) -> Option<Digest> {
        self.images.all().find(|(name, ..)| name == image)?.2
    }
}

/// What a run is called.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunNames {
    /// The pipeline's name.
    pub pipeline: String,
    /// The run's id.
    pub id: String,
    /// The pipeline file as it was named, if the run has one.
    pub file: Option<String>,
    /// The page of the job that runs it.
    pub link: Option<String>,
}

/// What the steps so far have found.
#[derive(Default)]
pub struct State(Mutex<Known>);

#[derive(Default)]
struct Known {
    outcomes: BTreeMap<String, StepOutcome>,
    exits: Vec<ExitCode>,
    first: Option<FirstFailure>,
    cancelled: bool,
    /// The images that satisfied their trust rules in this process, with the digest that did.
    proven: BTreeSet<(String, Digest)>,
}

/// The failure that a run is remembered for.
#[derive(Clone, Debug)]
pub struct FirstFailure {
    /// The id of the step.
    pub step: String,
    /// The step's name for people.
    pub name: String,
    /// What went wrong.
    pub failure: Failure,
}

impl State {
    /// Remembers how a step ended.
    pub fn ended(&self, id: &str, outcome: StepOutcome) {
        self.known().outcomes.insert(id.to_owned(), outcome);
    }

    /// Remembers a failure that counts.
    pub fn failed(&self, id: &str, name: &str, failure: &Failure) {
        let mut known = self.known();
        known.exits.push(failure.exit);
        known.first.get_or_insert_with(|| FirstFailure {
            step: id.to_owned(),
            name: name.to_owned(),
            failure: failure.clone(),
        });
    }

    /// Remembers that the run was cut short by a signal.
    pub fn cancelled(&self) {
        let mut known = self.known();
        if !known.cancelled {
            known.cancelled = true;
            known.exits.push(ExitCode::Cancelled);
        }
    }

    /// Says whether the run was cut short by a signal.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.known().cancelled
    }

    /// Returns how a step ended, if it has.
    #[must_use]
    pub fn outcome(&self, id: &str) -> Option<StepOutcome> {
        self.known().outcomes.get(id).copied()
    }

    /// Remembers that an image satisfies its trust rule.
    pub fn proven(&self, image: &str, digest: Digest) {
        self.known().proven.insert((image.to_owned(), digest));
    }

    /// Says whether an image was found to satisfy its trust rule.
    #[must_use]
    pub fn is_proven(&self, image: &str, digest: Digest) -> bool {
        self.known().proven.contains(&(image.to_owned(), digest))
    }

    /// Returns how the run stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let known = self.known();
        let failed = known
            .exits
            .iter()
            .any(|exit| !matches!(exit, ExitCode::GateInconclusive | ExitCode::Cancelled));
        if failed {
            Status::Failed
        } else if known.cancelled {
            Status::Cancelled
        } else if known.exits.is_empty() {
            Status::Passed
        } else {
            Status::Inconclusive
        }
    }

    /// Returns the exit code that the run has earned so far.
    #[must_use]
    pub fn exit(&self) -> ExitCode {
        self.known()
            .exits
            .iter()
            .copied()
            .fold(ExitCode::Done, ExitCode::worse)
    }

    /// Returns the failure that the run is remembered for.
    #[must_use]
    pub fn first_failure(&self) -> Option<FirstFailure> {
        self.known().first.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves plain values behind, so they can still be read.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
