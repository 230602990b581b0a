//! The body of a request: bytes in memory, or pieces that are read while they are sent.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// Pieces of a body, in order.
pub type Pieces = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

/// A body that is read while it is sent, each time that it is.
#[derive(Clone)]
pub struct Upload {
    /// The number of its bytes.
    length: u64,
    open: Arc<dyn Fn() -> io::Result<Pieces> + Send + Sync>,
}

impl Upload {
    /// Makes a body of so many bytes.
    pub fn new(length: u64, open: impl Fn() -> io::Result<Pieces> + Send + Sync + 'static) -> Self {
        Self {
            length,
            open: Arc::new(open),
        }
    }

    pub(super) fn open(&self) -> io::Result<Outgoing> {
        Ok(Outgoing {
            left: self.length,
            source: Source::Pieces((self.open)()?),
        })
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.length)
    }
}

/// What is sent.
pub(super) struct Outgoing {
    left: u64,
    source: Source,
}

enum Source {
    Bytes(Bytes),
    Pieces(Pieces),
}

impl Outgoing {
    pub(super) fn bytes(bytes: Bytes) -> Self {
        Self {
            left: bytes.len() as u64,
            source: Source::Bytes(bytes),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let next = match &mut self.source {
            Source::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Pieces(pieces) => pieces.next(),
        };
        Poll::Ready(Some(match next {
            // The length was announced: a body that is shorter must break the connection.
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Err(error)) => Err(error),
            Some(Ok(piece)) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Ok(Frame::data(piece))
                }
                None => Err(io::Error::other("the body is longer than announced")),
            },
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
