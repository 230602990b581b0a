//! `notify`: tells people how the run stands.

use std::time::Duration;

use crate::pipeline::address::HeaderName;
use crate::pipeline::map::Map;
use crate::pipeline::record::{choice, one_of, record};
use crate::pipeline::secret::{SecretText, SecretUrl, SecretWebhook};
use crate::pipeline::text::Text;

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
