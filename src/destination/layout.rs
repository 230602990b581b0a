//! OCI image layouts: what `index.json` says, and layouts in folders.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::{Error, ErrorKind};
use super::image::Image;
use super::temporary::Temporary;
use crate::cache::Cache;
use crate::oci::{Descriptor, Digest};

/// Writes images into an OCI layout in a folder, beside those that are in it. An image of the same
/// name is replaced.
///
/// Blobs are links to those of the cache where the file system has them, else copies.
///
/// # Errors
///
/// The folder holds other things, can't be written, or a blob can't be read.
pub async fn write(cache: &Cache, images: &[Image], folder: &Path) -> Result<(), Error> {
    check(folder)?;
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| Error::io("make the folder", &blobs, error))?;
    let marker = folder.join(MARKER);
    if !marker.exists() {
        replace(&marker, MARKER_CONTENT)?;
    }
    let mut index = Index::read(&folder.join(INDEX))?;
    for image in images {
        index.add(image);
        for blob in image.blobs() {
            place(cache, &blob.digest, blob.size, &blobs).await?;
        }
        for (digest, bytes) in documents(image) {
            let path = blobs.join(digest.hex());
            let there = fs::metadata(&path).is_ok_and(|it| it.len() == bytes.len() as u64);
            if !there {
                replace(&path, bytes)?;
            }
        }
    }
    // What names the images comes last: a reader finds all of an image or none of it.
    replace(&folder.join(INDEX), &index.bytes())
}

/// Returns the manifests that belong into a layout with an image: all of a complete one, of
/// another one those of its platforms.
pub(super) fn documents(image: &Image) -> impl Iterator<Item = (Digest, &[u8])> {
    let above = image.complete.then(|| {
        let between = image.between.iter();
        std::iter::once(&image.top).chain(between)
    });
    let parts = image.parts.iter().map(|part| &part.manifest);
    above
        .into_iter()
        .flatten()
        .chain(parts)
        .map(|manifest| (manifest.digest, manifest.bytes.as_ref()))
}

/// The `index.json` of a layout.
pub(super) struct Index {
    /// Everything but the entries.
    document: Value,
    entries: Vec<Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            document: json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [],
            }),
            entries: Vec::new(),
        }
    }
}

impl Index {
    fn read(path: &Path) -> Result<Self, Error> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            file => file.map_err(|error| Error::io("open", path, error))?,
        };
        let mut text = String::new();
        file.take(LARGEST_INDEX)
            .read_to_string(&mut text)
            .map_err(|error| Error::io("read", path, error))?;
        let no_index = || ErrorKind::NotALayout {
            path: path.parent().unwrap_or(path).to_owned(),
            reason: "its index.json is no index".into(),
        };
        let mut document: Value = serde_json::from_str(&text).map_err(|_| no_index())?;
        match document["manifests"].take() {
            Value::Array(entries) if document.is_object() => Ok(Self { document, entries }),
            _ => Err(no_index().into()),
        }
    }

    /// Adds an image under its name, and takes out what had that name. A complete image is its
    /// index; of another one each platform that is there is an entry: a reader that follows all
    /// that an index names would miss the rest.
    fn add(&mut self, image: &Image) {
        let name = image.name();
        let entries = &mut self.entries;
        entries.retain(|entry| entry["annotations"][NAME] != name.as_str());
        let tag = image.reference.tag.as_deref();
        // Tools find an image by its tag. Where another image has it already, only the whole name is left.
        let taken = |entry: &Value| entry["annotations"][REF_NAME].as_str() == tag;
        let short = tag.map(|tag| match entries.iter().any(taken) {
            true => name.clone(),
            false => tag.to_owned(),
        });
        let described: Vec<Descriptor> = if image.complete {
            vec![image.top.descriptor()]
        } else {
            image.parts.iter().map(super::Part::descriptor).collect()
        };
        for descriptor in described {
            let index = (!image.complete && descriptor.digest != image.top.digest)
                .then_some(image.top.digest);
            self.push(&descriptor, &name, short.as_deref(), index);
        }
    }

    /// Adds an entry of a name that containerd and newer engines give the image.
    pub(super) fn push(
        &mut self,
        descriptor: &Descriptor,
        name: &str,
        short: Option<&str>,
        index: Option<Digest>,
    ) {
        let mut annotations = json!({NAME: name});
        if let Some(short) = short {
            annotations[REF_NAME] = short.into();
        }
        if let Some(index) = index {
            annotations[OF_INDEX] = index.to_string().into();
        }
        let mut entry = json!({
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
        });
        if let Some(platform) = &descriptor.platform {
            entry["platform"] = json!(platform);
        }
        entry["annotations"] = annotations;
        self.entries.push(entry);
    }

    pub(super) fn of(images: &[Image]) -> Self {
        let mut index = Self::default();
        for image in images {
            index.add(image);
        }
        index
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut document = self.document.clone();
        document["manifests"] = self.entries.clone().into();
        let mut text = document.to_string().into_bytes();
        text.push(b'\n');
        text
    }
}

pub(super) const MARKER: &str = "oci-layout";
pub(super) const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(super) const INDEX: &str = "index.json";
const LARGEST_INDEX: u64 = 16 * 1024 * 1024;
/// By which skopeo, oras and buildkit find an image: its tag, by their custom.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// By which containerd and Docker Engine call an image that they import.
const NAME: &str = "io.containerd.image.name";
/// The index that the image of a platform was taken from.
const OF_INDEX: &str = "dev.shipgate.index";

/// Refuses a folder that is neither empty nor a layout.
fn check(folder: &Path) -> Result<(), Error> {
    let strange = |reason: String| ErrorKind::NotALayout {
        path: folder.to_owned(),
        reason,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| Error::io("read the folder", folder, error))?,
    };
    let mut names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .peekable();
    if names.peek().is_none() || folder.join(MARKER).is_file() {
        return Ok(());
    }
    // One that was killed before its marker was written goes on.
    match names.find(|name| name != "blobs" && !name.starts_with('.')) {
        None => Ok(()),
        Some(name) => Err(strange(format!("it holds `{name}` and no {MARKER}")).into()),
    }
}

/// Puts a blob of the cache into a folder, unless it is there.
async fn place(cache: &Cache, digest: &Digest, size: u64, folder: &Path) -> Result<(), Error> {
    let to = folder.join(digest.hex());
    let there = |path: &PathBuf| {
        fs::symlink_metadata(path).is_ok_and(|it| it.is_file() && it.len() == size)
    };
    if there(&to) {
        return Ok(());
    }
    let (blob, found) = cache.open_blob(digest)?;
    if found != size {
        return Err(
            crate::cache::Error::from(crate::cache::ErrorKind::SizeMismatch {
                digest: *digest,
                expected: size,
                found,
            })
            .into(),
        );
    }
    let temporary = Temporary::name(&to);
    // Another file system, one without links, or too many of them: all are answered by a copy.
    if fs::hard_link(cache.path(digest), temporary.path()).is_ok() {
        return temporary.rename(&to);
    }
    let (mut file, temporary) = Temporary::beside(&to)?;
    let mut left = size;
    while left > 0 {
        let copied = io::copy(&mut (&blob).take(left.min(PIECE)), &mut file);
        let copied = copied.map_err(|error| Error::io("write", &to, error))?;
        if copied == 0 {
            let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(Error::io("read", &cache.path(digest), cut));
        }
        left = left.saturating_sub(copied);
        tokio::task::yield_now().await;
    }
    drop(file);
    temporary.rename(&to)
}

const PIECE: u64 = 16 << 20;

fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let (mut file, temporary) = Temporary::beside(path)?;
    file.write_all(content)
        .map_err(|error| Error::io("write", path, error))?;
    drop(file);
    temporary.rename(path)
}
