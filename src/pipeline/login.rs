//! Where secrets and logins come from, as the document says it.

use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::address::VariableName;
use super::convert::{Context, FromNode};
use super::diagnostic::Kind;
use super::record::{choice, one_of, record};
use super::secret::Password;
use super::source::Spanned;
use super::tree::Node;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretDeclaration(pub SecretSource);

impl FromNode for SecretDeclaration {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        if node.scalar().is_some_and(|scalar| !scalar.is_null()) {
            context.push(
                context
                    .error(Kind::PlainSecret, node.span, "a secret is written into the document")
                    .starred()
                    .caused_by("whoever can read the document can use it")
                    .helped("name where it comes from: `{env: NAME}` for a variable or `{file: PATH}` for a file"),
            );
            return None;
        }
        SecretSource::from_node(node, context).map(Self)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        SecretSource::schema(generator)
    }
}

one_of! {
    /// Where a secret comes from: a variable or a file.
    pub enum SecretSource("a secret", later = []) {
        /// The name of an environment variable.
        Env(Spanned<VariableName>) = "env",
        /// The path of a file, relative to the working directory. A line end at its end is dropped.
        File(Spanned<PathBuf>) = "file",
    }
}

/// The sources of credentials in the order in which they are asked. None is a choice as well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CredentialSources(pub Vec<CredentialSource>);

impl CredentialSources {
    /// Returns the sources of a document that names none.
    #[must_use]
    pub fn usual() -> Self {
        let usual = [
            NamedSource::DockerConfig,
            NamedSource::Podman,
            NamedSource::Github,
            NamedSource::Gitlab,
            NamedSource::Aws,
        ];
        Self(usual.into_iter().map(CredentialSource::Named).collect())
    }
}

impl FromNode for CredentialSources {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        if node.complete && node.sequence().is_some_and(<[Node]>::is_empty) {
            return Some(Self::default());
        }
        Vec::from_node(node, context).map(Self)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let source = CredentialSource::schema(generator);
        json_schema!({"type": "array", "items": source})
    }
}

/// A source of credentials for registries.
#[derive(Clone, Debug, PartialEq)]
pub enum CredentialSource {
    /// A Kubernetes pull secret: its manifest, or the file that is mounted from it.
    KubernetesSecret(Spanned<PathBuf>),
    /// One that needs no more than its name.
    Named(NamedSource),
}

impl FromNode for CredentialSource {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        if node.mapping().is_some() {
            let SourceFile::KubernetesSecret(path) = SourceFile::from_node(node, context)?;
            return Some(Self::KubernetesSecret(path));
        }
        NamedSource::from_node(node, context).map(Self::Named)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let named = NamedSource::schema(generator);
        let file = SourceFile::schema(generator);
        json_schema!({"anyOf": [named, file]})
    }
}

choice! {
    /// A source of credentials that needs no more than its name.
    pub enum NamedSource("a source of credentials", later = []) {
        /// Docker's `config.json`, with the logins and credential helpers in it.
        DockerConfig = "docker-config",
        /// The `auth.json` of podman, skopeo and buildah.
        Podman = "podman",
        /// In GitHub Actions, `GITHUB_TOKEN` for ghcr.io.
        Github = "github",
        /// In GitLab CI, `CI_JOB_TOKEN` for GitLab's own registry and dependency proxy.
        Gitlab = "gitlab",
        /// AWS, for its own private registries: keys from the environment, a profile, a web identity or a role.
        Aws = "aws",
    }
}

one_of! {
    /// A file with credentials.
    pub enum SourceFile("a source of credentials", later = []) {
        /// A Kubernetes pull secret, relative to the working directory: its manifest in YAML or JSON, or the file that
        /// is mounted from it.
        KubernetesSecret(Spanned<PathBuf>) = "kubernetes-secret",
    }
}

/// How a registry is logged in to.
#[derive(Clone, Debug, PartialEq)]
pub enum RegistryAuth {
    /// By a login of AWS's.
    Ecr,
    /// By a user name and a password.
    Login(Login),
}

impl FromNode for RegistryAuth {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            return Login::from_node(node, context).map(Self::Login);
        };
        if scalar.text == "ecr" {
            return Some(Self::Ecr);
        }
        let shown: String = scalar.text.chars().take(80).collect();
        let unknown = context
            .error(
                Kind::UnknownValue,
                node.span,
                format!("unknown way to log in `{shown}`"),
            )
            .caused_by("`auth` is `ecr`, or a user name and a password");
        let diagnostic = match shown.as_str() {
            "aws" => unknown.suggesting(Some("ecr".to_owned())),
            "github" | "gitlab" | "podman" | "docker-config" => unknown.helped(format!(
                "that is a source, and asked without a word here: write `credentials: [{shown}]` for it alone"
            )),
            _ => unknown.helped("write `{username: ci, password: \"${secret.NAME}\"}`"),
        };
        context.push(diagnostic);
        None
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let login = Login::schema(generator);
        json_schema!({"anyOf": [{"const": "ecr"}, login]})
    }
}

record! {
    /// A user name and a password.
    pub struct Login("a login") {
        /// The user name.
        username: String,
        /// The password or token, from a secret.
        password: Password,
    }
}
