//! The way out of the sandbox, as the component and its launcher speak it.
//!
//! The component looks no name up and reaches no host by itself: it opens a TCP connection to the
//! launcher's egress, which stands at the address and takes the token of the [`Way`] in the brief.
//!
//! 1. The component sends one line of JSON, an [`Ask`].
//! 2. The egress sends one line of JSON, an [`Answer`]. After a failure or a probe it closes.
//! 3. After [`Want::Http`] the component sends requests of HTTP/1.1 as they are. The egress reads
//!    each head: what is for another host, or could be read in two ways, ends the stream.
//! 4. The other way go frames: a [`Frame`] in four bytes, then as many bytes as it says. How the
//!    stream ended is said in the last one, so that nothing that broke off looks whole.
//!
//! Keys, certificate authorities and addresses are the launcher's affair; plain bytes are all that
//! the component sees. Other protocols come as other kinds of [`Want`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Error;
pub use super::stream::Forwarder;
use super::tls::TlsInfo;

use crate::authority::authority;

/// The longest [`Ask`], in bytes with its line feed: a host name and a token are far shorter.
pub const MAX_ASK: usize = 4 << 10;

/// The longest [`Answer`] or [`Ending`], in bytes: a certificate may have thousands of names.
pub const MAX_ANSWER: usize = 1 << 20;

/// Where the egress is, and what it takes to use it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Way {
    /// The one address that the component may connect to.
    pub address: SocketAddr,
    /// What no other process of the machine knows.
    pub token: Token,
}

/// A secret of one run: 256 random bits as hexadecimal digits. `Debug` does not show it.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What the component asks for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ask {
    /// The token of the [`Way`].
    pub token: Token,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What for.
    pub want: Want,
    /// The most time for name, TCP and TLS together, in microseconds.
    pub timeout_us: u64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Want {
    /// Requests of HTTP/1.1.
    Http {
        /// Whether the egress speaks TLS with the host; ALPN is `http/1.1`.
        tls: bool,
    },
    /// A TCP connection that is closed at once: nothing is sent.
    Probe,
}

/// What became of an [`Ask`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The very error that a connection of one's own would have ended in, or a refusal.
    Failed(Error),
    /// It is open.
    Open(Opened),
}

/// A connection that the egress opened.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Opened {
    /// The address behind the host.
    pub remote: Option<SocketAddr>,
    /// How long the look-up took, in microseconds; nothing for a literal address.
    pub dns_us: Option<u64>,
    /// How long the TCP connection took, in microseconds.
    pub tcp_us: u64,
    /// What came of TLS, if it was wanted.
    pub tls: Option<Secured>,
    /// What stands between, in words.
    #[serde(default)]
    pub route: Option<String>,
    /// The proxy that requests are handed to one by one, if they are.
    #[serde(default)]
    pub forwarder: Option<Forwarder>,
}

/// A TLS handshake: how long it took, and [`TlsInfo`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Secured {
    /// How long the handshake took, in microseconds.
    pub took_us: u64,
    /// Whether it is TLS 1.2; it is TLS 1.3 else.
    pub is_tls_1_2: bool,
    /// When the certificate ends, in seconds since 1970.
    pub not_after: Option<i64>,
    /// Whom it is for, as an RFC 4514 name.
    pub subject: String,
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    /// Who issued it, as an RFC 4514 name.
    pub issuer: String,
}

impl Secured {
    /// Puts it into words for the wire.
    #[must_use]
    pub fn new(took: Duration, info: &TlsInfo) -> Self {
        Self {
            took_us: microseconds(took),
            is_tls_1_2: info.version == TLS_1_2,
            not_after: info.not_after.map(Timestamp::as_second),
            subject: info.subject.clone(),
            names: info.names.clone(),
            issuer: info.issuer.clone(),
        }
    }

    /// Returns how long it took, and what is known of it.
    #[must_use]
    pub fn facts(self) -> (Duration, TlsInfo) {
        let info = TlsInfo {
            version: if self.is_tls_1_2 { TLS_1_2 } else { TLS_1_3 },
            not_after: self
                .not_after
                .and_then(|end| Timestamp::from_second(end).ok()),
            subject: self.subject,
            names: self.names,
            issuer: self.issuer,
        };
        (Duration::from_micros(self.took_us), info)
    }
}

const TLS_1_2: &str = "TLS 1.2";
const TLS_1_3: &str = "TLS 1.3";

/// The four bytes before each piece of a stream from the egress.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame {
    /// So many bytes of the peer's, at least one.
    Data(u32),
    /// The peer closed in order; nothing follows.
    End,
    /// An [`Ending`] in so many bytes of JSON; nothing follows.
    Ending(u32),
}

impl Frame {
    /// How many bytes it takes.
    pub const LENGTH: usize = 4;

    /// The mark of an ending: no piece of data is that long.
    const LAST: u32 = 1 << 31;

    /// Returns it as it is sent.
    #[must_use]
    pub const fn encode(self) -> [u8; Self::LENGTH] {
        match self {
            Self::Data(length) => length,
            Self::End => 0,
            Self::Ending(length) => length | Self::LAST,
        }
        .to_be_bytes()
    }

    /// Reads it.
    #[must_use]
    pub const fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        match u32::from_be_bytes(bytes) {
            0 => Self::End,
            length if length & Self::LAST == 0 => Self::Data(length),
            length => Self::Ending(length & !Self::LAST),
        }
    }
}

/// Why a stream ended that did not end in order.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The connection broke: what the system, or TLS, said.
    Broken {
        /// Which kind of error it was.
        kind: Breakage,
        /// Its words.
        detail: String,
    },
    /// The egress does not pass on what the component sent.
    Refused(Error),
}

impl Ending {
    /// Returns what to say of an error of the connection.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        Self::Broken {
            kind: Breakage::of(error.kind()),
            detail: error.to_string(),
        }
    }
}

impl From<Ending> for io::Error {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Broken { kind, detail } => Self::new(kind.kind(), detail),
            Ending::Refused(error) => Self::new(io::ErrorKind::PermissionDenied, error),
        }
    }
}

/// The kinds of broken connections that make a difference to somebody.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breakage {
    /// Given up by this machine.
    Aborted,
    /// Closed while something was sent.
    BrokenPipe,
    /// What came makes no sense.
    Invalid,
    /// Anything else.
    Other,
    /// Reset by the peer.
    Reset,
    /// The system gave up waiting.
    TimedOut,
    /// It ended in the middle, for TLS.
    UnexpectedEnd,
}

impl Breakage {
    fn of(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::ConnectionAborted => Self::Aborted,
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            io::ErrorKind::InvalidData => Self::Invalid,
            io::ErrorKind::ConnectionReset => Self::Reset,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof => Self::UnexpectedEnd,
            _ => Self::Other,
        }
    }

    fn kind(self) -> io::ErrorKind {
        match self {
            Self::Aborted => io::ErrorKind::ConnectionAborted,
            Self::BrokenPipe => io::ErrorKind::BrokenPipe,
            Self::Invalid => io::ErrorKind::InvalidData,
            Self::Other => io::ErrorKind::Other,
            Self::Reset => io::ErrorKind::ConnectionReset,
            Self::TimedOut => io::ErrorKind::TimedOut,
            Self::UnexpectedEnd => io::ErrorKind::UnexpectedEof,
        }
    }
}

/// Returns the edit that lets a run go to a host: what every refusal of a host ends with.
#[must_use]
pub fn line_to_add(host: &str, port: u16) -> String {
    format!("to allow it, add `--allow-host {}`", authority(host, port))
}

/// Returns a duration in whole microseconds.
#[must_use]
pub fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Endpoint, Phase, ProxyFault};

    #[test]
    fn frames_come_back_as_they_were() {
        for frame in [
            Frame::Data(1),
            Frame::Data(u32::MAX >> 1),
            Frame::End,
            Frame::Ending(1),
            Frame::Ending(70_000),
        ] {
            assert_eq!(Frame::decode(frame.encode()), frame);
        }
    }

    #[test]
    fn an_error_crosses_with_its_facts_and_words() {
        let endpoint = Box::new(Endpoint {
            host: "registry.example".to_owned(),
            port: 443,
            address: Some(([192, 0, 2, 1], 443).into()),
            route: Some("connect-to private.example:443".to_owned()),
        });
        for error in [
            Error::Timeout {
                endpoint: endpoint.clone(),
                phase: Phase::Tls,
                after: Duration::from_millis(1500),
            },
            Error::CertificateName {
                endpoint: endpoint.clone(),
                presented: vec!["a.example".to_owned()],
            },
            Error::NotGranted {
                host: "a".to_owned(),
                port: 1,
            },
            Error::Proxy {
                endpoint: endpoint.clone(),
                proxy: "http://p:3128 (HTTPS_PROXY)".to_owned(),
                fault: ProxyFault::Unreachable(Box::new(Error::Refused { endpoint })),
            },
        ] {
            let line = serde_json::to_string(&Answer::Failed(error.clone())).unwrap();
            let Answer::Failed(back) = serde_json::from_str(&line).unwrap() else {
                panic!("{line}");
            };
            assert_eq!(back, error);
            assert_eq!(back.to_string(), error.to_string());
        }
    }

    #[test]
    fn an_ask_has_one_form_and_hides_its_token() {
        let ask = Ask {
            token: Token("0123".to_owned()),
            host: "a.example".to_owned(),
            port: 443,
            want: Want::Http { tls: true },
            timeout_us: 10,
        };
        insta::assert_snapshot!(
            serde_json::to_string(&ask).unwrap(),
            @r#"{"token":"0123","host":"a.example","port":443,"want":{"http":{"tls":true}},"timeout-us":10}"#
        );
        assert!(!format!("{ask:?}").contains("0123"));
        let unknown = r#"{"token":"","host":"a","port":1,"want":"smtp","timeout-us":1}"#;
        assert!(serde_json::from_str::<Ask>(unknown).is_err());
    }

    #[test]
    fn what_tls_said_crosses_whole() {
        let info = TlsInfo {
            version: "TLS 1.2",
            not_after: Some(Timestamp::from_second(2_000_000_000).unwrap()),
            subject: "CN=a".to_owned(),
            names: vec!["a.example".to_owned()],
            issuer: "CN=b".to_owned(),
        };
        let took = Duration::from_micros(7);
        assert_eq!(Secured::new(took, &info).facts(), (took, info));
    }

    #[test]
    fn a_broken_connection_keeps_its_kind_and_words() {
        let error = io::Error::new(io::ErrorKind::ConnectionReset, "reset");
        let back = io::Error::from(Ending::of(&error));
        assert_eq!(
            (back.kind(), back.to_string()),
            (error.kind(), "reset".into())
        );
    }
}
