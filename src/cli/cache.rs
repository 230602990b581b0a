//! What the cache holds, and keeping it in order.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::args::{CacheArgs, CacheGcArgs, CacheRmArgs, CacheVerifyArgs, Format};
use super::clients::{read, view_cache};
use super::session::Session;
use crate::cache::{self, Cache, Removed};
use crate::failure::Failure;
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::report::words;

/// Lists the images in the cache.
///
/// # Errors
/// The cache can't be read.
pub fn ls(arguments: &CacheArgs, format: Format, session: &Session) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.cache.clone(), &session.environment)?;
    let entries = cache.list().map_err(|error| unusable(&cache, &error))?;
    let mut text = String::new();
    for entry in &entries {
        let platforms: Vec<String> = entry.platforms.iter().map(ToString::to_string).collect();
        let when = entry.when.map(|when| when.to_string());
        if format == Format::Json {
            let line = json!({
                "reference": entry.reference,
                "digest": entry.digest,
                "platforms": platforms,
                "bytes": entry.bytes,
                "when": when,
            });
            session.json(&line, false)?;
        } else {
            let size = words::size(entry.bytes);
            let platforms = if platforms.is_empty() {
                "-".to_owned()
            } else {
                platforms.join(",")
            };
            text += &format!(
                "{}  {}  {platforms}  {size}  {}\n",
                entry.reference,
                entry.digest,
                when.as_deref().unwrap_or("-")
            );
        }
    }
    if entries.is_empty() {
        session.printer.note(&format!(
            "the cache in {} holds no image",
            cache.root().display()
        ));
    }
    if format != Format::Json {
        session.data(&text)?;
    }
    Ok(ExitCode::Done)
}

/// Hashes every blob, and removes those that are damaged unless they are to be kept.
///
/// # Errors
/// The cache can't be read, or something in it is damaged.
pub fn verify(
    arguments: &CacheVerifyArgs,
    format: Format,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.place.cache.clone(), &session.environment)?;
    let checked = cache
        .check(!arguments.keep)
        .map_err(|error| unusable(&cache, &error))?;
    if format == Format::Json {
        let damaged: Vec<Value> = checked
            .damaged
            .iter()
            .map(|(digest, found)| {
                let found = found.map(|found| found.to_string());
                json!({"digest": digest.to_string(), "found": found, "removed": !arguments.keep})
            })
            .collect();
        let incomplete: Vec<Value> = checked
            .incomplete
            .iter()
            .map(|(reference, missing)| json!({"reference": reference, "missing": texts(missing)}))
            .collect();
        let page = json!({
            "whole": checked.whole,
            "bytes": checked.bytes,
            "damaged": damaged,
            "incomplete": incomplete,
        });
        session.json(&page, true)?;
    } else {
        let mut text = String::new();
        for (digest, found) in &checked.damaged {
            let found = found.map_or_else(
                || "it can't be read".into(),
                |found| format!("found {found}"),
            );
            let removed = if arguments.keep { "" } else { ", removed" };
            text += &format!("damaged  {digest}  {found}{removed}\n");
        }
        for (reference, missing) in &checked.incomplete {
            text += &format!("incomplete  {reference}  {}\n", texts(missing).join(" "));
        }
        text += &format!(
            "{} of {} whole, {}\n",
            checked.whole,
            words::count(
                checked.whole + checked.damaged.len() as u64,
                "blob",
                "blobs"
            ),
            words::size(checked.bytes)
        );
        session.data(&text)?;
    }
    if checked.damaged.is_empty() && checked.incomplete.is_empty() {
        return Ok(ExitCode::Done);
    }
    let message = format!("the cache in {} is not whole", cache.root().display());
    Err(Failure::new(ExitCode::PreloadFailed, message)
        .caused_by(format!(
            "{} damaged, {} incomplete",
            words::count(checked.damaged.len() as u64, "blob", "blobs"),
            words::count(checked.incomplete.len() as u64, "image", "images")
        ))
        .hinted("pull the images again: what is whole is not fetched twice"))
}

/// Removes what nobody has used for longest.
///
/// # Errors
/// The cache can't be changed, or a lock file can't be read.
pub async fn gc(
    arguments: &CacheGcArgs,
    format: Format,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let mut pinned = BTreeSet::new();
    for path in &arguments.lock {
        pinned.extend(pins(path)?);
    }
    let cache = view_cache(arguments.place.cache.clone(), &session.environment)?;
    let removed = cache
        .collect(arguments.max_size, &pinned)
        .await
        .map_err(|error| unusable(&cache, &error))?;
    say(&removed, format, session)?;
    if removed.left > arguments.max_size {
        session.printer.warning(
            &format!(
                "the cache still holds {}: the rest is pinned, or so new that a pull may be at it",
                words::size(removed.left)
            ),
            None,
        );
    }
    Ok(ExitCode::Done)
}

/// Removes images.
///
/// # Errors
/// One of them is not there, or the cache can't be changed.
pub async fn rm(
    arguments: &CacheRmArgs,
    format: Format,
    session: &Session,
) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.place.cache.clone(), &session.environment)?;
    let mut sum = Removed::default();
    for image in &arguments.images {
        let removed = cache.forget(image).await.map_err(|error| {
            let exit = match error.kind() {
                cache::ErrorKind::Unknown { .. } => ExitCode::Usage,
                _ => ExitCode::Unexpected,
            };
            Failure::explained(exit, format!("{image} can't be removed"), &error)
        })?;
        sum.references.extend(removed.references);
        sum.blobs += removed.blobs;
        sum.freed += removed.freed;
        sum.left = removed.left;
    }
    say(&sum, format, session)?;
    Ok(ExitCode::Done)
}

/// Prints a key for CI caches.
///
/// # Errors
/// The cache can't be read.
pub fn key(arguments: &CacheArgs, session: &Session) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.cache.clone(), &session.environment)?;
    let key = cache.key().map_err(|error| unusable(&cache, &error))?;
    session.data(&format!("{key}\n"))?;
    Ok(ExitCode::Done)
}

fn say(removed: &Removed, format: Format, session: &Session) -> Result<(), Failure> {
    if format == Format::Json {
        let page = json!({
            "references": removed.references,
            "blobs": removed.blobs,
            "freed": removed.freed,
            "left": removed.left,
        });
        return session.json(&page, true);
    }
    let mut text = String::new();
    for reference in &removed.references {
        text += &format!("removed  {reference}\n");
    }
    text += &format!(
        "{} removed, {} freed, {} left\n",
        words::count(removed.blobs, "blob", "blobs"),
        words::size(removed.freed),
        words::size(removed.left)
    );
    session.data(&text)
}

/// Reads the digests that a lock file pins, whatever document it is for.
fn pins(path: &Path) -> Result<Vec<Digest>, Failure> {
    let message = format!("the lock file {} can't be used", path.display());
    let bytes = read(path, &message)?;
    let parsed: Option<Value> = serde_json::from_slice(&bytes).ok();
    let images = parsed.as_ref().and_then(|lock| lock["images"].as_object());
    let Some(images) = images else {
        return Err(Failure::new(ExitCode::InputInvalid, message)
            .caused_by("it has no images")
            .hinted("name a file that `shipgate run --lock` wrote"));
    };
    let digest = |image: &Value| image["digest"].as_str()?.parse().ok();
    Ok(images.values().filter_map(digest).collect())
}

fn texts(digests: &[Digest]) -> Vec<String> {
    digests.iter().map(ToString::to_string).collect()
}

fn unusable(cache: &Cache, error: &cache::Error) -> Failure {
    let message = format!("the cache in {} can't be used", cache.root().display());
    Failure::explained(ExitCode::Unexpected, message, error)
}
