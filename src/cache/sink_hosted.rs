//! A file that the launcher fills and hashes.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::writer::Disk;
use crate::oci::Digest;

/// What stands between the component and the file; dropped, nothing more is written.
pub(super) struct Sink(shipgate_hosted::Sink);

impl Sink {
    /// Opens one on a file that is there, and of which these parts are. Where the launcher can't, nothing comes
    /// back, and all is done in here.
    pub(super) fn open(
        path: &Path,
        size: u64,
        there: impl Iterator<Item = Range<u64>>,
        disk: Disk,
    ) -> Option<Self> {
        let there: Vec<_> = there.map(|range| (range.start, range.end)).collect();
        let path = std::path::absolute(path).ok()?;
        let sink = shipgate_hosted::Sink::open(path.to_str()?, size, &there)?;
        if disk == Disk::Later {
            sink.put_off();
        }
        Some(Self(sink))
    }

    /// Returns what names it in a request.
    pub(super) fn ticket(&self) -> String {
        self.0.ticket()
    }

    /// Writes bytes at their place, but those that are there already.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(offset, bytes)
    }

    /// Returns the digest of the whole once it is known, and on disk if that is waited for.
    pub(super) async fn digest(&self) -> io::Result<Digest> {
        loop {
            if let Some(digest) = self.0.digest() {
                return digest.map(Digest::from_bytes);
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The others go on meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(1);
