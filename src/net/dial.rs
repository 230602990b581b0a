//! Connections on behalf of somebody else: the launcher's egress makes them for a component, step by
//! step, so that it can look at the addresses in between.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connector::{Connector, Limit, dial_at, resolve};
use super::egress::{Opened, Secured, microseconds};
use super::error::{Endpoint, Error};
use super::route::Route;
use super::stream::Stream;
use http::HeaderValue;

/// Opens connections exactly as the client does that it comes from, with the same trust and the same
/// errors. It asks no grants: whoever uses it decides.
#[derive(Clone, Debug)]
pub struct Dialer(Connector);

/// The addresses of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LookedUp {
    /// Each with the port; at least one.
    pub addresses: Vec<SocketAddr>,
    /// How long the look-up took; nothing for a literal address.
    pub took: Option<Duration>,
}

impl Dialer {
    pub(super) fn new(connector: Connector) -> Self {
        Self(connector)
    }

    /// Returns the addresses of a host, by the system's resolver. That can't be stopped: it may go on when the time is
    /// over, or nobody waits any more, and `held` is kept until it is done, so that what goes on can be bounded.
    ///
    /// # Errors
    /// The name has none, or the time is over.
    pub async fn look_up(
        host: &str,
        port: u16,
        limit: Limit,
        held: impl Send + 'static,
    ) -> Result<LookedUp, Error> {
        let endpoint = Endpoint::new(host, port);
        let (addresses, took) = resolve(&endpoint.host, port, &endpoint, limit, held).await?;
        Ok(LookedUp { addresses, took })
    }

    /// Returns the way to a host.
    #[must_use]
    pub fn route(&self, tls: bool, host: &str, port: u16) -> Route {
        self.0.routes().to(tls, host, port)
    }

    /// Opens a connection through the proxy that the way to a host leads through; it looks the name up.
    ///
    /// # Errors
    /// As for a request, up to the connection.
    pub async fn open_by_proxy(
        &self,
        host: &str,
        port: u16,
        tls: bool,
        limit: Limit,
    ) -> Result<Connection, Error> {
        let endpoint = Endpoint::new(host, port);
        let stream = self.0.open_by_proxy(endpoint, tls, limit).await?;
        Ok(Connection(stream))
    }

    /// Connects to one of the addresses and to no other, and speaks TLS with the host if it is to.
    /// The addresses may be those of the host that stands for it.
    ///
    /// # Errors
    /// As for a request, up to the connection.
    pub async fn open(
        &self,
        host: &str,
        port: u16,
        at: &LookedUp,
        tls: bool,
        limit: Limit,
    ) -> Result<Connection, Error> {
        let route = self.route(tls, host, port);
        let endpoint = Endpoint::new(host, port).by(route.shown());
        let opened = dial_at(endpoint, &at.addresses, at.took, limit).await?;
        self.0.speak(opened, tls, limit).await.map(Connection)
    }
}

/// An open connection, over which plain bytes go in and out.
pub struct Connection(Stream);

impl Connection {
    /// Returns what requests over it need besides, if a proxy reads them: their whole URL, and this.
    #[must_use]
    pub fn forwarding(&self) -> Option<Forwarding> {
        self.0.facts.forwarder.as_ref()?;
        Some(Forwarding {
            login: self.0.facts.proxy_login.clone(),
        })
    }

    /// Returns how it came about, for the one on whose behalf it was opened.
    #[must_use]
    pub fn opened(&self) -> Opened {
        let facts = &self.0.facts;
        Opened {
            remote: facts.endpoint.address,
            dns_us: facts.dns.map(microseconds),
            tcp_us: microseconds(facts.tcp),
            tls: facts
                .tls
                .as_ref()
                .map(|(took, info)| Secured::new(*took, info)),
            route: facts.endpoint.route.clone(),
            forwarder: facts.forwarder.clone(),
        }
    }
}

/// What requests need over a connection that a proxy reads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forwarding {
    /// The value of `Proxy-Authorization`.
    pub login: Option<HeaderValue>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.0.facts).finish()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
