//! What leaves the cache on demand: into files and folders, and as a registry on loopback.

use serde_json::{Value, json};

use super::args::{CacheExportArgs, CacheServeArgs, Format};
use super::clients::view_cache;
use super::session::Session;
use crate::cache::{self, Cache, Entry};
use crate::destination::{self, Image, Wanted, archive, layout};
use crate::engine::Urgency;
use crate::failure::Failure;
use crate::oci::Reference;
use crate::outcome::ExitCode;
use crate::report::words;
use crate::serve::{CacheServer, Scope, served_name};
use crate::step::destination::{Destination, Place};

/// Writes images of the cache into files and folders.
///
/// # Errors
/// One of the images is not there or not whole, or a destination can't be written.
pub async fn export(
    arguments: &CacheExportArgs,
    format: Format,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.place.cache.clone(), &session.environment)?;
    for destination in &arguments.to {
        if !matches!(
            destination,
            Destination::Place(
                Place::DockerArchive(_) | Place::OciArchive(_) | Place::OciLayout(_)
            )
        ) {
            let message = format!("the cache is not exported to {destination}");
            return Err(Failure::new(ExitCode::Usage, message)
                .hinted("name a file or a folder; `shipgate pull --to` sends images elsewhere"));
        }
    }
    let wanted = match &arguments.platform {
        None => Wanted::All,
        Some(platform) => Wanted::Platform(platform.clone()),
    };
    let mut images = Vec::new();
    for entry in chosen(&cache, &arguments.images)? {
        // What other tools wrote into the list need not be a reference.
        let Ok(reference) = entry.reference.parse::<Reference>() else {
            continue;
        };
        let image = Image::open(&cache, &reference, &entry.digest, &wanted);
        images.push(image.map_err(|error| failed(&error))?);
    }
    session.mind_signals()?;
    for destination in &arguments.to {
        let Destination::Place(place) = destination else {
            continue;
        };
        let done = tokio::select! {
            biased;
            () = session.cancel.reached(Urgency::Cancel) => return Ok(ExitCode::Cancelled),
            done = write(&cache, &images, place) => done,
        };
        done.map_err(|error| failed(&error))?;
        say(&images, destination, format, session)?;
    }
    Ok(ExitCode::Done)
}

/// Offers the cache on loopback until it is interrupted.
///
/// # Errors
/// The cache can't be read, or the address can't be had.
pub async fn serve(
    arguments: &CacheServeArgs,
    format: Format,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.place.cache.clone(), &session.environment)?;
    let entries = cache.list().map_err(|error| unusable(&cache, &error))?;
    session.mind_signals()?;
    let server = CacheServer::start(&cache, arguments.listen, Scope::All).await;
    let server = server.map_err(|error| {
        let exit = match error {
            crate::serve::StartError::NotLoopback { .. } => ExitCode::Usage,
            crate::serve::StartError::Listen { .. } => ExitCode::Unexpected,
        };
        Failure::explained(exit, "the cache can't be served", &error)
    })?;
    let address = server.address();
    if format == Format::Json {
        session.json(&json!({"address": address.to_string()}), false)?;
    } else {
        session.data(&format!("{address}\n"))?;
    }
    for entry in entries {
        if let Ok(reference) = entry.reference.parse::<Reference>() {
            let name = served_name(&reference.repository);
            let tag = reference
                .tag
                .map(|tag| format!(":{tag}"))
                .unwrap_or_default();
            session
                .printer
                .note(&format!("{address}/{name}{tag}@{}", entry.digest));
        }
    }
    session.cancel.reached(Urgency::Cancel).await;
    Ok(ExitCode::Done)
}

fn chosen(cache: &Cache, names: &[String]) -> Result<Vec<Entry>, Failure> {
    let entries = cache.list().map_err(|error| unusable(cache, &error))?;
    if names.is_empty() {
        if entries.is_empty() {
            let message = format!("the cache in {} holds no image", cache.root().display());
            return Err(Failure::new(ExitCode::Usage, message).hinted("pull one first"));
        }
        return Ok(entries);
    }
    let mut chosen: Vec<Entry> = Vec::new();
    for name in names {
        let found = entries
            .iter()
            .find(|entry| is_called(entry, name))
            .ok_or_else(|| {
                Failure::new(
                    ExitCode::Usage,
                    format!("no image in the cache is called {name}"),
                )
                .hinted("`shipgate cache ls` lists what there is")
            })?;
        if !chosen.contains(found) {
            chosen.push(found.clone());
        }
    }
    Ok(chosen)
}

/// Compares a name with an entry's: as it is written, spelled out, or by digest.
fn is_called(entry: &Entry, name: &str) -> bool {
    let spelled = name
        .parse::<Reference>()
        .map(|reference| reference.to_string());
    entry.reference == name
        || spelled.is_ok_and(|spelled| entry.reference == spelled)
        || entry.digest.to_string() == name
}

async fn write(cache: &Cache, images: &[Image], place: &Place) -> Result<(), destination::Error> {
    match place {
        Place::Containerd(_) | Place::Docker(_) | Place::Registry(_) => Ok(()),
        Place::DockerArchive(path) => {
            archive::docker(cache, images)
                .await?
                .write(cache, path)
                .await
        }
        Place::OciArchive(path) => archive::oci(images).write(cache, path).await,
        Place::OciLayout(path) => layout::write(cache, images, path).await,
    }
}

fn say(
    images: &[Image],
    to: &Destination,
    format: Format,
    session: &Session,
) -> Result<(), Failure> {
    let mut text = String::new();
    for image in images {
        let platforms = image.platforms().filter_map(|part| part.platform.as_ref());
        let platforms: Vec<String> = platforms.map(ToString::to_string).collect();
        let bytes = image.blobs().iter().map(|blob| blob.size).sum();
        if format == Format::Json {
            let line: Value = json!({
                "reference": image.reference.to_string(),
                "digest": image.top.digest,
                "platforms": platforms,
                "bytes": bytes,
                "to": to.to_string(),
            });
            session.json(&line, false)?;
        } else {
            text += &format!(
                "{to}  {}  {}  {}\n",
                image.name(),
                image.top.digest,
                words::size(bytes)
            );
        }
    }
    session.data(&text)
}

fn failed(error: &destination::Error) -> Failure {
    let exit = match error.kind() {
        destination::ErrorKind::Conflict { .. }
        | destination::ErrorKind::SeveralPlatforms { .. } => ExitCode::Usage,
        _ => ExitCode::Unexpected,
    };
    Failure::explained(exit, "the images can't be written", error)
}

fn unusable(cache: &Cache, error: &cache::Error) -> Failure {
    let message = format!("the cache in {} can't be used", cache.root().display());
    Failure::explained(ExitCode::Unexpected, message, error)
}
