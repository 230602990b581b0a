//! Plain lines for logs: one a state change, a heartbeat in long waits, no cursor codes.

mod found;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::event::StepOutcome;
use super::progress::Progress;
use super::style::{Role, Style};
use super::voice::Voice;
use super::{Detail, Event, Mask, Summary, closing, words};
use crate::failure::Failure;
use crate::oci::Digest;

/// The least time between two heartbeats, or between a line and a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The least time between two lines that say what is waited for.
const WAIT_PAUSE: Duration = Duration::from_secs(2);
/// The widest that the column of step ids gets. Longer ids push their lines to the right.
const WIDEST_COLUMN: usize = 40;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verbosity {
    /// Errors and the verdict.
    Quiet,
    /// A line for every change of state.
    #[default]
    Normal,
    /// Every blob, sample and signature too.
    Verbose,
}

/// Turns events into lines.
#[derive(Debug)]
pub struct PlainRenderer {
    voice: Voice,
    verbosity: Verbosity,
    /// Whether bars say what is waited for, so that lines need not.
    beside_bars: bool,
    /// Whether somebody else says why a step failed.
    without_failures: bool,
    column: usize,
    full: HashSet<Digest>,
    probes: BTreeMap<(String, String), Changes>,
    useless_signatures: BTreeMap<String, u32>,
    summary: Summary,
    progress: Progress,
    last_line: Duration,
    last_wait: Option<Duration>,
    held_wait: Option<String>,
}

#[derive(Debug, Default)]
struct Changes {
    last: String,
    shown: u32,
}

impl PlainRenderer {
    /// Makes a renderer.
    #[must_use]
    pub fn new(style: Style, verbosity: Verbosity) -> Self {
        Self {
            voice: Voice::new(style),
            verbosity,
            beside_bars: false,
            without_failures: false,
            column: 0,
            full: HashSet::new(),
            probes: BTreeMap::new(),
            useless_signatures: BTreeMap::new(),
            summary: Summary::new(),
            progress: Progress::default(),
            last_line: Duration::ZERO,
            last_wait: None,
            held_wait: None,
        }
    }

    /// Leaves waits and heartbeats to bars.
    #[must_use]
    pub fn beside_bars(mut self) -> Self {
        self.beside_bars = true;
        self
    }

    /// Leaves it to somebody else to say why a step failed.
    #[must_use]
    pub fn without_failures(mut self) -> Self {
        self.without_failures = true;
        self
    }

    /// Replaces the mask that all foreign text passes through.
    pub fn set_mask(&mut self, mask: Arc<dyn Mask>) {
        self.voice.set_mask(mask);
    }

    /// Returns how failures and foreign text are said.
    #[must_use]
    pub fn voice(&self) -> &Voice {
        &self.voice
    }

    /// Returns what is under way.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Returns the lines that an event is worth, without line breaks.
    pub fn render(&mut self, event: &Event) -> Vec<String> {
        self.summary.apply(event);
        let waited_on = self.progress.wait().map(|wait| wait.on.clone());
        self.progress.apply(event);
        if self.progress.wait().is_none() {
            self.held_wait = None;
        }
        let lines = match self.verbosity {
            Verbosity::Quiet => self.quiet(event),
            _ => self.lines(event, waited_on.as_deref()),
        };
        if !lines.is_empty() {
            self.last_line = event.elapsed;
        }
        lines
    }

    /// Returns a heartbeat if one is due: something is under way and nothing was said for 30 s.
    ///
    /// `elapsed` is the time since the run began. Call it about once a second.
    pub fn tick(&mut self, elapsed: Duration) -> Vec<String> {
        if self.verbosity == Verbosity::Quiet || self.beside_bars {
            return Vec::new();
        }
        let line = self.due_wait(elapsed).or_else(|| self.heartbeat(elapsed));
        if line.is_some() {
            self.last_line = elapsed;
        }
        line.into_iter().collect()
    }

    fn quiet(&self, event: &Event) -> Vec<String> {
        match &event.detail {
            Detail::StepFinished {
                failure: Some(failure),
                ..
            } if !self.without_failures => self.voice.failure(failure),
            Detail::RunFinished { .. } => closing::verdict(self.summary.report(), &self.voice),
            _ => Vec::new(),
        }
    }

    fn lines(&mut self, event: &Event, waited_on: Option<&str>) -> Vec<String> {
        let verbose = self.verbosity == Verbosity::Verbose;
        let step = event.step.as_deref();
        let said = match &event.detail {
            Detail::RunStarted {
                name, run, steps, ..
            } => {
                let widths = steps.iter().map(|step| step.id.chars().count());
                self.column = widths.max().unwrap_or(0).min(WIDEST_COLUMN);
                let count = words::count(steps.len() as u64, "step", "steps");
                let called = self.voice.foreign(&words::called(name, run));
                let run = match run.as_str() {
                    "" => String::new(),
                    run => format!(", run {}", self.voice.foreign(run)),
                };
                return vec![format!("{called}: {count}{run}")];
            }
            Detail::RunFinished { .. } => {
                return closing::lines(self.summary.report(), &self.voice);
            }
            Detail::RunResumed {
                run, during, left, ..
            } => return vec![self.resumed(run, during.as_deref(), left)],
            Detail::Warned { message, hint } => {
                let message = match step {
                    Some(step) => format!("{step}: {message}"),
                    None => message.clone(),
                };
                return self.voice.warning(&message, hint.as_deref());
            }
            Detail::StepStarted { verb, name } => {
                let known = step == Some(name) || name == verb || name.is_empty();
                match (known, verbose) {
                    (false, _) => format!("{} ({verb})", self.voice.foreign(name)),
                    (true, true) => "begins".into(),
                    (true, false) => return Vec::new(),
                }
            }
            Detail::StepFinished {
                outcome,
                took,
                failure,
                continued,
            } => return self.finished(step, *outcome, *took, failure.as_ref(), *continued),
            Detail::StepRetried {
                attempt,
                of,
                wait,
                failure,
            } => return self.retried(step, *attempt, *of, *wait, failure),
            Detail::StepSkipped { reason } => {
                let skipped = self.voice.paint(Role::Dim, "skipped:");
                format!("{skipped} {}", self.voice.foreign(reason))
            }
            Detail::Waiting { on } => match self.waiting(event.elapsed, on, waited_on) {
                // A registry's client does not know which step it works for.
                Some(said) => return vec![self.line(step.or_else(|| self.step()), &said)],
                None => return Vec::new(),
            },
            Detail::BlobStarted { .. } | Detail::BlobProgressed { .. } => return Vec::new(),
            Detail::BlobFinished { .. } if !verbose => return Vec::new(),
            detail => match self.found(step, detail) {
                Some(said) => said,
                None => return Vec::new(),
            },
        };
        vec![self.line(step, &said)]
    }

    fn resumed(&self, run: &str, during: Option<&str>, left: &[String]) -> String {
        let stopped = match during {
            Some(step) => format!("killed during step {}", self.voice.foreign(step)),
            None if self.summary.report().exit.is_some() => "it left something open".into(),
            None => "killed between two steps".into(),
        };
        let left = match left {
            [] => "its report".into(),
            steps => self.voice.foreign(&steps.join(", ")),
        };
        let run = self.voice.foreign(run);
        format!("run {run}: {stopped}; finishing: {left}")
    }

    fn finished(
        &self,
        step: Option<&str>,
        outcome: StepOutcome,
        took: Duration,
        failure: Option<&Failure>,
        continued: bool,
    ) -> Vec<String> {
        let took = words::duration(took);
        let paint = |role, text| self.voice.paint(role, text);
        let mut said = match outcome {
            StepOutcome::Passed => format!("{} in {took}", paint(Role::Good, "passed")),
            StepOutcome::Failed => format!("{} after {took}", paint(Role::Bad, "FAILED")),
            other => format!("{} after {took}", paint(Role::Warn, &other.to_string())),
        };
        if continued {
            said += ", the run goes on";
        }
        let mut lines = vec![self.line(step, &said)];
        match failure.filter(|_| !self.without_failures) {
            Some(failure) if continued => lines.extend(self.voice.survived(failure)),
            Some(failure) => lines.extend(self.voice.failure(failure)),
            None => {}
        }
        lines
    }

    fn retried(
        &self,
        step: Option<&str>,
        attempt: u32,
        of: u32,
        wait: Duration,
        failure: &Failure,
    ) -> Vec<String> {
        let failed = self.voice.paint(Role::Warn, "failed");
        let wait = words::duration(wait);
        let said = format!("attempt {attempt} of {of} {failed}, the next one in {wait}");
        let mut lines = vec![self.line(step, &said)];
        lines.extend(self.voice.survived(failure));
        lines
    }

    fn waiting(&mut self, now: Duration, on: &str, before: Option<&str>) -> Option<String> {
        if self.beside_bars || before == Some(on) {
            return None;
        }
        if self.last_wait.is_some_and(|last| now < last + WAIT_PAUSE) {
            self.held_wait = Some(on.to_owned());
            return None;
        }
        self.held_wait = None;
        self.last_wait = Some(now);
        Some(self.waits_for(on))
    }

    fn due_wait(&mut self, now: Duration) -> Option<String> {
        if self.last_wait.is_some_and(|last| now < last + WAIT_PAUSE) {
            return None;
        }
        let on = self.held_wait.take()?;
        self.last_wait = Some(now);
        Some(self.line(self.step(), &self.waits_for(&on)))
    }

    fn waits_for(&self, on: &str) -> String {
        let waiting = self.voice.paint(Role::Warn, "waiting");
        format!("{waiting} for {}", self.voice.foreign(on))
    }

    fn heartbeat(&self, now: Duration) -> Option<String> {
        if now < self.last_line + HEARTBEAT {
            return None;
        }
        let running = self.progress.step()?;
        let said = if let Some(wait) = self.progress.wait() {
            let time = words::seconds(now.saturating_sub(wait.since));
            format!("still {}, {time} by now", self.waits_for(&wait.on))
        } else if let Some(download) = self.progress.download(now) {
            let blobs = self.progress.blobs().len() as u64;
            let blobs = words::count(blobs, "blob", "blobs");
            format!("{}, {blobs} under way", download.words())
        } else {
            let time = words::seconds(now.saturating_sub(running.since));
            format!("still running, {time} by now")
        };
        Some(self.line(self.step(), &said))
    }

    fn step(&self) -> Option<&str> {
        self.progress.step().map(|running| running.id.as_str())
    }

    /// Puts the step's id in front.
    fn line(&self, step: Option<&str>, said: &str) -> String {
        let Some(step) = step else {
            return said.to_owned();
        };
        let step = format!("{:<width$}", self.voice.foreign(step), width = self.column);
        format!("{}  {said}", self.voice.paint(Role::Step, &step))
    }

    /// Names a digest: in full the first time, by its first twelve digits after that.
    fn digest(&mut self, digest: &Digest) -> String {
        if self.full.insert(*digest) {
            digest.to_string()
        } else {
            digest.short()
        }
    }
}
