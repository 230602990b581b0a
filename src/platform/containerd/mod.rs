//! containerd, through its own client `ctr`.

#[cfg_attr(target_family = "wasm", path = "client_wasi.rs")]
#[cfg_attr(not(target_family = "wasm"), path = "client_native.rs")]
mod client;

use std::path::PathBuf;

pub use self::client::import;
use crate::failure::{Explain, Fact};

/// Where images are imported to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The namespace: Kubernetes looks into `k8s.io`.
    pub namespace: String,
    /// The socket, where it is not the usual one.
    pub address: Option<PathBuf>,
}

/// The program that is run.
pub const PROGRAM: &str = "ctr";

/// An import that failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// The archive can't be made.
    #[error("the archive for containerd can't be made: {reason}")]
    Archive {
        /// Why.
        reason: String,
    },
    /// The program says no.
    #[error("ctr says: {message}")]
    Failed {
        /// Its own words.
        message: String,
    },
    /// The program is not on the search path.
    #[error("`ctr` is not here")]
    Missing,
    /// Nothing starts another program here.
    #[error("no other program runs here")]
    Unsupported,
}

impl Explain for Error {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Archive { .. } => return None,
            Self::Failed { .. } => {
                "see that containerd runs, that this user may use its socket, and that `address` names it".into()
            }
            Self::Missing => {
                "install containerd's client, or use `oci-archive` and import it elsewhere".into()
            }
            Self::Unsupported => "use `oci-archive`, and import it where containerd is".into(),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        Vec::new()
    }
}
