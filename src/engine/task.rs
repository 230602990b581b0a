//! What the engine runs: an action with its siblings, whatever the verb.

use std::time::Duration;

use futures_util::future::BoxFuture;

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
    /// Requests that a run makes and the rehearsal did not.
    pub requests: u64,
    /// Bytes of bodies that those requests would bring.
    pub bytes: u64,
}

/// A step of the document: an action and what stands beside it.
pub struct Task {
    /// The id, unique in the document.
    pub id: String,
    /// The name for people.
    pub name: String,
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

/// The bound on a step that names none.
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
