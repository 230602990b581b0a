//! A blob that arrives as a whole, and is checked on the way.

use bytes::Bytes;

use super::Digest;
use super::answer::Answer;
use super::digest::Hasher;
use super::error::{Error, ErrorKind};

/// A blob that arrives; drop it to stop the transfer.
#[derive(Debug)]
pub struct Blob {
    pub(super) answer: Answer,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) received: u64,
    /// Gone once the end was checked.
    pub(super) hasher: Option<Hasher>,
}

impl Blob {
    /// Returns the next part, or nothing once all bytes have come and are what the digest says.
    ///
    /// # Errors
    ///
    /// The transfer broke off, or size or digest are wrong.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(part) = self.answer.chunk().await? {
            self.received += part.len() as u64;
            if self.received > self.size {
                return Err(self.wrong_size());
            }
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&part);
            }
            return Ok(Some(part));
        }
        if self.received != self.size {
            return Err(self.wrong_size());
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(found) if found != self.digest => Err(ErrorKind::DigestMismatch {
                host: self.answer.host.clone(),
                expected: self.digest,
                found,
                bytes: self.received,
            }
            .into()),
            _ => Ok(None),
        }
    }

    /// Returns the host that sends it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.answer.host
    }

    fn wrong_size(&self) -> Error {
        ErrorKind::SizeMismatch {
            host: self.answer.host.clone(),
            digest: self.digest,
            expected: self.size,
            found: self.received,
        }
        .into()
    }
}
