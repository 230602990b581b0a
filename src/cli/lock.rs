//! The lock file of `--lock`: read before a run if it is there, written after it if not.

use std::path::Path;

use super::args::RunArgs;
use super::clients;
use super::setting::Setting;
use crate::engine::lock::{Lock, MAX_BYTES};
use crate::engine::world::{Context, World};
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::write::write_whole;

/// Reads the lock file that an earlier run wrote; nothing if there is none.
///
/// # Errors
/// It can't be read, or was made for something else.
pub fn read(arguments: &RunArgs, setting: &Setting) -> Result<Option<Lock>, Failure> {
    let Some(path) = arguments.lock.as_deref() else {
        return Ok(None);
    };
    if !path.exists() {
        return match &arguments.from {
            None => Ok(None),
            Some(from) => Err(lacking(path, from)),
        };
    }
    let message = format!("the lock file {} can't be used", path.display());
    let bytes = clients::read(path, &message).map_err(|failure| Failure {
        exit: ExitCode::LockMismatch,
        ..failure
    })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::new(ExitCode::LockMismatch, message)
            .caused_by("it is larger than 1 MiB")
            .hinted("name the file that an earlier run wrote with --lock"));
    }
    Lock::parse(&bytes, &setting.fingerprints)
        .map(Some)
        .map_err(|error| Failure::explained(ExitCode::LockMismatch, message, &error))
}

/// A run that begins in the middle goes on with what an earlier call has pinned. Without that it would
/// resolve the tags anew, and watch an image that nobody has verified.
fn lacking(path: &Path, from: &str) -> Failure {
    Failure::new(
        ExitCode::LockMismatch,
        format!("there is no lock file {}", path.display()),
    )
    .caused_by(format!(
        "`--from {from}` with `--lock` goes on with the digests that an earlier call has written"
    ))
    .hinted(
        "give the earlier call the same `--lock`, and hand the file over to this job; \
         to resolve tags anew, leave `--lock` out",
    )
}

/// Finds out for a lock file where registries keep their blobs: a rehearsal fetches none.
///
/// # Errors
/// A registry leads nowhere.
pub async fn follow_blobs(
    arguments: &RunArgs,
    locked: bool,
    context: &Context,
) -> Result<(), Failure> {
    if arguments.lock.is_none() || locked {
        return Ok(());
    }
    let followed = context.world.images.follow_blobs(context).await;
    followed.map_err(|(image, error)| {
        let message = format!("where the blobs of image `{image}` are could not be found out");
        Failure::explained(ExitCode::PreloadFailed, message, &error)
    })
}

/// Writes the lock file if one was asked for and there was none, and returns why it wrote none.
///
/// # Errors
/// It can't be written.
pub fn write(
    arguments: &RunArgs,
    locked: bool,
    setting: &Setting,
    world: &World,
) -> Result<Option<String>, Failure> {
    let Some(path) = arguments.lock.as_ref().filter(|_| !locked) else {
        return Ok(None);
    };
    let images = &world.images;
    // A lock that lacks an image would refuse the next run.
    if let Some(name) = images.unresolved().first() {
        return Ok(Some(format!("image `{name}` was not resolved")));
    }
    let images = images.locked();
    if images.is_empty() {
        return Ok(Some(
            "no step of this run needed the digest of an image".into(),
        ));
    }
    let lock = Lock::new(setting.fingerprints, images, world.registries.met());
    let written = write_whole(path, &world.run.id, lock.to_json().as_bytes());
    written.map(|()| None).map_err(|error| {
        let message = format!("the lock file {} can't be written", path.display());
        Failure::new(ExitCode::Unexpected, message)
            .caused_by(error.to_string())
            .hinted("name a file with --lock in a folder that this user may write to")
    })
}
