//! A stream between the component and a host: requests are read before they are passed on.

use std::io;
use std::time::Duration;

use shipgate::net::egress::Ending;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answers::{Answers, Awaited};
use super::head::{self, Body, Head, MAX_CHUNK_LINE, MAX_HEAD, Target, Violation};
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

/// Passes requests and answers on until one side ends. Bodies that the component wants in one of its `sinks` go
/// there. `refusal` is asked what it is told of what it did wrong.
pub async fn relay<S: AsyncRead + AsyncWrite>(
    mut incoming: Incoming,
    outgoing: OwnedWriteHalf,
    peer: S,
    target: &Target,
    sinks: &Sinks,
    refusal: impl Fn(&Violation) -> shipgate::net::Error,
) {
    let (from_peer, to_peer) = tokio::io::split(peer);
    let to_peer = Peer {
        half: to_peer,
        stall: STALL,
    };
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
        Some(End::Gone) => return,
        Some(End::Violated(violation)) => {
            let _ = stop.send(Ending::Refused(refusal(&violation)));
            let told = async {
                answers.await;
                incoming.drain().await;
            };
            let _ = timeout(LINGER, told).await;
            return;
        }
        // The host may have said why before it stopped listening.
        Some(End::Stuck) => tokio::select! {
            () = answers => {}
            () = incoming.drain() => return,
        },
        None => {}
    }
    // Closed with something unread, the connection would be reset, and the last words with it lost.
    let _ = timeout(LINGER, incoming.drain()).await;
}

/// Passes requests on, each of them read first, and comes back when there are no more.
async fn requests<S: AsyncWrite>(
    incoming: &mut Incoming,
    mut peer: Peer<S>,
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
    peer: &mut Peer<S>,
    target: &Target,
    awaited: &Awaited,
) -> Result<(), End> {
    // Between two requests a connection may rest.
    if incoming.rest().is_empty() {
        more(incoming).await?;
    }
    let mut scanned = 0;
    let reading = async {
        loop {
            if let Some(head) = head::read(incoming.rest(), &mut scanned, target)? {
                return Ok::<_, End>(head);
            }
            more(incoming).await?;
        }
    };
    let Head { length, host, body } = timeout(HEAD_TIME, reading)
        .await
        .map_err(|_| Violation::Slow)??;
    debug_assert!(length <= MAX_HEAD);
    let head = &incoming.rest()[..length];
    let asked = placing::asked(head)?;
    // What is for the launcher alone ends here.
    let left_out = asked.as_ref().map_or(0..0, |(line, _)| line.clone());
    let kept = |range: std::ops::Range<usize>| {
        let before = range.start..range.end.min(left_out.start).max(range.start);
        let behind = range.start.max(left_out.end).min(range.end)..range.end;
        [&head[before], &head[behind]].concat()
    };
    let mut passed = [
        kept(0..host.start),
        target.authority().as_bytes().to_vec(),
        kept(host.end..length),
    ]
    .concat();
    if let Some((line, replaced)) = target.rewritten(&passed) {
        passed.splice(..replaced, line);
    }
    if let Some((_, sink)) = asked {
        // Who speaks HTTP/1.1 has heard all earlier answers by now: what comes from here on is the one to this.
        awaited.set(sink);
    }
    peer.write(&passed).await?;
    incoming.taken += length;
    match body {
        Body::Length(length) => pass(incoming, peer, length).await?,
        Body::Chunked => chunks(incoming, peer).await?,
    }
    peer.flush().await
}

/// The host as it is written to, with a bound to how long it may take nothing.
struct Peer<S> {
    half: WriteHalf<S>,
    stall: Duration,
}

impl<S: AsyncWrite> Peer<S> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        Self::in_time(self.stall, self.half.write_all(bytes)).await
    }

    async fn flush(&mut self) -> Result<(), End> {
        Self::in_time(self.stall, self.half.flush()).await
    }

    async fn in_time(
        stall: Duration,
        work: impl Future<Output = io::Result<()>>,
    ) -> Result<(), End> {
        match timeout(stall, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Stuck),
        }
    }
}

/// Passes on so many bytes.
async fn pass<S: AsyncWrite>(
    incoming: &mut Incoming,
    peer: &mut Peer<S>,
    mut left: u64,
) -> Result<(), End> {
    while left > 0 {
        if incoming.rest().is_empty() {
            peer.flush().await?;
            more(incoming).await?;
        }
        let here = incoming.rest().len().min(PIECE);
        let part = usize::try_from(left).map_or(here, |left| left.min(here));
        let bytes = &incoming.rest()[..part];
        peer.write(bytes).await?;
        incoming.taken += part;
        left -= part as u64;
    }
    Ok(())
}

async fn chunks<S: AsyncWrite>(incoming: &mut Incoming, peer: &mut Peer<S>) -> Result<(), End> {
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A host that takes every byte and never says that they are on their way.
    struct NeverFlushes;

    impl AsyncRead for NeverFlushes {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for NeverFlushes {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_host_that_does_not_let_bytes_go_holds_nothing_for_ever() {
        let target = Target {
            host: "a.example".to_owned(),
            port: 80,
            tls: false,
            forwarding: None,
        };
        for sent in [
            &b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
            b"PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nhalf",
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let component = TcpStream::connect(listener.local_addr().unwrap()).await;
            let mut component = component.unwrap();
            let (read, _write) = listener.accept().await.unwrap().0.into_split();
            component.write_all(sent).await.unwrap();
            let peer = Peer {
                half: tokio::io::split(NeverFlushes).1,
                stall: Duration::from_millis(1),
            };
            let end = requests(&mut Incoming::new(read), peer, &target, &Awaited::default()).await;
            assert!(matches!(end, End::Stuck));
        }
    }
}
