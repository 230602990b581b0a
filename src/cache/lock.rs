//! A lock between processes, made of a file, for natives and components alike.
//!
//! Whoever makes the file has the lock. What differs is how its death is told: a native process
//! also holds the system's own lock on the file, which the kernel lets go of at once; a component
//! has none, so it shows by a heartbeat that it lives, and is taken for dead when the file has
//! stood still for [`STALE`]. The file's first line says which of the two holds.
//!
//! A dead owner's file is removed by one process alone: the one that made a second file named after
//! the dead owner's id, looked again, and still found that owner. So a lock that was taken meanwhile
//! is never removed by somebody who is late.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::{Error, ErrorKind};
use super::layout::metadata;
use super::writer;

/// A held lock; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// What the file says: the owner and how its death is told.
    line: String,
    file: File,
    beaten: Instant,
}

/// How an attempt to take a lock ended.
pub(super) enum Attempt {
    Taken(Lock),
    /// Its owner lives.
    Held,
}

impl Lock {
    /// Takes the lock, waiting for others at most [`PATIENCE`].
    pub(super) async fn take(path: &Path) -> Result<Self, Error> {
        let begun = Instant::now();
        loop {
            if let Attempt::Taken(lock) = Self::attempt(path)? {
                return Ok(lock);
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

    /// Takes the lock if nobody who lives has it.
    pub(super) fn attempt(path: &Path) -> Result<Attempt, Error> {
        // A second round for the lock of a dead owner, and one for those who come and go.
        for _ in 0..3 {
            match Self::make(path) {
                Ok(lock) => return Ok(Attempt::Taken(lock)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("make", path, error)),
            }
            let Some(owner) = read(path)? else {
                continue;
            };
            if !is_dead(path, &owner)? || !bury(path, &owner)? {
                return Ok(Attempt::Held);
            }
        }
        Ok(Attempt::Held)
    }

    /// Shows that the owner lives; due every [`HEARTBEAT`].
    ///
    /// Returns whether the lock is still its owner's: a process that was stopped for long may have
    /// been taken for dead.
    pub(super) fn beat(&mut self) -> bool {
        self.beaten = Instant::now();
        let line = self.line.as_bytes();
        let written = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(line));
        written.is_ok() && matches!(read(&self.path), Ok(Some(found)) if found == self.line)
    }

    /// Beats when it is due, for owners that are busy for long.
    pub(super) fn keep(&mut self) -> Result<(), Error> {
        if self.beaten.elapsed() < HEARTBEAT || self.beat() {
            return Ok(());
        }
        let path = self.path.clone();
        Err(ErrorKind::LockLost { path }.into())
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)?;
        // Nobody else holds it but for the moment of a look. Where the system has no such locks the
        // heartbeat speaks alone.
        let kind = match file.lock() {
            Ok(()) => SYSTEM,
            Err(_) => HEART,
        };
        let line = format!("{kind} {}\n", writer::unique());
        if let Err(error) = file.write_all(line.as_bytes()) {
            // An empty file would hold others up until it is old.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(Self {
            path: path.to_owned(),
            line,
            file,
            beaten: Instant::now(),
        })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Only its own: another's file is another's lock.
        if matches!(read(&self.path), Ok(Some(found)) if found == self.line) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// How often an owner that keeps a lock for long has to call [`Lock::beat`].
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// After how long without a heartbeat an owner is taken for dead.
const STALE: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
const SYSTEM: &str = "system";
const HEART: &str = "heart";

/// Returns what a lock file says, or nothing if there is none.
fn read(path: &Path) -> Result<Option<String>, Error> {
    let mut line = String::new();
    let read = File::open(path).and_then(|file| file.take(128).read_to_string(&mut line));
    match read {
        Ok(_) => Ok(Some(line)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(String::new())),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// Says whether the owner whose line was read is dead.
fn is_dead(path: &Path, owner: &str) -> Result<bool, Error> {
    if owner.starts_with(SYSTEM)
        && let Ok(file) = File::open(path)
    {
        match file.try_lock() {
            // Of this very owner, unless the file has changed hands since.
            Ok(()) => return Ok(read(path)?.as_deref() == Some(owner)),
            Err(fs::TryLockError::WouldBlock) => return Ok(false),
            // No such locks here: a component looks at a native's file.
            Err(fs::TryLockError::Error(_)) => {}
        }
    }
    is_older(path, STALE)
}

/// Says whether a file was written longer ago than that, by the file system's own clock.
fn is_older(path: &Path, age: Duration) -> Result<bool, Error> {
    let Some(then) = metadata(path)?.and_then(|found| found.modified().ok()) else {
        return Ok(false);
    };
    let (clock, _gone_after) = writer::create(&beside(path, "clock", &writer::unique()))?;
    let now = clock.metadata().and_then(|found| found.modified());
    Ok(now.is_ok_and(|now| now.duration_since(then).is_ok_and(|found| found > age)))
}

/// Removes a dead owner's file; returns whether the way is free to try again.
fn bury(path: &Path, owner: &str) -> Result<bool, Error> {
    let id = owner.trim().rsplit(' ').next().unwrap_or_default();
    // What others may have written there is no name of a file.
    let id = if !id.is_empty()
        && id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    {
        id
    } else {
        "unknown"
    };
    // One that dies half-way leaves this to the next level, which is as exclusive.
    for level in 0..4 {
        let spade = beside(path, "dead", &format!("{id}.{level}"));
        match writer::create(&spade) {
            Ok((_, _gone_after)) => {
                if read(path)?.as_deref() != Some(owner) || !is_dead(path, owner)? {
                    return Ok(true);
                }
                return match fs::remove_file(path) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                    Err(error) => Err(Error::io("remove", path, error)),
                };
            }
            Err(error) if error.is_taken() => {
                if !is_older(&spade, STALE)? {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn beside(path: &Path, kind: &str, id: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{kind}.{id}"));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn age(path: &Path, by: Duration) {
        let file = File::options().write(true).open(path).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - by;
        file.set_modified(then).unwrap();
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

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

    #[test]
    fn a_native_that_dies_lets_go_at_once_and_a_component_when_its_heart_has_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let taken = || matches!(Lock::attempt(&path).unwrap(), Attempt::Taken(_));
        // What a killed native leaves: its line, and no lock of the system.
        fs::write(&path, "system 12-0\n").unwrap();
        assert!(taken());
        fs::write(&path, "heart 12-0\n").unwrap();
        assert!(!taken());
        age(&path, STALE * 2);
        assert!(taken());
        // Killed before it wrote its line.
        fs::write(&path, "").unwrap();
        assert!(!taken());
        age(&path, STALE * 2);
        assert!(taken());
        assert_eq!(count(folder.path()), 0);
    }

    #[test]
    fn an_owner_that_was_taken_for_dead_removes_nobody_s_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let Attempt::Taken(mut slow) = Lock::attempt(&path).unwrap() else {
            panic!("it is free");
        };
        assert!(slow.beat());
        fs::remove_file(&path).unwrap();
        let Attempt::Taken(mut next) = Lock::attempt(&path).unwrap() else {
            panic!("it is free");
        };
        assert!(!slow.beat());
        drop(slow);
        assert!(next.beat());
    }

    #[test]
    fn who_dies_while_burying_holds_nobody_up_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let spade = beside(&path, "dead", "12-0.0");
        fs::write(&path, "heart 12-0\n").unwrap();
        fs::write(&spade, "").unwrap();
        age(&path, STALE * 2);
        assert!(matches!(Lock::attempt(&path).unwrap(), Attempt::Held));
        age(&spade, STALE * 2);
        assert!(matches!(Lock::attempt(&path).unwrap(), Attempt::Taken(_)));
    }

    #[test]
    fn of_many_who_find_a_dead_owner_one_at_a_time_gets_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = Arc::new(folder.path().join("lock"));
        for kind in [SYSTEM, HEART] {
            fs::write(&*path, format!("{kind} 12-0\n")).unwrap();
            age(&path, STALE * 2);
            let inside = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let (path, inside) = (path.clone(), inside.clone());
                    std::thread::spawn(move || {
                        let mut entries = 0;
                        while entries < 20 {
                            if let Attempt::Taken(_lock) = Lock::attempt(&path).unwrap() {
                                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                                std::thread::yield_now();
                                inside.fetch_sub(1, Ordering::SeqCst);
                                entries += 1;
                            }
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        assert_eq!(count(folder.path()), 0);
    }
}
