//! What the component may do with sockets: connect to the launcher's egress, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::egress::{Egress, Refusal, Teller};

/// Lets the component connect to the egress. It can look no name up.
pub fn apply(context: &mut WasiCtxBuilder, egress: &Egress) {
    context
        .allow_tcp(true)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    let (way, teller) = (egress.way().address, egress.teller());
    context.socket_addr_check(move |address, purpose| {
        let allowed = is_allowed(address, purpose, way, &teller);
        Box::pin(std::future::ready(allowed))
    });
}

fn is_allowed(
    address: SocketAddr,
    purpose: SocketAddrUse,
    way: SocketAddr,
    teller: &Arc<Teller>,
) -> bool {
    let refusal = match purpose {
        // The system's own bind before each connection; any other names an address or a port.
        SocketAddrUse::TcpBind if address.ip().is_unspecified() && address.port() == 0 => {
            return true;
        }
        // Compared whole: another spelling of it is another address.
        SocketAddrUse::TcpConnect if address == way => return true,
        SocketAddrUse::TcpConnect => around(address),
        SocketAddrUse::TcpBind => not_out(format!("binding a socket to {address}")),
        SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
            not_out(format!("listening on {address}"))
        }
        SocketAddrUse::UdpBind | SocketAddrUse::UdpReceive | SocketAddrUse::UdpSend => {
            not_out(format!("datagrams (UDP) by way of {address}"))
        }
    };
    teller.tell(&refusal);
    false
}

fn not_out(what: String) -> Refusal {
    Refusal {
        what,
        cause: "the component may connect to the launcher's egress, and nothing else".to_owned(),
        hint: "use a component of the launcher's own release".to_owned(),
    }
}

fn around(address: SocketAddr) -> Refusal {
    Refusal {
        what: format!("a connection to {address}"),
        cause: "it goes around the launcher's egress, which alone connects to granted hosts"
            .to_owned(),
        hint: "use a component of the launcher's own release".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_egress_is_the_only_address() {
        let way: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let teller = Arc::default();
        let allows =
            |address: &str, purpose| is_allowed(address.parse().unwrap(), purpose, way, &teller);
        assert!(allows("127.0.0.1:4000", SocketAddrUse::TcpConnect));
        for other in [
            "127.0.0.1:4001",
            "127.0.0.2:4000",
            "[::1]:4000",
            "[::ffff:127.0.0.1]:4000",
            "0.0.0.0:4000",
            "169.254.169.254:80",
        ] {
            assert!(!allows(other, SocketAddrUse::TcpConnect), "{other}");
        }
        assert!(allows("0.0.0.0:0", SocketAddrUse::TcpBind));
        assert!(!allows("127.0.0.1:0", SocketAddrUse::TcpBind));
        assert!(!allows("0.0.0.0:80", SocketAddrUse::TcpBind));
        for purpose in [
            SocketAddrUse::TcpListen,
            SocketAddrUse::UdpBind,
            SocketAddrUse::UdpSend,
            SocketAddrUse::UdpReceive,
        ] {
            assert!(!allows("127.0.0.1:4000", purpose));
        }
    }
}
