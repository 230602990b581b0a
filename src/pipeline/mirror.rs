//! Mirrors, as the document says it.

use std::path::PathBuf;

use schemars::{Schema, json_schema};

use super::convert::{Context, FromScalar, Problem, Shape};
use super::diagnostic::Kind as Finding;
use super::login::RegistryAuth;
use super::model::{Document, Registry};
use super::record::{choice, one_of, record};
use super::source::Spanned;
use super::tree::Node;
use crate::oci::mirror::{self, Address, AddressError, ToldBy};

record! {
    /// A server that has some of what a registry has. What it sends is held against digests.
    pub struct Mirror("a mirror") {
        /// Its address: a host, with `http://` or `https://` before it if that is not what registries there speak, and a path if its own begin with one.
        url: Spanned<MirrorAddress>,
        /// What it is.
        kind: MirrorKind = MirrorKind::Plain,
        /// A user name and a password for it, or `ecr`. The registry's own login never goes there.
        auth: Option<RegistryAuth>,
        /// Whether it is trusted to say what tags stand for. Everything else is asked for by digest.
        resolve: bool = false,
        /// Whether it may be asked for parts of a blob; without a word, as its kind is known to take it.
        ranges: Option<bool>,
        /// For `plain`: what stands before an image's path there. It is then not told the registry.
        prefix: Option<Spanned<PathPrefix>>,
        /// For `harbor`: the proxy project.
        project: Option<Spanned<PathPrefix>>,
        /// For `nexus`: the proxy repository.
        repository: Option<Spanned<PathPrefix>>,
        /// For `nexus`: whether the repository is the first part of an image's path; otherwise it is reached below `/repository/`.
        path_routing: Option<Spanned<bool>>,
        /// For `gitlab`: the full path of the group.
        group: Option<Spanned<PathPrefix>>,
        /// For `dragonfly`: how it is told the registry.
        told_by: Option<Spanned<TellBy>>,
        /// For `dragonfly`: whether the registry's own login goes through it, so that it gets what is private.
        pass_login: Option<Spanned<bool>>,
    }
    short = url;
    check = check;
}

choice! {
    /// What a mirror is.
    pub enum MirrorKind("a kind of mirror", later = []) {
        /// A cache that is told the registry in the query, as containerd does it; or any registry, with `prefix`.
        Plain = "plain",
        /// A registry that is a cache of one other: `distribution` with `proxy`, and its like.
        Distribution = "distribution",
        /// A dfdaemon of Dragonfly.
        Dragonfly = "dragonfly",
        /// GitLab's dependency proxy, for Docker Hub.
        Gitlab = "gitlab",
        /// A proxy project in Harbor.
        Harbor = "harbor",
        /// A proxy repository in Nexus.
        Nexus = "nexus",
        /// Zot, with `sync` on demand.
        Zot = "zot",
    }
}

choice! {
    /// How a dfdaemon is told the registry.
    pub enum TellBy("a way to tell", later = ["proxy"]) {
        /// By the header `X-Dragonfly-Registry`.
        Header = "header",
        /// By the query, `?ns=`.
        Ns = "ns",
    }
}

choice! {
    /// Whether a registry that has mirrors may be asked itself.
    pub enum Fallback("a fallback", later = []) {
        /// After its mirrors, and for tags and referrers.
        Allow = "allow",
        /// Never, for anything.
        Deny = "deny",
    }
}

one_of! {
    /// Configuration of another tool that says which mirrors there are.
    pub enum MirrorFiles("configuration of mirrors", later = []) {
        /// The folder with a folder for each registry, and a `hosts.toml` in it: `/etc/containerd/certs.d`.
        Containerd(Spanned<PathBuf>) = "containerd",
        /// A `registries.conf` of podman, skopeo and buildah.
        Containers(Spanned<PathBuf>) = "containers",
    }
}

impl Mirror {
    /// Returns what the client of registries knows it as.
    #[must_use]
    pub fn mirror(&self) -> mirror::Mirror {
        let named = |name: &Option<Spanned<PathPrefix>>| {
            name.as_ref()
                .map(|name| name.value.0.clone())
                .unwrap_or_default()
        };
        let said = |value: &Option<Spanned<bool>>| value.as_ref().is_some_and(|said| said.value);
        let kind = match self.kind {
            MirrorKind::Plain => match &self.prefix {
                Some(prefix) => mirror::Kind::Prefixed {
                    prefix: prefix.value.0.clone(),
                    ns: false,
                },
                None => mirror::Kind::Plain,
            },
            MirrorKind::Distribution | MirrorKind::Zot => mirror::Kind::Distribution,
            MirrorKind::Dragonfly => mirror::Kind::Dragonfly {
                told_by: match self.told_by.as_ref().map(|told| told.value) {
                    Some(TellBy::Ns) => ToldBy::Query,
                    Some(TellBy::Header) | None => ToldBy::Header(None),
                },
                passes_login: said(&self.pass_login),
            },
            MirrorKind::Gitlab => mirror::Kind::Gitlab {
                group: named(&self.group),
            },
            MirrorKind::Harbor => mirror::Kind::Harbor {
                project: named(&self.project),
            },
            MirrorKind::Nexus => mirror::Kind::Nexus {
                repository: named(&self.repository),
                in_path: said(&self.path_routing),
            },
        };
        mirror::Mirror {
            address: self.url.value.0.clone(),
            kind,
            resolves: self.resolve,
            ranges: self.ranges,
        }
    }
}

impl Registry {
    /// Returns who may be asked for what it has, if the document says that for this registry.
    #[must_use]
    pub fn sources(&self) -> Option<mirror::Sources> {
        let mirrors = self.mirrors.as_ref()?;
        Some(mirror::Sources {
            mirrors: mirrors.iter().map(|entry| entry.mirror().into()).collect(),
            fallback: match self.fallback.as_ref().map(|said| said.value) {
                Some(Fallback::Deny) => mirror::Fallback::Deny,
                Some(Fallback::Allow) | None => mirror::Fallback::Allow,
            },
        })
    }
}

/// Checks that a mirror says what its kind needs, and nothing that is for another kind.
fn check(mirror: &Mirror, node: &Node, context: &mut Context<'_>) {
    let own: &[&str] = match mirror.kind {
        MirrorKind::Plain => &["prefix"],
        MirrorKind::Distribution | MirrorKind::Zot => &[],
        MirrorKind::Dragonfly => &["told-by", "pass-login"],
        MirrorKind::Gitlab => &["group"],
        MirrorKind::Harbor => &["project"],
        MirrorKind::Nexus => &["repository", "path-routing"],
    };
    let kind = mirror.kind.word();
    let special = [
        ("prefix", "plain"),
        ("project", "harbor"),
        ("repository", "nexus"),
        ("path-routing", "nexus"),
        ("group", "gitlab"),
        ("told-by", "dragonfly"),
        ("pass-login", "dragonfly"),
    ];
    for (key, of) in special {
        let entries = node.mapping().into_iter().flatten();
        let Some(entry) = entries.into_iter().find(|entry| entry.key == key) else {
            continue;
        };
        if !own.contains(&key) {
            context.push(
                context
                    .error(
                        Finding::Conflict,
                        entry.key_span,
                        format!("`{key}` is not for a mirror of kind `{kind}`"),
                    )
                    .caused_by(format!("`{key}` is for kind `{of}`"))
                    .helped(format!("write `kind: {of}`, or remove the key")),
            );
        }
    }
    let needed = match mirror.kind {
        MirrorKind::Gitlab => Some(("group", "acme/platform")),
        MirrorKind::Harbor => Some(("project", "dockerhub")),
        MirrorKind::Nexus => Some(("repository", "docker-proxy")),
        _ => None,
    };
    if let Some((key, example)) = needed.filter(|(key, _)| node.entry(key).is_none()) {
        let span = context.head(node);
        context.push(
            context
                .error(
                    Finding::MissingKey,
                    span,
                    format!("a mirror of kind `{kind}` needs `{key}`"),
                )
                .caused_by("it serves several registries, each below a path of its own")
                .helped(format!("add it, for instance `{key}: {example}`")),
        );
    }
    let passes = mirror.pass_login.as_ref().filter(|said| said.value);
    if let Some(passes) = passes
        && mirror.url.known
        && !mirror.url.value.0.is_private()
    {
        context.push(
            context
                .error(
                    Finding::Conflict,
                    passes.span,
                    "a registry's login can't go through this mirror",
                )
                .caused_by(
                    "it is on another machine, and what is sent to it can be read on the way",
                )
                .helped("use the dfdaemon of this machine, or an address with https"),
        );
    }
}

/// Checks what a registry says of its mirrors.
pub(super) fn check_registry(registry: &Registry, node: &Node, context: &mut Context<'_>) {
    if let (Some(fallback), None) = (&registry.fallback, node.entry("mirrors")) {
        context.push(
            context
                .error(
                    Finding::Conflict,
                    fallback.span,
                    "`fallback` stands without `mirrors`",
                )
                .caused_by("it says whether the registry itself may be asked beside its mirrors")
                .helped("add `mirrors`, or remove `fallback`"),
        );
    }
}

/// Checks that no host has two logins: there is one for each.
pub(super) fn check_logins(document: &Document, context: &mut Context<'_>) {
    let mut seen: Vec<(String, &RegistryAuth)> = Vec::new();
    for (host, registry) in document.registries.iter() {
        let auth = registry.auth.as_ref();
        seen.extend(auth.map(|auth| (host.value.0.clone(), auth)));
    }
    for registry in document.registries.values() {
        for entry in registry.mirrors.iter().flatten() {
            let Some(auth) = &entry.auth else { continue };
            let name = entry.mirror().name();
            let known = seen.iter().find(|(host, _)| *host == name);
            match known {
                Some((_, other)) if *other != auth => {
                    context.push(
                        context
                            .error(
                                Finding::Conflict,
                                entry.url.span,
                                format!("`{name}` has two logins"),
                            )
                            .caused_by("a host has one login, whatever it is asked for")
                            .helped(format!(
                                "say it once: under `registries`, as `\"{name}\": {{auth: …}}`"
                            )),
                    );
                }
                Some(_) => {}
                None => seen.push((name, auth)),
            }
        }
    }
}

/// The address of a mirror.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MirrorAddress(pub Address);

impl FromScalar for MirrorAddress {
    const WHAT: &'static str = "the address of a mirror";
    const EXAMPLE: &'static str = "https://mirror.example";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        text.parse().map(Self).map_err(|error: AddressError| {
            let problem = Problem::new(error.to_string());
            match error {
                AddressError::User => Problem {
                    kind: Finding::PlainSecret,
                    ..problem
                        .helped("take it out; a login stands under `auth`, its password in a secret")
                },
                AddressError::Versioned => problem.helped(
                    "remove `/v2`; what stands behind it, before an image's path, stands under `prefix`",
                ),
                AddressError::More | AddressError::NoUrl | AddressError::Scheme => problem,
            }
        })
    }

    fn stand_in() -> Self {
        Self(Address::stand_in())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(https?://)?[^@?#\\s]+$"})
    }
}

/// What stands before an image's path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathPrefix(pub String);

impl FromScalar for PathPrefix {
    const WHAT: &'static str = "the beginning of a path";
    const EXAMPLE: &'static str = "dockerhub";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        let sound = |part: &str| {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !part.is_empty()
                && part.bytes().all(word)
                && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if text.split('/').all(sound) {
            return Ok(Self(text.to_owned()));
        }
        let bare = text.trim_matches('/');
        let good = bare != text && bare.split('/').all(sound);
        Err(Problem {
            suggestion: good.then(|| bare.to_owned()),
            ..Problem::new(
                "it has letters, digits, `.`, `_` and `-`, and slashes between parts alone",
            )
        })
    }

    fn stand_in() -> Self {
        Self("stand-in".to_owned())
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$"})
    }
}
