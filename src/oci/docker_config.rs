//! Docker's config file: where `docker login` left what it was told.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;

use super::credentials::{Credential, Found, HelperError, HelperRunner, Lookup, Secret};
use super::reference::api_host;

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

    /// Returns the helper that is asked for a host, and whether it is known to have a login for it:
    /// `docker login` leaves an empty entry for each login that is in the store.
    pub(super) fn helper(&self, host: &str) -> Option<(&str, bool)> {
        if let Some(helper) = self.cred_helpers.get(host) {
            return Some((helper, true));
        }
        let stored = |auth: &Auth| matches!(auth.credential(), Ok(None));
        let known = self.auths.get(host).is_some_and(stored);
        Some((self.creds_store.as_ref()?, known))
    }

    pub(super) async fn lookup(&self, host: &str, helpers: &dyn HelperRunner) -> Lookup {
        let mut warning = None;
        if let Some((helper, _)) = self.helper(host) {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use serde_json::json;

    use super::super::credentials::{Credentials, HelperOutput, NoHelpers};
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
