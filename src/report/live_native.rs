//! Lines above, bars below, drawn by indicatif. What the bars say is computed here from events, so that
//! a test sees what a user sees.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::report::plain::{PlainRenderer, Verbosity};
use crate::report::progress::Progress;
use crate::report::style::{Role, Style};
use crate::report::voice::Voice;
use crate::report::{Detail, Event, Mask, words};

/// The most bars for single blobs; the total counts all of them.
const MOST_BLOBS: usize = 8;
/// The width of a bar in characters.
const BAR: usize = 24;

/// Draws a run on a terminal.
#[derive(Debug)]
pub struct LiveRenderer {
    plain: PlainRenderer,
    style: Style,
    screen: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl LiveRenderer {
    /// Makes a renderer on standard error, or nothing if no bars can be drawn there.
    #[must_use]
    pub fn on_stderr(style: Style, verbosity: Verbosity) -> Option<Self> {
        let renderer = Self::on(ProgressDrawTarget::stderr(), style, verbosity);
        // A hidden target would swallow the lines too.
        (!renderer.screen.is_hidden()).then_some(renderer)
    }

    pub(crate) fn on(target: ProgressDrawTarget, style: Style, verbosity: Verbosity) -> Self {
        Self {
            plain: PlainRenderer::new(style, verbosity).beside_bars(),
            style,
            screen: MultiProgress::with_draw_target(target),
            bars: Vec::new(),
        }
    }

    /// Replaces the mask that everything shown passes through.
    pub fn set_mask(&mut self, mask: Arc<dyn Mask>) {
        self.plain.set_mask(mask);
    }

    /// Returns how failures and foreign text are said.
    #[must_use]
    pub fn voice(&self) -> &Voice {
        self.plain.voice()
    }

    /// Shows an event.
    pub fn event(&mut self, event: &Event) {
        let lines = self.plain.render(event);
        if matches!(event.detail, Detail::RunFinished { .. }) {
            self.finish();
        }
        for line in lines {
            self.print(&line);
        }
        // Ten progress events a second and blob are drawn by the next tick.
        if !matches!(
            event.detail,
            Detail::BlobProgressed { .. } | Detail::Sampled { .. }
        ) {
            self.draw(event.elapsed);
        }
    }

    /// Takes notice of an event that was shown before, by another process.
    pub fn recall(&mut self, event: &Event) {
        drop(self.plain.render(event));
    }

    /// Moves the bars on. `elapsed` is the time since the run began; call it ten times a second.
    pub fn tick(&mut self, elapsed: Duration) {
        self.draw(elapsed);
    }

    /// Prints a line above the bars.
    pub fn print(&self, line: &str) {
        // A terminal that went away takes nothing more; the report has it all.
        let _ = self.screen.println(self.voice().mask().mask(line));
    }

    /// Takes the bars away while something else writes to the terminal.
    pub fn suspended<T>(&self, write: impl FnOnce() -> T) -> T {
        self.screen.suspend(write)
    }

    /// Takes the bars away for good.
    pub fn finish(&mut self) {
        self.resize(0);
    }

    fn draw(&mut self, now: Duration) {
        let lines = bars(self.plain.progress(), self.voice(), self.style, now);
        self.resize(lines.len());
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(self.plain.voice().mask().mask(&line));
        }
    }

    fn resize(&mut self, count: usize) {
        while self.bars.len() > count
            && let Some(bar) = self.bars.pop()
        {
            bar.finish_and_clear();
            self.screen.remove(&bar);
        }
        while self.bars.len() < count {
            // `{wide_msg}` cuts at the edge of the terminal, so a bar is one row whatever it says.
            let template = ProgressStyle::with_template("{wide_msg}");
            let style = template.unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            self.bars.push(self.screen.add(bar));
        }
    }
}

impl Drop for LiveRenderer {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Returns what stands below the lines: blobs under way, then the step with its total or its wait.
fn bars(progress: &Progress, voice: &Voice, style: Style, now: Duration) -> Vec<String> {
    let Some(step) = progress.step() else {
        return Vec::new();
    };
    let blobs = progress.blobs();
    let widths = blobs.iter().map(|blob| blob.image.chars().count());
    let width = widths.max().unwrap_or(0).min(20);
    let mut lines: Vec<_> = blobs
        .iter()
        .take(MOST_BLOBS)
        .map(|blob| {
            format!(
                "  {:<width$} {} {} {:>3} %  {} of {}",
                voice.foreign(&blob.image),
                voice.paint(Role::Dim, &blob.digest.short()),
                style.bar(blob.received, blob.size, BAR),
                words::percent(blob.received, blob.size),
                words::size(blob.received),
                words::size(blob.size)
            )
        })
        .collect();
    let id = voice.paint(Role::Step, &voice.foreign(&step.id));
    let spinner = style.spinner(now);
    lines.push(if let Some(wait) = progress.wait() {
        let time = words::seconds(now.saturating_sub(wait.since));
        format!(
            "{spinner} {id}  waiting for {}, {time}",
            voice.foreign(&wait.on)
        )
    } else if let Some(download) = progress.download(now) {
        let bar = style.bar(download.received, download.total, BAR);
        format!("{spinner} {id}  {bar} {}", download.words())
    } else {
        let time = words::seconds(now.saturating_sub(step.since));
        format!("{spinner} {id}  {time}")
    });
    lines
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;
    use crate::report::golden::script;

    fn on(terminal: &InMemoryTerm) -> LiveRenderer {
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        LiveRenderer::on(target, Style::default(), Verbosity::Normal)
    }

    /// Returns the rows that lines take when a terminal wraps them.
    fn wrapped(lines: &[String], width: usize) -> Vec<String> {
        let mut rows = Vec::new();
        for line in lines {
            let characters: Vec<_> = line.chars().collect();
            if characters.is_empty() {
                rows.push(String::new());
            }
            for row in characters.chunks(width) {
                rows.push(row.iter().collect::<String>().trim_end().to_owned());
            }
        }
        rows
    }

    #[test]
    fn lines_are_whole_and_in_order_above_the_bars_at_every_moment() {
        for (width, events) in [
            (100, script::success()),
            (60, script::failure()),
            (100, script::hostile()),
        ] {
            let terminal = InMemoryTerm::new(400, width);
            let mut live = on(&terminal);
            let mut plain = PlainRenderer::new(Style::default(), Verbosity::Normal).beside_bars();
            let mut lines = Vec::new();
            for event in &events {
                live.event(event);
                lines.extend(plain.render(event));
                for moment in [0, 100, 200] {
                    live.tick(event.elapsed + Duration::from_millis(moment));
                    let contents = terminal.contents();
                    let shown: Vec<_> = contents.lines().collect();
                    let expected = wrapped(&lines, width.into());
                    // Trailing empty rows are not part of what the terminal returns.
                    let above = shown.len().min(expected.len());
                    assert_eq!(shown[..above], expected[..above]);
                    assert!(expected[above..].iter().all(String::is_empty));
                    let below = shown.len() - above;
                    assert_eq!(below, live.bars.len(), "{contents}");
                }
            }
            drop(live);
            let contents = terminal.contents();
            assert_eq!(
                contents.lines().count(),
                wrapped(&lines, width.into()).len()
            );
        }
    }

    #[test]
    fn the_screen_in_the_middle_of_a_download_and_of_a_gate() {
        let terminal = InMemoryTerm::new(60, 110);
        let mut live = on(&terminal);
        let mut screens = Vec::new();
        for event in script::success() {
            live.event(&event);
            live.tick(event.elapsed + Duration::from_millis(50));
            if matches!(
                event.detail,
                Detail::BlobProgressed { .. } | Detail::Waiting { .. }
            ) {
                screens.push(terminal.contents());
            }
        }
        insta::assert_snapshot!(screens.join("\n-----\n"));
    }

    #[test]
    fn a_terminal_with_more_blobs_than_rows_stays_in_order() {
        let terminal = InMemoryTerm::new(6, 80);
        let mut live = on(&terminal);
        for event in script::many_blobs(20) {
            live.event(&event);
            live.tick(event.elapsed);
        }
        assert_eq!(live.bars.len(), MOST_BLOBS + 1);
        live.finish();
        live.print("after");
        assert!(
            terminal.contents().ends_with("after"),
            "{}",
            terminal.contents()
        );
    }
}
