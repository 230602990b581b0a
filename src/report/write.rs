//! Writes files whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::{Explain, Fact, Failure};
use crate::oci::Digest;
use crate::outcome::ExitCode;

/// Writes a file so that a reader sees the old one or the new one, never a part.
///
/// `writer` tells apart those who may write the same file at once, by a run's id for instance: each
/// fills a file of its own beside it, and the last rename wins.
///
/// # Errors
/// What the system said. Nothing is left beside the old file then.
pub fn write_whole(path: &Path, writer: &str, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let writer = Digest::of(writer.as_bytes()).short();
    let part = path.with_file_name(format!(".{name}.{writer}.part"));
    let written = fill(&part, bytes).and_then(|()| fs::rename(&part, path));
    if written.is_err() {
        // The first error is the one that tells; the part may not even be there.
        let _ = fs::remove_file(&part);
    }
    written
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A report that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the report can't be written to {}", path.display())]
pub struct WriteError {
    /// The file or folder that could not be written.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl WriteError {
    /// Returns it as the failure that a command comes to by it.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let message = "a file of the report is missing";
        Failure::explained(ExitCode::Unexpected, message, self)
    }
}

impl Explain for WriteError {
    fn hint(&self) -> Option<String> {
        Some(match self.source.kind() {
            io::ErrorKind::StorageFull => {
                "free some space, or name another folder with --report".into()
            }
            _ => "name a folder with --report that this user may write to".into(),
        })
    }

    fn facts(&self) -> Vec<Fact> {
        vec![Fact::new("path", self.path.display())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        for text in ["first, and longer", "second"] {
            write_whole(&path, "run", text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_leaves_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        fs::create_dir(&path).unwrap();
        write_whole(&path, "run", b"text").unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
