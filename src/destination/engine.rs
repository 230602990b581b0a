//! Images into container engines.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::archive;
use super::error::{Error, ErrorKind};
use super::image::{Image, Part};
use super::inflate::Packing;
use super::tar::ArchiveReader;
use crate::cache::Cache;
use crate::oci::{Descriptor, Digest};
use crate::platform::containerd;
use crate::platform::docker::{Engine, Pieces, Store};
use crate::serve::{CacheServer, Scope};

/// What became of an image in an engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// How it got there.
    pub how: How,
    /// The name that it has there.
    pub name: String,
    /// Whether it can be run by its name with the digest, without a network.
    pub by_digest: bool,
}

/// How an image got into an engine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum How {
    /// It was there under its name.
    Known,
    /// It was there, and got its name.
    Named,
    /// The engine pulled it from the cache.
    Pulled,
    /// The engine was handed an archive, for this reason.
    Loaded(String),
}

/// Brings an image into Docker Engine, if it lacks it, and gives it its name.
///
/// The engine pulls from the cache over loopback, which it does in parallel and while it unpacks. Where it
/// can't, it is handed an archive.
///
/// # Errors
///
/// The image is none that an engine runs, or the engine does not take it.
pub async fn docker(cache: &Cache, image: &Image, engine: &Engine) -> Result<Arrival, Error> {
    let part = archive::only_platform(image)?;
    let (config, layers) = archive::parts(image, part)?;
    let guest = Guest {
        image,
        part,
        config,
        engine,
    };
    let mut how = How::Known;
    if !guest.is_there().await? {
        how = match guest.obstacle(cache, layers)? {
            Some(reason) => guest.load(cache, reason).await?,
            None => match guest.pull(cache).await {
                Ok(()) => How::Pulled,
                // It may have no way to this machine's loopback: one in a virtual machine, for instance.
                Err(error) => guest.load(cache, error.to_string()).await?,
            },
        };
        if !guest.is_there().await? {
            return Err(ErrorKind::NotThere {
                image: image.name(),
            }
            .into());
        }
    }
    let name = guest.name();
    if !guest.is_called(&name).await? {
        if let Some((repository, tag)) = guest.repository_and_tag() {
            engine.tag(&guest.id(), &repository, &tag).await?;
        }
        if how == How::Known {
            how = How::Named;
        }
    }
    Ok(Arrival {
        how,
        by_digest: guest.is_called(&image.pinned()).await?,
        name,
    })
}

/// Refuses images that one engine can't hold at once: in a classic store a name stands for one image, with
/// containerd's for one index, of which several platforms may be there.
///
/// # Errors
///
/// Two images would have the same name.
pub fn claim(images: &[Image], store: Store) -> Result<(), Error> {
    let mut names = BTreeMap::new();
    for image in images {
        match store {
            Store::Classic => archive::claim(&mut names, image)?,
            Store::Containerd => archive::take(&mut names, image.name(), image.top.digest)?,
        }
    }
    Ok(())
}

/// Imports an image into containerd, under its name with the tag and its name with the digest.
///
/// # Errors
///
/// `ctr` is not here, or says no.
pub async fn containerd(
    cache: &Cache,
    image: &Image,
    target: &containerd::Target,
) -> Result<(), Error> {
    let part = archive::only_platform(image)?;
    let archive = archive::containerd(std::slice::from_ref(image))?;
    let reader = Box::new(archive.read(cache));
    containerd::import(target, part.platform.as_ref(), reader).await?;
    Ok(())
}

impl Pieces for ArchiveReader {
    fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.piece().map_err(|error| error.to_string())
    }
}

/// An image at the door of an engine.
struct Guest<'a> {
    image: &'a Image,
    part: &'a Part,
    config: &'a Descriptor,
    engine: &'a Engine,
}

impl Guest<'_> {
    /// Returns what the engine knows the image by, whatever it is called.
    fn id(&self) -> String {
        match self.engine.store {
            Store::Classic => self.config.digest.to_string(),
            Store::Containerd => self.image.top.digest.to_string(),
        }
    }

    /// Returns the name that it is to have. A classic store knows none with a digest, and drops what has none.
    fn name(&self) -> String {
        match self.repository_and_tag() {
            Some((repository, tag)) => format!("{repository}:{tag}"),
            None => self.image.pinned(),
        }
    }

    fn repository_and_tag(&self) -> Option<(String, String)> {
        let repository = self.image.reference.repository.to_string();
        let tag = match (&self.image.reference.tag, self.engine.store) {
            (Some(tag), _) => tag.clone(),
            (None, Store::Classic) => format!("sha256-{}", &self.image.top.digest.hex()[..12]),
            (None, Store::Containerd) => return None,
        };
        Some((repository, tag))
    }

    async fn is_there(&self) -> Result<bool, Error> {
        let Some(known) = self.engine.image(&self.id()).await? else {
            return Ok(false);
        };
        if self.engine.store == Store::Classic {
            return Ok(true);
        }
        if !known.manifests.is_empty() {
            let ours = self.part.manifest.digest.to_string();
            let mut manifests = known.manifests.iter();
            return Ok(manifests.any(|manifest| manifest.id == ours && manifest.available));
        }
        Ok(self.part.platform.as_ref().is_none_or(|platform| {
            platform.os == known.os && platform.architecture == known.architecture
        }))
    }

    async fn is_called(&self, name: &str) -> Result<bool, Error> {
        let known = self.engine.image(name).await?;
        Ok(known.is_some_and(|known| known.id == self.id()))
    }

    /// Says why the engine can't pull the image as it is.
    fn obstacle(&self, cache: &Cache, layers: &[Descriptor]) -> Result<Option<String>, Error> {
        if self.engine.store == Store::Containerd && self.image.reference.tag.is_none() {
            return Ok(Some(
                "a name with a digest can't be given afterwards".into(),
            ));
        }
        if !self.engine.reads_zstd() {
            for layer in layers {
                if Packing::of(cache, &layer.digest)? == Packing::Zstd {
                    let version = &self.engine.version;
                    return Ok(Some(format!(
                        "{version} reads no Zstandard, which is unpacked for it"
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Has the engine pull from a server that shows this image alone, and nobody else finds.
    async fn pull(&self, cache: &Cache) -> Result<(), Error> {
        let mut key = [0; 16];
        SystemRandom::new()
            .fill(&mut key)
            .map_err(|_| ErrorKind::NoRandomness)?;
        let prefix = hex::encode(key);
        let image = self.image;
        let between = image.between.iter().map(|manifest| manifest.digest);
        let digests: BTreeSet<Digest> = [image.top.digest, self.part.manifest.digest]
            .into_iter()
            .chain(between)
            .chain(self.part.blobs().map(|blob| blob.digest))
            .collect();
        let scope = Scope::Only {
            prefix: prefix.clone(),
            digests,
        };
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let server = CacheServer::start(cache, any, scope).await?;
        let path = &image.reference.repository.path;
        let repository = format!("{}/{prefix}/{path}", server.address());
        let top = &image.top.digest;
        let pulled = self
            .engine
            .pull(&repository, top, self.part.platform.as_ref())
            .await;
        if pulled.is_ok()
            && let Some((repository, tag)) = self.repository_and_tag()
        {
            self.engine.tag(&self.id(), &repository, &tag).await?;
        }
        // The address is gone with the server, and so should the name be.
        let untagged = self.engine.untag(&format!("{repository}@{top}")).await;
        pulled?;
        untagged?;
        Ok(())
    }

    async fn load(&self, cache: &Cache, reason: String) -> Result<How, Error> {
        let archive = archive::docker(cache, std::slice::from_ref(self.image)).await?;
        let reader = Box::new(archive.read(cache));
        self.engine.load(reader, archive.length()).await?;
        Ok(How::Loaded(reason))
    }
}
