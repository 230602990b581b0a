//! A probe asks a service one question once, and says what it found.
//!
//! May not judge: what the answers of many rounds come to is [`crate::gate`]'s matter. Every
//! request goes through [`crate::net`], so what a probe may reach is a grant.
//!
//! What an answer counts as is the same for every kind of probe:
//!
//! | found | counts as |
//! |---|---|
//! | what was asked for | good |
//! | another answer, a refusal, a reset, a time-out, no valid HTTP or TLS, a certificate that is expired or for another name | bad |
//! | a name that does not resolve, for whatever reason | unknown |
//! | no grant, a request that can't be made | unknown |
//! | a certificate by an authority that is not trusted here, or not valid yet | unknown |
//! | a body that is longer than `max-body` or encoded, if what was asked for may be in the rest | unknown |
//!
//! A name that does not resolve is unknown even if the name server says that there is none: the
//! question never reached the service, and a wrong name or the wrong side of a split DNS are
//! likelier than a service that took its own name away. That nothing answers at a known address is
//! bad, and whether it was our own network that kept the answer away is what a gate's control
//! probe is for.

mod answer;
mod expect;
mod http;
mod json;
mod phrase;
mod redirect;
mod round;
mod tcp;
#[cfg(test)]
pub(crate) mod testing;

pub use self::answer::Answer;
pub use self::expect::{BodyTest, InvalidStatus, Statuses};
pub use self::http::{HttpProbe, HttpSettings, InvalidProbe};
pub use self::json::{Comparison, InvalidJsonTest, JsonTest};
pub use self::redirect::Redirects;
pub use self::round::{Asked, ask_all};
pub use self::tcp::{InvalidAddress, TcpProbe};
use crate::net;

/// How long a probe waits for its answer if the document does not say.
pub const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A question to a service.
#[derive(Clone, Debug)]
pub enum Probe {
    /// An HTTP request.
    Http(Box<HttpProbe>),
    /// A TCP connection.
    Tcp(TcpProbe),
}

impl Probe {
    /// Asks once.
    pub async fn ask(&self, client: &net::Client) -> Answer {
        match self {
            Self::Http(probe) => probe.ask(client).await,
            Self::Tcp(probe) => probe.ask(client).await,
        }
    }

    /// Returns the hosts and ports that it asks, without those that a redirect may lead to.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(String, u16)> {
        vec![match self {
            Self::Http(probe) => probe.endpoint(),
            Self::Tcp(probe) => probe.endpoint(),
        }]
    }

    /// Returns what is asked, in one phrase without secrets.
    #[must_use]
    pub fn question(&self) -> String {
        match self {
            Self::Http(probe) => probe.question(),
            Self::Tcp(probe) => probe.question(),
        }
    }
}
