//! The mirrors that a document means: its own, and those of another tool's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::clients::read;
use crate::engine::grants::Grants;
use crate::failure::Failure;
use crate::oci::mirror::{Refused, hosts_toml, registries_conf};
use crate::oci::{Mirrors, Sources};
use crate::outcome::ExitCode;
use crate::pipeline::Document;
use crate::pipeline::mirror::MirrorFiles;

/// Returns the mirrors of all registries.
///
/// # Errors
/// Configuration that can't be read, or says what can't be honoured.
pub fn of(document: &Document) -> Result<Mirrors, Failure> {
    let mut all = elsewhere(document)?;
    let registries = document.registries.iter();
    // What the document says of a registry itself comes last, and so counts.
    all.extend(
        registries.filter_map(|(host, registry)| Some((host.value.0.clone(), registry.sources()?))),
    );
    Ok(Mirrors::new(all))
}

/// Adds the files that mirrors are read from.
pub fn grant(document: &Document, grants: &mut Grants) {
    match &document.registries_from {
        None => {}
        Some(MirrorFiles::Containerd(folder)) => {
            for registry in registries(document) {
                if let Some(path) = hosts_file(&folder.value, &registry) {
                    let path = path.display().to_string();
                    grants.read(path, format!("mirrors of {registry}"));
                }
            }
        }
        Some(MirrorFiles::Containers(path)) => {
            grants.read(path.value.display().to_string(), "mirrors");
        }
    }
}

/// Reads the configuration of another tool, as far as it is about registries of the document.
fn elsewhere(document: &Document) -> Result<Vec<(String, Sources)>, Failure> {
    let registries = registries(document);
    match &document.registries_from {
        None => Ok(Vec::new()),
        Some(MirrorFiles::Containerd(folder)) => {
            let folder = &folder.value;
            let mut all = Vec::new();
            for registry in &registries {
                if let Some(path) = hosts_file(folder, registry) {
                    let text = text(&path)?;
                    let authorities = &document.net.ca;
                    let trusts =
                        |file: &str| authorities.iter().any(|known| known == Path::new(file));
                    let sources = hosts_toml::read(&text, registry, &trusts);
                    let sources = sources.map_err(|refused| unusable(&path, &refused))?;
                    all.push((registry.clone(), sources));
                }
            }
            if all.is_empty() && !registries.is_empty() {
                let names: Vec<&str> = registries.iter().map(String::as_str).collect();
                let message = format!(
                    "{} says nothing of any registry of the document",
                    folder.display()
                );
                return Err(Failure::new(ExitCode::InputInvalid, message)
                    .caused_by(format!("there is no hosts.toml in a folder named {}, nor in `_default`", names.join(" or ")))
                    .hinted("name the folder that containerd's `config_path` names, usually /etc/containerd/certs.d, or remove `registries-from`"));
            }
            Ok(all)
        }
        Some(MirrorFiles::Containers(path)) => {
            let text = text(&path.value)?;
            let names: Vec<&str> = registries.iter().map(String::as_str).collect();
            registries_conf::read(&text, &names).map_err(|refused| unusable(&path.value, &refused))
        }
    }
}

/// Returns the registries of the document's images that have no mirrors in the document itself.
fn registries(document: &Document) -> BTreeSet<String> {
    let own = |registry: &str| {
        let mut entries = document.registries.iter();
        entries.any(|(host, entry)| host.value.0 == registry && entry.mirrors.is_some())
    };
    let images = document.images.values();
    images
        .map(|image| image.r#ref.value.repository.registry.clone())
        .filter(|registry| !own(registry))
        .collect()
}

/// Returns the `hosts.toml` of a registry, where containerd looks for it.
fn hosts_file(folder: &Path, registry: &str) -> Option<PathBuf> {
    // A colon can't stand in a path everywhere, so there is another spelling.
    let spelled = registry
        .rsplit_once(':')
        .map(|(host, port)| format!("{host}_{port}_"));
    let names = [
        Some(registry.to_owned()),
        spelled,
        Some("_default".to_owned()),
    ];
    names
        .into_iter()
        .flatten()
        .map(|name| folder.join(name).join("hosts.toml"))
        .find(|path| path.is_file())
}

fn text(path: &Path) -> Result<String, Failure> {
    let message = format!("{} can't be used", path.display());
    let bytes = read(path, &message)?;
    String::from_utf8(bytes).map_err(|_| {
        Failure::new(ExitCode::InputInvalid, message)
            .caused_by("it is not UTF-8")
            .hinted("repair the file")
    })
}

fn unusable(path: &Path, refused: &[Refused]) -> Failure {
    let message = format!("{} says what can't be honoured", path.display());
    let mut failure = Failure::new(ExitCode::InputInvalid, message);
    for one in refused.iter().take(20) {
        failure = failure.caused_by(one.to_string());
    }
    let hint = refused.first().map(|first| first.hint.clone());
    failure.hinted(hint.unwrap_or_default())
}
