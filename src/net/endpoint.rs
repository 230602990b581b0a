//! Whom a connection is with.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::authority::authority;

/// A host and port, and the address behind them once known.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The name or literal address as it stands in the URL, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The socket address that was used or tried.
    pub address: Option<SocketAddr>,
    /// What stands between, in words: the address is the one of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

impl Endpoint {
    pub(super) fn new(host: &str, port: u16) -> Box<Self> {
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Box::new(Self {
            host,
            port,
            address: None,
            route: None,
        })
    }

    pub(super) fn by(mut self: Box<Self>, route: Option<String>) -> Box<Self> {
        self.route = route;
        self
    }

    pub(super) fn at(mut self: Box<Self>, address: Option<SocketAddr>) -> Box<Self> {
        self.address = address;
        self
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))?;
        match (self.address, &self.route) {
            (Some(address), Some(route)) => write!(f, " ({address}, {route})"),
            (None, Some(route)) => write!(f, " ({route})"),
            // A literal address says it all by itself.
            (Some(address), None) if address.ip().to_string() != self.host => {
                write!(f, " ({address})")
            }
            _ => Ok(()),
        }
    }
}
