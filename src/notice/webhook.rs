//! The generic web hook: one JSON document, posted with the headers of [Standard
//! Webhooks](https://www.standardwebhooks.com), not signed.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::deliver::{Outcome, Patience, by_status, post};
use super::hook::HookUrl;
use super::{FailedStep, NotedImage, Notice, Status};
use crate::clock::Clock;
use crate::failure::Fact;
use crate::net;
use crate::oci::Digest;
use crate::outcome::ExitCode;

/// A receiver of the generic web hook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to post.
    pub url: HookUrl,
    /// Headers to send besides, such as `Authorization`.
    pub headers: HeaderMap,
    /// How long and how often to try.
    pub patience: Patience,
}

impl Webhook {
    /// Returns a receiver with the usual patience.
    #[must_use]
    pub fn new(url: HookUrl) -> Self {
        Self {
            url,
            headers: HeaderMap::new(),
            patience: Patience::default(),
        }
    }

    /// Posts the notice. All attempts have the same `webhook-id`, by which a receiver tells a
    /// second delivery from a second event, also one of a process that finishes a killed run.
    pub async fn send(&self, client: &net::Client, clock: &Clock, notice: &Notice) -> Outcome {
        let body = WebhookBody::of(notice).to_bytes();
        let undated = Notice {
            at: Timestamp::UNIX_EPOCH,
            ..notice.clone()
        };
        let id = id(&notice.run, &WebhookBody::of(&undated).to_bytes());
        let headers = || {
            let mut headers = self.headers.clone();
            let texts = [
                ("webhook-id", id.clone()),
                ("webhook-timestamp", clock.now().as_second().to_string()),
            ];
            for (name, text) in texts {
                if let Ok(value) = HeaderValue::from_str(&text) {
                    headers.insert(name, value);
                }
            }
            headers
        };
        post(
            client,
            &self.url,
            self.patience,
            body.clone(),
            headers,
            by_status,
        )
        .await
    }
}

/// The body of the generic web hook.
#[derive(Clone, Debug, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WebhookBody {
    /// The version of this form: 1. Keys may be added to it; a change of meaning is a new version.
    pub version: u32,
    /// How the run ended.
    pub status: Status,
    /// The exit code.
    pub exit: Exit,
    /// The pipeline's name.
    pub pipeline: String,
    /// The run's id.
    pub run: String,
    /// The outcome in one line.
    pub title: String,
    /// What failed and its first cause, in one line.
    pub reason: Option<String>,
    /// All causes, the nearest first.
    pub causes: Vec<String>,
    /// The edit or the command that helps.
    pub hint: Option<String>,
    /// The step that failed first.
    pub step: Option<FailedStep>,
    /// The images of the run.
    pub images: Vec<NotedImage>,
    /// Where it ran.
    pub environment: Vec<Fact>,
    /// What the document wants said.
    pub message: Option<String>,
    /// Where the job's log is.
    pub link: Option<String>,
    /// When it ended, RFC 3339.
    pub at: String,
}

/// An exit code as number and name.
#[derive(Clone, Copy, Debug, JsonSchema, Serialize)]
pub struct Exit {
    /// The number.
    pub code: u8,
    /// The name.
    pub name: ExitCode,
}

impl WebhookBody {
    /// Makes the body of a notice.
    #[must_use]
    pub fn of(notice: &Notice) -> Self {
        let failure = notice.failure.as_ref();
        Self {
            version: 1,
            status: notice.status,
            exit: Exit {
                code: notice.exit.code(),
                name: notice.exit,
            },
            pipeline: notice.pipeline.clone(),
            run: notice.run.clone(),
            title: notice.title(),
            reason: notice.reason(),
            causes: failure
                .map(|failure| failure.causes.clone())
                .unwrap_or_default(),
            hint: failure.and_then(|failure| failure.hint.clone()),
            step: notice.step.clone(),
            images: notice.images.clone(),
            environment: notice.environment.clone(),
            message: notice.message.clone(),
            link: notice.link.as_ref().map(ToString::to_string),
            at: notice.at.to_string(),
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "strings, numbers and lists: nothing that JSON lacks"
    )]
    fn to_bytes(&self) -> Bytes {
        serde_json::to_vec(self).expect("plain data").into()
    }
}

/// Returns an id that is the same for the same notice of the same run, and has no full stop,
/// which Standard Webhooks keeps for itself.
fn id(run: &str, body: &[u8]) -> String {
    let run: String = run
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'))
        .take(64)
        .collect();
    format!("{run}-{}", Digest::of(body).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_fit_into_a_header_and_tell_notices_apart() {
        assert_eq!(
            id("r.1\n2-é_a", b"x"),
            format!("r12-_a-{}", Digest::of(b"x").short())
        );
        assert_ne!(id("r", b"x"), id("r", b"y"));
        assert!(id(&"r".repeat(500), b"x").len() < 100);
    }
}
