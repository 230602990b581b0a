//! Tells people and machines how a run ended.
//!
//! May not change how it ends: a delivery has an [`Outcome`], never an error, and never takes
//! longer than its [`Patience`]. The URL of a hook is a secret, so that no error and no log shows
//! more of it than its host.

mod deliver;
mod hook;
mod slack;
#[cfg(test)]
mod tests;
mod webhook;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

pub use self::deliver::{Outcome, Patience};
pub use self::hook::{HookUrl, InvalidHook};
pub use self::slack::{Slack, SlackMessage};
pub use self::webhook::{Exit, Webhook, WebhookBody};
use crate::failure::{Fact, Failure};
use crate::oci::Digest;
use crate::outcome::ExitCode;

/// What there is to tell of a run.
#[derive(Clone, Debug)]
pub struct Notice {
    /// How the run ended.
    pub status: Status,
    /// The exit code that it ends with.
    pub exit: ExitCode,
    /// The pipeline's name.
    pub pipeline: String,
    /// The run's id.
    pub run: String,
    /// The step that failed first.
    pub step: Option<FailedStep>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The images of the run.
    pub images: Vec<NotedImage>,
    /// Where the job's log is.
    pub link: Option<Url>,
    /// What the document wants said.
    pub message: Option<String>,
    /// Where it ran: environment, branch, commit, actor.
    pub environment: Vec<Fact>,
    /// When it ended.
    pub at: Timestamp,
}

impl Notice {
    /// Returns the outcome in one line: `web failed at live`.
    #[must_use]
    pub fn title(&self) -> String {
        let ended = match self.status {
            Status::Cancelled => "was cancelled",
            Status::Failed => "failed",
            Status::Inconclusive => "is inconclusive",
            Status::Passed => "passed",
        };
        match self.step.as_ref().filter(|_| self.status != Status::Passed) {
            Some(step) => format!("{} {ended} at {}", self.pipeline, step.name),
            None => format!("{} {ended}", self.pipeline),
        }
    }

    /// Returns why, in one line: what failed and its first cause.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let failure = self.failure.as_ref()?;
        Some(match failure.causes.first() {
            Some(cause) => format!("{}: {cause}", failure.message),
            None => failure.message.clone(),
        })
    }
}

/// How a run ended, as receivers sort it.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It was cancelled.
    Cancelled,
    /// Something failed.
    Failed,
    /// A gate could not decide.
    Inconclusive,
    /// Everything that was asked for is done.
    Passed,
}

impl Status {
    /// Returns the word for it in documents and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Passed => "passed",
        }
    }
}

/// The step that failed first.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct FailedStep {
    /// Its id in the document.
    pub id: String,
    /// Its name for people.
    pub name: String,
}

/// An image of the run.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct NotedImage {
    /// Its name in the document.
    pub name: String,
    /// The reference as written.
    pub reference: String,
    /// What it was resolved to, if it was.
    #[schemars(with = "Option<String>")]
    pub digest: Option<Digest>,
}
