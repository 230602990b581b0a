//! Names by the system's resolver, on a thread of its own.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Looks a host up. `held` is kept until the resolver is done, which may be long after nobody waits for it
/// any more: it can't be stopped.
pub(super) async fn resolve(
    host: String,
    port: u16,
    held: impl Send + 'static,
) -> io::Result<Vec<SocketAddr>> {
    #[expect(
        clippy::disallowed_methods,
        reason = "getaddrinfo blocks; this file is native only"
    )]
    let lookup = tokio::task::spawn_blocking(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        drop(held);
        Ok(found?.collect())
    });
    lookup.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[test]
    fn what_is_held_is_held_until_the_resolver_is_done() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            // The only thread is busy, as resolvers that ask a dead server are.
            let (free, busy) = mpsc::channel::<()>();
            #[expect(clippy::disallowed_methods, reason = "it plays a resolver")]
            let resolver = tokio::task::spawn_blocking(move || busy.recv());
            let permit = Arc::new(());
            let looking = resolve("127.0.0.1".to_owned(), 80, Arc::clone(&permit));
            assert!(timeout(Duration::from_millis(1), looking).await.is_err());
            assert_eq!(Arc::strong_count(&permit), 2);
            drop(free);
            let _ = resolver.await;
            while Arc::strong_count(&permit) > 1 {
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
}
