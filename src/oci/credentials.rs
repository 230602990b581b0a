//! Who we are to which registry: given credentials, docker's config file and its helpers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use super::docker_config::DockerConfig;
use super::error::Login;
use super::reference::api_host;

/// A string that no output shows.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides a string.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// Returns the string; for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What proves to a registry who asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token for the registry's token service.
    IdentityToken(Secret),
    /// A bearer token that the registry takes as it is.
    RegistryToken(Secret),
}

/// A credential, and where it came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Found {
    /// The credential.
    pub credential: Credential,
    /// Where from, for people, for instance `docker config (auths)`.
    pub origin: String,
}

impl Found {
    /// Returns the facts that an error may show.
    #[must_use]
    pub fn login(&self) -> Login {
        let username = match &self.credential {
            Credential::Basic { username, .. } => Some(username.clone()),
            _ => None,
        };
        Login::With {
            username,
            origin: self.origin.clone(),
        }
    }
}

/// The outcome of a look-up: at most one credential, and what should be said about the way to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lookup {
    /// The credential, or nothing for an anonymous request.
    pub found: Option<Found>,
    /// A helper that is missing or failed: the request goes on without credentials.
    pub warning: Option<String>,
}

/// All credentials of a run. Each is for one registry host and is never sent to another.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    given: HashMap<String, Credential>,
    docker: DockerConfig,
    helpers: Arc<dyn HelperRunner>,
    /// One look-up a host and run: helpers may be slow, and may ask the user.
    known: Mutex<HashMap<String, Arc<OnceCell<Lookup>>>>,
}

impl Credentials {
    /// Has no credentials for any registry.
    #[must_use]
    pub fn none() -> Self {
        Self::new([], DockerConfig::default(), Arc::new(NoHelpers))
    }

    /// Has the given credentials by registry host, and for all other hosts those of a docker config.
    pub fn new(
        given: impl IntoIterator<Item = (String, Credential)>,
        docker: DockerConfig,
        helpers: Arc<dyn HelperRunner>,
    ) -> Self {
        let given = given
            .into_iter()
            .map(|(host, credential)| (api_host(&host).to_ascii_lowercase(), credential))
            .collect();
        Self(Arc::new(Inner {
            given,
            docker,
            helpers,
            known: Mutex::default(),
        }))
    }

    /// Returns the helper that would be asked for a registry host, and whether it is known to have
    /// a login for it.
    #[must_use]
    pub fn helper(&self, registry: &str) -> Option<(&str, bool)> {
        let host = api_host(registry).to_ascii_lowercase();
        if self.0.given.contains_key(&host) {
            return None;
        }
        self.0.docker.helper(&host)
    }

    /// Returns the credential for a registry host, asking a helper at most once.
    pub async fn lookup(&self, registry: &str) -> Lookup {
        let host = api_host(registry).to_ascii_lowercase();
        if let Some(credential) = self.0.given.get(&host) {
            let found = Found {
                credential: credential.clone(),
                origin: "the pipeline".into(),
            };
            return Lookup {
                found: Some(found),
                warning: None,
            };
        }
        let cell = {
            let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(host.clone()).or_default().clone()
        };
        cell.get_or_init(|| self.0.docker.lookup(&host, &*self.0.helpers))
            .await
            .clone()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.0.given.keys().collect();
        f.debug_struct("Credentials")
            .field("given", &hosts)
            .finish_non_exhaustive()
    }
}

/// Runs `docker-credential-<name> get`.
pub trait HelperRunner: Send + Sync {
    /// Gives the helper a server's address and returns what it prints.
    fn run<'a>(
        &'a self,
        helper: &'a str,
        server: &'a str,
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>>;
}

/// What a helper did.
#[derive(Clone)]
pub struct HelperOutput {
    /// Whether it ended with success.
    pub success: bool,
    /// What it wrote to its standard output, at most 64 KiB. May hold a password.
    pub stdout: Vec<u8>,
}

/// A helper that gave no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HelperError {
    /// It printed something else than the protocol says, or an error.
    #[error("it failed{}", .said.as_ref().map(|said| format!(" ({said})")).unwrap_or_default())]
    Failed {
        /// What it said, if it is known to hold no secret.
        said: Option<String>,
    },
    /// There is no such program.
    #[error("docker-credential-{name} is not installed")]
    Missing {
        /// The helper's name.
        name: String,
    },
    /// The name could be a path or an option.
    #[error("its name is not made of letters, digits and `-`")]
    Name,
    /// It took longer than it may.
    #[error("it gave no answer within {seconds} s")]
    Timeout {
        /// The bound in seconds.
        seconds: u64,
    },
    /// Programs can't be run here.
    #[error("programs can't be run inside the sandbox")]
    Unsupported,
}

/// Runs nothing: for runs that were not granted any helper.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHelpers;

impl HelperRunner for NoHelpers {
    fn run<'a>(
        &'a self,
        _helper: &'a str,
        _server: &'a str,
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        Box::pin(async { Err(HelperError::Unsupported) })
    }
}
