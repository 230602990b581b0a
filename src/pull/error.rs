//! What keeps a blob from the cache.

use std::sync::Arc;

use crate::cache;
use crate::failure::{Explain, Fact};
use crate::oci;

/// A pull that failed. Clones share the cause: several images may wait for the same blob.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error(transparent)]
    Cache(Arc<cache::Error>),
    /// The runtime stopped a transfer.
    #[error("the transfer was stopped")]
    Cancelled,
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(Arc<oci::Error>),
}

impl From<cache::Error> for Error {
    fn from(error: cache::Error) -> Self {
        Self::Cache(Arc::new(error))
    }
}

impl From<oci::Error> for Error {
    fn from(error: oci::Error) -> Self {
        Self::Registry(Arc::new(error))
    }
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Cache(error) => error.hint(),
            Self::Cancelled => None,
            Self::Registry(error) => error.hint(),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Cache(error) => error.facts(),
            Self::Cancelled => Vec::new(),
            Self::Registry(error) => error.facts(),
        }
    }
}
