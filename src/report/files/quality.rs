//! `code-quality.json`: what is wrong with the pipeline file and where, in GitLab's subset of the Code Climate format.

use std::collections::HashMap;
use std::io;

use serde::Serialize;

use super::place::Roots;
use super::quote::Quote;
use crate::oci::Digest;
use crate::report::event::StepOutcome;
use crate::report::model::StepReport;
use crate::report::{Mask, Report};

/// Returns the text of the file: a list, empty if there is nothing to say.
///
/// # Errors
/// None in memory; the serialiser's interface has them.
pub fn text(report: &Report, roots: &Roots, mask: &dyn Mask) -> io::Result<String> {
    let mut issues = Issues {
        quote: Quote::new(mask),
        seen: HashMap::new(),
        found: Vec::new(),
    };
    for found in &report.diagnostics {
        let place = (
            &*roots.shown(&found.file),
            found.place.map(|place| place.line),
        );
        let severity = if found.is_error() {
            "critical"
        } else {
            "minor"
        };
        let help = found.help.as_ref().or(found.cause.as_ref());
        let said = match help {
            Some(help) => format!("{} ({help})", found.message),
            None => found.message.clone(),
        };
        issues.add(&found.kind, &found.message, place, severity, &said);
    }
    if let Some(file) = &report.file {
        let file = roots.shown(file);
        for step in &report.steps {
            issues.add_step(report, step, &file);
        }
    }
    Ok(serde_json::to_string_pretty(&issues.found)? + "\n")
}

struct Issues<'a> {
    quote: Quote<'a>,
    seen: HashMap<[String; 3], u32>,
    found: Vec<Issue>,
}

#[derive(Serialize)]
struct Issue {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

impl Issues<'_> {
    /// Adds an issue. `what` tells it apart from others of its check in the file, and stays the same when lines
    /// are put in above it.
    fn add(
        &mut self,
        check: &str,
        what: &str,
        (path, line): (&str, Option<usize>),
        severity: &'static str,
        said: &str,
    ) {
        let key = [check, path, what].map(|text| self.quote.line(text));
        let number = self.seen.entry(key.clone()).or_default();
        *number += 1;
        let [check, path, _] = &key;
        self.found.push(Issue {
            description: self.quote.line(said),
            check_name: format!("shipgate/{check}"),
            fingerprint: Digest::of(format!("{}\0{number}", key.join("\0")).as_bytes()).hex(),
            severity,
            location: Location {
                path: path.clone(),
                lines: Lines {
                    begin: line.unwrap_or(1),
                },
            },
        });
    }

    fn add_step(&mut self, report: &Report, step: &StepReport, file: &str) {
        let (Some(StepOutcome::Failed | StepOutcome::Inconclusive), Some(failure)) =
            (step.outcome, &step.failure)
        else {
            return;
        };
        let severity = match step.outcome {
            _ if step.continued => "minor",
            Some(StepOutcome::Failed) => "critical",
            _ => "major",
        };
        let verb = match step.outcome {
            _ if report.command == "plan" => "would fail",
            Some(StepOutcome::Failed) => "failed",
            _ => "was inconclusive",
        };
        let said = format!("step {} {verb}: {}", step.id, failure.summary());
        self.add(
            failure.exit.name(),
            &step.id,
            (file, step.line),
            severity,
            &said,
        );
    }
}
