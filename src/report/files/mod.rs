//! What a command leaves for others: the files in the folder of `--report`, and the outputs of a CI job.
//!
//! May not read the environment: where things are is told in [`Surroundings`].

pub mod gitlab;
mod history;
pub mod junit;
pub mod outputs;
pub mod page;
pub mod place;
pub mod quality;
pub mod quote;
pub mod results;
#[cfg(test)]
mod tests;

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
/// The name of the file that holds the steps and probes as tests.
pub const JUNIT: &str = "junit.xml";
/// The name of the file that says what is wrong with the pipeline file.
pub const QUALITY: &str = "code-quality.json";
/// The name of the page for people.
pub const SUMMARY: &str = "summary.md";
/// The name of the file of variables for later jobs in GitLab.
pub const VARIABLES: &str = "gitlab.env";
/// The name of the file of links for GitLab's page of the job.
pub const ANNOTATIONS: &str = "gitlab-annotations.json";

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
    pub gitlab: Option<GitlabJob>,
    /// The text of a plan.
    pub plan: Option<String>,
}

/// What GitLab tells a job about itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GitlabJob {
    /// Its page.
    pub page: Option<String>,
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
    let page = page::text(report, around, mask, page::MOST_BYTES);
    for (name, text) in [
        (REPORT, report_json(report, mask)),
        (JUNIT, junit::text(report, &around.roots, mask)),
        (QUALITY, quality::text(report, &around.roots, mask)),
        (SUMMARY, Ok(page)),
    ] {
        written.add(folder, report, name, text);
    }
    if around.gitlab.is_some() {
        // What is missing counts in the status that later jobs are told.
        let mut ended = report.clone();
        for error in &written.failed {
            ended.worsen(&error.failure());
        }
        let (variables, left_out) = gitlab::variables(&ended, around, mask);
        written.left_out = left_out;
        written.add(folder, report, VARIABLES, Ok(variables));
        let links = gitlab::annotations(around, mask);
        written.add(folder, report, ANNOTATIONS, Ok(links));
    }
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
