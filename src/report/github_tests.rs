use proptest::prelude::*;

use super::*;
use crate::outcome::ExitCode;
use crate::report::inert::log;
use crate::report::runner::{Command, commands, hostile};
use crate::report::{Mask, NoMask};

fn github() -> Github {
    Github::new(Arc::new(|file| {
        (file != "<stdin>").then(|| format!("deploy/{file}"))
    }))
}

fn voice() -> Voice {
    Voice::new(Style::default())
}

fn heard(lines: &[Line]) -> Vec<Command> {
    commands(&log(lines, &NoMask))
}

fn error(text: &str) -> Finding {
    Finding {
        level: Level::Error,
        kind: "unknown-key".into(),
        file: "p.yml".into(),
        extent: Some(Extent {
            line: 3,
            column: Some(7),
            last_column: Some(12),
        }),
        text: text.into(),
    }
}

#[test]
fn an_annotation_has_its_place_and_the_whole_text() {
    let lines = github().finding(
        &voice(),
        &error("100 % wrong\n --> p.yml:3:7\n = help: a, b"),
    );
    insta::assert_snapshot!(log(&lines, &NoMask), @"::error file=deploy/p.yml,line=3,endLine=3,col=7,endColumn=12,title=shipgate%3A unknown-key::100 %25 wrong%0A --> p.yml:3:7%0A = help: a, b");
}

#[test]
fn a_document_outside_of_the_repository_is_named_in_words_alone() {
    let inline = Finding {
        file: "<stdin>".into(),
        ..error("wrong\n --> <stdin>:3:7")
    };
    let lines = github().finding(&voice(), &inline);
    insta::assert_snapshot!(log(&lines, &NoMask), @"::error title=shipgate%3A unknown-key::wrong%0A --> <stdin>:3:7");
}

#[test]
fn ten_errors_have_ten_places_and_the_eleventh_shares_the_last() {
    for (count, last) in [
        (9, "wrong 8"),
        (10, "wrong 9"),
        (11, "2 more errors, in full in the log: wrong 9; wrong 10"),
    ] {
        let mut github = github();
        let mut lines = Vec::new();
        for number in 0..count {
            lines.extend(github.finding(&voice(), &error(&format!("wrong {number}\n = cause: x"))));
        }
        lines.extend(github.fold());
        let heard = heard(&lines);
        assert_eq!(heard.len(), count.min(10));
        assert_eq!(heard.last().unwrap().data.lines().next(), Some(last));
        assert!(github.fold().is_empty(), "once");
        // All is in the log, in full.
        let log = log(&lines, &NoMask);
        assert_eq!(log.matches("= cause: x").count(), count);
        // What fails later still is told, and takes no place that is not there.
        let failure = Failure::new(ExitCode::Unexpected, "the report is missing");
        let lines = github.failure(&voice(), &failure, None);
        let later = [lines, github.fold()].concat();
        assert_eq!(self::heard(&later).len(), usize::from(count == 9));
        assert!(later[0].as_str().contains("the report is missing"));
    }
}

#[test]
fn a_huge_number_of_errors_is_named_in_one_short_line() {
    let mut github = github();
    for number in 0..5_000 {
        github.finding(&voice(), &error(&format!("{number} {}", "x".repeat(1_000))));
    }
    let lines = github.fold();
    let heard = heard(&lines);
    assert!(heard[0].data.starts_with("4991 more errors, "));
    assert!(heard[0].data.ends_with("; and 4981 more"));
    assert!(heard[0].data.encode_utf16().count() <= 4_096);
}

#[test]
fn warnings_of_the_document_leave_places_to_steps() {
    let mut github = github();
    let warning = Finding {
        level: Level::Warning,
        ..error("unused")
    };
    let told: usize = (0..20)
        .map(|_| heard(&github.finding(&voice(), &warning)).len())
        .sum();
    assert_eq!(told, PLACES_OF_DOCUMENT);
    let failure = Failure::new(ExitCode::NotifyFailed, "not delivered");
    let lines = github.step(&voice(), "tell", "failed", Told::Survived(&failure));
    assert_eq!(heard(&lines)[0].name, "warning");
    assert!(
        heard(&github.fold())[0]
            .data
            .starts_with("15 more warnings")
    );
}

#[test]
fn what_is_too_long_for_an_annotation_is_in_the_log_besides() {
    let mut failure = Failure::new(ExitCode::GateFailed, "it failed");
    for number in 0..10 {
        failure = failure.fact(format!("fact {number}"), "€".repeat(1_000));
    }
    let lines = github().failure(&voice(), &failure, None);
    let heard = heard(&lines);
    assert_eq!(heard.len(), 1);
    assert!(heard[0].data.ends_with("\n... the log has the rest"));
    assert!(heard[0].data.encode_utf16().count() <= 4_096);
    assert_eq!(lines[1..].len(), voice().failure(&failure).len());
}

#[test]
fn a_failure_of_a_whole_file_names_it() {
    let failure = Failure::new(ExitCode::PipelineInvalid, "no");
    for (file, expected) in [("p.yml", Some("deploy/p.yml")), ("<stdin>", None)] {
        let lines = github().failure(&voice(), &failure, Some(file));
        assert_eq!(heard(&lines)[0].property("file"), expected);
        assert_eq!(heard(&lines)[0].property("line"), None);
    }
}

#[test]
fn an_annotation_has_no_colours() {
    let voice = Voice::new(Style {
        color: true,
        unicode: false,
    });
    let failure = Failure::new(ExitCode::GateFailed, "it failed").hinted("try again");
    let lines = github().failure(&voice, &failure, None);
    assert!(!lines[0].as_str().contains('\x1b'), "{lines:?}");
}

struct Forms(Vec<String>);

impl Mask for Forms {
    fn mask(&self, text: &str) -> String {
        text.to_owned()
    }

    fn forms(&self) -> Vec<String> {
        self.0.clone()
    }
}

proptest! {
    /// The runner unescapes to what was meant, whatever it is.
    #[test]
    fn commands_are_read_as_they_were_meant(name in hostile(), value in hostile(), data in hostile()) {
        let line = command("error", &[("title", value.clone()), ("file", name.clone())], &data);
        let found = commands(line.as_str());
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].name, "error");
        prop_assert_eq!(&found[0].data, &data);
        for (key, meant) in [("title", value), ("file", name)] {
            // The runner trims what stands at the ends of all properties, and knows no empty one.
            let read = found[0].property(key).unwrap_or_default();
            prop_assert_eq!(read.trim(), meant.trim());
        }
    }

    #[test]
    fn masks_are_whole_lines(forms in prop::collection::vec(hostile(), 0..5)) {
        let masks = Github::masks(&Forms(forms.clone()).forms());
        let data: Vec<_> = commands(&log(&masks, &NoMask)).into_iter().map(|mask| mask.data).collect();
        let meant: Vec<_> = forms
            .into_iter()
            .filter(|form| !form.contains(['\n', '\r']) && !form.trim().is_empty())
            .collect();
        prop_assert_eq!(data, meant);
    }
}
