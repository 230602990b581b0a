use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::header::VERSION;
use super::journal::{FULL, LONGEST_LINE, SIGN};
use super::line::LONGEST_TEXT;
use super::read::{FORGOTTEN, LARGEST, SILENCE};
use super::*;
use crate::engine::image::Images;
use crate::engine::world::State;
use crate::failure::{Explain, Failure};
use crate::notice::Status;
use crate::oci::{Digest, PlatformRule};
use crate::outcome::ExitCode;
use crate::report::event::{StepLine, StepOutcome};
use crate::report::golden::script;
use crate::report::mask::tests::Word;
use crate::report::{Detail, Event, Mask, NoMask};

const RUN: &str = "20260801T120000Z-0123abcd";

fn header() -> Header {
    Header {
        journal: VERSION,
        shipgate: "0.1.0".into(),
        run: RUN.into(),
        at: "2026-08-01T12:00:00Z".into(),
        boot: Some("here".into()),
        liveness: Liveness::Lock,
        folder: Some("/work".into()),
        file: "pipeline.yml".into(),
        document: "version: 1\n".into(),
        inputs: [("tag".to_owned(), "v1".to_owned())].into(),
        link: None,
        playground: None,
        options: Options {
            only: vec!["a".into()],
            report: Some("reports".into()),
            plain_http: Some(true),
            ..Options::default()
        },
        locked: None,
    }
}

/// A folder with one journal of these events, whose writer is dead.
struct Left {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn left(events: &[Event]) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(folder.path(), header(), &NoMask).unwrap();
    for event in events {
        journal.event(event, &NoMask).unwrap();
    }
    Left {
        path: journal.path().to_owned(),
        _folder: folder,
    }
}

/// The same file, without waiting for the disk at every line.
fn left_quickly(events: &[Event]) -> Left {
    let left = left(&[]);
    let lines = events
        .iter()
        .map(|event| super::line::line(event, &NoMask).unwrap());
    fs::write(&left.path, left.text() + &lines.collect::<String>()).unwrap();
    left
}

impl Left {
    async fn claim(&self) -> Result<Found, JournalError> {
        match claim(&self.path, Writer::Unknown, |_| {
            panic!("there are locks here")
        })
        .await?
        {
            Claim::Dead(found) => Ok(*found),
            other => panic!("{other:?}"),
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.path).unwrap()
    }
}

fn event(at: u64, step: Option<&str>, detail: Detail) -> Event {
    Event {
        elapsed: Duration::from_secs(at),
        step: step.map(Into::into),
        detail,
    }
}

fn begun() -> Event {
    let line = |(id, list): &(&str, &str)| StepLine {
        id: (*id).to_owned(),
        verb: "notify".into(),
        list: (*list).to_owned(),
        line: None,
    };
    let steps = [
        ("live", "steps"),
        ("after", "steps"),
        ("back", "on-failure"),
        ("tell", "finally"),
        ("also", "finally"),
    ];
    let started = Detail::RunStarted {
        name: "web".into(),
        run: RUN.into(),
        file: None,
        at: "2026-08-01T12:00:01Z".into(),
        steps: steps.iter().map(line).collect(),
    };
    event(0, None, started)
}

fn starts(at: u64, step: &str) -> Event {
    let detail = Detail::StepStarted {
        verb: "notify".into(),
        name: format!("Step {step}"),
    };
    event(at, Some(step), detail)
}

fn ends(at: u64, step: &str, outcome: StepOutcome) -> Event {
    let failed = matches!(outcome, StepOutcome::Failed | StepOutcome::Inconclusive);
    let detail = Detail::StepFinished {
        outcome,
        took: Duration::from_secs(1),
        failure: failed.then(|| Failure::new(ExitCode::GateFailed, "it fails").caused_by("503")),
        continued: false,
    };
    event(at, Some(step), detail)
}

fn skipped(at: u64, step: &str, reason: &str) -> Event {
    let reason = reason.to_owned();
    event(at, Some(step), Detail::StepSkipped { reason })
}

fn told(at: u64, step: &str, delivered: bool) -> Event {
    let detail = Detail::NoticeSent {
        target: "webhook".into(),
        delivered,
        attempts: 1,
        detail: "x".into(),
    };
    event(at, Some(step), detail)
}

fn resumed(at: u64, left: &[String]) -> Event {
    let detail = Detail::RunResumed {
        name: "web".into(),
        run: RUN.into(),
        at: "2026-08-01T12:10:00Z".into(),
        during: None,
        left: left.to_vec(),
    };
    event(at, None, detail)
}

fn course(events: &[Event]) -> Course {
    let mut course = Course::default();
    events.iter().for_each(|event| course.apply(event));
    course
}

fn state(course: &Course) -> State {
    let state = State::default();
    course.restore(&state);
    state
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let events = script::failure();
    let left = left(&events);
    let found = left.claim().await.unwrap();
    assert_eq!(found.header, header());
    let kept = |event: &&Event| {
        !matches!(
            event.detail,
            Detail::BlobStarted { .. } | Detail::BlobProgressed { .. } | Detail::Waiting { .. }
        )
    };
    let json = |event: &Event| serde_json::to_string(event).unwrap();
    let expected: Vec<_> = events.iter().filter(kept).map(json).collect();
    let read: Vec<_> = found.events.iter().map(json).collect();
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_living_run_is_left_alone_and_a_finished_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::begin(folder.path(), header(), &NoMask).unwrap();
    let path = journal.path().to_owned();
    let claimed = claim(&path, Writer::Unknown, |_| ()).await.unwrap();
    assert!(matches!(claimed, Claim::Alive), "{claimed:?}");
    assert_eq!(
        list(folder.path()).unwrap(),
        [(RUN.to_owned(), path.clone())]
    );
    journal.remove().unwrap();
    assert!(matches!(
        claim(&path, Writer::Unknown, |_| ()).await.unwrap(),
        Claim::Gone
    ));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn whoever_finishes_a_run_holds_its_journal_and_continues_it() {
    let left = left(&[begun(), starts(1, "live")]);
    // The writer was killed in the middle of a line.
    fs::write(&left.path, left.text() + r#"{"elapsed_ms":12,"st"#).unwrap();
    let mut found = left.claim().await.unwrap();
    assert!(matches!(
        claim(&left.path, Writer::Unknown, |_| ()).await.unwrap(),
        Claim::Alive
    ));
    let added = ends(9, "live", StepOutcome::Cancelled);
    found.journal.event(&added, &NoMask).unwrap();
    drop(found);
    let events = left.claim().await.unwrap().events;
    assert_eq!(events, [begun(), starts(1, "live"), added]);
}

#[tokio::test(start_paused = true)]
async fn without_locks_a_run_is_dead_when_it_gave_no_sign_for_long() {
    let left = left(&[begun()]);
    let text = left
        .text()
        .replace(r#""liveness":"lock""#, r#""liveness":"signs""#);
    fs::write(&left.path, text).unwrap();
    let (sender, waited) = std::sync::mpsc::channel();
    let claimed = claim(&left.path, Writer::Unknown, |wait| {
        sender.send(wait).unwrap()
    })
    .await;
    assert!(matches!(claimed, Ok(Claim::Dead(_))));
    assert!(waited.recv().unwrap() > SILENCE - SIGN);
    drop(claimed);

    // One that shows a sign meanwhile is alive.
    let path = left.path.clone();
    let writer = tokio::spawn(async move {
        tokio::time::sleep(SIGN).await;
        fs::write(&path, fs::read_to_string(&path).unwrap() + "\n").unwrap();
    });
    assert!(matches!(
        claim(&left.path, Writer::Unknown, |_| ()).await,
        Ok(Claim::Alive)
    ));
    writer.await.unwrap();
}

#[tokio::test]
async fn signs_of_life_are_no_events() {
    let left = left(&[begun()]);
    let mut found = left.claim().await.unwrap();
    found.journal.sign().unwrap();
    found.journal.event(&starts(1, "live"), &NoMask).unwrap();
    drop(found);
    let events = left.claim().await.unwrap().events;
    assert_eq!(events, [begun(), starts(1, "live")]);
}

#[tokio::test]
async fn garbage_is_an_error_that_names_file_and_line() {
    let good = left(&[begun()]).text();
    let [first, second] = &good.lines().collect::<Vec<_>>()[..] else {
        panic!("{good}");
    };
    let other_run = first.replace(RUN, "20260801T120000Z-ffffffff");
    for (text, expected) in [
        (
            String::new(),
            ":1 can't be read: there is no whole first line",
        ),
        (
            (*first).to_owned(),
            ":1 can't be read: there is no whole first line",
        ),
        (
            format!("{first}\n\nx\n{second}\n"),
            ":3 can't be read: expected value",
        ),
        (
            format!("{first}\n{{}}\n"),
            ":2 can't be read: missing field `elapsed_ms`",
        ),
        (
            format!("{first}\n{}\n", second.replace("run-started", "run-eaten")),
            ":2 can't be read: unknown variant `run-eaten`",
        ),
        (format!("{second}\n"), ":1 can't be read: unknown field"),
        (
            format!("{other_run}\n"),
            ":1 can't be read: it is the journal of run 20260801T120000Z-ffffffff",
        ),
        (
            format!("{first}\n{}\n", "{\"x\":".repeat(100_000)),
            ":2 can't be read: recursion limit",
        ),
        (
            format!("{first}\n\u{0}\u{0}\n"),
            ":2 can't be read: expected value",
        ),
    ] {
        let left = left(&[]);
        fs::write(&left.path, text).unwrap();
        let error = left.claim().await.unwrap_err();
        let said = error.to_string();
        let start = left.path.display().to_string();
        assert!(
            said.starts_with(&start) && said[start.len()..].starts_with(expected),
            "{said}"
        );
        assert!(error.hint().unwrap().contains(&start));
    }
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let left = left(&[]);
    fs::write(
        &left.path,
        r#"{"journal":2,"shipgate":"9.0.0","new":true}"#.to_owned() + "\n",
    )
    .unwrap();
    let error = left.claim().await.unwrap_err();
    let said = error.to_string();
    assert!(said.ends_with("was written by shipgate 9.0.0, in version 2 of the journal's format; this one reads version 1"), "{said}");
    assert!(error.hint().unwrap().contains("`finish` of shipgate 9.0.0"));
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let left = left(&[]);
    let long = "x".repeat(LONGEST_LINE + 1);
    fs::write(&left.path, left.text() + &long + "\n").unwrap();
    let error = left.claim().await.unwrap_err();
    assert!(matches!(error, JournalError::TooLarge { .. }), "{error}");
    fs::File::options()
        .write(true)
        .open(&left.path)
        .unwrap()
        .set_len(LARGEST + 1)
        .unwrap();
    let error = left.claim().await.unwrap_err();
    assert!(
        matches!(error, JournalError::TooLarge { limit: LARGEST, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_long_text_is_cut_and_a_full_journal_keeps_what_decides() {
    let left = left(&[]);
    let mut found = left.claim().await.unwrap();
    let warned = |length| {
        let message = "é".repeat(length);
        event(
            1,
            None,
            Detail::Warned {
                message,
                hint: None,
            },
        )
    };
    found.journal.event(&warned(LONGEST_TEXT), &NoMask).unwrap();
    let size = || fs::metadata(&left.path).unwrap().len();
    assert!(size() < 2 * LONGEST_TEXT as u64);
    while size() <= FULL {
        found.journal.event(&warned(LONGEST_TEXT), &NoMask).unwrap();
    }
    let full = size();
    found.journal.event(&warned(9), &NoMask).unwrap();
    assert_eq!(size(), full);
    found.journal.event(&starts(9, "live"), &NoMask).unwrap();
    assert!(size() > full);
    drop(found);
    left.claim().await.unwrap();
}

/// Everything is a secret.
struct Everything;

impl Mask for Everything {
    fn mask(&self, _: &str) -> String {
        "***".into()
    }
}

#[tokio::test]
async fn no_text_is_written_unmasked_and_no_mask_makes_a_line_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(folder.path(), header(), &NoMask).unwrap();
    let path = journal.path().to_owned();
    let runs = [script::success(), script::failure(), script::hostile()];
    for event in runs.iter().flatten() {
        journal.event(event, &Everything).unwrap();
    }
    drop(journal);
    let Claim::Dead(found) = claim(&path, Writer::Unknown, |_| ()).await.unwrap() else {
        panic!("its writer is dead");
    };
    assert!(found.events.len() > 50);
    let text = fs::read_to_string(path).unwrap();
    let (_, events) = text.split_once('\n').unwrap();
    for word in ["web", "127.0.0.1", "503", "example"] {
        assert!(!events.contains(word), "{word}");
    }
}

#[test]
fn a_first_line_that_would_hold_a_secret_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    for (secret, field) in [
        ("version", "document"),
        ("v1", "inputs"),
        ("/work", "folder"),
    ] {
        let error = Journal::begin(folder.path(), header(), &Word(secret)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("its {field} would hold the value of a secret")
        );
        assert!(error.hint().is_some());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_first_line_contradicts_what_the_run_was_given() {
    let given = header();
    let mut other = header();
    // What two programs may know differently.
    other.at = "2026-08-01T12:00:01Z".into();
    other.shipgate = "0.2.0".into();
    other.liveness = Liveness::Signs;
    other.link = Some("https://ci.example/1".into());
    assert_eq!(other.contradicts(&given), None);
    type Change = fn(&mut Header);
    let changes: [(&str, Change); 7] = [
        ("run", |it| it.run = "other".into()),
        ("document", |it| it.document += "#"),
        ("file", |it| it.file = "other.yml".into()),
        ("folder", |it| it.folder = None),
        ("inputs", |it| it.inputs.clear()),
        ("options", |it| it.options.report = Some("..".into())),
        ("locked", |it| it.locked = Some([].into())),
    ];
    for (field, change) in changes {
        let mut changed = header();
        change(&mut changed);
        assert_eq!(changed.contradicts(&given), Some(field));
    }
}

#[cfg(unix)]
#[test]
fn a_link_in_the_place_of_the_folder_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = left(&[begun()]);
    let link = folder.path().join(FOLDER);
    std::os::unix::fs::symlink(elsewhere.path.parent().unwrap(), &link).unwrap();
    for error in [
        list(&link).unwrap_err(),
        sweep(&link).unwrap_err(),
        Journal::begin(&link, header(), &NoMask).unwrap_err(),
    ] {
        assert!(matches!(error, JournalError::NotAFolder { .. }), "{error}");
        assert!(error.hint().unwrap().contains("runs"));
    }
    assert!(elsewhere.path.exists());
}

#[tokio::test(start_paused = true)]
async fn of_a_writer_that_is_dead_no_sign_is_waited_for() {
    let left = left(&[begun()]);
    let text = left
        .text()
        .replace(r#""liveness":"lock""#, r#""liveness":"signs""#);
    fs::write(&left.path, text).unwrap();
    let claimed = claim(&left.path, Writer::Dead, |_| panic!("no wait")).await;
    assert!(matches!(claimed, Ok(Claim::Dead(_))));
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_it_and_links_are_not_followed() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let left = left(&[]);
    let mode = fs::metadata(&left.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let link = left.path.with_file_name("20260801T120000Z-ffffffff.jsonl");
    symlink(&left.path, &link).unwrap();
    let claimed =
        futures_util::FutureExt::now_or_never(claim(&link, Writer::Unknown, |_| ())).unwrap();
    assert!(matches!(claimed, Err(JournalError::NotAFile { .. })));
}

#[cfg(unix)]
#[tokio::test]
async fn what_another_user_may_have_written_is_left_alone() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let left = left(&[begun()]);
    for (mode, ours) in [(0o660, false), (0o602, false), (0o644, true)] {
        fs::set_permissions(&left.path, fs::Permissions::from_mode(mode)).unwrap();
        let claimed = claim(&left.path, Writer::Unknown, |_| ()).await.unwrap();
        assert_eq!(matches!(claimed, Claim::Dead(_)), ours, "{mode:o}");
        assert_eq!(matches!(claimed, Claim::Foreign), !ours, "{mode:o}");
    }
    // Only the superuser can give a file away.
    if chown(&left.path, Some(65_534), None).is_ok() {
        let claimed = claim(&left.path, Writer::Unknown, |_| ()).await.unwrap();
        assert!(matches!(claimed, Claim::Foreign));
    }
}

#[test]
fn a_folder_that_takes_no_file_is_an_error_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Journal::begin(&file, header(), &NoMask).unwrap_err();
    assert!(error.hint().unwrap().contains("--cache"));
    assert_eq!(list(&folder.path().join("none")).unwrap(), []);
}

#[test]
fn journals_are_listed_the_oldest_first_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "20260802T000000Z-00000000.jsonl",
        "20260801T235959Z-ffffffff.jsonl",
        ".20260801T000000Z-00000000.part",
        "20260801T235959Z-FFFFFFFF.jsonl",
        "notes.jsonl",
        "20260801T235959Z-ffffffff",
    ];
    for name in names {
        fs::write(folder.path().join(name), "").unwrap();
    }
    let runs: Vec<_> = list(folder.path())
        .unwrap()
        .into_iter()
        .map(|(run, _)| run)
        .collect();
    assert_eq!(
        runs,
        ["20260801T235959Z-ffffffff", "20260802T000000Z-00000000"]
    );
}

#[test]
fn leftovers_are_swept_when_they_are_old_and_nobody_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let held = Journal::begin(folder.path(), header(), &NoMask).unwrap();
    let age = |name: &str, age: Duration| {
        let path = folder.path().join(name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        let file = fs::File::options().write(true).open(&path).unwrap();
        let then = file.metadata().unwrap().modified().unwrap() - age;
        file.set_modified(then).unwrap();
    };
    age(&format!("{RUN}.jsonl"), 2 * FORGOTTEN);
    age("20260101T000000Z-00000000.jsonl", 2 * FORGOTTEN);
    age("20260102T000000Z-00000000.jsonl", FORGOTTEN / 2);
    age(".20260101T000000Z-00000000.part", 2 * SILENCE);
    age(".20260102T000000Z-00000000.part", Duration::ZERO);
    age(".00.clock", 2 * SILENCE);
    sweep(folder.path()).unwrap();
    let mut names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            ".20260102T000000Z-00000000.part",
            "20260102T000000Z-00000000.jsonl",
            "20260801T120000Z-0123abcd.jsonl"
        ]
    );
    drop(held);
}

#[test]
fn a_run_that_was_killed_in_a_step_leaves_finally() {
    let course = course(&[begun(), starts(1, "live")]);
    assert_eq!(course.left(), ["tell", "also"]);
    assert_eq!(course.unended(), ["live", "after", "back", "tell", "also"]);
    let stopped = course.stopped();
    assert_eq!(stopped.during, Some(("live".into(), Duration::ZERO)));
    assert_eq!(stopped.exit, None);
    assert_eq!(course.started(), Some("2026-08-01T12:00:01Z"));
}

#[test]
fn a_run_that_was_killed_after_a_failure_leaves_on_failure_too() {
    let failed = [
        begun(),
        starts(1, "live"),
        ends(2, "live", StepOutcome::Failed),
    ];
    let mut course = course(&failed);
    assert_eq!(course.left(), ["back", "tell", "also"]);
    let first = state(&course).first_failure().unwrap();
    assert_eq!(
        (first.step.as_str(), first.name.as_str()),
        ("live", "Step live")
    );
    assert_eq!(first.failure.message, "it fails");
    assert_eq!(state(&course).status(), Status::Failed);

    // Under way when it was killed: it runs again.
    course.apply(&starts(3, "back"));
    assert_eq!(course.left(), ["back", "tell", "also"]);
    // Somebody cancelled it: that is their word.
    course.apply(&ends(4, "back", StepOutcome::Cancelled));
    assert_eq!(course.left(), ["tell", "also"]);
    assert!(state(&course).is_cancelled());
}

#[test]
fn a_failure_that_counts_for_nothing_leaves_no_on_failure() {
    let mut failed = ends(2, "live", StepOutcome::Failed);
    if let Detail::StepFinished { continued, .. } = &mut failed.detail {
        *continued = true;
    }
    let course = course(&[begun(), starts(1, "live"), failed]);
    assert_eq!(course.left(), ["tell", "also"]);
    assert_eq!(state(&course).status(), Status::Passed);
    assert_eq!(state(&course).outcome("live"), Some(StepOutcome::Failed));
}

#[test]
fn what_the_time_after_a_cancellation_cut_is_left() {
    let events = [
        begun(),
        starts(1, "live"),
        ends(2, "live", StepOutcome::Cancelled),
        skipped(2, "after", crate::engine::run::CANCELLED),
        skipped(2, "back", crate::engine::run::CANCELLED),
        starts(2, "tell"),
        ends(10, "tell", StepOutcome::Cancelled),
        skipped(10, "also", crate::engine::run::TIME_IS_OVER),
        event(
            10,
            None,
            Detail::RunFinished {
                exit: ExitCode::Cancelled,
                reason: None,
            },
        ),
    ];
    let course = course(&events);
    assert_eq!(course.left(), ["tell", "also"]);
    assert_eq!(course.stopped().exit, Some(ExitCode::Cancelled));
    assert_eq!(state(&course).status(), Status::Cancelled);
    assert_eq!(state(&course).outcome("tell"), None);
}

#[test]
fn a_run_whose_steps_had_passed_stands_so() {
    let events = [
        begun(),
        ends(1, "live", StepOutcome::Passed),
        ends(2, "after", StepOutcome::Passed),
        skipped(2, "back", "nothing failed"),
        starts(3, "tell"),
    ];
    let course = course(&events);
    assert_eq!(course.left(), ["tell", "also"]);
    assert_eq!(state(&course).status(), Status::Passed);
}

#[test]
fn a_notice_that_was_delivered_is_not_sent_again() {
    let mut course = course(&[begun(), starts(3, "tell"), told(4, "tell", true)]);
    let (step, took) = course.settled().unwrap();
    assert_eq!((step.as_str(), took), ("tell", Duration::from_secs(1)));
    course.apply(&ends(5, &step, StepOutcome::Passed));
    assert_eq!(course.left(), ["also"]);
    assert_eq!(course.settled(), None);
}

#[test]
fn a_notice_that_finishing_gave_up_stays_open_until_it_is_delivered() {
    let mut course = course(&[begun(), ends(1, "live", StepOutcome::Passed)]);
    course.apply(&starts(2, "also"));
    course.apply(&told(3, "also", false));
    course.apply(&ends(3, "also", StepOutcome::Passed));
    // The run itself had all the time that the document gives.
    assert_eq!(course.left(), ["tell"]);
    assert!(!course.owes_a_notice());
    for round in 1..=2 {
        course.apply(&resumed(10 * round, &course.left()));
        course.apply(&starts(10 * round + 1, "tell"));
        course.apply(&told(10 * round + 2, "tell", false));
        course.apply(&ends(10 * round + 3, "tell", StepOutcome::Failed));
        assert_eq!(course.left(), ["tell"]);
        assert!(course.owes_a_notice());
        assert_eq!(state(&course).first_failure().map(|first| first.step), None);
    }
    course.apply(&resumed(30, &course.left()));
    course.apply(&starts(31, "tell"));
    course.apply(&told(32, "tell", true));
    course.apply(&ends(33, "tell", StepOutcome::Passed));
    assert_eq!(course.left(), [""; 0]);
}

#[test]
fn a_killed_run_is_cancelled_for_the_next_who_finishes_it_too() {
    let mut course = course(&[begun(), ends(1, "live", StepOutcome::Passed)]);
    course.apply(&resumed(10, &course.left()));
    course.apply(&skipped(10, "after", crate::engine::run::KILLED));
    assert_eq!(state(&course).status(), Status::Cancelled);
    assert_eq!(course.left(), ["tell", "also"]);
}

#[test]
fn images_keep_their_digests_unless_the_document_writes_them_otherwise() {
    let digest = Digest::of(b"web");
    let resolved = Detail::ImageResolved {
        image: "web".into(),
        reference: "example.org/web:v1".into(),
        digest,
        manifest: digest,
        platform: "linux/amd64".into(),
        blobs: 1,
        bytes: 1,
    };
    let course = course(&[begun(), event(1, Some("live"), resolved)]);
    for (reference, expected) in [
        ("example.org/web:v1", Some(digest)),
        ("example.org/web:v2", None),
    ] {
        let image = (
            "web".to_owned(),
            reference.parse().unwrap(),
            PlatformRule::Required("linux/amd64".parse().unwrap()),
        );
        let images = Images::new([image], None);
        course.recall(&images);
        assert_eq!(images.all().next().unwrap().2, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), keep in 0_usize..600) {
        let left = left_quickly(&[begun(), starts(1, "live")]);
        let mut text = left.text().into_bytes();
        text.truncate(keep);
        text.extend(bytes);
        fs::write(&left.path, text).unwrap();
        let claimed = futures_util::FutureExt::now_or_never(claim(Path::new(&left.path), Writer::Unknown, |_| ()));
        prop_assert!(claimed.is_some());
    }

    #[test]
    fn any_cut_is_a_run_that_was_killed_there(cut in 0_usize..10_000) {
        let events = script::failure();
        let left = left_quickly(&events);
        let text = left.text();
        let first = text.find('\n').unwrap() + 1;
        let cut = first + cut % (text.len() - first + 1);
        fs::write(&left.path, &text.as_bytes()[..cut]).unwrap();
        let claimed = futures_util::FutureExt::now_or_never(claim(&left.path, Writer::Unknown, |_| ())).unwrap();
        let Ok(Claim::Dead(found)) = claimed else {
            panic!("{claimed:?}");
        };
        let whole = text[first..cut].matches('\n').count();
        prop_assert_eq!(found.events.len(), whole);
    }
}
