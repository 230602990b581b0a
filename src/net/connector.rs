//! The connector: grant, name, address, TCP, TLS, each timed and each with an error of its own.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::client::TlsStream;

use super::TcpConnection;
use super::dns;
use super::egress::{Opened as FromEgress, Secured, Want, Way};
use super::error::{Endpoint, Error, Phase};
use super::grants::Grants;
use super::proxied;
use super::relayed;
use super::route::{Route, Routes};
use super::stream::{Carrier, Facts, FirstBytes, Stream, Tcp, Transport};
use super::tls::{Tls, TlsInfo};

tokio::task_local! {
    /// The connect timeout of the request on whose behalf hyper calls the connector; hyper hands
    /// over nothing but the URI.
    pub(super) static CONNECT_TIMEOUT: Duration;
}

/// Opens connections for hyper and for TCP probes.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    grants: Grants,
    tls: Tls,
    routes: Routes,
    timeout: Duration,
    /// Where a component has its connections made.
    egress: Option<Way>,
}

/// A TCP connection and how long its parts took.
pub(super) struct Opened {
    pub(super) stream: TcpStream,
    pub(super) endpoint: Box<Endpoint>,
    pub(super) dns: Option<Duration>,
    pub(super) tcp: Duration,
}

impl Connector {
    pub(super) fn new(
        grants: Grants,
        tls: Tls,
        routes: Routes,
        timeout: Duration,
        egress: Option<Way>,
    ) -> Self {
        Self(Arc::new(Shared {
            grants,
            tls,
            routes,
            timeout,
            egress,
        }))
    }

    pub(super) fn tls(&self) -> &Tls {
        &self.0.tls
    }

    pub(super) fn routes(&self) -> &Routes {
        &self.0.routes
    }

    /// Returns the login that a request itself has to bring for the proxy that it is handed to.
    pub(super) fn proxy_login(&self, uri: &Uri) -> Option<HeaderValue> {
        if self.0.egress.is_some() || uri.scheme_str() != Some("http") {
            return None;
        }
        let (host, port) = (uri.host()?, uri.port_u16().unwrap_or(80));
        match self.0.routes.to(false, host, port) {
            Route::Forward(proxy) => proxy.authorization(),
            _ => None,
        }
    }

    /// Says whether a launcher makes the connections.
    pub(super) fn has_egress(&self) -> bool {
        self.0.egress.is_some()
    }

    /// Opens a TCP connection and closes it.
    pub(super) async fn probe(
        &self,
        host: &str,
        port: u16,
        time: Limit,
    ) -> Result<TcpConnection, Error> {
        let endpoint = Endpoint::new(host, port);
        self.check(&endpoint)?;
        if let Some(way) = &self.0.egress {
            let (_, opened) = relayed::open(way, &endpoint, Want::Probe, time).await?;
            return Ok(TcpConnection {
                remote: opened.remote,
                dns: opened.dns_us.map(Duration::from_micros),
                tcp: Duration::from_micros(opened.tcp_us),
            });
        }
        let opened = dial(endpoint, time).await?;
        Ok(TcpConnection {
            remote: opened.endpoint.address,
            dns: opened.dns,
            tcp: opened.tcp,
        })
    }

    async fn connect(self, uri: Uri, time: Limit) -> Result<TokioIo<Stream>, Error> {
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let endpoint = Endpoint::new(host, port);
        self.check(&endpoint)?;
        let stream = match &self.0.egress {
            Some(way) => through(way, endpoint, secure, time).await?,
            None => self.open(endpoint, secure, time).await?,
        };
        Ok(TokioIo::new(stream))
    }

    /// Opens a connection by the way that leads to the host.
    async fn open(
        &self,
        endpoint: Box<Endpoint>,
        secure: bool,
        time: Limit,
    ) -> Result<Stream, Error> {
        let route = self.0.routes.to(secure, &endpoint.host, endpoint.port);
        let endpoint = endpoint.by(route.shown());
        match route {
            Route::Direct => {
                let opened = dial(endpoint, time).await?;
                self.speak(opened, secure, time).await
            }
            Route::Elsewhere(other) => {
                let (addresses, dns) =
                    resolve(other.host(), other.port(), &endpoint, time, ()).await?;
                let opened = dial_at(endpoint, &addresses, dns, time).await?;
                self.speak(opened, secure, time).await
            }
            Route::Forward(proxy) => proxied::forward(self, &proxy, endpoint, time).await,
            Route::Tunnel(proxy, to) => {
                proxied::open_tunnel(self, &proxy, &to, endpoint, secure, time).await
            }
        }
    }

    /// Opens a connection by a proxy, as [`Self::open`] does where one stands between.
    pub(super) async fn open_by_proxy(
        &self,
        endpoint: Box<Endpoint>,
        secure: bool,
        time: Limit,
    ) -> Result<Stream, Error> {
        let mut stream = self.open(endpoint, secure, time).await?;
        // Whoever relays writes the requests anew.
        if let Some(facts) = Arc::get_mut(&mut stream.facts) {
            facts.absolute = false;
        }
        Ok(stream)
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let Endpoint { host, port, .. } = endpoint;
        if self.0.grants.allow(host, *port) {
            return Ok(());
        }
        Err(Error::NotGranted {
            host: host.clone(),
            port: *port,
        })
    }

    /// Does what is to be done before HTTP is spoken over a connection.
    pub(super) async fn speak(
        &self,
        opened: Opened,
        secure: bool,
        time: Limit,
    ) -> Result<Stream, Error> {
        let Opened {
            stream,
            endpoint,
            dns,
            tcp,
        } = opened;
        let (transport, tls, first_bytes) = self
            .secure(Carrier::Tcp(stream), &endpoint, secure, time)
            .await?;
        let facts = Facts::new(endpoint, dns, tcp, tls, first_bytes);
        Ok(Stream {
            transport,
            facts: Arc::new(facts),
        })
    }

    /// Speaks TLS with the host over what carries the connection, if it is to be spoken.
    pub(super) async fn secure(
        &self,
        carrier: Carrier,
        endpoint: &Endpoint,
        secure: bool,
        time: Limit,
    ) -> Result<(Transport, Option<(Duration, TlsInfo)>, FirstBytes), Error> {
        let first_bytes = FirstBytes::default();
        let tcp = Tcp::new(carrier, first_bytes.clone());
        if !secure {
            return Ok((Transport::Plain(tcp), None, first_bytes));
        }
        let begun = Instant::now();
        let (stream, info) = self.handshake(tcp, endpoint, &first_bytes, time).await?;
        let tls = Some((begun.elapsed(), info));
        Ok((Transport::Tls(stream), tls, first_bytes))
    }

    /// Speaks TLS with a proxy, so that everything else can be carried in it.
    pub(super) async fn secured(
        &self,
        carrier: Carrier,
        endpoint: &Endpoint,
        time: Limit,
    ) -> Result<Carrier, Error> {
        let first_bytes = FirstBytes::default();
        let tcp = Tcp::new(carrier, first_bytes.clone());
        let (stream, _) = self.handshake(tcp, endpoint, &first_bytes, time).await?;
        Ok(Carrier::Tls(stream))
    }

    async fn handshake(
        &self,
        tcp: Tcp,
        endpoint: &Endpoint,
        first_bytes: &FirstBytes,
        time: Limit,
    ) -> Result<(Box<TlsStream<Tcp>>, TlsInfo), Error> {
        let handshake = self.0.tls.handshake(tcp, endpoint, first_bytes);
        let (stream, info) = timeout_at(time.end, handshake)
            .await
            .map_err(|_| time.error(Box::new(endpoint.clone()), Phase::Tls))??;
        Ok((Box::new(stream), info))
    }
}

/// Has the launcher open a connection and speak TLS over it.
async fn through(
    way: &Way,
    endpoint: Box<Endpoint>,
    tls: bool,
    time: Limit,
) -> Result<Stream, Error> {
    let (relayed, opened) = relayed::open(way, &endpoint, Want::Http { tls }, time).await?;
    let FromEgress {
        remote,
        dns_us,
        tcp_us,
        tls,
        route,
        forwarder,
    } = opened;
    let facts = Facts::new(
        endpoint.at(remote).by(route),
        dns_us.map(Duration::from_micros),
        Duration::from_micros(tcp_us),
        tls.map(Secured::facts),
        relayed.first_bytes(),
    )
    .forwarded(forwarder, false);
    Ok(Stream {
        transport: Transport::Relayed(Box::new(relayed)),
        facts: Arc::new(facts),
    })
}

/// Opens a TCP connection within the time, the look-up of the name included.
pub(super) async fn dial(endpoint: Box<Endpoint>, time: Limit) -> Result<Opened, Error> {
    let (addresses, dns) = resolve(&endpoint.host, endpoint.port, &endpoint, time, ()).await?;
    dial_at(endpoint, &addresses, dns, time).await
}

/// Opens a TCP connection to one of these addresses.
pub(super) async fn dial_at(
    endpoint: Box<Endpoint>,
    addresses: &[SocketAddr],
    dns: Option<Duration>,
    time: Limit,
) -> Result<Opened, Error> {
    let begun = Instant::now();
    let connected = timeout_at(time.end, race(addresses, STAGGER, TcpStream::connect)).await;
    let first = addresses.first().copied();
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(failures)) => return Err(connect_error(endpoint.at(first), &failures)),
        Err(_) => return Err(time.error(endpoint.at(first), Phase::Connect)),
    };
    let tcp = begun.elapsed();
    // Requests are small and written whole: waiting for more to send only adds latency. A
    // system that knows no such option does no harm.
    let _ = stream.set_nodelay(true);
    let endpoint = endpoint.at(stream.peer_addr().ok());
    Ok(Opened {
        stream,
        endpoint,
        dns,
        tcp,
    })
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("grants", &self.0.grants)
            .finish_non_exhaustive()
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let timeout = CONNECT_TIMEOUT
            .try_with(|timeout| *timeout)
            .unwrap_or(self.0.timeout);
        Box::pin(self.clone().connect(uri, Limit::starting_now(timeout)))
    }
}

/// A time limit and the moment it is over.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    after: Duration,
    end: Instant,
}

impl Limit {
    /// Returns a limit that runs from now on.
    #[must_use]
    pub fn starting_now(after: Duration) -> Self {
        Self {
            after,
            end: Instant::now() + after,
        }
    }

    pub(super) const fn after(self) -> Duration {
        self.after
    }

    pub(super) const fn end(self) -> Instant {
        self.end
    }

    pub(super) fn error(self, endpoint: Box<Endpoint>, phase: Phase) -> Error {
        Error::Timeout {
            endpoint,
            phase,
            after: self.after,
        }
    }
}

/// How long an address has for itself before the next is tried beside it (RFC 8305 says 250 ms).
const STAGGER: Duration = Duration::from_millis(300);

/// Returns the addresses of a name, and how long the look-up took; `endpoint` is for whom. `held` is kept
/// until the resolver is done, however long after the end of the time that is.
pub(super) async fn resolve(
    host: &str,
    port: u16,
    endpoint: &Endpoint,
    time: Limit,
    held: impl Send + 'static,
) -> Result<(Vec<SocketAddr>, Option<Duration>), Error> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((vec![SocketAddr::new(ip, port)], None));
    }
    let begun = Instant::now();
    let found = timeout_at(time.end, dns::resolve(host.to_owned(), port, held))
        .await
        .map_err(|_| time.error(Box::new(endpoint.clone()), Phase::Resolve))?;
    let not_found = |detail: String| Error::NameNotFound {
        host: host.to_owned(),
        port,
        temporary: TRY_AGAIN.iter().any(|words| detail.contains(words)),
        detail,
    };
    match found {
        Ok(addresses) if addresses.is_empty() => Err(not_found("it has no address".to_owned())),
        Ok(addresses) => Ok((addresses, Some(begun.elapsed()))),
        Err(error) => Err(not_found(error.to_string())),
    }
}

/// What resolvers say when they could not ask (`EAI_AGAIN`); std keeps the words only.
const TRY_AGAIN: [&str; 3] = ["Temporary failure", "Try again", "temporarily"];

/// Tries each address in turn, the next when one fails or when it has had `stagger` for itself;
/// the first that connects wins, the others are dropped.
async fn race<T, F>(
    addresses: &[SocketAddr],
    stagger: Duration,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    F: Future<Output = io::Result<T>>,
{
    let mut left = addresses.iter().copied();
    let mut attempts = FuturesUnordered::new();
    let mut failures = Vec::new();
    loop {
        let next = left.next();
        if let Some(address) = next {
            let attempt = connect(address);
            attempts.push(async move { (address, attempt.await) });
        }
        tokio::select! {
            done = attempts.next() => match done {
                Some((_, Ok(stream))) => return Ok(stream),
                Some((address, Err(error))) => failures.push((address, error)),
                None => return Err(failures),
            },
            () = sleep(stagger), if next.is_some() => {}
        }
    }
}

fn connect_error(endpoint: Box<Endpoint>, failures: &[(SocketAddr, io::Error)]) -> Error {
    let refused = |(_, error): &(_, io::Error)| error.kind() == io::ErrorKind::ConnectionRefused;
    if !failures.is_empty() && failures.iter().all(refused) {
        return Error::Refused { endpoint };
    }
    let details: Vec<_> = failures
        .iter()
        .map(|(address, error)| format!("{address}: {error}"))
        .collect();
    let detail = details.join("; ");
    let forbidden = |(_, error): &(_, io::Error)| error.kind() == io::ErrorKind::PermissionDenied;
    if !failures.is_empty() && failures.iter().all(forbidden) {
        return Error::NotPermitted { endpoint, detail };
    }
    Error::Connect { endpoint, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(count: u8) -> Vec<SocketAddr> {
        (1..=count)
            .map(|last| SocketAddr::from(([127, 0, 0, last], 1)))
            .collect()
    }

    #[test]
    fn a_connection_that_is_forbidden_is_not_tried_again() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let endpoint = || Endpoint::new("registry.example", 443);
        let failures: Vec<_> = addresses(2)
            .into_iter()
            .map(|address| (address, denied()))
            .collect();
        let error = connect_error(endpoint(), &failures);
        assert!(matches!(error, Error::NotPermitted { .. }));
        assert!(!error.is_retryable());
        let mixed = [
            (addresses(1)[0], denied()),
            (addresses(1)[0], io::Error::other("down")),
        ];
        assert!(connect_error(endpoint(), &mixed).is_retryable());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_gives_way_after_the_stagger() {
        let begun = Instant::now();
        let all = addresses(3);
        let won = race(&all, STAGGER, |address| async move {
            match address.ip() {
                IpAddr::V4(ip) if ip.octets()[3] == 2 => Ok(address),
                _ => std::future::pending().await,
            }
        });
        assert_eq!(won.await.unwrap(), addresses(2)[1]);
        assert_eq!(begun.elapsed(), STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_address_gives_way_at_once() {
        let begun = Instant::now();
        let all = addresses(2);
        let won = race(&all, STAGGER, |address| async move {
            if address == addresses(1)[0] {
                return Err(io::Error::from(io::ErrorKind::HostUnreachable));
            }
            Ok(address)
        });
        assert_eq!(won.await.unwrap(), addresses(2)[1]);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_address_can_still_win() {
        let all = addresses(2);
        let won = race(&all, STAGGER, |address| async move {
            let late = if address == addresses(1)[0] { 400 } else { 200 };
            sleep(Duration::from_millis(late)).await;
            Ok(address)
        });
        assert_eq!(won.await.unwrap(), addresses(1)[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn all_failures_are_told() {
        let kinds = [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::HostUnreachable,
        ];
        let all = addresses(2);
        let failures = race(&all, STAGGER, |address| {
            let second = usize::from(address == all[1]);
            std::future::ready(Err::<(), _>(io::Error::from(kinds[second])))
        })
        .await
        .unwrap_err();
        let endpoint = Endpoint::new("h", 1);
        let Error::Connect { detail, .. } = connect_error(endpoint.clone(), &failures) else {
            panic!("not a plain refusal");
        };
        assert!(
            detail.contains("127.0.0.1:1: connection refused"),
            "{detail}"
        );
        assert!(detail.contains("127.0.0.2:1: host unreachable"), "{detail}");
        assert_eq!(
            connect_error(endpoint.clone(), &failures[..1]),
            Error::Refused { endpoint }
        );
    }
}
