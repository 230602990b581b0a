//! The text of a document, and places in it.

use std::io;
use std::ops::{Deref, Range};

use serde::Serialize;

use super::diagnostic::{Diagnostic, Kind};

/// The largest document that is read, in bytes.
pub const MAXIMUM_BYTES: usize = 1024 * 1024;

/// A document's text and the name that it goes by in messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// Makes a source of text that is known to be sound, for instance one that is compiled in.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Makes a source of a file's bytes. A UTF-8 byte order mark is dropped.
    ///
    /// A caller may stop reading a file one byte after [`MAXIMUM_BYTES`]: what is larger is refused here.
    ///
    /// # Errors
    ///
    /// Refuses what is larger than [`MAXIMUM_BYTES`], and what is not UTF-8.
    pub fn from_bytes(name: impl Into<String>, bytes: &[u8]) -> Result<Self, Diagnostic> {
        let name = name.into();
        if bytes.len() > MAXIMUM_BYTES {
            return Err(Diagnostic::of_file(
                Kind::TooLarge,
                &name,
                "the document is larger than 1 MiB",
            )
            .caused_by("a pipeline document is read whole, so its size has a limit")
            .helped("check that this is the pipeline document and not another file"));
        }
        if let Some(encoding) = foreign_encoding(bytes) {
            return Err(Diagnostic::of_file(
                Kind::Encoding,
                &name,
                format!("the document is encoded as {encoding}"),
            )
            .caused_by("a pipeline document is UTF-8 text")
            .helped(format!(
                "save it as UTF-8, for instance `iconv -f {encoding} -t UTF-8 {name}`"
            )));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(
                name,
                text.strip_prefix('\u{feff}').unwrap_or(text),
            )),
            Err(error) => {
                let valid = error.valid_up_to();
                let sound = String::from_utf8_lossy(&bytes[..valid]).into_owned();
                let lossy = String::from_utf8_lossy(bytes).into_owned();
                let start = sound.len();
                let source = Self::new(name, lossy);
                Err(Diagnostic::at(
                    Kind::Encoding,
                    &source,
                    Span::new(start, start + '\u{fffd}'.len_utf8()),
                    "the document is not UTF-8",
                )
                .labelled(format!("byte 0x{:02x}", bytes[valid]))
                .caused_by("a pipeline document is UTF-8 text, and this byte cannot stand here")
                .helped("save the file as UTF-8, or replace this character"))
            }
        }
    }

    /// Returns the diagnostic for a document that could not be read at all: missing, a directory, not permitted.
    pub fn unreadable(name: &str, error: &io::Error) -> Diagnostic {
        let (message, help) = match error.kind() {
            io::ErrorKind::NotFound => (
                "there is no such document".to_owned(),
                "check the path, or write a first pipeline with `shipgate init`".to_owned(),
            ),
            io::ErrorKind::IsADirectory => (
                "the document is a directory".to_owned(),
                format!(
                    "name the file in it, for instance `{}/pipeline.yml`",
                    name.trim_end_matches('/')
                ),
            ),
            io::ErrorKind::PermissionDenied => (
                "the document may not be read".to_owned(),
                format!("let this user read it, for instance `chmod u+r {name}`"),
            ),
            _ => (
                "the document could not be read".to_owned(),
                "check the path and the disk".to_owned(),
            ),
        };
        Diagnostic::of_file(Kind::Unreadable, name, message)
            .caused_by(error.to_string())
            .helped(help)
    }

    /// Returns the name in messages, as the user wrote the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the line and column of a byte offset; both start at 1, columns count characters.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.floor(offset);
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Returns the text of the line that holds a byte offset, without its line end, and where it starts.
    pub fn line_at(&self, offset: usize) -> (usize, &str) {
        let offset = self.floor(offset);
        let start = self.text[..offset]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |newline| start + newline);
        (start, self.text[start..end].trim_end_matches('\r'))
    }

    /// Returns the text under a span.
    pub fn slice(&self, span: Span) -> &str {
        &self.text[self.floor(span.start)..self.floor(span.end).max(self.floor(span.start))]
    }

    fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset.min(self.text.len()))
    }
}

/// A place in a text: byte offsets, the end excluded.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// Makes a span.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the span as a range.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A line and a column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// A value of the document, and where it stands.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
    /// Whether the value is the one that a run will see.
    ///
    /// When a document is only validated, a value that depends on an input without a value is a stand-in,
    /// and comparing it with others would make false errors.
    pub known: bool,
}

impl<T> Spanned<T> {
    /// Makes a value that is known.
    pub fn new(value: T, span: Span) -> Self {
        Self {
            value,
            span,
            known: true,
        }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    /// Compares the values: where they stand makes no difference.
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

/// Names the encodings that editors on Windows write by mistake.
fn foreign_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] => Some("UTF-32LE"),
        [0, 0, 0xfe, 0xff, ..] => Some("UTF-32BE"),
        [0xff, 0xfe, ..] => Some("UTF-16LE"),
        [0xfe, 0xff, ..] => Some("UTF-16BE"),
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => Some("UTF-16LE"),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => Some("UTF-16BE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let source = Source::new("p.yml", "a: é\r\nbc: d\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(5), Position { line: 1, column: 5 });
        assert_eq!(source.line_at(4), (0, "a: é"));
        assert_eq!(source.line_at(8), (7, "bc: d"));
        assert_eq!(source.position(9999).line, 3);
    }

    #[test]
    fn a_byte_order_mark_is_dropped() {
        let source = Source::from_bytes("p.yml", b"\xef\xbb\xbfversion: 1\n").unwrap();
        assert_eq!(source.text(), "version: 1\n");
    }

    #[test]
    fn utf_16_is_recognised_without_a_mark() {
        let bytes: Vec<u8> = "version: 1"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let refusal = Source::from_bytes("p.yml", &bytes).unwrap_err();
        assert_eq!(refusal.kind, Kind::Encoding);
        assert!(refusal.message.contains("UTF-16LE"));
    }
}
