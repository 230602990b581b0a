//! What `report.json` holds. Its schema is `schema/report.schema.json`.

use std::collections::VecDeque;
use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::event::{HostRequests, StepOutcome};
use crate::failure::Failure;
use crate::outcome::ExitCode;

/// The version of the report's format. It changes when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// Everything that a run did, in the order in which it first happened.
///
/// Digests are `sha256:` and 64 hex digits, sizes are bytes, durations milliseconds, times RFC 3339.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Report {
    /// The version of this format.
    pub version: u32,
    /// What was asked for: `run`, `plan` or `validate`. A plan's steps say what they would come to.
    pub command: String,
    /// The pipeline's name; its file's name if the pipeline could not be read.
    pub pipeline: String,
    /// The run's id. Empty if none was begun.
    pub run: String,
    /// The pipeline file as it was named. Absent if the run has none.
    pub file: Option<String>,
    /// When the run began.
    pub started: String,
    /// When it ended. Absent while it goes on.
    pub finished: Option<String>,
    /// How long it took.
    pub took_ms: u64,
    /// How it ended. Absent while it goes on.
    pub exit: Option<Exit>,
    /// Why it did not end well: the first cause.
    pub reason: Option<String>,
    /// The pipeline files that were read, as they were named. More than one only from `validate`.
    pub files: Vec<String>,
    /// What was found in them.
    pub diagnostics: Vec<DiagnosticReport>,
    /// What kept a run from beginning that is no finding in a file: a lock of another pipeline for instance.
    pub failure: Option<Failure>,
    /// The steps in the order of the document.
    pub steps: Vec<StepReport>,
    /// The images, an entry for each platform.
    pub images: Vec<ImageReport>,
    /// The images that the lock file pins, whether a step needed them or not.
    pub pinned: Vec<PinnedReport>,
    /// The candidate signatures that were looked at.
    pub signatures: Vec<SignatureReport>,
    /// The registries that were checked.
    pub registries: Vec<RegistryReport>,
    /// Whose credentials satisfied the registries that asked for some.
    pub logins: Vec<LoginReport>,
    /// The gates with their probes and samples.
    pub gates: Vec<GateReport>,
    /// The notices that were sent or given up.
    pub notices: Vec<NoticeReport>,
    /// What the reader should know and what failed nothing.
    pub warnings: Vec<WarningReport>,
    /// What the run asked of the network.
    pub requests: Requests,
}

impl Report {
    /// Lets it end no better than with what failed after the run itself, a lock that was not written for instance.
    pub fn worsen(&mut self, failure: &Failure) {
        let earned = self.exit.map_or(ExitCode::Done, |exit| exit.name);
        let worse = earned.worse(failure.exit);
        if self.exit.is_none() || worse != earned {
            self.exit = Some(Exit {
                code: worse.code(),
                name: worse,
            });
            self.reason = Some(failure.summary());
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Exit {
    /// The number that the process exits with.
    pub code: u8,
    /// The name of that number.
    pub name: ExitCode,
}

/// What was found in a pipeline file.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct DiagnosticReport {
    /// What sort of finding it is, for instance `unknown-key`.
    pub kind: String,
    /// `error` or `warning`.
    pub severity: String,
    /// The pipeline file as it was named.
    pub file: String,
    /// Where in the file. Absent if it concerns the whole file.
    pub place: Option<PlaceReport>,
    /// One sentence: what is wrong.
    pub message: String,
    /// What is to be said about the very place.
    pub label: Option<String>,
    /// Why it is wrong.
    pub cause: Option<String>,
    /// The edit that helps.
    pub help: Option<String>,
}

impl DiagnosticReport {
    /// Says whether it keeps the pipeline from being run.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

/// A place in a pipeline file; lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct PlaceReport {
    /// The line of the first character.
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// The line of the character behind the last.
    pub end_line: usize,
    /// The column of the character behind the last.
    pub end_column: usize,
}

/// What became of a step.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct StepReport {
    /// The step's id.
    pub id: String,
    /// The verb.
    pub verb: String,
    /// The list that it stands in: `steps`, `on-failure` or `finally`.
    pub list: String,
    /// The line of the pipeline file that it stands on, from 1. Absent if it stands in none.
    pub line: Option<usize>,
    /// How it ended. Absent if it never began.
    pub outcome: Option<StepOutcome>,
    /// Why it did not run.
    pub skipped: Option<String>,
    /// When it began, from the beginning of the run.
    pub began_ms: Option<u64>,
    /// How long it took, all attempts together.
    pub took_ms: Option<u64>,
    /// How many attempts there were.
    pub attempts: u32,
    /// What went wrong in the last attempt.
    pub failure: Option<Failure>,
    /// Whether the run went on although it failed.
    pub continued: bool,
}

/// What became of an image.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct ImageReport {
    /// The image's name in the document.
    pub name: String,
    /// The reference as written.
    pub reference: String,
    /// What it resolved to: the digest of the index or of the single manifest.
    pub digest: String,
    /// The manifest of the chosen platform.
    pub manifest: String,
    /// The chosen platform.
    pub platform: String,
    /// Number of blobs, the config counted.
    pub blobs: usize,
    /// Bytes of all blobs.
    pub bytes: u64,
    /// Bytes that were fetched. Absent if it was not preloaded.
    pub fetched: Option<u64>,
    /// Bytes that were in the cache before. Absent if it was not preloaded.
    pub cached: Option<u64>,
    /// Who sent its blobs. Empty if nothing was fetched.
    pub served: Vec<ServedReport>,
    /// The trust rule that it satisfies. Absent if it was not verified.
    pub verified: Option<VerifiedReport>,
}

/// A host that sent blobs of an image.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ServedReport {
    /// The host, with its port: the registry, a mirror, or where one of them keeps its blobs.
    pub host: String,
    /// The bytes that it sent.
    pub bytes: u64,
}

/// An image that the lock file pins.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct PinnedReport {
    /// The image's name in the document.
    pub name: String,
    /// The reference as written.
    pub reference: String,
    /// The digest that the lock file has.
    pub digest: String,
}

/// The trust rule that an image satisfies.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct VerifiedReport {
    /// The rule's pattern.
    pub rule: String,
    /// The signers that were found.
    pub signers: Vec<String>,
}

/// A candidate signature.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SignatureReport {
    /// The image's name in the document.
    pub image: String,
    /// Where it was found.
    pub place: String,
    /// The digest of the manifest that carries it.
    pub digest: String,
    /// `good` or the check that failed.
    pub verdict: String,
    /// The signer that it satisfies.
    pub signer: Option<String>,
    /// What was expected and what was found.
    pub found: String,
}

/// A registry that was checked.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct RegistryReport {
    /// The registry's host and port.
    pub registry: String,
    /// One sentence: alive, alive but needs login, and so on.
    pub summary: String,
    /// Time to the first byte of `/v2/`.
    pub latency_ms: u64,
    /// The TLS version, if TLS was spoken.
    pub tls: Option<String>,
    /// When the certificate expires, if TLS was spoken.
    pub certificate_expires: Option<String>,
}

/// A login that satisfied a registry.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct LoginReport {
    /// The registry as written in references.
    pub registry: String,
    /// The account. Absent if it has no name, or is nobody's.
    pub username: Option<String>,
    /// Where its credentials came from. Absent if none were needed.
    pub origin: Option<String>,
}

impl fmt::Display for LoginReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.username, &self.origin) {
            (Some(username), Some(origin)) => write!(f, "`{username}` from {origin}"),
            (None, Some(origin)) => write!(f, "a token from {origin}"),
            (_, None) => f.write_str("nobody: what it has is public"),
        }
    }
}

/// A gate.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct GateReport {
    /// The step's id.
    pub step: String,
    /// `passed`, `failed` or `inconclusive`. Absent if it came to none.
    pub verdict: Option<String>,
    /// Why, in one sentence.
    pub reason: Option<String>,
    /// The probes, `control` counted, in the order of their first sample.
    pub probes: Vec<ProbeReport>,
}

/// A probe of a gate.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ProbeReport {
    /// The probe's name in the document, or `control`.
    pub name: String,
    /// Samples that were good.
    pub good: u64,
    /// Samples that were bad.
    pub bad: u64,
    /// Samples that could not be taken.
    pub unknown: u64,
    /// The newest 1,000 samples, the oldest of them first.
    pub samples: VecDeque<SampleReport>,
    /// How many older samples are not listed.
    pub dropped: u64,
}

/// A sample of a probe.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SampleReport {
    /// When, from the beginning of the run.
    pub at_ms: u64,
    /// `good`, `bad` or `unknown`.
    pub sample: String,
    /// What was found, in one phrase.
    pub found: String,
    /// How long it took.
    pub took_ms: u64,
}

/// A notice.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct NoticeReport {
    /// The step's id.
    pub step: Option<String>,
    /// `slack` or `webhook`.
    pub target: String,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// How many attempts that took.
    pub attempts: u32,
    /// What the receiver or the network said.
    pub detail: String,
}

/// A warning.
#[derive(Clone, Debug, Eq, JsonSchema, PartialEq, Serialize)]
pub struct WarningReport {
    /// The step's id, if a step warned.
    pub step: Option<String>,
    /// One sentence.
    pub message: String,
    /// The edit or the command that helps.
    pub hint: Option<String>,
}

/// What a run asked of the network.
#[derive(Clone, Debug, Default, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Requests {
    /// Number of requests, retries and redirects counted.
    pub total: u64,
    /// One entry a host.
    pub hosts: Vec<HostRequests>,
}
