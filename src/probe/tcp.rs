//! The TCP probe: does anything accept a connection?

use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use super::TIMEOUT;
use super::answer::Answer;
use super::phrase::bare;
use crate::authority::authority;
use crate::gate::Value;
use crate::net;

/// Opens a TCP connection and closes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpProbe {
    host: String,
    port: u16,
    timeout: Duration,
}

impl TcpProbe {
    /// Returns the probe with another time-out.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks once.
    pub async fn ask(&self, client: &net::Client) -> Answer {
        let begun = Instant::now();
        let result = client
            .connect_tcp(&self.host, self.port, self.timeout)
            .await;
        let took = begun.elapsed();
        match result {
            Ok(connection) => {
                let address = match connection.remote {
                    Some(address) => address.to_string(),
                    None => self.shown(),
                };
                Answer::new(
                    &format!("connected to {address}"),
                    "",
                    |_| Value::Good,
                    took,
                )
            }
            Err(error) => Answer::of_error(&error, took),
        }
    }

    pub(super) fn endpoint(&self) -> (String, u16) {
        (self.host.clone(), self.port)
    }

    pub(super) fn question(&self) -> String {
        format!("TCP connection to {}", self.shown())
    }

    fn shown(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// Reads `host:port` or `[IPv6]:port`.
impl FromStr for TcpProbe {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |expected| InvalidAddress {
            found: bare(text),
            expected,
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| invalid("host:port"))?;
        let port = port
            .parse()
            .ok()
            .filter(|number| *number != 0 && port.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| invalid("a port from 1 to 65535 after the last colon"))?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => Some(address),
            _ => Some(host).filter(|host| is_name(host)),
        };
        let host = host.ok_or_else(|| {
            invalid("a host name or an address before the port, IPv6 in brackets")
        })?;
        Ok(Self {
            host: host.to_owned(),
            port,
            timeout: TIMEOUT,
        })
    }
}

/// A refusal to take a text for a host and a port.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{found}` is no address: expected {expected}")]
pub struct InvalidAddress {
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Says whether a text can be a name or an IPv4 address. What it means is the resolver's matter;
/// user info, paths and schemes are mistakes here.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::testing::{self, client};

    #[test]
    fn addresses_are_read() {
        for (text, host, port, question) in [
            (
                "web.example:8080",
                "web.example",
                8080,
                "TCP connection to web.example:8080",
            ),
            (
                "127.0.0.1:1",
                "127.0.0.1",
                1,
                "TCP connection to 127.0.0.1:1",
            ),
            ("[::1]:65535", "::1", 65535, "TCP connection to [::1]:65535"),
        ] {
            let probe: TcpProbe = text.parse().unwrap();
            assert_eq!(probe.endpoint(), (host.to_owned(), port));
            assert_eq!(probe.question(), question);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":",
            "web",
            "web:",
            ":80",
            "web:0",
            "web:65536",
            "web:+80",
            "::1:80",
            "[::g]:80",
            "http://web:80",
            "a b:80",
            "me@web:80",
        ] {
            assert!(text.parse::<TcpProbe>().is_err(), "{text}");
        }
        assert_eq!(
            "web".parse::<TcpProbe>().unwrap_err().to_string(),
            "`web` is no address: expected host:port"
        );
    }

    #[tokio::test]
    async fn an_open_port_is_good() {
        let address = testing::listening().await;
        let probe: TcpProbe = address.to_string().parse().unwrap();
        let answer = probe.ask(&client()).await;
        assert_eq!(answer.value, Value::Good);
        let head = format!("connected to {address} in ");
        assert!(
            answer.found.starts_with(&head) && answer.found.ends_with(" ms"),
            "{}",
            answer.found
        );
    }

    #[tokio::test]
    async fn a_closed_port_is_bad() {
        let address = testing::closed().await;
        let probe: TcpProbe = address.to_string().parse().unwrap();
        let answer = probe.ask(&client()).await;
        assert_eq!(
            answer.value,
            Value::Bad(format!("{address} refused the connection"))
        );
    }

    #[tokio::test]
    async fn a_missing_grant_is_unknown() {
        let probe: TcpProbe = "web.example:80".parse().unwrap();
        let answer = probe.ask(&testing::client_without_grants()).await;
        let why = "no grant for web.example:80".to_owned();
        assert_eq!(answer.value, Value::Unknown(why));
    }
}
