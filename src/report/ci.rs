//! The plain form with the markup of a CI system's log: a step folds, and what went wrong stands outside.

use std::sync::Arc;
use std::time::Duration;

use super::event::StepOutcome;
use super::finding::{Finding, Level};
use super::github::{Files, Github, Told};
use super::gitlab::Gitlab;
use super::inert::Line;
use super::plain::{PlainRenderer, Verbosity};
use super::style::{Role, Style};
use super::voice::Voice;
use super::{Detail, Event, Mask};
use crate::failure::Failure;

/// The systems whose logs have markup.
#[derive(Clone)]
pub enum System {
    /// GitHub Actions, with what it calls the files of the repository.
    Github(Files),
    /// GitLab CI.
    Gitlab,
}

/// Turns events into lines for the log of a CI system.
///
/// A step's lines stand in a group (GitHub) or a section (GitLab). Its last line and its failure stand behind it,
/// so that they can be read while it is folded, and so does the end of the run.
#[derive(Debug)]
pub struct CiRenderer {
    plain: PlainRenderer,
    marks: Marks,
    folds: bool,
    /// Whether a command runs a step of its own, whose verb nobody wrote.
    alone: bool,
    open: bool,
    now: Duration,
}

#[derive(Debug)]
enum Marks {
    Github(Github),
    Gitlab(Gitlab),
}

impl CiRenderer {
    /// Makes a renderer.
    #[must_use]
    pub fn new(system: System, style: Style, verbosity: Verbosity) -> Self {
        Self {
            plain: PlainRenderer::new(style, verbosity).without_failures(),
            marks: match system {
                System::Github(files) => Marks::Github(Github::new(files)),
                System::Gitlab => Marks::Gitlab(Gitlab::default()),
            },
            // A step that says nothing has nothing to fold.
            folds: verbosity > Verbosity::Quiet,
            alone: false,
            open: false,
            now: Duration::ZERO,
        }
    }

    /// Replaces the mask that all foreign text passes through.
    pub fn set_mask(&mut self, mask: Arc<dyn Mask>) {
        self.plain.set_mask(mask);
    }

    /// Returns how failures and foreign text are said.
    #[must_use]
    pub fn voice(&self) -> &Voice {
        self.plain.voice()
    }

    /// Returns the commands that mask the secrets of the mask in the rest of the job.
    ///
    /// They hold the secrets as they are. Print them to the system alone, and before anything else.
    #[must_use]
    pub fn masks(&self) -> Vec<Line> {
        match &self.marks {
            Marks::Github(_) => Github::masks(&self.voice().mask().forms()),
            // GitLab takes masks from its settings only.
            Marks::Gitlab(_) => Vec::new(),
        }
    }

    /// Returns the lines that an event is worth.
    pub fn render(&mut self, event: &Event) -> Vec<Line> {
        self.now = self.now.max(event.elapsed);
        let step = event.step.as_deref();
        match &event.detail {
            Detail::RunStarted {
                run,
                file,
                at,
                steps,
                ..
            } => {
                self.alone = run.is_empty();
                match &mut self.marks {
                    Marks::Github(github) => github.begin(file.as_deref(), steps),
                    Marks::Gitlab(gitlab) => gitlab.begin(run, at),
                }
                self.said(event)
            }
            Detail::StepStarted { verb, name } => {
                let mut lines = self.close();
                // The header says all that the plain line does.
                let _ = self.plain.render(event);
                if self.folds {
                    lines.push(self.open(step.unwrap_or(verb), verb, name));
                }
                lines
            }
            Detail::StepFinished {
                outcome,
                failure,
                continued,
                ..
            } => {
                let mut lines = self.close();
                lines.extend(self.said(event));
                if let Some(failure) = failure {
                    lines.extend(self.failed(step, *outcome, failure, *continued));
                }
                lines
            }
            Detail::RunResumed { .. } => {
                let mut lines = self.close();
                lines.extend(self.said(event));
                lines
            }
            Detail::RunFinished { .. } => {
                let mut lines = self.finish();
                lines.extend(self.said(event));
                lines
            }
            _ => self.said(event),
        }
    }

    /// Takes notice of an event that was shown before, by another process.
    ///
    /// What that process left open is closed by the next event or by [`CiRenderer::finish`]: the section of a
    /// GitLab job that both write to. To GitHub two processes are two steps, and each has a log of its own.
    pub fn recall(&mut self, event: &Event) {
        self.now = self.now.max(event.elapsed);
        match &event.detail {
            Detail::RunStarted { .. } => drop(self.render(event)),
            Detail::StepStarted { .. } => {
                drop(self.render(event));
                self.open &= matches!(self.marks, Marks::Gitlab(_));
            }
            Detail::StepFinished { .. } | Detail::RunFinished { .. } => {
                drop(self.close());
                drop(self.said(event));
            }
            _ => drop(self.said(event)),
        }
    }

    /// Returns a heartbeat if one is due, as the plain form does.
    pub fn tick(&mut self, elapsed: Duration) -> Vec<Line> {
        self.now = self.now.max(elapsed);
        Line::texts(self.plain.tick(elapsed))
    }

    /// Tells a failure outside of a run, of a whole file if one is named.
    pub fn failure(&mut self, failure: &Failure, file: Option<&str>) -> Vec<Line> {
        match &mut self.marks {
            Marks::Github(github) => github.failure(self.plain.voice(), failure, file),
            Marks::Gitlab(_) => Line::texts(self.voice().failure(failure)),
        }
    }

    /// Tells what is wrong with a file. Quiet logs leave warnings out.
    pub fn finding(&mut self, finding: &Finding) -> Vec<Line> {
        if !self.folds && finding.level == Level::Warning {
            return Vec::new();
        }
        match &mut self.marks {
            Marks::Github(github) => github.finding(self.plain.voice(), finding),
            Marks::Gitlab(_) => Line::texts(self.voice().finding(finding)),
        }
    }

    /// Closes what is open, and tells in one line what GitHub has no place for.
    pub fn finish(&mut self) -> Vec<Line> {
        let mut lines = self.close();
        if let Marks::Github(github) = &mut self.marks {
            lines.extend(github.fold());
        }
        lines
    }

    fn said(&mut self, event: &Event) -> Vec<Line> {
        Line::texts(self.plain.render(event))
    }

    fn open(&mut self, id: &str, verb: &str, name: &str) -> Line {
        let voice = self.plain.voice();
        let mut title = voice.foreign(id);
        if !name.is_empty() && name != id && name != verb {
            title += &format!(": {}", voice.foreign(name));
        }
        if verb != id && !self.alone {
            title += &format!(" ({})", voice.foreign(verb));
        }
        self.open = true;
        match &mut self.marks {
            Marks::Github(_) => Github::open(&title),
            Marks::Gitlab(gitlab) => {
                let header = voice.paint(Role::Step, &title);
                gitlab.open(self.now, id, &header)
            }
        }
    }

    fn close(&mut self) -> Vec<Line> {
        if !std::mem::take(&mut self.open) {
            return Vec::new();
        }
        match &mut self.marks {
            Marks::Github(_) => vec![Github::close()],
            Marks::Gitlab(gitlab) => gitlab.close(self.now).into_iter().collect(),
        }
    }

    fn failed(
        &mut self,
        step: Option<&str>,
        outcome: StepOutcome,
        failure: &Failure,
        continued: bool,
    ) -> Vec<Line> {
        let told = if continued {
            Told::Survived(failure)
        } else {
            Told::Fatal(failure)
        };
        let voice = self.plain.voice();
        match (&mut self.marks, outcome) {
            // Who cancels a job knows it; GitHub marks the step itself.
            (Marks::Github(github), StepOutcome::Failed | StepOutcome::Inconclusive) => {
                let ended = match outcome {
                    StepOutcome::Failed => "failed",
                    _ => "is inconclusive",
                };
                github.step(voice, step.unwrap_or("step"), ended, told)
            }
            _ => Line::texts(told.text(voice)),
        }
    }
}
