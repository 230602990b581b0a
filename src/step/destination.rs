//! `to`: where a document or a command line sends images.

use std::fmt;
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::destination::registry::Target;
use crate::oci::reference::ReferenceError;
use crate::oci::{Reference, Repository};
use crate::pipeline::convert::{Context, FromNode, FromScalar, Problem, Shape};
use crate::pipeline::diagnostic::Kind;
use crate::pipeline::record::{OneOf as _, choice, one_of, record};
use crate::pipeline::tree::Node;
use crate::platform::docker::Address;

/// A place for images.
#[derive(Clone, Debug, PartialEq)]
pub enum Destination {
    /// The content-addressed cache.
    Cache,
    /// A place that has an address.
    Place(Place),
}

one_of! {
    /// A place for images that has an address.
    pub enum Place("a destination", later = []) {
        /// containerd, through its client `ctr`.
        Containerd(ContainerdTarget) = "containerd",
        /// Docker Engine, by its socket: `unix:///var/run/docker.sock`.
        Docker(EngineAddress) = "docker",
        /// A file that every Docker Engine, podman and their kin load.
        DockerArchive(PathBuf) = "docker-archive",
        /// An OCI layout as one file.
        OciArchive(PathBuf) = "oci-archive",
        /// An OCI layout in a folder, beside the images that are in it.
        OciLayout(PathBuf) = "oci-layout",
        /// Another registry: the image with all platforms, its signatures, attestations and other referrers.
        Registry(RegistryPlace) = "registry",
    }
}

choice! {
    /// A place for images that needs no address.
    pub enum Usual("a destination", later = ["engine"]) {
        /// The content-addressed cache.
        Cache = "cache",
        /// containerd, through its client `ctr`, in the namespace `default`.
        Containerd = "containerd",
        /// Docker Engine, by the socket that `DOCKER_HOST` names, or the usual one.
        Docker = "docker",
    }
}

/// A place in a registry: `HOST/REPO` with the image's own tag, `HOST/REPO:TAG`, or `HOST/PREFIX/`, below
/// which each image keeps its own path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistryPlace {
    text: String,
    repository: Repository,
    tag: Option<String>,
    is_prefix: bool,
}

impl RegistryPlace {
    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.repository.registry
    }

    /// Returns where an image goes.
    #[must_use]
    pub fn target(&self, image: &Reference) -> Target {
        let mut repository = self.repository.clone();
        if self.is_prefix {
            let below = &image.repository.path;
            repository.path = match repository.path.as_str() {
                "" => below.clone(),
                prefix => format!("{prefix}/{below}"),
            };
        }
        Target {
            repository,
            tag: self.tag.clone().or_else(|| image.tag.clone()),
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let (name, is_prefix) = match text.strip_suffix('/') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let host = name.split('/').next().unwrap_or_default();
        // Docker's short forms would send an image to a registry that nobody named.
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err("the registry's host comes first, for instance `ghcr.io/acme/web`".into());
        }
        if !is_prefix && !name.contains('/') {
            return Err("the repository is missing after the host: `HOST/REPO`, or `HOST/` to keep the image's own".into());
        }
        let whole = if is_prefix {
            format!("{name}/x")
        } else {
            name.to_owned()
        };
        let reference: Reference = whole
            .parse()
            .map_err(|error: ReferenceError| error.reason)?;
        if reference.digest.is_some() {
            return Err("a destination has no digest: the image brings its own".into());
        }
        let last = name.rsplit('/').next().unwrap_or_default();
        let has_tag = !is_prefix && name.contains('/') && last.contains(':');
        let mut repository = reference.repository;
        if is_prefix {
            let path = repository.path.strip_suffix('x').unwrap_or_default();
            repository.path = path.trim_end_matches('/').to_owned();
        }
        Ok(Self {
            text: text.to_owned(),
            repository,
            tag: reference.tag.filter(|_| has_tag),
            is_prefix,
        })
    }
}

impl FromScalar for RegistryPlace {
    const WHAT: &'static str = "a place in a registry";
    const EXAMPLE: &'static str = "registry.corp.example/acme/web";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        Self::read(text).map_err(Problem::new)
    }

    fn stand_in() -> Self {
        Self {
            text: "stand-in.invalid/".to_owned(),
            repository: Repository {
                registry: "stand-in.invalid".to_owned(),
                path: String::new(),
            },
            tag: None,
            is_prefix: true,
        }
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^[^/]+/.*", "examples": [Self::EXAMPLE]})
    }
}

record! {
    /// containerd.
    pub struct ContainerdTarget("`containerd`") {
        /// The namespace; Kubernetes looks into `k8s.io`.
        namespace: String = DEFAULT_NAMESPACE.to_owned(),
        /// The socket, if it is not the usual one.
        address: Option<PathBuf>,
    }
    short = namespace;
}

/// The namespace of containerd that its client uses by itself.
const DEFAULT_NAMESPACE: &str = "default";

/// The socket of an engine, or nothing for the one of the environment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EngineAddress(pub Option<Address>);

impl FromScalar for EngineAddress {
    const WHAT: &'static str = "the socket of an engine";
    const EXAMPLE: &'static str = "unix:///var/run/docker.sock";
    const SHAPE: Shape = Shape::Text;

    fn parse(text: &str) -> Result<Self, Problem> {
        let address = Address::parse(text).map_err(|error| {
            let hint = crate::failure::Explain::hint(&error).unwrap_or_default();
            Problem::new("an engine is spoken to over a Unix socket alone").helped(hint)
        })?;
        Ok(Self(Some(address)))
    }

    fn stand_in() -> Self {
        Self(None)
    }

    fn scalar_schema() -> Schema {
        json_schema!({"type": "string", "pattern": "^(unix://)?/.+"})
    }
}

impl Destination {
    /// Reads a destination as a command line names it: `docker`, `oci-layout:DIR`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, place) = match text.split_once(':') {
            Some((kind, place)) => (kind, Some(place).filter(|place| !place.is_empty())),
            None => (text, None),
        };
        let path = || place.map(PathBuf::from);
        if let ("docker", Some(place)) = (kind, place) {
            let address = Address::parse(place).map_err(|error| error.to_string())?;
            return Ok(Self::Place(Place::Docker(EngineAddress(Some(address)))));
        }
        let read = match kind {
            "docker" => Some(Self::Place(Place::Docker(EngineAddress(None)))),
            "containerd" => Some(Self::Place(containerd(place.unwrap_or(DEFAULT_NAMESPACE)))),
            "cache" if place.is_none() => Some(Self::Cache),
            "docker-archive" => path().map(Place::DockerArchive).map(Self::Place),
            "registry" => {
                let place = RegistryPlace::read(place.unwrap_or_default())?;
                Some(Self::Place(Place::Registry(place)))
            }
            "oci-archive" => path().map(Place::OciArchive).map(Self::Place),
            "oci-layout" => path().map(Place::OciLayout).map(Self::Place),
            _ => None,
        };
        read.ok_or_else(|| FORMS.to_owned())
    }
}

/// What a command line may say.
const FORMS: &str = "write cache, docker, containerd, containerd:NAMESPACE, docker-archive:FILE, oci-archive:FILE, oci-layout:DIR or registry:HOST/REPO";

fn containerd(namespace: &str) -> Place {
    Place::Containerd(ContainerdTarget {
        namespace: namespace.to_owned(),
        address: None,
    })
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache => f.write_str("cache"),
            Self::Place(place) => {
                f.write_str(place.key())?;
                match place {
                    Place::Containerd(target) => write!(f, " {}", target.namespace),
                    Place::Registry(place) => write!(f, " {}", place.text),
                    Place::Docker(EngineAddress(None)) => Ok(()),
                    Place::Docker(EngineAddress(Some(address))) => write!(f, " {address}"),
                    Place::DockerArchive(path)
                    | Place::OciArchive(path)
                    | Place::OciLayout(path) => {
                        write!(f, " {}", path.display())
                    }
                }
            }
        }
    }
}

impl FromNode for Destination {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar() else {
            return Place::from_node(node, context).map(Self::Place);
        };
        let is_usual = matches!(scalar.text.as_str(), "containerd" | "docker");
        if !is_usual && Place::NAMES.contains(&scalar.text.as_str()) {
            let name = &scalar.text;
            let diagnostic = context
                .error(Kind::BadValue, node.span, format!("`{name}` says no place"))
                .caused_by("this destination is a file or a folder, which is named beside it")
                .helped(format!("write `{{{name}: …}}`"));
            context.push(diagnostic);
            return None;
        }
        match Usual::from_node(node, context)? {
            Usual::Cache => Some(Self::Cache),
            Usual::Containerd => Some(Self::Place(containerd(DEFAULT_NAMESPACE))),
            Usual::Docker => Some(Self::Place(Place::Docker(EngineAddress(None)))),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let usual = Usual::schema(generator);
        let place = Place::schema(generator);
        json_schema!({"anyOf": [usual, place]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_takes_an_image_under_its_own_name_or_another() {
        let place = |text: &str| RegistryPlace::read(text).unwrap();
        let web: Reference = "ghcr.io/acme/web:v1".parse().unwrap();
        for (text, target) in [
            ("r.example/a/b", "r.example/a/b:v1"),
            ("r.example:5000/a:v2", "r.example:5000/a:v2"),
            ("r.example/mirror/", "r.example/mirror/acme/web:v1"),
            ("127.0.0.1:5000/", "127.0.0.1:5000/acme/web:v1"),
        ] {
            let found = place(text).target(&web);
            let shown = format!("{}:{}", found.repository, found.tag.unwrap());
            assert_eq!(shown, target);
        }
        for text in [
            "acme/web",
            "r.example",
            "r.example/A",
            "",
            "r.example/a@sha256:0",
            "r.example//",
        ] {
            assert!(RegistryPlace::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_line_names_kind_and_place() {
        for (text, shown) in [
            ("cache", "cache"),
            ("docker", "docker"),
            ("docker:unix:///run/d.sock", "docker unix:///run/d.sock"),
            ("containerd", "containerd default"),
            ("containerd:k8s.io", "containerd k8s.io"),
            ("oci-layout:a/b", "oci-layout a/b"),
            ("oci-archive:C:\\x.tar", "oci-archive C:\\x.tar"),
            ("docker-archive:web.tar", "docker-archive web.tar"),
        ] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "cach",
            "oci-layout",
            "oci-layout:",
            "cache:x",
            ":x",
            "docker:tcp://x",
        ] {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
    }
}
