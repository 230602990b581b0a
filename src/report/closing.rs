//! The end of a run in words: what every step, image and gate came to, and the verdict last.

use std::time::Duration;

use super::event::StepOutcome;
use super::model::{GateReport, ImageReport, ProbeReport, Report, StepReport};
use super::style::Role;
use super::voice::Voice;
use super::words;
use crate::outcome::ExitCode;

/// Returns the summary of a run that is over, an empty line first and the verdict last.
pub(super) fn lines(report: &Report, voice: &Voice) -> Vec<String> {
    let mut lines = vec![String::new()];
    let steps = report.steps.iter().map(|step| &step.id);
    let images = report.images.iter().map(|image| &image.name);
    let notices = report.notices.iter().map(|notice| &notice.target);
    let names = steps.chain(images).chain(notices);
    let width = names.map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0).min(24);
    let table = Table { voice, width };
    table.block(&mut lines, "steps", report.steps.iter(), |step| {
        vec![table.step(step)]
    });
    table.block(&mut lines, "images", report.images.iter(), |image| {
        table.image(image)
    });
    table.block(&mut lines, "gates", report.gates.iter(), |gate| {
        table.gate(gate)
    });
    table.block(&mut lines, "notices", report.notices.iter(), |notice| {
        let delivered = if notice.delivered {
            voice.paint(Role::Good, "delivered")
        } else {
            voice.paint(Role::Warn, "not delivered")
        };
        if !notice.delivered && notice.attempts == 0 {
            return vec![table.row(&notice.target, "not sent")];
        }
        let attempts = words::count(u64::from(notice.attempts), "attempt", "attempts");
        vec![table.row(&notice.target, &format!("{delivered}, {attempts}"))]
    });
    table.block(
        &mut lines,
        "requests",
        report.requests.hosts.iter(),
        |host| {
            let mut said = words::count(host.requests, "request", "requests");
            said += &format!(" to {}", voice.foreign(&host.host));
            if host.failed > 0 {
                said += &format!(", {} of them failed", host.failed);
            }
            said += &format!(", {} received", words::size(host.received));
            if let Some(quota) = &host.quota {
                said += &format!(", {quota}");
            }
            vec![said]
        },
    );
    if lines.len() > 1 {
        lines.push(String::new());
    }
    lines.extend(verdict(report, voice));
    lines
}

/// Returns the verdict: why it did not end well, then how it ended with the exit code's name and number.
pub(super) fn verdict(report: &Report, voice: &Voice) -> Vec<String> {
    let Some(exit) = report.exit else {
        return Vec::new();
    };
    let (role, word) = match exit.name {
        ExitCode::Done => (Role::Good, "done"),
        ExitCode::Cancelled => (Role::Warn, "CANCELLED"),
        ExitCode::GateInconclusive => (Role::Warn, "INCONCLUSIVE"),
        _ => (Role::Bad, "FAILED"),
    };
    let mut lines = Vec::new();
    if let Some(reason) = &report.reason {
        let label = voice.paint(Role::Bad, "reason:");
        lines.push(format!("{label} {}", voice.foreign(reason)));
    }
    lines.push(format!(
        "{}: {} in {}, exit code {} ({})",
        voice.paint(role, word),
        voice.foreign(&words::called(&report.pipeline, &report.run)),
        words::duration(Duration::from_millis(report.took_ms)),
        exit.code,
        exit.name.name()
    ));
    lines
}

/// Rows of a heading, a name and what is said about it.
#[derive(Clone, Copy)]
struct Table<'a> {
    voice: &'a Voice,
    width: usize,
}

impl Table<'_> {
    /// Adds the rows of a heading. The heading stands in front of the first of them.
    fn block<T>(
        &self,
        lines: &mut Vec<String>,
        heading: &str,
        items: impl Iterator<Item = T>,
        rows: impl Fn(T) -> Vec<String>,
    ) {
        for (number, row) in items.flat_map(rows).enumerate() {
            let heading = if number == 0 { heading } else { "" };
            let heading = self.voice.paint(Role::Dim, &format!("{heading:<8}"));
            lines.push(format!("  {heading}  {row}"));
        }
    }

    fn row(&self, name: &str, said: &str) -> String {
        format!(
            "{:<width$}  {said}",
            self.voice.foreign(name),
            width = self.width
        )
    }

    fn step(&self, step: &StepReport) -> String {
        let (role, word) = match step.outcome {
            Some(StepOutcome::Passed) => (Role::Good, "passed"),
            Some(StepOutcome::Failed) => (Role::Bad, "FAILED"),
            Some(StepOutcome::Skipped) => (Role::Dim, "skipped"),
            Some(StepOutcome::Cancelled) => (Role::Warn, "cancelled"),
            Some(StepOutcome::Inconclusive) => (Role::Warn, "inconclusive"),
            None => (Role::Dim, "not reached"),
        };
        let took = step.took_ms.map(Duration::from_millis);
        let took = took.map(words::duration).unwrap_or_default();
        let mut notes = words::notes(step);
        if let Some(reason) = &step.skipped {
            notes.push(self.voice.foreign(reason));
        }
        let mut cells = vec![
            format!("{word:<12}"),
            format!("{took:>11}"),
            notes.join(", "),
        ];
        while cells.last().is_some_and(|cell| cell.trim().is_empty()) {
            cells.pop();
        }
        if let [only] = &mut cells[..] {
            only.truncate(word.len());
        }
        cells[0] = self.voice.paint(role, &cells[0]);
        self.row(&step.id, &cells.join("  "))
    }

    fn image(&self, image: &ImageReport) -> Vec<String> {
        let mut facts = self.voice.foreign(&image.platform);
        // An image of the command line is called as it is written.
        if image.name != image.reference {
            facts = format!("from {}, {facts}", self.voice.foreign(&image.reference));
        }
        for (bytes, what) in [(image.fetched, "fetched"), (image.cached, "from the cache")] {
            if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
                facts += &format!(", {} {what}", words::size(bytes));
            }
        }
        let trust = match &image.verified {
            Some(verified) => format!(
                "signed by {}, as {} asks",
                self.voice.foreign(&verified.signers.join(", ")),
                self.voice.foreign(&verified.rule)
            ),
            None => self.voice.paint(Role::Warn, "not verified"),
        };
        vec![
            self.row(&image.name, &image.digest),
            self.row("", &facts),
            self.row("", &trust),
        ]
    }

    fn gate(&self, gate: &GateReport) -> Vec<String> {
        let verdict = gate.verdict.as_deref().unwrap_or("no verdict");
        let role = match verdict {
            "passed" => Role::Good,
            "failed" => Role::Bad,
            _ => Role::Warn,
        };
        let mut said = self.voice.paint(role, &self.voice.foreign(verdict));
        if let Some(reason) = &gate.reason {
            said += &format!(": {}", self.voice.foreign(reason));
        }
        let mut rows = vec![self.row(&gate.step, &said)];
        rows.extend(
            gate.probes
                .iter()
                .map(|probe| self.row("", &self.probe(probe))),
        );
        rows
    }

    fn probe(&self, probe: &ProbeReport) -> String {
        let total = probe.good + probe.bad + probe.unknown;
        let counts = [
            (probe.good, "good"),
            (probe.bad, "bad"),
            (probe.unknown, "unknown"),
        ];
        let counts: Vec<_> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let mut said = format!(
            "probe {}: {}, {}",
            self.voice.foreign(&probe.name),
            words::count(total, "sample", "samples"),
            counts.join(", ")
        );
        if let Some(last) = probe.samples.back() {
            said += &format!("; the last one: {}", self.voice.foreign(&last.found));
        }
        said
    }
}
