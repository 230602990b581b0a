//! Which connections the component may open.
//!
//! The runtime's check sees addresses, the grants say names: an address is allowed if the host of
//! a grant with its port resolves to it. Only TCP connections out are allowed at all.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::failure::refused_connection;

/// A host and port that may be connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    host: String,
    port: u16,
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "write HOST:PORT, such as registry.example:443 or [::1]:5000".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(form)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(form)?,
            None if host.contains(':') => return Err(form()),
            None => host,
        };
        if host.is_empty() || host.contains(['/', '*', '@', ' ', '[', ']']) {
            return Err(form());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Lets the component connect to the granted hosts; without any, it has no network and no names.
pub fn grant(context: &mut WasiCtxBuilder, grants: Vec<Grant>) {
    let any = !grants.is_empty();
    let policy = Arc::new(Policy {
        grants,
        seen: Mutex::default(),
    });
    context
        .allow_tcp(true)
        .allow_udp(false)
        .allow_ip_name_lookup(any);
    context.socket_addr_check(move |address, purpose| {
        let policy = Arc::clone(&policy);
        match purpose {
            // The system's own bind before each connection; any other names an address or a port.
            SocketAddrUse::TcpBind => {
                let implicit = address.ip().is_unspecified() && address.port() == 0;
                Box::pin(async move { implicit })
            }
            SocketAddrUse::TcpConnect => Box::pin(async move { policy.allow(address).await }),
            _ => Box::pin(async { false }),
        }
    });
}

struct Policy {
    grants: Vec<Grant>,
    seen: Mutex<Seen>,
}

/// What is remembered between connections: granted names can have more addresses than one answer
/// holds, and a refusal is told once.
#[derive(Default)]
struct Seen {
    allowed: HashSet<SocketAddr>,
    refused: HashSet<SocketAddr>,
}

impl Policy {
    async fn allow(self: Arc<Self>, address: SocketAddr) -> bool {
        // `::ffff:127.0.0.1` is 127.0.0.1, and no way around a grant.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.is_known(address) {
            return true;
        }
        let policy = Arc::clone(&self);
        #[expect(clippy::disallowed_methods, reason = "the launcher itself is native")]
        let lookup = tokio::task::spawn_blocking(move || policy.resolve(address.port()));
        if let Ok(addresses) = lookup.await {
            self.learn(addresses);
        }
        self.is_known(address) || self.refuse(address)
    }

    fn resolve(&self, port: u16) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for grant in self.grants.iter().filter(|grant| grant.port == port) {
            match grant.host.parse::<IpAddr>() {
                Ok(ip) => addresses.push(SocketAddr::new(ip, port)),
                Err(_) => addresses.extend(
                    (grant.host.as_str(), port)
                        .to_socket_addrs()
                        .into_iter()
                        .flatten(),
                ),
            }
        }
        addresses
    }

    fn is_known(&self, address: SocketAddr) -> bool {
        self.seen().allowed.contains(&address)
    }

    fn learn(&self, addresses: Vec<SocketAddr>) {
        let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
        self.seen()
            .allowed
            .extend(addresses.into_iter().map(canonical));
    }

    fn refuse(&self, address: SocketAddr) -> bool {
        // The component chooses the addresses: what is remembered of them has a bound.
        const TOLD: usize = 100;
        let mut seen = self.seen();
        if seen.refused.len() < TOLD && seen.refused.insert(address) {
            eprintln!("{}", refused_connection(address, &self.grants));
        }
        false
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(grants: &[&str], address: &str) -> bool {
        let grants = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        let policy = Arc::new(Policy {
            grants,
            seen: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(policy.allow(address.parse().unwrap()))
    }

    #[test]
    fn grants_are_parsed_strictly() {
        for good in ["registry.example:443", "127.0.0.1:5000", "[::1]:5000"] {
            assert_eq!(good.parse::<Grant>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "::1:5000",
            "[::1:1",
            "*:1",
            "http://a:1",
        ] {
            assert!(bad.parse::<Grant>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_granted_addresses_and_ports_are_allowed() {
        assert!(allows(&["127.0.0.1:5000"], "127.0.0.1:5000"));
        assert!(allows(&["localhost:5000"], "127.0.0.1:5000"));
        assert!(allows(&["127.0.0.1:5000"], "[::ffff:127.0.0.1]:5000"));
        assert!(!allows(&["127.0.0.1:5000"], "127.0.0.1:5001"));
        assert!(!allows(&["127.0.0.1:5000"], "127.0.0.2:5000"));
        assert!(!allows(&["127.0.0.1:5000"], "[::1]:5000"));
        assert!(!allows(&[], "127.0.0.1:5000"));
    }

    #[test]
    fn a_refusal_says_what_to_add() {
        let grants = ["a.example:443".parse().unwrap()];
        assert_eq!(
            refused_connection("10.0.0.1:443".parse().unwrap(), &grants),
            "refused: a connection to 10.0.0.1:443\n  cause: it is none of a.example:443\n\
             hint: to allow it, add `--allow-host 10.0.0.1:443`, or the name behind it with this port"
        );
    }
}
