//! A server that misbehaves by rule: it stands in front of a real one, or serves content of its
//! own, and logs every request with what was sent.
//!
//! ```ignore
//! let proxy = FaultProxy::before(registry.address());
//! // The second request for a blob gets 1000 bytes and a reset.
//! proxy.add(Rule::on("/v2/*/blobs/*").nth(2).fault(Fault::Reset { after: 1000 }));
//! // All manifests are refused three times.
//! proxy.add(Rule::on("*/manifests/*").requests(1..=3).fault(Fault::answer(429, &[("Retry-After", "1")], "")));
//! …
//! assert!(proxy.exchanges().iter().filter(|it| it.has_range()).count() < 10);
//! ```
//!
//! HTTP/1.1 over loopback, written by hand, since no library can be made to lie about its framing.
//! It needs nothing that only tests have, so that benchmarks can include this folder too.

mod black_hole;
mod content;
mod exchange;
mod rule;
mod serve;
#[cfg(test)]
mod tests;
mod tokens;
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use self::black_hole::BlackHole;
pub use self::content::Content;
pub use self::exchange::{Ending, Exchange, Seen};
pub use self::rule::{Fault, Length, RangeLie, Rule};
use self::serve::{Door, Shared, Source};
pub use self::tokens::TokenRule;

/// A running proxy; dropping it ends it and all its connections.
pub struct FaultProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    storage: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FaultProxy {
    /// Starts one before `upstream`, a host and port that speak plain HTTP.
    pub fn before(upstream: &str) -> Self {
        Self::start(Source::Upstream(upstream.to_owned()))
    }

    /// Starts one that serves what a function says. Ranges of its answers with status 200 are
    /// given as a good server would.
    pub fn serving(content: impl Fn(&Seen) -> Content + Send + Sync + 'static) -> Self {
        Self::start(Source::Content(Box::new(content)))
    }

    /// Adds a rule. All rules that match a request apply, in the order in which they were added.
    pub fn add(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Takes all rules back; what is under way ends as it began.
    pub fn behave(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Asks for Bearer tokens from now on, under `/v2/`, and hands them out under `/token`.
    pub fn require_tokens(&self, rule: TokenRule) {
        self.shared.tokens.lock().unwrap().require(rule);
    }

    /// Returns the host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the host and port that signed addresses lead to, see [`Fault::Presign`].
    pub fn storage_address(&self) -> String {
        self.storage.to_string()
    }

    /// Returns all requests so far, in the order in which they came; those that are under way are
    /// as far as they are.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.exchanges.lock().unwrap().clone()
    }

    /// Returns how many connections were accepted, to both addresses.
    pub fn connections(&self) -> u64 {
        *self.shared.connections.lock().unwrap()
    }

    fn start(source: Source) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (started, start) = mpsc::channel();
        // A runtime of its own, so that tests with one of theirs can block on what it does.
        let thread = std::thread::spawn(move || {
            runtime().block_on(async move {
                let listen = || TcpListener::bind("127.0.0.1:0");
                let (main, storage) = (listen().await.unwrap(), listen().await.unwrap());
                let address = main.local_addr().unwrap();
                let storage_address = storage.local_addr().unwrap();
                let shared = Arc::new(Shared::new(source, address, storage_address));
                started
                    .send((shared.clone(), address, storage_address))
                    .unwrap();
                tokio::select! {
                    () = serve::accept(main, Door::Main, &shared) => (),
                    () = serve::accept(storage, Door::Storage, &shared) => (),
                    _ = stopped => (),
                }
            });
        });
        let (shared, address, storage) = start.recv().unwrap();
        Self {
            shared,
            address,
            storage,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
