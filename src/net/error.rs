//! What can go wrong between a URL and the last byte of its body, as facts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::endpoint::Endpoint;
use super::identity::IdentityFault;
use super::proxy::ProxyFault;

/// A failed request, connection or body, with the facts that explain it.
///
/// [`hint`](Self::hint) says what to change, [`phase`](Self::phase) how far it came. No variant
/// holds a header, a body, or a URL that has not gone through [`redact`](crate::net::redact).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Error {
    /// The body broke off before its end.
    #[error(
        "the body of {url} broke off after {received} bytes{}: {detail}",
        of_expected(*.expected)
    )]
    BodyInterrupted {
        /// The redacted URL.
        url: String,
        /// Who sent it.
        endpoint: Box<Endpoint>,
        /// Bytes that arrived, which is the offset to go on from.
        received: u64,
        /// Bytes that the server had announced.
        expected: Option<u64>,
        /// The transport's own words.
        detail: String,
    },

    /// The body is longer than the reader allows.
    #[error("the body of {url} is over the limit of {limit} bytes{}", announced(*.expected))]
    BodyTooLarge {
        /// The redacted URL.
        url: String,
        /// The most bytes that the reader takes.
        limit: u64,
        /// Bytes that the server had announced.
        expected: Option<u64>,
    },

    /// The certificate's time is over.
    #[error("the certificate of {endpoint} expired{}", at_time(.not_after))]
    CertificateExpired {
        /// Whose certificate.
        endpoint: Box<Endpoint>,
        /// Its end, in RFC 3339.
        not_after: Option<String>,
    },

    /// The certificate is for other names.
    #[error(
        "the certificate of {endpoint} is not for `{}`, but for {}",
        .endpoint.host,
        name_list(.presented)
    )]
    CertificateName {
        /// Whose certificate; its host is the expected name.
        endpoint: Box<Endpoint>,
        /// The names in the certificate.
        presented: Vec<String>,
    },

    /// The certificate's time has not begun.
    #[error("the certificate of {endpoint} is not valid yet{}", before_time(.not_before))]
    CertificateNotYetValid {
        /// Whose certificate.
        endpoint: Box<Endpoint>,
        /// Its begin, in RFC 3339.
        not_before: Option<String>,
    },

    /// No trusted authority stands behind the certificate.
    #[error("the certificate of {endpoint} was issued by {}, which is not trusted", quoted(.issuer))]
    CertificateUnknownIssuer {
        /// Whose certificate.
        endpoint: Box<Endpoint>,
        /// The issuer's name in the certificate.
        issuer: Option<String>,
    },

    /// The peer does not take the client certificate, or wants one and got none.
    #[error("{endpoint} {}: {detail}", did_not_take(.presented))]
    ClientCertificate {
        /// Who.
        endpoint: Box<Endpoint>,
        /// The certificate that it was shown, by its name.
        presented: Option<String>,
        /// The alert of TLS.
        detail: String,
    },

    /// The peer closed or reset the connection before the answer's head was complete.
    #[error("{endpoint} closed the connection {}: {detail}", .phase.during())]
    Closed {
        /// Who closed.
        endpoint: Box<Endpoint>,
        /// When.
        phase: Phase,
        /// The transport's own words.
        detail: String,
    },

    /// No address of the host could be connected to, for another reason than a refusal.
    #[error("can't connect to {endpoint}: {detail}")]
    Connect {
        /// Whom; its address is the first that was tried.
        endpoint: Box<Endpoint>,
        /// Each address and what the system said.
        detail: String,
    },

    /// The system, or the runtime of the component, does not let this process connect there.
    #[error("this process may not connect to {endpoint}: {detail}")]
    NotPermitted {
        /// Whom.
        endpoint: Box<Endpoint>,
        /// What the system said.
        detail: String,
    },

    /// A certificate of an authority that was given can't be used.
    #[error("can't use the certificate authority in {name}: {detail}")]
    InvalidAuthority {
        /// The name it was given under, such as its file.
        name: String,
        /// What is wrong with it.
        detail: String,
    },

    /// A client certificate or its key can't be used.
    #[error("can't use the client certificate in {name}: {fault}")]
    InvalidIdentity {
        /// The name of the file that is to blame.
        name: String,
        /// What is wrong with it.
        fault: IdentityFault,
    },

    /// The URL, method or header can't be sent.
    #[error("can't request {url}: {detail}")]
    InvalidRequest {
        /// The redacted URL.
        url: String,
        /// What is wrong with it.
        detail: String,
    },

    /// The name does not resolve.
    #[error("can't resolve `{host}`: {detail}")]
    NameNotFound {
        /// The name.
        host: String,
        /// The port that was meant.
        port: u16,
        /// The resolver's own words.
        detail: String,
        /// Whether the resolver says that another try may help.
        temporary: bool,
    },

    /// The run has no grant for this host and port; nothing was resolved or sent.
    #[error("no grant for {host}:{port}")]
    NotGranted {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },

    /// The name leads to an address that is not a public one, and is not granted such addresses.
    #[error("{endpoint} is at an address that is not a public one")]
    NotPublic {
        /// Who; its address is the first that was found.
        endpoint: Box<Endpoint>,
    },

    /// The launcher's egress does not do what was asked of it; nothing of it reached the peer.
    #[error("the sandbox passes nothing on to {endpoint}: {detail}")]
    NotRelayed {
        /// Who.
        endpoint: Box<Endpoint>,
        /// Why not.
        detail: String,
    },

    /// The peer answered the TLS greeting with something that is no TLS.
    #[error("{endpoint} does not speak TLS: it answered {found}")]
    NotTls {
        /// Who.
        endpoint: Box<Endpoint>,
        /// The first bytes of the answer, escaped.
        found: String,
    },

    /// The peer's answer is not valid HTTP/1.1.
    #[error("{endpoint} sent no valid HTTP/1.1 answer: {detail}")]
    Protocol {
        /// Who.
        endpoint: Box<Endpoint>,
        /// The parser's own words.
        detail: String,
    },

    /// A proxy stands between, and did not do its part.
    #[error("the proxy {proxy} {fault}; it was to reach {endpoint}")]
    Proxy {
        /// Whom it was to reach.
        endpoint: Box<Endpoint>,
        /// The proxy and where it is written down.
        proxy: String,
        /// What it did instead.
        fault: ProxyFault,
    },

    /// Nothing listens there.
    #[error("{endpoint} refused the connection")]
    Refused {
        /// Who; its address is the first that was tried.
        endpoint: Box<Endpoint>,
    },

    /// A TLS client met a plain HTTP server.
    #[error("{endpoint} speaks plain HTTP, not HTTPS")]
    ServerSpeaksHttp {
        /// Who.
        endpoint: Box<Endpoint>,
    },

    /// A plain HTTP client met a TLS server.
    #[error("{endpoint} speaks HTTPS, not plain HTTP")]
    ServerSpeaksTls {
        /// Who.
        endpoint: Box<Endpoint>,
    },

    /// A phase took longer than it may.
    #[error("{endpoint} timed out after {} {}", seconds(*.after), .phase.during())]
    Timeout {
        /// Who.
        endpoint: Box<Endpoint>,
        /// What was going on.
        phase: Phase,
        /// The limit that was reached.
        after: Duration,
    },

    /// The TLS handshake failed for a reason without a variant of its own.
    #[error("the TLS handshake with {endpoint} failed: {detail}")]
    Tls {
        /// With whom.
        endpoint: Box<Endpoint>,
        /// The TLS library's own words.
        detail: String,
    },
}

impl Error {
    /// Says whether the same request, if it is idempotent, may succeed when sent again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::BodyInterrupted { .. }
            | Self::Closed { .. }
            | Self::Connect { .. }
            | Self::Refused { .. }
            | Self::Timeout { .. } => true,
            Self::NameNotFound { temporary, .. } => *temporary,
            Self::Proxy { fault, .. } => fault.is_retryable(),
            _ => false,
        }
    }

    /// Returns how far the request came, or nothing if it was refused before it began.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        Some(match self {
            Self::InvalidAuthority { .. }
            | Self::InvalidIdentity { .. }
            | Self::InvalidRequest { .. }
            | Self::NotGranted { .. } => return None,
            Self::NameNotFound { .. } | Self::NotPublic { .. } => Phase::Resolve,
            Self::Connect { .. }
            | Self::NotPermitted { .. }
            | Self::Proxy { .. }
            | Self::Refused { .. } => Phase::Connect,
            Self::CertificateExpired { .. }
            | Self::CertificateName { .. }
            | Self::CertificateNotYetValid { .. }
            | Self::CertificateUnknownIssuer { .. }
            | Self::ClientCertificate { .. }
            | Self::NotTls { .. }
            | Self::ServerSpeaksHttp { .. }
            | Self::Tls { .. } => Phase::Tls,
            Self::Protocol { .. } | Self::ServerSpeaksTls { .. } => Phase::FirstByte,
            Self::BodyInterrupted { .. } | Self::BodyTooLarge { .. } => Phase::Body,
            Self::NotRelayed { .. } => Phase::Send,
            Self::Closed { phase, .. } | Self::Timeout { phase, .. } => *phase,
        })
    }

    /// Returns whom it was about, where a server was reached for.
    #[must_use]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::BodyInterrupted { endpoint, .. }
            | Self::CertificateExpired { endpoint, .. }
            | Self::CertificateName { endpoint, .. }
            | Self::CertificateNotYetValid { endpoint, .. }
            | Self::CertificateUnknownIssuer { endpoint, .. }
            | Self::ClientCertificate { endpoint, .. }
            | Self::Closed { endpoint, .. }
            | Self::Connect { endpoint, .. }
            | Self::NotPermitted { endpoint, .. }
            | Self::NotPublic { endpoint }
            | Self::NotRelayed { endpoint, .. }
            | Self::NotTls { endpoint, .. }
            | Self::Protocol { endpoint, .. }
            | Self::Proxy { endpoint, .. }
            | Self::Refused { endpoint }
            | Self::ServerSpeaksHttp { endpoint }
            | Self::ServerSpeaksTls { endpoint }
            | Self::Timeout { endpoint, .. }
            | Self::Tls { endpoint, .. } => Some(endpoint),
            Self::BodyTooLarge { .. }
            | Self::InvalidAuthority { .. }
            | Self::InvalidIdentity { .. }
            | Self::InvalidRequest { .. }
            | Self::NameNotFound { .. }
            | Self::NotGranted { .. } => None,
        }
    }
}

/// A part of a request's life.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Asking for the addresses of the name.
    Resolve,
    /// Opening the TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the head of the answer.
    FirstByte,
    /// Reading the body.
    Body,
}

impl Phase {
    /// Returns the phase's name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::FirstByte => "first-byte",
            Self::Body => "body",
        }
    }

    fn during(self) -> &'static str {
        match self {
            Self::Resolve => "while resolving the name",
            Self::Connect => "while connecting",
            Self::Tls => "during the TLS handshake",
            Self::Send => "while the request was sent",
            Self::FirstByte => "before the first byte of the answer",
            Self::Body => "between two parts of the body",
        }
    }
}

fn did_not_take(presented: &Option<String>) -> String {
    match presented {
        Some(name) => format!("does not take the client certificate in {name}"),
        None => "wants a client certificate".to_owned(),
    }
}

fn of_expected(expected: Option<u64>) -> String {
    expected
        .map(|bytes| format!(" of {bytes}"))
        .unwrap_or_default()
}

fn announced(expected: Option<u64>) -> String {
    expected
        .map(|bytes| format!(" (announced: {bytes})"))
        .unwrap_or_default()
}

fn at_time(time: &Option<String>) -> String {
    time.as_ref()
        .map(|time| format!(" at {time}"))
        .unwrap_or_default()
}

fn before_time(time: &Option<String>) -> String {
    time.as_ref()
        .map(|time| format!(": it begins at {time}"))
        .unwrap_or_default()
}

fn quoted(name: &Option<String>) -> String {
    name.as_ref().map_or_else(
        || "an unknown authority".to_owned(),
        |name| format!("`{name}`"),
    )
}

pub(super) fn name_list(names: &[String]) -> String {
    // A hostile certificate may hold thousands of names.
    const SHOWN: usize = 5;
    if names.is_empty() {
        return "no name at all".to_owned();
    }
    let mut list: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > SHOWN {
        list.push(format!("{} more", names.len() - SHOWN));
    }
    list.join(", ")
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
