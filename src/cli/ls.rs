//! What the cache holds.

use serde_json::json;

use super::args::{CacheLsArgs, Format};
use super::clients::view_cache;
use super::session::Session;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::words;

/// Lists the images in the cache.
///
/// # Errors
/// The cache can't be read.
pub fn ls(arguments: &CacheLsArgs, format: Format, session: &Session) -> Result<ExitCode, Failure> {
    let cache = view_cache(arguments.cache.clone(), &session.environment)?;
    let entries = cache.list().map_err(|error| {
        let message = format!("the cache in {} can't be read", cache.root().display());
        Failure::explained(ExitCode::Unexpected, message, &error)
    })?;
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
