//! Nothing foreign in any event, failure or finding becomes a command that was not meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::ci::github;
use crate::failure::Failure;
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::report::ci::{CiRenderer, System};
use crate::report::event::{HostRequests, StepLine, StepOutcome};
use crate::report::finding::{Extent, Finding, Level};
use crate::report::inert::{Line, log};
use crate::report::plain::{PlainRenderer, Verbosity};
use crate::report::runner::{Command, commands, hostile, sections};
use crate::report::style::Style;
use crate::report::{Detail, Event, NoMask, json};

/// Hands out texts in turn, for ever.
struct Texts(std::iter::Cycle<std::vec::IntoIter<String>>);

impl Texts {
    fn text(&mut self) -> String {
        self.0.next().unwrap()
    }

    fn some(&mut self) -> Option<String> {
        Some(self.text())
    }

    fn failure(&mut self) -> Failure {
        Failure::new(ExitCode::GateFailed, self.text())
            .caused_by(self.text())
            .caused_by(self.text())
            .fact(self.text(), self.text())
            .hinted(self.text())
    }

    /// One event of each sort.
    fn details(&mut self) -> Vec<Detail> {
        let digest = Digest::of(b"x");
        let took = Duration::from_millis(1);
        vec![
            Detail::BlobStarted {
                image: self.text(),
                digest,
                size: 1,
            },
            Detail::BlobFinished {
                image: self.text(),
                digest,
                size: 1,
                cached: false,
                host: self.some(),
                took,
            },
            Detail::GateJudged {
                verdict: self.text(),
                reason: self.text(),
            },
            Detail::ImageResolved {
                image: self.text(),
                reference: self.text(),
                digest,
                manifest: digest,
                platform: self.text(),
                blobs: 1,
                bytes: 1,
            },
            Detail::ImageDelivered {
                image: self.text(),
                digest,
                to: self.text(),
                detail: self.text(),
                took,
            },
            Detail::ImagePreloaded {
                image: self.text(),
                digest,
                fetched: 1,
                cached: 0,
                served: BTreeMap::new(),
                took,
            },
            Detail::ImageVerified {
                image: self.text(),
                digest,
                rule: self.text(),
                signers: vec![self.text(), self.text()],
            },
            Detail::NoticeSent {
                target: self.text(),
                delivered: false,
                attempts: 2,
                detail: self.text(),
            },
            Detail::RegistryChecked {
                registry: self.text(),
                summary: self.text(),
                latency: took,
                tls: self.some(),
                certificate_expires: self.some(),
            },
            Detail::Sampled {
                probe: self.text(),
                sample: self.text(),
                found: self.text(),
                took,
            },
            Detail::RunResumed {
                name: self.text(),
                run: self.text(),
                at: self.text(),
                during: self.some(),
                left: vec![self.text(), self.text()],
            },
            Detail::SignatureChecked {
                image: self.text(),
                place: self.text(),
                digest,
                verdict: self.text(),
                signer: self.some(),
                found: self.text(),
            },
            Detail::StepRetried {
                attempt: 1,
                of: 2,
                wait: took,
                failure: self.failure(),
            },
            Detail::Waiting { on: self.text() },
            Detail::Warned {
                message: self.text(),
                hint: self.some(),
            },
            Detail::StepSkipped {
                reason: self.text(),
            },
            Detail::RequestsCounted {
                hosts: vec![HostRequests {
                    host: self.text(),
                    requests: 1,
                    failed: 1,
                    received: 1,
                    quota: None,
                }],
            },
        ]
    }

    fn run(&mut self) -> Vec<Event> {
        let steps: Vec<_> = (0..3).map(|_| self.text()).collect();
        let lines = steps.iter().map(|id| StepLine {
            id: id.clone(),
            verb: self.text(),
            list: self.text(),
            line: Some(3),
        });
        let mut details = vec![(
            None,
            Detail::RunStarted {
                steps: lines.collect(),
                name: self.text(),
                run: self.text(),
                file: self.some(),
                at: self.text(),
            },
        )];
        let ends = [
            (StepOutcome::Failed, false),
            (StepOutcome::Inconclusive, true),
            (StepOutcome::Cancelled, false),
        ];
        for (step, (outcome, continued)) in steps.into_iter().zip(ends) {
            let started = Detail::StepStarted {
                verb: self.text(),
                name: self.text(),
            };
            let finished = Detail::StepFinished {
                outcome,
                took: Duration::from_secs(1),
                failure: Some(self.failure()),
                continued,
            };
            let all = std::iter::once(started)
                .chain(self.details())
                .chain([finished]);
            details.extend(all.map(|detail| (Some(step.clone()), detail)));
        }
        details.extend(self.details().into_iter().map(|detail| (None, detail)));
        let reason = self.some();
        let exit = ExitCode::GateFailed;
        details.push((None, Detail::RunFinished { exit, reason }));
        let event = |(number, (step, detail)): (u64, _)| Event {
            elapsed: Duration::from_secs(number),
            step,
            detail,
        };
        (0..).zip(details).map(event).collect()
    }

    fn findings(&mut self) -> Vec<Finding> {
        let place = Extent {
            line: 1,
            column: Some(2),
            last_column: Some(3),
        };
        [Level::Error, Level::Warning]
            .into_iter()
            .map(|level| Finding {
                level,
                kind: self.text(),
                file: self.text(),
                extent: Some(place),
                text: [self.text(), self.text()].join("\n"),
            })
            .collect()
    }
}

/// Returns all lines of a hostile run, findings and a failure besides.
fn lines(system: System, texts: Vec<String>, verbosity: Verbosity, style: Style) -> Vec<Line> {
    let mut texts = Texts(texts.into_iter().cycle());
    let mut renderer = CiRenderer::new(system, style, verbosity);
    let mut lines = Vec::new();
    for finding in texts.findings() {
        lines.extend(renderer.finding(&finding));
    }
    for event in texts.run() {
        lines.extend(renderer.render(&event));
        lines.extend(renderer.tick(event.elapsed + Duration::from_secs(40)));
    }
    lines.extend(renderer.failure(&texts.failure(), texts.some().as_deref()));
    lines.extend(renderer.finish());
    lines
}

/// What the markup was meant to say.
fn meant(lines: &[Line]) -> Vec<Command> {
    let markup = lines.iter().filter_map(|line| match line {
        Line::Markup(line) => Some(line),
        Line::Text(_) => None,
    });
    let mut all = Vec::new();
    for line in markup {
        let found = commands(line);
        assert_eq!(found.len(), 1, "{line:?}");
        assert!(!line.contains(['\n', '\r']), "{line:?}");
        all.extend(found);
    }
    all
}

fn runs() -> impl Strategy<Value = (Vec<String>, Verbosity, Style)> {
    let texts = prop::collection::vec(hostile(), 1..12);
    let verbosities = vec![Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose];
    (texts, prop::sample::select(verbosities), any::<bool>()).prop_map(
        |(texts, verbosity, color)| {
            let style = Style {
                color,
                unicode: false,
            };
            (texts, verbosity, style)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn github_hears_only_what_was_meant((texts, verbosity, style) in runs()) {
        let lines = lines(github(), texts, verbosity, style);
        let printed = log(&lines, &NoMask);
        let meant = meant(&lines);
        for command in &meant {
            prop_assert!(
                ["group", "endgroup", "error", "warning"].contains(&command.name.as_str()),
                "{command:?}"
            );
            // What the runner writes to the log for a command is read again, by whoever shows the log.
            prop_assert!(!command.data.contains("##["), "{command:?}");
            let known = ["file", "line", "endLine", "col", "endColumn", "title"];
            for (name, value) in &command.properties {
                prop_assert!(known.contains(&name.as_str()), "{command:?}");
                prop_assert!(!value.contains(['\n', '\r']), "{command:?}");
            }
        }
        prop_assert_eq!(commands(&printed), meant);
        prop_assert!(sections(&printed).is_empty());
    }

    #[test]
    fn gitlab_hears_only_what_was_meant((texts, verbosity, style) in runs()) {
        let lines = lines(System::Gitlab, texts, verbosity, style);
        let printed = log(&lines, &NoMask);
        let meant = lines.iter().filter(|line| matches!(line, Line::Markup(_))).count();
        prop_assert_eq!(sections(&printed).len(), meant);
        prop_assert!(commands(&printed).is_empty(), "{printed:?}");
    }

    #[test]
    fn plain_lines_and_json_command_nobody((texts, verbosity, style) in runs()) {
        let events = Texts(texts.into_iter().cycle()).run();
        let mut renderer = PlainRenderer::new(style, verbosity);
        for event in &events {
            let printed = log(&Line::texts(renderer.render(event)), &NoMask);
            prop_assert!(commands(&printed).is_empty(), "{printed:?}");
            prop_assert!(sections(&printed).is_empty(), "{printed:?}");
            let line = json::line(event, &NoMask);
            prop_assert!(commands(&line).is_empty(), "{line:?}");
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

#[test]
fn a_file_that_is_none_of_the_repository_is_named_in_words() {
    let mut texts = Texts(vec!["x".to_owned()].into_iter().cycle());
    let mut renderer = CiRenderer::new(
        System::Github(Arc::new(|_| None)),
        Style::default(),
        Verbosity::Normal,
    );
    let mut events = texts.run();
    events.truncate(20);
    let lines: Vec<_> = events
        .iter()
        .flat_map(|event| renderer.render(event))
        .collect();
    let found = meant(&lines);
    let error = found.iter().find(|found| found.name == "error").unwrap();
    assert_eq!(error.property("file"), None);
    assert_eq!(error.property("line"), None);
    assert!(error.data.ends_with("\n     at: line 3 of x"), "{error:?}");
}
