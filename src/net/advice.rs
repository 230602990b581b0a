//! What helps against an error of the network, and its facts for reports.

use super::egress::line_to_add;
use super::error::{Error, Phase, name_list, seconds};
use crate::failure::{Explain, Fact};

impl Error {
    /// Returns the edit or the look that helps, where one is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::CertificateExpired { .. } => {
                "renew the server's certificate; if it was renewed, compare this machine's clock"
                    .to_owned()
            }
            Self::CertificateName {
                endpoint,
                presented,
            } => match presented.first() {
                Some(name) => format!(
                    "use a name that the certificate has, such as `{name}`, or issue it for `{}` too",
                    endpoint.host
                ),
                None => format!(
                    "issue the certificate with `{}` as a subject alternative name",
                    endpoint.host
                ),
            },
            Self::CertificateNotYetValid { .. } => {
                "compare this machine's clock with the certificate's begin".to_owned()
            }
            Self::CertificateUnknownIssuer { .. } => {
                "if it is your own authority, add its certificate (PEM) to `net.ca`".to_owned()
            }
            Self::ClientCertificate {
                endpoint,
                presented: None,
                ..
            } => format!(
                "name one with `client-cert` and `client-key` under `registries`, for `{}`",
                registry_key(&endpoint.host, endpoint.port)
            ),
            Self::ClientCertificate { endpoint, .. } => format!(
                "ask who runs {} which authorities it trusts, and send the whole chain",
                endpoint.host
            ),
            Self::InvalidIdentity { fault, .. } => fault.hint(),
            Self::Proxy {
                endpoint,
                proxy,
                fault,
            } => fault.hint(proxy, &endpoint.host, endpoint.port),
            Self::InvalidAuthority { .. } => {
                "`net.ca` takes PEM files with `-----BEGIN CERTIFICATE-----` blocks".to_owned()
            }
            // What WASI's resolver says when look-ups are switched off.
            Self::NameNotFound { detail, .. } if detail.contains("Non-recoverable") => {
                "in a sandbox, grant name look-ups; else check the name servers".to_owned()
            }
            Self::NameNotFound {
                temporary: true, ..
            } => "the name server did not answer: check the network of this machine".to_owned(),
            Self::NameNotFound { host, .. } => {
                format!(
                    "check the spelling of `{host}`, and that this machine's name servers know it"
                )
            }
            Self::NotGranted { host, port } => line_to_add(host, *port),
            // Whoever grants a host by hand may mean one of an inner network.
            Self::NotPublic { endpoint } => line_to_add(&endpoint.host, endpoint.port),
            Self::NotPermitted { endpoint, .. } => format!(
                "let the sandbox or the firewall of this machine allow {}:{}; a component needs it granted by its runtime",
                endpoint.host, endpoint.port
            ),
            Self::NotTls { .. } => "check the port: something else listens there".to_owned(),
            Self::Refused { endpoint } => format!(
                "nothing listens on port {}: check the port, and that the server runs",
                endpoint.port
            ),
            Self::ServerSpeaksHttp { endpoint } => format!(
                "the server speaks plain HTTP: set `plain-http: true` for `{}:{}`, or use an `http://` URL",
                endpoint.host, endpoint.port
            ),
            Self::ServerSpeaksTls { endpoint } => format!(
                "the server speaks TLS: remove `plain-http` for `{}:{}`, or use an `https://` URL",
                endpoint.host, endpoint.port
            ),
            Self::Timeout {
                phase: Phase::Connect,
                endpoint,
                ..
            } => format!(
                "no answer at all: a firewall may drop packets to port {}",
                endpoint.port
            ),
            Self::Timeout {
                phase: Phase::Tls,
                endpoint,
                ..
            } => format!(
                "the server may speak plain HTTP on port {}: if so, use an `http://` URL",
                endpoint.port
            ),
            _ => return None,
        })
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        self.hint()
    }

    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(phase) = self.phase() {
            facts.push(Fact::new("phase", phase.name()));
        }
        if let Some(endpoint) = self.endpoint() {
            facts.push(Fact::new("host", &endpoint.host));
            facts.push(Fact::new("port", endpoint.port));
            facts.extend(
                endpoint
                    .address
                    .map(|address| Fact::new("address", address)),
            );
            facts.extend(endpoint.route.as_ref().map(|by| Fact::new("route", by)));
        }
        match self {
            Self::BodyInterrupted {
                url,
                received,
                expected,
                ..
            } => {
                facts.push(Fact::new("url", url));
                facts.push(Fact::new("offset", received));
                facts.extend(expected.map(|bytes| Fact::new("expected-bytes", bytes)));
            }
            Self::BodyTooLarge {
                url,
                limit,
                expected,
            } => {
                facts.push(Fact::new("url", url));
                facts.push(Fact::new("limit", limit));
                facts.extend(expected.map(|bytes| Fact::new("expected-bytes", bytes)));
            }
            Self::CertificateExpired { not_after, .. } => {
                facts.extend(not_after.as_ref().map(|time| Fact::new("not-after", time)));
            }
            Self::CertificateName {
                endpoint,
                presented,
            } => {
                facts.push(Fact::new("expected", &endpoint.host));
                facts.push(Fact::new("found", name_list(presented)));
            }
            Self::CertificateNotYetValid { not_before, .. } => {
                facts.extend(
                    not_before
                        .as_ref()
                        .map(|time| Fact::new("not-before", time)),
                );
            }
            Self::CertificateUnknownIssuer { issuer, .. } => {
                facts.extend(issuer.as_ref().map(|name| Fact::new("issuer", name)));
            }
            Self::InvalidRequest { url, .. } => facts.push(Fact::new("url", url)),
            Self::NameNotFound { host, port, .. } | Self::NotGranted { host, port } => {
                facts.push(Fact::new("host", host));
                facts.push(Fact::new("port", port));
            }
            Self::Proxy { proxy, .. } => facts.push(Fact::new("proxy", proxy)),
            Self::NotTls { found, .. } => facts.push(Fact::new("found", found)),
            Self::Timeout { after, .. } => facts.push(Fact::new("limit", seconds(*after))),
            _ => {}
        }
        facts
    }
}

fn registry_key(host: &str, port: u16) -> String {
    match port {
        443 => host.to_owned(),
        port => format!("{host}:{port}"),
    }
}
