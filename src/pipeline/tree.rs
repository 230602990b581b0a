//! A document as a tree of values, each with its place.
//!
//! Everything that is wrong with the YAML itself is found here, as much of it as can be found in one
//! go. After a syntax error the tree holds what was read before it, marked as incomplete, so that the
//! errors before it are still found.

use super::builder;
use super::diagnostic::{Diagnostic, Kind};
use super::source::{Source, Span};

/// How deep lists and maps may be nested.
pub const MAXIMUM_DEPTH: usize = 64;
/// How many values a document may have, aliases counted as often as they are used.
pub const MAXIMUM_NODES: usize = 100_000;

/// A value of the document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it stands. For an alias, where the alias stands.
    pub span: Span,
    /// Whether all of it was read; a syntax error leaves the maps and lists around it incomplete.
    pub complete: bool,
}

/// What a value is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// A map, in the order of the text, without the keys that stand there twice.
    Mapping(Vec<Entry>),
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
}

/// A single value: its text, untouched by any rule about what looks like a number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scalar {
    /// The text, unquoted and unescaped.
    pub text: String,
    /// Whether it stands without quotes, and so may be a number, a boolean or null.
    pub plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// Returns the entries if the value is a map.
    pub fn mapping(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// Returns the items if the value is a list.
    pub fn sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the text if the value is single.
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Returns the value of a key if the value is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Self> {
        self.mapping()?
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// Says what the value is, for messages: `a list`, `a number`.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Mapping(_) => "a map",
            Value::Sequence(_) => "a list",
            Value::Scalar(scalar) => scalar.describe(),
        }
    }

    pub(super) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Mapping(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            Value::Sequence(items) => items.iter().map(Self::count).sum(),
            Value::Scalar(_) => 0,
        }
    }

    pub(super) fn depth(&self) -> usize {
        match &self.value {
            Value::Mapping(entries) => {
                1 + entries.iter().map(|e| e.node.depth()).max().unwrap_or(0)
            }
            Value::Sequence(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Scalar(_) => 0,
        }
    }
}

impl Scalar {
    /// Says whether the value is YAML's null: nothing, `~` or `null` without quotes.
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Says whether YAML 1.2 reads the value as a boolean.
    pub fn is_boolean(&self) -> bool {
        self.plain
            && matches!(
                self.text.as_str(),
                "true" | "True" | "TRUE" | "false" | "False" | "FALSE"
            )
    }

    /// Says whether YAML 1.2 reads the value as a number.
    pub fn is_number(&self) -> bool {
        self.plain && looks_numeric(&self.text)
    }

    /// Says what the value is, for messages.
    pub fn describe(&self) -> &'static str {
        if self.is_null() {
            "nothing"
        } else if self.is_boolean() {
            "a boolean"
        } else if self.is_number() {
            "a number"
        } else {
            "text"
        }
    }
}

/// Reads a document into a tree; what is wrong goes to `diagnostics`.
///
/// Returns nothing where there is no value at all.
pub fn parse(source: &Source, diagnostics: &mut Vec<Diagnostic>) -> Option<Node> {
    let root = builder::read(source, diagnostics);
    if root
        .as_ref()
        .is_none_or(|node| node.complete && node.scalar().is_some_and(Scalar::is_null))
    {
        if diagnostics.is_empty() {
            diagnostics.push(
                Diagnostic::of_file(Kind::Empty, source.name(), "the document is empty")
                    .caused_by("there is nothing in it but blank lines and comments")
                    .helped("start with `version: 1` and `steps:`, or let `shipgate init` write a first pipeline"),
            );
        }
        return None;
    }
    root
}

fn looks_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if let Some(digits) = text.strip_prefix("0x") {
        return !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    }
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && unsigned.contains(|character: char| character.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
        && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
#[path = "tests/tree.rs"]
mod tests;
