//! The component's only way out: a socket on loopback that connects to granted hosts for it.
//!
//! The component says which host it wants; nothing is looked up before that is known to be granted.
//! The host is looked up once a connection, and one of the very addresses that were checked is
//! connected to. TLS is spoken here, natively, so the component has neither keys nor authorities.
//! [`shipgate::net::egress`] describes what goes over the socket.

mod address;
mod answers;
mod grant;
mod head;
mod peer;
mod placing;
mod relay;
mod session;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use shipgate::net::egress::{Token, Way};
use shipgate::net::{Dialer, Error, Limit, LookedUp};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::grant::Hosts;
pub use self::grant::{Granted, Refusal, Teller, shown};
use crate::sink::Sinks;

/// How long the component may take to say what it wants. It has one thread, which may be hashing.
const ASK_TIME: Duration = Duration::from_secs(30);
/// How long somebody may say nothing before it is looked at who it is: the component says at once what it
/// wants, unless it is busy.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How many connections may be open or being opened at once, look-ups that nobody waits for any more included:
/// a run has some dozens.
const OPEN: usize = 128;
/// How many threads serve: bytes are written and TLS is spoken here.
const THREADS: usize = 2;
/// How many may be open of which it is not known yet what they are for.
const ASKING: usize = 64;

/// Serves until it is dropped.
pub struct Egress {
    way: Way,
    teller: Arc<Teller>,
    /// Its own threads: they write into files, and a disk that does not answer must hold up nobody who watches
    /// time and signals.
    runtime: Option<Runtime>,
}

impl Egress {
    /// Opens the way to these hosts, for whoever has its token.
    ///
    /// # Errors
    /// There is no socket on loopback to be had, or no randomness.
    pub async fn open(hosts: Vec<Granted>, dialer: Dialer, sinks: Sinks) -> io::Result<Self> {
        let look_up: LookUp = Box::new(|host, port, limit, held| {
            Box::pin(async move { Dialer::look_up(&host, port, limit, held).await })
        });
        Self::with(hosts, dialer, look_up, ASK_TIME, sinks).await
    }

    async fn with(
        hosts: Vec<Granted>,
        dialer: Dialer,
        look_up: LookUp,
        ask_time: Duration,
        sinks: Sinks,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("egress")
            .enable_all()
            .build()?;
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let no_randomness = |_| io::Error::other("the system has no random numbers");
        let random = SystemRandom::new();
        let mut secret = [0; 32];
        random.fill(&mut secret).map_err(no_randomness)?;
        let token = secret.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(no_randomness)?;
        let teller = Arc::new(Teller::default());
        let shared = Arc::new(Shared {
            tag: hmac::sign(&key, token.as_bytes()),
            key,
            hosts: Hosts::new(hosts),
            dialer,
            look_up,
            ask_time,
            open: Arc::new(Semaphore::new(OPEN)),
            sinks,
            teller: Arc::clone(&teller),
        });
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(accept(listener, shared));
        Ok(Self {
            way: Way {
                address,
                token: Token(token),
            },
            teller,
            runtime: Some(runtime),
        })
    }

    /// Returns where it is, and the token.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// Returns who tells of what is refused.
    pub fn teller(&self) -> Arc<Teller> {
        Arc::clone(&self.teller)
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: a thread of it may stand still.
            runtime.shutdown_background();
        }
        self.teller.tell_rest();
    }
}

/// Looks a host up, and keeps what it is handed until nothing of that goes on any more.
type LookUp = Box<dyn Fn(String, u16, Limit, Held) -> Looking + Send + Sync>;
/// The right to have a connection, or to be about to.
type Held = Arc<OwnedSemaphorePermit>;
type Looking = Pin<Box<dyn Future<Output = Result<LookedUp, Error>> + Send>>;

/// What all connections have in common.
struct Shared {
    key: hmac::Key,
    tag: hmac::Tag,
    hosts: Hosts,
    dialer: Dialer,
    look_up: LookUp,
    ask_time: Duration,
    open: Arc<Semaphore>,
    sinks: Sinks,
    teller: Arc<Teller>,
}

impl Shared {
    /// Says whether a token is this run's, in the same time for every wrong one: tags are compared
    /// that nobody can aim at.
    fn knows(&self, token: &Token) -> bool {
        hmac::verify(&self.key, token.0.as_bytes(), self.tag.as_ref()).is_ok()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let asking = Arc::new(Semaphore::new(ASKING));
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&asking).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move { session::serve(stream, &shared, permit).await });
            }
            // Out of files, most likely: others will close theirs.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}
