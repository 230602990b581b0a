//! Archives of images: OCI's, Docker's, and the one that containerd imports.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Error, ErrorKind};
use super::image::{Image, Part};
use super::inflate::{Inflated, Packing};
use super::layout::{self, INDEX, Index, MARKER, MARKER_CONTENT};
use super::tar::Archive;
use crate::cache::Cache;
use crate::oci::{Descriptor, Digest};

/// Lays out an OCI layout as one file.
#[must_use]
pub fn oci(images: &[Image]) -> Archive {
    let mut archive = Archive::default();
    begin_layout(&mut archive, &Index::of(images));
    for image in images {
        for (digest, bytes) in layout::documents(image) {
            document(&mut archive, &digest, bytes);
        }
    }
    blobs(&mut archive, images.iter().flat_map(Image::blobs));
    archive
}

/// Lays out an archive that `docker load`, `podman load` and their kin read, whatever their age.
///
/// It has two tables of contents: Docker's `manifest.json`, and an OCI layout that names each image
/// by the very digest that its reference resolved to. Layers are the registry's own compressed
/// blobs. An archive with a layer that is packed with Zstandard has no OCI layout, and that layer
/// without its compression, since engines before 23.0 can't read it.
///
/// # Errors
///
/// An image is none that an engine runs, is there for several platforms, or shares its name with
/// another one; or a layer can't be unpacked.
pub async fn docker(cache: &Cache, images: &[Image]) -> Result<Archive, Error> {
    let mut names = BTreeMap::new();
    let mut contents = Vec::new();
    let mut inflated = BTreeMap::new();
    for image in images {
        let part = only_platform(image)?;
        claim(&mut names, image)?;
        let (config, layers) = parts(image, part)?;
        let mut paths = Vec::new();
        for (place, layer) in layers.iter().enumerate() {
            let path = match Packing::of(cache, &layer.digest)? {
                Packing::Usual => path_of(&layer.digest),
                Packing::Zstd => {
                    let content = content_of(cache, config, place)?;
                    if let Entry::Vacant(place) = inflated.entry(content) {
                        let size = Inflated::measure(cache, &layer.digest, &content).await?;
                        place.insert((layer.digest, size));
                    }
                    path_of(&content)
                }
            };
            paths.push(path);
        }
        contents.push(json!({
            "Config": path_of(&config.digest),
            "RepoTags": image.tagged().as_deref().map(familiar).into_iter().collect::<Vec<_>>(),
            "Layers": paths,
        }));
    }
    let mut archive = Archive::default();
    archive.file("manifest.json", Value::from(contents).to_string());
    if inflated.is_empty() {
        let mut index = Index::default();
        for image in images {
            let tag = image.reference.tag.as_deref();
            index.push(&image.top.descriptor(), &image.name(), tag, None);
        }
        begin_layout(&mut archive, &index);
        all_documents(&mut archive, images);
    } else {
        folders(&mut archive);
    }
    let unpacked: BTreeSet<Digest> = inflated.values().map(|(layer, _)| *layer).collect();
    let kept = images.iter().flat_map(Image::blobs);
    blobs(
        &mut archive,
        kept.filter(|blob| !unpacked.contains(&blob.digest)),
    );
    for (content, (layer, size)) in inflated {
        let path = path_of(&content);
        if !archive.has(&path) {
            archive.inflated(path, layer, size);
        }
    }
    Ok(archive)
}

/// Lays out an archive for `ctr images import`: each image under its name with the tag, and under its
/// name with the digest, by which Kubernetes asks for it.
///
/// # Errors
///
/// An image is there for several platforms, or shares its name with another one.
pub fn containerd(images: &[Image]) -> Result<Archive, Error> {
    let mut names = BTreeMap::new();
    let mut index = Index::default();
    for image in images {
        claim(&mut names, image)?;
        let top = image.top.descriptor();
        let tag = image.reference.tag.as_deref();
        if let Some(name) = image.tagged() {
            index.push(&top, &name, tag, None);
        }
        index.push(&top, &image.pinned(), None, None);
    }
    let mut archive = Archive::default();
    begin_layout(&mut archive, &index);
    all_documents(&mut archive, images);
    blobs(&mut archive, images.iter().flat_map(Image::blobs));
    Ok(archive)
}

/// Returns the part that an engine is to have, where there is one alone.
pub(super) fn only_platform(image: &Image) -> Result<&Part, Error> {
    let mut platforms = image.platforms();
    match (platforms.next(), platforms.next()) {
        (Some(part), None) => Ok(part),
        _ => Err(ErrorKind::SeveralPlatforms {
            reference: image.reference.to_string(),
            platforms: image
                .platforms()
                .filter_map(|part| part.platform.as_ref().map(ToString::to_string))
                .collect(),
        }
        .into()),
    }
}

/// Returns config and layers of what an engine can run.
pub(super) fn parts<'a>(
    image: &Image,
    part: &'a Part,
) -> Result<(&'a Descriptor, &'a [Descriptor]), Error> {
    let artifact = |config: &str| ErrorKind::Artifact {
        reference: image.reference.to_string(),
        config: config.to_owned(),
    };
    match part.manifest.image() {
        Some(found) if is_image(&found.config.media_type) => Ok((&found.config, &found.layers)),
        Some(found) => Err(artifact(&found.config.media_type).into()),
        None => Err(artifact("none").into()),
    }
}

/// Returns a name as Docker's users write it: without what it adds by itself.
#[must_use]
pub fn familiar(name: &str) -> String {
    let rest = name.strip_prefix("docker.io/");
    let short = rest.map(|rest| rest.strip_prefix("library/").unwrap_or(rest));
    short.unwrap_or(name).to_owned()
}

/// Refuses two images of the same name.
pub(super) fn claim(names: &mut BTreeMap<String, Digest>, image: &Image) -> Result<(), Error> {
    let digest = image
        .platforms()
        .next()
        .map_or(image.top.digest, |part| part.manifest.digest);
    take(names, image.name(), digest)
}

/// Gives a name to a digest, unless another one has it.
pub(super) fn take(
    names: &mut BTreeMap<String, Digest>,
    name: String,
    second: Digest,
) -> Result<(), Error> {
    match names.insert(name.clone(), second) {
        Some(first) if first != second => Err(ErrorKind::Conflict {
            name,
            first,
            second,
        }
        .into()),
        _ => Ok(()),
    }
}

fn is_image(config: &str) -> bool {
    use oci_client::manifest::{IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE};
    config == IMAGE_CONFIG_MEDIA_TYPE || config == IMAGE_DOCKER_CONFIG_MEDIA_TYPE
}

/// Returns the digest that a layer has without its compression, as the config says.
fn content_of(cache: &Cache, config: &Descriptor, place: usize) -> Result<Digest, Error> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: Root,
    }
    #[derive(Deserialize)]
    struct Root {
        diff_ids: Vec<Digest>,
    }
    let bytes = cache.read(&config.digest, LARGEST_CONFIG)?;
    let broken = |reason: String| ErrorKind::Layer {
        digest: config.digest,
        reason,
    };
    let read: Config = serde_json::from_slice(&bytes)
        .map_err(|error| broken(format!("its image's config can't be read: {error}")))?;
    let digest = read.rootfs.diff_ids.get(place).copied();
    digest.ok_or_else(|| broken("its image's config names fewer layers".into()).into())
}

const LARGEST_CONFIG: u64 = 8 * 1024 * 1024;

fn begin_layout(archive: &mut Archive, index: &Index) {
    archive.file(MARKER, MARKER_CONTENT);
    archive.file(INDEX, index.bytes());
    folders(archive);
}

fn folders(archive: &mut Archive) {
    archive.folder("blobs");
    archive.folder("blobs/sha256");
}

fn all_documents(archive: &mut Archive, images: &[Image]) {
    for image in images {
        let between = image.between.iter();
        let parts = image.parts.iter().map(|part| &part.manifest);
        for manifest in std::iter::once(&image.top).chain(between).chain(parts) {
            document(archive, &manifest.digest, &manifest.bytes);
        }
    }
}

fn document(archive: &mut Archive, digest: &Digest, bytes: &[u8]) {
    let path = path_of(digest);
    if !archive.has(&path) {
        archive.file(path, bytes.to_vec());
    }
}

fn blobs<'a>(archive: &mut Archive, blobs: impl Iterator<Item = &'a Descriptor>) {
    for blob in blobs {
        let path = path_of(&blob.digest);
        if !archive.has(&path) {
            archive.blob(path, blob.digest, blob.size);
        }
    }
}

fn path_of(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
