//! What hosts answer, on its way to the component: in frames, as it comes, or into a file that it opened.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use shipgate::net::egress::{Breakage, Ending, Frame};
use shipgate::net::placing::{Record, Sink};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf, ReadHalf};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::placing::{self, Answer};
use super::relay::PIECE;
use crate::sink::{Filling, Sinks};

/// What is read and written into a file at once, in bytes.
const BLOCK: usize = 256 << 10;
/// The component is told of so many bytes at least, or after so long: it wants to know whether they come.
const TOLD_BYTES: u64 = 1 << 20;
const TOLD_AFTER: Duration = Duration::from_millis(10);

/// The sink that the next answer may go into.
#[derive(Default)]
pub struct Awaited(Mutex<Option<Sink>>);

impl Awaited {
    /// Has the answer that begins with the next byte go there.
    pub fn set(&self, sink: Sink) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
    }

    fn take(&self) -> Option<Sink> {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.take()
    }
}

/// The way from a host to the component.
pub struct Answers<S> {
    peer: ReadHalf<S>,
    outgoing: OwnedWriteHalf,
    /// Says what to end with, before the host does.
    stopped: oneshot::Receiver<Ending>,
    /// How the host's part ended.
    over: Option<Option<Ending>>,
}

/// The component has closed.
struct Gone;

impl<S: AsyncRead> Answers<S> {
    /// Makes it of the two ends.
    pub fn new(
        peer: ReadHalf<S>,
        outgoing: OwnedWriteHalf,
        stopped: oneshot::Receiver<Ending>,
    ) -> Self {
        Self {
            peer,
            outgoing,
            stopped,
            over: None,
        }
    }

    /// Passes answers on until the host ends, the component is gone, or it is stopped.
    pub async fn pass_on(mut self, awaited: &Awaited, sinks: &Sinks) {
        if self.pass(awaited, sinks).await.is_err() {
            return;
        }
        let ending = self.over.flatten();
        // Whom it does not reach any more it does not concern.
        let _ = self.outgoing.write_all(&last(ending)).await;
        let _ = self.outgoing.shutdown().await;
    }

    async fn pass(&mut self, awaited: &Awaited, sinks: &Sinks) -> Result<(), Gone> {
        let mut buffer = vec![0; Frame::LENGTH + PIECE];
        while let Some(read) = self.read(&mut buffer[Frame::LENGTH..]).await {
            let named = awaited.take();
            let found = named.and_then(|sink| Some((sinks.find(&sink.ticket)?, sink)));
            match found {
                Some((filling, sink)) => {
                    let first = buffer[Frame::LENGTH..Frame::LENGTH + read].to_vec();
                    self.place(first, &sink, &filling).await?;
                }
                None => {
                    self.send_framed(&mut buffer[..Frame::LENGTH + read])
                        .await?
                }
            }
        }
        Ok(())
    }

    /// Passes on an answer, of which this has come, into a file if it fits.
    async fn place(
        &mut self,
        mut came: Vec<u8>,
        sink: &Sink,
        filling: &Arc<Filling>,
    ) -> Result<(), Gone> {
        let mut buffer = Vec::new();
        let (head, length, part) = loop {
            match placing::judge(&came, sink, filling.size()) {
                Answer::Placed { head, length, part } => break (head, length, part),
                Answer::Other => return self.send(&came).await,
                Answer::Interim(length) => {
                    self.send(&came[..length]).await?;
                    came.drain(..length);
                }
                Answer::Incomplete => {
                    buffer.resize(PIECE, 0);
                    let Some(read) = self.read(&mut buffer).await else {
                        return self.send(&came).await;
                    };
                    came.extend_from_slice(&buffer[..read]);
                }
            }
        };
        self.send(&head).await?;
        let body = &came[length..];
        let here =
            usize::try_from(part.end - part.start).map_or(body.len(), |most| most.min(body.len()));
        let (body, behind) = body.split_at(here);
        let mut placing = Placing {
            filling,
            at: part.start,
            untold: 0,
            due: Instant::now() + TOLD_AFTER,
        };
        self.take(&mut placing, body).await?;
        buffer.resize(BLOCK, 0);
        while placing.at < part.end {
            let most = usize::try_from(part.end - placing.at).map_or(BLOCK, |left| left.min(BLOCK));
            let room = &mut buffer[..most];
            let read = match placing.untold {
                0 => self.read(room).await,
                _ => match timeout_at(placing.due, self.read(room)).await {
                    Ok(read) => read,
                    Err(_) => {
                        self.tell(&mut placing).await?;
                        continue;
                    }
                },
            };
            let Some(read) = read else {
                self.tell(&mut placing).await?;
                // As it is said of a body whose length is known.
                let early = Ending::Broken {
                    kind: Breakage::UnexpectedEnd,
                    detail: "end of file before message length reached".to_owned(),
                };
                self.over = self.over.take().map(|ending| ending.or(Some(early)));
                return Ok(());
            };
            self.take(&mut placing, &buffer[..read]).await?;
        }
        self.tell(&mut placing).await?;
        self.send(b"0\r\n\r\n").await?;
        if behind.is_empty() {
            return Ok(());
        }
        // Nobody asked for it; the component knows what that means.
        self.send(behind).await
    }

    /// Writes a part of a body into the file; what that does not take is for the component.
    async fn take(&mut self, placing: &mut Placing<'_>, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = placing.filling.write(placing.at, bytes);
        placing.at += bytes.len() as u64;
        if written.is_ok() {
            placing.untold += bytes.len() as u64;
            if placing.untold >= TOLD_BYTES || placing.due <= Instant::now() {
                return self.tell(placing).await;
            }
            return Ok(());
        }
        self.tell(placing).await?;
        for bytes in bytes.chunks(PIECE) {
            let length = u32::try_from(bytes.len()).unwrap_or_default();
            self.send_chunk(Record::Bytes(length), bytes).await?;
        }
        Ok(())
    }

    /// Says how much was written since the last time.
    async fn tell(&mut self, placing: &mut Placing<'_>) -> Result<(), Gone> {
        placing.due = Instant::now() + TOLD_AFTER;
        let untold = u32::try_from(std::mem::take(&mut placing.untold)).unwrap_or_default();
        match untold {
            0 => Ok(()),
            untold => self.send_chunk(Record::Placed(untold), &[]).await,
        }
    }

    async fn send_chunk(&mut self, record: Record, bytes: &[u8]) -> Result<(), Gone> {
        let size = format!("{:x}\r\n", Record::LENGTH + bytes.len());
        let chunk = [size.as_bytes(), &record.encode(), bytes, b"\r\n"].concat();
        self.send(&chunk).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut framed = vec![0; Frame::LENGTH];
        framed.extend_from_slice(bytes);
        self.send_framed(&mut framed).await
    }

    /// Sends bytes that have room for a frame before them.
    async fn send_framed(&mut self, framed: &mut [u8]) -> Result<(), Gone> {
        let length = u32::try_from(framed.len() - Frame::LENGTH).unwrap_or(u32::MAX);
        // Nothing would be the end.
        if length == 0 {
            return Ok(());
        }
        framed[..Frame::LENGTH].copy_from_slice(&Frame::Data(length).encode());
        // Never given up in the middle: a part of a frame is none.
        self.outgoing.write_all(framed).await.map_err(|_| Gone)
    }

    /// Reads what is there, at least one byte; nothing when it is over.
    async fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        if self.over.is_some() {
            return None;
        }
        let (read, end) = tokio::select! {
            biased;
            Ok(ending) = &mut self.stopped => (0, Some(Some(ending))),
            (read, end) = fill(&mut self.peer, buffer) => {
                (read, end.map(|end| end.err().as_ref().map(Ending::of)))
            }
        };
        self.over = end;
        (read > 0).then_some(read)
    }
}

/// A body on its way into a file.
struct Placing<'a> {
    filling: &'a Arc<Filling>,
    /// The offset of the next byte.
    at: u64,
    /// How much was written that the component does not know of.
    untold: u64,
    /// When it is to know.
    due: Instant,
}

fn last(ending: Option<Ending>) -> Vec<u8> {
    let Some(json) = ending.and_then(|ending| serde_json::to_vec(&ending).ok()) else {
        return Frame::End.encode().to_vec();
    };
    let length = u32::try_from(json.len()).unwrap_or_default();
    [&Frame::Ending(length).encode(), json.as_slice()].concat()
}

/// Reads what is there, at least one byte, and says how the stream ended if it did.
async fn fill<S: AsyncRead>(
    peer: &mut ReadHalf<S>,
    buffer: &mut [u8],
) -> (usize, Option<io::Result<()>>) {
    let mut filled = 0;
    poll_fn(|context| poll_fill(peer, buffer, &mut filled, context)).await
}

fn poll_fill<S: AsyncRead>(
    peer: &mut ReadHalf<S>,
    buffer: &mut [u8],
    filled: &mut usize,
    context: &mut Context<'_>,
) -> Poll<(usize, Option<io::Result<()>>)> {
    while *filled < buffer.len() {
        let mut room = ReadBuf::new(&mut buffer[*filled..]);
        match Pin::new(&mut *peer).poll_read(context, &mut room) {
            Poll::Pending if *filled == 0 => return Poll::Pending,
            Poll::Pending => break,
            Poll::Ready(Err(error)) => return Poll::Ready((*filled, Some(Err(error)))),
            Poll::Ready(Ok(())) => match room.filled().len() {
                0 => return Poll::Ready((*filled, Some(Ok(())))),
                read => *filled += read,
            },
        }
    }
    Poll::Ready((*filled, None))
}
