//! The order of a run: steps until the first failure, then `on-failure`, then `finally` in any case.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::cancel::Urgency;
use super::task::{MAX_PAUSE, Task, Tasks};
use super::world::Context;
use crate::failure::{Fact, Failure};
use crate::notice::Status;
use crate::outcome::ExitCode;
use crate::report::event::StepOutcome;
use crate::report::{Detail, Mask};

/// How long `finally` may take after a cancellation.
///
/// GitHub kills 10 s after its first signal; what is left is for the report.
pub const FINALLY_AFTER_CANCEL: Duration = Duration::from_secs(8);

/// Why a step of `finally` does not run whose time is up. It is left to whoever finishes the run.
pub const TIME_IS_OVER: &str = "the time after the cancellation is over";
/// Why a step does not run after somebody cancelled the run.
pub const CANCELLED: &str = "the run was cancelled";
/// Why a step does not run after the run's process was killed.
pub const KILLED: &str = "the run was killed";
const EARLIER_STEP: &str = "an earlier step did not pass";
const NOT_ASKED_FOR: &str = "not asked for";

/// Runs the tasks and returns the exit code that they earned.
///
/// `selected` says for each of `steps` whether it is asked for.
pub async fn run(tasks: &Tasks, selected: &[bool], context: &Context) -> ExitCode {
    let state = &context.world.state;
    let mut stopped = None;
    for (task, selected) in tasks.steps.iter().zip(selected) {
        if let Some(reason) = skip_reason(task, *selected, stopped, context) {
            skip(task, reason, context);
            continue;
        }
        match attempt_all(task, context).await {
            StepOutcome::Passed | StepOutcome::Skipped => {}
            StepOutcome::Cancelled => stopped = Some(CANCELLED),
            _ if task.continue_on_error => {}
            _ => stopped = Some(EARLIER_STEP),
        }
    }

    if context.cancel.urgency() > Urgency::None {
        state.cancelled();
    }
    after_failure(&tasks.on_failure, context).await;
    finally(&tasks.finally, context).await;
    if context.cancel.urgency() > Urgency::None {
        state.cancelled();
    }
    state.exit()
}

/// Where a run had come to when its process ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stopped {
    /// The step that was under way, and how long it had been.
    pub during: Option<(String, Duration)>,
    /// How the run ended, if it came to its end and left something open.
    pub exit: Option<ExitCode>,
}

/// Runs what a stopped run has left, and returns the exit code of the whole run.
///
/// What has ended is in the context's state and stays as it is. Of `steps` nothing is run: whoever
/// stopped the run has cancelled it. `on-failure` runs if a step had failed by then, `finally` runs.
pub async fn resume(
    tasks: &Tasks,
    selected: &[bool],
    stopped: &Stopped,
    context: &Context,
) -> ExitCode {
    let state = &context.world.state;
    let failed = state.first_failure().is_some();
    let open = |task: &Task| state.outcome(&task.id).is_none();
    let mut cut = false;
    for (task, selected) in tasks.steps.iter().zip(selected) {
        if !open(task) {
            continue;
        }
        match &stopped.during {
            Some((id, took)) if *id == task.id => {
                cut = true;
                finish(task, context, StepOutcome::Cancelled, None, *took);
            }
            _ if !selected => skip(task, NOT_ASKED_FOR, context),
            _ if failed => skip(task, EARLIER_STEP, context),
            _ => {
                cut = true;
                skip(task, KILLED, context);
            }
        }
    }
    if cut {
        state.cancelled();
    }
    after_failure(&tasks.on_failure, context).await;
    finally(&tasks.finally, context).await;
    let ended_well = stopped.exit.is_some_and(|exit| exit != ExitCode::Cancelled);
    if !ended_well || context.cancel.urgency() > Urgency::None {
        state.cancelled();
    }
    state.exit()
}

/// Runs what runs after a failure, unless the run was cancelled.
async fn after_failure(tasks: &[Task], context: &Context) {
    let state = &context.world.state;
    let failed = matches!(state.status(), Status::Failed | Status::Inconclusive);
    for task in tasks {
        if state.outcome(&task.id).is_some() {
            continue;
        }
        if context.cancel.urgency() > Urgency::None || state.is_cancelled() {
            skip(task, CANCELLED, context);
        } else if !failed {
            skip(task, "nothing failed", context);
        } else if let Some(reason) = condition_reason(task, context) {
            skip(task, &reason, context);
        } else {
            attempt_all(task, context).await;
        }
    }
}

/// Runs what runs in any case. A cancellation leaves it a bounded time, an abort none.
async fn finally(tasks: &[Task], context: &Context) {
    // The steps of `finally` don't hear the cancellation that they are there to clean up after.
    let undisturbed = Context {
        cancel: super::Cancel::new(),
        ..context.clone()
    };
    let cut = async {
        context.cancel.reached(Urgency::Cancel).await;
        let _ = timeout(FINALLY_AFTER_CANCEL, context.cancel.reached(Urgency::Abort)).await;
    };
    tokio::pin!(cut);
    let mut aborted = false;
    for task in tasks {
        if context.world.state.outcome(&task.id).is_some() {
            continue;
        }
        if aborted || context.cancel.urgency() == Urgency::Abort {
            context.world.state.cancelled();
            skip(task, TIME_IS_OVER, context);
            continue;
        }
        if let Some(reason) = condition_reason(task, context) {
            skip(task, &reason, context);
            continue;
        }
        let began = Instant::now();
        tokio::select! {
            biased;
            () = &mut cut => {
                aborted = true;
                context.world.state.cancelled();
                finish(task, context, StepOutcome::Cancelled, None, began.elapsed());
            }
            _ = attempt_all(task, &undisturbed) => {}
        }
    }
}

fn skip_reason(
    task: &Task,
    selected: bool,
    stopped: Option<&'static str>,
    context: &Context,
) -> Option<&'static str> {
    if !selected {
        Some(NOT_ASKED_FOR)
    } else if context.cancel.urgency() > Urgency::None {
        Some(CANCELLED)
    } else if stopped.is_some() {
        stopped
    } else if task
        .condition
        .as_ref()
        .is_some_and(|when| !when.holds(context))
    {
        Some("its condition does not hold")
    } else {
        None
    }
}

fn condition_reason(task: &Task, context: &Context) -> Option<String> {
    let condition = task.condition.as_ref()?;
    (!condition.holds(context))
        .then(|| format!("its condition does not hold: {}", condition.text()))
}

fn skip(task: &Task, reason: &str, context: &Context) {
    context.world.state.ended(&task.id, StepOutcome::Skipped);
    context.events.of_step(&task.id).emit(Detail::StepSkipped {
        reason: reason.to_owned(),
    });
}

/// Runs a task with its retries and its timeout, unless it is cancelled.
async fn attempt_all(task: &Task, context: &Context) -> StepOutcome {
    let began = Instant::now();
    let context = Context {
        events: context.events.of_step(&task.id),
        deadline: began.checked_add(task.timeout),
        ..context.clone()
    };
    context.events.emit(Detail::StepStarted {
        verb: task.action.verb().to_owned(),
        name: task.name.clone(),
    });
    let mut last = None;
    let result = tokio::select! {
        biased;
        () = context.cancel.reached(Urgency::Cancel) => None,
        result = timeout_at(began + task.timeout, attempts(task, &context, &mut last)) => Some(result),
    };
    let (outcome, failure) = match result {
        None => (StepOutcome::Cancelled, None),
        Some(Ok(Ok(()))) => (StepOutcome::Passed, None),
        Some(Ok(Err(failure))) => (outcome_of(&failure), Some(failure)),
        Some(Err(_)) => {
            let failure = timed_out(task, last);
            (outcome_of(&failure), Some(failure))
        }
    };
    finish(task, &context, outcome, failure, began.elapsed());
    outcome
}

/// Says how a step ended that failed in this way.
fn outcome_of(failure: &Failure) -> StepOutcome {
    if failure.exit == ExitCode::GateInconclusive {
        StepOutcome::Inconclusive
    } else {
        StepOutcome::Failed
    }
}

/// Tries until it passes or there are no attempts left. `last` keeps what the last one failed with.
async fn attempts(
    task: &Task,
    context: &Context,
    last: &mut Option<Failure>,
) -> Result<(), Failure> {
    let mut pause = task.pause;
    for attempt in 1..=task.retries {
        let Err(failure) = task.action.run(context).await else {
            return Ok(());
        };
        context.events.emit(Detail::StepRetried {
            attempt,
            of: task.retries + 1,
            wait: pause,
            failure: failure.clone(),
        });
        *last = Some(failure);
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    task.action.run(context).await
}

/// Makes the failure of a step whose time is over: what an earlier attempt found is not forgotten.
fn timed_out(task: &Task, last: Option<Failure>) -> Failure {
    let message = format!("step `{}` was not done within its timeout", task.id);
    if let Some(failure) = last {
        return failure.caused_by(format!("{message}, in another attempt"));
    }
    Failure::new(task.action.family(), message)
        .fact("timeout", format!("{:?}", task.timeout))
        .hinted("raise `timeout` on the step, or see above what it waited for")
}

fn finish(
    task: &Task,
    context: &Context,
    outcome: StepOutcome,
    failure: Option<Failure>,
    took: Duration,
) {
    let state = &context.world.state;
    state.ended(&task.id, outcome);
    match &failure {
        Some(failure) if !task.continue_on_error => {
            state.failed(&task.id, &task.name, &masked(failure, &*context.world.mask));
        }
        _ => {}
    }
    context.events.of_step(&task.id).emit(Detail::StepFinished {
        outcome,
        took,
        continued: failure.is_some() && task.continue_on_error,
        failure,
    });
}

fn masked(failure: &Failure, mask: &dyn Mask) -> Failure {
    let fact = |fact: &Fact| Fact::new(&fact.name, mask.mask(&fact.value));
    Failure {
        exit: failure.exit,
        message: mask.mask(&failure.message),
        causes: failure
            .causes
            .iter()
            .map(|cause| mask.mask(cause))
            .collect(),
        facts: failure.facts.iter().map(fact).collect(),
        hint: failure.hint.as_ref().map(|hint| mask.mask(hint)),
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
