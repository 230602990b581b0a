//! What a command leaves for others: the files in the folder of `--report`, and the outputs of a CI job.
//!
//! May not read the environment: where things are is told in [`Surroundings`].

pub mod outputs;
pub mod place;
pub mod results;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use place::Roots;
pub use results::Results;

use super::mask::masked_json;
use super::write::{WriteError, write_whole};
use super::{Mask, Report};

/// The name of the file that holds the whole report.
pub const REPORT: &str = "report.json";

/// What the files say beside the report itself.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The folder of `--report`, if one was named.
    pub folder: Option<PathBuf>,
    /// The lock file, if it is there by now.
    pub lock: Option<PathBuf>,
    /// By which folders paths are understood.
    pub roots: Roots,
    /// Set inside GitLab, whose own files are written too.
    pub gitlab: Option<GitLab>,
    /// The text of a plan.
    pub plan: Option<String>,
}

/// What GitLab tells a job about itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GitLab {
    /// The page of the job.
    pub job: Option<String>,
}

/// How the writing went.
#[derive(Debug, Default)]
pub struct Written {
    /// The files that are there now.
    pub files: Vec<PathBuf>,
    /// The files that are not.
    pub failed: Vec<WriteError>,
    /// What had to be left out of a file, and why: one sentence each.
    pub left_out: Vec<String>,
}

/// Writes all files of a report into a folder, which is made if it is not there.
///
/// Each is written whole or not at all, and one that fails keeps none of the others back. Every text passes
/// through the mask.
#[must_use]
pub fn write_files(
    folder: &Path,
    report: &Report,
    around: &Surroundings,
    mask: &dyn Mask,
) -> Written {
    let mut written = Written::default();
    if let Err(source) = fs::create_dir_all(folder) {
        let path = folder.to_owned();
        written.failed.push(WriteError { path, source });
        return written;
    }
    let _ = around;
    written.add(folder, report, REPORT, report_json(report, mask));
    written
}

impl Written {
    fn add(&mut self, folder: &Path, report: &Report, name: &str, text: io::Result<String>) {
        let path = folder.join(name);
        // Two runs may report into one folder.
        let done = text.and_then(|text| write_whole(&path, &report.run, text.as_bytes()));
        match done {
            Ok(()) => self.files.push(path),
            Err(source) => self.failed.push(WriteError { path, source }),
        }
    }
}

fn report_json(report: &Report, mask: &dyn Mask) -> io::Result<String> {
    let json = masked_json(report, mask)?;
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Explain as _;
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
            let around = Surroundings::default();
            let written = write_files(&reports, &report(reason), &around, &Word("hunter2"));
            assert!(written.failed.is_empty(), "{written:?}");
        }
        let mut names: Vec<_> = fs::read_dir(&reports)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["report.json"]);
        let text = fs::read_to_string(reports.join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["reason"], "token *** refused");
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn a_file_in_the_way_is_one_error_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let written = write_files(&file, &report("x"), &Surroundings::default(), &NoMask);
        let [error] = &written.failed[..] else {
            panic!("{written:?}");
        };
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
