//! A connection through the egress of the launcher, as the component sees it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::connector::Limit;
use super::egress::{Answer, Ask, Ending, Frame, MAX_ANSWER, Opened, Want, Way, microseconds};
use super::error::{Endpoint, Error};
use super::stream::FirstBytes;

/// A stream from the egress, freed of its frames.
pub(super) struct Relayed {
    stream: TcpStream,
    first_bytes: FirstBytes,
    /// What was read and not taken yet stands in `taken..filled`.
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    /// How much of the frame at hand is still to come, what is in the buffer included.
    left: usize,
    state: State,
}

enum State {
    /// More may come.
    Open,
    /// It ended in order.
    Ended,
    /// It broke: said once more to each further read.
    Failed(Ending),
}

/// How long the egress may take beyond the time that it was given to connect: the answer has to
/// travel, on a machine that may be busy.
const MARGIN: Duration = Duration::from_secs(5);

/// As much as WASI hands over at once.
const BUFFER: usize = 64 << 10;

/// Has the egress open a connection.
pub(super) async fn open(
    way: &Way,
    endpoint: &Endpoint,
    want: Want,
    limit: Limit,
) -> Result<(Relayed, Opened), Error> {
    let asking = async {
        let mut relayed = Relayed::connect(way.address).await?;
        let ask = Ask {
            token: way.token.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            want,
            timeout_us: microseconds(limit.after()),
        };
        let mut line = serde_json::to_vec(&ask)?;
        line.push(b'\n');
        relayed.stream.write_all(&line).await?;
        let line = relayed.line().await?;
        let answer: Answer = serde_json::from_slice(&line)?;
        Ok::<_, io::Error>((relayed, answer))
    };
    let failed = |detail: String| Error::NotRelayed {
        endpoint: Box::new(endpoint.clone()),
        detail,
    };
    match timeout_at(limit.end() + MARGIN, asking).await {
        Ok(Ok((relayed, Answer::Open(opened)))) => Ok((relayed, opened)),
        Ok(Ok((_, Answer::Failed(error)))) => Err(error),
        Ok(Err(error)) => Err(failed(format!("the launcher's egress: {error}"))),
        Err(_) => Err(failed("the launcher's egress does not answer".to_owned())),
    }
}

impl Relayed {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // As for connections of our own; a system that knows no such option does no harm.
        let _ = stream.set_nodelay(true);
        Ok(Self {
            stream,
            first_bytes: FirstBytes::default(),
            buffer: vec![0; BUFFER],
            taken: 0,
            filled: 0,
            left: 0,
            state: State::Open,
        })
    }

    /// Returns the first bytes of the peer's, as they will have been.
    pub(super) fn first_bytes(&self) -> FirstBytes {
        self.first_bytes.clone()
    }

    /// Reads the answer, without its line feed.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let end = self.buffered().iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.buffered()[..end].to_vec();
                self.taken += end + 1;
                return Ok(line);
            }
            if self.buffered().len() > MAX_ANSWER {
                return Err(io::Error::other("its answer is too long"));
            }
            if std::future::poll_fn(|context| self.poll_fill(context)).await? == 0 {
                return Err(io::Error::other("it closed the connection"));
            }
        }
    }

    fn buffered(&self) -> &[u8] {
        &self.buffer[self.taken..self.filled]
    }

    /// Adds to the buffer what there is to read, and returns how much that was.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.taken == self.filled {
            self.taken = 0;
            self.filled = 0;
        }
        if self.taken > 0 && self.filled == self.buffer.len() {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        if self.filled == self.buffer.len() {
            // Only an answer or an ending is longer than the buffer.
            self.buffer.resize(self.filled + BUFFER, 0);
        }
        let mut room = ReadBuf::new(&mut self.buffer[self.filled..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let read = room.filled().len();
        self.filled += read;
        Poll::Ready(Ok(read))
    }

    /// Sees to it that so many bytes are in the buffer.
    fn poll_need(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        while self.buffered().len() < bytes {
            if ready!(self.poll_fill(context))? == 0 {
                // The launcher says how a stream ends. If it says nothing, it is gone.
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the beginning of the next frame.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_need(context, Frame::LENGTH))?;
        let mut bytes = [0; Frame::LENGTH];
        bytes.copy_from_slice(&self.buffered()[..Frame::LENGTH]);
        match Frame::decode(bytes) {
            Frame::Data(length) => {
                self.taken += Frame::LENGTH;
                self.left = length as usize;
            }
            Frame::End => self.state = State::Ended,
            Frame::Ending(length) => {
                let length = (length as usize).min(MAX_ANSWER);
                ready!(self.poll_need(context, Frame::LENGTH + length))?;
                let json = &self.buffered()[Frame::LENGTH..Frame::LENGTH + length];
                self.state = State::Failed(serde_json::from_slice(json)?);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Relayed {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.left == 0 {
            match &this.state {
                State::Open => ready!(this.poll_frame(context))?,
                State::Ended => return Poll::Ready(Ok(())),
                State::Failed(ending) => return Poll::Ready(Err(ending.clone().into())),
            }
        }
        ready!(this.poll_need(context, 1))?;
        let part = target.remaining().min(this.left).min(this.buffered().len());
        let bytes = &this.buffered()[..part];
        this.first_bytes.keep(bytes);
        target.put_slice(bytes);
        this.taken += part;
        this.left -= part;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Relayed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
