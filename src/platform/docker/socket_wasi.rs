//! No Unix sockets: neither WASI nor Windows has them.

use http::{Method, StatusCode};
use serde::de::DeserializeOwned;

use super::{Address, Body, Error, ErrorKind};

/// An answer that never comes.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
}

/// Refuses.
pub(super) async fn send(_: &Address, _: Method, _: &str, body: Body) -> Result<Answer, Error> {
    if let Body::Pieces { archive, length } = body {
        drop((archive, length));
    }
    Err(ErrorKind::Unsupported.into())
}

impl Answer {
    pub(super) async fn checked(self) -> Result<Self, Error> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) async fn text(self) -> Result<String, Error> {
        Err(ErrorKind::Unsupported.into())
    }

    pub(super) async fn follow(self) -> Result<(), Error> {
        Err(ErrorKind::Unsupported.into())
    }
}
