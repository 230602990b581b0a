//! Connections by a proxy: to it, and through it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::connector::{Connector, Limit, Opened, dial};
use super::error::{Endpoint, Error};
use super::proxy::{Proxy, ProxyFault, tunnel};
use super::route::Peer;
use super::stream::{Carrier, Facts, Forwarder, Stream};

/// Opens a connection over which requests are handed to the proxy.
pub(super) async fn forward(
    connector: &Connector,
    proxy: &Proxy,
    endpoint: Box<Endpoint>,
    time: Limit,
) -> Result<Stream, Error> {
    let reached = reach(connector, proxy, &endpoint, time).await?;
    let endpoint = endpoint.at(reached.address);
    let (transport, _, first_bytes) = connector
        .secure(reached.carrier, &endpoint, false, time)
        .await?;
    let forwarder = Forwarder {
        name: proxy.to_string(),
        login: proxy.login().is_some(),
    };
    let mut facts = Facts::new(endpoint, reached.dns, reached.tcp, None, first_bytes)
        .forwarded(Some(forwarder), true);
    facts.proxy_login = proxy.authorization();
    Ok(Stream {
        transport,
        facts: Arc::new(facts),
    })
}

/// Opens a tunnel to a host, or to the one that stands for it, and speaks TLS in it with the host.
pub(super) async fn open_tunnel(
    connector: &Connector,
    proxy: &Proxy,
    to: &Peer,
    endpoint: Box<Endpoint>,
    secure: bool,
    time: Limit,
) -> Result<Stream, Error> {
    let mut reached = reach(connector, proxy, &endpoint, time).await?;
    let endpoint = endpoint.at(reached.address);
    let login = proxy.authorization();
    let authority = to.to_string();
    let asking = tunnel(&mut reached.carrier, &authority, login.as_ref());
    let asked = timeout_at(time.end(), asking).await.unwrap_or_else(|_| {
        Err(ProxyFault::Silent {
            after: time.after(),
        })
    });
    asked.map_err(|fault| failed(proxy, &endpoint, fault))?;
    let (transport, tls, first_bytes) = connector
        .secure(reached.carrier, &endpoint, secure, time)
        .await?;
    let facts = Facts::new(endpoint, reached.dns, reached.tcp, tls, first_bytes);
    Ok(Stream {
        transport,
        facts: Arc::new(facts),
    })
}

/// A connection to a proxy.
struct Reached {
    carrier: Carrier,
    address: Option<std::net::SocketAddr>,
    dns: Option<Duration>,
    tcp: Duration,
}

async fn reach(
    connector: &Connector,
    proxy: &Proxy,
    endpoint: &Endpoint,
    time: Limit,
) -> Result<Reached, Error> {
    let unreachable = |error| failed(proxy, endpoint, ProxyFault::Unreachable(Box::new(error)));
    let Opened {
        stream,
        endpoint: own,
        dns,
        tcp,
    } = dial(Endpoint::new(&proxy.host, proxy.port), time)
        .await
        .map_err(unreachable)?;
    let carrier = Carrier::Tcp(stream);
    let carrier = if proxy.secure {
        connector
            .secured(carrier, &own, time)
            .await
            .map_err(unreachable)?
    } else {
        carrier
    };
    Ok(Reached {
        carrier,
        address: own.address,
        dns,
        tcp,
    })
}

fn failed(proxy: &Proxy, endpoint: &Endpoint, fault: ProxyFault) -> Error {
    // The proxy is named anyway; the host that it was to reach has no address here.
    let endpoint = Endpoint::new(&endpoint.host, endpoint.port);
    Error::Proxy {
        endpoint,
        proxy: proxy.to_string(),
        fault,
    }
}
