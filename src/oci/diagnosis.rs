//! What a registry says in the body of an error, and what error its status makes.

use std::time::Duration;

use http::StatusCode;

use super::delay::delay_in_words;
use super::error::{Error, ErrorKind, Login};

/// What a registry says in the body of an error (distribution spec, "Error Codes").
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Diagnosis {
    /// The first error's code.
    pub(super) code: Option<String>,
    /// The first error's words, without control characters, at most 300 characters.
    pub(super) message: Option<String>,
}

impl Diagnosis {
    /// Reads an error body: the spec's JSON, or the XML of storage services. Anything else says
    /// nothing, save that TLS was expected or that there were too many requests.
    pub(super) fn of(body: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else {
            let body = String::from_utf8_lossy(body);
            let lower = body.to_ascii_lowercase();
            let expects = EXPECTS_TLS.iter().find(|words| lower.contains(*words));
            let limit = || body.lines().find(|line| limits(None, Some(line)));
            let said = element(&body, "Message").or_else(limit);
            return Self {
                code: element(&body, "Code").and_then(printable),
                message: expects
                    .map(|words| (*words).to_owned())
                    .or_else(|| said.and_then(printable)),
            };
        };
        let first = &value["errors"][0];
        let text = |value: &serde_json::Value| value.as_str().and_then(printable);
        // Token services write `details` or OAuth's `error_description` instead.
        let message = [
            &first["message"],
            &value["details"],
            &value["error_description"],
            &value["message"],
        ]
        .into_iter()
        .find_map(text);
        Self {
            code: text(&first["code"]).or_else(|| text(&value["error"])),
            message,
        }
    }

    /// Returns whether the words are about a rate limit, whatever the status says.
    pub(super) fn is_rate_limit(&self) -> bool {
        limits(self.code.as_deref(), self.message.as_deref())
    }

    /// Makes the error of a status that is no success.
    pub(super) fn error(
        self,
        status: StatusCode,
        host: String,
        url: String,
        what: &str,
        login: Login,
        retry_after: Option<Duration>,
    ) -> Error {
        let Self { code, message } = self;
        let message = message.or_else(|| code.clone());
        match status.as_u16() {
            429 | 401 | 403
                if status.as_u16() == 429 || limits(code.as_deref(), message.as_deref()) =>
            {
                ErrorKind::RateLimited {
                    retry_after: retry_after.or_else(|| delay_in_words(message.as_deref()?)),
                    host,
                    url,
                    message,
                }
            }
            403 | 401 => ErrorKind::Denied {
                host,
                url,
                login,
                message,
            },
            404 => ErrorKind::NotFound {
                host,
                what: what.to_owned(),
                repository_unknown: code.as_deref() == Some("NAME_UNKNOWN"),
                message,
            },
            status => ErrorKind::Refused {
                host,
                url,
                status,
                code,
                message,
                retry_after,
            },
        }
        .into()
    }
}

/// What Go's server and nginx say, in lower case, when a request without TLS comes to a port with TLS.
const EXPECTS_TLS: [&str; 2] = [
    "client sent an http request to an https server",
    "the plain http request was sent to https port",
];

/// Says whether a registry's words are that TLS was expected.
pub(super) fn expects_tls(message: Option<&str>) -> bool {
    message.is_some_and(|message| EXPECTS_TLS.contains(&message))
}

/// What registries call it, in lower case.
const LIMITS: [&str; 4] = [
    "rate limit",
    "ratelimit",
    "toomanyrequests",
    "too many requests",
];

/// GitHub answers 403 when its secondary rate limit is hit.
fn limits(code: Option<&str>, message: Option<&str>) -> bool {
    code == Some("TOOMANYREQUESTS")
        || message.is_some_and(|text| {
            let text = text.to_ascii_lowercase();
            LIMITS.iter().any(|words| text.contains(words))
        })
}

/// Returns the text of an element in the small XML of a storage service.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    (!text.contains('<')).then_some(text)
}

fn printable(text: &str) -> Option<String> {
    let mut printed = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut clean: String = printed.by_ref().take(300).collect();
    if printed.next().is_some() {
        // By this mark a secret that was cut is known.
        clean.push('…');
    }
    (!clean.trim().is_empty()).then_some(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Error {
        Diagnosis::of(body.as_bytes()).error(
            StatusCode::from_u16(status).unwrap(),
            "r.example".into(),
            "https://r.example/v2/a/manifests/v1".into(),
            "tag v1 of a",
            Login::Anonymous,
            None,
        )
    }

    #[test]
    fn words_that_were_cut_end_with_a_mark() {
        for (length, marked) in [(300, false), (301, true)] {
            let body = serde_json::json!({"errors": [{"message": "x".repeat(length)}]});
            let message = Diagnosis::of(body.to_string().as_bytes()).message.unwrap();
            assert_eq!(message.ends_with('…'), marked);
            assert_eq!(message.trim_end_matches('…').len(), 300);
        }
    }

    #[test]
    fn the_registrys_own_words_are_kept() {
        let error = of(
            404,
            r#"{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known\u001b[2J"}]}"#,
        );
        assert!(error.is_absence());
        insta::assert_snapshot!(error, @"tag v1 of a does not exist in r.example (it says: repository name not known [2J)");
        assert!(of(404, "<html>").is_absence());
        assert!(!of(500, "").is_absence());
        assert!(of(503, "").is_retryable());
        assert!(!of(400, "").is_retryable());
    }

    #[test]
    fn rate_limits_in_all_their_forms() {
        let ghcr = of(
            429,
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 333.939671ms, allowed: 44000/minute"}]}"#,
        );
        assert_eq!(ghcr.retry_after(), Some(Duration::from_nanos(333_939_671)));
        let github = of(
            403,
            r#"{"message":"You have exceeded a secondary rate limit"}"#,
        );
        assert!(matches!(github.kind(), ErrorKind::RateLimited { .. }));
        assert!(matches!(of(403, "{}").kind(), ErrorKind::Denied { .. }));
        let plain = of(429, "toomanyrequests: retry-after: 1m0.5s\n");
        assert_eq!(plain.retry_after(), Some(Duration::from_millis(60_500)));
        let page = of(403, "<p>\nYou have exceeded a secondary rate limit.\n</p>");
        assert!(matches!(page.kind(), ErrorKind::RateLimited { .. }));
        assert_eq!(page.retry_after(), None);
        assert!(matches!(
            of(403, "<p>Forbidden</p>").kind(),
            ErrorKind::Denied { .. }
        ));
    }

    #[test]
    fn storage_speaks_xml() {
        let said = Diagnosis::of(
            b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message><HostId>x</HostId></Error>",
        );
        assert_eq!(said.code.as_deref(), Some("AccessDenied"));
        assert_eq!(said.message.as_deref(), Some("Request has expired"));
        for odd in [
            "<Code>",
            "<Code><b></Code>",
            "<Code></Code>",
            "</Code><Code>",
        ] {
            assert_eq!(Diagnosis::of(odd.as_bytes()), Diagnosis::default(), "{odd}");
        }
    }

    #[test]
    fn a_registry_that_speaks_tls_is_told_apart() {
        for body in [
            "Client sent an HTTP request to an HTTPS server.\n",
            "<html><center>The plain HTTP request was sent to HTTPS port</center></html>",
        ] {
            let error = of(400, body);
            let hint = crate::failure::Explain::hint(&error).unwrap();
            assert!(hint.contains("plain-http: false"), "{hint}");
        }
        let hint = crate::failure::Explain::hint(&of(400, "no")).unwrap();
        assert!(!hint.contains("plain-http"), "{hint}");
    }
}
