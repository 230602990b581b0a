//! What `preload` does with images that are whole in the cache: hands them on, once their trust rules allow it.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::destination::{Destination, EngineAddress, Place, RegistryPlace};
use super::{registry as grant_registry, verify};
use crate::cache::Cache;
use crate::destination::engine::{self, Arrival, How};
use crate::destination::registry::{self, Copied, Target};
use crate::destination::{self, Image, archive, layout};
use crate::engine::grants::Grants;
use crate::engine::task::Rehearsal;
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::platform::containerd;
use crate::platform::docker::{self, Address, Engine};
use crate::pull::{CONNECTIONS, Puller};
use crate::report::{Detail, words};

/// Adds what a destination may touch.
pub(super) fn grants(destination: &Destination, grants: &mut Grants, context: &Context) {
    let Destination::Place(place) = destination else {
        return;
    };
    match place {
        Place::Containerd(_) => grants.program(containerd::PROGRAM, place.key(), true),
        Place::Docker(address) => {
            if address.0.is_none() {
                grants.variable("DOCKER_HOST", "socket of Docker Engine");
            }
            // An address that is none is refused when it is to be used.
            if let Ok(address) = socket(address, context) {
                grants.socket(address.path().display().to_string(), place.key());
            }
        }
        // A launcher hands folders over, and carries only small files out by itself.
        Place::DockerArchive(path) | Place::OciArchive(path) => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            grants.write(folder.display().to_string(), place.key());
        }
        Place::OciLayout(path) => grants.write(path.display().to_string(), place.key()),
        Place::Registry(place) => grant_registry(place.registry(), "copy", grants, context),
    }
}

/// Hands images on to all destinations but the cache.
pub(super) async fn deliver(
    names: &[&str],
    to: &[Destination],
    context: &Context,
) -> Result<(), Failure> {
    let places = places(to);
    if places.is_empty() {
        return Ok(());
    }
    // Until its rule has passed, an image is nowhere but in the cache.
    try_join_all(names.iter().map(|name| verify::prove(name, context))).await?;
    let mut images = Vec::new();
    for name in names {
        images.push(open(name, context).await?);
    }
    for place in places {
        hand_on(names, &images, place, context).await?;
    }
    Ok(())
}

/// Says where images would go, and asks what proves them.
pub(super) async fn rehearse(
    names: &[&str],
    to: &[Destination],
    context: &Context,
) -> Result<Rehearsal, Failure> {
    let places = places(to);
    if places.is_empty() {
        return Ok(Rehearsal::default());
    }
    for place in &places {
        if let Place::Docker(address) = place {
            let to = Destination::Place((*place).clone()).to_string();
            let reached = async { Engine::connect(socket(address, context)?).await };
            let reached: Result<Engine, docker::Error> = reached.await;
            reached.map_err(|error| failed(names, &to, &error.into()))?;
        }
    }
    let rules = try_join_all(names.iter().map(|name| verify::prove(name, context))).await?;
    let lines = places.into_iter().flat_map(|place| {
        names.iter().zip(&rules).map(move |(name, rule)| {
            let place = Destination::Place(place.clone());
            match rule {
                Some(rule) => format!("{name}: to {place}, since the rule {rule} passes"),
                None => format!("{name}: to {place}"),
            }
        })
    });
    Ok(lines.map(Rehearsal::said).collect())
}

async fn hand_on(
    names: &[&str],
    images: &[Image],
    place: &Place,
    context: &Context,
) -> Result<(), Failure> {
    let began = Instant::now();
    let cache = &context.world.cache;
    let to = Destination::Place(place.clone()).to_string();
    let mut details: Vec<String> = images.iter().map(|image| detail(image, place)).collect();
    let done = match place {
        Place::Containerd(target) => {
            let target = containerd::Target {
                namespace: target.namespace.clone(),
                address: target.address.clone(),
            };
            import(cache, images, &target).await
        }
        Place::Registry(place) => {
            let copies = replicate(images, place, context).await;
            copies.map(|copies| details = copies)
        }
        Place::Docker(address) => {
            let arrivals = into_docker(cache, images, address, context).await;
            arrivals.map(|arrivals| details = arrivals)
        }
        Place::DockerArchive(path) => match archive::docker(cache, images).await {
            Ok(archive) => archive.write(cache, path).await,
            Err(error) => Err(error),
        },
        Place::OciArchive(path) => archive::oci(images).write(cache, path).await,
        Place::OciLayout(path) => layout::write(cache, images, path).await,
    };
    done.map_err(|error| failed(names, &to, &error))?;
    for ((name, image), detail) in names.iter().zip(images).zip(details) {
        context.events.emit(Detail::ImageDelivered {
            image: (*name).to_owned(),
            digest: image.top.digest,
            to: to.clone(),
            detail,
            took: began.elapsed(),
        });
    }
    Ok(())
}

async fn import(
    cache: &Cache,
    images: &[Image],
    target: &containerd::Target,
) -> Result<(), destination::Error> {
    for image in images {
        engine::containerd(cache, image, target).await?;
    }
    Ok(())
}

async fn replicate(
    images: &[Image],
    place: &RegistryPlace,
    context: &Context,
) -> Result<Vec<String>, destination::Error> {
    let world = &context.world;
    let client = context.registries();
    let puller = Puller::new(&client, &world.cache, CONNECTIONS);
    let target = |image: &Image| (place.target(&image.reference), image.top.digest);
    registry::claim(images.iter().map(target))?;
    let mut details = Vec::new();
    for image in images {
        let (target, digest) = target(image);
        let source = (&image.reference, digest);
        let copied = registry::copy(&client, &puller, &world.cache, source, &target).await?;
        details.push(copied_words(&copied, &target, digest));
    }
    Ok(details)
}

/// Says what a copy is called, and what it cost.
fn copied_words(copied: &Copied, target: &Target, digest: Digest) -> String {
    let tag = target.tag.as_ref().map(|tag| format!(":{tag}"));
    let name = format!("{}{}@{digest}", target.repository, tag.unwrap_or_default());
    let (blobs, bytes) = copied.sent;
    let sent = words::count(blobs, "blob", "blobs");
    format!(
        "as {name}: {sent} sent ({}), {} mounted, {} there before; {} about it",
        words::size(bytes),
        copied.mounted,
        copied.there,
        words::count(copied.referrers, "manifest", "manifests"),
    )
}

async fn into_docker(
    cache: &Cache,
    images: &[Image],
    address: &EngineAddress,
    context: &Context,
) -> Result<Vec<String>, destination::Error> {
    let engine = Engine::connect(socket(address, context)?).await?;
    engine::claim(images, engine.store)?;
    let mut details = Vec::new();
    for image in images {
        let arrival = engine::docker(cache, image, &engine).await?;
        details.push(arrived(image, &arrival, &engine));
    }
    Ok(details)
}

fn socket(address: &EngineAddress, context: &Context) -> Result<Address, docker::Error> {
    match (&address.0, &context.world.docker_host) {
        (Some(address), _) => Ok(address.clone()),
        (None, Some(address)) => Address::parse(address),
        (None, None) => Ok(Address::default()),
    }
}

/// Says how an image came into an engine, what it is called there, and whether its digest works as a name.
fn arrived(image: &Image, arrival: &Arrival, engine: &Engine) -> String {
    let name = archive::familiar(&arrival.name);
    let how = match &arrival.how {
        How::Known => format!("was there as {name}"),
        How::Named => format!("was there, and got the name {name}"),
        How::Pulled => format!("pulled from the cache as {name}"),
        How::Loaded(reason) => format!("loaded as {name}, since {reason}"),
    };
    if arrival.by_digest {
        return format!("{how}; `docker run {}` needs no network", image.pinned());
    }
    let version = &engine.version;
    format!(
        "{how}; by its tag alone: the store of {version} keeps the digests of what it pulled itself from \
         that registry, containerd's image store keeps all"
    )
}

/// Says what an image is called in a file or folder, and how large it is.
fn detail(image: &Image, place: &Place) -> String {
    let bytes = image.blobs().iter().map(|blob| blob.size).sum();
    let size = words::size(bytes);
    match (place, image.tagged()) {
        (Place::DockerArchive(_), Some(name)) => {
            format!("{size}, as {}", archive::familiar(&name))
        }
        (Place::DockerArchive(_), None) => {
            let id = image
                .platforms()
                .next()
                .and_then(|part| part.blobs().next());
            let id = id
                .map(|config| config.digest.to_string())
                .unwrap_or_default();
            format!("{size}, without a name: it was asked for by digest, and is loaded as {id}")
        }
        _ => format!("{size}, as {}", image.name()),
    }
}

async fn open(name: &str, context: &Context) -> Result<Image, Failure> {
    let world = &context.world;
    let resolved = world.images.resolve(name, context).await;
    let resolved = resolved.map_err(|error| error.failure(name, ExitCode::PreloadFailed))?;
    Image::of_resolved(&world.cache, &resolved)
        .map_err(|error| failed(&[name], "its destination", &error))
}

fn failed(names: &[&str], to: &str, error: &destination::Error) -> Failure {
    let names: BTreeSet<&str> = names.iter().copied().collect();
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let what = if names.len() == 1 { "image" } else { "images" };
    let message = format!("{what} {} did not get to {to}", names.join(", "));
    Failure::explained(ExitCode::PreloadFailed, message, error)
}

fn places(to: &[Destination]) -> Vec<&Place> {
    to.iter()
        .filter_map(|destination| match destination {
            Destination::Cache => None,
            Destination::Place(place) => Some(place),
        })
        .collect()
}
