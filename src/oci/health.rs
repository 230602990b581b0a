//! Whether a registry lives and lets us in: `GET /v2/` (distribution spec, "Determining Support").

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};

use super::answer::Answer;
use super::call::Call;
use super::challenge::Challenge;
use super::client::Client;
use super::config::Notice;
use super::error::{Error, ErrorKind};
use super::transport::{Attempts, ERROR_BODY};
use crate::net::TlsInfo;

/// A registry's answer to the question whether it is one.
#[derive(Clone, Debug)]
pub struct Health {
    /// Whether anybody may ask, or how a login went.
    pub access: Access,
    /// The challenge in words, if a login is wanted: schemes and the token service's host.
    pub challenge: Option<String>,
    /// From the request on the open connection to the head of the answer.
    pub latency: Duration,
    /// What TLS says of the peer, if it was TLS.
    pub tls: Option<TlsInfo>,
    /// `Docker-Distribution-Api-Version`, if the registry sends it.
    pub api_version: Option<String>,
}

/// Who may ask a registry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Access {
    /// It is alive, and our credentials work.
    LoggedIn,
    /// It is alive, and does not take our credentials.
    LoginRefused {
        /// Why, in one sentence.
        reason: String,
    },
    /// It is alive, and wants a login that we have no credentials for.
    NeedsLogin,
    /// It is alive, and wants no login.
    Open,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoggedIn => f.write_str("alive, login works"),
            Self::LoginRefused { reason } => write!(f, "alive, login refused: {reason}"),
            Self::NeedsLogin => f.write_str("alive, needs login"),
            Self::Open => f.write_str("alive, no login needed"),
        }
    }
}

impl Client {
    /// Asks a registry whether it is alive, and tries our credentials if it wants a login.
    ///
    /// # Errors
    ///
    /// It can't be reached, its token service can't, or it is no registry.
    pub async fn ping(&self, registry: &str) -> Result<Health, Error> {
        let call = Call {
            registry: registry.to_owned(),
            method: Method::GET,
            url: self.transport.base(registry)?,
            accept: None,
            payload: None,
            range: None,
            sink: None,
            scope: String::new(),
            what: "the API".into(),
            at_mirror: None,
        };
        let mut attempts = Attempts::default();
        let answer = loop {
            match self.transport.bare(&call).await {
                Ok(answer) => break answer,
                Err(error) => self.transport.pause(&mut attempts, error).await?,
            }
        };
        let latency = answer.response.timing.first_byte.unwrap_or_default();
        let tls = answer.response.tls.clone();
        let api_version = answer
            .response
            .headers
            .get("docker-distribution-api-version")
            .and_then(|value| value.to_str().ok())
            .map(|value| value.chars().take(60).collect());
        // Bodies are read to their end, so that connections can be used again and bytes are counted.
        let (access, challenge) = match answer.status() {
            StatusCode::UNAUTHORIZED => {
                let challenges = usable(&answer)?;
                answer.text(ERROR_BODY).await;
                let access = self.try_login(&call, &challenges).await?;
                (access, Some(in_words(&challenges)))
            }
            status if status.is_success() => {
                answer.text(ERROR_BODY).await;
                (Access::Open, None)
            }
            _ => {
                // One more request, for the retries and the words that every error has.
                self.transport.send(&call).await?;
                (Access::Open, None)
            }
        };
        Ok(Health {
            access,
            challenge,
            latency,
            tls,
            api_version,
        })
    }

    async fn try_login(&self, call: &Call, challenges: &[Challenge]) -> Result<Access, Error> {
        let credentials = self.transport.credentials();
        let lookup = credentials.lookup(&call.registry, None).await;
        for message in lookup.warnings {
            self.transport.notice(Notice::Warning { message });
        }
        if lookup.found.is_none() {
            if let Some(refusal) = lookup.refusal {
                return Ok(Access::LoginRefused {
                    reason: refusal.reason,
                });
            }
            return Ok(Access::NeedsLogin);
        }
        match self.transport.send_after(call, challenges).await {
            Ok(answer) => {
                answer.text(ERROR_BODY).await;
                Ok(Access::LoggedIn)
            }
            Err(error) => match error.kind() {
                ErrorKind::Unauthorized { .. } | ErrorKind::Denied { .. } => {
                    Ok(Access::LoginRefused {
                        reason: error.to_string(),
                    })
                }
                _ => Err(error),
            },
        }
    }
}

/// Returns the challenges, of which one must be answerable: anything behind a login page says 401.
fn usable(answer: &Answer) -> Result<Vec<Challenge>, Error> {
    let challenges = answer.challenges()?;
    if challenges
        .iter()
        .any(|c| c.scheme == "bearer" || c.scheme == "basic")
    {
        return Ok(challenges);
    }
    Err(ErrorKind::Malformed {
        host: answer.host.clone(),
        url: answer.url.clone(),
        reason: "it answers 401 without a Bearer or Basic challenge".into(),
    }
    .into())
}

fn in_words(challenges: &[Challenge]) -> String {
    let words: Vec<String> = challenges
        .iter()
        .take(5)
        .map(|challenge| {
            let realm = challenge.parameter("realm").unwrap_or_default();
            match url::Url::parse(realm)
                .ok()
                .as_ref()
                .and_then(url::Url::host_str)
            {
                Some(host) => format!("{} by {host}", challenge.scheme),
                None => challenge.scheme.clone(),
            }
        })
        .collect();
    words.join(", ")
}
