//! Files of logins: docker's `config.json`, the `auth.json` of podman and its kin, pull secrets.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use tokio::sync::OnceCell;

use super::credentials::{
    Credential, Found, HelperError, HelperRunner, Lookup, NoHelpers, Secret, canonical,
};
use super::reference::api_host;

/// A file of logins as a source: what it says, and who runs its helpers.
pub struct AuthFile {
    name: String,
    config: DockerConfig,
    helpers: Arc<dyn HelperRunner>,
    /// One question a host and run: helpers may be slow, and may ask the user.
    asked: Mutex<HashMap<String, Arc<OnceCell<Answer>>>>,
}

type Answer = Result<Option<Credential>, HelperError>;

impl AuthFile {
    /// Makes a source of a file; `name` is what people call it, for instance `docker config`.
    pub fn new(
        name: impl Into<String>,
        config: DockerConfig,
        helpers: Arc<dyn HelperRunner>,
    ) -> Self {
        Self {
            name: name.into(),
            config,
            helpers,
            asked: Mutex::default(),
        }
    }

    /// Makes a source of a file whose helpers, if it names any, are not run.
    pub fn without_helpers(name: impl Into<String>, config: DockerConfig) -> Self {
        let config = DockerConfig {
            creds_store: None,
            cred_helpers: BTreeMap::new(),
            ..config
        };
        Self::new(name, config, Arc::new(NoHelpers))
    }

    /// Returns the helper that is asked for a host, and whether it is known to have a login for it.
    pub(super) fn helper(&self, host: &str) -> Option<(&str, bool)> {
        self.config.helper(host)
    }

    /// Says whether a login for all of a host stands in the file itself.
    pub(super) fn has(&self, host: &str) -> bool {
        let login = self.config.entry(host, None).map(Auth::credential);
        matches!(login, Some(Ok(Some(_))))
    }

    /// Says whether it has logins for some repositories of a host only.
    pub(super) fn distinguishes(&self, host: &str) -> bool {
        let mut keys = self.config.auths.keys();
        keys.any(|key| !key.path.is_empty() && matches_host(&key.host, host))
    }

    pub(super) async fn lookup(&self, host: &str, path: Option<&str>) -> Lookup {
        let mut warnings = Vec::new();
        if let Some((helper, _)) = self.helper(host) {
            match self.ask(helper, host).await {
                Ok(Some(credential)) => {
                    return Lookup::of(Found::new(
                        credential,
                        format!("docker-credential-{helper}"),
                    ));
                }
                Ok(None) => {}
                Err(error) => {
                    let helper: String = helper.chars().take(64).collect();
                    warnings.push(format!(
                        "can't ask the credential helper `{helper}` for {host}: {error}; going on without it"
                    ));
                }
            }
        }
        // A helper that knows nothing does not hide what `docker login` wrote before it was set up.
        let found = match self.config.entry(host, path).map(Auth::credential) {
            Some(Ok(Some(credential))) => {
                Some(Found::new(credential, format!("{} (auths)", self.name)))
            }
            Some(Err(reason)) => {
                warnings.push(format!(
                    "{} has an unusable entry for {host}: {reason}; going on without it",
                    self.name
                ));
                None
            }
            Some(Ok(None)) | None => None,
        };
        Lookup {
            found,
            warnings,
            refusal: None,
        }
    }

    async fn ask(&self, helper: &str, host: &str) -> Answer {
        let cell = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.entry(host.to_owned()).or_default().clone()
        };
        cell.get_or_init(|| ask(&*self.helpers, helper, host))
            .await
            .clone()
    }
}

impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthFile")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What a file of logins says.
#[derive(Clone, Default)]
pub struct DockerConfig {
    auths: BTreeMap<Key, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

/// How the keys of a file are read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Keys {
    /// Docker's: a host, whatever path it has behind it.
    #[default]
    Docker,
    /// Those of a pull secret: a host, in whose labels `*` stands for anything, and the path of the
    /// repositories below which it is for.
    Kubernetes,
    /// Podman's: a host, and the path of the repositories below which it is for.
    Podman,
}

impl DockerConfig {
    /// Parses the content of docker's file.
    ///
    /// # Errors
    ///
    /// It is not JSON of the known form, or larger than 1 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, DockerConfigError> {
        Self::parse_as(bytes, Keys::Docker)
    }

    /// Parses the content of a file whose keys are read in this way.
    ///
    /// # Errors
    ///
    /// As [`DockerConfig::parse`].
    pub fn parse_as(bytes: &[u8], keys: Keys) -> Result<Self, DockerConfigError> {
        let file: ConfigFile = parse_json(bytes)?;
        Ok(Self {
            auths: by_key(file.auths.unwrap_or_default(), keys),
            creds_store: file.creds_store.filter(|name| !name.is_empty()),
            cred_helpers: file
                .cred_helpers
                .unwrap_or_default()
                .into_iter()
                .map(|(key, name)| (Key::read(&key, Keys::Docker).host, name))
                .collect(),
        })
    }

    /// Parses the file that docker had before it had `config.json`: the logins alone.
    ///
    /// # Errors
    ///
    /// As [`DockerConfig::parse`].
    pub fn parse_legacy(bytes: &[u8], keys: Keys) -> Result<Self, DockerConfigError> {
        Ok(Self {
            auths: by_key(parse_json(bytes)?, keys),
            ..Self::default()
        })
    }

    /// Returns the helper that is asked for a host, and whether it is known to have a login for it:
    /// `docker login` leaves an empty entry for each login that is in the store.
    fn helper(&self, host: &str) -> Option<(&str, bool)> {
        if let Some(helper) = self.cred_helpers.get(host) {
            return Some((helper, true));
        }
        let stored = |auth: &Auth| matches!(auth.credential(), Ok(None));
        let known = self.entry(host, None).is_some_and(stored);
        Some((self.creds_store.as_ref()?, known))
    }

    /// Returns the most specific entry for a repository, or for all of a host.
    fn entry(&self, host: &str, path: Option<&str>) -> Option<&Auth> {
        let matching = self.auths.iter().filter(|(key, _)| key.is_for(host, path));
        let specific = matching.max_by_key(|(key, _)| (key.path.len(), key.host == host));
        specific.map(|(_, auth)| auth)
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

/// A file of logins that can't be used; its values are not shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it can't be read as a file of logins: {reason}")]
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

/// Whom an entry is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    /// The API's host.
    host: String,
    /// The beginning of the repositories' names, without slashes at its ends; empty for all.
    path: String,
}

impl Key {
    /// Reads a key with or without scheme, path and case.
    fn read(text: &str, keys: Keys) -> Self {
        let bare = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let (host, path) = match bare.unwrap_or(text).split_once('/') {
            Some((host, path)) => (host, path.trim_matches('/')),
            None => (bare.unwrap_or(text), ""),
        };
        let path = match keys {
            Keys::Docker => "",
            // With a scheme it is docker's key.
            Keys::Podman if bare.is_some() => "",
            Keys::Podman => path,
            Keys::Kubernetes => match path.split_once('/').unwrap_or((path, "")) {
                ("v1" | "v2", rest) => rest,
                _ => path,
            },
        };
        let mut host = canonical(host);
        if keys != Keys::Kubernetes && host.contains('*') {
            // No host has such a name, so that it matches nothing.
            host.insert(0, '/');
        }
        Self {
            host,
            path: path.to_owned(),
        }
    }

    fn is_for(&self, host: &str, path: Option<&str>) -> bool {
        let below = match (self.path.as_str(), path) {
            ("", _) => true,
            (own, Some(path)) => path
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            (_, None) => false,
        };
        below && matches_host(&self.host, host)
    }
}

/// Compares label by label; `*` stands for any characters of one label.
fn matches_host(pattern: &str, host: &str) -> bool {
    let (mut labels, mut others) = (pattern.split('.'), host.split('.'));
    loop {
        match (labels.next(), others.next()) {
            (None, None) => return true,
            (Some(label), Some(other)) if matches_label(label, other) => {}
            _ => return false,
        }
    }
}

fn matches_label(pattern: &str, label: &str) -> bool {
    let Some((front, rest)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(mut left) = label.strip_prefix(front) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    false
}

fn by_key(auths: BTreeMap<String, Auth>, keys: Keys) -> BTreeMap<Key, Auth> {
    let entries = auths.into_iter();
    entries
        .map(|(key, auth)| (Key::read(&key, keys), auth))
        .collect()
}

fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DockerConfigError> {
    if bytes.len() > LARGEST_CONFIG {
        return Err(DockerConfigError {
            reason: "it is larger than 1 MiB".into(),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| DockerConfigError {
        // serde_json quotes values of the wrong type, which may be secret: only the place is told.
        reason: format!(
            "line {} column {} is not as docker writes it",
            error.line(),
            error.column()
        ),
    })
}

async fn ask(helpers: &dyn HelperRunner, helper: &str, host: &str) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
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
    let answer: Said =
        serde_json::from_slice(&output.stdout).map_err(|_| HelperError::Failed { said: None })?;
    Ok(match answer {
        Said { secret, .. } if secret.is_empty() => None,
        Said { username, secret } if username == TOKEN_USER => {
            Some(Credential::IdentityToken(Secret::new(secret)))
        }
        Said { username, secret } => Some(basic(&username, &secret)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;
    use serde_json::json;

    use super::super::credentials::{Credentials, HelperOutput, HostToken, Need, Source};
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
        let file = AuthFile::new("docker config", config, helpers);
        Credentials::new([], vec![Source::File(file)])
    }

    async fn found(credentials: &Credentials, host: &str) -> Option<Credential> {
        credentials
            .lookup(host, None)
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
        assert_eq!(credentials.lookup("d", None).await, Lookup::default());
        assert!(
            credentials
                .lookup("e", None)
                .await
                .warnings
                .concat()
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
            let lookup = credentials.lookup("a", None).await.found.unwrap();
            assert_eq!(lookup.origin, "docker-credential-one");
            assert_eq!(
                lookup.credential,
                Credential::IdentityToken(Secret::new("s3cret"))
            );
            assert!(!format!("{lookup:?}").contains("s3cret"));
        }
        assert_eq!(helper.asked.load(Ordering::Relaxed), 1);
        assert_eq!(
            credentials.lookup("b", None).await.found.unwrap().origin,
            "docker-credential-two"
        );
    }

    #[tokio::test]
    async fn a_missing_or_failing_helper_warns_and_goes_on() {
        let missing = Scripted::with(Err(HelperError::Missing { name: "x".into() }));
        let config = json!({"credsStore": "x", "auths": {"a": {"auth": "dTpw"}}});
        let lookup = docker(&config, missing).lookup("a", None).await;
        assert!(lookup.found.is_some());
        assert!(
            lookup
                .warnings
                .concat()
                .contains("docker-credential-x is not installed")
        );

        let nothing = Scripted::new(false, "credentials not found in native keychain\n");
        assert_eq!(
            docker(&config, nothing).lookup("b", None).await,
            Lookup::default()
        );

        let path = docker(&json!({"credsStore": "../x"}), Scripted::new(true, "{}"));
        assert!(
            path.lookup("a", None)
                .await
                .warnings
                .concat()
                .contains("its name is not made of")
        );
    }

    fn users(keys: Keys, names: &[&str]) -> Credentials {
        let auths: serde_json::Map<_, _> = names
            .iter()
            .map(|name| {
                (
                    (*name).to_owned(),
                    json!({"username": name, "password": "p"}),
                )
            })
            .collect();
        let text = json!({"auths": auths}).to_string();
        let config = DockerConfig::parse_as(text.as_bytes(), keys).unwrap();
        let file = AuthFile::without_helpers("the file", config);
        Credentials::new([], vec![Source::File(file)])
    }

    async fn user(credentials: &Credentials, place: &str) -> Option<String> {
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let path = Some(path).filter(|path| !path.is_empty());
        match credentials.lookup(host, path).await.found?.credential {
            Credential::Basic { username, .. } => Some(username),
            _ => None,
        }
    }

    #[tokio::test]
    async fn podmans_keys_are_for_repositories_and_the_most_specific_wins() {
        let names = [
            "quay.io",
            "quay.io/acme",
            "quay.io/acme/web",
            "r.example/only",
            "https://old.example/v1/",
            "*.wild.example",
            "docker.io/acme",
        ];
        let credentials = users(Keys::Podman, &names);
        for (place, expected) in [
            ("quay.io", Some("quay.io")),
            ("quay.io/other/web", Some("quay.io")),
            ("quay.io/acmes", Some("quay.io")),
            ("quay.io/acme/api", Some("quay.io/acme")),
            ("quay.io/acme/web", Some("quay.io/acme/web")),
            ("quay.io/acme/web/deep", Some("quay.io/acme/web")),
            ("QUAY.io:443/acme", Some("quay.io/acme")),
            ("quay.io:5000/acme", None),
            ("r.example", None),
            ("r.example/only", Some("r.example/only")),
            ("old.example/a", Some("https://old.example/v1/")),
            ("a.wild.example/a", None),
            ("docker.io/acme/a", Some("docker.io/acme")),
            ("docker.io/library/a", None),
        ] {
            assert_eq!(
                user(&credentials, place).await.as_deref(),
                expected,
                "{place}"
            );
        }
    }

    #[tokio::test]
    async fn pull_secrets_have_stars_for_labels() {
        let names = [
            "*.r.example",
            "a.r.example/team",
            "https://index.docker.io/v1/",
            "e*.in*.example",
        ];
        let credentials = users(Keys::Kubernetes, &names);
        for (place, expected) in [
            ("a.r.example/x", Some("*.r.example")),
            ("a.r.example/team/x", Some("a.r.example/team")),
            ("a.b.r.example", None),
            ("r.example", None),
            ("docker.io/library/a", Some("https://index.docker.io/v1/")),
            ("eu.internal.example", Some("e*.in*.example")),
            ("eu.i.example", None),
        ] {
            assert_eq!(
                user(&credentials, place).await.as_deref(),
                expected,
                "{place}"
            );
        }
    }

    #[tokio::test]
    async fn the_first_source_with_a_login_wins_and_the_last_is_the_automatic_one() {
        let file = |text: &str, helpers: Arc<dyn HelperRunner>| {
            let config = DockerConfig::parse(text.as_bytes()).unwrap();
            Source::File(AuthFile::new("docker config", config, helpers))
        };
        let token = |hosts: &[&str]| {
            Source::Token(HostToken {
                origin: "GITHUB_TOKEN",
                hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
                username: "octocat".into(),
                token: Secret::new("ghs_token"),
                variables: &["GITHUB_TOKEN"],
            })
        };
        let missing = Scripted::with(Err(HelperError::Missing { name: "x".into() }));
        let config =
            r#"{"credHelpers": {"ghcr.io": "x"}, "auths": {"a.example": {"auth": "dTpw"}}}"#;
        let sources = vec![file(config, missing), token(&["ghcr.io", "a.example"])];
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let learned = heard.clone();
        let given = Credential::RegistryToken(Secret::new("given"));
        let credentials = Credentials::heard(
            [("docker.io".into(), given)],
            sources,
            move |secret, user| {
                let user = user.unwrap_or_default();
                let line = format!("{user}:{}", secret.expose());
                learned.lock().unwrap().push(line);
            },
        );

        let lookup = credentials.lookup("ghcr.io", None).await;
        assert!(lookup.warnings[0].contains("docker-credential-x is not installed"));
        let found = lookup.found.unwrap();
        assert_eq!(
            (found.origin.as_str(), found.automatic),
            ("GITHUB_TOKEN", true)
        );
        // Said once, not for each repository.
        assert!(
            credentials
                .lookup("ghcr.io", Some("a"))
                .await
                .warnings
                .is_empty()
        );
        let found = credentials
            .lookup("A.example:443", None)
            .await
            .found
            .unwrap();
        assert_eq!(
            (found.origin.as_str(), found.automatic),
            ("docker config (auths)", false)
        );
        assert_eq!(
            credentials
                .lookup("index.docker.io", None)
                .await
                .found
                .unwrap()
                .origin,
            "the pipeline"
        );
        for stranger in ["ghcr.io.evil.example", "docker.ghcr.io", "b.example"] {
            assert_eq!(credentials.lookup(stranger, None).await, Lookup::default());
        }
        assert_eq!(
            *heard.lock().unwrap(),
            ["octocat:ghs_token", "octocat:ghs_token", "u:p", ":given"]
        );

        let variable = |name: &str| Need::Variable(name.into());
        let helper = Need::Helper {
            name: "x".into(),
            certain: true,
        };
        assert_eq!(
            credentials.needs("ghcr.io"),
            [helper, variable("GITHUB_TOKEN")]
        );
        assert_eq!(credentials.needs("a.example"), []);
        assert_eq!(credentials.needs("docker.io"), []);
        assert_eq!(credentials.needs("b.example"), []);
    }

    #[test]
    fn a_broken_file_is_refused_without_its_values() {
        let error = DockerConfig::parse(br#"{"auths": {"a": {"auth": ["s3cret"]}}}"#).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(DockerConfig::parse(b"").is_err());
        assert!(DockerConfig::parse(b"{}").is_ok());
    }
}
