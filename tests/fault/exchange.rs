//! What came in and what went out.

use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When the request was read, since the proxy was started.
    pub at: Duration,
    /// The number of the connection, from 1, counted over both addresses.
    pub connection: u64,
    /// Whether it came to the storage address.
    pub storage: bool,
    /// The request.
    pub request: Seen,
    /// The status of the answer, once its head was sent.
    pub status: Option<u16>,
    /// Bytes of the body that were handed to the system; what was not yet read by the client
    /// when a connection broke counts too.
    pub sent: u64,
    /// How it ended, once it has.
    pub ending: Option<Ending>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// All was sent.
    Complete,
    /// The connection was closed on purpose before the end.
    Cut,
    /// The client went away.
    Gone,
}

impl Seen {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Exchange {
    /// Says whether a part was asked for.
    pub fn has_range(&self) -> bool {
        self.request.header("range").is_some()
    }

    /// Says whether a blob was asked for.
    pub fn is_blob(&self) -> bool {
        self.request.target.contains("/blobs/")
    }

    /// Returns method and path, as in `GET /v2/`.
    pub fn line(&self) -> String {
        format!("{} {}", self.request.method, self.request.path())
    }
}
