use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::cli::document::{document, finding};
use crate::cli::environment::Environment;
use crate::clock::Clock;
use crate::outcome::ExitCode;
use crate::pipeline::mask::Mask as SecretMask;
use crate::pipeline::secret::{SecretString, SecretValue};
use crate::pipeline::{Mode, RunNames, Source};
use crate::report::golden::script;
use crate::report::mask::tests::Word;
use crate::report::runner::{commands, hostile, sections};

/// A stream that tests can read, or that is broken.
#[derive(Clone, Default)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    broken: Option<io::ErrorKind>,
}

impl Stream {
    fn text(&self) -> String {
        String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.broken {
            Some(kind) => Err(kind.into()),
            None => self.bytes.lock().unwrap().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn talk(format: Format) -> TalkArgs {
    TalkArgs {
        format,
        ..TalkArgs::default()
    }
}

fn on_terminal() -> Terminal {
    Terminal {
        stdout_is_terminal: true,
        stderr_is_terminal: true,
        ..Terminal::default()
    }
}

fn no_files() -> Files {
    Arc::new(|_| None)
}

/// GitHub or GitLab, as their variables tell.
fn in_ci(github: bool) -> Terminal {
    Terminal {
        ci: true,
        github,
        gitlab: !github,
        ..Terminal::default()
    }
}

fn printer(talk: &TalkArgs, terminal: &Terminal) -> (Printer, Stream, Stream) {
    printer_of(talk, terminal, no_files())
}

fn printer_of(talk: &TalkArgs, terminal: &Terminal, files: Files) -> (Printer, Stream, Stream) {
    let (stdout, stderr) = (Stream::default(), Stream::default());
    let decision = Decision::new(talk, terminal);
    let printer = Printer::on(
        decision,
        files,
        Box::new(stdout.clone()),
        Box::new(stderr.clone()),
    );
    (printer, stdout, stderr)
}

#[test]
fn the_flag_wins_over_the_variables_and_they_over_the_terminal() {
    let some = |text: &str| Some(text.to_owned());
    let terminal = on_terminal();
    assert!(colors(Color::Auto, &terminal));
    assert!(!colors(Color::Auto, &Terminal::default()));
    let no_color = Terminal {
        no_color: some("1"),
        force_color: some("1"),
        ..on_terminal()
    };
    assert!(colors(Color::Always, &no_color));
    assert!(!colors(Color::Auto, &no_color));
    let empty = Terminal {
        no_color: some(""),
        ..on_terminal()
    };
    assert!(
        colors(Color::Auto, &empty),
        "an empty NO_COLOR says nothing"
    );
    let forced = Terminal {
        force_color: some("1"),
        ..Terminal::default()
    };
    assert!(colors(Color::Auto, &forced));
    assert!(!colors(Color::Never, &forced));
    let forbidden = Terminal {
        force_color: some("0"),
        ..on_terminal()
    };
    assert!(!colors(Color::Auto, &forbidden));
    let clicolor = |value: &str| Terminal {
        clicolor_force: some(value),
        ..Terminal::default()
    };
    assert!(colors(Color::Auto, &clicolor("1")));
    assert!(!colors(Color::Auto, &clicolor("0")));
    let dumb = Terminal {
        dumb: true,
        ..on_terminal()
    };
    assert!(!colors(Color::Auto, &dumb));
    let github = Terminal {
        ci: true,
        ci_shows_colors: true,
        ..Terminal::default()
    };
    assert!(colors(Color::Auto, &github));
}

#[test]
fn bars_only_where_somebody_watches() {
    let form = |talk: &TalkArgs, terminal: &Terminal| Decision::new(talk, terminal).form;
    let auto = talk(Format::Auto);
    assert_eq!(form(&auto, &on_terminal()), Form::Live);
    assert_eq!(form(&auto, &Terminal::default()), Form::Plain);
    for terminal in [
        Terminal {
            ci: true,
            ..on_terminal()
        },
        Terminal {
            dumb: true,
            ..on_terminal()
        },
    ] {
        assert_eq!(form(&auto, &terminal), Form::Plain);
    }
    let quiet = TalkArgs {
        quiet: true,
        ..talk(Format::Auto)
    };
    assert_eq!(form(&quiet, &on_terminal()), Form::Plain);
    assert_eq!(form(&talk(Format::Plain), &on_terminal()), Form::Plain);
    assert_eq!(form(&talk(Format::Json), &on_terminal()), Form::Json);
}

#[test]
fn data_goes_to_stdout_and_talk_to_stderr() {
    let (printer, stdout, stderr) = printer(&talk(Format::Plain), &Terminal::default());
    printer.data("{}\n").unwrap();
    printer.note("wrote pipeline.yml");
    printer.warning("the cache is large", Some("run `shipgate cache ls`"));
    printer.failure(&Failure::new(ExitCode::Usage, "no such file"));
    assert_eq!(stdout.text(), "{}\n");
    assert_eq!(
        stderr.text(),
        "wrote pipeline.yml\nwarning: the cache is large\n   hint: run `shipgate cache ls`\nerror: no such file\n"
    );
}

#[test]
fn quiet_keeps_errors() {
    let quiet = TalkArgs {
        quiet: true,
        ..TalkArgs::default()
    };
    let (printer, _, stderr) = printer(&quiet, &Terminal::default());
    printer.note("wrote pipeline.yml");
    printer.warning("the cache is large", None);
    printer.error("no such file");
    assert_eq!(stderr.text(), "no such file\n");
}

#[test]
fn json_is_one_object_a_line_on_stdout_alone() {
    let (printer, stdout, stderr) = printer(&talk(Format::Json), &Terminal::default());
    let events = script::failure();
    events.iter().for_each(|event| printer.event(event));
    printer.tick(Duration::from_secs(99));
    assert_eq!(stdout.text().lines().count(), events.len());
    for line in stdout.text().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["event"].is_string());
    }
    assert_eq!(stderr.text(), "");
}

#[test]
fn every_way_out_is_masked() {
    for format in [Format::Plain, Format::Json, Format::Github, Format::Gitlab] {
        for verbose in [false, true] {
            let talk = TalkArgs {
                verbose,
                ..talk(format)
            };
            let (printer, stdout, stderr) = printer(&talk, &Terminal::default());
            // Part of the reference, of the digest's line and of the verdict.
            printer.set_mask(Arc::new(Word("acme/web")));
            script::success()
                .iter()
                .for_each(|event| printer.event(event));
            printer.data("data acme/web\n").unwrap();
            printer.note("note acme/web");
            printer.error("error acme/web");
            printer.warning("warning acme/web", Some("hint acme/web"));
            printer.failure(&Failure::new(ExitCode::Usage, "failure acme/web"));
            let all = stdout.text() + &stderr.text();
            assert!(all.contains("***") && !all.contains("acme/web"), "{all}");
        }
    }
}

/// A secret may look like what JSON is made of.
#[test]
fn no_secret_makes_json_unreadable() {
    let value = serde_json::json!({"bytes": 104_857_600, "a": ["104857600", "x"]});
    for secret in ["104857600", "\": [\n    \"", ",\n  \""] {
        for indented in [false, true] {
            let (printer, stdout, _) = printer(&talk(Format::Plain), &Terminal::default());
            printer.set_mask(Arc::new(Word(secret)));
            printer.json(&value, indented).unwrap();
            let read: serde_json::Value = serde_json::from_str(&stdout.text()).unwrap();
            assert_eq!(read["bytes"], value["bytes"]);
            assert_eq!(read["a"][0] == "***", secret == "104857600");
        }
    }
}

#[test]
fn the_schema_is_printed_as_it_is_published() {
    let (printer, stdout, _) = printer(&talk(Format::Plain), &Terminal::default());
    printer.json(&crate::pipeline::schema(), true).unwrap();
    assert_eq!(
        stdout.text(),
        include_str!("../../schema/pipeline.schema.json")
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let decision = Decision::new(&talk(Format::Json), &Terminal::default());
    let broken = |kind| Stream {
        broken: Some(kind),
        ..Stream::default()
    };
    let closed = || Box::new(broken(io::ErrorKind::BrokenPipe));
    let printer = Printer::on(decision, no_files(), closed(), closed());
    script::success()
        .iter()
        .for_each(|event| printer.event(event));
    printer.data("x").unwrap();
    printer.error("x");
    printer.finish().unwrap();
    let full = broken(io::ErrorKind::StorageFull);
    let printer = Printer::on(decision, no_files(), Box::new(full), closed());
    assert_eq!(
        printer.data("x").unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    printer.event(&script::success()[0]);
    assert_eq!(
        printer.finish().unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
}

#[test]
fn data_steers_no_terminal_but_stays_as_it_is_in_a_pipe() {
    let text = "name\x1b[2J\tx\n";
    let (to_pipe, stdout, _) = printer(&talk(Format::Plain), &Terminal::default());
    to_pipe.data(text).unwrap();
    assert_eq!(stdout.text(), text);
    let (to_terminal, stdout, _) = printer(&talk(Format::Plain), &on_terminal());
    to_terminal.data(text).unwrap();
    assert_eq!(stdout.text(), "name\\u{1b}[2J\tx\n");
}

#[tokio::test(start_paused = true)]
async fn ticks_bring_heartbeats() {
    let (printer, _, stderr) = printer(&talk(Format::Plain), &Terminal::default());
    let printer = Arc::new(printer);
    let emitter = Emitter::new({
        let printer = printer.clone();
        move |event| printer.event(&event)
    });
    for event in script::cancelled().into_iter().take(2) {
        emitter.of_step("live").emit(event.detail);
    }
    let run = tokio::time::sleep(Duration::from_secs(65));
    tokio::select! {
        () = run => {}
        () = printer.keep_ticking(&emitter) => {}
    }
    let beats = stderr.text().matches("still running").count();
    assert_eq!(beats, 2);
}

#[test]
fn systems_are_known_by_their_variables_and_flags_win() {
    let form = |talk: &TalkArgs, terminal: &Terminal| Decision::new(talk, terminal).form;
    assert_eq!(form(&talk(Format::Auto), &in_ci(true)), Form::Github);
    assert_eq!(form(&talk(Format::Auto), &in_ci(false)), Form::Gitlab);
    assert_eq!(form(&talk(Format::Plain), &in_ci(true)), Form::Plain);
    assert_eq!(form(&talk(Format::Json), &in_ci(false)), Form::Json);
    assert_eq!(form(&talk(Format::Gitlab), &in_ci(true)), Form::Gitlab);
    assert_eq!(form(&talk(Format::Github), &on_terminal()), Form::Github);
}

fn mask_of(value: &str) -> Arc<SecretMask> {
    Arc::new(SecretMask::new(&[SecretValue {
        name: "s".into(),
        value: SecretString::new(value),
        users: Vec::new(),
    }]))
}

#[test]
fn secrets_are_told_to_github_and_to_nobody_else() {
    let (printer, stdout, stderr) = printer(&talk(Format::Auto), &in_ci(true));
    printer.set_mask(mask_of("hunter22%\nsecond line"));
    printer.error("first");
    let log = stderr.text();
    let heard = commands(&log);
    let data: Vec<_> = heard.iter().map(|command| command.data.as_str()).collect();
    assert_eq!(data[..2], ["hunter22%", "second line"]);
    assert!(heard.iter().all(|command| command.name == "add-mask"));
    assert!(
        log.starts_with("::add-mask::hunter22%25\n") && log.ends_with("\nfirst\n"),
        "{log}"
    );
    assert_eq!(stdout.text(), "");

    let laptop = Terminal::default();
    let to_file = Terminal {
        stderr_is_file: true,
        ..in_ci(true)
    };
    for (format, terminal) in [
        (Format::Github, laptop),
        (Format::Auto, to_file),
        (Format::Github, in_ci(false)),
        (Format::Auto, in_ci(false)),
        (Format::Plain, in_ci(true)),
        (Format::Json, in_ci(true)),
    ] {
        let (printer, stdout, stderr) = self::printer(&talk(format), &terminal);
        printer.set_mask(mask_of("hunter22"));
        assert_eq!(
            stdout.text() + &stderr.text(),
            "",
            "{format:?} {terminal:?}"
        );
    }
}

/// A panic unwinds through the printer; an error of the command ends without the run's end.
#[test]
fn an_open_group_is_closed_however_the_printer_ends() {
    let ends: [fn(Printer); 3] = [
        |printer| drop(printer),
        |printer| printer.finish().unwrap(),
        |printer| {
            printer.panicked("panicked at x.rs:\n::error::hunter22");
            printer.finish().unwrap();
        },
    ];
    for end in ends {
        for github in [true, false] {
            let (printer, _, stderr) = printer(&talk(Format::Auto), &in_ci(github));
            printer.set_mask(Arc::new(Word("hunter22")));
            script::cancelled()[..2]
                .iter()
                .for_each(|event| printer.event(event));
            end(printer);
            let log = stderr.text();
            assert!(!log.contains("hunter22"), "{log}");
            let names: Vec<_> = commands(&log)
                .into_iter()
                .map(|command| command.name)
                .collect();
            let begins: Vec<_> = sections(&log)
                .into_iter()
                .map(|section| section.0)
                .collect();
            if github {
                assert_eq!(names, ["group", "endgroup"], "{log}");
            } else {
                assert_eq!(begins, [true, false], "{log:?}");
            }
        }
    }
}

/// Returns the broken documents of the pipeline's own tests, with what is found in each.
fn broken() -> Vec<(String, Vec<crate::pipeline::Diagnostic>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline/tests/broken");
    let environment = Environment::given(&[], Clock::fixed(jiff::Timestamp::UNIX_EPOCH));
    let files = std::fs::read_dir(folder).unwrap();
    let mut all: Vec<_> = files
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let source = Source::new(&name, std::fs::read_to_string(&path).unwrap());
            let run = RunNames::default();
            let loaded = document(&source, [].into(), run, None, Mode::Validate, &environment);
            (name, loaded.diagnostics)
        })
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

#[test]
fn every_diagnostic_is_annotated_where_it_is_and_said_once() {
    let mut annotated = 0;
    let mut documents = 0;
    for (name, found) in broken() {
        documents += usize::from(!found.is_empty());
        // As many as have places of their own.
        for some in found.chunks(5) {
            let files: Files = Arc::new(|file| Some(format!("deploy/{file}")));
            let (printer, _, stderr) = printer_of(&talk(Format::Auto), &in_ci(true), files);
            some.iter()
                .for_each(|found| printer.finding(&finding(found)));
            printer.finish().unwrap();
            let log = stderr.text();
            let heard = commands(&log);
            assert_eq!(heard.len(), log.lines().count(), "said once: {log}");
            assert_eq!(heard.len(), some.len(), "{log}");
            for (command, found) in heard.iter().zip(some) {
                let severity = found.severity.to_string();
                assert_eq!(command.name, severity, "{name}");
                assert_eq!(format!("{severity}: {}", command.data), found.to_string());
                assert_eq!(command.property("file"), Some(&*format!("deploy/{name}")));
                let Some(place) = &found.place else {
                    assert_eq!(command.property("line"), None, "{name}");
                    continue;
                };
                let number = |name| command.property(name).unwrap().parse::<usize>().unwrap();
                assert_eq!(number("line"), place.start.line, "{name}");
                assert_eq!(number("col"), place.start.column, "{name}");
                assert_eq!(number("endLine"), place.start.line, "{name}");
                let one_line = place.end.line == place.start.line;
                if one_line && place.end.column > place.start.column {
                    assert_eq!(number("endColumn"), place.end.column - 1, "{name}");
                } else {
                    assert_eq!(number("endColumn"), number("col"), "{name}");
                }
                annotated += 1;
            }
        }
    }
    assert!(
        documents >= 25 && annotated >= documents,
        "{documents} {annotated}"
    );
}

/// What is read by programs is no worse for it: no line of ours begins as a command does.
#[test]
fn our_own_data_is_byte_for_byte_in_ci() {
    let mut texts = vec![
        serde_json::to_string_pretty(&crate::pipeline::schema()).unwrap(),
        "ghcr.io/acme/web:v1@sha256:00\n".to_owned(),
    ];
    for shell in <clap_complete::Shell as clap::ValueEnum>::value_variants() {
        let mut script = Vec::new();
        let mut command = <crate::cli::args::Cli as clap::CommandFactory>::command();
        clap_complete::generate(*shell, &mut command, "shipgate", &mut script);
        texts.push(String::from_utf8(script).unwrap());
    }
    for github in [true, false] {
        for text in &texts {
            let (printer, stdout, _) = printer(&talk(Format::Auto), &in_ci(github));
            printer.data(text).unwrap();
            assert_eq!(&stdout.text(), text);
        }
    }
}

/// A plan shows what a registry says.
#[test]
fn data_in_a_log_neither_hides_nor_turns_what_is_read() {
    for github in [true, false] {
        let (printer, stdout, _) = printer(&talk(Format::Auto), &in_ci(github));
        printer
            .data("a \x1b[8mhidden\x1b[0m \u{202e}turned\u{2028}broken\n")
            .unwrap();
        assert_eq!(
            stdout.text(),
            "a \\u{1b}[8mhidden\\u{1b}[0m \\u{202e}turned\\u{2028}broken\n"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nothing_that_is_printed_commands_a_system(text in hostile(), format in 0usize..5) {
        let format = [Format::Auto, Format::Plain, Format::Json, Format::Github, Format::Gitlab][format];
        for github in [true, false] {
            let (printer, stdout, stderr) = printer(&talk(format), &in_ci(github));
            printer.note(&text);
            printer.error(&text);
            printer.warning(&text, Some(&text));
            printer.data(&format!("{text}\n")).unwrap();
            let json = serde_json::json!({ "a": text });
            printer.json(&json, false).unwrap();
            for log in [stdout.text(), stderr.text()] {
                prop_assert!(commands(&log).is_empty(), "{log:?}");
                prop_assert!(sections(&log).is_empty(), "{log:?}");
            }
            let last = stdout.text();
            let read: serde_json::Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
            prop_assert_eq!(read["a"].as_str(), Some(text.as_str()));
            printer.failure(&Failure::new(ExitCode::Usage, &text).hinted(&text));
            let log = stderr.text();
            let meant = usize::from(matches!(printer.decision().form, Form::Github));
            prop_assert_eq!(commands(&log).len(), meant, "{:?}", log);
        }
    }
}
