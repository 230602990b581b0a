//! Whole runs through every renderer, against golden files.

mod ci;
mod hostile;
pub(crate) mod script;
#[cfg(not(target_family = "wasm"))]
mod tty;

use std::time::Duration;

use super::json;
use super::plain::{PlainRenderer, Verbosity};
use super::style::Style;
use super::{Event, NoMask, Summary};

const COLOR: Style = Style {
    color: true,
    unicode: false,
};

fn plain(events: &[Event], style: Style, verbosity: Verbosity) -> Vec<String> {
    let mut renderer = PlainRenderer::new(style, verbosity);
    events
        .iter()
        .flat_map(|event| renderer.render(event))
        .collect()
}

fn said(events: &[Event], verbosity: Verbosity) -> String {
    plain(events, Style::default(), verbosity).join("\n")
}

#[test]
fn plain_success() {
    insta::assert_snapshot!(said(&script::success(), Verbosity::Normal));
}

#[test]
fn plain_failure() {
    insta::assert_snapshot!(said(&script::failure(), Verbosity::Normal));
}

#[test]
fn plain_cancelled() {
    insta::assert_snapshot!(said(&script::cancelled(), Verbosity::Normal));
}

#[test]
fn plain_hostile() {
    insta::assert_snapshot!(said(&script::hostile(), Verbosity::Verbose));
}

#[test]
fn a_run_that_is_finished_later() {
    let resumed = |during: Option<&str>, left: &[&str]| Event {
        elapsed: Duration::from_secs(60),
        step: None,
        detail: super::Detail::RunResumed {
            name: "web".into(),
            run: "20260801T120000Z-0123abcd".into(),
            at: "2026-08-01T12:01:00Z".into(),
            during: during.map(Into::into),
            left: left.iter().map(|id| (*id).to_owned()).collect(),
        },
    };
    let over = script::cancelled();
    let begun = &over[..1];
    let said = |before: &[Event], event| {
        let events: Vec<_> = before.iter().cloned().chain([event]).collect();
        said(&events, Verbosity::Normal)
            .lines()
            .last()
            .unwrap()
            .to_owned()
    };
    let lines = [
        said(begun, resumed(Some("live"), &["back", "tell"])),
        said(begun, resumed(None, &["tell"])),
        said(&over, resumed(None, &["tell"])),
        said(&over, resumed(None, &[])),
    ];
    insta::assert_snapshot!(lines.join("\n"), @"
    run 20260801T120000Z-0123abcd: killed during step live; finishing: back, tell
    run 20260801T120000Z-0123abcd: killed between two steps; finishing: tell
    run 20260801T120000Z-0123abcd: it left something open; finishing: tell
    run 20260801T120000Z-0123abcd: it left something open; finishing: its report
    ");
}

#[test]
fn verbose_success() {
    insta::assert_snapshot!(said(&script::success(), Verbosity::Verbose));
}

#[test]
fn quiet() {
    insta::assert_snapshot!("quiet_success", said(&script::success(), Verbosity::Quiet));
    insta::assert_snapshot!("quiet_failure", said(&script::failure(), Verbosity::Quiet));
    insta::assert_snapshot!(
        "quiet_cancelled",
        said(&script::cancelled(), Verbosity::Quiet)
    );
}

#[test]
fn colored_failure() {
    let lines = plain(&script::failure(), COLOR, Verbosity::Normal).join("\n");
    insta::assert_snapshot!(lines.replace('\x1b', "<ESC>"));
}

#[test]
fn json_lines() {
    let mut lines = script::success();
    lines.extend(script::failure());
    let lines: Vec<_> = lines
        .iter()
        .map(|event| json::line(event, &NoMask))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn report_files() {
    for (name, events) in [
        ("report_success", script::success()),
        ("report_failure", script::failure()),
        ("report_cancelled", script::cancelled()),
    ] {
        let mut summary = Summary::new();
        events.iter().for_each(|event| summary.apply(event));
        insta::assert_json_snapshot!(name, summary.report());
    }
}

#[test]
fn colours_only_add() {
    for events in [script::success(), script::failure(), script::cancelled()] {
        for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
            let colored = plain(&events, COLOR, verbosity).join("\n");
            let mut text = String::new();
            let mut pieces = colored.split("\x1b[");
            text += pieces.next().unwrap();
            for piece in pieces {
                text += piece.split_once('m').unwrap().1;
            }
            assert_eq!(text, said(&events, verbosity));
        }
    }
}

#[test]
fn no_event_steers_a_terminal_or_a_log() {
    for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
        for line in plain(&script::hostile(), Style::default(), verbosity) {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(!line.trim_start().starts_with("::"), "{line:?}");
            assert!(!line.contains("##["), "{line:?}");
            assert!(!line.contains('\u{202e}'), "{line:?}");
            assert!(line.len() < 3_000, "{} bytes", line.len());
        }
    }
    for event in script::hostile() {
        let line = json::line(&event, &NoMask);
        assert!(
            !line.chars().any(|character| character.is_ascii_control()),
            "{line:?}"
        );
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

#[test]
fn a_full_digest_is_printed_before_it_is_shortened() {
    let lines = said(&script::success(), Verbosity::Verbose);
    let digest = crate::oci::Digest::of(b"web");
    let full = lines.find(&digest.to_string()).unwrap();
    let short = lines.find(&format!(" {} ", digest.short())).unwrap();
    assert!(full < short);
}

#[test]
fn heartbeats_are_30_seconds_apart_and_only_while_something_is_under_way() {
    let mut renderer = PlainRenderer::new(Style::default(), Verbosity::Normal);
    let mut lines = Vec::new();
    for event in script::cancelled() {
        // Five minutes pass before the step ends.
        let over = event.elapsed > Duration::from_secs(1);
        lines.extend(renderer.render(&event));
        if !over && matches!(event.detail, super::Detail::Waiting { .. }) {
            for second in 1..=100 {
                let beats = renderer.tick(Duration::from_secs(second));
                lines.extend(
                    beats
                        .into_iter()
                        .map(|line| format!("{second:>3} s: {line}")),
                );
            }
        }
    }
    assert_eq!(
        renderer.tick(Duration::from_secs(1_000)),
        Vec::<String>::new()
    );
    let beats: Vec<_> = lines.iter().filter(|line| line.contains("still")).collect();
    insta::assert_snapshot!(beats.into_iter().cloned().collect::<Vec<_>>().join("\n"), @"
     31 s: live  still waiting for http, unknown once so far, 30 s by now
     61 s: live  still waiting for http, unknown once so far, 1 min by now
     91 s: live  still waiting for http, unknown once so far, 1 min 30 s by now
    ");
}

#[test]
fn a_download_has_a_heartbeat_with_its_rate() {
    let mut renderer = PlainRenderer::new(Style::default(), Verbosity::Normal);
    for event in script::many_blobs(3) {
        renderer.render(&event);
    }
    insta::assert_snapshot!(renderer.tick(Duration::from_secs(31)).join("\n"), @"preload  70 %  2.1 MB of 3.0 MB, 29.0 kB/s, about 31 s left, 3 blobs under way");
}

#[test]
fn reasons_that_change_quickly_are_held_back() {
    let mut renderer = PlainRenderer::new(Style::default(), Verbosity::Normal);
    let mut events = script::cancelled();
    events.truncate(2);
    events.iter().for_each(|event| drop(renderer.render(event)));
    let mut lines = Vec::new();
    for tenth in 0..50_u64 {
        let elapsed = Duration::from_millis(tenth * 100 + 10);
        lines.extend(renderer.render(&Event {
            elapsed,
            step: Some("live".into()),
            detail: super::Detail::Waiting {
                on: format!("sample {tenth}"),
            },
        }));
        lines.extend(renderer.tick(elapsed));
    }
    lines.extend(renderer.tick(Duration::from_secs(7)));
    lines.extend(renderer.tick(Duration::from_secs(9)));
    insta::assert_snapshot!(lines.join("\n"), @"
    live  waiting for sample 0
    live  waiting for sample 20
    live  waiting for sample 40
    live  waiting for sample 49
    ");
}

#[test]
fn long_ids_have_their_column_too() {
    let mut renderer = PlainRenderer::new(Style::default(), Verbosity::Normal);
    let long = "preload-all-images-of-the-shop";
    let steps = ["live", long].map(|id| super::event::StepLine {
        id: id.into(),
        verb: "check".into(),
        list: "steps".into(),
        line: None,
    });
    let mut lines = renderer.render(&Event {
        elapsed: Duration::ZERO,
        step: None,
        detail: super::Detail::RunStarted {
            name: "web".into(),
            run: "r".into(),
            file: None,
            at: String::new(),
            steps: steps.to_vec(),
        },
    });
    for id in ["live", long] {
        lines.extend(renderer.render(&Event {
            elapsed: Duration::ZERO,
            step: Some(id.into()),
            detail: super::Detail::StepSkipped {
                reason: "not asked for".into(),
            },
        }));
    }
    insta::assert_snapshot!(lines[1..].join("\n"), @"
    live                            skipped: not asked for
    preload-all-images-of-the-shop  skipped: not asked for
    ");
}

#[test]
fn a_probe_that_flaps_is_cut_short() {
    let mut renderer = PlainRenderer::new(Style::default(), Verbosity::Normal);
    let mut lines = Vec::new();
    for second in 0..200_u64 {
        lines.extend(
            renderer.render(&Event {
                elapsed: Duration::from_secs(second),
                step: Some("live".into()),
                detail: super::Detail::Sampled {
                    probe: "http".into(),
                    sample: if second.is_multiple_of(2) {
                        "good"
                    } else {
                        "bad"
                    }
                    .into(),
                    found: "x".into(),
                    took: Duration::ZERO,
                },
            }),
        );
    }
    assert_eq!(lines.len(), 20);
    assert!(lines[19].ends_with("further changes are in the report"));
}
