//! The playground of a document: our own, or the launcher's.

use std::path::PathBuf;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::PlaygroundNames;
use crate::playground::{Config, Playground, registry, service};

/// A playground that a run may use.
pub enum Stage {
    /// The launcher's, which stops it: a component can't listen.
    Hosted(PlaygroundNames),
    /// Our own.
    Own(Playground),
}

impl Stage {
    /// Returns what the document may refer to.
    #[must_use]
    pub fn names(&self) -> PlaygroundNames {
        match self {
            Self::Hosted(names) => names.clone(),
            Self::Own(playground) => {
                let names = playground.names();
                PlaygroundNames {
                    registry: names.registry,
                    service: names.service,
                    service_address: names.service_address,
                    key: names.key.display().to_string(),
                    webhook: names.webhook,
                }
            }
        }
    }

    /// Stops it if it is ours.
    pub async fn stop(self) {
        if let Self::Own(playground) = self {
            playground.stop().await;
        }
    }
}

/// Starts a playground whose public key lies below a folder.
///
/// # Errors
/// Nothing can be served on loopback, or the folder can't be written.
pub async fn start(folder: PathBuf, clock: &Clock) -> Result<Playground, Failure> {
    let config = Config {
        folder,
        registry: registry::Config::default(),
        service: service::Config::default(),
        signed_at: clock.now(),
    };
    Playground::start(config).await.map_err(|error| {
        Failure::explained(
            ExitCode::Unexpected,
            "the playground could not be started",
            &error,
        )
    })
}
