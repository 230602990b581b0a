use super::*;
use crate::outcome::ExitCode;
use crate::report::golden::script;
use crate::report::mask::tests::Word;

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

fn printer(talk: &TalkArgs, terminal: &Terminal) -> (Printer, Stream, Stream) {
    let (stdout, stderr) = (Stream::default(), Stream::default());
    let decision = Decision::new(talk, terminal);
    let printer = Printer::on(decision, Box::new(stdout.clone()), Box::new(stderr.clone()));
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
    for format in [Format::Plain, Format::Json] {
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

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let decision = Decision::new(&talk(Format::Json), &Terminal::default());
    let broken = |kind| Stream {
        broken: Some(kind),
        ..Stream::default()
    };
    let closed = || Box::new(broken(io::ErrorKind::BrokenPipe));
    let printer = Printer::on(decision, closed(), closed());
    script::success()
        .iter()
        .for_each(|event| printer.event(event));
    printer.data("x").unwrap();
    printer.error("x");
    printer.finish().unwrap();
    let full = broken(io::ErrorKind::StorageFull);
    let printer = Printer::on(decision, Box::new(full), closed());
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
