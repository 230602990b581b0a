//! `to`: where a document or a command line sends images.

use std::fmt;
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::pipeline::convert::{Context, FromNode};
use crate::pipeline::diagnostic::Kind;
use crate::pipeline::record::{OneOf as _, choice, one_of};
use crate::pipeline::tree::Node;

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
    pub enum Place("a destination", later = ["containerd", "docker", "registry"]) {
        /// A file that every Docker Engine, podman and their kin load.
        DockerArchive(PathBuf) = "docker-archive",
        /// An OCI layout as one file.
        OciArchive(PathBuf) = "oci-archive",
        /// An OCI layout in a folder, beside the images that are in it.
        OciLayout(PathBuf) = "oci-layout",
    }
}

choice! {
    /// A place for images that needs no address.
    pub enum Usual("a destination", later = ["containerd", "docker", "engine"]) {
        /// The content-addressed cache.
        Cache = "cache",
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
        let read = match kind {
            "cache" if place.is_none() => Some(Self::Cache),
            "docker-archive" => path().map(Place::DockerArchive).map(Self::Place),
            "oci-archive" => path().map(Place::OciArchive).map(Self::Place),
            "oci-layout" => path().map(Place::OciLayout).map(Self::Place),
            _ => None,
        };
        read.ok_or_else(|| FORMS.to_owned())
    }
}

/// What a command line may say.
const FORMS: &str = "write cache, docker-archive:FILE, oci-archive:FILE or oci-layout:DIR";

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache => f.write_str("cache"),
            Self::Place(place) => {
                f.write_str(place.key())?;
                match place {
                    Place::DockerArchive(path) | Place::OciArchive(path) | Place::OciLayout(path) => {
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
        if Place::NAMES.contains(&scalar.text.as_str()) {
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
    fn a_command_line_names_kind_and_place() {
        for (text, shown) in [
            ("cache", "cache"),
            ("oci-layout:a/b", "oci-layout a/b"),
            ("oci-archive:C:\\x.tar", "oci-archive C:\\x.tar"),
            ("docker-archive:web.tar", "docker-archive web.tar"),
        ] {
            assert_eq!(Destination::parse(text).unwrap().to_string(), shown);
        }
        for text in ["", "cach", "oci-layout", "oci-layout:", "cache:x", ":x"] {
            assert!(Destination::parse(text).is_err(), "{text}");
        }
    }
}
