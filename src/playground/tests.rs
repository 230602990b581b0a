//! The playground as its clients see it, and the client that the registry's tests use as well.

use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::seed::{SIGNED, STRANGER, TAG, UNSIGNED};
use super::*;
use crate::oci::Digest;
use crate::trust::PublicKey;

/// An answer, read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: ::http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Returns a header, empty if there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Returns the code of an OCI error body.
    pub(super) fn code(&self) -> String {
        let body = self.json();
        assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty());
        body["errors"][0]["code"].as_str().unwrap().to_owned()
    }
}

/// Sends one request over a connection of its own.
pub(super) async fn send(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut request = ::http::Request::builder()
        .method(method)
        .uri(path)
        .header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}

/// Sends bytes as they are and returns the first line of the answer.
pub(super) async fn send_raw(address: std::net::SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer, and close, before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.contains(&b'\n') {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.lines().next().unwrap_or_default().to_owned()
}

async fn playground(folder: &Path) -> Playground {
    Playground::start(Config {
        folder: folder.to_owned(),
        registry: registry::Config::default(),
        service: service::Config::default(),
        signed_at: Timestamp::UNIX_EPOCH,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn an_image_can_be_followed_to_its_files_and_its_signature() {
    let folder = tempfile::tempdir().unwrap();
    let playground = playground(folder.path()).await;
    let registry = playground.registry().address();
    let key = std::fs::read(&playground.names().key).unwrap();
    let key = PublicKey::from_pem(&key).unwrap();
    let mut signed_by_key = Vec::new();
    for repository in [SIGNED, UNSIGNED, STRANGER] {
        let get = async |path: String| {
            let answer = send(
                registry,
                "GET",
                &format!("/v2/{repository}/{path}"),
                &[],
                "",
            )
            .await;
            assert_eq!(answer.status, 200, "{repository} {path}");
            answer
        };
        let index = get(format!("manifests/{TAG}")).await;
        let digest: Digest = index.header("docker-content-digest").parse().unwrap();
        assert_eq!(Digest::of(&index.body), digest);
        for descriptor in index.json()["manifests"].as_array().unwrap() {
            assert_eq!(descriptor["platform"]["os"], "linux");
            let manifest = get(format!("manifests/{}", text(&descriptor["digest"])))
                .await
                .json();
            let config = get(format!("blobs/{}", text(&manifest["config"]["digest"])))
                .await
                .json();
            let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
            let layers = manifest["layers"].as_array().unwrap();
            assert_eq!(layers.len(), diff_ids.len());
            for (layer, diff_id) in layers.iter().zip(diff_ids) {
                let layer = get(format!("blobs/{}", text(&layer["digest"]))).await.body;
                // One stored block: its header, the archive, CRC and length.
                assert_eq!(
                    Digest::of(&layer[15..layer.len() - 8]).to_string(),
                    text(diff_id)
                );
            }
        }
        let referrers = get(format!("referrers/{digest}")).await.json();
        for referrer in referrers["manifests"].as_array().unwrap() {
            let manifest = get(format!("manifests/{}", text(&referrer["digest"])))
                .await
                .json();
            let bundle = get(format!("blobs/{}", text(&manifest["layers"][0]["digest"])))
                .await
                .json();
            let envelope = &bundle["dsseEnvelope"];
            let payload = decoded(&envelope["payload"]);
            let statement: Value = serde_json::from_slice(&payload).unwrap();
            assert_eq!(statement["subject"][0]["digest"]["sha256"], digest.hex());
            // What is signed is the payload with its type and both lengths (DSSE, "PAE").
            let kind = text(&envelope["payloadType"]);
            let mut message =
                format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
            message.extend_from_slice(&payload);
            let good = key.verifies(&message, &decoded(&envelope["signatures"][0]["sig"]));
            signed_by_key.push((repository, good));
        }
    }
    assert_eq!(signed_by_key, [(SIGNED, true), (STRANGER, false)]);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn decoded(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(text(value))
        .unwrap()
}

#[tokio::test]
async fn digests_of_the_seed_are_the_same_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let playground = playground(folder.path()).await;
    let registry = playground.registry().address();
    let mut digests = String::new();
    for repository in [SIGNED, UNSIGNED, STRANGER] {
        let path = format!("/v2/{repository}/manifests/{TAG}");
        let answer = send(registry, "HEAD", &path, &[], "").await;
        digests += answer.header("docker-content-digest");
        digests.push('\n');
    }
    insta::assert_snapshot!(digests, @r"
    sha256:6ce3232c6941fca9ba81e65ae8f9d36aef56f5da0bb20c5fb96f878d69c0aa9a
    sha256:cc47122da9c9af55f755782f50dfea7d7a2a52c50466ea9e7a37ab9840658f3b
    sha256:51601e7c77bd231814332852f3328c6e9ac3ed2e4361aee5dbf167ac93a091fe
    ");
}

#[tokio::test]
async fn names_lead_where_they_say_and_go_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let playground = playground(folder.path()).await;
    let names = playground.names();
    let service: std::net::SocketAddr = names.service_address.parse().unwrap();
    assert_eq!(names.service, format!("http://{service}"));
    assert_eq!(names.webhook, format!("http://{service}/hook"));
    assert_eq!(names.registry, playground.registry().address().to_string());
    assert!(names.key.ends_with("playground.pub"));
    playground.stop().await;
    assert!(!names.key.exists());
    assert!(!folder.path().exists());
    assert!(TcpStream::connect(service).await.is_err());
    assert!(TcpStream::connect(&names.registry).await.is_err());
}

#[tokio::test]
async fn dropping_stops_too() {
    let folder = tempfile::tempdir().unwrap();
    let playground = playground(folder.path()).await;
    let names = playground.names();
    drop(playground);
    assert!(!names.key.exists());
    // The task is aborted when the runtime gets to it.
    for _ in 0..100 {
        if TcpStream::connect(&names.registry).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("still listening");
}

#[tokio::test]
async fn an_unwritable_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let config = Config {
        folder: file.clone(),
        registry: registry::Config::default(),
        service: service::Config::default(),
        signed_at: Timestamp::UNIX_EPOCH,
    };
    let error = Playground::start(config).await.err().unwrap();
    let path = error.facts().remove(0).value;
    assert!(path.starts_with(file.to_str().unwrap()), "{path}");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn the_service_warms_up_by_requests() {
    let service = Service::start(&service::Config::default()).await.unwrap();
    let mut answers = Vec::new();
    for method in ["GET", "HEAD", "GET", "GET"] {
        let answer = send(service.address(), method, "/health", &[], "").await;
        answers.push(answer.status);
    }
    assert_eq!(answers, [503, 503, 200, 200]);
    let answer = send(service.address(), "GET", "/health?x=1", &[], "").await;
    assert_eq!(answer.json(), json!({"status": "ok", "version": "v1"}));
    assert_eq!(answer.header("content-type"), "application/json");
    let exchange = service.exchanges().pop().unwrap();
    assert_eq!(
        (exchange.path.as_str(), exchange.status, exchange.bytes),
        ("/health?x=1", 200, answer.body.len() as u64)
    );
}

#[tokio::test]
async fn the_service_answers_badly_when_asked_to() {
    let service = Service::start(&service::Config::default()).await.unwrap();
    let expected = [
        ("GET", "/broken", 500),
        ("GET", "/slow?ms=1", 200),
        ("GET", "/slow", 400),
        ("GET", "/slow?ms=-1", 400),
        ("GET", "/slow?ms=99999999999999999999", 400),
        ("POST", "/health", 405),
        ("GET", "/hook", 405),
        ("GET", "/", 404),
        ("GET", "/../hook", 404),
    ];
    for (method, path, status) in expected {
        let answer = send(service.address(), method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        if status == 405 {
            assert!(!answer.header("allow").is_empty());
        }
    }
}

#[tokio::test]
async fn notices_are_kept_up_to_a_number_and_a_size() {
    let service = Service::start(&service::Config::default()).await.unwrap();
    let headers = [("content-type", "application/json")];
    for number in 0..103 {
        let body = number.to_string();
        let answer = send(service.address(), "POST", "/hook", &headers, body).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    }
    let received = service.received();
    assert_eq!(received.len(), 100);
    assert_eq!(received[0].body, "3");
    assert_eq!(
        received[99].content_type.as_deref(),
        Some("application/json")
    );

    let largest = vec![b'x'; 1 << 20];
    let answer = send(service.address(), "POST", "/hook", &[], largest.clone()).await;
    assert_eq!(answer.status, 200);
    let mut larger = largest;
    larger.push(b'x');
    let answer = send(service.address(), "POST", "/hook", &[], larger.clone()).await;
    assert_eq!(answer.status, 413);
    // The same without a length that gives it away.
    let mut request =
        b"POST /hook HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    request.extend_from_slice(format!("{:x}\r\n", larger.len()).as_bytes());
    request.extend_from_slice(&larger);
    request.extend_from_slice(b"\r\n0\r\n\r\n");
    let answer = send_raw(service.address(), &request).await;
    assert_eq!(answer, "HTTP/1.1 413 Payload Too Large");
    assert_eq!(service.received().len(), 100);
}

#[tokio::test]
async fn stopping_lets_a_request_finish() {
    let service = Service::start(&service::Config::default()).await.unwrap();
    let address = service.address();
    let request =
        tokio::spawn(async move { send(address, "GET", "/slow?ms=40", &[], "").await.status });
    // The request is under way once another one, sent later, was answered.
    tokio::task::yield_now().await;
    send(address, "GET", "/slow?ms=10", &[], "").await;
    service.stop().await;
    assert_eq!(request.await.unwrap(), 200);
}

#[tokio::test]
async fn many_clients_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let playground = Arc::new(playground(folder.path()).await);
    let address = playground.registry().address();
    let clients: Vec<_> = (0..40)
        .map(|number: u32| {
            tokio::spawn(async move {
                let body = vec![number as u8; 10_000];
                let digest = Digest::of(&body);
                let path = format!("/v2/acme/many/blobs/uploads/?digest={digest}");
                assert_eq!(send(address, "POST", &path, &[], body).await.status, 201);
                let path = format!("/v2/acme/many/blobs/{digest}");
                send(address, "GET", &path, &[], "").await.body.len()
            })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), 10_000);
    }
}
