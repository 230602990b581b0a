//! What happens in a run, as one type that every renderer reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::oci::{Digest, Quota};
use crate::outcome::ExitCode;

/// One thing that happened, with its place in the run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Event {
    /// Time since the run began.
    #[serde(rename = "elapsed_ms", with = "milliseconds")]
    #[schemars(with = "u64")]
    pub elapsed: Duration,
    /// The id of the step, if a step did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub detail: Detail,
}

/// What happened.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Detail {
    /// A blob is about to be fetched.
    BlobStarted {
        /// The image's name in the document.
        image: String,
        /// The blob's digest.
        #[schemars(with = "String")]
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// Bytes of a blob arrived. Sent at most every 100 ms a blob.
    BlobProgressed {
        /// The blob's digest.
        #[schemars(with = "String")]
        digest: Digest,
        /// Bytes so far.
        received: u64,
    },
    /// A blob is whole in the cache.
    BlobFinished {
        /// The image's name in the document.
        image: String,
        /// The blob's digest.
        #[schemars(with = "String")]
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// Whether it was there before.
        cached: bool,
        /// The host that served it, if it was fetched.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// How long it took.
        #[serde(rename = "took_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        took: Duration,
    },
    /// A gate came to a verdict.
    GateJudged {
        /// `passed`, `failed` or `inconclusive`.
        verdict: String,
        /// Why, in one sentence.
        reason: String,
    },
    /// An image has got to a destination beyond the cache.
    ImageDelivered {
        /// The image's name in the document.
        image: String,
        /// The resolved digest.
        #[schemars(with = "String")]
        digest: Digest,
        /// Where, as the document or the command line names it: `docker-archive web.tar`.
        to: String,
        /// What it is called there, what had to be done, and what does not work there.
        detail: String,
        /// How long it took.
        #[serde(rename = "took_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        took: Duration,
    },
    /// The lock file says what an image is. Sent for each of its images when the run has begun.
    ImagePinned {
        /// The image's name in the document.
        image: String,
        /// The reference as written.
        reference: String,
        /// The digest that the lock file has.
        #[schemars(with = "String")]
        digest: Digest,
    },
    /// An image was resolved to a digest, once for the whole run.
    ImageResolved {
        /// The image's name in the document.
        image: String,
        /// The reference as written.
        reference: String,
        /// What it resolved to: the digest of the index or of the single manifest.
        #[schemars(with = "String")]
        digest: Digest,
        /// The manifest of the chosen platform.
        #[schemars(with = "String")]
        manifest: Digest,
        /// The chosen platform, for instance `linux/amd64`.
        platform: String,
        /// Number of blobs, the config counted.
        blobs: usize,
        /// Bytes of all blobs.
        bytes: u64,
    },
    /// All of an image is in the cache.
    ImagePreloaded {
        /// The image's name in the document.
        image: String,
        /// The resolved digest.
        #[schemars(with = "String")]
        digest: Digest,
        /// Bytes that were fetched.
        fetched: u64,
        /// Bytes that were in the cache before.
        cached: u64,
        /// Bytes by the host that sent them.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        served: BTreeMap<String, u64>,
        /// How long it took.
        #[serde(rename = "took_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        took: Duration,
    },
    /// An image satisfies its trust rule.
    ImageVerified {
        /// The image's name in the document.
        image: String,
        /// The digest that was verified.
        #[schemars(with = "String")]
        digest: Digest,
        /// The trust rule's pattern.
        rule: String,
        /// The signers that were found.
        signers: Vec<String>,
    },
    /// A notice was delivered, or given up.
    NoticeSent {
        /// `slack` or `webhook`.
        target: String,
        /// Whether the receiver took it.
        delivered: bool,
        /// How many attempts that took.
        attempts: u32,
        /// What the receiver or the network said.
        detail: String,
    },
    /// A registry answered a health check.
    RegistryChecked {
        /// The registry's host and port.
        registry: String,
        /// One sentence: alive, alive but needs login, and so on.
        summary: String,
        /// Time to the first byte of `/v2/`.
        #[serde(rename = "latency_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        latency: Duration,
        /// The TLS version, if TLS was spoken.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls: Option<String>,
        /// When the certificate expires, RFC 3339, if TLS was spoken.
        #[serde(skip_serializing_if = "Option::is_none")]
        certificate_expires: Option<String>,
    },
    /// A registry asked who the run is, and was satisfied. Sent once for each registry and login.
    RegistryLogin {
        /// The registry as written in references.
        registry: String,
        /// The account, if it has a name.
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        /// Where its credentials came from, for instance `docker config (auths)`. Left out for nobody's.
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
    },
    /// What the run asked of the network, said once before it ends.
    RequestsCounted {
        /// One entry a host, in the order of their first request.
        hosts: Vec<HostRequests>,
    },
    /// The run is over.
    RunFinished {
        /// How it ended.
        exit: ExitCode,
        /// Why, if it did not end well: the first cause.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A run that was killed, or that ran out of time after its cancellation, is being finished.
    RunResumed {
        /// The pipeline's name.
        name: String,
        /// The run's id.
        run: String,
        /// When it is taken up again, RFC 3339.
        at: String,
        /// The step that was under way when it was killed.
        #[serde(skip_serializing_if = "Option::is_none")]
        during: Option<String>,
        /// The ids of the steps that are left to do.
        left: Vec<String>,
    },
    /// The run begins.
    RunStarted {
        /// The pipeline's name.
        name: String,
        /// The run's id.
        run: String,
        /// The pipeline file as it was named, if the run has one.
        #[serde(skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// When, RFC 3339.
        at: String,
        /// The ids of all steps in the order of the document.
        steps: Vec<StepLine>,
    },
    /// A probe was asked once.
    Sampled {
        /// The probe's name in the document, or `control`.
        probe: String,
        /// `good`, `bad` or `unknown`.
        sample: String,
        /// What was found, in one phrase.
        found: String,
        /// How long it took.
        #[serde(rename = "took_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        took: Duration,
    },
    /// One candidate signature was looked at.
    SignatureChecked {
        /// The image's name in the document.
        image: String,
        /// Where it was found: `referrers`, `referrers tag`, `signature tag`.
        place: String,
        /// The digest of the manifest that carries it.
        #[schemars(with = "String")]
        digest: Digest,
        /// `good` or the check that failed.
        verdict: String,
        /// The signer that it satisfies.
        #[serde(skip_serializing_if = "Option::is_none")]
        signer: Option<String>,
        /// What was expected and what was found.
        found: String,
    },
    /// A step is over.
    StepFinished {
        /// `passed`, `failed`, `inconclusive` or `cancelled`.
        outcome: StepOutcome,
        /// How long it took, all attempts together.
        #[serde(rename = "took_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        took: Duration,
        /// What went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// Whether the run goes on although the step failed.
        continued: bool,
    },
    /// A step failed and is tried again.
    StepRetried {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// The most attempts that there will be.
        of: u32,
        /// The pause before the next attempt.
        #[serde(rename = "wait_ms", with = "milliseconds")]
        #[schemars(with = "u64")]
        wait: Duration,
        /// What went wrong.
        failure: Failure,
    },
    /// A step does not run.
    StepSkipped {
        /// Why.
        reason: String,
    },
    /// A step begins.
    StepStarted {
        /// The verb, for instance `preload`.
        verb: String,
        /// The step's name for people.
        name: String,
    },
    /// The run waits; sent when the reason changes.
    Waiting {
        /// For what, in one phrase.
        on: String,
    },
    /// Something that the reader should know and that fails nothing.
    Warned {
        /// One sentence.
        message: String,
        /// The edit or the command that helps.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// What a run asked of one host.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct HostRequests {
    /// The host and port.
    pub host: String,
    /// Number of requests, retries and redirects counted.
    pub requests: u64,
    /// How many of them got no answer, or one that had to be tried again.
    pub failed: u64,
    /// Bytes of bodies received.
    pub received: u64,
    /// How many requests it still allows, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// A step as it is announced when the run begins.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct StepLine {
    /// The step's id.
    pub id: String,
    /// The verb.
    pub verb: String,
    /// The list that it stands in: `steps`, `on-failure` or `finally`.
    pub list: String,
    /// The line of the pipeline file that it stands on, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// It was cancelled before it was done.
    Cancelled,
    /// It failed.
    Failed,
    /// A gate could not decide.
    Inconclusive,
    /// It did what it was asked.
    Passed,
    /// It did not run.
    Skipped,
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
            Self::Inconclusive => "inconclusive",
            Self::Passed => "passed",
            Self::Skipped => "skipped",
        })
    }
}

/// Hands events to whoever listens, with the step and the time filled in.
#[derive(Clone)]
pub struct Emitter {
    sink: Arc<dyn Fn(Event) + Send + Sync>,
    began: Instant,
    /// The time that the run had taken when this emitter was made.
    before: Duration,
    step: Option<Arc<str>>,
}

impl Emitter {
    /// Makes an emitter whose clock starts now.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self {
            sink: Arc::new(sink),
            began: Instant::now(),
            before: Duration::ZERO,
            step: None,
        }
    }

    /// Returns an emitter to the same listeners for a run that began this long ago.
    #[must_use]
    pub fn of_run_begun(&self, ago: Duration) -> Self {
        Self {
            sink: Arc::clone(&self.sink),
            began: Instant::now(),
            before: ago,
            step: None,
        }
    }

    /// Makes an emitter that nobody listens to.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    /// Returns the same emitter for one step.
    #[must_use]
    pub fn of_step(&self, id: &str) -> Self {
        Self {
            step: Some(id.into()),
            ..self.clone()
        }
    }

    /// Returns the same emitter for waits and warnings alone; the rest goes nowhere.
    #[must_use]
    pub fn of_waits(&self) -> Self {
        let sink = Arc::clone(&self.sink);
        Self {
            sink: Arc::new(move |event| {
                if matches!(event.detail, Detail::Waiting { .. } | Detail::Warned { .. }) {
                    sink(event);
                }
            }),
            ..self.clone()
        }
    }

    /// Returns the same emitter with somebody who hears every event first.
    #[must_use]
    pub fn hearing(&self, hear: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        let sink = Arc::clone(&self.sink);
        Self {
            sink: Arc::new(move |event| {
                hear(&event);
                sink(event);
            }),
            ..self.clone()
        }
    }

    /// Returns the time since the run began, as events carry it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.before + self.began.elapsed()
    }

    /// Sends an event.
    pub fn emit(&self, detail: Detail) {
        (self.sink)(Event {
            elapsed: self.elapsed(),
            step: self.step.as_deref().map(str::to_owned),
            detail,
        });
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// Durations as whole milliseconds.
mod milliseconds {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_back_as_they_were_written() {
        use crate::report::golden::script;
        let runs = [script::success(), script::failure(), script::cancelled()];
        for event in runs.into_iter().flatten() {
            let line = serde_json::to_string(&event).unwrap();
            let read: Event = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), line);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_is_taken_up_again_goes_on_with_its_time() {
        let (sender, heard) = std::sync::mpsc::channel();
        let first = Emitter::new(move |event| sender.send(event).unwrap()).of_step("a");
        let emitter = first.of_run_begun(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(1)).await;
        emitter.emit(Detail::StepSkipped { reason: "x".into() });
        let event = heard.recv().unwrap();
        assert_eq!(event.elapsed, Duration::from_secs(61));
        assert_eq!(event.step, None);
    }

    #[test]
    fn an_emitter_of_waits_passes_on_nothing_else() {
        let (sender, heard) = std::sync::mpsc::channel();
        let emitter = Emitter::new(move |event| sender.send(event.detail).unwrap()).of_waits();
        emitter.emit(Detail::StepSkipped { reason: "x".into() });
        let on = "a registry".to_owned();
        emitter.of_step("a").emit(Detail::Waiting { on });
        assert!(matches!(heard.try_recv(), Ok(Detail::Waiting { .. })));
        assert!(heard.try_recv().is_err());
    }
}
