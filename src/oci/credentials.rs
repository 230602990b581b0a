//! Who we are to which registry: given credentials, and the places to look for others.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::auth_file::AuthFile;
use super::aws::Aws;
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
    /// Whether the run chose it by itself: what is public is then fetched without it if it is refused.
    pub automatic: bool,
    /// When it has to be asked for anew.
    pub expires: Option<Instant>,
}

impl Found {
    /// Makes a credential that somebody chose and that lasts for the run.
    pub fn new(credential: Credential, origin: impl Into<String>) -> Self {
        Self {
            credential,
            origin: origin.into(),
            automatic: false,
            expires: None,
        }
    }

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
    /// What is wrong with a source: the request goes on without it.
    pub warnings: Vec<String>,
    /// Why a source that is for this registry gave nothing. What is public may be had without.
    pub refusal: Option<Refusal>,
}

/// A login that should be there, and is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// The edit or the command that helps.
    pub hint: String,
}

impl Lookup {
    /// Returns the outcome of a source that has this credential.
    #[must_use]
    pub fn of(found: Found) -> Self {
        Self {
            found: Some(found),
            ..Self::default()
        }
    }
}

/// A place to look for credentials.
pub enum Source {
    /// AWS, for its registries.
    Aws(Aws),
    /// A file as `docker login` and its like write it.
    File(AuthFile),
    /// A token that is for the registries of one CI system.
    Token(HostToken),
}

impl Source {
    async fn lookup(&self, host: &str, path: Option<&str>) -> Lookup {
        match self {
            Self::Aws(aws) => aws.lookup(host).await,
            Self::File(file) => file.lookup(host, path).await,
            Self::Token(token) => token.lookup(host),
        }
    }

    /// Adds what a look-up for a host would touch, and returns whether no other source would be asked.
    fn needs(&self, host: &str, needs: &mut Vec<Need>) -> bool {
        match self {
            Self::Aws(aws) => aws.needs(host, needs),
            Self::File(file) => match file.helper(host) {
                Some((helper, certain)) => {
                    needs.push(Need::Helper {
                        name: helper.to_owned(),
                        certain,
                    });
                    false
                }
                None => file.has(host),
            },
            Self::Token(token) => {
                let is_for = token.is_for(host);
                if is_for {
                    let variables = token.variables.iter();
                    needs.extend(variables.map(|name| Need::Variable((*name).to_owned())));
                }
                is_for
            }
        }
    }
}

/// Something outside the process that a look-up may touch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// A file, if it is there.
    File(PathBuf),
    /// A connection.
    Host {
        /// The host's name or address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A credential helper.
    Helper {
        /// Its name, without `docker-credential-`.
        name: String,
        /// Whether it is known to have a login.
        certain: bool,
    },
    /// Another program.
    Program(String),
    /// A variable.
    Variable(String),
}

/// A token that a CI system gives a job, for its own registries.
#[derive(Clone)]
pub struct HostToken {
    /// Where it is from, for people: the variable's name.
    pub origin: &'static str,
    /// The registries that it is for, as written in references.
    pub hosts: Vec<String>,
    /// The user name that stands before it.
    pub username: String,
    /// The token.
    pub token: Secret,
    /// The variables that all of this was read from.
    pub variables: &'static [&'static str],
}

impl HostToken {
    fn is_for(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| canonical(own) == host)
    }

    fn lookup(&self, host: &str) -> Lookup {
        if !self.is_for(host) {
            return Lookup::default();
        }
        let credential = Credential::Basic {
            username: self.username.clone(),
            password: self.token.clone(),
        };
        Lookup::of(Found {
            automatic: true,
            ..Found::new(credential, self.origin)
        })
    }
}

/// All credentials of a run. Each is for one registry host and is never sent to another.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    given: HashMap<String, Credential>,
    sources: Vec<Source>,
    /// What was said already: each host and scope looks up for itself.
    warned: Mutex<HashSet<String>>,
    /// Which logins satisfied which registries.
    used: Mutex<BTreeSet<(String, Login)>>,
    learned: Box<Listener>,
}

/// Told of a secret, and of the user name that stands before it.
type Listener = dyn Fn(&Secret, Option<&str>) + Send + Sync;

impl Credentials {
    /// Has no credentials for any registry.
    #[must_use]
    pub fn none() -> Self {
        Self::new([], Vec::new())
    }

    /// Has the given credentials by registry host, and for all other hosts those of the first source
    /// that has one.
    pub fn new(
        given: impl IntoIterator<Item = (String, Credential)>,
        sources: Vec<Source>,
    ) -> Self {
        Self::heard(given, sources, |_, _| ())
    }

    /// As [`Credentials::new`], and tells of every secret that is about to be used, with the user name
    /// that stands before it, so that it can be masked.
    pub fn heard(
        given: impl IntoIterator<Item = (String, Credential)>,
        sources: Vec<Source>,
        learned: impl Fn(&Secret, Option<&str>) + Send + Sync + 'static,
    ) -> Self {
        let given = given
            .into_iter()
            .map(|(host, credential)| (canonical(&host), credential))
            .collect();
        Self(Arc::new(Inner {
            given,
            sources,
            warned: Mutex::default(),
            used: Mutex::default(),
            learned: Box::new(learned),
        }))
    }

    /// Returns what a look-up for a registry may touch outside the process.
    #[must_use]
    pub fn needs(&self, registry: &str) -> Vec<Need> {
        let host = canonical(registry);
        let mut needs = Vec::new();
        if !self.0.given.contains_key(&host) {
            let mut sources = self.0.sources.iter();
            // Stops at the one behind which no other is asked.
            let _ = sources.any(|source| source.needs(&host, &mut needs));
        }
        needs
    }

    /// Says whether the logins of a registry are not the same for all of its repositories.
    pub(super) fn distinguishes(&self, registry: &str) -> bool {
        let host = canonical(registry);
        let given = self.0.given.contains_key(&host);
        let mut sources = self.0.sources.iter();
        !given
            && sources
                .any(|source| matches!(source, Source::File(file) if file.distinguishes(&host)))
    }

    /// Returns the credential for a registry host, or for one repository of it.
    pub async fn lookup(&self, registry: &str, path: Option<&str>) -> Lookup {
        let host = canonical(registry);
        if let Some(credential) = self.0.given.get(&host) {
            return self.heed(Lookup::of(Found::new(credential.clone(), "the pipeline")));
        }
        let mut outcome = Lookup::default();
        for source in &self.0.sources {
            let Lookup {
                found,
                warnings,
                refusal,
            } = source.lookup(&host, path).await;
            outcome.warnings.extend(warnings);
            if found.is_some() {
                outcome.found = found;
                outcome.refusal = None;
                break;
            }
            outcome.refusal = outcome.refusal.or(refusal);
            if matches!(source, Source::Aws(aws) if aws.is_named(&host)) {
                break;
            }
        }
        self.heed(outcome)
    }

    /// Tells of a secret that stems from a credential, such as a token for it.
    pub fn learn(&self, secret: &Secret) {
        (self.0.learned)(secret, None);
    }

    /// Remembers which login satisfied a registry, and returns whether that is news.
    pub(super) fn note(&self, registry: &str, login: &Login) -> bool {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.insert((registry.to_owned(), login.clone()))
    }

    /// Returns which logins satisfied which registries so far, in the order of the registries.
    #[must_use]
    pub fn used(&self) -> Vec<(String, Login)> {
        let used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.iter().cloned().collect()
    }

    fn heed(&self, mut outcome: Lookup) -> Lookup {
        let mut warned = self.0.warned.lock().unwrap_or_else(PoisonError::into_inner);
        outcome
            .warnings
            .retain(|warning| warned.insert(warning.clone()));
        drop(warned);
        match outcome.found.as_ref().map(|found| &found.credential) {
            Some(Credential::Basic { username, password }) => {
                (self.0.learned)(password, Some(username));
            }
            Some(Credential::IdentityToken(token) | Credential::RegistryToken(token)) => {
                self.learn(token);
            }
            None => {}
        }
        outcome
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.0.given.keys().collect();
        f.debug_struct("Credentials")
            .field("given", &hosts)
            .field("sources", &self.0.sources.len())
            .finish_non_exhaustive()
    }
}

/// Returns the one spelling of a registry's host: that of its API, in lower case, without the port
/// of https.
pub(super) fn canonical(registry: &str) -> String {
    let host = registry.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    api_host(host).to_owned()
}

/// Runs `docker-credential-<name> get`.
pub trait HelperRunner: Send + Sync {
    /// Gives the helper a server's address and returns what it prints.
    fn run<'a>(
        &'a self,
        helper: &'a str,
        server: &'a str,
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>>;

    /// Runs another program that prints a login: its path or name, and its arguments.
    fn program<'a>(
        &'a self,
        words: &'a [String],
    ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
        let _ = words;
        Box::pin(async { Err(HelperError::Unsupported) })
    }
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
    /// There is no such program.
    #[error("it is not there")]
    NoProgram,
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
