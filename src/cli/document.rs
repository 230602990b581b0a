//! From a pipeline file to a document, or to all of its mistakes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::failure::Failure;
use crate::outcome::ExitCode;
use crate::pipeline::source::MAXIMUM_BYTES;
use crate::pipeline::{
    Diagnostic, Given, Kind, Loaded, Mode, PlaygroundNames, RunNames, Severity, Source, load,
};
use crate::report::Finding;
use crate::report::files::place::STDIN;
use crate::report::finding::{Extent, Level};
use crate::report::model::DiagnosticReport;

/// Reads a pipeline file; `-` is standard input.
///
/// # Errors
/// The file can't be read, or is no text that a document can be.
pub fn source(path: &Path) -> Result<Source, Diagnostic> {
    let name = called(path);
    let limit = MAXIMUM_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(path, &name, &error))?;
    Source::from_bytes(name, &bytes)
}

/// Returns what a pipeline file is called in everything that is said about it.
#[must_use]
pub fn called(path: &Path) -> String {
    if is_stdin(path) {
        STDIN.to_owned()
    } else {
        path.display().to_string()
    }
}

/// Loads a document with what this machine and the command line give it.
#[must_use]
pub fn document(
    source: &Source,
    inputs: BTreeMap<String, String>,
    run: RunNames,
    playground: Option<PlaygroundNames>,
    mode: Mode,
    environment: &Environment,
) -> Loaded {
    let given = Given {
        inputs,
        variables: &|name| environment.variable(name),
        read_file: &|path| read_secret(path),
        run,
        playground,
        mode,
    };
    load(source, &given)
}

/// Loads a document to look at it alone: without inputs, variables and files.
#[must_use]
pub fn checked(source: &Source, environment: &Environment) -> Loaded {
    let run = RunNames::default();
    document(source, [].into(), run, None, Mode::Validate, environment)
}

/// Reads `NAME=VALUE` pairs.
///
/// # Errors
/// A pair without `=`, or two values for one name.
pub fn inputs(pairs: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut inputs = BTreeMap::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Failure::new(ExitCode::Usage, "an --input has no `=`")
                .hinted("write --input NAME=VALUE")
        })?;
        if inputs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(
                Failure::new(ExitCode::Usage, format!("--input {name} is given twice"))
                    .hinted("keep one of the two"),
            );
        }
    }
    Ok(inputs)
}

/// Returns the exit code of what was found: a missing or wrong input is another matter than a wrong document.
#[must_use]
pub fn exit(diagnostics: &[Diagnostic]) -> ExitCode {
    let errors = diagnostics
        .iter()
        .filter(|found| found.severity == Severity::Error);
    let mut exits = errors.map(|found| {
        if matches!(
            found.kind,
            Kind::InputInvalid | Kind::InputMissing | Kind::SecretShort | Kind::SecretUnset
        ) {
            ExitCode::InputInvalid
        } else {
            ExitCode::PipelineInvalid
        }
    });
    match exits.next() {
        None => ExitCode::Done,
        Some(first) if exits.all(|exit| exit == first) => first,
        Some(_) => ExitCode::PipelineInvalid,
    }
}

/// Returns a diagnostic as reports take it.
#[must_use]
pub fn finding(diagnostic: &Diagnostic) -> Finding {
    let level = match diagnostic.severity {
        Severity::Error => Level::Error,
        Severity::Warning => Level::Warning,
    };
    let extent = diagnostic.place.as_ref().map(|place| Extent {
        line: place.start.line,
        column: Some(place.start.column),
        // The end is one past the last character, which may be a line break.
        last_column: (place.end.line == place.start.line)
            .then(|| place.end.column.saturating_sub(1)),
    });
    let text = diagnostic.to_string();
    let label = format!("{}: ", diagnostic.severity);
    Finding {
        level,
        kind: DiagnosticReport::from(diagnostic).kind,
        file: diagnostic.file.clone(),
        extent,
        text: text.strip_prefix(&label).unwrap_or(&text).to_owned(),
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn unreadable(path: &Path, name: &str, error: &io::Error) -> Diagnostic {
    if path.is_dir() {
        return Diagnostic::of_file(Kind::Unreadable, name, "the pipeline is a folder")
            .caused_by("a pipeline is one file")
            .helped(format!(
                "name the file in it, for instance {}",
                path.join("pipeline.yml").display()
            ));
    }
    let found = Diagnostic::of_file(Kind::Unreadable, name, "the pipeline can't be read")
        .caused_by(error.to_string());
    match (error.kind(), nearby(path)) {
        (io::ErrorKind::NotFound, Some(other)) => {
            found.helped(format!("did you mean {}?", other.display()))
        }
        (io::ErrorKind::NotFound, None) => {
            found.helped("check the path, or write a first pipeline with `shipgate init`")
        }
        _ => found.helped("check the file's permissions"),
    }
}

/// Returns a pipeline file that stands where this one was looked for.
fn nearby(path: &Path) -> Option<PathBuf> {
    let other = match path.extension()?.to_str()? {
        "yml" => path.with_extension("yaml"),
        "yaml" => path.with_extension("yml"),
        _ => return None,
    };
    other.is_file().then_some(other)
}

fn read_secret(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAXIMUM_BYTES as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAXIMUM_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

impl crate::report::Mask for crate::pipeline::mask::Learned {
    fn mask(&self, text: &str) -> String {
        self.text(text)
    }
}

impl crate::report::Mask for crate::pipeline::mask::Mask {
    fn mask(&self, text: &str) -> String {
        self.text(text)
    }

    fn forms(&self) -> Vec<String> {
        self.forms()
    }
}
