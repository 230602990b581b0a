//! Names by the system's resolver, on a thread of its own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

pub(super) async fn resolve(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "getaddrinfo blocks; this file is native only"
    )]
    let lookup =
        tokio::task::spawn_blocking(move || Ok((host.as_str(), port).to_socket_addrs()?.collect()));
    lookup.await.map_err(io::Error::other)?
}
