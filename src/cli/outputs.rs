//! What a command leaves behind when it is over: the files of `--report`, and inside GitHub the outputs and the
//! summary of the step.
//!
//! The files of `--report` were asked for, so one that is missing makes the command fail. What GitHub reads was
//! not: a page that can't be added to must not turn a deploy that went well into a failure, after which
//! others would take it back. It is a warning, and the outputs that are missing then are empty, so that a
//! later `if:` that asks for `done` does not hold.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::session::Session;
use crate::engine::grants::Grants;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::report::files::{self, GitLab, Results, Surroundings, outputs, page};
use crate::report::{Mask, Report, write_files};

/// What the command line asks to be left behind.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The folder of `--report`.
    pub report: Option<PathBuf>,
    /// The file of `--lock`, whether it is there or not.
    pub lock: Option<PathBuf>,
    /// The text of a plan, to be shown in the summary.
    pub plan: Option<String>,
}

/// How it went.
#[derive(Debug, Default)]
pub struct Left {
    /// What could not be written and had been asked for.
    pub failures: Vec<Failure>,
    /// What could not be written and fails nothing.
    pub warnings: Vec<Failure>,
}

/// Writes everything that is left of a command: files, outputs, summary.
///
/// The report says how the command ended. It ends worse if its files can't be written, and the outputs
/// say so.
#[must_use]
pub fn leave(
    mut report: Report,
    wanted: &Wanted,
    mask: &dyn Mask,
    environment: &Environment,
) -> Left {
    let mut left = Left::default();
    let mut around = surroundings(wanted, environment);
    if let Some(folder) = &wanted.report {
        let written = write_files(folder, &report, &around, mask);
        for error in &written.failed {
            let failure = error.failure();
            report.worsen(&failure);
            left.failures.push(failure);
        }
        let sentences = written.left_out.into_iter();
        left.warnings
            .extend(sentences.map(|sentence| Failure::new(ExitCode::Done, sentence)));
        // Nobody is sent to a file that is not there.
        let whole = folder.join(files::REPORT);
        around.folder = around.folder.filter(|_| written.files.contains(&whole));
    }
    if environment.in_github() {
        left.warnings
            .extend(to_github(&report, &around, mask, environment));
    }
    left
}

impl Session {
    /// Writes everything that is left of a command, tells what could not be written, and returns the exit code
    /// that the report's own comes to by that.
    pub fn leave(&self, report: Report, wanted: &Wanted) -> ExitCode {
        let earned = report.exit.map_or(ExitCode::Unexpected, |exit| exit.name);
        let left = leave(report, wanted, self.masked(), &self.environment);
        for warning in &left.warnings {
            let hint = warning.hint.as_deref();
            self.printer.warning(&warning.summary(), hint);
        }
        left.failures.iter().fold(earned, |exit, failure| {
            self.printer.failure(failure);
            exit.worse(failure.exit)
        })
    }
}

/// Adds what [`leave`] touches to what a run may touch: variables and files of the CI system that it runs in.
pub fn grant(grants: &mut Grants, environment: &Environment) {
    let told: &[&str] = match (environment.in_github(), environment.in_gitlab()) {
        (true, _) => &[
            "GITHUB_ACTIONS",
            "GITHUB_OUTPUT",
            "GITHUB_STEP_SUMMARY",
            "GITHUB_WORKSPACE",
        ],
        (false, true) => &["CI_PROJECT_DIR", "GITLAB_CI"],
        (false, false) => &[],
    };
    for name in told {
        if let Some(value) = environment.filled(name) {
            grants.variable(*name, "outputs of the job");
            if ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"].contains(name) {
                grants.write_file(value, "outputs of the job");
            }
        }
    }
}

fn surroundings(wanted: &Wanted, environment: &Environment) -> Surroundings {
    Surroundings {
        folder: wanted.report.clone(),
        lock: wanted.lock.clone().filter(|path| path.is_file()),
        roots: environment.roots(),
        gitlab: environment.in_gitlab().then(|| GitLab {
            job: environment.filled("CI_JOB_URL"),
        }),
        plan: wanted.plan.clone(),
    }
}

/// Adds to the files that GitHub reads, and returns what could not be added.
fn to_github(
    report: &Report,
    around: &Surroundings,
    mask: &dyn Mask,
    environment: &Environment,
) -> Vec<Failure> {
    let file = |name| environment.filled(name).map(PathBuf::from);
    let mut warnings = Vec::new();
    if let Some(path) = file("GITHUB_STEP_SUMMARY") {
        let added = summarise(&path, report, around, mask);
        warnings.extend(
            added
                .err()
                .map(|error| missing("the summary of this step is missing", &path, &error)),
        );
    }
    if let Some(path) = file("GITHUB_OUTPUT") {
        let shown = |path: &Path| mask.mask(&around.roots.absolute(path).display().to_string());
        let pairs = outputs::pairs(
            &report.command,
            &Results::of(report, mask),
            around
                .folder
                .as_ref()
                .map(|folder| shown(&folder.join(files::REPORT))),
            around.lock.as_deref().map(shown),
        );
        let added = random().and_then(|random| append(&path, &outputs::text(&pairs, random)));
        warnings.extend(
            added
                .err()
                .map(|error| missing("the outputs of this step are missing", &path, &error)),
        );
    }
    warnings
}

/// Adds the page to the summary of the step, in which others may have written before.
fn summarise(
    path: &Path,
    report: &Report,
    around: &Surroundings,
    mask: &dyn Mask,
) -> io::Result<()> {
    let taken = match fs::metadata(path) {
        Ok(there) => usize::try_from(there.len()).unwrap_or(usize::MAX),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    // A line break before the page, and the limit counts the whole file.
    let budget = page::MOST_BYTES.saturating_sub(taken).saturating_sub(1);
    if budget < page::FEWEST_BYTES {
        return Err(io::Error::other(
            "it holds so much already that GitHub would refuse it with the page",
        ));
    }
    append(path, &page::text(report, around, mask, budget))
}

fn missing(message: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Done, message).caused_by(format!("{}: {error}", path.display()))
}

/// Returns a source of texts that nobody can guess.
fn random() -> io::Result<impl FnMut() -> String> {
    let mut seed = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut seed)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    let mut number = 0_u64;
    Ok(move || {
        number += 1;
        let text = [&seed[..], &number.to_le_bytes()].concat();
        crate::oci::Digest::of(&text).hex()
    })
}

/// Adds a text to a file that others may have written to before, on lines of its own.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)?;
    let mut last = *b"\n";
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let gap = if last == *b"\n" { "" } else { "\n" };
    file.write_all(format!("{gap}{text}").as_bytes())
}
