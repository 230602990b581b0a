//! The files of whole runs against golden files, and what must hold for any report.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::failure::{Explain as _, Failure};
use crate::oci::Digest;
use crate::outcome::ExitCode;
use crate::report::event::{Detail, Event, HostRequests, StepLine, StepOutcome};
use crate::report::golden::script;
use crate::report::mask::tests::Word;
use crate::report::model::{DiagnosticReport, Exit, PlaceReport};
use crate::report::{NoMask, Summary};

const SECRET: &str = "hunter2|x";

fn folded(events: &[Event]) -> Report {
    let mut summary = Summary::new();
    events.iter().for_each(|event| summary.apply(event));
    summary.report().clone()
}

/// Returns what stands around a job of GitLab in `/builds/acme/web`.
fn around() -> Surroundings {
    Surroundings {
        folder: Some("/builds/acme/web/out dir".into()),
        lock: Some("/builds/acme/web/shipgate.lock".into()),
        roots: Roots {
            here: Some("/builds/acme/web".into()),
            project: Some("/builds/acme/web".into()),
        },
        gitlab: Some(GitlabJob {
            page: Some("https://gitlab.example/acme/web/-/jobs/7".into()),
        }),
        plan: None,
    }
}

/// Returns all files but the report itself, one below the other.
fn files(report: &Report, around: &Surroundings, mask: &dyn Mask) -> String {
    let (variables, left_out) = gitlab::variables(report, around, mask);
    [
        (JUNIT, junit::text(report, &around.roots, mask).unwrap()),
        (QUALITY, quality::text(report, &around.roots, mask).unwrap()),
        (SUMMARY, page::text(report, around, mask, page::MOST_BYTES)),
        (VARIABLES, variables),
        ("left out", left_out.join("\n") + "\n"),
        (ANNOTATIONS, gitlab::annotations(around, mask)),
    ]
    .iter()
    .map(|(name, text)| format!("--- {name}\n{text}"))
    .collect()
}

fn invalid() -> Report {
    let found = |severity: &str, line, message: &str| DiagnosticReport {
        kind: "unknown-key".into(),
        severity: severity.into(),
        file: "./deploy/pipeline.yml".into(),
        place: Some(PlaceReport {
            line,
            column: 5,
            end_line: line,
            end_column: 12,
        }),
        message: message.into(),
        label: Some("not a key".into()),
        cause: Some("a step has the keys `check` and `gate` | no others".into()),
        help: Some("did you mean `preload`?".into()),
    };
    Report {
        command: "validate".into(),
        pipeline: "pipeline".into(),
        started: "2026-08-22T12:00:00.5Z".into(),
        took_ms: 12,
        exit: Some(Exit {
            code: 10,
            name: ExitCode::PipelineInvalid,
        }),
        reason: Some("unknown key `prelaod`".into()),
        file: Some("./deploy/pipeline.yml".into()),
        files: vec!["./deploy/pipeline.yml".into()],
        diagnostics: vec![
            found("error", 7, "unknown key `prelaod`"),
            found("error", 9, "unknown key `prelaod`"),
            found("warning", 12, "nothing uses `x`"),
        ],
        ..Summary::new().report().clone()
    }
}

#[test]
fn golden_files() {
    for (name, report) in [
        ("success", folded(&script::success())),
        ("failure", folded(&script::failure())),
        ("cancelled", folded(&script::cancelled())),
        ("hostile", folded(&script::hostile())),
        ("invalid", invalid()),
    ] {
        insta::assert_snapshot!(name, files(&report, &around(), &NoMask));
    }
}

#[test]
fn a_run_that_could_not_begin_says_why() {
    let failure = Failure::new(ExitCode::LockMismatch, "the lock file can't be used")
        .caused_by("it was made for other inputs")
        .hinted("delete it");
    let report = Report {
        failure: Some(failure),
        diagnostics: Vec::new(),
        ..invalid()
    };
    let junit = junit::text(&report, &Roots::default(), &NoMask).unwrap();
    assert!(
        junit.contains(r#"<testcase name="the run can begin""#),
        "{junit}"
    );
    assert!(
        junit.contains(r#"type="lock-mismatch">the lock file can't"#)
            || junit.contains("lock-mismatch"),
        "{junit}"
    );
    let page = page::text(&report, &around(), &NoMask, page::MOST_BYTES);
    assert!(
        page.contains("### The run could not begin\n\n```text\nthe lock file"),
        "{page}"
    );
}

#[test]
fn a_page_has_the_whole_plan_and_counts_the_files_that_it_does_not_name() {
    let around = Surroundings {
        plan: Some((1..=200).map(|step| format!("step {step}\n")).collect()),
        ..around()
    };
    let named = |count: usize| Report {
        files: (1..=count).map(|file| format!("{file}.yml")).collect(),
        ..invalid()
    };
    let page = |count| page::text(&named(count), &around, &NoMask, page::MOST_BYTES);
    assert!(page(20).contains("step 1\n") && page(20).contains("\nstep 200\n"));
    assert!(page(20).contains("| file | `20.yml` |") && !page(20).contains("more |"));
    assert!(page(23).contains("| file | 3 files more |") && !page(23).contains("`21.yml`"));
}

#[test]
fn a_fingerprint_stays_when_lines_are_put_in_above() {
    let prints = |report: &Report| -> Vec<String> {
        let text = quality::text(report, &around().roots, &NoMask).unwrap();
        let issues: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let prints = issues.iter().map(|issue| issue["fingerprint"].to_string());
        prints.collect()
    };
    let before = invalid();
    let mut after = before.clone();
    for found in &mut after.diagnostics {
        found.place.as_mut().unwrap().line += 40;
    }
    assert_eq!(prints(&before), prints(&after));
    let different: HashSet<_> = prints(&before).into_iter().collect();
    assert_eq!(different.len(), 3, "one each");
}

#[test]
fn a_page_of_a_run_without_end_stays_small_and_says_what_it_lacks() {
    let mut events = script::success();
    let end = events.split_off(events.len() - 1);
    let sampled = |gate: usize, number: u64| Event {
        elapsed: Duration::from_millis(number),
        step: Some(format!("gate-{gate}")),
        detail: Detail::Sampled {
            probe: format!("probe-{}", number % 20),
            sample: if number.is_multiple_of(3) {
                "good"
            } else {
                "bad"
            }
            .into(),
            found: "x|`".repeat(200),
            took: Duration::ZERO,
        },
    };
    for gate in 0..60 {
        events.extend((0..200).map(|number| sampled(gate, number)));
    }
    for image in 0..500 {
        events.push(Event {
            elapsed: Duration::ZERO,
            step: None,
            detail: Detail::ImageResolved {
                image: format!("image-{image}"),
                reference: "r".repeat(5_000),
                digest: Digest::of(&[1]),
                manifest: Digest::of(&[2]),
                platform: "linux/amd64".into(),
                blobs: 1,
                bytes: 1,
            },
        });
    }
    events.extend(end);
    let report = folded(&events);
    for budget in [page::FEWEST_BYTES, 300_000, page::MOST_BYTES] {
        let page = page::text(&report, &around(), &NoMask, budget);
        assert!(page.len() < budget, "{} of {budget}", page.len());
        assert!(page.contains("more are left out to keep this page small; all of it is in `"));
        assert_whole(&page);
    }
}

#[test]
fn the_page_of_a_great_many_gates_keeps_to_its_limit() {
    let mut report = folded(&script::failure());
    let gate = report.gates[0].clone();
    report.gates = vec![gate; 20_000];
    for budget in [page::FEWEST_BYTES, page::MOST_BYTES] {
        let page = page::text(&report, &around(), &NoMask, budget);
        assert!(page.len() < budget, "{} of {budget}", page.len());
        assert!(page.contains(" gates more are left out"));
        assert_whole(&page);
    }
}

#[test]
fn variables_keep_to_the_limits_of_gitlab() {
    let mut report = folded(&script::success());
    let image = report.images[0].clone();
    report.images = (0..30)
        .map(|number| crate::report::model::ImageReport {
            name: format!("image.{number}"),
            ..image.clone()
        })
        .collect();
    let (text, left_out) = gitlab::variables(&report, &around(), &NoMask);
    assert_eq!(text.lines().count(), 20);
    assert!(text.contains("\nSHIPGATE_DIGEST_IMAGE_0=sha256:"), "{text}");
    assert!(left_out[0].starts_with("16 variables more"), "{left_out:?}");
}

#[test]
fn two_images_never_share_a_variable() {
    let mut report = folded(&script::success());
    let mut other = report.images[0].clone();
    report.images[0].name = "a-b".into();
    other.name = "a_b".into();
    report.images.push(other);
    let (text, left_out) = gitlab::variables(&report, &around(), &NoMask);
    assert!(!text.contains("DIGEST"), "{text}");
    assert_eq!(
        left_out,
        ["SHIPGATE_DIGEST_A_B is not in gitlab.env: it would stand for a-b and a_b"]
    );
}

#[test]
fn a_path_that_gitlab_would_expand_is_left_out() {
    let around = Surroundings {
        folder: Some("/builds/acme/web/$HOME".into()),
        ..around()
    };
    let (text, left_out) = gitlab::variables(&folded(&script::success()), &around, &NoMask);
    assert!(!text.contains("REPORT"), "{text}");
    assert!(left_out[0].contains("SHIPGATE_REPORT"), "{left_out:?}");
}

#[test]
fn a_delimiter_that_the_value_holds_is_not_used() {
    let mut drawn = ["a", "b", "c"].into_iter();
    let pairs = [("status", "x\nshipgate-a\nevil=1".to_owned())];
    let text = outputs::text(&pairs, || drawn.next().unwrap().to_owned());
    assert_eq!(
        text,
        "status<<shipgate-b\nx\nshipgate-a\nevil=1\nshipgate-b\n"
    );
}

/// Reads outputs as a runner does: `NAME=VALUE`, or `NAME<<DELIMITER` up to a line that is the delimiter.
fn read_by_a_runner(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=').unwrap_or(usize::MAX);
        let heredoc = line.find("<<").unwrap_or(usize::MAX);
        if equals < heredoc {
            outputs.insert(line[..equals].to_owned(), line[equals + 1..].to_owned());
        } else if heredoc < equals {
            let (name, delimiter) = (&line[..heredoc], &line[heredoc + 2..]);
            if name.is_empty() || delimiter.is_empty() {
                return Err(format!("no name or no delimiter: {line}"));
            }
            let mut value = String::new();
            loop {
                let Some(line) = lines.next() else {
                    return Err(format!("no end of {name}"));
                };
                if line.strip_suffix('\n').unwrap_or(line) == delimiter {
                    break;
                }
                value += line;
            }
            let value = value.strip_suffix('\n').unwrap_or(&value);
            outputs.insert(name.to_owned(), value.to_owned());
        } else {
            return Err(format!("neither form: {line}"));
        }
    }
    Ok(outputs)
}

/// Returns a page without its code: what Markdown reads of it.
fn without_code(page: &str) -> String {
    let mut rest = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let fence: String = line.chars().take_while(|c| *c == '`').collect();
        if fence.len() >= 3 && line == format!("{fence}text") {
            lines
                .by_ref()
                .find(|line| *line == fence)
                .expect("the block ends");
            continue;
        }
        rest += &without_spans(line);
        rest.push('\n');
    }
    rest
}

/// Takes code spans out of a line: a run of backticks up to the next one that is as long.
fn without_spans(line: &str) -> String {
    let (mut rest, mut line) = (String::new(), line);
    while let Some(start) = line.find('`') {
        rest += &line[..start];
        let behind = line[start..].trim_start_matches('`');
        let length = line.len() - start - behind.len();
        let mut at = 0;
        let end = loop {
            let found = behind[at..].find('`').expect("the span ends") + at;
            let run = behind[found..].len() - behind[found..].trim_start_matches('`').len();
            if run == length {
                break found + run;
            }
            at = found + run;
        };
        line = &behind[end..];
    }
    rest + line
}

/// Panics unless every table has rows of one width and everything that was opened is closed.
fn assert_whole(page: &str) {
    let mut width = None;
    for line in page.lines() {
        assert!(!line.trim_start().starts_with("::"), "{line}");
        let cells = line.starts_with("| ").then(|| line.matches('|').count());
        if let (Some(before), Some(cells)) = (width, cells) {
            assert_eq!(before, cells, "{line}");
        }
        width = cells;
    }
    let read = without_code(page);
    for tag in ["details", "summary"] {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        assert_eq!(read.matches(&open).count(), read.matches(&close).count());
    }
}

/// Panics unless a file is a JUnit report as its readers understand it.
fn assert_junit(text: &str) {
    let document =
        roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let root = document.root_element();
    assert!(root.has_tag_name("testsuites"));
    let mut all = [0; 4];
    for suite in root.children().filter(roxmltree::Node::is_element) {
        assert!(suite.has_tag_name("testsuite"));
        let mut names = HashSet::new();
        let mut counts = [0; 4];
        for case in suite.children().filter(roxmltree::Node::is_element) {
            assert!(case.has_tag_name("testcase"));
            counts[0] += 1;
            let name = (
                case.attribute("classname").unwrap(),
                case.attribute("name").unwrap(),
            );
            assert!(names.insert(name), "{name:?} twice");
            assert_seconds(case.attribute("time").unwrap());
            if let Some(line) = case.attribute("line") {
                assert!(line.parse::<usize>().unwrap() > 0);
                assert!(case.attribute("file").is_some());
            }
            let known = ["name", "classname", "time", "file", "line"];
            assert!(case.attributes().all(|a| known.contains(&a.name())));
            // A result, if any, and then the output.
            let parts = case.children().filter(roxmltree::Node::is_element);
            let parts: Vec<_> = parts
                .map(|part| part.tag_name().name().to_owned())
                .collect();
            let results = ["failure", "error", "skipped"];
            match &parts[..] {
                [] => {}
                [only] => assert!(results.contains(&only.as_str()) || only == "system-out"),
                [result, output] => {
                    assert!(results.contains(&result.as_str()) && output == "system-out");
                }
                more => panic!("{more:?}"),
            }
            for (place, result) in results.iter().enumerate() {
                counts[place + 1] += parts.iter().filter(|part| part == result).count();
            }
        }
        assert_counts(suite, counts);
        let stamp = suite.attribute("timestamp").unwrap();
        assert!(!stamp.ends_with('Z'), "{stamp}");
        for (sum, count) in all.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    assert_counts(root, all);
}

fn assert_counts(node: roxmltree::Node<'_, '_>, counts: [usize; 4]) {
    assert_seconds(node.attribute("time").unwrap());
    for (name, count) in ["tests", "failures", "errors", "skipped"]
        .iter()
        .zip(counts)
    {
        assert_eq!(node.attribute(*name), Some(&*count.to_string()), "{name}");
    }
}

fn assert_seconds(text: &str) {
    assert!(
        text.parse::<f64>().unwrap() >= 0.0 && text.contains('.'),
        "{text}"
    );
}

#[test]
fn golden_junit_files_are_understood() {
    for report in [
        folded(&script::success()),
        folded(&script::failure()),
        folded(&script::cancelled()),
        folded(&script::hostile()),
        invalid(),
    ] {
        assert_junit(&junit::text(&report, &around().roots, &NoMask).unwrap());
        assert_whole(&page::text(&report, &around(), &NoMask, page::MOST_BYTES));
    }
}

/// Text that wants out of wherever it is put. `FOREIGN` tells it from text of ours.
fn foreign() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        Just(SECRET.to_owned()),
        proptest::sample::select(vec![
            "FOREIGN",
            "|",
            "`",
            "``",
            "```",
            "\n",
            "\r\n",
            "\\",
            "<b>",
            "</details>",
            "]]>",
            "<![CDATA[",
            "&",
            "\"",
            "'",
            "@you",
            "http://x.example",
            "[a](http://b)",
            "::error::",
            "##[error]",
            "\0",
            "\u{1b}[2J",
            "\u{ffff}",
            "\u{fffe}",
            "\u{202e}",
            "$HOME",
            "=",
            "<<",
            "shipgate-",
            " ",
            "{{",
            "~~~",
            "# x",
            "-->",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// Whole runs in which every text is foreign.
fn reports() -> impl Strategy<Value = Report> {
    let texts = proptest::collection::vec(foreign(), 12);
    let outcomes = proptest::sample::select(vec![
        StepOutcome::Passed,
        StepOutcome::Failed,
        StepOutcome::Inconclusive,
        StepOutcome::Cancelled,
    ]);
    let samples = proptest::collection::vec(0..4_usize, 0..50);
    let exits = proptest::sample::select(ExitCode::BY_PRECEDENCE.to_vec());
    let commands = proptest::sample::select(vec!["run", "plan", "validate"]);
    (texts, outcomes, samples, exits, commands, any::<bool>()).prop_map(
        |(texts, outcome, samples, exit, command, continued)| {
            let text = |number: usize| texts[number % texts.len()].clone();
            let mut at = 0;
            let mut event = |step: Option<String>, detail| {
                at += 7;
                let elapsed = Duration::from_millis(at);
                Event {
                    elapsed,
                    step,
                    detail,
                }
            };
            let line = |id: String| StepLine {
                id,
                verb: text(1),
                list: text(2),
                line: Some(3),
            };
            let failure = Failure::new(exit, text(3))
                .caused_by(text(4))
                .fact(text(5), text(6))
                .hinted(text(7));
            let step = || Some(text(8));
            let mut events = vec![
                event(
                    None,
                    Detail::RunStarted {
                        name: text(9),
                        run: text(10),
                        file: Some(text(11)),
                        at: "2026-08-22T12:00:00Z".into(),
                        steps: vec![line(text(8)), line("live".into()), line("never".into())],
                    },
                ),
                event(
                    None,
                    Detail::Warned {
                        message: text(0),
                        hint: Some(text(1)),
                    },
                ),
                event(
                    step(),
                    Detail::RegistryChecked {
                        registry: text(2),
                        summary: text(3),
                        latency: Duration::ZERO,
                        tls: Some(text(4)),
                        certificate_expires: Some(text(5)),
                    },
                ),
                event(
                    step(),
                    Detail::ImageResolved {
                        image: text(6),
                        reference: text(7),
                        digest: Digest::of(b"a"),
                        manifest: Digest::of(b"b"),
                        platform: text(0),
                        blobs: 1,
                        bytes: 1,
                    },
                ),
                event(
                    step(),
                    Detail::ImageVerified {
                        image: text(6),
                        digest: Digest::of(b"a"),
                        rule: text(1),
                        signers: vec![text(2), text(3)],
                    },
                ),
                event(
                    step(),
                    Detail::SignatureChecked {
                        image: text(6),
                        place: text(4),
                        digest: Digest::of(b"c"),
                        verdict: text(5),
                        signer: Some(text(0)),
                        found: text(1),
                    },
                ),
                event(
                    step(),
                    Detail::NoticeSent {
                        target: text(2),
                        delivered: continued,
                        attempts: 1,
                        detail: text(3),
                    },
                ),
            ];
            for (place, sample) in samples.iter().enumerate() {
                let sample = ["good", "bad", "unknown", &text(4)][*sample].to_owned();
                let detail = Detail::Sampled {
                    probe: text(place % 2),
                    sample,
                    found: text(place),
                    took: Duration::from_millis(3),
                };
                events.push(event(Some("live".into()), detail));
            }
            let verdict = ["passed", "failed", "inconclusive", &text(6)][samples.len() % 4].into();
            events.push(event(
                Some("live".into()),
                Detail::GateJudged {
                    verdict,
                    reason: text(5),
                },
            ));
            for id in [text(8), "live".into()] {
                let finished = Detail::StepFinished {
                    outcome,
                    took: Duration::from_millis(5),
                    failure: Some(failure.clone()),
                    continued,
                };
                events.push(event(Some(id), finished));
            }
            let host = HostRequests {
                host: text(7),
                requests: 1,
                failed: 0,
                received: 1,
                quota: None,
            };
            events.push(event(None, Detail::RequestsCounted { hosts: vec![host] }));
            events.push(event(
                None,
                Detail::RunFinished {
                    exit,
                    reason: Some(text(9)),
                },
            ));
            let mut report = folded(&events);
            report.command = command.to_owned();
            report.failure = continued.then_some(failure);
            let found = |severity: &str, number| DiagnosticReport {
                kind: text(number),
                severity: severity.to_owned(),
                file: text(11),
                place: None,
                message: text(number + 1),
                label: Some(text(number + 2)),
                cause: Some(text(number + 3)),
                help: Some(text(number + 4)),
            };
            if command == "validate" {
                report.files.push(text(0));
                report.diagnostics =
                    vec![found("error", 1), found("error", 1), found("warning", 2)];
            }
            report
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_a_report_holds_its_files_are_well_formed(report in reports(), lock in foreign()) {
        let mask = Word(SECRET);
        let around = Surroundings {
            lock: Some(PathBuf::from("/builds/acme/web").join(lock.replace('\0', ""))),
            plan: Some(lock),
            ..around()
        };
        let page = page::text(&report, &around, &mask, page::MOST_BYTES);
        prop_assert!(page.len() < page::MOST_BYTES);
        assert_whole(&page);
        let read = without_code(&page);
        for foreign in ["FOREIGN", "<b>", "@you", "http", "](", "::error", "-->"] {
            prop_assert!(!read.contains(foreign), "{foreign} in {read}");
        }
        assert_junit(&junit::text(&report, &around.roots, &mask).unwrap());
        let quality = quality::text(&report, &around.roots, &mask).unwrap();
        let issues: Vec<serde_json::Value> = serde_json::from_str(&quality).unwrap();
        let prints: HashSet<_> = issues.iter().map(|issue| issue["fingerprint"].to_string()).collect();
        prop_assert_eq!(prints.len(), issues.len());
        let (variables, _) = gitlab::variables(&report, &around, &mask);
        prop_assert!(variables.len() < 5 * 1024);
        let mut names = HashSet::new();
        for line in variables.lines() {
            let (name, value) = line.split_once('=').unwrap();
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            prop_assert!(!value.is_empty() && value.trim() == value && !value.contains('$'), "{line}");
            prop_assert!(names.insert(name.to_owned()), "{name} twice");
        }
        prop_assert!(names.len() <= 20);
        let all = files(&report, &around, &mask);
        prop_assert!(!all.contains("hunter2"), "{all}");
    }

    #[test]
    fn a_runner_reads_back_what_was_set(report in reports(), paths in [foreign(), foreign()]) {
        let [report_path, lock] = paths;
        let results = Results::of(&report, &NoMask);
        for command in ["run", "plan", "validate"] {
            let pairs = outputs::pairs(command, &results, Some(report_path.clone()), Some(lock.clone()));
            let mut number = 0;
            let text = outputs::text(&pairs, || { number += 1; (number / 2).to_string() });
            let read = read_by_a_runner(&text);
            let given: BTreeMap<String, String> =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            prop_assert_eq!(read, Ok(given));
        }
    }
}

fn reasoned(reason: &str) -> Report {
    Report {
        reason: Some(reason.into()),
        ..Summary::new().report().clone()
    }
}

#[test]
fn makes_the_folder_masks_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("a/b");
    for reason in ["first", "token hunter2 refused"] {
        let around = Surroundings::default();
        let written = write_files(&reports, &reasoned(reason), &around, &Word("hunter2"));
        assert!(written.failed.is_empty(), "{written:?}");
    }
    let mut names: Vec<_> = fs::read_dir(&reports)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "code-quality.json",
            "junit.xml",
            "report.json",
            "summary.md"
        ]
    );
    let text = fs::read_to_string(reports.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["reason"], "token *** refused");
    assert!(text.ends_with("}\n"));
}

#[test]
fn a_file_in_the_way_is_one_error_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let written = write_files(&file, &reasoned("x"), &Surroundings::default(), &NoMask);
    let [error] = &written.failed[..] else {
        panic!("{written:?}");
    };
    assert_eq!(error.path, file);
    assert!(error.hint().unwrap().contains("--report"));
}

/// The schema is generated: run the test with `SHIPGATE_BLESS=1` to write it anew.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of the test suite, not of the library"
)]
fn the_schema_of_the_report_is_current() {
    let settings = schemars::generate::SchemaSettings::default().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<Report>();
    let mut schema = serde_json::to_string_pretty(&schema).unwrap();
    schema.push('\n');
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json");
    if std::env::var("SHIPGATE_BLESS").is_ok() {
        fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/schema")).unwrap();
        fs::write(path, &schema).unwrap();
    }
    assert_eq!(
        fs::read_to_string(path).unwrap_or_default(),
        schema,
        "bless schema/report.schema.json"
    );
}
