//! `notify`: tells people how the run stands.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use url::Url;

use super::headers::headers;
use crate::engine::grants::Grants;
use crate::engine::task::{Action, Rehearsal};
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::notice::{self, FailedStep, HookUrl, NotedImage, Notice, Outcome, Patience, Status};
use crate::outcome::ExitCode;
use crate::pipeline::address::HeaderName;
use crate::pipeline::map::Map;
use crate::pipeline::record::{choice, one_of, record};
use crate::pipeline::secret::{SecretText, SecretUrl, SecretWebhook};
use crate::pipeline::text::Text;
use crate::report::Detail;

record! {
    /// Tells people how the run stands.
    pub struct Notify("`notify`") {
        /// When to tell: after which ends of the run.
        on: Vec<Occasion> = vec![Occasion::Failure],
        /// What to say first; the outcome, its reason and the digests follow by themselves.
        message: Option<Text>,
        /// Lets the run fail if the notice cannot be delivered.
        required: bool = false,
        /// How long delivery may be tried.
        within: Duration = Duration::from_secs(30),
    }
    one_of {
        /// The way to the people.
        channel: Channel
    }
}

one_of! {
    /// A way to people.
    pub enum Channel("a channel", later = ["email", "teams", "discord", "pagerduty", "opsgenie", "alertmanager", "github", "gitlab"]) {
        /// An incoming webhook of Slack.
        Slack(Slack) = "slack",
        /// Any URL that takes JSON by POST.
        Webhook(Webhook) = "webhook",
    }
}

record! {
    /// An incoming webhook of Slack.
    pub struct Slack("`slack`") {
        /// The webhook's URL, from a secret: whoever has it can post.
        webhook: SecretWebhook,
    }
    short = webhook;
    later = ["channel", "token", "thread"];
}

record! {
    /// A URL that takes JSON by POST.
    pub struct Webhook("`webhook`") {
        /// The URL.
        url: SecretUrl,
        /// Headers to send; their values may hold secrets.
        headers: Map<HeaderName, SecretText> = Map::default(),
    }
    short = url;
}

choice! {
    /// An end of the run.
    pub enum Occasion("an occasion", later = ["recovery", "start"]) {
        /// A step failed, or a gate could not decide.
        Failure = "failure",
        /// Nothing went wrong.
        Success = "success",
        /// The run was cancelled.
        Cancelled = "cancelled",
        /// Any of them.
        Always = "always",
    }
}

/// The host of Slack's incoming webhooks.
const SLACK_HOST: &str = "hooks.slack.com";

/// A notice that is ready to be sent.
pub struct Telling {
    notify: Notify,
    receiver: Receiver,
}

enum Receiver {
    Slack(notice::Slack),
    Webhook(notice::Webhook),
}

impl Telling {
    /// Makes a notice of the document ready.
    ///
    /// # Errors
    /// A URL or a header that can't be used. Neither is shown.
    pub fn new(notify: &Notify) -> Result<Self, Failure> {
        let patience = Patience {
            budget: notify.within,
            ..Patience::default()
        };
        let unusable = |cause: String| {
            let message = "a notice has a URL that can't be used";
            Failure::new(ExitCode::PipelineInvalid, message).caused_by(cause)
        };
        let hook = |url: &SecretUrl| {
            let hook = url.url.expose().parse::<HookUrl>();
            hook.map_err(|error| unusable(error.to_string()))
        };
        let receiver = match &notify.channel {
            Channel::Slack(slack) => Receiver::Slack(notice::Slack {
                patience,
                ..notice::Slack::new(hook(&slack.webhook.0)?)
            }),
            Channel::Webhook(webhook) => {
                let url = hook(&webhook.url)?;
                if url.endpoint().0 == SLACK_HOST {
                    return Err(unusable(format!(
                        "{SLACK_HOST} takes messages of Slack's form only, and `webhook` sends JSON of ours"
                    ))
                    .hinted("write `slack: {webhook: …}`"));
                }
                Receiver::Webhook(notice::Webhook {
                    headers: headers(&webhook.headers, "a notice")?,
                    patience,
                    ..notice::Webhook::new(url)
                })
            }
        };
        Ok(Self {
            notify: notify.clone(),
            receiver,
        })
    }

    fn target(&self) -> &'static str {
        match &self.receiver {
            Receiver::Slack(_) => "slack",
            Receiver::Webhook(_) => "webhook",
        }
    }

    fn endpoint(&self) -> (String, u16) {
        match &self.receiver {
            Receiver::Slack(slack) => slack.url.endpoint(),
            Receiver::Webhook(webhook) => webhook.url.endpoint(),
        }
    }

    /// Says whether a run that stands so is one to tell of.
    fn concerns(&self, status: Status) -> bool {
        self.notify.on.iter().any(|occasion| match occasion {
            Occasion::Always => true,
            Occasion::Cancelled => status == Status::Cancelled,
            Occasion::Failure => matches!(status, Status::Failed | Status::Inconclusive),
            Occasion::Success => status == Status::Passed,
        })
    }

    async fn tell(&self, context: &Context) -> Result<(), Failure> {
        let world = &context.world;
        if !self.concerns(world.state.status()) {
            let heard: Vec<&str> = self
                .notify
                .on
                .iter()
                .map(|occasion| occasion.word())
                .collect();
            context.events.emit(Detail::NoticeSent {
                target: self.target().to_owned(),
                delivered: false,
                attempts: 0,
                detail: format!(
                    "not sent: the run {}, and it is for {}",
                    world.state.status().word(),
                    heard.join(", ")
                ),
            });
            return Ok(());
        }
        let notice = self.notice(context);
        let outcome = match &self.receiver {
            Receiver::Slack(slack) => slack.send(&world.http, &notice).await,
            Receiver::Webhook(webhook) => webhook.send(&world.http, &world.clock, &notice).await,
        };
        let (delivered, attempts, detail, hint) = match outcome {
            Outcome::Delivered { attempts } => (true, attempts, "delivered".to_owned(), None),
            Outcome::GaveUp {
                attempts,
                reason,
                hint,
            } => (false, attempts, reason, hint),
        };
        context.events.emit(Detail::NoticeSent {
            target: self.target().to_owned(),
            delivered,
            attempts,
            detail: detail.clone(),
        });
        if delivered {
            return Ok(());
        }
        if !self.notify.required {
            context.events.emit(Detail::Warned {
                message: format!("the {} notice was not delivered", self.target()),
                hint,
            });
            return Ok(());
        }
        let message = format!("the {} notice could not be delivered", self.target());
        let failure = Failure::new(ExitCode::NotifyFailed, message)
            .caused_by(detail)
            .fact("attempts", attempts);
        Err(match hint {
            Some(hint) => failure.hinted(hint),
            None => failure,
        })
    }

    fn notice(&self, context: &Context) -> Notice {
        let world = &context.world;
        let first = world.state.first_failure();
        let message = self.notify.message.as_ref();
        Notice {
            status: world.state.status(),
            exit: world.state.exit(),
            pipeline: world.run.pipeline.clone(),
            run: world.run.id.clone(),
            step: first.as_ref().map(|first| FailedStep {
                id: first.step.clone(),
                name: first.name.clone(),
            }),
            failure: first.map(|first| first.failure),
            images: world
                .images
                .all()
                .map(|(name, reference, digest)| NotedImage {
                    name,
                    reference,
                    digest,
                })
                .collect(),
            link: world
                .run
                .link
                .as_deref()
                .and_then(|link| Url::parse(link).ok()),
            message: message.map(|text| text.complete(&|name| world.late(name))),
            environment: Vec::new(),
            at: world.clock.now(),
        }
    }
}

impl Action for Telling {
    fn verb(&self) -> &'static str {
        "notify"
    }

    fn family(&self) -> ExitCode {
        ExitCode::NotifyFailed
    }

    fn grants(&self, grants: &mut Grants, _: &Context) {
        let (host, port) = self.endpoint();
        grants.host(&host, port, format!("notify {}", self.target()));
    }

    fn run<'a>(&'a self, context: &'a Context) -> BoxFuture<'a, Result<(), Failure>> {
        self.tell(context).boxed()
    }

    fn rehearse<'a>(&'a self, _: &'a Context) -> BoxFuture<'a, Result<Rehearsal, Failure>> {
        let (host, port) = self.endpoint();
        let on: Vec<&str> = self
            .notify
            .on
            .iter()
            .map(|occasion| occasion.word())
            .collect();
        let line = format!(
            "tells {} at {host}:{port} on {}",
            self.target(),
            on.join(", ")
        );
        async { Ok(Rehearsal::said(line)) }.boxed()
    }
}
