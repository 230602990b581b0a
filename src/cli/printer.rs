//! The one outlet: data to standard output, talk to standard error, everything masked.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use serde::Serialize;

use super::args::{Color, Format, TalkArgs};
use super::terminal::{Terminal, is_no};
use crate::failure::Failure;
use crate::report::ci::{CiRenderer, System};
use crate::report::finding::Level;
use crate::report::github::Files;
use crate::report::inert::{Line, inert_json, inert_lines, log};
use crate::report::live::LiveRenderer;
use crate::report::mask::masked_json;
use crate::report::plain::{PlainRenderer, Verbosity};
use crate::report::style::Style;
use crate::report::voice::Voice;
use crate::report::{Consumer, Emitter, Event, Finding, Mask, json, words};

/// Prints what a command has to say.
///
/// A reader that goes away (`shipgate … | head`) ends the output, not the run.
pub struct Printer {
    decision: Decision,
    /// Makes a renderer that has heard of no run.
    renderer: Box<dyn Fn() -> Renderer + Send + Sync>,
    outlet: Mutex<Outlet>,
}

/// How a command talks: what the flags and the terminal come to together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Decision {
    /// The form of the output.
    pub form: Form,
    /// How much is said.
    pub verbosity: Verbosity,
    /// How lines look.
    pub style: Style,
    /// Whether data goes to a terminal, which must not be steered by it.
    pub data_to_terminal: bool,
    /// Whether data may go to the log of a CI system, which must not take it for commands.
    pub data_to_log: bool,
    /// Whether the system may be told what to mask, which shows it the secrets.
    pub tells_masks: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// Lines in groups, with annotations, for GitHub Actions.
    Github,
    /// Lines in sections, for GitLab CI.
    Gitlab,
    /// One JSON object a line on standard output.
    Json,
    /// Bars below lines.
    Live,
    /// Lines.
    Plain,
}

impl Decision {
    /// Decides.
    #[must_use]
    pub fn new(talk: &TalkArgs, terminal: &Terminal) -> Self {
        let interactive = terminal.stderr_is_terminal && !terminal.dumb && !terminal.ci;
        let form = match talk.format {
            Format::Github => Form::Github,
            Format::Gitlab => Form::Gitlab,
            Format::Json => Form::Json,
            Format::Auto if terminal.github => Form::Github,
            Format::Auto if terminal.gitlab => Form::Gitlab,
            Format::Auto if interactive && !talk.quiet => Form::Live,
            Format::Auto | Format::Plain => Form::Plain,
        };
        let verbosity = match (talk.quiet, talk.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        };
        Self {
            form,
            verbosity,
            style: Style {
                color: colors(talk.color, terminal),
                unicode: terminal.unicode,
            },
            data_to_terminal: terminal.stdout_is_terminal,
            data_to_log: terminal.ci || matches!(form, Form::Github | Form::Gitlab),
            // On a laptop they would be shown to whoever looks, in a file to whoever reads it. That standard error
            // is a terminal says nothing: `act` gives its steps one.
            tells_masks: form == Form::Github && terminal.github && !terminal.stderr_is_file,
        }
    }
}

/// Decides about colours: `--color` over `NO_COLOR` over `FORCE_COLOR` and `CLICOLOR_FORCE` over where talk goes.
#[must_use]
pub fn colors(choice: Color, terminal: &Terminal) -> bool {
    let set = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    match choice {
        Color::Always => return true,
        Color::Never => return false,
        Color::Auto => {}
    }
    if set(&terminal.no_color).is_some() {
        return false;
    }
    if let Some(force) = set(&terminal.force_color) {
        return !is_no(&force);
    }
    if set(&terminal.clicolor_force).is_some_and(|force| force != "0") {
        return true;
    }
    terminal.ci_shows_colors || terminal.stderr_is_terminal && !terminal.dumb
}

impl Printer {
    /// Makes a printer on the standard streams. `files` says what files of the repository are called there.
    #[must_use]
    pub fn new(decision: Decision, files: Files) -> Self {
        let (stdout, stderr) = (Box::new(io::stdout()), Box::new(io::stderr()));
        Self::on(decision, files, stdout, stderr)
    }

    fn on(
        decision: Decision,
        files: Files,
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
    ) -> Self {
        let Decision {
            form,
            verbosity,
            style,
            ..
        } = decision;
        let plain = move || Renderer::Plain(Box::new(PlainRenderer::new(style, verbosity)));
        let ci = move |system| Renderer::Ci(Box::new(CiRenderer::new(system, style, verbosity)));
        let renderer = move || match form {
            Form::Github => ci(System::Github(files.clone())),
            Form::Gitlab => ci(System::Gitlab),
            Form::Json => Renderer::Json(Voice::new(style)),
            Form::Live => LiveRenderer::on_stderr(style, verbosity)
                .map_or_else(plain, |live| Renderer::Live(Box::new(live))),
            Form::Plain => plain(),
        };
        Self {
            decision,
            outlet: Mutex::new(Outlet {
                renderer: renderer(),
                stdout,
                stderr,
                stdout_closed: false,
                stream_error: None,
            }),
            renderer: Box::new(renderer),
        }
    }

    /// Takes up another run, of which these events were told by another process. The mask is to be set
    /// anew: each run has its own secrets.
    pub fn take_up(&self, events: &[Event]) {
        let mut outlet = self.outlet();
        outlet.renderer = (self.renderer)();
        for event in events {
            match &mut outlet.renderer {
                Renderer::Ci(ci) => ci.recall(event),
                Renderer::Json(_) => {}
                Renderer::Live(live) => live.recall(event),
                Renderer::Plain(plain) => drop(plain.render(event)),
            }
        }
    }

    /// Returns how this printer talks.
    #[must_use]
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// Replaces the mask. Set it as soon as secrets are known; before that nothing is masked.
    ///
    /// GitHub is told to mask the same in the rest of the job, its other steps too.
    pub fn set_mask(&self, mask: Arc<dyn Mask>) {
        let mut outlet = self.outlet();
        outlet.renderer.set_mask(mask);
        if self.decision.tells_masks
            && let Renderer::Ci(ci) = &outlet.renderer
        {
            let masks = ci.masks();
            outlet.talk(&masks);
        }
    }

    /// Writes data to standard output, byte for byte but for secrets.
    ///
    /// A terminal gets no control codes and the log of a CI system no commands: there too a program may read the
    /// data, a shell's `$(…)` for instance, but what is escaped then are lines that begin with `::`, the marks
    /// `##[` and `section_start:`, and control codes. No digest, reference, script or schema of ours has any; a
    /// name or an address of somebody else's that has them is better broken than obeyed.
    ///
    /// The text ends with a line break, or bars would be drawn on its last line.
    ///
    /// # Errors
    /// When the data can't be written, for instance on a full disk. A reader that went away is no error.
    pub fn data(&self, text: &str) -> io::Result<()> {
        let mut outlet = self.outlet();
        let mut text = outlet.renderer.voice().mask().mask(text);
        if self.decision.data_to_terminal || self.decision.data_to_log {
            // Data has no colours of ours.
            text = words::escaped_lines(&text);
        }
        if self.decision.data_to_log {
            text = inert_lines(&text);
        }
        outlet.write_data(&text)
    }

    /// Writes a value as JSON to standard output, its texts masked, on one line or indented. It never has control codes
    /// nor commands, and stays what it means.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub fn json(&self, value: &impl Serialize, indented: bool) -> io::Result<()> {
        let mut outlet = self.outlet();
        let value = masked_json(value, outlet.renderer.voice().mask())?;
        let text = if indented {
            format!("{value:#}")
        } else {
            value.to_string()
        };
        outlet.write_data(&(inert_json(&text) + "\n"))
    }

    /// Says something that is neither data nor an error. Quiet commands leave it out.
    pub fn note(&self, text: &str) {
        if self.decision.verbosity > Verbosity::Quiet {
            self.error(text);
        }
    }

    /// Says that something is not as it should be and fails nothing. Quiet commands leave it out.
    pub fn warning(&self, message: &str, hint: Option<&str>) {
        if self.decision.verbosity > Verbosity::Quiet {
            let mut outlet = self.outlet();
            let lines = outlet.renderer.voice().warning(message, hint);
            outlet.talk(&Line::texts(lines));
        }
    }

    /// Says an error that is finished text, several lines of it perhaps.
    pub fn error(&self, text: &str) {
        self.outlet().say(text);
    }

    /// Says what is wrong with a file. Quiet commands leave warnings out.
    pub fn finding(&self, finding: &Finding) {
        let mut outlet = self.outlet();
        let lines = match &mut outlet.renderer {
            Renderer::Ci(ci) => ci.finding(finding),
            _ if finding.level == Level::Warning && self.decision.verbosity == Verbosity::Quiet => {
                return;
            }
            renderer => Line::texts(renderer.voice().finding(finding)),
        };
        outlet.talk(&lines);
    }

    /// Says a failure with its causes, its facts and its hint.
    ///
    /// The failure of a step is said by its event; this is for what fails outside of a run.
    pub fn failure(&self, failure: &Failure) {
        self.failure_of(failure, None);
    }

    /// Says a failure that is one of a whole file.
    pub fn failure_in(&self, file: &str, failure: &Failure) {
        self.failure_of(failure, Some(file));
    }

    fn failure_of(&self, failure: &Failure, file: Option<&str>) {
        let mut outlet = self.outlet();
        let lines = match &mut outlet.renderer {
            Renderer::Ci(ci) => ci.failure(failure, file),
            renderer => Line::texts(renderer.voice().failure(failure)),
        };
        outlet.talk(&lines);
    }

    /// Moves bars on, or says a heartbeat if one is due. `elapsed` is the time since the run began.
    pub fn tick(&self, elapsed: Duration) {
        let mut outlet = self.outlet();
        match &mut outlet.renderer {
            Renderer::Json(_) => {}
            Renderer::Live(live) => live.tick(elapsed),
            Renderer::Ci(ci) => {
                let lines = ci.tick(elapsed);
                outlet.talk(&lines);
            }
            Renderer::Plain(plain) => {
                let lines = plain.tick(elapsed);
                outlet.talk(&Line::texts(lines));
            }
        }
    }

    /// Ticks for ever, as often as the form needs it: select it against the run.
    pub async fn keep_ticking(&self, emitter: &Emitter) {
        let pause = match self.decision.form {
            Form::Live => Duration::from_millis(100),
            Form::Github | Form::Gitlab | Form::Json | Form::Plain => Duration::from_secs(1),
        };
        loop {
            tokio::time::sleep(pause).await;
            self.tick(emitter.elapsed());
        }
    }

    /// Ends the talk: takes bars away, closes groups, and says whether all events reached standard output.
    ///
    /// # Errors
    /// The first error of the event stream, for instance a full disk. A reader that went away is no error.
    pub fn finish(&self) -> io::Result<()> {
        let mut outlet = self.outlet();
        outlet.finish();
        outlet.stream_error.take().map_or(Ok(()), Err)
    }

    /// Tells of a panic, wherever it is, and closes what is open: it may be the last that this process says.
    pub fn panicked(&self, text: &str) {
        // The panic may be one of the printer's own, which holds the lock.
        let mut outlet = match self.outlet.try_lock() {
            Ok(outlet) => outlet,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        outlet.finish();
        outlet.say(text);
    }

    fn outlet(&self) -> MutexGuard<'_, Outlet> {
        // A panic of another thread while it printed leaves at worst half a line.
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Consumer for Printer {
    fn event(&self, event: &Event) {
        let mut outlet = self.outlet();
        match &mut outlet.renderer {
            Renderer::Json(voice) => {
                let mut line = json::line(event, voice.mask());
                line.push('\n');
                // A stream that can't be written to does not stop the run half way; `finish` tells.
                if let Err(error) = outlet.write_data(&line) {
                    outlet.stream_error.get_or_insert(error);
                }
            }
            Renderer::Live(live) => live.event(event),
            Renderer::Ci(ci) => {
                let lines = ci.render(event);
                outlet.talk(&lines);
            }
            Renderer::Plain(plain) => {
                let lines = plain.render(event);
                outlet.talk(&Line::texts(lines));
            }
        }
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer")
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}

struct Outlet {
    renderer: Renderer,
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    stdout_closed: bool,
    stream_error: Option<io::Error>,
}

enum Renderer {
    Ci(Box<CiRenderer>),
    Json(Voice),
    Live(Box<LiveRenderer>),
    Plain(Box<PlainRenderer>),
}

impl Renderer {
    fn voice(&self) -> &Voice {
        match self {
            Self::Ci(ci) => ci.voice(),
            Self::Json(voice) => voice,
            Self::Live(live) => live.voice(),
            Self::Plain(plain) => plain.voice(),
        }
    }

    fn set_mask(&mut self, mask: Arc<dyn Mask>) {
        match self {
            Self::Ci(ci) => ci.set_mask(mask),
            Self::Json(voice) => voice.set_mask(mask),
            Self::Live(live) => live.set_mask(mask),
            Self::Plain(plain) => plain.set_mask(mask),
        }
    }
}

impl Outlet {
    fn write_data(&mut self, text: &str) -> io::Result<()> {
        if self.stdout_closed {
            return Ok(());
        }
        let stdout = &mut self.stdout;
        let mut write = || {
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        };
        let written = match &self.renderer {
            Renderer::Live(live) => live.suspended(write),
            _ => write(),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stdout_closed = true;
                Ok(())
            }
            other => other,
        }
    }

    /// Prints finished text of several lines.
    fn say(&mut self, text: &str) {
        let text = self.renderer.voice().foreign_lines(text);
        let lines = text.lines().map(str::to_owned).collect();
        self.talk(&Line::texts(lines));
    }

    fn talk(&mut self, lines: &[Line]) {
        if let Renderer::Live(live) = &self.renderer {
            lines.iter().for_each(|line| live.print(line.as_str()));
            return;
        }
        let text = log(lines, self.renderer.voice().mask());
        // Nobody is left to be told that standard error can't be written to.
        let _ = self.stderr.write_all(text.as_bytes());
        let _ = self.stderr.flush();
    }

    fn finish(&mut self) {
        match &mut self.renderer {
            Renderer::Ci(ci) => {
                let lines = ci.finish();
                self.talk(&lines);
            }
            Renderer::Live(live) => live.finish(),
            Renderer::Json(_) | Renderer::Plain(_) => {}
        }
    }
}

impl Drop for Outlet {
    /// A panic must not leave a group open, in which the rest of the job's log would stand.
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
#[path = "printer_tests.rs"]
mod tests;
