//! Whose credentials a request was made with.

use std::fmt;

/// Whose credentials a request carried.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Login {
    /// Nobody's.
    Anonymous,
    /// Somebody's.
    With {
        /// The account, if it has a name.
        username: Option<String>,
        /// Where the credentials came from, for instance `docker config (auths)`.
        origin: String,
    },
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("no credentials were given"),
            Self::With {
                username: Some(username),
                origin,
            } => write!(f, "`{username}` from {origin} was used"),
            Self::With {
                username: None,
                origin,
            } => write!(f, "a token from {origin} was used"),
        }
    }
}
