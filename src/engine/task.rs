//! What the engine runs: an action with its siblings, whatever the verb.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::grants::Grants;
use super::plan::Cost;
use super::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;

/// One verb of the document, ready to run.
///
/// An action does its work in domain modules, tells what happens through the context's events,
/// and may be dropped at any await point.
pub trait Action: Send + Sync {
    /// Returns the verb as the document writes it.
    fn verb(&self) -> &'static str;

    /// Returns the exit code of a failure that says nothing closer, a timeout for instance.
    fn family(&self) -> ExitCode;

    /// Returns the time that the action needs by what the document says of it.
    fn needs(&self) -> Duration {
        Duration::ZERO
    }

    /// Adds what a run may touch because of this action.
    fn grants(&self, grants: &mut Grants, context: &Context);

    /// Runs once.
    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<(), Failure>>;

    /// Asks what a run would ask and changes nothing, so that `plan` can count requests and bytes.
    fn rehearse<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>>;
}

/// What a rehearsed step would do.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rehearsal {
    /// What it would do, one line each.
    pub lines: Vec<String>,
    /// What a run asks for and the rehearsal did not, by host and port.
    pub costs: BTreeMap<String, Cost>,
}

impl Rehearsal {
    /// Makes a rehearsal of one line that asks for nothing more.
    #[must_use]
    pub fn said(line: impl Into<String>) -> Self {
        Self {
            lines: vec![line.into()],
            costs: BTreeMap::new(),
        }
    }

    /// Adds what a run would ask a host for.
    pub fn expects(&mut self, host: impl Into<String>, cost: Cost) {
        if cost != Cost::default() {
            self.costs.entry(host.into()).or_default().add(cost);
        }
    }
}

impl FromIterator<Self> for Rehearsal {
    fn from_iter<I: IntoIterator<Item = Self>>(parts: I) -> Self {
        parts.into_iter().fold(Self::default(), |mut whole, part| {
            whole.lines.extend(part.lines);
            for (host, cost) in part.costs {
                whole.expects(host, cost);
            }
            whole
        })
    }
}

/// A step of the document: an action and what stands beside it.
pub struct Task {
    /// The id, unique in the document.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The line of the document that it stands on, from 1, if it stands in one.
    pub line: Option<usize>,
    /// When the step runs; without it, whenever its list does.
    pub condition: Option<Box<dyn Condition>>,
    /// The bound on all attempts together.
    pub timeout: Duration,
    /// How many attempts follow a failed one.
    pub retries: u32,
    /// The pause before the first of them; it doubles each time, up to [`MAX_PAUSE`].
    pub pause: Duration,
    /// Whether the run goes on as if the step had passed.
    pub continue_on_error: bool,
    /// The verb.
    pub action: Box<dyn Action>,
}

/// The longest pause between two attempts.
pub const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The bound on a step that names none, unless it [`needs`](Action::needs) more.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Says whether a step runs, from what is known of the steps before it.
pub trait Condition: Send + Sync {
    /// Decides.
    fn holds(&self, context: &Context) -> bool;

    /// Returns the condition as the document writes it.
    fn text(&self) -> &str;
}

/// The three lists of a document.
#[derive(Default)]
pub struct Tasks {
    /// What the run is for.
    pub steps: Vec<Task>,
    /// What runs after a failure.
    pub on_failure: Vec<Task>,
    /// What runs in any case.
    pub finally: Vec<Task>,
}
