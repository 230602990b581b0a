//! A lock between processes, made of a file: WASI has no file locks.
//!
//! It is held for the few milliseconds that a rewrite of `index.json` takes. A lock that did not
//! change for longer than [`STALE`] was left by a process that was killed, and is taken over.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::error::{Error, ErrorKind};
use super::writer::{self, Temporary};

/// A held lock; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Lock {
    _file: Temporary,
}

impl Lock {
    /// Takes the lock, waiting for others.
    pub(super) async fn take(path: &Path) -> Result<Self, Error> {
        let owner = writer::unique();
        let begun = Instant::now();
        loop {
            match writer::create(path) {
                Ok((mut file, temporary)) => {
                    // Only for people who look: who holds it is known by the name of the attempt.
                    file.write_all(owner.as_bytes())
                        .map_err(|error| Error::io("write", path, error))?;
                    return Ok(Self { _file: temporary });
                }
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error),
            }
            if is_stale(path, &owner)? {
                take_over(path, &owner)?;
                continue;
            }
            if begun.elapsed() > PATIENCE {
                return Err(ErrorKind::Locked {
                    path: path.to_owned(),
                    seconds: PATIENCE.as_secs(),
                }
                .into());
            }
            sleep(PAUSE).await;
        }
    }
}

const STALE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

fn is_taken(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|source| source.kind() == io::ErrorKind::AlreadyExists)
}

/// Returns whether the lock has stood still for too long, by the file system's own clock.
fn is_stale(path: &Path, owner: &str) -> Result<bool, Error> {
    let Some(then) = modified(path) else {
        return Ok(false);
    };
    let probe = beside(path, owner, "clock");
    let (file, _gone_after) = writer::create(&probe)?;
    let now = file.metadata().and_then(|metadata| metadata.modified());
    Ok(now.is_ok_and(|now| now.duration_since(then).is_ok_and(|age| age > STALE)))
}

/// Moves a stale lock away. Of several who try, the rename lets one succeed; if what was moved is
/// a fresh lock after all, it is put back.
fn take_over(path: &Path, owner: &str) -> Result<(), Error> {
    let before = modified(path);
    let away = beside(path, owner, "stale");
    match fs::rename(path, &away) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("take over", path, error)),
    }
    if modified(&away) == before {
        let _ = fs::remove_file(&away);
    } else {
        let _ = fs::rename(&away, path);
    }
    Ok(())
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

fn beside(path: &Path, owner: &str, kind: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{kind}.{owner}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::take(&path).await.unwrap();
        let second = tokio::spawn({
            let path = path.clone();
            async move { Lock::take(&path).await.map(drop) }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_held_on_is_an_error_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _held = Lock::take(&path).await.unwrap();
        let error = Lock::take(&path).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Locked { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_lock_of_the_dead_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let file = File::create(&path).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - 2 * STALE;
        file.set_modified(then).unwrap();
        let lock = Lock::take(&path).await.unwrap();
        assert!(path.exists());
        drop(lock);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
