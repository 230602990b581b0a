//! `junit.xml`: the steps and probes of a run as tests, in the form that Jenkins, GitLab and most others read.
//!
//! There is no standard. The elements, their order and the attributes of suites are those of Jenkins' schema; `file`
//! and `line` of a case are what GitLab and many others read besides. GitLab shows the body of a failure and not
//! its `message`, so the body says everything; and the library that it reads with treats the attribute
//! `type` as a type if it knows the word (`file`, `yaml`, …), so only names of exit codes and words of ours
//! stand there.

use std::collections::HashMap;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::history;
use super::place::Roots;
use super::quote::{Quote, said};
use crate::failure::Failure;
use crate::report::event::StepOutcome;
use crate::report::model::{DiagnosticReport, GateReport, ProbeReport, StepReport};
use crate::report::{Mask, Report};

/// Returns the text of the file.
///
/// # Errors
/// None in memory; the writer's interface has them.
pub fn text(report: &Report, roots: &Roots, mask: &dyn Mask) -> io::Result<String> {
    let suites = suites(report, roots);
    let quote = Quote::new(mask);
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let all = || suites.iter().flat_map(|suite| &suite.cases);
    writer
        .create_element("testsuites")
        .with_attribute(("name", "shipgate"))
        .with_attributes(borrowed(&counts(all())))
        .with_attribute(("time", &*seconds(report.took_ms)))
        .write_inner_content(|writer| {
            suites
                .iter()
                .try_for_each(|suite| suite.write(writer, quote))
        })?;
    let mut text = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    text.push('\n');
    Ok(text)
}

struct Suite {
    name: String,
    timestamp: String,
    took_ms: u64,
    cases: Vec<Case>,
}

struct Case {
    class: String,
    name: String,
    took_ms: u64,
    file: Option<String>,
    line: Option<usize>,
    end: End,
    output: Vec<String>,
}

/// How a test ended. A text of several lines is what GitLab shows, its first line the `message`.
enum End {
    Error(String, Vec<String>),
    Failed(String, Vec<String>),
    Passed,
    Skipped(String),
}

fn suites(report: &Report, roots: &Roots) -> Vec<Suite> {
    let suite = |name: &str, cases| Suite {
        name: name.to_owned(),
        timestamp: timestamp(&report.started),
        took_ms: report.took_ms,
        cases,
    };
    if report.files.len() > 1 {
        let files = report.files.iter();
        return files
            .map(|file| {
                let shown = roots.shown(file);
                suite(&shown, document(report, file, &shown, &shown))
            })
            .collect();
    }
    let name = &report.pipeline;
    let mut cases = Vec::new();
    let file = report.files.first().map(|file| roots.shown(file));
    if let (Some(file), Some(shown)) = (report.files.first(), &file) {
        cases.extend(document(report, file, shown, name));
    }
    if let Some(failure) = &report.failure {
        cases.push(Case {
            class: format!("{name}.document"),
            name: "the run can begin".to_owned(),
            took_ms: 0,
            file: file.clone(),
            line: None,
            end: End::Error(failure.exit.name().to_owned(), said(failure)),
            output: Vec::new(),
        });
    }
    for step in &report.steps {
        cases.push(self::step(report, step, file.as_deref()));
        let gates = report.gates.iter().filter(|gate| gate.step == step.id);
        for (gate, probe) in
            gates.flat_map(|gate| gate.probes.iter().map(move |probe| (gate, probe)))
        {
            cases.push(Case {
                class: format!("{name}.{}", step.id),
                name: probe.name.clone(),
                took_ms: probe.samples.iter().map(|sample| sample.took_ms).sum(),
                file: file.clone(),
                line: step.line,
                end: judged(gate, step, probe),
                output: told(probe),
            });
        }
    }
    vec![suite(name, unique(cases))]
}

/// Returns the tests of a document: one that it is valid, or one for each error.
fn document(report: &Report, file: &str, shown: &str, pipeline: &str) -> Vec<Case> {
    let found = || report.diagnostics.iter().filter(|found| found.file == file);
    let case = |name: &str, line, end, output| Case {
        class: format!("{pipeline}.document"),
        name: name.to_owned(),
        took_ms: 0,
        file: Some(shown.to_owned()),
        line,
        end,
        output,
    };
    if found().any(DiagnosticReport::is_error) {
        let errors = found().filter(|found| found.is_error()).map(|found| {
            let line = found.place.map(|place| place.line);
            let end = End::Failed(found.kind.clone(), explained(found, shown));
            case(&found.message, line, end, Vec::new())
        });
        return unique(errors.collect());
    }
    let warnings = found().flat_map(|found| explained(found, shown)).collect();
    vec![case("the document is valid", None, End::Passed, warnings)]
}

/// Returns a finding in lines.
fn explained(found: &DiagnosticReport, shown: &str) -> Vec<String> {
    let at = found.place.map_or_else(
        || shown.to_owned(),
        |place| format!("{shown}:{}:{}", place.line, place.column),
    );
    let mut lines = vec![found.message.clone(), format!("at: {at}")];
    let notes = [
        ("there", &found.label),
        ("cause", &found.cause),
        ("help", &found.help),
    ];
    lines.extend(
        notes
            .iter()
            .filter_map(|(what, text)| Some(format!("{what}: {}", text.as_ref()?))),
    );
    lines
}

fn step(report: &Report, step: &StepReport, file: Option<&str>) -> Case {
    let failure = || {
        let nothing = Failure::new(crate::outcome::ExitCode::Unexpected, "it failed");
        step.failure.clone().unwrap_or(nothing)
    };
    let end = match step.outcome {
        Some(StepOutcome::Passed) => End::Passed,
        Some(StepOutcome::Skipped) => End::Skipped(step.skipped.clone().unwrap_or_default()),
        // As pytest marks what is expected to fail: the run is not worse for it.
        Some(_) if step.continued => End::Skipped(format!(
            "failed, and the run went on: {}",
            failure().summary()
        )),
        Some(StepOutcome::Failed) => {
            let failure = failure();
            End::Failed(failure.exit.name().to_owned(), said(&failure))
        }
        Some(StepOutcome::Inconclusive | StepOutcome::Cancelled) => {
            let failure = failure();
            End::Error(failure.exit.name().to_owned(), said(&failure))
        }
        None if report.exit.is_some() => End::Skipped("not reached".to_owned()),
        None => End::Skipped("not over".to_owned()),
    };
    Case {
        class: report.pipeline.clone(),
        name: step.id.clone(),
        took_ms: step.took_ms.unwrap_or(0),
        file: file.map(str::to_owned),
        line: step.line,
        end,
        output: Vec::new(),
    }
}

/// Says how a probe did: by its newest sample, in the light of the gate's verdict.
fn judged(gate: &GateReport, step: &StepReport, probe: &ProbeReport) -> End {
    let Some(newest) = probe.samples.back() else {
        return End::Skipped("never asked".to_owned());
    };
    let found = format!("{}: {}", history::word(newest), newest.found);
    let mut body = vec![found.clone()];
    body.extend(gate.reason.iter().map(|reason| format!("gate: {reason}")));
    match (gate.verdict.as_deref(), history::word(newest)) {
        (_, "good") => End::Passed,
        (Some("passed"), _) => End::Skipped(format!("the gate passed without it: {found}")),
        _ if step.continued => End::Skipped(format!("failed, and the run went on: {found}")),
        (Some("failed"), "bad") => End::Failed("probe-bad".to_owned(), body),
        (_, word) => End::Error(format!("probe-{word}"), body),
    }
}

fn told(probe: &ProbeReport) -> Vec<String> {
    let mut lines = vec![
        history::counts(probe),
        format!("{}  ({})", history::picture(probe), history::LEGEND),
    ];
    if let Some((first, last)) = history::changes(probe) {
        let change = |which, sample| {
            let (at, word) = (history::at(sample), history::word(sample));
            format!("{which} change: {word} at {at}: {}", sample.found)
        };
        lines.push(change("first", first));
        if first != last {
            lines.push(change("last", last));
        }
    }
    lines
}

/// Numbers the names that a class has twice: readers keep one test a name.
fn unique(mut cases: Vec<Case>) -> Vec<Case> {
    let mut seen: HashMap<(String, String), u32> = HashMap::new();
    for case in &mut cases {
        let number = seen
            .entry((case.class.clone(), case.name.clone()))
            .or_default();
        *number += 1;
        if *number > 1 {
            case.name = format!("{} ({number})", case.name);
        }
    }
    cases
}

impl Suite {
    fn write(&self, writer: &mut Writer<Vec<u8>>, quote: Quote<'_>) -> io::Result<()> {
        writer
            .create_element("testsuite")
            .with_attribute(("name", &*quote.xml(&self.name)))
            .with_attributes(borrowed(&counts(self.cases.iter())))
            .with_attribute(("time", &*seconds(self.took_ms)))
            .with_attribute(("timestamp", &*quote.xml(&self.timestamp)))
            .write_inner_content(|writer| {
                self.cases
                    .iter()
                    .try_for_each(|case| case.write(writer, quote))
            })?;
        Ok(())
    }
}

impl Case {
    fn write(&self, writer: &mut Writer<Vec<u8>>, quote: Quote<'_>) -> io::Result<()> {
        let mut attributes = vec![
            ("name", quote.xml(&self.name)),
            ("classname", quote.xml(&self.class)),
            ("time", seconds(self.took_ms)),
        ];
        attributes.extend(self.file.iter().map(|file| ("file", quote.xml(file))));
        attributes.extend(self.line.iter().map(|line| ("line", line.to_string())));
        let case = writer
            .create_element("testcase")
            .with_attributes(borrowed(&attributes));
        if matches!(self.end, End::Passed) && self.output.is_empty() {
            case.write_empty()?;
            return Ok(());
        }
        case.write_inner_content(|writer| {
            match &self.end {
                End::Passed => {}
                End::Skipped(reason) => {
                    writer
                        .create_element("skipped")
                        .with_attribute(("message", &*quote.xml(reason)))
                        .write_empty()?;
                }
                End::Error(kind, lines) => spoken(writer, "error", kind, lines, quote)?,
                End::Failed(kind, lines) => spoken(writer, "failure", kind, lines, quote)?,
            }
            if !self.output.is_empty() {
                writer
                    .create_element("system-out")
                    .write_text_content(BytesText::new(&joined(&self.output, quote)))?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn spoken(
    writer: &mut Writer<Vec<u8>>,
    element: &str,
    kind: &str,
    lines: &[String],
    quote: Quote<'_>,
) -> io::Result<()> {
    let first = lines.first().map(String::as_str).unwrap_or_default();
    writer
        .create_element(element)
        .with_attribute(("message", &*quote.xml(first)))
        .with_attribute(("type", &*quote.xml(kind)))
        .write_text_content(BytesText::new(&joined(lines, quote)))?;
    Ok(())
}

fn joined(lines: &[String], quote: Quote<'_>) -> String {
    let lines: Vec<_> = lines.iter().map(|line| quote.xml(line)).collect();
    lines.join("\n")
}

fn counts<'a>(cases: impl Iterator<Item = &'a Case>) -> [(&'static str, String); 4] {
    let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    for case in cases {
        tests += 1;
        match case.end {
            End::Error(..) => errors += 1,
            End::Failed(..) => failures += 1,
            End::Passed => {}
            End::Skipped(_) => skipped += 1,
        }
    }
    let text = |number: u32| number.to_string();
    [
        ("tests", text(tests)),
        ("failures", text(failures)),
        ("errors", text(errors)),
        ("skipped", text(skipped)),
    ]
}

fn borrowed<'a>(
    attributes: &'a [(&'static str, String)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    attributes.iter().map(|(name, value)| (*name, &**value))
}

/// Returns milliseconds as seconds, as a decimal number.
fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1_000, milliseconds % 1_000)
}

/// Returns an RFC 3339 time in the form of JUnit: UTC, whole seconds, no zone.
fn timestamp(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        Err(_) => time.to_owned(),
    }
}
