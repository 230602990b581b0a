//! Writes report files whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::mask::masked_json;
use super::{Mask, Report};
use crate::failure::{Explain, Fact};
use crate::oci::Digest;

/// The name of the report's file.
pub const FILE_NAME: &str = "report.json";

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

/// Writes `report.json` into a folder, which is made if it is not there, and returns its path.
///
/// A reader sees the old file or the new one, never a part. Every string passes through the mask.
///
/// # Errors
/// When the folder can't be made or the file can't be written.
pub fn write_report(
    folder: &Path,
    report: &Report,
    mask: &dyn Mask,
) -> Result<PathBuf, WriteError> {
    let failed = |path: &Path, source| WriteError {
        path: path.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let path = folder.join(FILE_NAME);
    let json = masked_json(report, mask)
        .and_then(|value| serde_json::to_vec_pretty(&value))
        .map_err(|error| failed(&path, error.into()))?;
    // Two runs may report into one folder: each writes a file of its own before the rename.
    let run = Digest::of(report.run.as_bytes()).short();
    let part = folder.join(format!(".{FILE_NAME}.{run}.part"));
    let written = write_whole(&part, &json).and_then(|()| fs::rename(&part, &path));
    if let Err(error) = written {
        // The first error is the one that tells; the part may not even be there.
        let _ = fs::remove_file(&part);
        return Err(failed(&path, error));
    }
    Ok(path)
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::mask::tests::Word;
    use crate::report::{NoMask, Summary};

    fn report(reason: &str) -> Report {
        Report {
            reason: Some(reason.into()),
            ..Summary::new().report().clone()
        }
    }

    #[test]
    fn makes_the_folder_masks_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("a/b");
        for reason in ["first", "token hunter2 refused"] {
            write_report(&reports, &report(reason), &Word("hunter2")).unwrap();
        }
        let names: Vec<_> = fs::read_dir(&reports)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["report.json"]);
        let text = fs::read_to_string(reports.join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["reason"], "token *** refused");
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_file_in_the_way_is_an_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write_report(&file, &report("x"), &NoMask).unwrap_err();
        assert_eq!(error.path, file);
        assert!(error.hint().unwrap().contains("--report"));
    }

    /// The schema is generated: run the test with `SHIPGATE_BLESS=1` to write it anew.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test suite, not of the library"
    )]
    fn the_schema_of_the_report_is_current() {
        let settings = schemars::generate::SchemaSettings::default().for_serialize();
        let schema = settings.into_generator().into_root_schema_for::<Report>();
        let mut schema = serde_json::to_string_pretty(&schema).unwrap();
        schema.push('\n');
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json");
        if std::env::var("SHIPGATE_BLESS").is_ok() {
            fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/schema")).unwrap();
            fs::write(path, &schema).unwrap();
        }
        assert_eq!(
            fs::read_to_string(path).unwrap_or_default(),
            schema,
            "bless schema/report.schema.json"
        );
    }
}
