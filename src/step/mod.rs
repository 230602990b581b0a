//! The verbs: one file each, with what the document says about it.
//!
//! A verb is registered here, once; everything else that it has is in its own file.

pub mod check;
mod deliver;
pub mod destination;
pub mod gate;
mod headers;
pub mod notify;
pub mod preload;
pub mod question;
pub mod verify;
pub mod watch;

use std::time::Duration;

use crate::engine::grants::Grants;
use crate::engine::task::{Action, Condition, DEFAULT_TIMEOUT, Task, Tasks};
use crate::engine::world::{Context, State};
use crate::failure::Failure;
use crate::notice::Status;
use crate::oci::Fallback;
use crate::oci::credentials::Need;
use crate::oci::hosts::Role;
use crate::pipeline::address::{ImageName, Name};
use crate::pipeline::model::{Step, Steps};
use crate::pipeline::record::one_of;
use crate::pipeline::{self, Document, Ending, Facts, Source, Span, Spanned, Standing};
use crate::report::event::StepOutcome;

one_of! {
    /// What a step does.
    pub enum Verb("a verb", later = [
        "deploy", "rollback",
    ]) {
        /// Asks whether a registry is alive, and whether the login works.
        Check(check::Check) = "check",
        /// Fetches images into the cache, every byte checked against its digest.
        Preload(preload::Preload) = "preload",
        /// Verifies the signatures of images by the rules under `trust`.
        Verify(verify::Verify) = "verify",
        /// Watches a service until it is good, or is not.
        Gate(gate::Gate) = "gate",
        /// Tells people how the run stands.
        Notify(notify::Notify) = "notify",
    }
}

impl Verb {
    /// Makes the verb ready to run.
    ///
    /// # Errors
    /// What stands in the document could never work, although each part of it is well formed.
    pub fn action(&self) -> Result<Box<dyn Action>, Failure> {
        Ok(match self {
            Self::Check(check) => Box::new(check.clone()),
            Self::Preload(preload) => Box::new(preload.clone()),
            Self::Verify(verify) => Box::new(verify.clone()),
            Self::Gate(gate) => Box::new(watch::Watch::new(gate)?),
            Self::Notify(notify) => Box::new(notify::Telling::new(notify)?),
        })
    }
}

/// Finds what could never work although each part of it is well formed. Values that are not known
/// before a run are left aside.
///
/// # Errors
/// The first step that could never work.
pub fn validate(document: &Document) -> Result<(), Failure> {
    for step in document.all_steps() {
        if let Verb::Gate(gate) = &step.verb
            && gate.times_are_known()
        {
            watch::Watch::new(gate).map_err(|failure| failure.fact("step", &step.id.value.0))?;
        }
    }
    Ok(())
}

/// Makes the steps of a document ready to run.
///
/// # Errors
/// The first step that could never work.
pub fn tasks(document: &Document, source: &Source) -> Result<Tasks, Failure> {
    let list = |steps: &Steps| {
        let tasks = steps.0.iter().map(|step| task(step, source));
        tasks.collect::<Result<Vec<_>, _>>()
    };
    Ok(Tasks {
        steps: list(&document.steps)?,
        on_failure: list(&document.on_failure)?,
        finally: list(&document.finally)?,
    })
}

fn task(step: &Step, source: &Source) -> Result<Task, Failure> {
    let id = step.id.value.0.clone();
    let action = step
        .verb
        .action()
        .map_err(|failure| failure.fact("step", &id))?;
    let name = step.name.as_ref().map(|name| name.complete(&|_| None));
    Ok(Task {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        line: Some(source.position(step.id.span.start).line),
        condition: step
            .r#if
            .clone()
            .map(|when| Box::new(when) as Box<dyn Condition>),
        timeout: step.timeout.as_ref().map_or_else(
            || action.needs().max(DEFAULT_TIMEOUT),
            |timeout| timeout.value,
        ),
        retries: step.retry.as_ref().map_or(0, |retry| retry.times.0),
        pause: step
            .retry
            .as_ref()
            .map_or(Duration::ZERO, |retry| retry.delay),
        continue_on_error: step.continue_on_error,
        action,
    })
}

impl Condition for pipeline::Condition {
    fn holds(&self, context: &Context) -> bool {
        Self::holds(self, &context.world.state)
    }

    fn text(&self) -> &str {
        Self::text(self)
    }
}

impl Facts for State {
    fn ended(&self, step: &str, ending: Ending) -> bool {
        let wanted = match ending {
            Ending::Failed => StepOutcome::Failed,
            Ending::Inconclusive => StepOutcome::Inconclusive,
            Ending::Passed => StepOutcome::Passed,
            Ending::Skipped => StepOutcome::Skipped,
        };
        self.outcome(step) == Some(wanted)
    }

    fn stands(&self, standing: Standing) -> bool {
        let status = self.status();
        match standing {
            Standing::Cancelled => status == Status::Cancelled,
            Standing::Failure => matches!(status, Status::Failed | Status::Inconclusive),
            Standing::Success => status == Status::Passed,
        }
    }
}

/// Adds the host and port of a registry, the hosts that it may name, and what the look-up of its
/// credentials would touch.
fn registry(name: &str, reason: &str, grants: &mut Grants, context: &Context) {
    if let Ok((host, port)) = context.world.registries.endpoint(name) {
        grants.host(&host, port, reason);
    }
    for listed in context.world.registries.listed(name) {
        let place = &listed.place;
        grants.host(place.host(), place.port(), listed.reason(name));
    }
    let why = format!("credentials for {name}");
    for need in context.world.registries.login_needs(name) {
        match need {
            Need::File(path) => {
                if path.is_file() {
                    grants.read(path.display().to_string(), &why);
                }
            }
            Need::Host { host, port } => grants.host(&host, port, &why),
            Need::Program(program) => grants.program(program, &why, true),
            Need::Helper { name, certain } => {
                grants.program(format!("docker-credential-{name}"), &why, certain);
            }
            Need::Variable(variable) => grants.variable(variable, &why),
        }
    }
}

/// Adds everybody who may be asked for what a registry has: its mirrors, and itself if it may be asked.
fn sources(name: &str, reason: &str, grants: &mut Grants, context: &Context) {
    let registries = &context.world.registries;
    let Some(sources) = registries.sources(name) else {
        return registry(name, reason, grants, context);
    };
    for mirror in &sources.mirrors {
        let why = format!("{reason} (mirror of {name})");
        registry(&mirror.name(), &why, grants, context);
        if mirror.hands_challenges_on() {
            // It answers with the registry's own challenge, which names the registry's token service.
            for listed in registries.listed(name) {
                if listed.role == Role::Token {
                    let place = &listed.place;
                    grants.host(place.host(), place.port(), listed.reason(name));
                }
            }
        }
    }
    if sources.fallback == Fallback::Allow {
        registry(name, reason, grants, context);
    }
}

/// Makes an image's name that stands in no document.
fn unplaced(name: String) -> ImageName {
    ImageName(Spanned::new(Name(name), Span::default()))
}
