//! The first line of a journal: everything that another process needs to finish the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::lock::LockedImage;

/// The version of the journal's format. A program reads its own version only.
pub const VERSION: u32 = 1;

/// What a run was given.
///
/// It holds no secret: those come from variables and files when the run is finished.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub journal: u32,
    /// The version of shipgate that wrote it.
    pub shipgate: String,
    /// The run's id.
    pub run: String,
    /// When the journal was begun, RFC 3339.
    pub at: String,
    /// What the machine is called since it was started, where that can be known: caches travel, and a
    /// journal that came from elsewhere is somebody else's.
    pub boot: Option<String>,
    /// How others can tell that the run goes on.
    pub liveness: Liveness,
    /// The folder that the run's paths are relative to, where folders have a name for others.
    pub folder: Option<String>,
    /// The pipeline file as it was named.
    pub file: String,
    /// The text of the pipeline.
    pub document: String,
    /// The inputs that were given.
    pub inputs: BTreeMap<String, String>,
    /// The page of the job that ran it.
    pub link: Option<String>,
    /// The folder of the run's playground, if it had one.
    pub playground: Option<String>,
    /// What was asked for.
    pub options: Options,
    /// The images that a lock file pinned.
    pub locked: Option<BTreeMap<String, LockedImage>>,
}

impl Header {
    /// Returns the first field by which this one asks for something else than another of the same run.
    ///
    /// What two programs of one run may know differently is left out: versions, the time, how it shows
    /// that it is alive, where it runs.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> Option<&'static str> {
        let differs = [
            ("run", self.run != other.run),
            ("document", self.document != other.document),
            ("file", self.file != other.file),
            ("folder", self.folder != other.folder),
            ("inputs", self.inputs != other.inputs),
            ("options", self.options != other.options),
            ("locked", self.locked != other.locked),
        ];
        let field = differs.into_iter().find(|(_, differs)| *differs);
        field.map(|(name, _)| name)
    }
}

/// How others can tell that a run goes on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Liveness {
    /// It holds a lock on its journal.
    Lock,
    /// It adds an empty line every [`SIGN`](super::journal::SIGN).
    Signs,
}

/// What was asked for on the command line.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The only steps to run.
    pub only: Vec<String>,
    /// The first step to run.
    pub from: Option<String>,
    /// The last step to run.
    pub until: Option<String>,
    /// The lock file.
    pub lock: Option<String>,
    /// The folder of the report.
    pub report: Option<String>,
    /// Whether every registry is spoken to without TLS.
    pub plain_http: Option<bool>,
}
