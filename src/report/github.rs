//! GitHub's workflow commands: groups, annotations and masks.
//!
//! The runner shows the text of an annotation in the log too, as `Error: …` with all its lines. So a failure
//! that becomes an annotation is not printed besides: its annotation carries the whole text, and the log reads
//! as the plain form does. What GitHub has no place for is printed as in the plain form.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::StepLine;
use super::finding::{Extent, Finding, Level};
use super::inert::{Line, inert_lines};
use super::style::Style;
use super::voice::Voice;
use super::words;
use crate::failure::Failure;

/// How many annotations of a level GitHub keeps of one step.
const PLACES: usize = 10;
/// How many of them the warnings about the document may take: they come first, and steps matter more.
const PLACES_OF_DOCUMENT: usize = 5;
/// The most UTF-16 units of a message; the runner cuts at 4,096 without a word.
const LONGEST: usize = 4_000;
/// The most findings that the last annotation names.
const MOST_NAMED: usize = 10;
/// The most UTF-16 units that it has of each: so they all fit into [`LONGEST`].
const LONGEST_NAMED: usize = 300;
/// The most masks: the runner looks for each of them, and for eleven forms of each, in every line of the job.
const MOST_MASKS: usize = 1_000;

/// Says which file of the repository a file is: its path from the root, with `/`, or nothing if it is none.
pub type Files = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Writes the markup of one process, which is one step of a job to GitHub.
pub struct Github {
    files: Files,
    pipeline: Option<String>,
    lines: HashMap<String, usize>,
    errors: Slots,
    warnings: Slots,
}

impl Github {
    /// Makes a writer that has used up no annotation.
    #[must_use]
    pub fn new(files: Files) -> Self {
        Self {
            files,
            pipeline: None,
            lines: HashMap::new(),
            errors: Slots::default(),
            warnings: Slots::default(),
        }
    }

    /// Takes notice of where the steps of a run stand.
    pub fn begin(&mut self, file: Option<&str>, steps: &[StepLine]) {
        self.pipeline = file.map(str::to_owned);
        let line = |step: &StepLine| Some((step.id.clone(), step.line?));
        self.lines = steps.iter().filter_map(line).collect();
    }

    /// Returns the beginning of a group. The title is masked and escaped.
    #[must_use]
    pub fn open(title: &str) -> Line {
        command("group", &[], title)
    }

    /// Returns the end of a group.
    #[must_use]
    pub fn close() -> Line {
        command("endgroup", &[], "")
    }

    /// Returns the commands that mask secrets in the rest of the job, one for each form.
    ///
    /// Forms of several lines are left out: a log has lines only, and the runner would take each line of such a
    /// form for a secret, a lone `}` too. The lines that are worth it are forms of their own.
    #[must_use]
    pub fn masks(forms: &[String]) -> Vec<Line> {
        let lines = forms.iter().filter(|form| !form.contains(['\n', '\r']));
        let lines = lines.filter(|form| !form.trim().is_empty());
        let lines = lines.map(|form| command("add-mask", &[], form));
        lines.take(MOST_MASKS).collect()
    }

    /// Tells the failure of a step, at the step's place in the pipeline file.
    pub fn step(&mut self, voice: &Voice, step: &str, ended: &str, told: Told<'_>) -> Vec<Line> {
        let mut annotation = Annotation {
            title: format!("shipgate: {} {ended}", voice.foreign(step)),
            ..Annotation::of(voice, told)
        };
        if let (Some(file), Some(line)) = (&self.pipeline, self.lines.get(step)) {
            match (self.files)(file) {
                Some(file) => {
                    annotation.file = Some(voice.foreign(&file));
                    annotation.extent = Some(Extent {
                        line: *line,
                        column: None,
                        last_column: None,
                    });
                }
                None => {
                    let place = format!("\n     at: line {line} of {}", voice.foreign(file));
                    annotation.message += &place;
                }
            }
        }
        self.tell(annotation, PLACES, told.text(voice))
    }

    /// Tells a failure that is no step's, of a whole file if one is named.
    pub fn failure(&mut self, voice: &Voice, failure: &Failure, file: Option<&str>) -> Vec<Line> {
        let told = Told::Fatal(failure);
        let file = file.and_then(|file| (self.files)(file));
        let annotation = Annotation {
            file: file.map(|file| voice.foreign(&file)),
            ..Annotation::of(voice, told)
        };
        self.tell(annotation, PLACES, told.text(voice))
    }

    /// Tells what is wrong with a file.
    pub fn finding(&mut self, voice: &Voice, finding: &Finding) -> Vec<Line> {
        let message = inert_lines(&voice.foreign_lines(&finding.text));
        let file = (self.files)(&finding.file).map(|file| voice.foreign(&file));
        let annotation = Annotation {
            level: finding.level,
            extent: finding.extent.filter(|_| file.is_some()),
            file,
            title: format!("shipgate: {}", voice.foreign(&finding.kind)),
            message,
        };
        let places = match finding.level {
            Level::Error => PLACES,
            Level::Warning => PLACES_OF_DOCUMENT,
        };
        self.tell(annotation, places, voice.finding(finding))
    }

    /// Returns one annotation a level for all those that found no place.
    pub fn fold(&mut self) -> Vec<Line> {
        let slots = [&mut self.errors, &mut self.warnings];
        slots.into_iter().filter_map(Slots::fold).collect()
    }

    fn tell(&mut self, annotation: Annotation, places: usize, text: Vec<String>) -> Vec<Line> {
        let slots = match annotation.level {
            Level::Error => &mut self.errors,
            Level::Warning => &mut self.warnings,
        };
        let long = annotation.message.encode_utf16().count() > LONGEST;
        match slots.take(annotation, places) {
            Some(line) if !long => vec![line],
            line => line.into_iter().chain(Line::texts(text)).collect(),
        }
    }
}

impl std::fmt::Debug for Github {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Github")
            .field("pipeline", &self.pipeline)
            .finish_non_exhaustive()
    }
}

/// A failure, and what becomes of the run.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// The run does not pass because of it.
    Fatal(&'a Failure),
    /// The run goes on.
    Survived(&'a Failure),
}

impl Told<'_> {
    /// Returns the lines of the plain form.
    #[must_use]
    pub fn text(self, voice: &Voice) -> Vec<String> {
        match self {
            Self::Fatal(failure) => voice.failure(failure),
            Self::Survived(failure) => voice.survived(failure),
        }
    }
}

/// A message at a place of a file. All parts are masked, and commands to nobody.
#[derive(Clone, Debug)]
struct Annotation {
    level: Level,
    file: Option<String>,
    extent: Option<Extent>,
    title: String,
    message: String,
}

impl Annotation {
    fn of(voice: &Voice, told: Told<'_>) -> Self {
        let (level, failure) = match told {
            Told::Fatal(failure) => (Level::Error, failure),
            Told::Survived(failure) => (Level::Warning, failure),
        };
        // GitHub shows annotations as they are, and colours as rubbish.
        let voice = voice.styled(Style::default());
        Self {
            level,
            file: None,
            extent: None,
            title: "shipgate".into(),
            message: voice.unlabelled(failure).join("\n"),
        }
    }

    fn line(&self) -> Line {
        let mut properties = Vec::new();
        if let Some(file) = &self.file {
            properties.push(("file", file.clone()));
        }
        if let Some(extent) = self.extent {
            let line = extent.line.to_string();
            properties.push(("line", line.clone()));
            // The runner takes columns only if the annotation ends on the line on which it begins.
            properties.push(("endLine", line));
            if let Some(column) = extent.column {
                let last = extent.last_column.unwrap_or(column).max(column);
                properties.push(("col", column.to_string()));
                properties.push(("endColumn", last.to_string()));
            }
        }
        properties.push(("title", self.title.clone()));
        let message = cut(&self.message, LONGEST, "\n... the log has the rest");
        command(self.level.word(), &properties, &message)
    }
}

/// The places for annotations of one level.
///
/// The last place is kept: nobody knows whether there will be an eleventh.
#[derive(Debug, Default)]
struct Slots {
    used: usize,
    held: Vec<Annotation>,
    more: usize,
}

impl Slots {
    fn take(&mut self, annotation: Annotation, places: usize) -> Option<Line> {
        if self.used < places.min(PLACES - 1) {
            self.used += 1;
            return Some(annotation.line());
        }
        if self.held.len() < MOST_NAMED {
            self.held.push(annotation);
        } else {
            self.more += 1;
        }
        None
    }

    fn fold(&mut self) -> Option<Line> {
        let (held, more) = (
            std::mem::take(&mut self.held),
            std::mem::take(&mut self.more),
        );
        let (first, others) = held.split_first()?;
        let count = held.len() + more;
        let told = match first.level {
            Level::Error => words::count(count as u64, "more error", "more errors"),
            Level::Warning => words::count(count as u64, "more warning", "more warnings"),
        };
        if self.used >= PLACES {
            // What fails after the end of the run, once all places are taken.
            return Some(Line::Text(format!("{told}, in this log only")));
        }
        self.used += 1;
        if others.is_empty() {
            let message = head(first);
            return Some(
                Annotation {
                    message,
                    ..first.clone()
                }
                .line(),
            );
        }
        let mut named: Vec<_> = held.iter().map(head).collect();
        if more > 0 {
            named.push(format!("and {more} more"));
        }
        let folded = Annotation {
            level: first.level,
            file: None,
            extent: None,
            title: format!("shipgate: {told}"),
            message: format!("{told}, in full in the log: {}", named.join("; ")),
        };
        Some(folded.line())
    }
}

/// Returns the first line of a message.
fn head(annotation: &Annotation) -> String {
    let line = annotation.message.lines().next().unwrap_or_default();
    cut(line, LONGEST_NAMED, "...")
}

/// Cuts text to a number of UTF-16 units.
fn cut(text: &str, longest: usize, mark: &str) -> String {
    let mut units = 0;
    for (at, character) in text.char_indices() {
        units += character.len_utf16();
        if units > longest {
            return format!("{}{mark}", &text[..at]);
        }
    }
    text.to_owned()
}

/// Returns a workflow command, escaped as the runner unescapes it.
fn command(name: &str, properties: &[(&str, String)], data: &str) -> Line {
    let pairs: Vec<_> = properties
        .iter()
        .map(|(key, value)| {
            format!(
                "{key}={}",
                escaped(value).replace(':', "%3A").replace(',', "%2C")
            )
        })
        .collect();
    let space = if pairs.is_empty() { "" } else { " " };
    Line::Markup(format!(
        "::{name}{space}{}::{}",
        pairs.join(","),
        escaped(data)
    ))
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
#[path = "github_tests.rs"]
mod tests;
