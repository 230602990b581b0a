//! Where bytes come from: registries, or what tests put in their place.

use std::future::Future;
use std::ops::Range;

use crate::net::{Piece, Sink};
use crate::oci::{Answered, Client, Descriptor, Digest, Error, Part, PartAttempts, Repository};

/// Something that can be asked for blobs and for parts of them.
pub(super) trait Source: Clone + Send + Sync + 'static {
    /// Bytes that arrive.
    type Body: Body;
    /// What is remembered from one attempt to the next.
    type Attempts: Default + Send;

    /// Asks once for a blob, or for a range of it. The body of the answer may go into a sink.
    fn part(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        range: Option<&Range<u64>>,
        sink: Option<Sink>,
    ) -> impl Future<Output = Result<Answered<Self::Body>, Error>> + Send;

    /// Waits before the next attempt, or gives the error back if there is none.
    fn pause(
        &self,
        attempts: &mut Self::Attempts,
        error: Error,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Hears that the bytes of a blob are wrong; says whether others can be asked for it instead.
    fn distrust(&self, repository: &Repository, blob: Digest, found: Digest) -> bool {
        let _ = (repository, blob, found);
        false
    }
}

/// Bytes that arrive; dropping it stops the transfer.
pub(super) trait Body: Send + 'static {
    /// Returns the offsets of the bytes that come.
    fn covers(&self) -> &Range<u64>;

    /// Returns whether it is the whole blob, although a part may have been asked for.
    fn is_whole(&self) -> bool;

    /// Returns the host that sends it.
    fn host(&self) -> &str;

    /// Returns the next bytes, or nothing when all that are covered have come.
    fn piece(&mut self) -> impl Future<Output = Result<Option<Piece>, Error>> + Send;
}

impl Source for Client {
    type Body = Part;
    type Attempts = PartAttempts;

    fn part(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        range: Option<&Range<u64>>,
        sink: Option<Sink>,
    ) -> impl Future<Output = Result<Answered<Part>, Error>> + Send {
        Client::part(self, repository, blob, range, sink)
    }

    fn pause(
        &self,
        attempts: &mut PartAttempts,
        error: Error,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        Client::pause(self, attempts, error)
    }

    fn distrust(&self, repository: &Repository, blob: Digest, found: Digest) -> bool {
        Client::distrust(self, repository, blob, found)
    }
}

impl Body for Part {
    fn covers(&self) -> &Range<u64> {
        Part::covers(self)
    }

    fn is_whole(&self) -> bool {
        Part::is_whole(self)
    }

    fn host(&self) -> &str {
        Part::host(self)
    }

    fn piece(&mut self) -> impl Future<Output = Result<Option<Piece>, Error>> + Send {
        Part::piece(self)
    }
}
