//! What `preload` does with images that are whole in the cache: hands them on, once their trust rules allow it.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::destination::{Destination, Place};
use super::verify;
use crate::destination::{self, Image, archive, layout};
use crate::engine::grants::Grants;
use crate::engine::task::Rehearsal;
use crate::engine::world::Context;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::{Detail, words};

/// Adds what a destination may touch.
pub(super) fn grants(destination: &Destination, grants: &mut Grants) {
    let Destination::Place(place) = destination else {
        return;
    };
    match place {
        // A launcher hands folders over, and carries only small files out by itself.
        Place::DockerArchive(path) | Place::OciArchive(path) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            grants.write(folder.display().to_string(), place.key());
        }
        Place::OciLayout(path) => grants.write(path.display().to_string(), place.key()),
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
    let done = match place {
        Place::DockerArchive(path) => match archive::docker(cache, images).await {
            Ok(archive) => archive.write(cache, path).await,
            Err(error) => Err(error),
        },
        Place::OciArchive(path) => archive::oci(images).write(cache, path).await,
        Place::OciLayout(path) => layout::write(cache, images, path).await,
    };
    let to = Destination::Place(place.clone()).to_string();
    done.map_err(|error| failed(names, &to, &error))?;
    for (name, image) in names.iter().zip(images) {
        context.events.emit(Detail::ImageDelivered {
            image: (*name).to_owned(),
            digest: image.top.digest,
            to: to.clone(),
            detail: detail(image, place),
            took: began.elapsed(),
        });
    }
    Ok(())
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
            let id = image.platforms().next().and_then(|part| part.blobs().next());
            let id = id.map(|config| config.digest.to_string()).unwrap_or_default();
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
