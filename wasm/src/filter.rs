//! What the component prints, as it may be shown: nothing in it moves a terminal's cursor, renames its window or gives
//! a CI system an order that is none of shipgate's own.
//!
//! A component that keeps to itself prints lines, colours, GitLab's markers of sections, which erase to the end of a
//! line, and GitHub's commands that annotate, group and mask. Whatever else a terminal or a runner would act on is
//! written out in the way of [`shipgate::report::inert`]. How runners read, that module says.

use std::fmt::Write as _;
use std::str;

/// The commands of runners that shipgate prints itself: none of them changes what later steps do.
const OWN: [&str; 7] = [
    "add-mask", "debug", "endgroup", "error", "group", "notice", "warning",
];
/// The longest sequence that is a colour.
const LONGEST: usize = 32;

/// Filters one stream, whose pieces may be torn anywhere.
#[derive(Debug, Default)]
pub struct Filter {
    /// The beginning of a character.
    torn: Vec<u8>,
    /// What it may be the beginning of, not yet passed on.
    held: String,
    state: State,
    /// The end of what was passed on of this line, in small letters: what an order may begin with.
    before: Tail,
    /// The same of the line that comes of it if whoever else printed did so into the same place.
    joined: Tail,
    /// Whether nothing was passed on since others printed.
    fresh: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Nothing but white space stands in the line.
    #[default]
    LineStart,
    /// `:` stands at its beginning, or `::` and the name of a command.
    Command,
    /// ESC, or ESC `[` and some digits. What comes after may still be the beginning of the line.
    Escape { at_start: bool },
    /// Somewhere else.
    Text,
}

/// The end of a line, in small letters.
#[derive(Clone, Debug, Default)]
pub struct Tail(String);

impl Tail {
    fn add(&mut self, text: &str) {
        self.0
            .extend(text.chars().map(|it| it.to_ascii_lowercase()));
        if let Some((cut, _)) = self.0.char_indices().rev().nth(4) {
            self.0.drain(..cut);
        }
    }

    /// Says whether `[` makes an order of it.
    fn orders(&self) -> bool {
        self.0.ends_with("##") || self.0.ends_with("##vso")
    }
}

impl Filter {
    /// Says that somebody else has printed meanwhile, perhaps to the same place, and what that line ends with: what
    /// comes next may begin a line, or go on with theirs.
    pub fn interrupted(&mut self, tail: Tail) {
        self.joined = tail;
        self.fresh = true;
        match &mut self.state {
            State::Escape { at_start } => *at_start = true,
            State::Text => self.state = State::LineStart,
            State::Command | State::LineStart => {}
        }
    }

    /// Returns the end of the line that was passed on, with what others have printed before it.
    pub fn tail(&self) -> Tail {
        self.joined.clone()
    }

    /// Returns what may be shown of the bytes that come next.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut passed = String::with_capacity(bytes.len() + 8);
        self.torn.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.torn);
        let mut rest = &bytes[..];
        loop {
            let (valid, bad) = match str::from_utf8(rest) {
                Ok(text) => {
                    self.text(text, &mut passed);
                    break;
                }
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            let (text, after) = rest.split_at(valid);
            // It was found to be text just now.
            self.text(&String::from_utf8_lossy(text), &mut passed);
            let Some(bad) = bad else {
                self.torn = after.to_vec();
                break;
            };
            self.text("\u{fffd}", &mut passed);
            rest = &after[bad..];
        }
        passed.into_bytes()
    }

    /// Returns what was held back when nothing comes any more.
    pub fn end(&mut self) -> Vec<u8> {
        let mut passed = String::new();
        if !std::mem::take(&mut self.torn).is_empty() {
            self.text("\u{fffd}", &mut passed);
        }
        self.release(&mut passed);
        passed.into_bytes()
    }

    fn text(&mut self, text: &str, passed: &mut String) {
        for character in text.chars() {
            self.character(character, passed);
        }
    }

    fn character(&mut self, character: char, passed: &mut String) {
        match self.state {
            State::Escape { at_start } => {
                let opens = self.held.len() == 1 && character == '[';
                let goes_on = self.held.len() > 1
                    && self.held.len() < LONGEST
                    && (character.is_ascii_digit() || character == ';');
                if opens || goes_on {
                    self.held.push(character);
                    return;
                }
                if self.held.len() > 1 && matches!(character, 'm' | 'K') {
                    self.held.push(character);
                    *passed += &std::mem::take(&mut self.held);
                    self.state = if at_start {
                        State::LineStart
                    } else {
                        State::Text
                    };
                    return;
                }
                self.release(passed);
            }
            State::Command => {
                let begins = self.held == ":" && character == ':';
                let names = self.held.len() > 1
                    && self.held.len() < LONGEST
                    && (character.is_ascii_alphanumeric() || "-_".contains(character));
                if begins || names {
                    self.held.push(character);
                    return;
                }
                self.release(passed);
            }
            State::LineStart | State::Text => {}
        }
        self.first(character, passed);
    }

    /// Takes a character with nothing held back before it.
    fn first(&mut self, character: char, passed: &mut String) {
        match character {
            // .NET's readers of lines end one at either.
            '\n' | '\r' => {
                self.state = State::LineStart;
                self.before = Tail::default();
                self.joined = Tail::default();
                self.fresh = false;
                passed.push(character);
            }
            '\u{1b}' => {
                let at_start = self.state == State::LineStart;
                self.held.push(character);
                self.state = State::Escape { at_start };
            }
            // The other one may be the first of the line.
            ':' if self.fresh && self.joined.0.ends_with(':') => {
                self.plain(&escaped(character), passed);
            }
            ':' if self.state == State::LineStart => {
                self.held.push(character);
                self.state = State::Command;
            }
            '[' if self.before.orders() || self.joined.orders() => {
                self.plain(&escaped(character), passed);
            }
            // .NET takes the mark away from the beginning of what it reads.
            '\u{feff}' => self.plain(&escaped(character), passed),
            character if character.is_control() && character != '\t' => {
                self.plain(&escaped(character), passed);
            }
            character if character.is_whitespace() && self.state == State::LineStart => {
                passed.push(character);
            }
            character => self.plain(character.encode_utf8(&mut [0; 4]), passed),
        }
    }

    fn plain(&mut self, text: &str, passed: &mut String) {
        self.state = State::Text;
        passed.push_str(text);
        self.before.add(text);
        self.joined.add(text);
        self.fresh = false;
    }

    /// Passes on what was held back, for it goes on as nothing that could be acted on, or as what may be.
    fn release(&mut self, passed: &mut String) {
        let held = std::mem::take(&mut self.held);
        let mut characters = held.chars();
        match characters.next() {
            Some('\u{1b}') => {
                self.plain(&escaped('\u{1b}'), passed);
                self.plain(characters.as_str(), passed);
            }
            Some(':') => {
                let name = held.strip_prefix("::");
                let harmless = name.is_none_or(|name| OWN.contains(&name));
                let colon = if harmless {
                    ":".to_owned()
                } else {
                    escaped(':')
                };
                self.plain(&colon, passed);
                self.plain(characters.as_str(), passed);
            }
            _ => {}
        }
    }
}

fn escaped(character: char) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters it whole, and byte by byte.
    fn shown(text: &[u8]) -> String {
        let mut filter = Filter::default();
        let mut whole = filter.pass(text);
        whole.extend(filter.end());
        let (mut filter, mut torn) = (Filter::default(), Vec::new());
        for byte in text {
            torn.extend(filter.pass(&[*byte]));
        }
        torn.extend(filter.end());
        assert_eq!(whole, torn);
        String::from_utf8(whole).unwrap()
    }

    #[test]
    fn what_shipgate_prints_passes() {
        for text in [
            "plain: text, ä, 🚢\n  indented\n\ttab\r\nlast",
            "\x1b[1;31merror:\x1b[0m no\n\x1b[m",
            "::group::a\n::endgroup::\n  ::error file=a,line=1::b\n::add-mask::x\n::warning::y",
            "\x1b[0Ksection_start:1:a\r\x1b[0KHead\nsection_end:8:a\r\x1b[0K\n",
            "# of ##, a::b, :a, [x], host [::1]:80\n: a\n:",
            "{\"a\": [1]}\n",
            "",
        ] {
            assert_eq!(shown(text.as_bytes()), text);
        }
    }

    #[test]
    fn what_terminals_and_runners_would_act_on_is_written_out() {
        for (text, expected) in [
            ("\x1b[2Jgone\x1b[3A", "\\u{1b}[2Jgone\\u{1b}[3A"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("\x1b]52;c;aGk=\x1b\\", "\\u{1b}]52;c;aGk=\\u{1b}\\"),
            ("\x1b\x1b[31mred", "\\u{1b}\x1b[31mred"),
            ("\x1b[?25lx\x1bc", "\\u{1b}[?25lx\\u{1b}c"),
            ("a\u{9b}2J\u{8}b\0", "a\\u{9b}2J\\u{8}b\\u{0}"),
            ("::set-output name=a::b", "\\u{3a}:set-output name=a::b"),
            (
                "a\r \u{a0}::stop-commands::t\n",
                "a\r \u{a0}\\u{3a}:stop-commands::t\n",
            ),
            ("::ADD-PATH::x", "\\u{3a}:ADD-PATH::x"),
            ("::save-state", "\\u{3a}:save-state"),
            ("::::a", "\\u{3a}:::a"),
            ("a ##[add-path]x", "a ##\\u{5b}add-path]x"),
            ("##VSO[task.setvariable]", "##VSO\\u{5b}task.setvariable]"),
            // A colour is no text: what comes after it is still the beginning of the line, or of an order.
            (
                "\x1b[0m::set-env name=a::b",
                "\x1b[0m\\u{3a}:set-env name=a::b",
            ),
            ("##\x1b[0m[a]", "##\x1b[0m\\u{5b}a]"),
            (
                "\u{feff}::set-env name=a::b",
                "\\u{feff}::set-env name=a::b",
            ),
        ] {
            assert_eq!(shown(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(shown(b"a\xffb\xc3"), "a\u{fffd}b\u{fffd}");
        let endless = format!("\x1b[{}m", "1;".repeat(1000));
        assert!(!shown(endless.as_bytes()).contains('\x1b'));
    }

    #[test]
    fn what_others_print_in_between_may_end_the_line_or_begin_an_order() {
        let (mut one, mut other) = (Filter::default(), Filter::default());
        let shown = |filter: &mut Filter, tail: Tail, text: &str| {
            filter.interrupted(tail);
            String::from_utf8(filter.pass(text.as_bytes())).unwrap()
        };
        assert_eq!(shown(&mut one, Tail::default(), "a"), "a");
        assert_eq!(shown(&mut other, one.tail(), "\n"), "\n");
        assert_eq!(
            shown(&mut one, other.tail(), "::set-env name=a::b"),
            "\\u{3a}:set-env name=a::b"
        );
        assert_eq!(shown(&mut other, one.tail(), "#"), "#");
        assert_eq!(shown(&mut one, other.tail(), "#"), "#");
        assert_eq!(
            shown(&mut other, one.tail(), "[add-path]"),
            "\\u{5b}add-path]"
        );
        assert_eq!(shown(&mut other, one.tail(), "b:"), "b:");
        assert_eq!(shown(&mut one, other.tail(), "\n:\x1b"), "\n:");
        assert_eq!(
            shown(&mut other, one.tail(), ":set-env name=a::b"),
            "\\u{3a}set-env name=a::b"
        );
        assert_eq!(shown(&mut one, other.tail(), "[m"), "\x1b[m");
        // Nor is it forgotten if the places were two.
        assert_eq!(shown(&mut one, other.tail(), "\n##"), "\n##");
        assert_eq!(shown(&mut other, one.tail(), "x"), "x");
        assert_eq!(shown(&mut one, other.tail(), "[a]"), "\\u{5b}a]");
    }
}
