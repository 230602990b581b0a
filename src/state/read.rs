//! Finding journals, telling dead runs from living ones, and reading what the dead have left.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::sleep;

use super::error::JournalError;
use super::header::{Header, Liveness, VERSION};
use super::journal::{EXTENSION, Hold, Journal, LONGEST_LINE, PART};
use super::system;
use crate::report::Event;

/// The most bytes of a journal that is read.
pub const LARGEST: u64 = 64 << 20;

/// Where there are no locks, a run that gave no sign of life for this long is dead.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Journals that nobody finished are removed when they are this old.
pub const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) const A_LINE: &str = "one of its lines";
/// How the names of files end that are made to know the time, or who this is.
const CLOCK: &str = "clock";
const A_JOURNAL: &str = "a journal";

/// What was found where a journal should be.
#[derive(Debug)]
pub enum Claim {
    /// Its run goes on, or somebody else is finishing it.
    Alive,
    /// Its run is dead, and the journal is held by this process.
    Dead(Box<Found>),
    /// Somebody else may have written it: another user, or one to whom it was left open.
    Foreign,
    /// It is there no longer.
    Gone,
}

/// The journal of a dead run.
#[derive(Debug)]
pub struct Found {
    /// The journal, to be continued.
    pub journal: Journal,
    /// What the run was given.
    pub header: Header,
    /// What had happened, the oldest first.
    pub events: Vec<Event>,
}

/// Lists the journals in a folder by their runs' ids, the oldest first.
///
/// # Errors
/// The folder can't be read. One that is not there has no journals.
pub fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, JournalError> {
    let mut found = Vec::new();
    for path in files(folder)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let run = name.and_then(|name| name.strip_suffix(EXTENSION)?.strip_suffix('.'));
        if let Some(run) = run.filter(|run| is_run(run)) {
            found.push((run.to_owned(), path));
        }
    }
    // An id begins with the time.
    found.sort();
    Ok(found)
}

/// Removes what killed processes left that had not even begun, and journals that nobody ever finished.
///
/// # Errors
/// The folder can't be read.
pub fn sweep(folder: &Path) -> Result<(), JournalError> {
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = name.starts_with('.') && (name.ends_with(PART) || name.ends_with(CLOCK));
        let journal = name.ends_with(EXTENSION);
        let age = (part || journal).then(|| age(folder, &path)).flatten();
        if age.is_some_and(|age| age > if part { SILENCE } else { FORGOTTEN })
            // To open a pipe is to wait for whoever writes to it.
            && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file())
            && File::open(&path)
                .is_ok_and(|file| matches!(system::hold(&file), Ok(Hold::Ours | Hold::Unknown)))
        {
            // Whoever else removes it is welcome to.
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

/// What is known of the writer of a journal beforehand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Writer {
    /// It is dead.
    Dead,
    /// Nothing.
    Unknown,
}

/// Takes a journal if its run is dead, and reads it.
///
/// Where there are no locks that takes up to 30 s, unless the writer is known to be dead; `waiting` is
/// told before the wait begins.
///
/// # Errors
/// It can't be read, holds what no run writes, or was written by another version. A last line that
/// was cut is no error.
pub async fn claim(
    path: &Path,
    writer: Writer,
    waiting: impl FnOnce(Duration),
) -> Result<Claim, JournalError> {
    let io = |doing| move |error| JournalError::io(doing, path, error);
    let made = made(folder(path));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Gone),
        Err(error) => return Err(io("look at")(error)),
        Ok(metadata) if !metadata.is_file() => {
            return Err(JournalError::NotAFile {
                path: path.to_owned(),
            });
        }
        Ok(metadata) if !system::is_ours(&metadata, made.as_ref()) => {
            return Ok(Claim::Foreign);
        }
        Ok(_) => {}
    }
    let opened = File::options().read(true).write(true).open(path);
    let mut file = opened.map_err(io("open"))?;
    // It may be another file by now.
    if !system::is_ours(&file.metadata().map_err(io("look at"))?, made.as_ref()) {
        return Ok(Claim::Foreign);
    }
    let hold = system::hold(&file).map_err(io("lock"))?;
    if hold == Hold::Theirs {
        return Ok(Claim::Alive);
    }
    // Whoever held it has removed it meanwhile.
    if fs::symlink_metadata(path).is_err() {
        return Ok(Claim::Gone);
    }
    let mut read = bytes(&mut file, path).and_then(|bytes| parse(path, &bytes));
    let signs = |read: &Result<Parsed, JournalError>| {
        let signs = |parsed: &Parsed| parsed.header.liveness == Liveness::Signs;
        read.as_ref().is_ok_and(signs)
    };
    if writer == Writer::Unknown && (hold == Hold::Unknown || signs(&read)) {
        if gives_signs(path, waiting).await.map_err(io("look at"))? {
            return Ok(Claim::Alive);
        }
        io::Seek::rewind(&mut file).map_err(io("read"))?;
        read = bytes(&mut file, path).and_then(|bytes| parse(path, &bytes));
    }
    let parsed = read?;
    let journal = Journal::take_up(path.to_owned(), file, parsed.whole)?;
    Ok(Claim::Dead(Box::new(Found {
        journal,
        header: parsed.header,
        events: parsed.events,
    })))
}

struct Parsed {
    header: Header,
    events: Vec<Event>,
    /// How many bytes are whole lines.
    whole: u64,
}

fn bytes(file: &mut File, path: &Path) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| JournalError::io("read", path, error))?;
    if bytes.len() as u64 > LARGEST {
        return Err(too_large(path, LARGEST, A_JOURNAL));
    }
    Ok(bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed, JournalError> {
    let malformed = |line, reason: String| JournalError::Malformed {
        path: path.to_owned(),
        line,
        reason,
    };
    let mut header = None;
    let mut events = Vec::new();
    let mut whole = 0;
    for (number, line) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        if line.len() > LONGEST_LINE {
            return Err(too_large(path, LONGEST_LINE as u64, A_LINE));
        }
        if line.last() != Some(&b'\n') {
            // The process was killed while it wrote this.
            break;
        }
        whole += line.len() as u64;
        if line == b"\n" {
            continue;
        }
        if header.is_none() {
            header = Some(first_line(path, line)?);
        } else {
            let event = serde_json::from_slice(line);
            events.push(event.map_err(|error| malformed(number, error.to_string()))?);
        }
    }
    let header = header.ok_or_else(|| malformed(1, "there is no whole first line".into()))?;
    Ok(Parsed {
        header,
        events,
        whole,
    })
}

fn first_line(path: &Path, line: &[u8]) -> Result<Header, JournalError> {
    let malformed = |error: serde_json::Error| JournalError::Malformed {
        path: path.to_owned(),
        line: 1,
        reason: error.to_string(),
    };
    let value: Value = serde_json::from_slice(line).map_err(malformed)?;
    if let Some(found) = value["journal"].as_u64()
        && found != u64::from(VERSION)
    {
        return Err(JournalError::Version {
            path: path.to_owned(),
            found,
            shipgate: value["shipgate"].as_str().unwrap_or("?").to_owned(),
        });
    }
    let header: Header = serde_json::from_value(value).map_err(malformed)?;
    let named = path.file_stem().and_then(|stem| stem.to_str());
    if named != Some(header.run.as_str()) {
        return Err(JournalError::Malformed {
            path: path.to_owned(),
            line: 1,
            reason: format!("it is the journal of run {}", header.run),
        });
    }
    Ok(header)
}

/// Returns whether the writer of a journal shows that it is alive, within [`SILENCE`] of its last sign.
async fn gives_signs(path: &Path, waiting: impl FnOnce(Duration)) -> io::Result<bool> {
    let stamp = || {
        let metadata = fs::symlink_metadata(path)?;
        Ok::<_, io::Error>((metadata.len(), metadata.modified()?))
    };
    let before = stamp()?;
    let left = SILENCE.saturating_sub(age(folder(path), path).unwrap_or_default());
    if left.is_zero() {
        return Ok(false);
    }
    waiting(left);
    sleep(left).await;
    Ok(stamp()? != before)
}

/// Returns how long ago a file was written, by the file system's own clock.
fn age(folder: &Path, path: &Path) -> Option<Duration> {
    let then = fs::symlink_metadata(path).ok()?.modified().ok()?;
    now(folder)?.duration_since(then).ok()
}

fn now(folder: &Path) -> Option<SystemTime> {
    made(folder)?.modified().ok()
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Returns what the file system says of a file that this process makes now in a folder.
fn made(folder: &Path) -> Option<fs::Metadata> {
    let mut random = [0; 8];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random).ok()?;
    let probe = folder.join(format!(".{}.{CLOCK}", hex::encode(random)));
    let file = system::create(&probe).ok()?;
    let metadata = file.metadata();
    drop(file);
    let _ = fs::remove_file(&probe);
    metadata.ok()
}

/// Refuses a link in the place of a folder of journals: a component that may write a cache can leave one
/// that leads out of it, and what is read and removed there would be anybody's.
pub(super) fn check_folder(folder: &Path) -> Result<(), JournalError> {
    match fs::symlink_metadata(folder) {
        Ok(metadata) if !metadata.is_dir() => Err(JournalError::NotAFolder {
            path: folder.to_owned(),
        }),
        // Whoever uses it says what is wrong.
        _ => Ok(()),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let failed = |error| JournalError::io("read the folder", folder, error);
    check_folder(folder)?;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// Says whether a text is a run's id: `20260801T120000Z-0123abcd`.
fn is_run(text: &str) -> bool {
    let form = b"00000000T000000Z-xxxxxxxx";
    text.len() == form.len()
        && text.bytes().zip(form).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            b'x' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            other => byte == *other,
        })
}

fn too_large(path: &Path, limit: u64, what: &'static str) -> JournalError {
    JournalError::TooLarge {
        path: path.to_owned(),
        limit,
        what,
    }
}
