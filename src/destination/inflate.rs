//! Layers without their compression, for engines that can't read it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};

use bytes::Bytes;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::error::{Error, ErrorKind};
use crate::cache::Cache;
use crate::oci::Digest;
use crate::oci::digest::Hasher;

/// How the bytes of a layer are packed, by their first bytes: media types lie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    /// With gzip, or not at all: every engine reads it.
    Usual,
    /// With Zstandard.
    Zstd,
}

impl Packing {
    /// Looks at a blob.
    ///
    /// # Errors
    ///
    /// It is not in the cache, or can't be read.
    pub fn of(cache: &Cache, digest: &Digest) -> Result<Self, Error> {
        let (file, _) = cache.open_blob(digest)?;
        let mut start = Vec::new();
        file.take(4)
            .read_to_end(&mut start)
            .map_err(|error| Error::io("read", &cache.path(digest), error))?;
        let skippable = matches!(start[..], [0x50..=0x5f, 0x2a, 0x4d, 0x18]);
        if start == ZSTD || skippable {
            return Ok(Self::Zstd);
        }
        Ok(Self::Usual)
    }
}

/// The frame's magic number (RFC 8878 section 3.1.1).
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A layer that is unpacked piece by piece.
pub struct Inflated {
    digest: Digest,
    file: BufReader<File>,
    decoder: FrameDecoder,
    /// Whether the decoder is within a frame.
    within: bool,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
}

impl Inflated {
    /// Opens a layer that is packed with Zstandard. With `expected` bytes, fewer and more are errors.
    ///
    /// # Errors
    ///
    /// It is not in the cache, or can't be read.
    pub fn open(cache: &Cache, digest: &Digest, expected: Option<u64>) -> Result<Self, Error> {
        let (file, _) = cache.open_blob(digest)?;
        Ok(Self {
            digest: *digest,
            file: BufReader::with_capacity(BUFFER, file),
            decoder: FrameDecoder::new(),
            within: false,
            left: expected,
        })
    }

    /// Returns the next piece, or nothing at the end.
    ///
    /// # Errors
    ///
    /// The bytes are no Zstandard, or not as many as they were to be.
    pub fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        let mut piece = vec![0; BUFFER];
        let count = self.fill(&mut piece)?;
        piece.truncate(count);
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(count as u64).ok_or_else(|| {
                broken(&self.digest, "it gave more bytes than when it was measured")
            })?;
            if count == 0 && *left > 0 {
                return Err(broken(
                    &self.digest,
                    "it gave fewer bytes than when it was measured",
                ));
            }
        }
        Ok((count > 0).then(|| piece.into()))
    }

    /// Unpacks all of a layer, checks that it is what the image's config says, and returns its size.
    ///
    /// # Errors
    ///
    /// It is not, or the bytes are no Zstandard.
    pub async fn measure(cache: &Cache, digest: &Digest, expected: &Digest) -> Result<u64, Error> {
        let mut layer = Self::open(cache, digest, None)?;
        let mut hasher = Hasher::new();
        let mut size = 0;
        while let Some(piece) = layer.piece()? {
            hasher.update(&piece);
            size += piece.len() as u64;
            if size > LARGEST {
                return Err(broken(
                    digest,
                    "it is more than 1 TiB without its compression",
                ));
            }
            tokio::task::yield_now().await;
        }
        let found = hasher.finish();
        if found != *expected {
            let reason = format!("the config calls its content {expected}, and it is {found}");
            return Err(broken(digest, reason));
        }
        Ok(size)
    }

    /// Fills a buffer as far as there is something; a layer may have several frames.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < buffer.len() && (self.within || self.begin()?) {
            let wanted = buffer.len() - filled;
            if !self.decoder.is_finished() && self.decoder.can_collect() < wanted {
                let strategy = BlockDecodingStrategy::UptoBytes(wanted);
                let decoded = self.decoder.decode_blocks(&mut self.file, strategy);
                decoded.map_err(|error| broken(&self.digest, error.to_string()))?;
            }
            let read = self.decoder.read(&mut buffer[filled..]);
            filled += read.map_err(|error| broken(&self.digest, error.to_string()))?;
            self.within = !self.decoder.is_finished() || self.decoder.can_collect() > 0;
        }
        Ok(filled)
    }

    /// Begins the next frame; says whether there is one.
    fn begin(&mut self) -> Result<bool, Error> {
        loop {
            let more = self.file.fill_buf().map(|bytes| !bytes.is_empty());
            if !more.map_err(|error| broken(&self.digest, error.to_string()))? {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.file) {
                Ok(()) => {
                    self.within = true;
                    return Ok(true);
                }
                // Tables of contents lie in frames that decoders pass over.
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.file).take(length), &mut io::sink());
                    if skipped.map_err(|error| broken(&self.digest, error.to_string()))? != length {
                        return Err(broken(&self.digest, "it ends within a frame"));
                    }
                }
                Err(error) => return Err(broken(&self.digest, error.to_string())),
            }
        }
    }
}

impl std::fmt::Debug for Inflated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflated")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The largest layer that is unpacked: a few bytes can stand for any number of zeros.
const LARGEST: u64 = 1 << 40;
const BUFFER: usize = 1 << 20;

fn broken(digest: &Digest, reason: impl Into<String>) -> Error {
    ErrorKind::Layer {
        digest: *digest,
        reason: reason.into(),
    }
    .into()
}
