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
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use super::TcpConnection;
use super::dns;
use super::egress::{Opened as FromEgress, Secured, Want, Way};
use super::error::{Endpoint, Error, Phase};
use super::grants::Grants;
use super::relayed;
use super::stream::{Facts, FirstBytes, Stream, Tcp, Transport};
use super::tls::Tls;

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
    pub(super) fn new(grants: Grants, tls: Tls, timeout: Duration, egress: Option<Way>) -> Self {
        Self(Arc::new(Shared {
            grants,
            tls,
            timeout,
            egress,
        }))
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
            None => {
                let opened = dial(endpoint, time).await?;
                self.speak(opened, secure, time).await?
            }
        };
        Ok(TokioIo::new(stream))
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
        let first_bytes = FirstBytes::default();
        let tcp = Tcp::new(opened.stream, first_bytes.clone());
        let (transport, tls) = if secure {
            let begun = Instant::now();
            let handshake = self.0.tls.handshake(tcp, &opened.endpoint, &first_bytes);
            let (stream, info) = timeout_at(time.end, handshake)
                .await
                .map_err(|_| time.error(opened.endpoint.clone(), Phase::Tls))??;
            (
                Transport::Tls(Box::new(stream)),
                Some((begun.elapsed(), info)),
            )
        } else {
            (Transport::Plain(tcp), None)
        };
        let facts = Facts::new(opened.endpoint, opened.dns, opened.tcp, tls, first_bytes);
        Ok(Stream {
            transport,
            facts: Arc::new(facts),
        })
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
    } = opened;
    let facts = Facts::new(
        endpoint.at(remote),
        dns_us.map(Duration::from_micros),
        Duration::from_micros(tcp_us),
        tls.map(Secured::facts),
        relayed.first_bytes(),
    );
    Ok(Stream {
        transport: Transport::Relayed(Box::new(relayed)),
        facts: Arc::new(facts),
    })
}

/// Opens a TCP connection within the time, the look-up of the name included.
async fn dial(endpoint: Box<Endpoint>, time: Limit) -> Result<Opened, Error> {
    let (addresses, dns) = resolve(&endpoint, time, ()).await?;
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

    fn error(self, endpoint: Box<Endpoint>, phase: Phase) -> Error {
        Error::Timeout {
            endpoint,
            phase,
            after: self.after,
        }
    }
}

/// How long an address has for itself before the next is tried beside it (RFC 8305 says 250 ms).
const STAGGER: Duration = Duration::from_millis(300);

/// Returns the addresses of a host, and how long the look-up took. `held` is kept until the resolver is done,
/// however long after the end of the time that is.
pub(super) async fn resolve(
    endpoint: &Endpoint,
    time: Limit,
    held: impl Send + 'static,
) -> Result<(Vec<SocketAddr>, Option<Duration>), Error> {
    let Endpoint { host, port, .. } = endpoint;
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok((vec![SocketAddr::new(ip, *port)], None));
    }
    let begun = Instant::now();
    let found = timeout_at(time.end, dns::resolve(host.clone(), *port, held))
        .await
        .map_err(|_| time.error(Box::new(endpoint.clone()), Phase::Resolve))?;
    let not_found = |detail: String| Error::NameNotFound {
        host: host.clone(),
        port: *port,
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
