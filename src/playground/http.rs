//! A small HTTP/1.1 server on loopback, with a log of what was asked of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Answers requests; the server does the rest.
pub(super) trait Handler: Send + Sync + 'static {
    /// Answers one request. What it leaves of the body, the server reads and drops.
    fn handle(&self, head: &Parts, body: &mut Incoming) -> impl Future<Output = Reply> + Send;
}

/// A running server. It stops when it is dropped.
pub(super) struct Server {
    address: SocketAddr,
    log: Log,
    shutdown: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens on a free port of 127.0.0.1.
    pub(super) async fn start(handler: impl Handler) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let log = Log::default();
        let (shutdown, stopped) = watch::channel(());
        let task = tokio::spawn(accept(listener, Arc::new(handler), log.clone(), stopped));
        Ok(Self {
            address,
            log,
            shutdown,
            task,
        })
    }

    /// Returns the address that it listens on.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what was asked of it, the oldest first.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.log.lock().iter().cloned().collect()
    }

    /// Lets requests under way finish, for at most [`GRACE`].
    pub(super) async fn stop(mut self) {
        self.shutdown.send_replace(());
        // What is late is aborted by the drop.
        let _ = tokio::time::timeout(GRACE, &mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request that was answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// The method, for instance `GET`.
    pub method: String,
    /// The path with its query, as it was sent, at most 4,096 bytes of it.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// The bytes of the body that the answer carries; 0 for `HEAD`.
    pub bytes: u64,
}

/// An answer whose body is in memory.
#[derive(Debug)]
pub(super) struct Reply(Response<Full<Bytes>>);

impl Reply {
    /// Makes an answer without a body.
    pub(super) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        Self(response)
    }

    /// Makes an answer with a JSON body.
    pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Self {
        Self::new(status).body("application/json", Bytes::from(body.to_string()))
    }

    /// Sets the body and its type.
    pub(super) fn body(mut self, content_type: &str, body: Bytes) -> Self {
        *self.0.body_mut() = Full::new(body);
        self.header(CONTENT_TYPE, content_type)
    }

    /// Adds a header. Values come from validated names, digests and numbers, so that one
    /// which could not be a header is left out rather than answered with an error.
    pub(super) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }
}

/// A body that could not be read to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// The connection broke, or nothing came for [`IDLE`].
    Broken,
    /// It is longer than the caller takes.
    TooLarge,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(body: &mut Incoming, limit: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut read = Vec::new();
    while let Some(chunk) = chunk(body).await? {
        if read.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// Returns the next piece of a body, nothing at its end.
pub(super) async fn chunk(body: &mut Incoming) -> Result<Option<Bytes>, BodyError> {
    loop {
        match tokio::time::timeout(IDLE, body.frame()).await {
            Ok(Some(Ok(frame))) => {
                // Trailers are of no use to anyone here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) | Err(_) => return Err(BodyError::Broken),
        }
    }
}

/// Decodes the percent escapes of a path once; nothing if an escape is broken or the result is not UTF-8.
pub(super) fn decode_path(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let mut value = [0];
            hex::decode_to_slice(tail.get(..2)?, &mut value).ok()?;
            decoded.extend_from_slice(&value);
            rest = &tail[2..];
        } else {
            decoded.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(decoded).ok()
}

/// Returns the first value of a query parameter, decoded as forms are: `+` is a space, as in every registry written in Go.
pub(super) fn parameter(head: &Parts, name: &str) -> Option<String> {
    parameters(head, name).next()
}

/// Returns all values of a query parameter.
pub(super) fn parameters(head: &Parts, name: &str) -> impl Iterator<Item = String> {
    url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

async fn accept<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    log: Log,
    mut stopped: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, handler.clone(), log.clone(), stopped.clone()));
                }
                // Out of file descriptors, most likely: others must finish first.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve<H: Handler>(
    stream: TcpStream,
    handler: Arc<H>,
    log: Log,
    mut stopped: watch::Receiver<()>,
) {
    // Answers are written whole; waiting for more to send only delays the last segment.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: http::Request<Incoming>| {
        let (handler, log) = (handler.clone(), log.clone());
        async move {
            let (head, mut body) = request.into_parts();
            let reply = handler.handle(&head, &mut body).await;
            drain(&mut body).await;
            Ok::<_, Infallible>(finish(&head, reply, &log))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // A client that goes away is its own affair, so results are dropped.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Reads what a handler left of a body. Closing the connection with bytes unread resets it, and the client
/// may then never see the refusal that it was sent.
async fn drain(body: &mut Incoming) {
    if body.is_end_stream() {
        return;
    }
    let rest = async {
        let mut left = MAX_DRAIN;
        while let Ok(Some(chunk)) = chunk(body).await {
            match left.checked_sub(chunk.len()) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), rest).await;
}

fn finish(head: &Parts, reply: Reply, log: &Log) -> Response<Full<Bytes>> {
    let Reply(mut response) = reply;
    let mut bytes = response.body().size_hint().lower();
    if head.method == Method::HEAD {
        response.headers_mut().insert(CONTENT_LENGTH, bytes.into());
        *response.body_mut() = Full::default();
        bytes = 0;
    }
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    let mut end = path.len().min(4096);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    log.push(Exchange {
        method: head.method.to_string(),
        path: path[..end].to_owned(),
        status: response.status().as_u16(),
        bytes,
    });
    response
}

/// The last [`LOGGED`] exchanges.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<VecDeque<Exchange>>>);

impl Log {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Exchange>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, exchange: Exchange) {
        let mut exchanges = self.lock();
        if exchanges.len() == LOGGED {
            exchanges.pop_front();
        }
        exchanges.push_back(exchange);
    }
}

/// How long requests under way may take once the server stops.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// How long a client may send nothing in the middle of a request.
const IDLE: Duration = Duration::from_secs(30);
/// Connections served at once; further ones wait in the listener's queue.
const CONNECTIONS: usize = 256;
/// Bytes of a request's line and headers; one read more than that may get through.
const MAX_HEAD: usize = 64 << 10;
/// Bytes of an unwanted body that are read so that the client sees the answer.
const MAX_DRAIN: usize = 64 << 20;
/// Exchanges that the log keeps.
const LOGGED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::decode_path;

    #[test]
    fn escapes_are_decoded_once_and_only_whole() {
        assert_eq!(decode_path("/v2/a%2Fb").as_deref(), Some("/v2/a/b"));
        assert_eq!(decode_path("/%252e%252e").as_deref(), Some("/%2e%2e"));
        assert_eq!(decode_path("/a+b").as_deref(), Some("/a+b"));
        for broken in ["/%", "/%2", "/%zz", "/%ff", "/a%"] {
            assert_eq!(decode_path(broken), None, "{broken}");
        }
    }
}
