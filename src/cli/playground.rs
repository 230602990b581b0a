//! Starts the playground of a document.

use std::path::PathBuf;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::playground::{Config, Playground, registry, service};

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
