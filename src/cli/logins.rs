//! The sources of registry logins: what a document names, found on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::clients::read;
use super::environment::Environment;
use crate::engine::grants::Grants;
use crate::failure::Failure;
use crate::net;
use crate::oci::aws::{self, Aws};
use crate::oci::credentials::{HostToken, Source};
use crate::oci::{AuthFile, DockerConfig, Keys, ProcessHelpers, Secret, pull_secret};
use crate::outcome::ExitCode;
use crate::pipeline::mask::Learned;
use crate::pipeline::model::{CredentialSource, CredentialSources, NamedSource};
use crate::pipeline::tree;
use crate::report::{Detail, Emitter};

/// What the sources are found with.
pub struct Machine<'a> {
    /// Variables, home folder and clock.
    pub environment: &'a Environment,
    /// Told of what is odd.
    pub events: &'a Emitter,
    /// The client that asks AWS.
    pub http: &'a net::Client,
    /// Where secrets go that AWS gives.
    pub learned: &'a Learned,
}

impl Machine<'_> {
    /// Reads the sources, in their order; before them AWS for the registries that have their logins of it.
    /// What is not there is left out.
    ///
    /// # Errors
    /// A file that is there can't be used, or one that the document names is not there.
    pub fn sources(
        &self,
        named: &CredentialSources,
        ecr: &[String],
        plain_http: &BTreeMap<String, bool>,
    ) -> Result<Vec<Source>, Failure> {
        let Self {
            environment,
            events,
            ..
        } = self;
        // Nobody wrote down that what the run finds by itself may travel in the clear.
        let in_the_clear = |host: &String| plain_http.get(host) == Some(&true);
        let mut sources = Vec::new();
        if !ecr.is_empty() {
            sources.push(Source::Aws(self.aws().for_hosts(ecr.iter().cloned())));
        }
        for source in &named.0 {
            match source {
                CredentialSource::KubernetesSecret(path) => sources.push(kubernetes(&path.value)?),
                CredentialSource::Named(NamedSource::Aws) => {
                    let clear = plain_http.keys().filter(|host| in_the_clear(host)).cloned();
                    sources.push(Source::Aws(self.aws().not_for(clear)));
                }
                CredentialSource::Named(NamedSource::DockerConfig) => {
                    sources.extend(docker(environment)?);
                }
                CredentialSource::Named(NamedSource::Podman) => {
                    sources.extend(podman(environment, events)?);
                }
                CredentialSource::Named(NamedSource::Github) => sources.extend(github(environment)),
                CredentialSource::Named(NamedSource::Gitlab) => sources.extend(gitlab(environment)),
            }
        }
        for source in &mut sources {
            if let Source::Token(token) = source {
                token.hosts.retain(|host| !in_the_clear(host));
            }
        }
        Ok(sources)
    }

    fn aws(&self) -> Aws {
        let environment = self.environment;
        let set = |name| Some((name, environment.filled(name)?));
        let variables: BTreeMap<_, _> = aws::VARIABLES.into_iter().filter_map(set).collect();
        let shared = |variable: &str, name: &str| match variables.get(variable) {
            Some(path) => Some(PathBuf::from(path)),
            None => environment
                .home()
                .map(|home| home.join(".aws").join(name))
                .filter(|path| path.is_file()),
        };
        let settings = aws::Settings {
            config: shared("AWS_CONFIG_FILE", "config"),
            credentials: shared("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            variables: variables.clone(),
        };
        let learned = self.learned.clone();
        Aws::new(
            settings,
            self.http.clone(),
            environment.clock.clone(),
            Arc::new(ProcessHelpers),
            move |secret| learned.add(secret.expose(), None),
        )
    }
}

/// Adds the files that the sources are read from, and what says where they are.
pub fn grant(named: &CredentialSources, grants: &mut Grants, environment: &Environment) {
    for source in &named.0 {
        match source {
            CredentialSource::KubernetesSecret(path) => {
                let path = path.value.display().to_string();
                grants.read(path, "credentials kubernetes-secret");
            }
            CredentialSource::Named(NamedSource::DockerConfig) => {
                if let Some(path) = environment.docker_config() {
                    grants.read(path.display().to_string(), "credentials docker-config");
                    grants.variable("DOCKER_CONFIG", "credentials docker-config");
                }
            }
            CredentialSource::Named(NamedSource::Podman) => {
                for (variable, path) in environment.podman_auth() {
                    if path.is_file() {
                        grants.read(path.display().to_string(), "credentials podman");
                        grants.variable(variable, "credentials podman");
                    }
                }
            }
            // What they take is granted for the registries that they are for.
            CredentialSource::Named(
                NamedSource::Aws | NamedSource::Github | NamedSource::Gitlab,
            ) => {}
        }
    }
}

fn docker(environment: &Environment) -> Result<Option<Source>, Failure> {
    let path = environment.docker_config().filter(|path| path.is_file());
    let read = |path: PathBuf| file(&path, "docker config", Keys::Docker);
    path.map(read).transpose()
}

fn podman(environment: &Environment, events: &Emitter) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for (variable, path) in environment.podman_auth() {
        if path.is_file() {
            sources.push(file(&path, "podman's auth.json", Keys::Podman)?);
        } else if variable == "REGISTRY_AUTH_FILE" {
            events.emit(Detail::Warned {
                message: format!("{variable} names {}, which is no file", path.display()),
                hint: Some(format!("log in with podman or skopeo, or unset {variable}")),
            });
        }
    }
    Ok(sources)
}

fn file(path: &Path, name: &str, keys: Keys) -> Result<Source, Failure> {
    let unusable = format!("{} can't be used", path.display());
    let bytes = read(path, &unusable)?;
    let config = DockerConfig::parse_as(&bytes, keys).map_err(|error| {
        Failure::new(ExitCode::InputInvalid, unusable)
            .caused_by(error.to_string())
            .hinted("repair the file, or leave it out of `credentials`: `credentials: []` for none")
    })?;
    let helpers = Arc::new(ProcessHelpers);
    Ok(Source::File(AuthFile::new(name, config, helpers)))
}

fn kubernetes(path: &Path) -> Result<Source, Failure> {
    let unusable = format!("the pull secret {} can't be used", path.display());
    let bytes = read(path, &unusable)?;
    let refused = |cause: String| {
        Failure::new(ExitCode::InputInvalid, unusable.clone())
            .caused_by(cause)
            .hinted(
                "name a secret of the type kubernetes.io/dockerconfigjson: what `kubectl get secret NAME -o yaml` \
                 prints, or the `.dockerconfigjson` that is mounted from it",
            )
    };
    let value = value(&bytes).map_err(refused)?;
    let config = pull_secret::parse(&value).map_err(|error| refused(error.to_string()))?;
    Ok(Source::File(AuthFile::without_helpers(
        format!("the pull secret {}", path.display()),
        config,
    )))
}

/// Reads JSON or YAML. An error shows nothing of the text.
fn value(bytes: &[u8]) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let source = crate::pipeline::Source::from_bytes("the pull secret", bytes)
        .map_err(|error| error.message)?;
    let mut found = Vec::new();
    match tree::parse(&source, &mut found) {
        Some(root) if found.is_empty() => Ok(json(&root)),
        _ => {
            let place = found.iter().find_map(|error| error.place.as_ref());
            let line = place.map_or(1, |place| place.start.line);
            Err(format!(
                "line {line} is neither JSON nor YAML that is read here"
            ))
        }
    }
}

fn json(node: &tree::Node) -> Value {
    match &node.value {
        tree::Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json(&entry.node)))
            .collect(),
        tree::Value::Scalar(scalar) => Value::String(scalar.text.clone()),
        tree::Value::Sequence(items) => items.iter().map(json).collect(),
    }
}

fn github(environment: &Environment) -> Option<Source> {
    let server = environment.filled("GITHUB_SERVER_URL");
    // A server of one's own gives tokens that ghcr.io has no business to see.
    let is_public = server.is_none_or(|url| url == "https://github.com");
    let token = environment
        .filled("GITHUB_TOKEN")
        .filter(|_| environment.in_github() && is_public)?;
    Some(Source::Token(HostToken {
        origin: "GITHUB_TOKEN",
        hosts: vec!["ghcr.io".to_owned()],
        username: environment
            .filled("GITHUB_ACTOR")
            .unwrap_or_else(|| "x-access-token".to_owned()),
        token: Secret::new(token),
        variables: &["GITHUB_ACTOR", "GITHUB_SERVER_URL", "GITHUB_TOKEN"],
    }))
}

fn gitlab(environment: &Environment) -> Option<Source> {
    let token = environment
        .filled("CI_JOB_TOKEN")
        .filter(|_| environment.in_gitlab())?;
    let hosts = ["CI_REGISTRY", "CI_DEPENDENCY_PROXY_SERVER"];
    Some(Source::Token(HostToken {
        origin: "CI_JOB_TOKEN",
        hosts: hosts
            .into_iter()
            .filter_map(|name| environment.filled(name))
            .collect(),
        username: "gitlab-ci-token".to_owned(),
        token: Secret::new(token),
        variables: &["CI_DEPENDENCY_PROXY_SERVER", "CI_JOB_TOKEN", "CI_REGISTRY"],
    }))
}
