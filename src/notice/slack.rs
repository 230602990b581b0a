//! Slack's incoming web hook.

use http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};

use super::deliver::{Attempt, Outcome, Patience, Reply, by_status, post};
use super::hook::HookUrl;
use super::{Notice, Status};
use crate::net;

/// An incoming web hook of a Slack channel.
#[derive(Clone, Debug)]
pub struct Slack {
    /// Where to post.
    pub url: HookUrl,
    /// How long and how often to try.
    pub patience: Patience,
}

impl Slack {
    /// Returns a hook with the usual patience.
    #[must_use]
    pub fn new(url: HookUrl) -> Self {
        Self {
            url,
            patience: Patience::default(),
        }
    }

    /// Posts the notice. Slack knows no idempotency key: a message whose answer was lost on the
    /// way is posted twice.
    pub async fn send(&self, client: &net::Client, notice: &Notice) -> Outcome {
        let body = SlackMessage::of(notice).to_bytes();
        post(client, &self.url, self.patience, body, HeaderMap::new, read).await
    }
}

/// A message with a plain text for notifications, and blocks for the channel.
///
/// It stays well below Slack's limits: 50 blocks, 3,000 characters a text, and about 9,000 in all,
/// above which messages have been refused.
#[derive(Clone, Debug, Serialize)]
pub struct SlackMessage {
    /// What a notification on a phone shows.
    pub text: String,
    /// What the channel shows.
    pub blocks: Vec<Value>,
}

impl SlackMessage {
    /// Makes the message of a notice.
    #[must_use]
    pub fn of(notice: &Notice) -> Self {
        let title = notice.title();
        let reason = notice.reason();
        let short = match &reason {
            Some(reason) => format!("{title}: {reason}"),
            None => title.clone(),
        };
        let mut blocks = vec![section(&format!(
            "{} *{}*",
            emoji(notice.status),
            bold(&title)
        ))];
        blocks.extend(reason.map(|reason| section(&escape(&reason, 1500))));
        let hint = notice
            .failure
            .as_ref()
            .and_then(|failure| failure.hint.as_ref());
        blocks.extend(hint.map(|hint| section(&format!("*What to do:* {}", escape(hint, 600)))));
        blocks.extend(
            notice
                .message
                .as_ref()
                .map(|message| section(&escape(message, 600))),
        );
        blocks.extend(images(notice).map(|list| section(&list)));
        let link = notice.link.as_ref().and_then(target);
        blocks.extend(link.map(|link| section(&format!("<{link}|Open the job>"))));
        blocks.push(json!({"type": "context", "elements": [mrkdwn(&context(notice))]}));
        Self {
            text: escape(&short, 500),
            blocks,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "strings and lists: nothing that JSON lacks"
    )]
    fn to_bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self).expect("plain data").into()
    }
}

/// How many images are listed.
const IMAGES: usize = 8;

/// Reads Slack's answer: `ok`, or a word that says what is wrong and will be wrong again.
fn read(reply: &Reply) -> Attempt {
    let word = reply.body.as_deref();
    if reply.status.as_u16() == 200 {
        return match word {
            // The status is Slack's word already; losing the body on the way is no second reason to post.
            Some("ok") | None => Attempt::Taken,
            Some(other) => Attempt::Refused {
                reason: format!("answered 200 OK, but not `ok`: {other}"),
                hint: Some("check the URL: something else than Slack answers there".to_owned()),
            },
        };
    }
    match (by_status(reply), word.and_then(advice)) {
        (Attempt::Refused { reason, .. }, Some(advice)) => Attempt::Refused {
            reason,
            hint: Some(advice.to_owned()),
        },
        (attempt, _) => attempt,
    }
}

fn advice(word: &str) -> Option<&'static str> {
    Some(match word {
        "action_prohibited" | "posting_to_general_channel_denied" => {
            "an administrator does not let this hook post there: choose another channel"
        }
        "channel_is_archived" => "unarchive the channel, or make a hook for another one",
        "channel_not_found" | "user_not_found" => {
            "the hook's channel is gone: make a hook for another one"
        }
        "invalid_payload" | "no_text" | "too_many_attachments" => {
            "Slack does not take this message: please report it with the notice's text"
        }
        "invalid_token" | "no_service" | "no_service_id" | "no_active_hooks" => {
            "the hook was revoked, or its URL is cut short: make a new one, or check the secret"
        }
        "no_team" | "team_disabled" => "the Slack workspace is gone or disabled",
        _ => return None,
    })
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text})
}

const fn emoji(status: Status) -> &'static str {
    match status {
        Status::Cancelled => ":black_square_for_stop:",
        Status::Failed => ":x:",
        Status::Inconclusive => ":grey_question:",
        Status::Passed => ":white_check_mark:",
    }
}

fn images(notice: &Notice) -> Option<String> {
    let mut lines: Vec<String> = notice
        .images
        .iter()
        .take(IMAGES)
        .map(|image| {
            let digest = match image.digest {
                Some(digest) => format!("`{digest}`"),
                None => "not resolved".to_owned(),
            };
            format!(
                "• {}: `{}` {digest}",
                escape(&image.name, 40),
                code(&image.reference)
            )
        })
        .collect();
    if notice.images.len() > IMAGES {
        lines.push(format!("and {} more", notice.images.len() - IMAGES));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn context(notice: &Notice) -> String {
    let exit = format!("exit {} ({})", notice.exit.code(), notice.exit.name());
    let facts = notice.environment.iter().take(10);
    let facts = facts.map(|fact| format!("{} {}", escape(&fact.name, 30), escape(&fact.value, 80)));
    let head = [
        format!("run {}", escape(&notice.run, 80)),
        exit,
        notice.at.to_string(),
    ];
    head.into_iter()
        .chain(facts)
        .collect::<Vec<_>>()
        .join(" · ")
}

/// Escapes what Slack reads as markup of links and mentions, in at most so many characters.
fn escape(text: &str, most: usize) -> String {
    let mut escaped = String::new();
    let mut length = 0;
    for letter in text.chars() {
        let part = match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '\n' => "\n".to_owned(),
            _ if letter.is_control() => " ".to_owned(),
            _ => letter.to_string(),
        };
        length += part.chars().count();
        if length >= most {
            escaped.push('…');
            return escaped;
        }
        escaped.push_str(&part);
    }
    escaped
}

/// Escapes a text that stands between asterisks.
fn bold(text: &str) -> String {
    escape(&text.replace(['*', '\n'], " "), 200)
}

/// Escapes a text that stands between back ticks.
fn code(text: &str) -> String {
    escape(&text.replace(['`', '\n'], "'"), 160)
}

/// Returns a link's address without what would end it early, if it is of a usual length: half an
/// address leads nowhere.
fn target(link: &url::Url) -> Option<String> {
    let address = link.as_str().replace('|', "%7C").replace('&', "&amp;");
    (address.len() <= 800).then_some(address)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn escapes_never_break_and_never_exceed() {
        assert_eq!(
            escape("<!channel> & @here", 100),
            "&lt;!channel&gt; &amp; @here"
        );
        assert_eq!(escape("a\u{7}b\nc", 100), "a b\nc");
        assert_eq!(escape("<<<<", 10), "&lt;&lt;…");
        assert_eq!(escape("abc", 3), "ab…");
        assert_eq!(bold("a*b"), "a b");
        assert_eq!(code("a`b"), "a'b");
        let link = url::Url::parse("https://ci.example/?a=1&b=<c>|d").unwrap();
        let address = "https://ci.example/?a=1&amp;b=%3Cc%3E%7Cd";
        assert_eq!(target(&link).as_deref(), Some(address));
        let long = format!("https://ci.example/{}", "x".repeat(800));
        assert_eq!(target(&long.parse().unwrap()), None);
    }

    #[test]
    fn slacks_words_are_understood() {
        let read = |code: u16, body: Option<&str>| {
            let status = StatusCode::from_u16(code).unwrap();
            read(&Reply {
                status,
                headers: HeaderMap::new(),
                body: body.map(str::to_owned),
            })
        };
        assert_eq!(read(200, Some("ok")), Attempt::Taken);
        assert_eq!(read(200, None), Attempt::Taken);
        assert!(matches!(read(200, Some("<html>")), Attempt::Refused { .. }));
        for (code, word) in [
            (400, "invalid_payload"),
            (403, "action_prohibited"),
            (403, "invalid_token"),
            (404, "channel_not_found"),
            (404, "no_service"),
            (410, "channel_is_archived"),
        ] {
            let Attempt::Refused { reason, hint } = read(code, Some(word)) else {
                panic!("{word}")
            };
            assert!(
                reason.ends_with(word) && hint.as_deref() == advice(word),
                "{reason}"
            );
        }
        for (code, word) in [(429, ""), (500, "rollup_error"), (503, "")] {
            assert!(
                matches!(read(code, Some(word)), Attempt::Retry { .. }),
                "{code}"
            );
        }
    }
}
