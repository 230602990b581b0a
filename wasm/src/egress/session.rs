//! One connection of the component's: what it asks for, whether it gets it, what becomes of it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shipgate::authority::authority;
use shipgate::net::egress::{Answer, Ask, MAX_ASK, Want, line_to_add};
use shipgate::net::{Connection, Endpoint, Error, Limit, Route};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::grant::{Refusal, shown};
use super::head::{Target, Violation};
use super::peer::is_of_another_user;
use super::relay::{Incoming, relay};
use super::{AT_ONCE, Held, Shared};

/// The longest time to connect that is heeded.
const LONGEST: Duration = Duration::from_secs(3600);

/// Serves a connection to its end. `asking` is held until it is known what it is for.
pub async fn serve(stream: TcpStream, shared: &Shared, asking: OwnedSemaphorePermit) {
    // As for connections of our own; a system that knows no such option does no harm.
    let _ = stream.set_nodelay(true);
    let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
    let (read, mut write) = stream.into_split();
    let mut incoming = Incoming::new(read);
    let ask = first_line(&mut incoming, ends, shared.ask_time).await;
    let ask = ask.and_then(|line| serde_json::from_slice::<Ask>(&line).ok());
    // Whoever does not know the token is told nothing.
    let Some(ask) = ask.filter(|ask| shared.knows(&ask.token)) else {
        shared.teller.tell(&stranger());
        return;
    };
    drop(asking);
    let (answer, connection) = match Arc::clone(&shared.open).try_acquire_owned().map(Arc::new) {
        Ok(open) => match connect(&ask, shared, Arc::clone(&open)).await {
            Ok((connection, host)) => {
                let opened = connection.opened();
                (Answer::Open(opened), Some((connection, host, open)))
            }
            Err(error) => (Answer::Failed(error), None),
        },
        Err(_) => (Answer::Failed(too_many(&ask)), None),
    };
    if send(&mut write, &answer).await.is_err() {
        return;
    }
    if let (Want::Http { tls }, Some((connection, host, _open))) = (ask.want, connection) {
        let forwarding = connection.forwarding();
        let target = Target {
            host,
            port: ask.port,
            tls,
            forwarding,
        };
        // Told before the component hears it: when that ends, the launcher may end too.
        let error = |violation: &Violation| {
            shared.teller.tell(&Refusal {
                what: format!("a request to {}", authority(&shown(&ask.host), ask.port)),
                cause: violation.to_string(),
                hint: violation.hint().to_owned(),
            });
            not_relayed(&ask, format!("{violation}"))
        };
        relay(incoming, write, connection, &target, &shared.sinks, error).await;
    }
}

/// Reads what is asked for. Of another user of this machine not even that is waited for, so that no such one
/// keeps the component out.
async fn first_line(
    incoming: &mut Incoming,
    ends: Option<(SocketAddr, SocketAddr)>,
    patience: Duration,
) -> Option<Vec<u8>> {
    let mut line = pin!(incoming.line(MAX_ASK));
    if let Ok(line) = timeout(AT_ONCE, &mut line).await {
        return line.ok();
    }
    if ends.is_some_and(|(peer, listener)| is_of_another_user(peer, listener)) {
        return None;
    }
    timeout(patience, line).await.ok()?.ok()
}

/// Checks the grant, looks the host up once, checks its addresses, and connects to one of these. What comes
/// back besides is the host as it was granted.
async fn connect(ask: &Ask, shared: &Shared, open: Held) -> Result<(Connection, String), Error> {
    let Ask { host, port, .. } = ask;
    let limit = Limit::starting_now(Duration::from_micros(ask.timeout_us).min(LONGEST));
    let Some((granted, reach)) = shared.hosts.reach(host, *port) else {
        shared.teller.tell(&shared.hosts.not_granted(host, *port));
        return Err(Error::NotGranted {
            host: host.clone(),
            port: *port,
        });
    };
    let tls = matches!(ask.want, Want::Http { tls: true });
    let (name, number, reach) = match shared.dialer.route(tls, &granted, *port) {
        // A probe asks whether the port itself can be reached.
        _ if ask.want == Want::Probe => (granted.clone(), *port, reach),
        Route::Direct => (granted.clone(), *port, reach),
        Route::Elsewhere(other) => {
            let reach = reach.of_endpoint(other.host());
            (other.host().to_owned(), other.port(), reach)
        }
        // The proxy looks the name up, in a network of its own.
        Route::Forward(_) | Route::Tunnel(..) => {
            let connection = shared.dialer.open_by_proxy(&granted, *port, tls, limit);
            return Ok((connection.await?, granted));
        }
    };
    let mut found = (shared.look_up)(name, number, limit, open).await?;
    let first = found.addresses.first().copied();
    found.addresses.retain(|address| reach.admits(*address));
    if found.addresses.is_empty() {
        shared.teller.tell(&not_public(host, *port, first));
        return Err(Error::NotPublic {
            endpoint: endpoint(ask, first),
        });
    }
    let connection = shared.dialer.open(&granted, *port, &found, tls, limit);
    Ok((connection.await?, granted))
}

async fn send(write: &mut tokio::net::tcp::OwnedWriteHalf, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await
}

fn endpoint(ask: &Ask, address: Option<SocketAddr>) -> Box<Endpoint> {
    Box::new(Endpoint {
        host: ask.host.clone(),
        port: ask.port,
        address,
        route: None,
    })
}

fn not_relayed(ask: &Ask, detail: String) -> Error {
    Error::NotRelayed {
        endpoint: endpoint(ask, None),
        detail,
    }
}

fn too_many(ask: &Ask) -> Error {
    let detail = format!("{} connections are open already", super::OPEN);
    not_relayed(ask, detail)
}

fn not_public(host: &str, port: u16, address: Option<SocketAddr>) -> Refusal {
    let ip = address.map(|address| address.ip().to_string());
    Refusal {
        what: format!("{} at {}", shown(host), ip.unwrap_or_default()),
        cause: "that address is no public one, and the pipeline names the host and not the address"
            .to_owned(),
        hint: line_to_add(&shown(host), port),
    }
}

fn stranger() -> Refusal {
    Refusal {
        what: "a connection to the egress".to_owned(),
        cause: "it does not begin with this run's token".to_owned(),
        hint: "another process of this machine tried it, or the component is not of this release"
            .to_owned(),
    }
}
