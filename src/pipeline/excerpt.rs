//! A line of the document as it is shown under a finding.

use serde::Serialize;
use unicode_width::UnicodeWidthChar;

/// Columns of a source line that are shown around the fault.
pub(super) const SHOWN_COLUMNS: usize = 110;

/// A line of the document as it is shown: tabs widened, control characters replaced, long lines cut.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Excerpt {
    /// The text.
    pub text: String,
    /// How many terminal columns stand before the fault.
    pub indent: usize,
    /// How many terminal columns the fault takes on this line, at least one.
    pub width: usize,
}

impl Excerpt {
    /// Cuts a line around the bytes from `start` to `end`, which may lie behind the line's end.
    pub(super) fn cut(line: &str, start: usize, end: usize) -> Self {
        let mut text = String::new();
        let (mut column, mut indent, mut after) = (0, None, None);
        for (offset, character) in line.char_indices() {
            if offset >= start {
                indent.get_or_insert(column);
            }
            if offset >= end {
                after.get_or_insert(column);
            }
            match character {
                '\t' => {
                    text.push_str("    ");
                    column += 4;
                }
                control if control.is_control() => {
                    text.push('\u{fffd}');
                    column += 1;
                }
                other => {
                    text.push(other);
                    column += other.width().unwrap_or(0);
                }
            }
        }
        let indent = indent.unwrap_or(column);
        let width = after.unwrap_or(column).saturating_sub(indent).max(1);
        if column <= SHOWN_COLUMNS {
            return Self {
                text,
                indent,
                width,
            };
        }
        Self::window(&text, indent, width)
    }

    pub(super) fn star(&mut self) {
        let mut column = 0;
        let before: String = self
            .text
            .chars()
            .take_while(|character| {
                column += character.width().unwrap_or(0);
                column <= self.indent
            })
            .collect();
        let key = before.rfind(['{', ',', '[']).map(|at| &before[at + 1..]);
        self.text = match key {
            Some(key) => format!("… {}***", key.trim_start()),
            None => format!("{before}***"),
        };
        self.width = 3;
        self.indent = self
            .text
            .chars()
            .filter_map(UnicodeWidthChar::width)
            .sum::<usize>()
            - 3;
    }

    /// Keeps the columns around the fault of a line that is too long to show.
    fn window(text: &str, indent: usize, width: usize) -> Self {
        let first = indent.saturating_sub(SHOWN_COLUMNS / 3);
        let mut shown = String::new();
        let (mut column, mut skipped, mut cut) = (0, 0, false);
        for character in text.chars() {
            if column < first {
                skipped = column + character.width().unwrap_or(0);
            } else if column - first < SHOWN_COLUMNS {
                shown.push(character);
            } else {
                cut = true;
            }
            column += character.width().unwrap_or(0);
        }
        let lead = if first > 0 { "…" } else { "" };
        let trail = if cut { "…" } else { "" };
        let indent = indent - skipped + lead.chars().count();
        Self {
            text: format!("{lead}{shown}{trail}"),
            indent,
            width: width.min(SHOWN_COLUMNS.saturating_sub(indent).max(1)),
        }
    }
}
