//! Whole runs on a terminal: the screen when all is over, and the bars in between.

use indicatif::{InMemoryTerm, ProgressDrawTarget};

use super::script;
use crate::report::live::LiveRenderer;
use crate::report::plain::Verbosity;
use crate::report::style::Style;
use crate::report::{Detail, Event};

/// Returns the last screen, and the one in the middle of the last step that waits.
fn screens(events: &[Event]) -> (String, String) {
    let terminal = InMemoryTerm::new(200, 120);
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    let mut live = LiveRenderer::on(target, Style::default(), Verbosity::Normal);
    let mut middle = String::new();
    for event in events {
        live.event(event);
        live.tick(event.elapsed);
        if matches!(event.detail, Detail::Waiting { .. }) {
            middle = terminal.contents();
        }
    }
    live.finish();
    (terminal.contents(), middle)
}

#[test]
fn terminals() {
    for (name, events) in [
        ("tty_success", script::success()),
        ("tty_failure", script::failure()),
        ("tty_cancelled", script::cancelled()),
        ("tty_hostile", script::hostile()),
    ] {
        let (last, middle) = screens(&events);
        insta::assert_snapshot!(name, format!("{last}\n----- while it waits\n{middle}"));
    }
}
