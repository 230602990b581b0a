//! A stream between the component and a host: requests are read before they are passed on.

use std::io;
use std::time::Duration;

use shipgate::net::egress::Ending;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answers::{Answers, Awaited};
use super::head::{self, Body, MAX_CHUNK_LINE, MAX_HEAD, Target, Violation};
use super::placing;
use crate::sink::Sinks;

/// How long the head of a request may take from its first byte on.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a host may take no byte of a request. The component has shorter times of its own; it is
/// not heard while its last bytes can't be passed on.
const STALL: Duration = Duration::from_secs(120);
/// How long the last words may take to arrive, and the component to hear them.
const LINGER: Duration = Duration::from_secs(5);
/// What is read and written at once, in bytes.
pub const PIECE: usize = 64 << 10;

/// What comes from the component, and what of it was not passed on yet.
pub struct Incoming {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
    taken: usize,
}

impl Incoming {
    /// Reads from this half.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self {
            half,
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// Reads a line of at most so many bytes, and returns it without its line feed.
    ///
    /// # Errors
    /// It is longer, or the stream ends before it does.
    pub async fn line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.rest().iter().position(|byte| *byte == b'\n') {
                let line = self.rest()[..end].to_vec();
                self.taken += end + 1;
                return Ok(line);
            }
            if self.rest().len() >= most {
                return Err(io::Error::other("the line is too long"));
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Reads on, and says whether there was anything.
    async fn more(&mut self) -> io::Result<bool> {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        self.buffer.reserve(PIECE);
        Ok(self.half.read_buf(&mut self.buffer).await? > 0)
    }

    /// Throws away what comes until nothing does.
    async fn drain(&mut self) {
        loop {
            self.taken = self.buffer.len();
            if !matches!(self.more().await, Ok(true)) {
                return;
            }
        }
    }
}

/// Why nothing more of the component's is passed on.
enum End {
    /// The component has closed.
    Gone,
    /// The host takes no more.
    Stuck,
    /// The component sent what is not passed on.
    Violated(Violation),
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violated(violation)
    }
}

/// Passes requests and answers on until one side ends, and returns what the component did wrong.
/// Bodies that it wants in one of its `sinks` go there. `refusal` makes the error that the component gets.
pub async fn relay<S: AsyncRead + AsyncWrite>(
    mut incoming: Incoming,
    outgoing: OwnedWriteHalf,
    peer: S,
    target: &Target,
    sinks: &Sinks,
    refusal: impl Fn(&Violation) -> shipgate::net::Error,
) -> Option<Violation> {
    let (from_peer, to_peer) = tokio::io::split(peer);
    let (stop, stopped) = oneshot::channel();
    let awaited = Awaited::default();
    let answers = Answers::new(from_peer, outgoing, stopped);
    let mut answers = Box::pin(answers.pass_on(&awaited, sinks));
    let mut requests = Box::pin(requests(&mut incoming, to_peer, target, &awaited));
    let end = tokio::select! {
        end = &mut requests => Some(end),
        () = &mut answers => None,
    };
    drop(requests);
    match end {
        Some(End::Gone) => return None,
        Some(End::Violated(violation)) => {
            let _ = stop.send(Ending::Refused(refusal(&violation)));
            let told = async {
                answers.await;
                incoming.drain().await;
            };
            let _ = timeout(LINGER, told).await;
            return Some(violation);
        }
        // The host may have said why before it stopped listening.
        Some(End::Stuck) => tokio::select! {
            () = answers => {}
            () = incoming.drain() => return None,
        },
        None => {}
    }
    // Closed with something unread, the connection would be reset, and the last words with it lost.
    let _ = timeout(LINGER, incoming.drain()).await;
    None
}

/// Passes requests on, each of them read first, and comes back when there are no more.
async fn requests<S: AsyncWrite>(
    incoming: &mut Incoming,
    mut peer: WriteHalf<S>,
    target: &Target,
    awaited: &Awaited,
) -> End {
    loop {
        match request(incoming, &mut peer, target, awaited).await {
            Ok(()) => {}
            Err(end) => return end,
        }
    }
}

async fn request<S: AsyncWrite>(
    incoming: &mut Incoming,
    peer: &mut WriteHalf<S>,
    target: &Target,
    awaited: &Awaited,
) -> Result<(), End> {
    // Between two requests a connection may rest.
    if incoming.rest().is_empty() {
        more(incoming).await?;
    }
    let reading = async {
        loop {
            if let Some(head) = head::read(incoming.rest(), target)? {
                return Ok::<_, End>(head);
            }
            more(incoming).await?;
        }
    };
    let (length, body) = timeout(HEAD_TIME, reading)
        .await
        .map_err(|_| Violation::Slow)??;
    debug_assert!(length <= MAX_HEAD);
    match placing::asked(&incoming.rest()[..length])? {
        None => pass(incoming, peer, length as u64).await?,
        Some((line, sink)) => {
            // Who speaks HTTP/1.1 has heard all earlier answers by now: what comes from here on is the one to this.
            awaited.set(sink);
            pass(incoming, peer, line.start as u64).await?;
            incoming.taken += line.len();
            pass(incoming, peer, (length - line.end) as u64).await?;
        }
    }
    match body {
        Body::Length(length) => pass(incoming, peer, length).await?,
        Body::Chunked => chunks(incoming, peer).await?,
    }
    peer.flush().await.map_err(|_| End::Stuck)
}

/// Passes on so many bytes.
async fn pass<S: AsyncWrite>(
    incoming: &mut Incoming,
    peer: &mut WriteHalf<S>,
    mut left: u64,
) -> Result<(), End> {
    while left > 0 {
        if incoming.rest().is_empty() {
            peer.flush().await.map_err(|_| End::Stuck)?;
            more(incoming).await?;
        }
        let here = incoming.rest().len().min(PIECE);
        let part = usize::try_from(left).map_or(here, |left| left.min(here));
        let bytes = &incoming.rest()[..part];
        match timeout(STALL, peer.write_all(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(End::Stuck),
        }
        incoming.taken += part;
        left -= part as u64;
    }
    Ok(())
}

async fn chunks<S: AsyncWrite>(
    incoming: &mut Incoming,
    peer: &mut WriteHalf<S>,
) -> Result<(), End> {
    loop {
        let (line, length) = loop {
            if let Some(read) = head::chunk(incoming.rest())? {
                break read;
            }
            debug_assert!(incoming.rest().len() <= MAX_CHUNK_LINE);
            more(incoming).await?;
        };
        while incoming.rest().len() < line + 2 {
            more(incoming).await?;
        }
        if length == 0 {
            // Trailers could be taken for headers.
            if !incoming.rest()[line..].starts_with(b"\r\n") {
                return Err(Violation::Chunks.into());
            }
            return pass(incoming, peer, line as u64 + 2).await;
        }
        pass(incoming, peer, line as u64).await?;
        pass(incoming, peer, length).await?;
        while incoming.rest().len() < 2 {
            more(incoming).await?;
        }
        if !incoming.rest().starts_with(b"\r\n") {
            return Err(Violation::Chunks.into());
        }
        pass(incoming, peer, 2).await?;
    }
}

async fn more(incoming: &mut Incoming) -> Result<(), End> {
    match incoming.more().await {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(End::Gone),
    }
}
