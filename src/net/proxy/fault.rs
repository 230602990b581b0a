//! What can be wrong with a proxy, apart from whom it was to reach.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::net::error::{Error, seconds};

/// Why a proxy did not do what it was asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyFault {
    /// Its answer to `CONNECT` makes no sense.
    Garbled {
        /// What is wrong with it.
        detail: String,
    },
    /// It wants a login (407).
    Login {
        /// Whether it was sent one.
        sent: bool,
        /// The schemes that it offers, in small letters.
        schemes: Vec<String>,
    },
    /// It answered with this status.
    Refused {
        /// The status.
        status: u16,
        /// Its own word for it, if it has one that can be shown.
        reason: Option<String>,
    },
    /// It did not answer in time.
    Silent {
        /// The limit that was reached.
        after: Duration,
    },
    /// There was no connection to the proxy itself.
    Unreachable(Box<Error>),
}

impl ProxyFault {
    /// Says whether another try may help.
    pub(in crate::net) fn is_retryable(&self) -> bool {
        match self {
            Self::Garbled { .. } | Self::Login { .. } => false,
            Self::Refused { status, .. } => matches!(status, 429 | 500 | 502..=504),
            Self::Silent { .. } => true,
            Self::Unreachable(error) => error.is_retryable(),
        }
    }

    /// Returns what helps; `proxy` is as [`Proxy`](super::Proxy) shows itself.
    pub(in crate::net) fn hint(&self, proxy: &str, host: &str, port: u16) -> String {
        let origin = proxy
            .rsplit_once('(')
            .map_or("net.proxy", |(_, origin)| origin.trim_end_matches(')'));
        let exempt = if origin.starts_with("net.proxy") {
            format!("add `{host}` to `net.proxy.no-proxy`")
        } else {
            format!("add `{host}` to NO_PROXY")
        };
        let log_in = if origin.starts_with("net.proxy") {
            "`net.proxy.auth`".to_owned()
        } else {
            format!("{origin} (http://USER:PASSWORD@…), or `net.proxy.auth`")
        };
        match self {
            Self::Garbled { .. } => {
                format!("check that {origin} is the address of an HTTP proxy")
            }
            Self::Login { schemes, .. } if !schemes.is_empty() && !offers_basic(schemes) => {
                format!(
                    "only Basic logins are sent; let the proxy offer Basic, put one between that logs in, or {exempt}"
                )
            }
            Self::Login { sent: false, .. } => format!("give it a login: {log_in}"),
            Self::Login { sent: true, .. } => {
                format!("check the user and the password in {log_in}")
            }
            Self::Refused { status: 403, .. } => {
                format!(
                    "ask who runs the proxy to allow {host}:{port}, or {exempt} if it can be reached directly"
                )
            }
            Self::Refused {
                status: 502..=504, ..
            } => format!(
                "the proxy could not reach {host}:{port}: check the name, and that the proxy may go there; or {exempt}"
            ),
            Self::Refused { status: 405, .. } => format!(
                "the server in {origin} may be no proxy, or none for port {port}; or {exempt}"
            ),
            Self::Refused { .. } => format!("look into the proxy's log, or {exempt}"),
            Self::Silent { .. } => {
                format!("check that the proxy can reach {host}:{port}, or {exempt}")
            }
            Self::Unreachable(error) if matches!(**error, Error::ServerSpeaksHttp { .. }) => {
                format!("the proxy is spoken to in plain HTTP: write `http://` in {origin}")
            }
            Self::Unreachable(error) => {
                let check = format!(
                    "check the proxy in {origin}, or {exempt} if it can be reached directly"
                );
                match error.hint() {
                    Some(hint) => format!("{hint}; {check}"),
                    None => check,
                }
            }
        }
    }
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbled { detail } => write!(f, "gave no valid answer: {detail}"),
            Self::Login { sent: false, .. } => f.write_str("wants a login (407)"),
            Self::Login { sent: true, .. } => f.write_str("does not take the login (407)"),
            Self::Refused { status, reason } => {
                write!(f, "answered {status}")?;
                reason
                    .as_ref()
                    .map_or(Ok(()), |reason| write!(f, " ({reason})"))
            }
            Self::Silent { after } => write!(f, "did not answer within {}", seconds(*after)),
            Self::Unreachable(error) => write!(f, "can't be reached: {error}"),
        }?;
        match self {
            Self::Login { schemes, .. } if !schemes.is_empty() && !offers_basic(schemes) => {
                write!(f, ", and offers {} alone", schemes.join(", "))
            }
            _ => Ok(()),
        }
    }
}

fn offers_basic(schemes: &[String]) -> bool {
    schemes.iter().any(|scheme| scheme == "basic")
}
