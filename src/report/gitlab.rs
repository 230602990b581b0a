//! GitLab's log sections.

use std::time::Duration;

use super::inert::Line;

/// The most characters of an id or a run in the name of a section.
const LONGEST: usize = 60;

/// Writes the sections of one process.
#[derive(Debug, Default)]
pub struct Gitlab {
    /// When the run began, in milliseconds since 1970.
    began: i128,
    prefix: String,
    count: usize,
    open: Option<String>,
}

impl Gitlab {
    /// Takes notice of which run this is, and of when it began (RFC 3339).
    ///
    /// Both are part of the names of sections: a job may call the program twice.
    pub fn begin(&mut self, run: &str, at: &str) {
        let parsed = at.parse::<jiff::Timestamp>();
        self.began = parsed.map_or(0, |at| i128::from(at.as_millisecond()));
        let digits: String = at.chars().filter(char::is_ascii_digit).collect();
        self.prefix = format!("{}-{}", name(run), name(&digits));
    }

    /// Returns the beginning of a section. The header is masked and escaped.
    ///
    /// It is not folded (`[collapsed=true]`): how a step ends is not known when it begins, and whoever watches a
    /// job would see neither what it waits for nor what a step that fails has found. A click folds it.
    pub fn open(&mut self, elapsed: Duration, step: &str, header: &str) -> Line {
        self.count += 1;
        let name = format!("shipgate_{}_{}_{}", self.prefix, self.count, name(step));
        let time = self.seconds(elapsed);
        let line = format!("\x1b[0Ksection_start:{time}:{name}\r\x1b[0K{header}");
        self.open = Some(name);
        Line::Markup(line)
    }

    /// Returns the end of the open section.
    pub fn close(&mut self, elapsed: Duration) -> Option<Line> {
        let name = self.open.take()?;
        let time = self.seconds(elapsed);
        Some(Line::Markup(format!(
            "\x1b[0Ksection_end:{time}:{name}\r\x1b[0K"
        )))
    }

    fn seconds(&self, elapsed: Duration) -> i128 {
        let elapsed = i128::try_from(elapsed.as_millis()).unwrap_or(0);
        // GitLab's pattern for the time is digits alone.
        ((self.began + elapsed) / 1_000).max(0)
    }
}

/// Returns a text in letters, digits and dashes: GitLab makes dashes of other characters in the names of sections.
fn name(text: &str) -> String {
    let plain = |character: char| match character.to_ascii_lowercase() {
        character if character.is_ascii_alphanumeric() => character,
        _ => '-',
    };
    text.chars().take(LONGEST).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::runner::sections;

    #[test]
    fn sections_have_the_time_of_the_run_and_names_of_their_own() {
        let mut log = String::new();
        for at in ["2026-08-22T12:00:00.25Z", "2026-08-22T12:00:00.5Z"] {
            let mut gitlab = Gitlab::default();
            gitlab.begin("", at);
            for step in ["live", "ümlaut :x"] {
                log += gitlab.open(Duration::from_millis(800), step, step).as_str();
                log += gitlab.close(Duration::from_secs(2)).unwrap().as_str();
                assert_eq!(gitlab.close(Duration::from_secs(2)), None);
            }
        }
        let found = sections(&log);
        assert_eq!(found.len(), 8);
        let mut names: Vec<_> = found.iter().map(|(.., name)| name.clone()).collect();
        names.dedup();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 4);
        assert_eq!(found[0].1, 1_787_400_001);
        assert_eq!(found[1].1, 1_787_400_002);
    }

    #[test]
    fn a_clock_that_says_nonsense_closes_sections_all_the_same() {
        let mut gitlab = Gitlab::default();
        gitlab.begin("r", "-009999-01-01T00:00:00Z");
        let line = gitlab.open(Duration::ZERO, "a", "a");
        assert_eq!(sections(line.as_str()).len(), 1);
    }
}
