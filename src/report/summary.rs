//! Folds the events of a run into its report.

use std::time::Duration;

use super::event::{StepLine, StepOutcome};
use super::model::{
    self, Exit, GateReport, ImageReport, LoginReport, NoticeReport, PinnedReport, ProbeReport,
    RegistryReport, Report, Requests, SampleReport, ServedReport, SignatureReport, StepReport,
    VerifiedReport, WarningReport,
};
use super::{Detail, Event};

/// The most samples of a probe that a report lists.
pub const MOST_SAMPLES: usize = 1_000;

/// A report that grows with every event.
#[derive(Clone, Debug)]
pub struct Summary {
    report: Report,
}

impl Summary {
    /// Makes the summary of a run that has not begun.
    #[must_use]
    pub fn new() -> Self {
        Self {
            report: Report {
                version: model::VERSION,
                command: "run".to_owned(),
                pipeline: String::new(),
                run: String::new(),
                file: None,
                started: String::new(),
                finished: None,
                took_ms: 0,
                exit: None,
                reason: None,
                files: Vec::new(),
                diagnostics: Vec::new(),
                failure: None,
                steps: Vec::new(),
                images: Vec::new(),
                signatures: Vec::new(),
                registries: Vec::new(),
                logins: Vec::new(),
                gates: Vec::new(),
                notices: Vec::new(),
                pinned: Vec::new(),
                warnings: Vec::new(),
                requests: Requests::default(),
            },
        }
    }

    /// Returns the report of what has happened so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Adds an event.
    pub fn apply(&mut self, event: &Event) {
        let at = milliseconds(event.elapsed);
        self.report.took_ms = self.report.took_ms.max(at);
        let step = event.step.as_deref();
        match &event.detail {
            Detail::RunStarted {
                name,
                run,
                file,
                at,
                steps,
            } => {
                self.report.pipeline.clone_from(name);
                self.report.run.clone_from(run);
                self.report.file.clone_from(file);
                self.report.files = file.iter().cloned().collect();
                self.report.started.clone_from(at);
                self.report.steps = steps.iter().map(announced).collect();
            }
            Detail::RunFinished { exit, reason } => {
                self.report.exit = Some(Exit {
                    code: exit.code(),
                    name: *exit,
                });
                self.report.reason.clone_from(reason);
                self.report.finished = later(&self.report.started, event.elapsed);
            }
            Detail::RequestsCounted { hosts } => {
                self.report.requests = Requests {
                    total: hosts.iter().map(|host| host.requests).sum(),
                    hosts: hosts.clone(),
                };
            }
            Detail::Warned { message, hint } => self.report.warnings.push(WarningReport {
                step: event.step.clone(),
                message: message.clone(),
                hint: hint.clone(),
            }),
            Detail::StepStarted { .. }
            | Detail::StepRetried { .. }
            | Detail::StepSkipped { .. }
            | Detail::StepFinished { .. } => self.step(step.unwrap_or_default(), at, &event.detail),
            Detail::Sampled { .. } | Detail::GateJudged { .. } => {
                self.gate(step.unwrap_or_default(), at, &event.detail);
            }
            Detail::NoticeSent {
                target,
                delivered,
                attempts,
                detail,
            } => self.report.notices.push(NoticeReport {
                step: event.step.clone(),
                target: target.clone(),
                delivered: *delivered,
                attempts: *attempts,
                detail: detail.clone(),
            }),
            Detail::RegistryChecked {
                registry,
                summary,
                latency,
                tls,
                certificate_expires,
            } => self.report.registries.push(RegistryReport {
                registry: registry.clone(),
                summary: summary.clone(),
                latency_ms: milliseconds(*latency),
                tls: tls.clone(),
                certificate_expires: certificate_expires.clone(),
            }),
            Detail::RegistryLogin {
                registry,
                username,
                origin,
            } => self.report.logins.push(LoginReport {
                registry: registry.clone(),
                username: username.clone(),
                origin: origin.clone(),
            }),
            Detail::ImagePinned {
                image,
                reference,
                digest,
            } => self.report.pinned.push(PinnedReport {
                name: image.clone(),
                reference: reference.clone(),
                digest: digest.to_string(),
            }),
            Detail::ImageResolved { .. }
            | Detail::ImagePreloaded { .. }
            | Detail::ImageVerified { .. }
            | Detail::SignatureChecked { .. } => self.image(&event.detail),
            Detail::BlobStarted { .. }
            | Detail::BlobProgressed { .. }
            | Detail::BlobFinished { .. }
            | Detail::ImageDelivered { .. }
            | Detail::RunResumed { .. }
            | Detail::Waiting { .. } => {}
        }
    }

    fn step(&mut self, id: &str, at: u64, detail: &Detail) {
        let steps = &mut self.report.steps;
        let place = steps.iter().position(|step| step.id == id);
        let place = place.unwrap_or_else(|| {
            steps.push(announced(&StepLine {
                id: id.to_owned(),
                verb: String::new(),
                list: String::new(),
                line: None,
            }));
            steps.len() - 1
        });
        let step = &mut steps[place];
        match detail {
            Detail::StepStarted { verb, .. } => {
                step.verb.clone_from(verb);
                step.began_ms = Some(at);
                step.attempts = 1;
                // A run that is finished later may do what it had given up before.
                step.outcome = None;
                step.skipped = None;
                step.took_ms = None;
                step.failure = None;
                step.continued = false;
            }
            Detail::StepRetried { attempt, .. } => step.attempts = attempt + 1,
            Detail::StepSkipped { reason } => {
                step.outcome = Some(StepOutcome::Skipped);
                step.skipped = Some(reason.clone());
            }
            Detail::StepFinished {
                outcome,
                took,
                failure,
                continued,
            } => {
                step.outcome = Some(*outcome);
                step.took_ms = Some(milliseconds(*took));
                step.failure.clone_from(failure);
                step.continued = *continued;
            }
            _ => {}
        }
    }

    fn image(&mut self, detail: &Detail) {
        let images = &mut self.report.images;
        match detail {
            Detail::ImageResolved {
                image,
                reference,
                digest,
                manifest,
                platform,
                blobs,
                bytes,
            } => {
                let manifest = manifest.to_string();
                // A later part of the run may say the same again.
                if images
                    .iter()
                    .any(|known| known.name == *image && known.manifest == manifest)
                {
                    return;
                }
                images.push(ImageReport {
                    name: image.clone(),
                    reference: reference.clone(),
                    digest: digest.to_string(),
                    manifest,
                    platform: platform.clone(),
                    blobs: *blobs,
                    bytes: *bytes,
                    fetched: None,
                    cached: None,
                    served: Vec::new(),
                    verified: None,
                });
            }
            Detail::ImagePreloaded {
                image,
                fetched,
                cached,
                served,
                ..
            } => {
                let known = images
                    .iter_mut()
                    .find(|known| known.name == *image && known.fetched.is_none());
                if let Some(known) = known {
                    known.fetched = Some(*fetched);
                    known.cached = Some(*cached);
                    let served = served.iter().map(|(host, bytes)| ServedReport {
                        host: host.clone(),
                        bytes: *bytes,
                    });
                    known.served = served.collect();
                }
            }
            Detail::ImageVerified {
                image,
                rule,
                signers,
                ..
            } => {
                for known in images.iter_mut().filter(|known| known.name == *image) {
                    known.verified = Some(VerifiedReport {
                        rule: rule.clone(),
                        signers: signers.clone(),
                    });
                }
            }
            Detail::SignatureChecked {
                image,
                place,
                digest,
                verdict,
                signer,
                found,
            } => self.report.signatures.push(SignatureReport {
                image: image.clone(),
                place: place.clone(),
                digest: digest.to_string(),
                verdict: verdict.clone(),
                signer: signer.clone(),
                found: found.clone(),
            }),
            _ => {}
        }
    }

    fn gate(&mut self, id: &str, at: u64, detail: &Detail) {
        let gates = &mut self.report.gates;
        let place = gates.iter().position(|gate| gate.step == id);
        let place = place.unwrap_or_else(|| {
            gates.push(GateReport {
                step: id.to_owned(),
                verdict: None,
                reason: None,
                probes: Vec::new(),
            });
            gates.len() - 1
        });
        let gate = &mut gates[place];
        match detail {
            Detail::GateJudged { verdict, reason } => {
                gate.verdict = Some(verdict.clone());
                gate.reason = Some(reason.clone());
            }
            Detail::Sampled {
                probe,
                sample,
                found,
                took,
            } => {
                let place = gate.probes.iter().position(|known| known.name == *probe);
                let place = place.unwrap_or_else(|| {
                    gate.probes.push(ProbeReport {
                        name: probe.clone(),
                        ..ProbeReport::default()
                    });
                    gate.probes.len() - 1
                });
                gate.probes[place].add(SampleReport {
                    at_ms: at,
                    sample: sample.clone(),
                    found: found.clone(),
                    took_ms: milliseconds(*took),
                });
            }
            _ => {}
        }
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::new()
    }
}

impl ProbeReport {
    fn add(&mut self, sample: SampleReport) {
        match sample.sample.as_str() {
            "good" => self.good += 1,
            "bad" => self.bad += 1,
            _ => self.unknown += 1,
        }
        if self.samples.len() == MOST_SAMPLES {
            self.samples.pop_front();
            self.dropped += 1;
        }
        self.samples.push_back(sample);
    }
}

fn announced(line: &StepLine) -> StepReport {
    StepReport {
        id: line.id.clone(),
        verb: line.verb.clone(),
        list: line.list.clone(),
        line: line.line,
        outcome: None,
        skipped: None,
        began_ms: None,
        took_ms: None,
        attempts: 0,
        failure: None,
        continued: false,
    }
}

/// Returns the time that is `elapsed` after an RFC 3339 time.
fn later(started: &str, elapsed: Duration) -> Option<String> {
    let started: jiff::Timestamp = started.parse().ok()?;
    let elapsed = Duration::from_millis(milliseconds(elapsed));
    Some(started.checked_add(elapsed).ok()?.to_string())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u64) -> Event {
        Event {
            elapsed: Duration::from_millis(number),
            step: Some("live".into()),
            detail: Detail::Sampled {
                probe: "http".into(),
                sample: if number.is_multiple_of(2) {
                    "good"
                } else {
                    "bad"
                }
                .into(),
                found: format!("sample {number}"),
                took: Duration::ZERO,
            },
        }
    }

    #[test]
    fn keeps_the_newest_samples_and_counts_them_all() {
        let mut summary = Summary::new();
        for number in 0..1_500 {
            summary.apply(&sample(number));
        }
        let probe = &summary.report().gates[0].probes[0];
        assert_eq!(probe.samples.len(), MOST_SAMPLES);
        assert_eq!(probe.dropped, 500);
        assert_eq!((probe.good, probe.bad, probe.unknown), (750, 750, 0));
        assert_eq!(probe.samples[0].at_ms, 500);
    }

    #[test]
    fn the_end_is_the_beginning_and_what_elapsed() {
        assert_eq!(
            later("2026-08-01T23:59:59Z", Duration::from_millis(1_500)),
            Some("2026-08-02T00:00:00.5Z".into())
        );
        assert_eq!(later("yesterday", Duration::ZERO), None);
    }
}
