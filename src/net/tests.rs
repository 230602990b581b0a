//! The client against servers on loopback that do well, badly, slowly, or something else.

mod ways;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::*;
use crate::failure::Explain;

// --- What works ---

#[tokio::test]
async fn a_get_brings_status_headers_body_timing_and_a_record() {
    let address = echo().await;
    let client = client(Config::default());
    let url = url(&format!("http://me:pw@{address}/a/b?token=s3cret#part"));
    let response = client.send(Request::get(url.clone())).await.unwrap();
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(response.remote, Some(address));
    assert_eq!(response.tls, None);
    assert!(response.timing.tcp.is_some() && response.timing.first_byte.is_some());
    assert_eq!((response.timing.dns, response.timing.tls), (None, None));
    assert!(!response.timing.reused);
    let text = response.body.bytes(1000).await.unwrap();
    let agent = concat!("shipgate/", env!("CARGO_PKG_VERSION"));
    // The query goes out whole; user info and fragment stay home.
    assert_eq!(
        text,
        format!("GET /a/b?token=s3cret host={address} agent={agent} authorization=none body=")
    );

    let again = client.send(Request::get(url)).await.unwrap();
    assert!(again.timing.reused);
    assert_eq!(again.timing.tcp, None);

    let log = client.log();
    assert_eq!(
        log.totals(),
        Totals {
            requests: 2,
            body_bytes: text.len() as u64
        }
    );
    let record = &log.records()[0];
    assert_eq!(record.url, format!("http://{address}/a/b?token=…"));
    assert_eq!(
        (record.status, record.body_bytes),
        (Some(200), text.len() as u64)
    );
    assert_eq!(record.request_id.as_deref(), Some("id-1"));
    assert_eq!(record.remote, Some(address));
}

#[tokio::test]
async fn a_body_is_sent_and_own_headers_win() {
    let address = echo().await;
    let request = Request::new(Method::POST, url(&format!("http://{address}/")))
        .header(http::header::USER_AGENT, HeaderValue::from_static("mine"))
        .body("hello");
    let response = client(Config::default()).send(request).await.unwrap();
    let text = response.body.bytes(1000).await.unwrap();
    assert_eq!(
        text,
        format!("POST / host={address} agent=mine authorization=none body=hello")
    );
}

#[tokio::test]
async fn tls_with_a_private_authority_tells_of_the_certificate() {
    let authority = Issuing::new("Test Root");
    let address = tls(authority.leaf(|_| {})).await;
    let client = client(authority.config());
    let response = client
        .send(get(&format!("https://{address}/")))
        .await
        .unwrap();
    let tls = response.tls.unwrap();
    assert_eq!(tls.version, "TLS 1.3");
    assert_eq!(tls.issuer, "CN=Test Root");
    assert_eq!(tls.names, ["localhost", "127.0.0.1"]);
    assert_eq!(tls.not_after.unwrap().to_string(), "4096-01-01T00:00:00Z");
    assert!(response.timing.tls.is_some());
    assert!(!response.body.bytes(1000).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_name_is_resolved_and_timed() {
    let address = echo().await;
    let client = client(Config::default());
    let response = client
        .send(get(&format!("http://localhost:{}/", address.port())))
        .await
        .unwrap();
    assert!(response.timing.dns.is_some());
    assert_eq!(response.remote, Some(address));
}

#[tokio::test]
async fn redirects_and_encodings_are_left_to_the_caller() {
    let address = answering(
        "HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nzip",
    )
    .await;
    let response = client(Config::default())
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap();
    assert_eq!(response.status, StatusCode::FOUND);
    assert_eq!(response.body.bytes(3).await.unwrap(), "zip");
}

#[tokio::test]
async fn a_pooled_connection_that_was_closed_is_replaced() {
    // Each connection serves one request and then closes without having said so.
    let address = serving(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let client = client(Config::default());
    for _ in 0..3 {
        let response = client
            .send(get(&format!("http://{address}/")))
            .await
            .unwrap();
        assert_eq!(response.body.bytes(2).await.unwrap(), "ok");
    }
    assert_eq!(client.log().totals().requests, 3);
}

#[tokio::test]
async fn a_tcp_connection_is_opened_and_timed() {
    let address = echo().await;
    let client = client(Config::default());
    let second = Duration::from_secs(1);
    let done = client
        .connect_tcp("127.0.0.1", address.port(), second)
        .await
        .unwrap();
    assert_eq!((done.remote, done.dns), (Some(address), None));
    let error = client
        .connect_tcp("127.0.0.1", closed_port().await, second)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
}

// --- Certificates ---

#[tokio::test]
async fn an_unknown_authority_is_named() {
    let address = tls(Issuing::new("Corp Root").leaf(|_| {})).await;
    let error = failed(Config::default(), &format!("https://{address}/")).await;
    assert_eq!(
        error.to_string(),
        format!("the certificate of {address} was issued by `CN=Corp Root`, which is not trusted")
    );
    assert!(error.hint().unwrap().contains("`net.ca`"));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn an_expired_certificate_says_since_when() {
    let authority = Issuing::new("Test Root");
    let address = tls(authority.leaf(|leaf| {
        leaf.not_before = rcgen::date_time_ymd(2020, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }))
    .await;
    let error = failed(authority.config(), &format!("https://{address}/")).await;
    assert_eq!(
        error.to_string(),
        format!("the certificate of {address} expired at 2021-01-01T00:00:00Z")
    );
}

#[tokio::test]
async fn a_certificate_of_the_future_points_at_the_clock() {
    let authority = Issuing::new("Test Root");
    let address =
        tls(authority.leaf(|leaf| leaf.not_before = rcgen::date_time_ymd(4000, 1, 1))).await;
    let error = failed(authority.config(), &format!("https://{address}/")).await;
    assert!(
        matches!(&error, Error::CertificateNotYetValid { .. }),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("clock"));
}

#[tokio::test]
async fn a_certificate_for_other_names_lists_them() {
    let authority = Issuing::new("Test Root");
    let other = CertificateParams::new(vec!["a.example".to_owned(), "b.example".to_owned()]);
    let address = tls(authority.leaf(|leaf| *leaf = other.unwrap())).await;
    let error = failed(
        authority.config(),
        &format!("https://localhost:{}/", address.port()),
    )
    .await;
    assert_eq!(
        error.to_string(),
        format!(
            "the certificate of localhost:{} ({address}) is not for `localhost`, but for \
             `a.example`, `b.example`",
            address.port()
        )
    );
}

#[test]
fn a_bad_authority_is_blamed_by_name() {
    for pem in [
        "",
        "not PEM",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA",
    ] {
        let ca = vec![Authority {
            name: "certs/corp.pem".to_owned(),
            pem: pem.into(),
        }];
        let error = Client::new(Config {
            ca,
            ..Config::default()
        })
        .unwrap_err();
        assert!(error.to_string().contains("certs/corp.pem"), "{error}");
    }
}

// --- Wrong protocols ---

#[tokio::test]
async fn https_to_a_plain_server_says_so() {
    let address = answering("HTTP/1.0 400 Bad Request\r\n\r\n").await;
    let error = failed(Config::default(), &format!("https://{address}/")).await;
    assert_eq!(
        error.to_string(),
        format!("{address} speaks plain HTTP, not HTTPS")
    );
    assert!(error.hint().unwrap().contains("plain-http: true"));
}

#[tokio::test]
async fn http_to_a_tls_server_says_so() {
    let address = tls(Issuing::new("Test Root").leaf(|_| {})).await;
    let error = failed(Config::default(), &format!("http://{address}/")).await;
    assert_eq!(
        error.to_string(),
        format!("{address} speaks HTTPS, not plain HTTP")
    );
}

#[tokio::test]
async fn http_to_a_tls_server_that_answers_in_words_says_so_too() {
    for words in [
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        "HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\nConnection: close\r\n\
         \r\n<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>",
    ] {
        let address = answering(words).await;
        let error = failed(Config::default(), &format!("http://{address}/")).await;
        assert!(matches!(error, Error::ServerSpeaksTls { .. }), "{error}");
    }
    let address = answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno").await;
    let response = client(Config::default())
        .send(get(&format!("http://{address}/")))
        .await;
    assert_eq!(response.unwrap().status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn https_to_something_else_shows_its_words() {
    let address = answering("SSH-2.0-OpenSSH_9.9\r\n").await;
    let error = failed(Config::default(), &format!("https://{address}/")).await;
    assert_eq!(
        error.to_string(),
        format!("{address} does not speak TLS: it answered SSH-2.0-OpenSSH_")
    );
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_protocol_error() {
    for answer in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 nonsense\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let address = answering(answer).await;
        let error = failed(Config::default(), &format!("http://{address}/")).await;
        assert!(
            matches!(error, Error::Protocol { .. }),
            "{answer:?}: {error}"
        );
    }
}

#[tokio::test]
async fn endless_headers_are_cut_off() {
    let address = serving(|mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
    })
    .await;
    let error = failed(Config::default(), &format!("http://{address}/")).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn other_schemes_are_refused() {
    let error = failed(Config::default(), "ftp://127.0.0.1/").await;
    assert_eq!(
        error.to_string(),
        "can't request ftp://127.0.0.1/: `ftp` is not http or https"
    );
}

// --- Nobody there, or not for us ---

#[tokio::test]
async fn a_refused_connection_names_the_port() {
    let port = closed_port().await;
    let error = failed(Config::default(), &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(
        error.to_string(),
        format!("127.0.0.1:{port} refused the connection")
    );
    assert!(error.is_retryable());
    assert_eq!(error.phase(), Some(Phase::Connect));
}

#[tokio::test]
async fn a_name_that_cannot_exist_is_not_found() {
    // A label over 63 bytes fails in the resolver, before any question leaves the machine.
    let host = "a".repeat(64);
    let error = failed(Config::default(), &format!("http://{host}/")).await;
    assert!(
        matches!(
            &error,
            Error::NameNotFound {
                temporary: false,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_not_granted_is_refused_before_it_is_resolved() {
    let address = echo().await;
    let granted = Grant::try_new("127.0.0.1", address.port()).unwrap();
    let config = Config {
        grants: Grants::only([granted]),
        ..Config::default()
    };
    let client = client(config.clone());
    assert!(
        client
            .send(get(&format!("http://{address}/")))
            .await
            .is_ok()
    );
    let refused = format!("http://localhost:{}/", address.port());
    let error = client.send(get(&refused)).await.unwrap_err();
    let Error::NotGranted { host, port } = &error else {
        panic!("{error}")
    };
    assert_eq!((host.as_str(), *port), ("localhost", address.port()));
    assert_eq!(
        error.hint().unwrap(),
        format!(
            "to allow it, add `--allow-host localhost:{}`",
            address.port()
        )
    );
    let error = client
        .connect_tcp("::1", address.port(), Duration::from_secs(1))
        .await;
    assert!(matches!(error, Err(Error::NotGranted { .. })));
    // A name that can't resolve shows that nobody asked.
    let error = failed(config, &format!("http://{}/", "a".repeat(64))).await;
    assert!(matches!(error, Error::NotGranted { .. }), "{error}");
}

// --- Bodies ---

#[tokio::test]
async fn a_body_that_breaks_off_says_where() {
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").await;
    let client = client(Config::default());
    let mut response = client
        .send(get(&format!("http://{address}/x?a=b")))
        .await
        .unwrap();
    assert_eq!(response.body.expected(), Some(10));
    assert_eq!(response.body.chunk().await.unwrap().unwrap(), "hello");
    let error = response.body.chunk().await.unwrap_err();
    let Error::BodyInterrupted {
        received, expected, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!((*received, *expected), (5, Some(10)));
    assert!(error.is_retryable());
    // Asked again it fails again: a caller that loops never takes it for the end.
    assert_eq!(response.body.chunk().await.unwrap_err(), error);
    let record = &client.log().records()[0];
    assert_eq!(record.body_bytes, 5);
    assert!(
        record
            .error
            .as_deref()
            .unwrap()
            .contains("after 5 bytes of 10")
    );
    assert!(!error.to_string().contains("a=b"));
    let facts = Explain::facts(&error);
    let offset = facts.iter().find(|fact| fact.name == "offset").unwrap();
    assert_eq!(offset.value, "5");
}

#[tokio::test]
async fn a_chunked_body_without_its_end_is_broken_too() {
    let address =
        answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    let response = client(Config::default())
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap();
    let error = response.body.bytes(100).await.unwrap_err();
    let Error::BodyInterrupted {
        received: 5,
        expected: None,
        ..
    } = error
    else {
        panic!("{error}")
    };
}

#[tokio::test]
async fn a_body_over_the_limit_is_not_read() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
    for (answer, limit, over) in [
        (announced, 1 << 20, true),
        (chunked, 9, true),
        (chunked, 4, true),
        (chunked, 10, false),
    ] {
        let address = answering(answer).await;
        let response = client(Config::default())
            .send(get(&format!("http://{address}/")))
            .await
            .unwrap();
        match response.body.bytes(limit).await {
            Ok(bytes) => assert_eq!((bytes.as_ref(), over), (&b"helloworld"[..], false)),
            Err(error) => {
                let Error::BodyTooLarge { limit: told, .. } = error else {
                    panic!("{error}")
                };
                assert_eq!((told, over), (limit as u64, true));
            }
        }
    }
}

#[tokio::test]
async fn a_head_has_no_body() {
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").await;
    let request = Request::new(Method::HEAD, url(&format!("http://{address}/")));
    let response = client(Config::default()).send(request).await.unwrap();
    assert_eq!(response.headers["content-length"], "10");
    assert_eq!(response.body.bytes(0).await.unwrap(), "");
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_worth_another_try() {
    let address = answering("").await;
    let error = failed(Config::default(), &format!("http://{address}/")).await;
    let Error::Closed {
        phase: Phase::FirstByte,
        ..
    } = &error
    else {
        panic!("{error:?}")
    };
    assert!(error.is_retryable());
}

// --- Time ---

#[tokio::test(start_paused = true)]
async fn a_late_first_byte_is_a_timeout_with_its_phase() {
    let address = silent().await;
    let mut request = get(&format!("http://{address}/"));
    let error = client(Config::default())
        .send(request.clone())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{address} timed out after 30 s before the first byte of the answer")
    );
    request.timeouts.first_byte = Some(Duration::from_secs(3));
    let begun = Instant::now();
    let error = client(Config::default()).send(request).await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 3);
    assert_eq!(error.phase(), Some(Phase::FirstByte));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_a_timeout() {
    let address = serving(|mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let client = client(Config::default());
    let mut response = client
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap();
    assert_eq!(response.body.chunk().await.unwrap().unwrap(), "hello");
    let error = response.body.chunk().await.unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Body));
    assert!(matches!(error, Error::Timeout { after, .. } if after.as_secs() == 30));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_is_a_timeout() {
    let address = silent().await;
    let mut request = get(&format!("https://{address}/"));
    request.timeouts.connect = Some(Duration::from_secs(2));
    let config = Config {
        system_roots: false,
        ..Config::default()
    };
    let error = client(config).send(request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{address} timed out after 2 s during the TLS handshake")
    );
    assert!(error.hint().unwrap().contains("plain HTTP"));
}

// --- What is shown ---

#[tokio::test]
async fn no_secret_is_shown() {
    let port = closed_port().await;
    let text = format!("http://u:hunter2@127.0.0.1:{port}/services/hunter2?k=hunter2");
    let mut request = get(&text).header(
        http::header::AUTHORIZATION,
        HeaderValue::from_static("Bearer hunter2"),
    );
    request.secret_path = true;
    let shown = format!("{request:?}");
    let client = client(Config::default());
    let error = client.send(request).await.unwrap_err();
    let all = format!("{shown} {error} {error:?} {:?} {client:?}", client.log());
    assert!(!all.contains("hunter2"), "{all}");
}

#[test]
fn client_and_body_cross_threads() {
    fn crosses<T: Send + Sync + Clone>() {}
    fn moves<T: Send>(_: &T) {}
    crosses::<Client>();
    let client = client(Config::default());
    moves(&client.send(get("http://localhost/")));
}

// --- Helpers ---

fn client(config: Config) -> Client {
    Client::new(config).unwrap()
}

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn get(text: &str) -> Request {
    Request::get(url(text))
}

async fn failed(config: Config, text: &str) -> Error {
    client(config)
        .send(get(text))
        .await
        .expect_err("it should have failed")
}

async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Serves each connection with `handler`; the connection closes when that ends.
async fn serving<F>(handler: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handler(stream));
        }
    });
    address
}

/// Answers the first bytes of each connection with these, says no more, and closes.
async fn answering(answer: &'static str) -> SocketAddr {
    serving(move |mut stream| async move {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).await;
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

/// Accepts, reads, and never says a word.
async fn silent() -> SocketAddr {
    serving(|mut stream| async move {
        let mut buffer = [0; 4096];
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
    .await
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap() > 0 {}
}

async fn echo() -> SocketAddr {
    serving(|stream| async move {
        let service = service_fn(describe);
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    })
    .await
}

async fn tls(config: rustls::ServerConfig) -> SocketAddr {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    serving(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(describe))
                .await;
        }
    })
    .await
}

async fn describe(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let header = |name: &str| match head.headers.get(name) {
        Some(value) => value.to_str().unwrap().to_owned(),
        None => "none".to_owned(),
    };
    let text = format!(
        "{} {} host={} agent={} authorization={} body={}",
        head.method,
        head.uri,
        header("host"),
        header("user-agent"),
        header("authorization"),
        String::from_utf8_lossy(&body)
    );
    let mut response = http::Response::new(Full::from(text));
    response
        .headers_mut()
        .insert("x-request-id", HeaderValue::from_static("id-1"));
    Ok(response)
}

struct Issuing(CertifiedIssuer<'static, KeyPair>);

impl Issuing {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn config(&self) -> Config {
        let ca = vec![Authority {
            name: "test".to_owned(),
            pem: self.0.pem().into_bytes(),
        }];
        Config {
            ca,
            system_roots: false,
            ..Config::default()
        }
    }

    /// Returns a server with a certificate for localhost that `change` may spoil.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> rustls::ServerConfig {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        rustls::ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap()
    }
}
