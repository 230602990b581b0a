//! TLS by rustls and ring: whom to trust, the handshake, and what the peer's certificate says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError,
    ProtocolVersion, RootCertStore, SignatureScheme, SupportedCipherSuite,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Authority;
use super::error::{Endpoint, Error};
use super::identity::Identity;
use super::roots;
use super::route::Peer;
use super::stream::{FirstBytes, Tcp};

/// The TLS side of the connector; the trust store is complete at the first handshake, so that a
/// run without TLS never reads the system's.
pub(super) struct Tls {
    roots: RootCertStore,
    system_roots: bool,
    identities: BTreeMap<Peer, Identity>,
    usual: OnceCell<TlsConnector>,
    /// For the hosts that are shown a client certificate.
    special: BTreeMap<Peer, OnceCell<TlsConnector>>,
}

impl Tls {
    pub(super) fn new(
        authorities: &[Authority],
        system_roots: bool,
        identities: BTreeMap<Peer, Identity>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        for authority in authorities {
            add(&mut roots, authority)?;
        }
        let special = identities
            .keys()
            .map(|peer| (peer.clone(), OnceCell::new()));
        Ok(Self {
            roots,
            system_roots,
            special: special.collect(),
            identities,
            usual: OnceCell::new(),
        })
    }

    /// Returns the client certificate that a host is shown.
    pub(super) fn identity(&self, host: &str, port: u16) -> Option<&Identity> {
        self.identities.get(&Peer::new(host, port))
    }

    pub(super) async fn handshake(
        &self,
        tcp: Tcp,
        endpoint: &Endpoint,
        first_bytes: &FirstBytes,
    ) -> Result<(TlsStream<Tcp>, TlsInfo), Error> {
        let peer = Peer::new(&endpoint.host, endpoint.port);
        let identity = self.identities.get(&peer);
        let connector = self.special.get(&peer).unwrap_or(&self.usual);
        let connector = connector
            .get_or_try_init(|| self.build(identity.cloned()))
            .await?;
        let name = ServerName::try_from(endpoint.host.trim_end_matches('.').to_owned())
            .map_err(|error| tls_error(endpoint, error.to_string()))?;
        let stream = connector
            .connect(name, tcp)
            .await
            .map_err(|error| classify(&error, endpoint, first_bytes, identity))?;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let info = TlsInfo::new(session.protocol_version(), leaf);
        Ok((stream, info))
    }

    async fn build(&self, identity: Option<Identity>) -> Result<TlsConnector, Error> {
        let mut roots = self.roots.clone();
        if self.system_roots {
            roots.add_parsable_certificates(roots::system().await);
        }
        // Passed explicitly: a process-wide default would let a dependency decide.
        let provider = Arc::new(provider());
        let config =
            config(provider, roots, identity).map_err(|detail| Error::InvalidAuthority {
                name: "the built-in roots".to_owned(),
                detail,
            })?;
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// What the TLS session and the peer's own certificate say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLS 1.3` or `TLS 1.2`.
    pub version: &'static str,
    /// When the certificate ends; nothing if it can't be read.
    pub not_after: Option<Timestamp>,
    /// Whom it is for, as an RFC 4514 name; often empty today.
    pub subject: String,
    /// The names and addresses that it is valid for.
    pub names: Vec<String>,
    /// Who issued it, as an RFC 4514 name.
    pub issuer: String,
}

impl TlsInfo {
    fn new(version: Option<ProtocolVersion>, leaf: Option<&CertificateDer<'_>>) -> Self {
        let mut info = Self {
            version: match version {
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "TLS 1.3",
            },
            not_after: None,
            subject: String::new(),
            names: Vec::new(),
            issuer: String::new(),
        };
        // A certificate that rustls accepts and this stricter reader does not leaves the facts out;
        // it is no reason to fail.
        let Some(certificate) = leaf.and_then(|der| parse(der)) else {
            return info;
        };
        let body = &certificate.tbs_certificate;
        let end = body.validity.not_after.to_unix_duration().as_secs();
        info.not_after = i64::try_from(end)
            .ok()
            .and_then(|end| Timestamp::from_second(end).ok());
        info.subject = body.subject.to_string();
        info.issuer = body.issuer.to_string();
        if let Ok(Some((_, SubjectAltName(names)))) = body.get::<SubjectAltName>() {
            info.names = names.iter().filter_map(name_text).collect();
        }
        info
    }
}

fn parse(der: &[u8]) -> Option<x509_cert::Certificate> {
    x509_cert::Certificate::from_der(der).ok()
}

fn name_text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => match octets.as_bytes() {
            bytes if bytes.len() == 4 => <[u8; 4]>::try_from(bytes)
                .ok()
                .map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            bytes => <[u8; 16]>::try_from(bytes)
                .ok()
                .map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    }
}

fn add(roots: &mut RootCertStore, authority: &Authority) -> Result<(), Error> {
    let invalid = |detail: String| Error::InvalidAuthority {
        name: authority.name.clone(),
        detail,
    };
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&authority.pem) {
        let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| invalid(error.to_string()))?;
        found += 1;
    }
    if found == 0 {
        return Err(invalid("no PEM certificate in it".to_owned()));
    }
    Ok(())
}

fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    if cfg!(target_family = "wasm") {
        // A component has no AES instructions, and ChaCha20 needs none. Servers that heed the
        // client's order then choose it.
        let chacha = |suite: &SupportedCipherSuite| {
            suite
                .suite()
                .as_str()
                .is_some_and(|name| name.contains("CHACHA20"))
        };
        provider.cipher_suites.sort_by_key(|suite| !chacha(suite));
    }
    provider
}

fn config(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
    identity: Option<Identity>,
) -> Result<ClientConfig, String> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NamingVerifier(verifier)));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity)),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The usual verifier, which only adds the issuer's name to the verdict "unknown issuer".
#[derive(Debug)]
struct NamingVerifier(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for NamingVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0
            .verify_server_cert(leaf, intermediates, name, ocsp, now)
            .map_err(|error| {
                if error != CertificateError::UnknownIssuer.into() {
                    return error;
                }
                // The last certificate sent names the authority that is missing.
                let last = intermediates.last().unwrap_or(leaf);
                let issuer = parse(last).map(|read| read.tbs_certificate.issuer.to_string());
                CertificateError::Other(OtherError(Arc::new(UnknownIssuer(issuer)))).into()
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[derive(Debug)]
struct UnknownIssuer(Option<String>);

impl fmt::Display for UnknownIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown issuer")
    }
}

impl std::error::Error for UnknownIssuer {}

fn classify(
    error: &std::io::Error,
    endpoint: &Endpoint,
    first_bytes: &FirstBytes,
    identity: Option<&Identity>,
) -> Error {
    let endpoint = Box::new(endpoint.clone());
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(reason)) => certificate_error(reason, endpoint),
        Some(error) if let Some(detail) = refusal(error, identity.is_some()) => {
            Error::ClientCertificate {
                endpoint,
                presented: identity.map(|identity| identity.name().to_owned()),
                detail,
            }
        }
        // Whatever rustls makes of them, bytes that begin no TLS record decide.
        _ if first_bytes.are_http() => Error::ServerSpeaksHttp { endpoint },
        _ if !first_bytes.bytes().is_empty() && !first_bytes.are_tls() => Error::NotTls {
            endpoint,
            found: first_bytes.shown(),
        },
        Some(error) => tls_error(&endpoint, error.to_string()),
        None => Error::Closed {
            endpoint,
            phase: super::Phase::Tls,
            detail: error.to_string(),
        },
    }
}

/// Returns the alert by which a server says that it does not take the client's certificate, or
/// misses one; in TLS 1.3 it comes after the handshake.
pub(super) fn refusal(error: &rustls::Error, presented: bool) -> Option<String> {
    let rustls::Error::AlertReceived(alert) = error else {
        return None;
    };
    let is_about_it = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => true,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => presented,
        _ => false,
    };
    is_about_it.then(|| format!("it says {alert:?}"))
}

fn certificate_error(reason: &CertificateError, endpoint: Box<Endpoint>) -> Error {
    match reason {
        CertificateError::Expired => Error::CertificateExpired {
            endpoint,
            not_after: None,
        },
        CertificateError::ExpiredContext { not_after, .. } => Error::CertificateExpired {
            endpoint,
            not_after: time_text(*not_after),
        },
        CertificateError::NotValidYet => Error::CertificateNotYetValid {
            endpoint,
            not_before: None,
        },
        CertificateError::NotValidYetContext { not_before, .. } => Error::CertificateNotYetValid {
            endpoint,
            not_before: time_text(*not_before),
        },
        CertificateError::NotValidForName => Error::CertificateName {
            endpoint,
            presented: Vec::new(),
        },
        CertificateError::NotValidForNameContext { presented, .. } => {
            let presented = presented.iter().map(|name| bare_name(name)).collect();
            Error::CertificateName {
                endpoint,
                presented,
            }
        }
        CertificateError::Other(OtherError(other)) if other.is::<UnknownIssuer>() => {
            let issuer = other
                .downcast_ref::<UnknownIssuer>()
                .and_then(|it| it.0.clone());
            Error::CertificateUnknownIssuer { endpoint, issuer }
        }
        other => tls_error(&endpoint, other.to_string()),
    }
}

/// Takes the name out of the verifier's debug-like form, `DnsName("a.example")`.
fn bare_name(presented: &str) -> String {
    match (presented.find('('), presented.strip_suffix(')')) {
        (Some(open), Some(front)) => front
            .get(open + 1..)
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned(),
        _ => presented.to_owned(),
    }
}

fn time_text(time: UnixTime) -> Option<String> {
    let seconds = i64::try_from(time.as_secs()).ok()?;
    Timestamp::from_second(seconds)
        .ok()
        .map(|time| time.to_string())
}

fn tls_error(endpoint: &Endpoint, detail: String) -> Error {
    Error::Tls {
        endpoint: Box::new(endpoint.clone()),
        detail,
    }
}
