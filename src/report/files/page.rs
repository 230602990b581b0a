//! `summary.md`: a run as a page for people, in the Markdown that GitHub and GitLab render.
//!
//! What decides comes first: the verdict, what failed and what helps. The page stays under a number of bytes whatever
//! the report holds, by leaving out rows and saying so.

use std::time::Duration;

use super::history;
use super::place::Roots;
use super::quote::Quote;
use super::{REPORT, Surroundings};
use crate::outcome::ExitCode;
use crate::report::event::StepOutcome;
use crate::report::model::{GateReport, ImageReport, PinnedReport, ProbeReport, StepReport};
use crate::report::{Mask, Report, words};

/// A page must be smaller than this many bytes: GitHub refuses a summary above 1 MiB whole.
pub const MOST_BYTES: usize = 1024 * 1024;
/// The fewest bytes that a page can be asked to keep to.
pub const FEWEST_BYTES: usize = 128 * 1024;
/// What is kept free for headings and for the sentences that say what was left out.
const RESERVE: usize = 64 * 1024;
/// The most pipeline files that are named below the verdict: `validate` takes any number.
const FILES: usize = 20;

/// Returns the page. It is smaller than `budget` bytes, of which it needs [`FEWEST_BYTES`].
#[must_use]
pub fn text(report: &Report, around: &Surroundings, mask: &dyn Mask, budget: usize) -> String {
    let quote = Quote::new(mask);
    let whole = match &around.folder {
        Some(folder) => format!(
            "all of it is in {}",
            quote.code(&folder.join(REPORT).display().to_string())
        ),
        None => "name a folder with `--report` to have all of it".to_owned(),
    };
    let mut page = Page {
        text: String::new(),
        most: budget.saturating_sub(RESERVE),
        whole,
        quote,
        roots: &around.roots,
    };
    page.verdict(report);
    page.failures(report);
    page.diagnostics(report);
    page.images(report);
    page.gates(report);
    page.steps(report);
    page.warnings(report);
    page.plan(around.plan.as_deref());
    page.folded(report);
    page.text
}

struct Page<'a> {
    text: String,
    most: usize,
    whole: String,
    quote: Quote<'a>,
    roots: &'a Roots,
}

/// What a table holds: one and many of it.
type Noun = (&'static str, &'static str);

impl Page<'_> {
    fn verdict(&mut self, report: &Report) {
        let exit = report.exit.map(|exit| exit.name);
        let mark = match exit {
            Some(ExitCode::Done) => "✅",
            Some(ExitCode::GateInconclusive) => "⚠️",
            Some(ExitCode::Cancelled) => "⏹️",
            None => "⏳",
            Some(_) => "❌",
        };
        let word = match (&*report.command, exit) {
            (_, None) => "not over",
            ("plan", Some(ExitCode::Done)) => "would be done",
            ("plan", Some(ExitCode::Cancelled)) => "plan cancelled",
            ("plan", Some(_)) => "would fail",
            ("validate", Some(ExitCode::Done)) => "valid",
            ("validate", Some(_)) => "not valid",
            (_, Some(ExitCode::Done)) => "done",
            (_, Some(ExitCode::Cancelled)) => "cancelled",
            (_, Some(ExitCode::GateInconclusive)) => "inconclusive",
            (_, Some(_)) => "failed",
        };
        let name = self.quote.code(&report.pipeline);
        self.text += &format!("## {mark} {name}: {word}\n\n| verdict | {word} |\n| --- | --- |\n");
        let mut rows = Vec::new();
        if let Some(exit) = report.exit {
            rows.push((
                "exit code",
                format!("{} (`{}`)", exit.code, exit.name.name()),
            ));
        }
        if let Some(reason) = &report.reason {
            rows.push(("reason", self.quote.code(reason)));
        }
        let files = report.files.iter().take(FILES);
        rows.extend(files.map(|file| ("file", self.quote.code(&self.roots.shown(file)))));
        if let Some(more) = report.files.len().checked_sub(FILES + 1) {
            let more = words::count(more as u64 + 1, "file", "files");
            rows.push(("file", format!("{more} more")));
        }
        if !report.run.is_empty() {
            rows.push(("run", self.quote.code(&report.run)));
        }
        rows.push(("began", self.quote.code(&report.started)));
        rows.push(("took", took(report.took_ms)));
        for (name, value) in rows {
            self.text += &format!("| {name} | {value} |\n");
        }
    }

    fn failures(&mut self, report: &Report) {
        let mut left = 0;
        if let Some(failure) = &report.failure {
            let block = self.quote.failure(failure);
            left += self.block("### The run could not begin", &block);
        }
        let would = if report.command == "plan" {
            "would fail"
        } else {
            "failed"
        };
        for step in &report.steps {
            let (word, failure) = match (step.outcome, &step.failure) {
                (Some(StepOutcome::Failed), Some(failure)) => (would, failure),
                (Some(StepOutcome::Inconclusive), Some(failure)) => ("was inconclusive", failure),
                (Some(StepOutcome::Cancelled), Some(failure)) => ("was cancelled", failure),
                _ => continue,
            };
            let went_on = if step.continued {
                ", and the run went on"
            } else {
                ""
            };
            let line = match step.line {
                Some(line) => format!(" on line {line}"),
                None => String::new(),
            };
            let id = self.quote.code(&step.id);
            let heading = format!("### Step {id}{line} {word}{went_on}");
            let block = self.quote.failure(failure);
            left += self.block(&heading, &block);
        }
        self.left_out(left, ("failure", "failures"));
    }

    fn diagnostics(&mut self, report: &Report) {
        let rows = report.diagnostics.iter().map(|found| {
            let mark = if found.is_error() { "❌" } else { "⚠️" };
            let file = self.roots.shown(&found.file);
            let place = match found.place {
                Some(place) => format!("{file}:{}:{}", place.line, place.column),
                None => file,
            };
            let cause = found.cause.as_ref().map(|cause| self.quote.code(cause));
            let help = found.help.as_ref().map(|help| self.quote.code(help));
            vec![
                format!("{mark} {}", self.quote.code(&place)),
                self.quote.code(&found.message),
                cause.unwrap_or_default(),
                help.unwrap_or_default(),
            ]
        });
        let rows = rows.collect();
        let columns = ["place", "what is wrong", "why", "what helps"];
        self.section("The pipeline file", &columns, rows, ("finding", "findings"));
    }

    fn images(&mut self, report: &Report) {
        let row = |image: &ImageReport| {
            let bytes = [(image.fetched, "fetched"), (image.cached, "cached")];
            let bytes = bytes.iter().filter_map(|(bytes, what)| {
                let bytes = (*bytes).filter(|bytes| *bytes > 0)?;
                Some(format!("{} {what}", words::size(bytes)))
            });
            let signed = match &image.verified {
                Some(verified) => format!(
                    "✅ {}, as {} asks",
                    self.quote.code(&verified.signers.join(", ")),
                    self.quote.code(&verified.rule)
                ),
                None => "not verified".to_owned(),
            };
            vec![
                self.quote.code(&image.name),
                self.quote.code(&image.digest),
                signed,
                self.quote.code(&image.reference),
                self.quote.code(&image.platform),
                bytes.collect::<Vec<_>>().join(", "),
            ]
        };
        let pinned = |image: &PinnedReport| {
            vec![
                self.quote.code(&image.name),
                self.quote.code(&image.digest),
                "not asked for here".to_owned(),
                self.quote.code(&image.reference),
                "pinned by the lock file".to_owned(),
                String::new(),
            ]
        };
        let resolved = |pinned: &&PinnedReport| {
            let mut images = report.images.iter();
            !images.any(|image| image.name == pinned.name)
        };
        let mut rows: Vec<_> = report.images.iter().map(row).collect();
        rows.extend(report.pinned.iter().filter(resolved).map(pinned));
        let columns = [
            "image",
            "digest",
            "signed by",
            "reference",
            "platform",
            "bytes",
        ];
        self.section("Images", &columns, rows, ("image", "images"));
    }

    fn gates(&mut self, report: &Report) {
        let mut behind = report.gates.len() as u64;
        for gate in &report.gates {
            behind -= 1;
            let heading = self.gate(gate);
            let rows = gate.probes.iter().map(|probe| self.probe(probe)).collect();
            let columns = [
                "probe",
                "history",
                "samples",
                "first change",
                "last change",
                "newest",
            ];
            let left = self.table(&heading, &columns, rows);
            if left > 0 {
                self.left_out(left, ("probe", "probes"));
                // One sentence for all of them: a sentence for each might not fit either.
                self.left_out(behind, ("gate", "gates"));
                break;
            }
        }
        if !report.gates.is_empty() && self.text.len() < self.most {
            self.text += &format!("\n{}\n", history::LEGEND);
        }
    }

    fn gate(&self, gate: &GateReport) -> String {
        let verdict = gate.verdict.as_deref().unwrap_or("no verdict");
        let mark = match verdict {
            "passed" => "✅",
            "failed" => "❌",
            _ => "⚠️",
        };
        let step = self.quote.code(&gate.step);
        let mut heading = format!("### {mark} Gate {step}: {}\n", self.quote.code(verdict));
        if let Some(reason) = &gate.reason {
            heading += &format!("\n{}\n", self.quote.code(reason));
        }
        heading
    }

    fn probe(&self, probe: &ProbeReport) -> Vec<String> {
        let change = |sample| {
            let (word, at) = (history::word(sample), history::at(sample));
            format!("{word} at {at}: {}", self.quote.code(&sample.found))
        };
        let changes = history::changes(probe);
        let newest = probe.samples.back();
        let newest = newest.map(|sample| self.quote.code(&sample.found));
        vec![
            self.quote.code(&probe.name),
            history::picture(probe),
            history::counts(probe),
            changes.map_or_else(|| "none".to_owned(), |(first, _)| change(first)),
            changes.map_or_else(|| "none".to_owned(), |(_, last)| change(last)),
            newest.unwrap_or_default(),
        ]
    }

    fn steps(&mut self, report: &Report) {
        let plan = report.command == "plan";
        let row = |step: &StepReport| {
            let outcome = match step.outcome {
                Some(StepOutcome::Passed) if plan => "✅ would pass",
                Some(StepOutcome::Failed) if plan => "❌ would fail",
                Some(StepOutcome::Passed) => "✅ passed",
                Some(StepOutcome::Failed) => "❌ failed",
                Some(StepOutcome::Inconclusive) => "⚠️ inconclusive",
                Some(StepOutcome::Cancelled) => "⏹️ cancelled",
                Some(StepOutcome::Skipped) => "skipped",
                None => "not reached",
            };
            let mut notes = Vec::new();
            if step.list != "steps" {
                notes.push(self.quote.code(&step.list));
            }
            notes.extend(words::notes(step));
            notes.extend(step.skipped.iter().map(|reason| self.quote.code(reason)));
            vec![
                self.quote.code(&step.id),
                self.quote.code(&step.verb),
                outcome.to_owned(),
                step.took_ms.map(took).unwrap_or_default(),
                notes.join(", "),
            ]
        };
        let rows = report.steps.iter().map(row).collect();
        let columns = ["step", "verb", "outcome", "took", "notes"];
        self.section("Steps", &columns, rows, ("step", "steps"));
    }

    fn warnings(&mut self, report: &Report) {
        let mut left = 0;
        for (number, warning) in report.warnings.iter().enumerate() {
            let mut said = match number {
                0 => "### Warnings\n\n⚠️ ".to_owned(),
                _ => "⚠️ ".to_owned(),
            };
            said += &self.quote.code(&warning.message);
            if let Some(step) = &warning.step {
                said += &format!(", in step {}", self.quote.code(step));
            }
            let hint = warning.hint.as_ref();
            let block = hint.map(|hint| self.quote.block(hint.lines()));
            left += self.block(&said, &block.unwrap_or_default());
        }
        self.left_out(left, ("warning", "warnings"));
    }

    fn plan(&mut self, plan: Option<&str>) {
        let Some(plan) = plan else { return };
        let block = self.quote.whole_block(plan.lines());
        let folded =
            format!("<details>\n<summary>The plan in full</summary>\n\n{block}\n</details>");
        let left = self.block(&folded, "");
        self.left_out(left, ("plan", "plans"));
    }

    /// Adds what is looked at only when something is odd.
    fn folded(&mut self, report: &Report) {
        let notices = report.notices.iter().map(|notice| {
            let delivered = if notice.delivered {
                "delivered"
            } else {
                "not delivered"
            };
            vec![
                self.quote.code(&notice.target),
                delivered.to_owned(),
                words::count(u64::from(notice.attempts), "attempt", "attempts"),
                self.quote.code(&notice.detail),
            ]
        });
        let notices = notices.collect();
        let columns = ["notice", "", "attempts", "answer"];
        self.fold("Notices", &columns, notices, ("notice", "notices"));
        let hosts = report.requests.hosts.iter().map(|host| {
            vec![
                self.quote.code(&host.host),
                host.requests.to_string(),
                host.failed.to_string(),
                words::size(host.received),
            ]
        });
        let hosts = hosts.collect();
        let columns = ["host", "requests", "failed", "received"];
        self.fold("Requests", &columns, hosts, ("host", "hosts"));
        let signatures = report.signatures.iter().map(|signature| {
            let signer = signature.signer.as_ref();
            vec![
                self.quote.code(&signature.image),
                self.quote.code(&signature.verdict),
                signer
                    .map(|signer| self.quote.code(signer))
                    .unwrap_or_default(),
                self.quote.code(&signature.place),
                self.quote.code(&signature.digest),
                self.quote.code(&signature.found),
            ]
        });
        let signatures = signatures.collect();
        let columns = ["image", "verdict", "signer", "place", "digest", "found"];
        self.fold(
            "Signatures that were looked at",
            &columns,
            signatures,
            ("signature", "signatures"),
        );
        let registries = report.registries.iter().map(|registry| {
            let expires = registry.certificate_expires.as_ref();
            vec![
                self.quote.code(&registry.registry),
                self.quote.code(&registry.summary),
                took(registry.latency_ms),
                registry
                    .tls
                    .as_ref()
                    .map(|tls| self.quote.code(tls))
                    .unwrap_or_default(),
                expires
                    .map(|expires| self.quote.code(expires))
                    .unwrap_or_default(),
            ]
        });
        let registries = registries.collect();
        let columns = ["registry", "state", "latency", "TLS", "certificate until"];
        self.fold(
            "Registries",
            &columns,
            registries,
            ("registry", "registries"),
        );
    }

    fn section(&mut self, heading: &str, columns: &[&str], rows: Vec<Vec<String>>, noun: Noun) {
        if !rows.is_empty() {
            let left = self.table(&format!("### {heading}\n"), columns, rows);
            self.left_out(left, noun);
        }
    }

    fn fold(&mut self, heading: &str, columns: &[&str], rows: Vec<Vec<String>>, noun: Noun) {
        if rows.is_empty() {
            return;
        }
        self.text += "\n<details>";
        let summary = format!("<summary>{heading} ({})</summary>\n", rows.len());
        let left = self.table(&summary, columns, rows);
        self.left_out(left, noun);
        self.text += "\n</details>\n";
    }

    /// Adds a table, and returns how many of its rows were left out.
    fn table(&mut self, heading: &str, columns: &[&str], rows: Vec<Vec<String>>) -> u64 {
        let rule = vec!["---"; columns.len()].join(" | ");
        let head = format!("\n{heading}\n| {} |\n| {rule} |\n", columns.join(" | "));
        if !self.fits(&head) {
            return rows.len() as u64;
        }
        let mut left = 0;
        self.text += &head;
        for row in rows {
            let row = format!("| {} |\n", row.join(" | "));
            // Once a row is left out all behind it are: a gap would be taken for the end.
            if left == 0 && self.fits(&row) {
                self.text += &row;
            } else {
                left += 1;
            }
        }
        left
    }

    /// Adds a heading and a block, and returns how many of them were left out.
    fn block(&mut self, heading: &str, block: &str) -> u64 {
        let text = format!("\n{heading}\n\n{block}");
        if !self.fits(&text) {
            return 1;
        }
        self.text += text.trim_end();
        self.text += "\n";
        0
    }

    fn left_out(&mut self, number: u64, (one, many): Noun) {
        if number > 0 {
            let what = words::count(number, one, many);
            let verb = if number == 1 { "is" } else { "are" };
            self.text += &format!(
                "\n**{what} more {verb} left out to keep this page small; {}.**\n",
                self.whole
            );
        }
    }

    fn fits(&self, more: &str) -> bool {
        self.text.len() + more.len() < self.most
    }
}

fn took(milliseconds: u64) -> String {
    words::duration(Duration::from_millis(milliseconds))
}
