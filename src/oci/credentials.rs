//! Who we are to which registry: given credentials, docker's config file and its helpers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::OnceCell;

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

/// Docker's `config.json`, as far as it is about credentials.
#[derive(Clone, Default)]
pub struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

impl DockerConfig {
    /// Parses the file's content.
    ///
    /// # Errors
    ///
    /// It is not JSON of the known form, or larger than 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, DockerConfigError> {
        if bytes.len() > LARGEST_CONFIG {
            return Err(DockerConfigError {
                reason: "it is larger than 1 MiB".into(),
            });
        }
        let file: ConfigFile =
            serde_json::from_slice(bytes).map_err(|error| DockerConfigError {
                // serde_json quotes values of the wrong type, which may be secret: only the place is told.
                reason: format!(
                    "line {} column {} is not as docker writes it",
                    error.line(),
                    error.column()
                ),
            })?;
        let by_host = |key: &String| host_of(key);
        Ok(Self {
            auths: file
                .auths
                .unwrap_or_default()
                .into_iter()
                .map(|(key, auth)| (by_host(&key), auth))
                .collect(),
            creds_store: file.creds_store.filter(|name| !name.is_empty()),
            cred_helpers: file
                .cred_helpers
                .unwrap_or_default()
                .into_iter()
                .map(|(key, name)| (by_host(&key), name))
                .collect(),
        })
    }

    async fn lookup(&self, host: &str, helpers: &dyn HelperRunner) -> Lookup {
        let mut warning = None;
        if let Some(helper) = self.cred_helpers.get(host).or(self.creds_store.as_ref()) {
            match ask(helpers, helper, host).await {
                Ok(Some(credential)) => {
                    let found = Found {
                        credential,
                        origin: format!("docker-credential-{helper}"),
                    };
                    return Lookup {
                        found: Some(found),
                        warning: None,
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    let helper: String = helper.chars().take(64).collect();
                    warning = Some(format!(
                        "can't ask the credential helper `{helper}` for {host}: {error}; going on without it"
                    ));
                }
            }
        }
        // A helper that knows nothing does not hide what `docker login` wrote before it was set up.
        match self.auths.get(host).map(Auth::credential) {
            Some(Ok(Some(credential))) => Lookup {
                found: Some(Found {
                    credential,
                    origin: "docker config (auths)".into(),
                }),
                warning,
            },
            Some(Err(reason)) => Lookup {
                found: None,
                warning: Some(format!(
                    "docker's config has an unusable entry for {host}: {reason}; going on without it"
                )),
            },
            Some(Ok(None)) | None => Lookup {
                found: None,
                warning,
            },
        }
    }
}

impl fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerConfig")
            .field("auths", &self.auths.keys().collect::<Vec<_>>())
            .field("creds_store", &self.creds_store)
            .field("cred_helpers", &self.cred_helpers)
            .finish()
    }
}

/// A docker config that can't be used; its values are not shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("docker's config.json can't be read: {reason}")]
pub struct DockerConfigError {
    /// What is wrong with it.
    pub reason: String,
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

const LARGEST_CONFIG: usize = 1024 * 1024;
/// The name under which docker keeps Docker Hub's credentials.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which helpers say that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
struct ConfigFile {
    auths: Option<BTreeMap<String, Auth>>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
    #[serde(rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Default, Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl Auth {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        let filled = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(Secret::new(token))));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(encoded) = filled(&self.auth) {
            let encoded = encoded.trim();
            let decoded = STANDARD
                .decode(encoded)
                .or_else(|_| STANDARD_NO_PAD.decode(encoded))
                .map_err(|_| "`auth` is not base64")?;
            let text = String::from_utf8(decoded).map_err(|_| "`auth` is not UTF-8")?;
            let (username, password) = text
                .split_once(':')
                .ok_or("`auth` has no `:` between name and password")?;
            // Docker pads old entries with NUL.
            return Ok(Some(basic(username, password.trim_end_matches('\0'))));
        }
        match (filled(&self.username), filled(&self.password)) {
            (Some(username), Some(password)) => Ok(Some(basic(&username, &password))),
            // Docker writes `{}` where a store has the rest.
            _ => Ok(None),
        }
    }
}

fn basic(username: &str, password: &str) -> Credential {
    Credential::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

/// Returns the API host that a key of the file means: with or without scheme, path and case.
fn host_of(key: &str) -> String {
    let key = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    let host = key.split('/').next().unwrap_or(key).to_ascii_lowercase();
    api_host(&host).to_owned()
}

async fn ask(
    helpers: &dyn HelperRunner,
    helper: &str,
    host: &str,
) -> Result<Option<Credential>, HelperError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }

    let named = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if helper.is_empty() || helper.len() > 64 || !helper.bytes().all(named) {
        return Err(HelperError::Name);
    }
    let server = if host == api_host("docker.io") {
        DOCKER_HUB_KEY
    } else {
        host
    };
    let output = helpers.run(helper, server).await?;
    if !output.success {
        // The protocol has no code for it, only these words.
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(HelperError::Failed {
            said: said
                .lines()
                .next()
                .map(|line| line.chars().take(120).collect()),
        });
    }
    let answer: Answer =
        serde_json::from_slice(&output.stdout).map_err(|_| HelperError::Failed { said: None })?;
    Ok(match answer {
        Answer { secret, .. } if secret.is_empty() => None,
        Answer { username, secret } if username == TOKEN_USER => {
            Some(Credential::IdentityToken(Secret::new(secret)))
        }
        Answer { username, secret } => Some(basic(&username, &secret)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    struct Scripted {
        asked: AtomicUsize,
        answer: Result<HelperOutput, HelperError>,
    }

    impl Scripted {
        fn new(success: bool, stdout: &str) -> Arc<Self> {
            Self::with(Ok(HelperOutput {
                success,
                stdout: stdout.into(),
            }))
        }

        fn with(answer: Result<HelperOutput, HelperError>) -> Arc<Self> {
            Arc::new(Self {
                asked: AtomicUsize::new(0),
                answer,
            })
        }
    }

    impl HelperRunner for Scripted {
        fn run<'a>(
            &'a self,
            _helper: &'a str,
            _server: &'a str,
        ) -> BoxFuture<'a, Result<HelperOutput, HelperError>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answer.clone();
            Box::pin(async move { answer })
        }
    }

    fn docker(config: &serde_json::Value, helpers: Arc<dyn HelperRunner>) -> Credentials {
        let config = DockerConfig::parse(config.to_string().as_bytes()).unwrap();
        Credentials::new([], config, helpers)
    }

    async fn found(credentials: &Credentials, host: &str) -> Option<Credential> {
        credentials
            .lookup(host)
            .await
            .found
            .map(|found| found.credential)
    }

    #[tokio::test]
    async fn keys_with_and_without_scheme_and_path() {
        let auth = |name: &str| json!({"auth": STANDARD.encode(format!("{name}:p:w"))});
        let credentials = docker(
            &json!({"auths": {
                "https://index.docker.io/v1/": auth("hub"),
                "ghcr.io": auth("ghcr"),
                "http://127.0.0.1:5000/v2/": auth("local"),
            }}),
            Arc::new(NoHelpers),
        );
        for (host, name) in [
            ("docker.io", "hub"),
            ("ghcr.io", "ghcr"),
            ("127.0.0.1:5000", "local"),
        ] {
            assert_eq!(
                found(&credentials, host).await,
                Some(basic(name, "p:w")),
                "{host}"
            );
        }
        for stranger in [
            "127.0.0.1",
            "127.0.0.1:5001",
            "io",
            "xghcr.io",
            "ghcr.io.evil",
        ] {
            assert_eq!(found(&credentials, stranger).await, None, "{stranger}");
        }
    }

    #[tokio::test]
    async fn every_form_of_entry() {
        let credentials = docker(
            &json!({"auths": {
                "a": {"username": "u", "password": "p"},
                "b": {"identitytoken": "i", "auth": "dTpw"},
                "c": {"registrytoken": "r"},
                "d": {},
                "e": {"auth": "!"},
            }}),
            Arc::new(NoHelpers),
        );
        assert_eq!(found(&credentials, "a").await, Some(basic("u", "p")));
        assert_eq!(
            found(&credentials, "b").await,
            Some(Credential::IdentityToken(Secret::new("i")))
        );
        assert_eq!(
            found(&credentials, "c").await,
            Some(Credential::RegistryToken(Secret::new("r")))
        );
        assert_eq!(credentials.lookup("d").await, Lookup::default());
        assert!(
            credentials
                .lookup("e")
                .await
                .warning
                .unwrap()
                .contains("not base64")
        );
    }

    #[tokio::test]
    async fn a_helper_wins_over_the_store_and_the_file_and_is_asked_once() {
        let helper = Scripted::new(
            true,
            r#"{"ServerURL":"a","Username":"<token>","Secret":"s3cret"}"#,
        );
        let credentials = docker(
            &json!({"credHelpers": {"a": "one"}, "credsStore": "two", "auths": {"a": {"auth": "dTpw"}}}),
            helper.clone(),
        );
        for _ in 0..3 {
            let lookup = credentials.lookup("a").await.found.unwrap();
            assert_eq!(lookup.origin, "docker-credential-one");
            assert_eq!(
                lookup.credential,
                Credential::IdentityToken(Secret::new("s3cret"))
            );
            assert!(!format!("{lookup:?}").contains("s3cret"));
        }
        assert_eq!(helper.asked.load(Ordering::Relaxed), 1);
        assert_eq!(
            credentials.lookup("b").await.found.unwrap().origin,
            "docker-credential-two"
        );
    }

    #[tokio::test]
    async fn a_missing_or_failing_helper_warns_and_goes_on() {
        let missing = Scripted::with(Err(HelperError::Missing { name: "x".into() }));
        let config = json!({"credsStore": "x", "auths": {"a": {"auth": "dTpw"}}});
        let lookup = docker(&config, missing).lookup("a").await;
        assert!(lookup.found.is_some());
        assert!(
            lookup
                .warning
                .unwrap()
                .contains("docker-credential-x is not installed")
        );

        let nothing = Scripted::new(false, "credentials not found in native keychain\n");
        assert_eq!(
            docker(&config, nothing).lookup("b").await,
            Lookup::default()
        );

        let path = docker(&json!({"credsStore": "../x"}), Scripted::new(true, "{}"));
        assert!(
            path.lookup("a")
                .await
                .warning
                .unwrap()
                .contains("its name is not made of")
        );
    }

    #[test]
    fn a_broken_file_is_refused_without_its_values() {
        let error = DockerConfig::parse(br#"{"auths": {"a": {"auth": ["s3cret"]}}}"#).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(DockerConfig::parse(b"").is_err());
        assert!(DockerConfig::parse(b"{}").is_ok());
    }
}
