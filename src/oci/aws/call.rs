//! One question to a service of AWS, or to what gives keys to containers and instances.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::DATE;
use jiff::Timestamp;
use serde::Deserialize;

use super::error::{Reason, UNSAID, is_about_time};
use crate::clock::Clock;
use crate::net;

/// The most bytes of an answer: keys and tokens have a few thousand.
const LARGEST: usize = 64 * 1024;
const ATTEMPTS: u32 = 3;
/// The usual pause before the second attempt.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// The most characters of a service's words that are shown.
const LONGEST_WORDS: usize = 300;

/// Asks questions.
pub(super) struct Caller {
    pub(super) http: net::Client,
    pub(super) clock: Clock,
    /// The pause before the second attempt.
    pub(super) pause: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) host: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Caller {
    /// Sends a request, again after a pause if that may help, and returns what succeeded. `signed` is
    /// asked for the request each time, since signatures hold a time. Redirects are not followed.
    pub(super) async fn ask(
        &self,
        action: &'static str,
        signed: impl Fn(Timestamp) -> net::Request,
    ) -> Result<Answer, Reason> {
        let mut pause = self.pause;
        for _ in 1..ATTEMPTS {
            match self.once(action, signed(self.clock.now())).await {
                Err(reason) if reason.is_passing() => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.once(action, signed(self.clock.now())).await
    }

    /// Sends a request once.
    pub(super) async fn once(
        &self,
        action: &'static str,
        request: net::Request,
    ) -> Result<Answer, Reason> {
        let host = host_of(&request.url);
        let unreachable = |source| Reason::Unreachable {
            host: host.clone(),
            source,
        };
        let response = self.http.send(request).await.map_err(unreachable)?;
        let (status, headers) = (response.status, response.headers);
        let body = response.body.bytes(LARGEST).await.map_err(unreachable)?;
        let answer = Answer {
            host: host.clone(),
            headers,
            body,
        };
        if status.is_success() {
            return Ok(answer);
        }
        let (code, message) = answer.refusal();
        let skew = answer
            .skew(self.clock.now())
            .filter(|_| is_about_time(&code));
        Err(Reason::Refused {
            host,
            action,
            status: status.as_u16(),
            code,
            message,
            skew,
        })
    }
}

impl Answer {
    /// Returns the code and the words of a refusal, in any of the forms that AWS has for it.
    fn refusal(&self) -> (String, String) {
        #[derive(Deserialize)]
        struct Refusal {
            #[serde(alias = "__type", alias = "Code", alias = "code")]
            kind: Option<String>,
            #[serde(alias = "Message")]
            message: Option<String>,
        }

        let (code, message) = match serde_json::from_slice::<Refusal>(&self.body) {
            Ok(refusal) => (refusal.kind, refusal.message),
            Err(_) => (element(&self.body, "Code"), element(&self.body, "Message")),
        };
        // The code may have a name space in front and a place behind.
        let code = code.unwrap_or_else(|| UNSAID.to_owned());
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        (cut(code), cut(&message.unwrap_or_default()))
    }

    /// Returns how many seconds this machine's clock is behind that of the service.
    fn skew(&self, now: Timestamp) -> Option<i64> {
        let date = self.headers.get(DATE)?.to_str().ok()?;
        let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp();
        Some(theirs.as_second() - now.as_second())
    }

    /// Reads the body as JSON.
    pub(super) fn json<T: for<'a> Deserialize<'a>>(&self, what: &'static str) -> Result<T, Reason> {
        // Its errors quote values, which are secret.
        serde_json::from_slice(&self.body).map_err(|_| self.malformed(what))
    }

    /// Returns the text of an element of the body's XML.
    pub(super) fn element(&self, name: &str) -> Option<String> {
        element(&self.body, name)
    }

    pub(super) fn malformed(&self, what: &'static str) -> Reason {
        Reason::Malformed {
            host: self.host.clone(),
            what,
        }
    }
}

pub(super) fn host_of(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn cut(text: &str) -> String {
    text.trim().chars().take(LONGEST_WORDS).collect()
}

/// Returns the text of the first element of this name, if the XML is sound up to its end.
fn element(xml: &[u8], name: &str) -> Option<String> {
    use quick_xml::escape::resolve_predefined_entity;
    use quick_xml::events::Event;

    let mut reader = quick_xml::Reader::from_reader(xml);
    let mut text: Option<String> = None;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if start.local_name().as_ref() == name => {
                text = Some(String::new());
            }
            Event::Text(part) => {
                if let Some(text) = &mut text {
                    text.push_str(&part);
                }
            }
            Event::GeneralRef(part) => {
                if let Some(text) = &mut text {
                    match part.resolve_char_ref().ok()? {
                        Some(char) => text.push(char),
                        None => text.push_str(resolve_predefined_entity(&part)?),
                    }
                }
            }
            Event::End(end) if end.local_name().as_ref() == name => return text,
            Event::Eof => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_of_awss_xml() {
        let xml = br#"<?xml version="1.0"?><R xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Result><Credentials>
            <SessionToken>a+b/c=&amp;&#x41;</SessionToken><AccessKeyId>ASIA</AccessKeyId></Credentials></Result></R>"#;
        assert_eq!(element(xml, "SessionToken").as_deref(), Some("a+b/c=&A"));
        assert_eq!(element(xml, "AccessKeyId").as_deref(), Some("ASIA"));
        assert_eq!(element(xml, "Expiration"), None);
        assert_eq!(element(b"<a><Code>x</a>", "Code"), None);
        assert_eq!(element(b"<Code>&undefined;</Code>", "Code"), None);
    }

    #[test]
    fn refusals_in_every_form() {
        let refusal = |body: &'static str| {
            let answer = Answer {
                host: "h".into(),
                headers: HeaderMap::new(),
                body: Bytes::from_static(body.as_bytes()),
            };
            let (code, message) = answer.refusal();
            format!("{code}|{message}")
        };
        assert_eq!(
            refusal(
                r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"no"}"#
            ),
            "AccessDeniedException|no"
        );
        assert_eq!(
            refusal(
                r#"{"__type":"InvalidSignatureException:http://x/","message":"Signature expired"}"#
            ),
            "InvalidSignatureException|Signature expired"
        );
        assert_eq!(
            refusal(
                "<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>old</Message></Error></ErrorResponse>"
            ),
            "ExpiredToken|old"
        );
        assert_eq!(refusal("<html>"), "no reason given|");
    }

    proptest! {
        #[test]
        fn any_xml_is_read_or_refused(text in "[<>/a&;#x!\\[\\]\"= -]{0,60}") {
            let _ = element(text.as_bytes(), "a");
        }
    }
}
