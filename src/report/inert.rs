//! The last pass over whatever is printed: nothing that was meant as text is taken for a command.
//!
//! What systems read, as of the sources of their runners:
//! - GitHub's runner trims the white space in front of a line and takes `::name …::data` for a command, and
//!   takes `##[name …]data` for one wherever it stands in a line; a line ends at CR, LF or both.
//!   Forgejo, Gitea and `act` do the same at the beginning of a line. Azure has `##vso[`.
//! - GitLab takes `section_start:` and `section_end:` wherever they stand, followed by CR and `ESC [0K`.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::{Mask, words};

/// A line of a log, without its line break.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Line {
    /// Text. It is masked and made inert before it is printed.
    Text(String),
    /// Markup that the log's system acts on, printed as it is: everything foreign in it is masked and
    /// escaped already.
    Markup(String),
}

impl Line {
    /// Returns lines of text.
    pub fn texts(lines: Vec<String>) -> Vec<Self> {
        lines.into_iter().map(Self::Text).collect()
    }

    /// Returns what stands in the line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let (Self::Text(line) | Self::Markup(line)) = self;
        line
    }
}

/// Returns a line that no system takes for a command: usually the line as it is.
///
/// Colours stay; all other control characters but tabs are escaped, and so are characters that break lines or
/// turn the direction of reading, and one character of each mark that begins a command.
#[must_use]
pub fn inert(line: &str) -> Cow<'_, str> {
    if !may_command(line) {
        return Cow::Borrowed(line);
    }
    let start = line.len() - line.trim_start().len();
    let leads = line[start..].starts_with("::");
    let mut safe = String::with_capacity(line.len() + 16);
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let at = line.len() - rest.len();
        if let Some(length) = color(rest) {
            safe.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let commands = match character {
            '[' => safe.ends_with("##") || safe.ends_with("##vso"),
            ':' => {
                leads && at == start
                    || safe.ends_with("section_start")
                    || safe.ends_with("section_end")
            }
            '\t' => false,
            character => words::is_unsafe(character),
        };
        if commands {
            // Writing to a string can't fail.
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
        } else {
            safe.push(character);
        }
        rest = &rest[character.len_utf8()..];
    }
    Cow::Owned(safe)
}

/// Returns lines as they are printed, each with its line break.
#[must_use]
pub fn log(lines: &[Line], mask: &dyn Mask) -> String {
    let is_text = |line: &Line| matches!(line, Line::Text(_));
    let mut log = String::new();
    for piece in lines.chunk_by(|one, other| is_text(one) && is_text(other)) {
        let lines: Vec<_> = piece.iter().map(Line::as_str).collect();
        let mut text = lines.join("\n");
        if piece.iter().any(is_text) {
            // All lines at once, so that a secret of several lines is found.
            text = inert_lines(&mask.mask(&text));
        }
        log += &text;
        log.push('\n');
    }
    log
}

/// Returns text of several lines, each of them inert.
#[must_use]
pub fn inert_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(inert).collect();
    lines.join("\n")
}

/// Returns JSON text that means the same, and that no system takes for a command and no terminal for a code.
///
/// What would be one can only stand in a string of it, where any character may be written as `\u005b`.
#[must_use]
pub fn inert_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        let commands = match character {
            '[' => safe.ends_with("##") || safe.ends_with("##vso"),
            '\n' | '\t' => false,
            character => words::is_unsafe(character),
        };
        if commands {
            let _ = write!(safe, "\\u{:04x}", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe
}

fn may_command(line: &str) -> bool {
    line.contains("##")
        || line.contains("section_")
        || line.trim_start().starts_with("::")
        || line
            .chars()
            .any(|character| words::is_unsafe(character) && character != '\t')
}

/// Returns the length of the colour that a text begins with.
fn color(text: &str) -> Option<usize> {
    let codes = text.strip_prefix("\x1b[")?;
    let end = codes.find(|character: char| !character.is_ascii_digit() && character != ';')?;
    codes[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::runner::{commands, sections};

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for line in [
            "",
            "preload  web: 31.0 MB fetched",
            "\x1b[1;31merror:\x1b[0m std::io::Error, # of ##\ttab",
            "# a [list]",
            "größe 日本",
        ] {
            assert_eq!(inert(line), line);
        }
    }

    #[test]
    fn what_would_be_a_command_is_text() {
        assert_eq!(inert("::error::x"), "\\u{3a}:error::x");
        assert_eq!(inert(" \u{3000}::error::x"), " \u{3000}\\u{3a}:error::x");
        assert_eq!(inert("  :: "), "  \\u{3a}: ");
        assert_eq!(inert("a ##[error]x"), "a ##\\u{5b}error]x");
        assert_eq!(inert("##vso[task]"), "##vso\\u{5b}task]");
        assert_eq!(
            inert("section_start:1:a\r\x1b[0Kx"),
            "section_start\\u{3a}1:a\\u{d}\\u{1b}[0Kx"
        );
        assert_eq!(inert("a\u{2028}b\u{202e}"), "a\\u{2028}b\\u{202e}");
        assert_eq!(
            inert("\x1b[2Jgone\u{9b}1m\nx"),
            "\\u{1b}[2Jgone\\u{9b}1m\\u{a}x"
        );
    }

    #[test]
    fn json_means_the_same() {
        let value =
            serde_json::json!({"##[a]": ["##vso[b] \u{85}\u{7f}\u{2028}\u{202e} ##[", [["##"]]]});
        let text = inert_json(&value.to_string());
        assert!(!text.contains("##[") && !text.contains("##vso["), "{text}");
        assert!(!text.chars().any(words::is_unsafe), "{text:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }

    proptest! {
        #[test]
        fn no_line_commands(line in crate::report::runner::hostile()) {
            let safe = inert(&line).into_owned();
            prop_assert!(commands(&safe).is_empty(), "{safe:?}");
            prop_assert!(sections(&safe).is_empty(), "{safe:?}");
            prop_assert_eq!(inert(&safe), safe.as_str());
        }

        #[test]
        fn no_json_commands(text in crate::report::runner::hostile()) {
            let json = serde_json::Value::from(text).to_string();
            let safe = inert_json(&json);
            prop_assert!(commands(&safe).is_empty(), "{safe:?}");
            prop_assert_eq!(
                serde_json::from_str::<serde_json::Value>(&safe).unwrap(),
                serde_json::from_str::<serde_json::Value>(&json).unwrap()
            );
        }
    }
}
