//! What a client of registries is made of, and what it tells while it works.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::hosts::Hosts;
use super::login::Login;
use super::mirror::Mirrors;
use super::quota::Quota;
use super::retry::RetryPolicy;
use crate::clock::Clock;
use crate::net;

/// What a transport is made of.
#[derive(Clone)]
pub struct Config {
    /// The HTTP client; its log counts every request.
    pub http: net::Client,
    /// The credentials of the run.
    pub credentials: Credentials,
    /// Registries, as written in references, that are spoken to without TLS (`true`) or with it
    /// (`false`). Of those that are not named, loopback addresses are spoken to without.
    pub plain_http: BTreeMap<String, bool>,
    /// The hosts that registries may name, besides those of the table.
    pub hosts: Hosts,
    /// Who else may be asked for what registries have.
    pub mirrors: Mirrors,
    /// The wall clock, for dates in `Retry-After`.
    pub clock: Clock,
    /// How often and how patiently requests are repeated.
    pub retry: RetryPolicy,
    /// How many requests to one host may be under way at once, whatever they are for.
    pub requests_per_host: usize,
    /// Told of waits and warnings.
    pub notices: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl Config {
    /// Makes a configuration without credentials, with the default patience and no listener.
    #[must_use]
    pub fn new(http: net::Client, clock: Clock) -> Self {
        Self {
            http,
            credentials: Credentials::none(),
            plain_http: BTreeMap::new(),
            hosts: Hosts::default(),
            mirrors: Mirrors::default(),
            clock,
            retry: RetryPolicy::default(),
            requests_per_host: REQUESTS_PER_HOST,
            notices: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("credentials", &self.credentials)
            .field("plain_http", &self.plain_http)
            .field("retry", &self.retry)
            .field("requests_per_host", &self.requests_per_host)
            .finish_non_exhaustive()
    }
}

/// Something that the reader of the run should know while it goes on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A registry asked who we are, and was satisfied; told once for each registry and login.
    Login {
        /// The registry as written in references.
        registry: String,
        /// Who we were.
        login: Login,
    },
    /// A host allows few further requests. Told once a host.
    QuotaLow {
        /// The host, with its port.
        host: String,
        /// What it said.
        quota: Quota,
    },
    /// A request failed and is sent again after a pause. Told once, however many requests to the
    /// host wait for the same reason.
    Retrying {
        /// The host that was asked.
        host: String,
        /// Why, in one sentence.
        reason: String,
        /// The pause.
        wait: Duration,
        /// Whether all requests to the host wait, because it limits their rate or named a time.
        shared: bool,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The most attempts that there will be, if none of them is told when to come again.
        of: u32,
    },
    /// A host sends nothing. Told when a second connection is tried, and every 30 s from then on.
    Silent {
        /// The host, with its port.
        host: String,
        /// The address that it has, once there is a connection.
        address: Option<SocketAddr>,
        /// What it was asked for.
        what: String,
        /// How long nothing came.
        lasted: Duration,
        /// How long nothing may come before the request has failed.
        patience: Duration,
    },
    /// Something is not as it should be, and nothing fails because of it.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// As many connections as the client keeps open to a host between requests.
const REQUESTS_PER_HOST: usize = 32;
