//! Whole runs as events, for golden files.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::failure::Failure;
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::report::event::{Detail, Event, HostRequests, StepLine, StepOutcome};

const REGISTRY: &str = "127.0.0.1:5000";

/// A run that goes well: check, preload (one blob cached), verify, gate, notify.
pub(crate) fn success() -> Vec<Event> {
    let mut run = Run::begun(&[
        ("check", "check", "steps"),
        ("preload", "preload", "steps"),
        ("verify", "verify", "steps"),
        ("live", "gate", "steps"),
        ("back", "notify", "on-failure"),
        ("tell", "notify", "finally"),
    ]);
    run.step("check", "check", "check");
    run.after(3, registry_checked("alive, no login needed"));
    run.finished(StepOutcome::Passed, 4, None);

    run.step("preload", "preload", "preload");
    run.after(5, resolved("web", "127.0.0.1:5000/acme/web:v1"));
    run.after(0, cached_blob(b"config", 1_100_000));
    run.after(1, blob_started(b"layer 1", 8_000_000));
    run.after(0, blob_started(b"layer 2", 23_000_000));
    run.after(100, blob_progressed(b"layer 1", 2_000_000));
    run.after(100, blob_progressed(b"layer 2", 5_000_000));
    run.after(100, blob_progressed(b"layer 1", 6_500_000));
    run.after(40, blob_finished(b"layer 1", 8_000_000, 341));
    let limited = format!("{REGISTRY} to take requests again (429, Retry-After 1 s)");
    run.after(10, Detail::Waiting { on: limited });
    run.after(1_000, blob_progressed(b"layer 2", 15_000_000));
    run.after(500, blob_finished(b"layer 2", 23_000_000, 1_851));
    run.after(
        1,
        Detail::ImagePreloaded {
            image: "web".into(),
            digest: Digest::of(b"web"),
            fetched: 31_000_000,
            cached: 1_100_000,
            served: BTreeMap::new(),
            took: Duration::from_millis(1_857),
        },
    );
    run.finished(StepOutcome::Passed, 1_858, None);

    run.step("verify", "verify", "verify");
    run.after(8, signature(b"old signature", "wrong key", None));
    run.after(1, signature(b"signature", "good", Some("ci")));
    run.after(0, verified());
    run.finished(StepOutcome::Passed, 12, None);

    run.step("live", "gate", "web answers for its users");
    run.after(
        1,
        sampled("http", "bad", "503 Service Unavailable, expected 200", 2),
    );
    run.after(0, sampled("tcp", "good", "connected", 1));
    run.after(
        0,
        Detail::Waiting {
            on: "http, bad once so far".into(),
        },
    );
    run.after(1_000, sampled("http", "good", "200 OK", 2));
    run.after(0, sampled("tcp", "good", "connected", 0));
    run.after(
        0,
        Detail::Waiting {
            on: "http, good 1 time of 3".into(),
        },
    );
    for _ in 0..3 {
        run.after(1_000, sampled("http", "good", "200 OK", 2));
        run.after(0, sampled("tcp", "good", "connected", 0));
    }
    run.after(
        0,
        Detail::GateJudged {
            verdict: "passed".into(),
            reason: "http and tcp stayed good for 3.0 s".into(),
        },
    );
    run.finished(StepOutcome::Passed, 4_003, None);
    run.skipped("back", "nothing failed");

    run.step("tell", "notify", "tell");
    run.after(80, notice("slack", true, 1, "200 ok"));
    run.finished(StepOutcome::Passed, 80, None);
    run.counted();
    run.ended(ExitCode::Done, None)
}

/// A run that fails: a retry of the preload, a warning, a gate that turns bad.
pub(crate) fn failure() -> Vec<Event> {
    let mut run = Run::begun(&[
        ("preload", "preload", "steps"),
        ("live", "gate", "steps"),
        ("later", "check", "steps"),
        ("tell", "notify", "finally"),
    ]);
    run.after(
        0,
        Detail::Warned {
            message: "nothing is verified: the document has no trust section".into(),
            hint: Some(
                "say whose signatures count:\ntrust:\n  signers: {ops: {key: [ops.pub]}}".into(),
            ),
        },
    );
    run.step("preload", "preload", "preload");
    run.after(5, resolved("web", "127.0.0.1:5000/acme/web:v1"));
    run.after(0, blob_started(b"layer 1", 8_000_000));
    let broken = Failure::new(ExitCode::PreloadFailed, "image `web` could not be fetched")
        .caused_by("the bytes of a blob do not match its digest")
        .caused_by("connection reset by peer")
        .fact("host", REGISTRY)
        .fact("expected", Digest::of(b"layer 1"))
        .fact("found", Digest::of(b"something else"))
        .hinted("ask the registry's operator whether a proxy rewrites bodies");
    run.after(
        900,
        Detail::StepRetried {
            attempt: 1,
            of: 3,
            wait: Duration::from_secs(2),
            failure: broken,
        },
    );
    run.after(2_000, resolved("web", "127.0.0.1:5000/acme/web:v1"));
    run.after(
        0,
        Detail::ImagePreloaded {
            image: "web".into(),
            digest: Digest::of(b"web"),
            fetched: 0,
            cached: 32_100_000,
            served: BTreeMap::new(),
            took: Duration::from_micros(600),
        },
    );
    run.finished(StepOutcome::Passed, 2_906, None);
    run.step("live", "gate", "live");
    for sample in ["good", "good", "bad", "unknown", "bad", "bad", "bad"] {
        let found = match sample {
            "good" => "200 OK",
            "bad" => "503 Service Unavailable, expected 200",
            _ => "no answer within 1 s",
        };
        run.after(1_000, sampled("http", sample, found, 3));
        run.after(0, sampled("control", "good", "200 OK", 1));
    }
    let reason = "http was bad 3 times in a row, and control was good";
    run.after(
        0,
        Detail::GateJudged {
            verdict: "failed".into(),
            reason: reason.into(),
        },
    );
    let failure = Failure::new(ExitCode::GateFailed, "gate `live` failed")
        .caused_by(reason)
        .fact("url", "http://127.0.0.1:8080/health")
        .fact("expected", "status 200")
        .fact("found", "status 503")
        .hinted("read the service's log from 12:00:07 on");
    run.finished(StepOutcome::Failed, 7_001, Some(failure));
    run.step("tell", "notify", "tell");
    run.after(300, notice("slack", false, 3, "500 no_service"));
    let undelivered = Failure::new(ExitCode::NotifyFailed, "slack did not take the notice");
    run.after(
        0,
        Detail::StepFinished {
            outcome: StepOutcome::Failed,
            took: Duration::from_millis(300),
            failure: Some(undelivered),
            continued: true,
        },
    );
    run.counted();
    run.ended(
        ExitCode::GateFailed,
        Some("gate `live` failed: http was bad 3 times in a row"),
    )
}

/// A run that a signal ends in its gate.
pub(crate) fn cancelled() -> Vec<Event> {
    let mut run = Run::begun(&[("live", "gate", "steps"), ("tell", "notify", "finally")]);
    run.step("live", "gate", "live");
    run.after(10, sampled("http", "unknown", "connection refused", 1));
    run.after(
        0,
        Detail::Waiting {
            on: "http, unknown once so far".into(),
        },
    );
    let failure = Failure::new(ExitCode::Cancelled, "cancelled by SIGTERM");
    run.after(
        4_200,
        Detail::StepFinished {
            outcome: StepOutcome::Cancelled,
            took: Duration::from_millis(4_210),
            failure: Some(failure),
            continued: false,
        },
    );
    run.skipped("tell", "the run was cancelled");
    run.ended(ExitCode::Cancelled, Some("cancelled by SIGTERM"))
}

/// Everything foreign tries to leave its line, steer the terminal or command the CI system.
pub(crate) fn hostile() -> Vec<Event> {
    const EVIL: &str =
        "evil\x1b[2J\x1b]0;title\x07\r\n::error::injected\n##[error]\u{202e}txt\u{9b}1m";
    let mut run = Run::begun(&[("live", "gate", "steps")]);
    run.step("live", "gate", EVIL);
    run.after(1, registry_checked(EVIL));
    run.after(1, resolved(EVIL, EVIL));
    run.after(1, sampled(EVIL, "bad", EVIL, 1));
    run.after(1, sampled("http", EVIL, EVIL, 1));
    run.after(1, Detail::Waiting { on: EVIL.into() });
    run.after(1, signature(b"signature", EVIL, Some(EVIL)));
    run.after(1, notice(EVIL, false, 1, EVIL));
    run.after(
        1,
        Detail::Warned {
            message: EVIL.into(),
            hint: Some(EVIL.into()),
        },
    );
    let judged = Detail::GateJudged {
        verdict: EVIL.into(),
        reason: EVIL.into(),
    };
    run.after(1, judged);
    let failure = Failure::new(ExitCode::GateFailed, EVIL)
        .caused_by(format!("the server said: {EVIL}"))
        .fact(EVIL, EVIL)
        .fact("body", "x".repeat(100_000))
        .hinted(EVIL);
    run.finished(StepOutcome::Failed, 10, Some(failure));
    run.ended(ExitCode::GateFailed, Some(EVIL))
}

/// A run whose every text holds secrets, in whatever form.
pub(crate) fn secrets(forms: &[String]) -> Vec<Event> {
    let all = forms.join(" | ");
    let mut run = Run::begun(&[("live", "gate", "steps")]);
    run.step("live", "gate", &format!("live {}", forms[0]));
    for form in forms {
        run.after(1, sampled("http", "bad", &format!("body {form}!"), 1));
        run.after(0, sampled("http", "good", &format!("body {form}!"), 1));
    }
    run.after(1, registry_checked(&all));
    run.after(2_000, Detail::Waiting { on: all.clone() });
    let hint = Some(all.clone());
    run.after(
        1,
        Detail::Warned {
            message: all.clone(),
            hint,
        },
    );
    let failure = Failure::new(ExitCode::GateFailed, format!("it said {all}"))
        .caused_by(&all)
        .fact("found", &all)
        .hinted(&all);
    let again = failure.clone();
    run.after(
        1,
        Detail::StepRetried {
            attempt: 1,
            of: 2,
            wait: Duration::from_secs(1),
            failure: again,
        },
    );
    run.finished(StepOutcome::Failed, 10, Some(failure));
    run.ended(ExitCode::GateFailed, Some(&all))
}

/// More steps that fail and are survived, and more failures behind them, than GitHub has places for.
pub(crate) fn many_failures() -> Vec<Event> {
    let ids: Vec<String> = (1..=25).map(|number| format!("step-{number}")).collect();
    let steps = ids.iter().map(|id| (id.as_str(), "check", "steps"));
    let mut run = Run::begun(&steps.collect::<Vec<_>>());
    for (number, id) in ids.iter().enumerate() {
        run.step(id, "check", id);
        let failure = Failure::new(
            ExitCode::RegistryUnhealthy,
            format!("registry {number} is gone"),
        )
        .caused_by("connection refused")
        .hinted("start it");
        run.after(
            5,
            Detail::StepFinished {
                outcome: StepOutcome::Failed,
                took: Duration::from_millis(5),
                failure: Some(failure),
                continued: number < 13,
            },
        );
        run.step = None;
    }
    run.ended(ExitCode::RegistryUnhealthy, Some("registry 13 is gone"))
}

/// Many blobs at once.
pub(crate) fn many_blobs(count: u8) -> Vec<Event> {
    let mut run = Run::begun(&[("preload", "preload", "steps")]);
    run.step("preload", "preload", "preload");
    for blob in 0..count {
        run.after(10, blob_started(&[blob], 1_000_000));
    }
    for received in [400_000, 700_000] {
        for blob in 0..count {
            run.after(10, blob_progressed(&[blob], received));
        }
    }
    run.events
}

struct Run {
    events: Vec<Event>,
    now: Duration,
    step: Option<String>,
}

impl Run {
    fn begun(steps: &[(&str, &str, &str)]) -> Self {
        let mut run = Self {
            events: Vec::new(),
            now: Duration::ZERO,
            step: None,
        };
        let lines = steps
            .iter()
            .zip(20..)
            .map(|((id, verb, list), line)| StepLine {
                id: (*id).into(),
                verb: (*verb).into(),
                list: (*list).into(),
                line: Some(line),
            });
        run.after(
            0,
            Detail::RunStarted {
                name: "web".into(),
                run: "7f3a9c21".into(),
                file: Some("deploy/pipeline.yml".into()),
                at: "2026-08-22T12:00:00Z".into(),
                steps: lines.collect(),
            },
        );
        run
    }

    fn after(&mut self, milliseconds: u64, detail: Detail) {
        self.now += Duration::from_millis(milliseconds);
        self.events.push(Event {
            elapsed: self.now,
            step: self.step.clone(),
            detail,
        });
    }

    fn step(&mut self, id: &str, verb: &str, name: &str) {
        self.step = Some(id.into());
        let (verb, name) = (verb.into(), name.into());
        self.after(1, Detail::StepStarted { verb, name });
    }

    fn finished(&mut self, outcome: StepOutcome, took: u64, failure: Option<Failure>) {
        self.after(
            0,
            Detail::StepFinished {
                outcome,
                took: Duration::from_millis(took),
                failure,
                continued: false,
            },
        );
        self.step = None;
    }

    fn skipped(&mut self, id: &str, reason: &str) {
        self.step = Some(id.into());
        let reason = reason.into();
        self.after(0, Detail::StepSkipped { reason });
        self.step = None;
    }

    fn counted(&mut self) {
        self.step = None;
        let host = HostRequests {
            host: REGISTRY.into(),
            requests: 12,
            failed: 1,
            received: 31_000_000,
            quota: None,
        };
        self.after(0, Detail::RequestsCounted { hosts: vec![host] });
    }

    fn ended(mut self, exit: ExitCode, reason: Option<&str>) -> Vec<Event> {
        self.step = None;
        let reason = reason.map(str::to_owned);
        self.after(1, Detail::RunFinished { exit, reason });
        self.events
    }
}

fn registry_checked(summary: &str) -> Detail {
    Detail::RegistryChecked {
        registry: REGISTRY.into(),
        summary: summary.into(),
        latency: Duration::from_millis(3),
        tls: Some("TLS 1.3".into()),
        certificate_expires: Some("2027-01-01T00:00:00Z".into()),
    }
}

fn resolved(image: &str, reference: &str) -> Detail {
    Detail::ImageResolved {
        image: image.into(),
        reference: reference.into(),
        digest: Digest::of(b"web"),
        manifest: Digest::of(b"manifest"),
        platform: "linux/amd64".into(),
        blobs: 3,
        bytes: 32_100_000,
    }
}

fn blob_started(blob: &[u8], size: u64) -> Detail {
    Detail::BlobStarted {
        image: "web".into(),
        digest: Digest::of(blob),
        size,
    }
}

fn blob_progressed(blob: &[u8], received: u64) -> Detail {
    Detail::BlobProgressed {
        digest: Digest::of(blob),
        received,
    }
}

fn blob_finished(blob: &[u8], size: u64, took: u64) -> Detail {
    Detail::BlobFinished {
        image: "web".into(),
        digest: Digest::of(blob),
        size,
        cached: false,
        host: Some(REGISTRY.into()),
        took: Duration::from_millis(took),
    }
}

fn cached_blob(blob: &[u8], size: u64) -> Detail {
    Detail::BlobFinished {
        image: "web".into(),
        digest: Digest::of(blob),
        size,
        cached: true,
        host: None,
        took: Duration::ZERO,
    }
}

fn signature(manifest: &[u8], verdict: &str, signer: Option<&str>) -> Detail {
    Detail::SignatureChecked {
        image: "web".into(),
        place: "referrers".into(),
        digest: Digest::of(manifest),
        verdict: verdict.into(),
        signer: signer.map(str::to_owned),
        found: "key SHA256:aa, expected SHA256:bb".into(),
    }
}

fn verified() -> Detail {
    Detail::ImageVerified {
        image: "web".into(),
        digest: Digest::of(b"web"),
        rule: "127.0.0.1:5000/acme/**".into(),
        signers: vec!["ci".into()],
    }
}

fn sampled(probe: &str, sample: &str, found: &str, took: u64) -> Detail {
    Detail::Sampled {
        probe: probe.into(),
        sample: sample.into(),
        found: found.into(),
        took: Duration::from_millis(took),
    }
}

fn notice(target: &str, delivered: bool, attempts: u32, detail: &str) -> Detail {
    Detail::NoticeSent {
        target: target.into(),
        delivered,
        attempts,
        detail: detail.into(),
    }
}
