//! Small servers on loopback for the tests of probes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::net;

/// A client that may go anywhere.
pub(crate) fn client() -> net::Client {
    net::Client::new(net::Config {
        system_roots: false,
        ..net::Config::default()
    })
    .expect("a client")
}

/// A client that may go nowhere.
pub(crate) fn client_without_grants() -> net::Client {
    let grants = net::Grants::only([]);
    let config = net::Config {
        grants,
        system_roots: false,
        ..net::Config::default()
    };
    net::Client::new(config).expect("a client")
}

/// Listens for the rest of the test, and accepts everything.
pub(crate) async fn listening() -> SocketAddr {
    let listener = bind().await;
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

/// Returns an address at which nothing listens.
pub(crate) async fn closed() -> SocketAddr {
    bind().await.local_addr().expect("an address")
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that answers as a function says.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    connections: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) async fn start(
        answer: impl Fn(&Heard) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let listener = bind().await;
        let address = listener.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let (log, count, answer) = (heard.clone(), connections.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().expect("a count") += 1;
                let (log, answer) = (log.clone(), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (log, answer) = (log.clone(), answer.clone());
                    async move {
                        let heard = hear(request).await;
                        let response = answer(&heard);
                        log.lock().expect("a log").push(heard);
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self {
            address,
            heard,
            connections,
        }
    }

    pub(crate) fn url(&self, path: &str) -> url::Url {
        format!("http://{}{path}", self.address)
            .parse()
            .expect("a URL")
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("a log").clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().expect("a count")
    }
}

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    response
}

/// Serves these bytes to whoever connects, then closes, or holds the line.
pub(crate) async fn raw(bytes: &'static [u8], hold: bool) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = bind().await;
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            if hold {
                held.push(stream);
            }
        }
    });
    address
}

async fn hear(request: Request<Incoming>) -> Heard {
    use http_body_util::BodyExt as _;

    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|it| it.to_bytes())
        .unwrap_or_default();
    Heard {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body,
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}
