//! What went wrong, as data: the outcome, the facts, the causes and the next step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::outcome::ExitCode;

/// An error that can say what to do about it.
///
/// Domain errors keep their facts in fields; this trait hands them on in a form that
/// every report can show without knowing the domain.
pub trait Explain: std::error::Error {
    /// Returns the edit or the command that helps, if there is one.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Returns named facts: host, address, digest, offset, expected, found.
    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }
}

/// A named fact of a failure, for instance `expected` and a digest.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Fact {
    /// The name, in lower case.
    pub name: String,
    /// The value, without secrets.
    pub value: String,
}

impl Fact {
    /// Makes a fact.
    pub fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Self {
            name: name.into(),
            value: value.to_string(),
        }
    }
}

/// The failure of a step or of a whole run.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Failure {
    /// How the run ends if nothing worse happens.
    pub exit: ExitCode,
    /// One sentence without a full stop: what failed.
    pub message: String,
    /// Why, the nearest cause first.
    pub causes: Vec<String>,
    /// The facts that the message rests on.
    pub facts: Vec<Fact>,
    /// The edit or the command that helps.
    pub hint: Option<String>,
}

impl Failure {
    /// Makes a failure without causes.
    pub fn new(exit: ExitCode, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            facts: Vec::new(),
            hint: None,
        }
    }

    /// Makes a failure of a domain error, with its chain of causes, its facts and its hint.
    pub fn explained(exit: ExitCode, message: impl Into<String>, error: &dyn Explain) -> Self {
        let mut causes = vec![error.to_string()];
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        causes.dedup();
        Self {
            exit,
            message: message.into(),
            causes,
            facts: error.facts(),
            hint: error.hint(),
        }
    }

    /// Returns it in one line: what failed, and the nearest cause.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.causes.first() {
            Some(cause) => format!("{}: {cause}", self.message),
            None => self.message.clone(),
        }
    }

    /// Adds the edit or the command that helps.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.facts.push(Fact::new(name, value));
        self
    }
}
