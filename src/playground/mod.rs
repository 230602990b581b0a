//! Everything that a first run needs, on loopback: a registry with signed images, a service to watch, a place for notices.
//!
//! It is what `playground: true` starts, and what the tests use. The keys of its signatures live as long as it does.
//! May not know the document or the engine.

mod http;
mod layer;
pub mod registry;
pub mod seed;
pub mod service;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use self::http::Exchange;
use self::registry::Registry;
use self::seed::SeedError;
use self::service::Service;
use crate::failure::{Explain, Fact};
use crate::trust::sign::SigningKey;

/// What a playground is made of.
pub struct Config {
    /// A folder for the public key, of this playground alone. It is made if it is missing, and removed unless it
    /// holds something else by then.
    pub folder: PathBuf,
    /// The registry.
    pub registry: registry::Config,
    /// The service.
    pub service: service::Config,
    /// When the seeded signatures say that they were made.
    pub signed_at: Timestamp,
}

/// A running playground. It stops when it is dropped.
pub struct Playground {
    registry: Registry,
    service: Service,
    key: KeyFile,
}

impl Playground {
    /// Starts registry and service on free ports of 127.0.0.1, with the seeded images in the registry.
    ///
    /// # Errors
    ///
    /// Listening may be refused (on WASI it always is), and the folder may not be writable.
    pub async fn start(config: Config) -> Result<Self, PlaygroundError> {
        let registry = Registry::start(config.registry)
            .await
            .map_err(PlaygroundError::Listen)?;
        let trusted = SigningKey::generate().map_err(SeedError::Sign)?;
        let stranger = SigningKey::generate().map_err(SeedError::Sign)?;
        let image = seed::seed(&registry, &trusted, &stranger, config.signed_at)?;
        let behaviour = service::Config {
            image: Some(image),
            ..config.service
        };
        let service = Service::start(&behaviour).await;
        let service = service.map_err(PlaygroundError::Listen)?;
        let key = KeyFile::create(config.folder, &trusted.public_pem())?;
        Ok(Self {
            registry,
            service,
            key,
        })
    }

    /// Returns what a document may refer to.
    #[must_use]
    pub fn names(&self) -> Names {
        let service = format!("http://{}", self.service.address());
        Names {
            registry: self.registry.address().to_string(),
            service_address: self.service.address().to_string(),
            webhook: format!("{service}/hook"),
            service,
            key: self.key.path.clone(),
        }
    }

    /// Returns the registry, for what tests ask of it.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the service, for what tests ask of it.
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.service
    }

    /// Lets requests under way finish, for at most a second, stops, and removes the key.
    pub async fn stop(self) {
        let Self {
            registry,
            service,
            key,
        } = self;
        tokio::join!(registry.stop(), service.stop());
        drop(key);
    }
}

/// What a document may refer to, as `${playground.…}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Names {
    /// The registry as in image references: `127.0.0.1:PORT`.
    pub registry: String,
    /// The service's address as a URL: `http://127.0.0.1:PORT`.
    pub service: String,
    /// The service's address for TCP probes: `127.0.0.1:PORT`.
    pub service_address: String,
    /// The URL that takes notices.
    pub webhook: String,
    /// The file with the public key (PEM) that the signed image verifies with.
    pub key: PathBuf,
}

/// A playground that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PlaygroundError {
    /// The public key could not be written.
    #[error("cannot write the playground's public key to {}", path.display())]
    Key {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing can be served on loopback.
    #[error("the playground cannot listen on 127.0.0.1")]
    Listen(#[source] io::Error),
    /// The registry could not be filled.
    #[error("the playground's images could not be made")]
    Seed(#[from] SeedError),
}

impl Explain for PlaygroundError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Key { .. } => Some("name a writable folder for temporary files with TMPDIR".into()),
            Self::Listen(_) if cfg!(target_family = "wasm") => Some(
                "the playground needs a native run: a component cannot listen; leave `playground: true` out, or run `shipgate` itself".into(),
            ),
            Self::Listen(_) => {
                Some("see whether a sandbox or a firewall forbids listening on 127.0.0.1".into())
            }
            Self::Seed(_) => None,
        }
    }

    fn facts(&self) -> Vec<Fact> {
        match self {
            Self::Key { path, .. } => vec![Fact::new("path", path.display())],
            Self::Listen(_) => vec![Fact::new("address", "127.0.0.1")],
            Self::Seed(_) => Vec::new(),
        }
    }
}

/// The file with the public key, and its folder; both go when this does.
struct KeyFile {
    folder: PathBuf,
    path: PathBuf,
}

impl KeyFile {
    fn create(folder: PathBuf, key: &str) -> Result<Self, PlaygroundError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PlaygroundError::Key { path, source }
        };
        std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let path = folder.join(KEY);
        let file = Self { folder, path };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file.path)
            .and_then(|mut open| open.write_all(key.as_bytes()))
            .map_err(failed(&file.path))?;
        Ok(file)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        forget(&self.folder);
    }
}

/// Removes what a playground keeps in its folder, and the folder unless it holds something else.
pub fn forget(folder: &Path) {
    // A leftover harms nobody, and there is nobody to tell.
    let _ = std::fs::remove_file(folder.join(KEY));
    let _ = std::fs::remove_dir(folder);
}

/// The name of the file with the public key.
const KEY: &str = "playground.pub";
