//! HTTP/1.1 over a connector of our own: names, grants, TCP, TLS, timing and a request log.
//!
//! One [`Client`] serves the run. It follows no redirect, retries nothing (but a request that a
//! closed pooled connection never took), decompresses nothing, and adds no credentials: each of
//! these is its caller's policy. Native and WASI differ in `dns` and `roots` alone; a component under
//! a launcher reaches hosts through its [`egress`].

mod advice;
mod body;
mod connector;
mod dial;
#[cfg_attr(target_family = "wasm", path = "dns_wasi.rs")]
#[cfg_attr(not(target_family = "wasm"), path = "dns_native.rs")]
mod dns;
pub mod egress;
mod endpoint;
mod error;
mod grants;
mod identity;
mod log;
mod message;
mod outgoing;
pub mod placing;
mod proxied;
pub mod proxy;
mod redact;
mod relayed;
#[cfg_attr(target_family = "wasm", path = "roots_wasi.rs")]
#[cfg_attr(not(target_family = "wasm"), path = "roots_native.rs")]
mod roots;
mod route;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, Connected, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep};

pub use self::body::Body;
pub use self::connector::Limit;
use self::connector::{CONNECT_TIMEOUT, Connector};
pub use self::dial::{Connection, Dialer, Forwarding, LookedUp};
pub use self::error::{Endpoint, Error, Phase};
pub use self::grants::{Grant, Grants, InvalidGrant};
pub use self::identity::{Identity, IdentityFault, IdentityFiles};
pub use self::log::{HostTotals, Record, RequestLog, Totals};
use self::message::Asked;
pub use self::message::{OnConnection, Request, Response, Timeouts, Timing};
use self::outgoing::Outgoing;
pub use self::outgoing::{Pieces, Upload};
pub use self::placing::{Piece, Sink};
use self::placing::{Placed, Records, SINK};
pub use self::proxy::{Bypass, InvalidProxy, Proxies, Proxy, ProxyFault};
pub use self::redact::{redact, redact_path};
pub use self::route::{Peer, Route, Routes};
use self::stream::Facts;
use self::tls::Tls;
pub use self::tls::TlsInfo;

/// An HTTP client; clones share its connections and its log.
#[derive(Clone, Debug)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    http: legacy::Client<Connector, Outgoing>,
    connector: Connector,
    log: RequestLog,
    user_agent: HeaderValue,
    connect_timeout: Duration,
    first_byte_timeout: Duration,
    idle_timeout: Duration,
}

impl Client {
    /// Returns a client; nothing is read from disk or sent before the first request.
    ///
    /// # Errors
    /// A certificate authority that can't be used.
    pub fn new(config: Config) -> Result<Self, Error> {
        let tls = Tls::new(&config.ca, config.system_roots, config.identities)?;
        let connector = Connector::new(
            config.grants,
            tls,
            config.routes,
            config.connect_timeout,
            config.egress,
        );
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_HOST)
            .build(connector.clone());
        Ok(Self(Arc::new(Inner {
            http,
            connector,
            log: RequestLog::default(),
            user_agent: config.user_agent,
            connect_timeout: config.connect_timeout,
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
        })))
    }

    /// Sends one request and returns the answer, whatever its status, when its head is there.
    ///
    /// # Errors
    /// Everything that keeps an HTTP answer from coming; a status is none.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let url = request.shown_url();
        let entry = self.0.log.begin(request.method.clone(), url.clone());
        let result = self.exchange(request, url, &entry).await;
        if let Err(error) = &result {
            entry.update(|record| record.error = Some(error.to_string()));
        }
        result
    }

    /// Opens a TCP connection, and closes it.
    ///
    /// # Errors
    /// As for a request, up to the connection.
    pub async fn connect_tcp(
        &self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> Result<TcpConnection, Error> {
        let limit = Limit::starting_now(timeout);
        self.0.connector.probe(host, port, limit).await
    }

    /// Returns what opens connections as this client does, on behalf of somebody else.
    #[must_use]
    pub fn dialer(&self) -> Dialer {
        Dialer::new(self.0.connector.clone())
    }

    /// Returns the log of this client's requests.
    #[must_use]
    pub fn log(&self) -> RequestLog {
        self.0.log.clone()
    }

    async fn exchange(
        &self,
        mut request: Request,
        url: String,
        entry: &log::Entry,
    ) -> Result<Response, Error> {
        let timeouts = request.timeouts;
        let connect_timeout = timeouts.connect.unwrap_or(self.0.connect_timeout);
        let first_byte_timeout = timeouts.first_byte.unwrap_or(self.0.first_byte_timeout);
        let idle_timeout = timeouts.idle.unwrap_or(self.0.idle_timeout);
        let endpoint = request.endpoint();
        let with_body = !request.body.is_empty() || request.upload.is_some();
        let on_connection = request.on_connection.take();
        // Nobody but a launcher knows what to do with it.
        let sink = request.sink.take();
        let sink = sink.filter(|_| self.0.connector.has_egress());
        let mut request = request.into_http(&url)?;
        request
            .headers_mut()
            .entry(USER_AGENT)
            .or_insert_with(|| self.0.user_agent.clone());
        if let Some(login) = self.0.connector.proxy_login(request.uri()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, login);
        }
        let secure = request.uri().scheme_str() == Some("https");
        let identity = secure
            .then(|| {
                self.0
                    .connector
                    .tls()
                    .identity(&endpoint.host, endpoint.port)
            })
            .flatten()
            .map(|identity| identity.name().to_owned());

        let named = sink
            .as_ref()
            .map(|sink| HeaderValue::from_str(&sink.value()));
        if let Some(Ok(value)) = named {
            request.headers_mut().insert(SINK, value);
        }

        let mut connection = capture_connection(&mut request);
        let mut answer = pin!(CONNECT_TIMEOUT.scope(connect_timeout, self.0.http.request(request)));
        // The first byte's time begins when the request has a connection; until then the
        // connector's own limit holds.
        let mut sent = Instant::now();
        let mut connected = false;
        let mut late = pin!(sleep(first_byte_timeout));
        let answer = loop {
            tokio::select! {
                biased;
                () = wait_for(&mut connection), if !connected => {
                    connected = true;
                    sent = Instant::now();
                    late.as_mut().reset(sent + first_byte_timeout);
                    if let Some(tell) = &on_connection {
                        let facts = facts_of(connection.connection_metadata().as_ref());
                        tell(facts.and_then(|facts| facts.endpoint.address));
                    }
                }
                answer = &mut answer => break answer,
                () = &mut late, if connected => {
                    let facts = facts_of(connection.connection_metadata().as_ref());
                    return Err(Error::Timeout {
                        endpoint: facts.map_or(endpoint, |facts| facts.endpoint.clone()),
                        phase: Phase::FirstByte,
                        after: first_byte_timeout,
                    });
                }
            }
        };
        let first_byte = sent.elapsed();
        let answer = answer.map_err(|error| {
            let facts = facts_of(error.connect_info());
            let asked = Asked {
                endpoint: endpoint.clone(),
                identity,
                with_body,
                url: &url,
            };
            message::send_error(&error, facts.as_deref(), asked)
        })?;
        let (head, incoming) = answer.into_parts();
        let facts = head.extensions.get::<Arc<Facts>>();
        let endpoint = facts.map_or(endpoint, |facts| facts.endpoint.clone());
        let forwarder = facts.and_then(|facts| facts.forwarder.as_ref());
        if let Some(error) = message::proxy_error(&head, forwarder, &endpoint) {
            return Err(error);
        }
        if head.status == StatusCode::BAD_REQUEST
            && facts.is_some_and(|facts| facts.is_tls_server())
        {
            return Err(Error::ServerSpeaksTls { endpoint });
        }
        let placed = sink.and_then(|sink| Placed::length_of(&head.headers, &sink));
        let timing = Timing::new(facts.map(Arc::as_ref), first_byte);
        let remote = endpoint.address;
        entry.update(|record| {
            record.status = Some(head.status.as_u16());
            record.request_id = message::request_id(&head.headers);
            record.timing = timing;
            record.remote = remote;
        });
        Ok(Response {
            status: head.status,
            tls: facts
                .and_then(|facts| facts.tls.as_ref())
                .map(|(_, info)| info.clone()),
            headers: head.headers,
            body: Body::new(incoming, url, endpoint, entry.clone(), idle_timeout)
                .placed(placed.map(Records::new)),
            timing,
            remote,
        })
    }
}

/// How a [`Client`] connects, whom it trusts, where it may go and how long it waits.
#[derive(Clone, Debug)]
pub struct Config {
    /// Certificate authorities to trust beside the compiled-in Mozilla roots.
    pub ca: Vec<Authority>,
    /// Whether to trust the system's store too, where there is one. `SSL_CERT_FILE` is not
    /// consulted: its reader gives the file's content in `ca`.
    pub system_roots: bool,
    /// The `User-Agent` of requests that bring none.
    pub user_agent: HeaderValue,
    /// The most time for name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// The most time from a request on an open connection to the head of its answer.
    pub first_byte_timeout: Duration,
    /// The most time between two parts of a body.
    pub idle_timeout: Duration,
    /// Where the client may go.
    pub grants: Grants,
    /// By which ways it goes there.
    pub routes: Routes,
    /// The client certificates, by whom they are shown to.
    pub identities: BTreeMap<Peer, Identity>,
    /// Who makes the connections, if the client may make none itself: a component's launcher, which
    /// then also decides whom to trust, by which way to go and who to be.
    pub egress: Option<egress::Way>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ca: Vec::new(),
            system_roots: true,
            user_agent: HeaderValue::from_static(concat!("shipgate/", env!("CARGO_PKG_VERSION"))),
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            grants: Grants::unrestricted(),
            routes: Routes::default(),
            identities: BTreeMap::new(),
            egress: None,
        }
    }
}

/// PEM certificates of authorities, and the name (such as a file's) to blame when they are bad.
#[derive(Clone, Debug)]
pub struct Authority {
    /// The name shown in errors.
    pub name: String,
    /// One or more `CERTIFICATE` blocks.
    pub pem: Vec<u8>,
}

/// A TCP connection that was opened and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpConnection {
    /// The address that answered.
    pub remote: Option<SocketAddr>,
    /// How long the look-up of the name took; nothing for a literal address.
    pub dns: Option<Duration>,
    /// How long the connection took.
    pub tcp: Duration,
}

/// Idle connections are dropped before the usual servers' and load balancers' own limits, so that
/// a request rarely meets one that is being closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

const IDLE_CONNECTIONS_PER_HOST: usize = 32;

async fn wait_for(connection: &mut CaptureConnection) {
    drop(connection.wait_for_connection_metadata().await);
}

fn facts_of(connected: Option<&Connected>) -> Option<Arc<Facts>> {
    let mut extensions = http::Extensions::new();
    connected?.get_extras(&mut extensions);
    extensions.remove()
}
