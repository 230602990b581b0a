//! What a probe found.

use std::time::Duration;

use super::phrase::took;
use crate::gate::Value;
use crate::net;

/// The answer to one question, as a value for the gate and as a phrase for people.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it counts as.
    pub value: Value,
    /// What was found, in one line, with the time that it took.
    pub found: String,
    /// How long it took.
    pub took: Duration,
    /// How long the parts of the request took, if one was answered.
    pub timing: Option<net::Timing>,
}

impl Answer {
    /// Makes an answer of what was found (`503 Service Unavailable`), what is said about it
    /// (`, expected 200`), and what it counts as; the time is put between them.
    pub(super) fn new(
        head: &str,
        tail: &str,
        as_value: fn(String) -> Value,
        time: Duration,
    ) -> Self {
        Self {
            value: as_value(format!("{head}{tail}")),
            found: format!("{head} in {}{tail}", took(time)),
            took: time,
            timing: None,
        }
    }

    /// Makes an answer of an error, which says in its own words how long it took, if that matters.
    pub(super) fn of_error(error: &net::Error, time: Duration) -> Self {
        let found = error.to_string();
        let value = if says_nothing_of_the_service(error) {
            Value::Unknown(found.clone())
        } else {
            Value::Bad(found.clone())
        };
        Self {
            value,
            found,
            took: time,
            timing: None,
        }
    }

    /// Adds how long the parts of the request took.
    pub(super) fn timed(self, timing: net::Timing) -> Self {
        Self {
            timing: Some(timing),
            ..self
        }
    }
}

/// Says whether the error is of our own making or of the way to the service.
fn says_nothing_of_the_service(error: &net::Error) -> bool {
    use net::Error;

    match error {
        Error::BodyTooLarge { .. }
        | Error::CertificateNotYetValid { .. }
        | Error::CertificateUnknownIssuer { .. }
        | Error::ClientCertificate { .. }
        | Error::InvalidAuthority { .. }
        | Error::InvalidIdentity { .. }
        | Error::InvalidRequest { .. }
        | Error::NameNotFound { .. }
        | Error::NotGranted { .. }
        | Error::NotPermitted { .. }
        | Error::NotPublic { .. }
        | Error::NotRelayed { .. }
        | Error::Proxy { .. } => true,
        Error::BodyInterrupted { .. }
        | Error::CertificateExpired { .. }
        | Error::CertificateName { .. }
        | Error::Closed { .. }
        | Error::Connect { .. }
        | Error::NotTls { .. }
        | Error::Protocol { .. }
        | Error::Refused { .. }
        | Error::ServerSpeaksHttp { .. }
        | Error::ServerSpeaksTls { .. }
        | Error::Timeout { .. }
        | Error::Tls { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::{Endpoint, Error, Phase};

    #[test]
    fn errors_on_our_side_say_nothing_of_the_service() {
        let endpoint = || {
            Box::new(Endpoint {
                host: "web".to_owned(),
                port: 443,
                address: None,
                route: None,
            })
        };
        let name_not_found = |temporary| Error::NameNotFound {
            host: "web".to_owned(),
            port: 443,
            detail: "no such name".to_owned(),
            temporary,
        };
        for (error, value) in [
            (name_not_found(true), "unknown"),
            (name_not_found(false), "unknown"),
            (
                Error::CertificateUnknownIssuer {
                    endpoint: endpoint(),
                    issuer: None,
                },
                "unknown",
            ),
            (
                Error::CertificateExpired {
                    endpoint: endpoint(),
                    not_after: None,
                },
                "bad",
            ),
            (
                Error::Refused {
                    endpoint: endpoint(),
                },
                "bad",
            ),
            (
                Error::Timeout {
                    endpoint: endpoint(),
                    phase: Phase::Connect,
                    after: Duration::from_secs(5),
                },
                "bad",
            ),
        ] {
            let answer = Answer::of_error(&error, Duration::from_millis(7));
            assert_eq!(answer.value.name(), value, "{error}");
            assert_eq!(answer.value.reason(), Some(error.to_string().as_str()));
            assert_eq!(answer.found, error.to_string());
        }
    }

    #[test]
    fn the_reason_has_no_time_and_the_phrase_has() {
        let time = Duration::from_millis(12);
        let answer = Answer::new("503", ", expected 200", Value::Bad, time);
        assert_eq!(answer.value, Value::Bad("503, expected 200".to_owned()));
        assert_eq!(answer.found, "503 in 12 ms, expected 200");
    }
}
