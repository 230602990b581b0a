//! Proxies, private addresses and client certificates, each with peers that the tests play.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio_rustls::server::TlsStream;

use super::*;
use crate::net::{
    Bypass, Identity, IdentityFault, IdentityFiles, Peer, Proxies, Proxy, ProxyFault, Routes,
};

/// A proxy that keeps the head of each request, and connects every tunnel to one address.
#[derive(Clone)]
struct Between {
    heads: Arc<Mutex<Vec<String>>>,
    answer: Option<&'static str>,
    to: SocketAddr,
}

impl Between {
    fn to(to: SocketAddr) -> Self {
        Self {
            heads: Arc::default(),
            answer: None,
            to,
        }
    }

    fn answering(answer: &'static str) -> Self {
        Self {
            answer: Some(answer),
            ..Self::to(([127, 0, 0, 1], 1).into())
        }
    }

    async fn start(&self) -> SocketAddr {
        let own = self.clone();
        serving(move |stream| own.clone().serve(stream)).await
    }

    async fn start_tls(&self, config: rustls::ServerConfig) -> SocketAddr {
        let own = self.clone();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        serving(move |stream| {
            let (own, acceptor) = (own.clone(), acceptor.clone());
            async move {
                let stream: TlsStream<TcpStream> = acceptor.accept(stream).await.unwrap();
                own.serve(stream).await;
            }
        })
        .await
    }

    async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let head = String::from_utf8(head).unwrap();
            self.heads.lock().unwrap().push(head.clone());
            if let Some(answer) = self.answer {
                let _ = stream.write_all(answer.as_bytes()).await;
                return;
            }
            if head.starts_with("CONNECT ") {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let mut peer = TcpStream::connect(self.to).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut peer).await;
                return;
            }
            let hello = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nby proxy.";
            stream.write_all(hello).await.unwrap();
        }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn by(address: SocketAddr, change: impl Fn(Proxy) -> Proxy, scheme: &str) -> Config {
    let proxy = Proxy::parse(
        &format!("{scheme}://localhost:{}", address.port()),
        "net.proxy",
    );
    let proxy = Some(change(proxy.unwrap()));
    Config {
        routes: Routes {
            proxies: Proxies {
                http: proxy.clone(),
                https: proxy,
                bypass: Bypass::default(),
            },
            ..Routes::default()
        },
        ..Config::default()
    }
}

fn with_login(proxy: Proxy) -> Proxy {
    proxy.with_login("ci", "pa55word")
}

const LOGIN: &str = "Basic Y2k6cGE1NXdvcmQ=";

#[tokio::test]
async fn https_goes_through_a_tunnel_and_the_origin_sees_no_login_of_the_proxys() {
    for secure_proxy in [false, true] {
        let authority = Issuing::new("Test Root");
        let origin = tls(authority.leaf(|params| {
            params.subject_alt_names = CertificateParams::new(vec!["registry.invalid".to_owned()])
                .unwrap()
                .subject_alt_names;
        }))
        .await;
        let between = Between::to(origin);
        let (address, scheme) = if secure_proxy {
            (between.start_tls(authority.leaf(|_| {})).await, "https")
        } else {
            (between.start().await, "http")
        };
        let client = client(Config {
            ca: authority.config().ca,
            ..by(address, with_login, scheme)
        });
        let request = get("https://registry.invalid/v2/").header(
            http::header::AUTHORIZATION,
            HeaderValue::from_static("Bearer x"),
        );
        let response = client.send(request).await.unwrap();
        assert_eq!(response.tls.as_ref().unwrap().names, ["registry.invalid"]);
        assert_eq!(response.remote.map(|it| it.port()), Some(address.port()));
        let body = response.body.bytes(1000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("GET /v2/ host=registry.invalid"), "{body}");
        assert!(body.contains("authorization=Bearer x"), "{body}");
        let heads = between.heads();
        assert_eq!(heads.len(), 1);
        assert_eq!(
            heads[0],
            format!(
                "CONNECT registry.invalid:443 HTTP/1.1\r\nHost: registry.invalid:443\r\n\
                 Proxy-Authorization: {LOGIN}\r\n\r\n"
            )
        );
    }
}

#[tokio::test]
async fn http_is_handed_over_in_full_and_the_connection_is_kept() {
    let between = Between::to(([127, 0, 0, 1], 1).into());
    let client = client(by(between.start().await, with_login, "http"));
    for reused in [false, true] {
        let response = client
            .send(get("http://web.invalid:8080/a?b"))
            .await
            .unwrap();
        assert_eq!(response.timing.reused, reused);
        assert_eq!(response.body.bytes(100).await.unwrap(), "by proxy.");
    }
    let head = between.heads()[1].to_lowercase();
    assert!(
        head.starts_with("get http://web.invalid:8080/a?b http/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("host: web.invalid:8080\r\n"), "{head}");
    let login = format!("proxy-authorization: {}\r\n", LOGIN.to_lowercase());
    assert!(head.contains(&login), "{head}");
}

#[tokio::test]
async fn what_is_exempt_goes_directly_without_the_proxys_login() {
    let between = Between::to(([127, 0, 0, 1], 1).into());
    let origin = Between::to(([127, 0, 0, 1], 1).into());
    let address = origin.start().await;
    let client = client(by(between.start().await, with_login, "http"));
    client
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap();
    assert!(between.heads().is_empty());
    let seen = origin.heads().join("").to_lowercase();
    assert!(seen.starts_with("get / http/1.1"), "{seen}");
    assert!(!seen.contains("proxy-"), "{seen}");
}

#[tokio::test]
async fn what_a_proxy_refuses_is_named_as_the_proxys() {
    let mut told = String::new();
    for (answer, url) in [
        (
            "HTTP/1.1 407 no\r\nProxy-Authenticate: Basic realm=x\r\n\r\n",
            "https://r.invalid/",
        ),
        (
            "HTTP/1.1 407 no\r\nProxy-Authenticate: Negotiate\r\ncontent-length: 0\r\n\r\n",
            "http://r.invalid/",
        ),
        (
            "HTTP/1.1 403 no\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n",
            "https://r.invalid/",
        ),
        (
            "HTTP/1.1 403 no\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\ncontent-length: 0\r\n\r\n",
            "http://r.invalid/",
        ),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "https://r.invalid:5000/",
        ),
        ("SSH-2.0-OpenSSH\r\n", "https://r.invalid/"),
    ] {
        let between = Between::answering(answer);
        let address = between.start().await;
        let error = failed(by(address, with_login, "http"), url).await;
        assert!(matches!(error, Error::Proxy { .. }), "{error:?}");
        told += &format!("{error}\n  {}\n", error.hint().unwrap())
            .replace(&address.port().to_string(), "PORT");
    }
    let closed = SocketAddr::from(([127, 0, 0, 1], closed_port().await));
    let error = failed(by(closed, with_login, "http"), "https://r.invalid/").await;
    assert!(error.is_retryable());
    told += &format!("{error}\n  {}\n", error.hint().unwrap())
        .replace(&closed.port().to_string(), "PORT");
    let origin = echo().await;
    let error = failed(by(origin, with_login, "https"), "https://r.invalid/").await;
    told += &format!("{error}\n  {}\n", error.hint().unwrap())
        .replace(&origin.port().to_string(), "PORT");
    assert!(
        !told.contains("pa55word") && !told.contains(LOGIN),
        "{told}"
    );
    insta::assert_snapshot!(told);
}

#[tokio::test]
async fn a_403_of_the_hosts_own_stays_the_hosts() {
    let between = Between::answering("HTTP/1.1 403 no\r\ncontent-length: 0\r\n\r\n");
    let client = client(by(between.start().await, |proxy| proxy, "http"));
    let response = client.send(get("http://r.invalid/")).await.unwrap();
    assert_eq!(response.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_is_given_up_in_time() {
    let config = by(silent().await, |proxy| proxy, "http");
    let error = failed(config, "https://r.invalid/").await;
    let Error::Proxy { fault, .. } = &error else {
        panic!("{error:?}");
    };
    let after = Duration::from_secs(10);
    assert_eq!(*fault, ProxyFault::Silent { after });
}

// --- connect-to ---

fn connect_to(to: &[(&str, u16, SocketAddr)]) -> Routes {
    let to = to
        .iter()
        .map(|(host, port, to)| (Peer::new(host, *port), Peer::new("localhost", to.port())));
    Routes {
        connect_to: to.collect(),
        ..Routes::default()
    }
}

#[tokio::test]
async fn another_address_keeps_the_name_for_tls_and_host() {
    let authority = Issuing::new("Test Root");
    let names = || CertificateParams::new(vec!["public.invalid".to_owned()]).unwrap();
    let origin = tls(authority.leaf(|params| {
        params.subject_alt_names = names().subject_alt_names;
    }))
    .await;
    let config = Config {
        routes: connect_to(&[("Public.invalid", 443, origin)]),
        ..authority.config()
    };
    let response = client(config.clone())
        .send(get("https://public.invalid/v2/"))
        .await;
    let response = response.unwrap();
    assert_eq!(response.remote, Some(origin));
    let body = response.body.bytes(1000).await.unwrap();
    assert!(
        body.starts_with(b"GET /v2/ host=public.invalid"),
        "{body:?}"
    );
    let other = failed(config, "https://public.invalid:444/").await;
    assert!(matches!(other, Error::NameNotFound { .. }), "{other:?}");
}

#[tokio::test]
async fn an_error_says_which_address_was_really_dialled() {
    let closed = SocketAddr::from(([127, 0, 0, 1], closed_port().await));
    let config = Config {
        routes: connect_to(&[("public.invalid", 443, closed)]),
        ..Config::default()
    };
    let error = failed(config, "https://public.invalid/").await;
    let port = closed.port();
    let told = error.to_string();
    assert!(told.contains("public.invalid:443 ("), "{told}");
    assert!(
        told.contains(&format!("connect-to localhost:{port}) refused")),
        "{told}"
    );
    let authority = Issuing::new("Test Root");
    let wrong = tls(authority.leaf(|_| {})).await;
    let config = Config {
        routes: connect_to(&[("public.invalid", 443, wrong)]),
        ..authority.config()
    };
    let error = failed(config, "https://public.invalid/").await;
    let Error::CertificateName { endpoint, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (&*endpoint.host, endpoint.address),
        ("public.invalid", Some(wrong))
    );
}

#[tokio::test]
async fn a_plain_host_that_stands_elsewhere_is_reached_by_a_tunnel() {
    let origin = echo().await;
    let between = Between::to(origin);
    let mut config = by(between.start().await, |proxy| proxy, "http");
    config.routes.connect_to.insert(
        Peer::new("plain.invalid", 80),
        Peer::new("inner.invalid", 81),
    );
    let response = client(config)
        .send(get("http://plain.invalid/x"))
        .await
        .unwrap();
    let body = response.body.bytes(1000).await.unwrap();
    assert!(body.starts_with(b"GET /x host=plain.invalid"), "{body:?}");
    assert!(between.heads()[0].starts_with("CONNECT inner.invalid:81 "));
}

// --- Client certificates ---

struct Own {
    certificate: String,
    key: String,
}

impl Own {
    fn of(authority: &Issuing, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ci");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.signed_by(&key, &authority.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    fn read(&self) -> Result<Identity, Error> {
        read(self.certificate.as_bytes(), self.key.as_bytes())
    }
}

fn read(certificate: &[u8], key: &[u8]) -> Result<Identity, Error> {
    let files = IdentityFiles {
        certificate_name: "client.pem",
        certificate,
        key_name: "client.key",
        key,
    };
    Identity::read(files, "2026-01-01T00:00:00Z".parse().unwrap())
}

/// A server that insists on a client certificate of this authority's.
fn insisting(
    authority: &Issuing,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ServerConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap()
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_host_alone() {
    let (authority, other) = (Issuing::new("Test Root"), Issuing::new("Other Root"));
    for versions in [[&rustls::version::TLS13], [&rustls::version::TLS12]] {
        let address = tls(insisting(&authority, &versions)).await;
        let config = |own: Option<&Own>, port: u16| Config {
            identities: own
                .map(|own| (Peer::new("127.0.0.1", port), own.read().unwrap()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            ..authority.config()
        };
        let url = format!("https://{address}/");
        let own = Own::of(&authority, |_| {});
        let shown = client(config(Some(&own), address.port()))
            .send(get(&url))
            .await;
        assert_eq!(shown.unwrap().status, 200);
        for wrong in [config(None, 1), config(Some(&own), 1)] {
            let error = failed(wrong, &url).await;
            let Error::ClientCertificate { presented, .. } = &error else {
                // The system may tell of the reset before the alert is read.
                assert!(matches!(error, Error::Closed { .. }), "{error:?}");
                continue;
            };
            assert_eq!(*presented, None, "{error}");
            assert!(error.hint().unwrap().contains("`client-cert`"));
        }
        let strange = Own::of(&other, |_| {});
        let error = failed(config(Some(&strange), address.port()), &url).await;
        if let Error::ClientCertificate { presented, .. } = &error {
            assert_eq!(presented.as_deref(), Some("client.pem"), "{error}");
        } else {
            assert!(matches!(error, Error::Closed { .. }), "{error:?}");
        }
    }
}

#[test]
fn identities_that_cannot_be_used_are_named() {
    let authority = Issuing::new("Test Root");
    let own = Own::of(&authority, |_| {});
    let other = Own::of(&authority, |_| {});
    let old = Own::of(&authority, |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let future = Own::of(&authority, |params| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
    });
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let traditional = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIB\n-----END EC PRIVATE KEY-----\n";
    let (certificate, key) = (own.certificate.as_bytes(), own.key.as_bytes());
    let mut told = String::new();
    for (certificate, key) in [
        (certificate, encrypted.as_bytes()),
        (certificate, traditional.as_bytes()),
        (certificate, other.key.as_bytes()),
        (certificate, certificate),
        (key, key),
        (b"".as_slice(), key),
        (old.certificate.as_bytes(), old.key.as_bytes()),
        (future.certificate.as_bytes(), future.key.as_bytes()),
        (
            b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            key,
        ),
    ] {
        let error = read(certificate, key).unwrap_err();
        assert!(matches!(error, Error::InvalidIdentity { .. }));
        assert!(error.hint().is_some());
        told += &format!("{error}\n");
    }
    insta::assert_snapshot!(told);
    let shown = format!("{:?}", own.read().unwrap());
    assert!(
        shown.contains("CN=ci") && !shown.contains("PRIVATE"),
        "{shown}"
    );
    let fault = read(certificate, other.key.as_bytes()).unwrap_err();
    let Error::InvalidIdentity { fault, .. } = fault else {
        panic!("{fault:?}");
    };
    assert_eq!(fault, IdentityFault::Mismatch("client.pem".to_owned()));
}
