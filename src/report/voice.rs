//! How failures, warnings and foreign text are said, the same in every renderer for people.

use std::sync::Arc;

use super::finding::{Finding, Level};
use super::style::{Role, Style};
use super::{Mask, NoMask, words};
use crate::failure::Failure;

/// Masks, escapes and colours what people read.
#[derive(Clone)]
pub struct Voice {
    style: Style,
    mask: Arc<dyn Mask>,
}

impl Voice {
    /// Makes a voice that knows no secrets yet.
    #[must_use]
    pub fn new(style: Style) -> Self {
        Self {
            style,
            mask: Arc::new(NoMask),
        }
    }

    /// Replaces the mask.
    pub fn set_mask(&mut self, mask: Arc<dyn Mask>) {
        self.mask = mask;
    }

    /// Returns the mask.
    #[must_use]
    pub fn mask(&self) -> &dyn Mask {
        &*self.mask
    }

    /// Returns how lines look.
    #[must_use]
    pub fn style(&self) -> Style {
        self.style
    }

    /// Returns text of others so that it can stand in a line.
    ///
    /// Secrets go first: a secret that was cut or escaped is no longer found by a mask.
    #[must_use]
    pub fn foreign(&self, text: &str) -> String {
        words::escaped(&self.mask.mask(text))
    }

    /// Returns text of others that has several lines, and that keeps them.
    #[must_use]
    pub fn foreign_lines(&self, text: &str) -> String {
        words::escaped_lines(&self.mask.mask(text))
    }

    /// Returns a voice that knows the same secrets and looks otherwise.
    #[must_use]
    pub fn styled(&self, style: Style) -> Self {
        Self {
            style,
            ..self.clone()
        }
    }

    /// Returns text in the colour of its role.
    #[must_use]
    pub fn paint(&self, role: Role, text: &str) -> String {
        self.style.paint(role, text)
    }

    /// Returns a failure in full: `error:`, its causes, its facts and its `hint:`.
    #[must_use]
    pub fn failure(&self, failure: &Failure) -> Vec<String> {
        self.labelled(&self.paint(Role::Bad, "error:"), failure)
    }

    /// Returns a failure that does not end the run, in full but as a `warning:`.
    #[must_use]
    pub fn survived(&self, failure: &Failure) -> Vec<String> {
        self.labelled(&self.paint(Role::Warn, "warning:"), failure)
    }

    /// Returns a failure in full with nothing in front, for where a label stands already.
    #[must_use]
    pub fn unlabelled(&self, failure: &Failure) -> Vec<String> {
        self.lines(self.foreign(&failure.message), failure)
    }

    /// Returns what is wrong with a file, in full.
    #[must_use]
    pub fn finding(&self, finding: &Finding) -> Vec<String> {
        let role = match finding.level {
            Level::Error => Role::Bad,
            Level::Warning => Role::Warn,
        };
        let label = self.paint(role, &format!("{}:", finding.level.word()));
        let text = format!("{label} {}", self.foreign_lines(&finding.text));
        text.lines().map(str::to_owned).collect()
    }

    /// Returns a warning and what to do about it.
    #[must_use]
    pub fn warning(&self, message: &str, hint: Option<&str>) -> Vec<String> {
        let label = self.paint(Role::Warn, "warning:");
        let mut lines = vec![format!("{label} {}", self.foreign(message))];
        lines.extend(hint.into_iter().flat_map(|hint| self.hint(hint)));
        lines
    }

    fn labelled(&self, label: &str, failure: &Failure) -> Vec<String> {
        self.lines(
            format!("{label} {}", self.foreign(&failure.message)),
            failure,
        )
    }

    fn lines(&self, first: String, failure: &Failure) -> Vec<String> {
        let mut lines = vec![first];
        lines.extend(self.causes(failure));
        lines.extend(self.facts(failure));
        lines.extend(failure.hint.iter().flat_map(|hint| self.hint(hint)));
        lines
    }

    fn causes<'a>(&'a self, failure: &'a Failure) -> impl Iterator<Item = String> + 'a {
        let label = self.paint(Role::Dim, "cause:");
        failure
            .causes
            .iter()
            .filter(|cause| **cause != failure.message)
            .map(move |cause| format!("  {label} {}", self.foreign(cause)))
    }

    fn facts<'a>(&'a self, failure: &'a Failure) -> impl Iterator<Item = String> + 'a {
        let names = failure.facts.iter().map(|fact| fact.name.chars().count());
        let width = names.max().unwrap_or(0).min(16);
        failure.facts.iter().map(move |fact| {
            let name = format!("{:<width$}", self.foreign(&fact.name));
            let name = self.paint(Role::Dim, &name);
            format!("         {name}  {}", self.foreign(&fact.value))
        })
    }

    /// Returns a hint, whose lines keep their breaks: it may show an edit.
    fn hint(&self, hint: &str) -> Vec<String> {
        let label = self.paint(Role::Good, "hint:");
        // A bar in front, so that no line can begin with what a CI system takes for a command.
        hint.lines()
            .enumerate()
            .map(|(number, line)| match number {
                0 => format!("   {label} {}", self.foreign(line)),
                _ => format!("       | {}", self.foreign(line)),
            })
            .collect()
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::ExitCode;

    #[test]
    fn a_failure_is_said_in_full() {
        let failure = Failure::new(ExitCode::PreloadFailed, "image `web` could not be fetched")
            .caused_by("the bytes of a blob do not match its digest")
            .fact("expected", "sha256:aa")
            .fact("at", "byte 512")
            .hinted("add this to the document:\n  mirrors: []");
        insta::assert_snapshot!(Voice::new(Style::default()).failure(&failure).join("\n"), @"
        error: image `web` could not be fetched
          cause: the bytes of a blob do not match its digest
                 expected  sha256:aa
                 at        byte 512
           hint: add this to the document:
               |   mirrors: []
        ");
    }

    #[test]
    fn secrets_go_before_text_is_cut_or_escaped() {
        let mut voice = Voice::new(Style::default());
        voice.set_mask(Arc::new(super::super::mask::tests::Word("tab\there")));
        assert_eq!(voice.foreign("a tab\there b"), "a *** b");
        let long = format!("{}tab\there", "x".repeat(1_995));
        assert!(voice.foreign(&long).ends_with("x***"));
    }
}
