//! Names by wasi:sockets, in place: there are no threads to wait on.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

#[expect(clippy::unused_async, reason = "the native twin awaits a thread")]
pub(super) async fn resolve(
    host: String,
    port: u16,
    _held: impl Send + 'static,
) -> io::Result<Vec<SocketAddr>> {
    Ok((host.as_str(), port).to_socket_addrs()?.collect())
}
