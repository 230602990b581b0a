//! The report of a command, also of one that never came to run a pipeline.

use std::path::Path;

use super::session::Session;
use crate::engine::plan::{Plan, PlannedStep};
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::{Diagnostic, Severity};
use crate::report::Report;
use crate::report::event::{HostRequests, StepOutcome};
use crate::report::model::{DiagnosticReport, Exit, PlaceReport, Requests, StepReport};

/// What a command has found out before anything ran.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// When the command began, RFC 3339.
    pub began: String,
    /// The run's id, if one was given out.
    pub run: String,
    /// The pipeline's name, if it could be read.
    pub pipeline: Option<String>,
    /// The pipeline files that were read.
    pub files: Vec<String>,
    /// What was found in them.
    pub diagnostics: Vec<DiagnosticReport>,
}

impl Preparation {
    fn called(&self) -> String {
        match (&self.files[..], &self.pipeline) {
            ([_], Some(name)) => name.clone(),
            ([file], None) => Path::new(file)
                .file_stem()
                .map_or_else(|| file.clone(), |stem| stem.to_string_lossy().into_owned()),
            _ => "pipelines".to_owned(),
        }
    }
}

impl Session {
    /// Returns the report of a run that is over.
    #[must_use]
    pub fn report_of_run(&self) -> Report {
        Report {
            files: self.preparation.files.clone(),
            diagnostics: self.preparation.diagnostics.clone(),
            ..self.heard()
        }
    }

    /// Returns the report of a command that ran no pipeline.
    #[must_use]
    pub fn report_without_run(&self, command: &str, exit: ExitCode) -> Report {
        let known = &self.preparation;
        let heard = self.heard();
        let mut errors = known.diagnostics.iter().filter(|found| found.is_error());
        Report {
            command: command.to_owned(),
            pipeline: known.called(),
            run: known.run.clone(),
            file: match &known.files[..] {
                [file] => Some(file.clone()),
                _ => None,
            },
            started: known.began.clone(),
            finished: Some(self.environment.clock.now().to_string()),
            took_ms: u64::try_from(self.events.elapsed().as_millis()).unwrap_or(u64::MAX),
            exit: Some(Exit {
                code: exit.code(),
                name: exit,
            }),
            reason: errors.next().map(|found| found.message.clone()),
            files: known.files.clone(),
            diagnostics: known.diagnostics.clone(),
            ..heard
        }
    }

    /// Returns the report of a command that could not begin what it was asked for.
    #[must_use]
    pub fn report_of_failure(&self, command: &str, failure: &Failure) -> Report {
        Report {
            reason: Some(failure.summary()),
            failure: Some(failure.clone()),
            ..self.report_without_run(command, failure.exit)
        }
    }

    /// Returns the report of a plan.
    #[must_use]
    pub fn report_of_plan(&self, plan: &Plan, exit: ExitCode) -> Report {
        let failures = plan.steps.iter().filter_map(|step| step.failure.as_ref());
        let first = failures.map(Failure::summary).next();
        let hosts = plan.requests.iter().map(|(host, cost)| HostRequests {
            host: host.clone(),
            requests: cost.requests,
            failed: 0,
            received: cost.bytes,
            quota: plan.quotas.get(host).cloned(),
        });
        Report {
            reason: first.filter(|_| exit != ExitCode::Done),
            steps: plan.steps.iter().map(planned).collect(),
            requests: Requests {
                total: plan.total.requests,
                hosts: hosts.collect(),
            },
            ..self.report_without_run("plan", exit)
        }
    }
}

/// Says of a step that was only rehearsed what it would come to.
fn planned(step: &PlannedStep) -> StepReport {
    let (outcome, skipped) = match (&step.failure, step.selected, &step.lines[..]) {
        (Some(_), ..) => (StepOutcome::Failed, None),
        (None, false, _) => (StepOutcome::Skipped, Some("not asked for".to_owned())),
        (None, true, [only]) if only == PlannedStep::NOT_REACHED => {
            (StepOutcome::Skipped, Some(only.clone()))
        }
        (None, true, _) => (StepOutcome::Passed, None),
    };
    StepReport {
        id: step.id.clone(),
        verb: step.verb.clone(),
        list: step.list.clone(),
        line: step.line,
        outcome: Some(outcome),
        skipped,
        began_ms: None,
        took_ms: None,
        attempts: 0,
        failure: step.failure.clone(),
        continued: false,
    }
}

impl From<&Diagnostic> for DiagnosticReport {
    fn from(found: &Diagnostic) -> Self {
        let kind = serde_json::to_value(found.kind).ok();
        Self {
            // Kinds are serialised as plain words.
            kind: kind
                .and_then(|kind| Some(kind.as_str()?.to_owned()))
                .unwrap_or_default(),
            severity: found.severity.to_string(),
            file: found.file.clone(),
            place: found.place.as_ref().map(|place| PlaceReport {
                line: place.start.line,
                column: place.start.column,
                end_line: place.end.line,
                end_column: place.end.column,
            }),
            message: found.message.clone(),
            label: found.label.clone(),
            cause: found.cause.clone(),
            help: found.help.clone(),
        }
    }
}

/// Returns what a check of a document failed with as a diagnostic of it.
#[must_use]
pub fn diagnostic(file: &str, failure: &Failure) -> DiagnosticReport {
    let cause = failure.causes.join(": ");
    DiagnosticReport {
        kind: failure.exit.name().to_owned(),
        severity: Severity::Error.to_string(),
        file: file.to_owned(),
        place: None,
        message: failure.message.clone(),
        label: None,
        cause: Some(cause).filter(|cause| !cause.is_empty()),
        help: failure.hint.clone(),
    }
}
