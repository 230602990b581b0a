//! Whole runs in the logs of GitHub and GitLab.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{plain, script};
use crate::pipeline::mask::Mask as SecretMask;
use crate::pipeline::secret::{SecretString, SecretValue};
use crate::report::ci::{CiRenderer, System};
use crate::report::inert::{Line, log};
use crate::report::plain::Verbosity;
use crate::report::runner::{commands, sections};
use crate::report::style::Style;
use crate::report::{Detail, Event, Mask, NoMask};

pub(super) fn github() -> System {
    System::Github(Arc::new(|file| Some(file.to_owned())))
}

/// Returns a log as it is printed.
fn said(system: System, events: &[Event], verbosity: Verbosity, mask: &Arc<dyn Mask>) -> String {
    let mut renderer = CiRenderer::new(system, Style::default(), verbosity);
    renderer.set_mask(mask.clone());
    let mut printed = String::new();
    for event in events {
        printed += &log(&renderer.render(event), &**mask);
    }
    printed + &log(&renderer.finish(), &**mask)
}

fn unmasked(system: System, events: &[Event]) -> String {
    said(system, events, Verbosity::Normal, &no_mask())
}

fn no_mask() -> Arc<dyn Mask> {
    Arc::new(NoMask)
}

/// Makes what steers a terminal visible.
fn shown(log: &str) -> String {
    log.replace('\x1b', "<ESC>").replace('\r', "<CR>")
}

#[test]
fn github_logs() {
    for (name, events) in [
        ("github_success", script::success()),
        ("github_failure", script::failure()),
        ("github_cancelled", script::cancelled()),
        ("github_hostile", script::hostile()),
        ("github_many_failures", script::many_failures()),
    ] {
        insta::assert_snapshot!(name, shown(&unmasked(github(), &events)));
    }
}

#[test]
fn gitlab_logs() {
    for (name, events) in [
        ("gitlab_success", script::success()),
        ("gitlab_failure", script::failure()),
        ("gitlab_cancelled", script::cancelled()),
        ("gitlab_hostile", script::hostile()),
        ("gitlab_many_failures", script::many_failures()),
    ] {
        insta::assert_snapshot!(name, shown(&unmasked(System::Gitlab, &events)));
    }
}

#[test]
fn a_quiet_log_has_annotations_and_no_groups() {
    let quiet = |system| said(system, &script::failure(), Verbosity::Quiet, &no_mask());
    let log = quiet(github());
    let names: Vec<_> = commands(&log).into_iter().map(|found| found.name).collect();
    assert_eq!(names, ["error", "warning"]);
    assert!(sections(&quiet(System::Gitlab)).is_empty());
}

/// Whatever ends a run, and wherever it is cut off.
#[test]
fn what_is_opened_is_closed() {
    for events in [
        script::success(),
        script::failure(),
        script::cancelled(),
        script::hostile(),
        script::many_failures(),
    ] {
        for length in 1..=events.len() {
            let log = unmasked(github(), &events[..length]);
            let mut open = false;
            for command in commands(&log) {
                match command.name.as_str() {
                    "group" => assert!(!std::mem::replace(&mut open, true), "{log}"),
                    "endgroup" => assert!(std::mem::replace(&mut open, false), "{log}"),
                    // What went wrong is read while groups are folded.
                    name => assert!(!open && ["error", "warning"].contains(&name), "{log}"),
                }
            }
            assert!(!open, "{log}");
            let log = unmasked(System::Gitlab, &events[..length]);
            let found = sections(&log);
            for pair in found.chunks(2) {
                let [begin, end] = pair else {
                    panic!("{log:?}");
                };
                assert!(begin.0 && !end.0 && begin.1 <= end.1 && begin.2 == end.2);
            }
        }
    }
}

/// A panic or an abort leaves steps without an end: the run's end closes them, and so does the next step.
#[test]
fn a_step_without_an_end_is_closed() {
    let mut events = script::failure();
    events.retain(|event| !matches!(event.detail, Detail::StepFinished { .. }));
    let names: Vec<_> = commands(&unmasked(github(), &events))
        .into_iter()
        .map(|command| command.name)
        .collect();
    assert_eq!(
        names.join(" "),
        "group endgroup group endgroup group endgroup"
    );
    let found = sections(&unmasked(System::Gitlab, &events));
    assert_eq!(found.len(), 6);
}

/// A process that was killed leaves its section open, and another one goes on in the same job.
#[test]
fn what_another_process_opened_is_closed_where_the_log_is_the_same() {
    let events = script::failure();
    let cut = events.iter().position(|event| {
        matches!(event.detail, Detail::StepStarted { .. }) && event.step.as_deref() == Some("live")
    });
    let (before, after) = events.split_at(cut.unwrap() + 2);
    let whole = |system: System| {
        let mut first = CiRenderer::new(system.clone(), Style::default(), Verbosity::Normal);
        let mut second = CiRenderer::new(system, Style::default(), Verbosity::Normal);
        let mut lines = Vec::new();
        for event in before {
            lines.extend(first.render(event));
            second.recall(event);
        }
        let killed = log(&lines, &NoMask);
        let resumed = Event {
            elapsed: Duration::from_secs(60),
            step: None,
            detail: Detail::RunResumed {
                name: "web".into(),
                run: "7f3a9c21".into(),
                at: "2026-08-22T12:01:00Z".into(),
                during: Some("live".into()),
                left: vec!["tell".into()],
            },
        };
        let mut lines = second.render(&resumed);
        let tell = after
            .iter()
            .filter(|event| event.step.as_deref() == Some("tell"));
        lines.extend(tell.flat_map(|event| second.render(event)));
        lines.extend(second.finish());
        (killed, log(&lines, &NoMask))
    };
    let (killed, finished) = whole(System::Gitlab);
    let found = sections(&(killed + &finished));
    for pair in found.chunks(2) {
        assert!(
            pair[0].0 && !pair[1].0 && pair[0].2 == pair[1].2,
            "{found:?}"
        );
    }
    assert_eq!(found.len(), 6);
    let (_, finished) = whole(github());
    let names: Vec<_> = commands(&finished)
        .into_iter()
        .map(|found| found.name)
        .collect();
    assert_eq!(names, ["group", "endgroup", "warning"], "{finished}");
}

#[test]
fn github_gets_ten_annotations_of_each_level_and_all_is_told() {
    let log = unmasked(github(), &script::many_failures());
    let found = commands(&log);
    for (level, first, folded) in [
        ("warning", "shipgate: step-1 failed", "4 more warnings"),
        ("error", "shipgate: step-14 failed", "3 more errors"),
    ] {
        let of_level: Vec<_> = found.iter().filter(|found| found.name == level).collect();
        assert_eq!(of_level.len(), 10);
        assert_eq!(of_level[0].property("title"), Some(first));
        assert_eq!(of_level[0].property("file"), Some("deploy/pipeline.yml"));
        assert!(of_level[0].data.contains("connection refused"));
        assert!(of_level[0].data.contains("start it"));
        assert!(of_level[9].data.starts_with(folded), "{:?}", of_level[9]);
    }
    for number in 0..25 {
        assert!(log.contains(&format!("registry {number} is gone")));
    }
}

fn secret_values() -> Vec<SecretValue> {
    let secret = |name: &str, value: &str, users: &[&str]| SecretValue {
        name: name.into(),
        value: SecretString::new(value),
        users: users.iter().map(|user| (*user).to_owned()).collect(),
    };
    vec![
        secret("token", "s3cr3t/t0ken+\"x\" 100%", &["ci"]),
        secret(
            "key",
            "-----BEGIN X-----\nMIIBVgIBADANBgkq\r\n  hkiG9w0BAQEFAASC\n}\n-----END X-----\n",
            &[],
        ),
    ]
}

/// The secrets as programs print them, and what must not be left of them.
fn forms() -> (Vec<String>, Vec<String>) {
    let mut printed = Vec::new();
    let mut parts = Vec::new();
    for secret in secret_values() {
        let value = secret.value.expose();
        printed.push(value.to_owned());
        printed.push(serde_json::json!({ "t": value }).to_string());
        printed.push(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
        for before in ["", "a", "ab"] {
            printed.push(STANDARD.encode(format!("{before}{value}")));
            printed.push(URL_SAFE_NO_PAD.encode(format!("{before}{value}")));
        }
        printed.push(STANDARD.encode(format!("ci:{value}")));
        for line in value.lines().map(str::trim).filter(|line| line.len() > 5) {
            parts.push(line.to_owned());
            printed.push(line.to_owned());
            for before in ["", "a", "ab"] {
                let encoded = STANDARD.encode(format!("{before}{line}"));
                // The ends also hold bits of what stands around it.
                parts.push(encoded[4..encoded.len() - 4].to_owned());
                printed.push(encoded);
            }
        }
    }
    (printed, parts)
}

#[test]
fn no_log_has_a_secret_in_any_form() {
    let (printed, parts) = forms();
    let events = script::secrets(&printed);
    let mask: Arc<dyn Mask> = Arc::new(SecretMask::new(&secret_values()));
    for verbosity in [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose] {
        for system in [github(), System::Gitlab] {
            let log = said(system, &events, verbosity, &mask);
            // As the system shows it.
            let data: Vec<_> = commands(&log).into_iter().map(|found| found.data).collect();
            for part in &parts {
                assert!(!log.contains(part), "{part} in {log}");
                assert!(!data.concat().contains(part), "{part} in {log}");
            }
            assert!(log.contains("***"));
        }
    }
    let log = said(github(), &events, Verbosity::Normal, &mask);
    insta::assert_snapshot!("github_secrets", log);
}

#[test]
fn every_line_that_is_masked_here_is_masked_by_github() {
    let mut renderer = CiRenderer::new(github(), Style::default(), Verbosity::Normal);
    assert!(renderer.masks().is_empty());
    let mask = SecretMask::new(&secret_values());
    renderer.set_mask(Arc::new(mask.clone()));
    let masks = log(&renderer.masks(), &NoMask);
    let found = commands(&masks);
    assert_eq!(found.len(), masks.lines().count());
    for command in &found {
        assert_eq!(command.name, "add-mask");
        // The runner takes each line of a mask for one, and stars out whatever it is.
        assert!(command.data.trim().chars().count() >= 6, "{command:?}");
        assert!(!command.data.contains(['\n', '\r']), "{command:?}");
        assert_eq!(mask.text(&command.data), "***");
    }
    // What the runner would do with these masks, without a help of its own.
    let (printed, parts) = forms();
    for form in printed.iter().flat_map(|form| form.lines()) {
        let mut masked = form.to_owned();
        for command in &found {
            masked = masked.replace(&command.data, "***");
        }
        for part in &parts {
            assert!(!masked.contains(part), "{part} in {masked}");
        }
    }
    let mut gitlab = CiRenderer::new(System::Gitlab, Style::default(), Verbosity::Normal);
    gitlab.set_mask(Arc::new(mask));
    assert!(gitlab.masks().is_empty());
}

#[test]
fn a_secret_of_many_lines_does_not_drown_the_runner() {
    let value: String = (0..5_000)
        .map(|line| format!("line {line:04} of it\n"))
        .collect();
    let secret = SecretValue {
        name: "s".into(),
        value: SecretString::new(value),
        users: Vec::new(),
    };
    let mut renderer = CiRenderer::new(github(), Style::default(), Verbosity::Normal);
    renderer.set_mask(Arc::new(SecretMask::new(&[secret])));
    assert_eq!(renderer.masks().len(), 1_000);
}

/// The lines are those of the plain form: what is not markup stands there too.
#[test]
fn the_text_is_that_of_the_plain_form() {
    for events in [script::success(), script::failure(), script::cancelled()] {
        let expected = plain(&events, Style::default(), Verbosity::Normal);
        let mut renderer = CiRenderer::new(System::Gitlab, Style::default(), Verbosity::Normal);
        let lines: Vec<_> = events
            .iter()
            .flat_map(|event| renderer.render(event))
            .collect();
        let texts = lines.iter().filter_map(|line| match line {
            Line::Text(text) => Some(text.clone()),
            Line::Markup(_) => None,
        });
        // The name of a step is in its header.
        let expected: Vec<_> = expected
            .into_iter()
            .filter(|line| !line.contains("web answers for its users"))
            .collect();
        assert_eq!(texts.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn heartbeats_are_as_in_the_plain_form() {
    let mut renderer = CiRenderer::new(github(), Style::default(), Verbosity::Normal);
    for event in script::many_blobs(3) {
        renderer.render(&event);
    }
    let beats = renderer.tick(Duration::from_secs(31));
    assert!(matches!(&beats[..], [Line::Text(beat)] if beat.contains("3 blobs under way")));
}
