//! A document as a tree of values, each with its place.
//!
//! Everything that is wrong with the YAML itself is found here, as much of it as can be found in one
//! go. After a syntax error the tree holds what was read before it, marked as incomplete, so that the
//! errors before it are still found.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::diagnostic::{Diagnostic, Kind};
use super::source::{Source, Span};
use super::syntax;

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

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::Mapping(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            Value::Sequence(items) => items.iter().map(Self::count).sum(),
            Value::Scalar(_) => 0,
        }
    }

    fn depth(&self) -> usize {
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
    let mut builder = Builder {
        source,
        diagnostics,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    builder.read();
    let root = builder.root.take();
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

/// A map or list that is still being read.
struct Open {
    start: usize,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, Span>,
        /// The key whose value comes next; `None` in it for a key that was refused.
        key: Option<Option<(String, Span)>>,
    },
    Sequence(Vec<Node>),
}

struct Builder<'a> {
    source: &'a Source,
    diagnostics: &'a mut Vec<Diagnostic>,
    open: Vec<Open>,
    /// What each anchor stands for; `None` while its value is still being read.
    anchors: HashMap<usize, Option<Node>>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn read(&mut self) {
        let options = granit_parser::options! {
            emit_unresolved_aliases: true,
            disallow_directives: true,
        };
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(self.source.text(), options) {
            let (event, span) = match event {
                Ok((event, span)) => (event, place(&span)),
                Err(error) => {
                    let found = syntax::explain(self.source, &error);
                    // `*: …` is an alias first and then a fault: one is enough.
                    let line =
                        |found: &Diagnostic| found.place.as_ref().map(|place| place.start.line);
                    let aliases: Vec<_> = self
                        .diagnostics
                        .iter()
                        .filter(|found| found.kind == Kind::Alias)
                        .map(line)
                        .collect();
                    self.diagnostics.extend(
                        found
                            .into_iter()
                            .filter(|found| !aliases.contains(&line(found))),
                    );
                    self.abandon();
                    return;
                }
            };
            if let Event::DocumentStart(..) = event {
                documents += 1;
                if documents == 2 {
                    self.refuse_second_document(span);
                    return;
                }
            }
            if self.take(event, span).is_err() {
                self.abandon();
                return;
            }
        }
    }

    /// Takes one event; an error means that reading on makes no sense.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), ()> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain;
                let empty = plain && span.start == span.end;
                let node = Node {
                    value: Value::Scalar(Scalar {
                        text: if empty {
                            String::new()
                        } else {
                            text.into_owned()
                        },
                        plain,
                    }),
                    span,
                    complete: true,
                };
                self.count(1, span)?;
                self.finish(node, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                self.begin(OpenKind::Sequence(Vec::new()), anchor, span)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                let kind = OpenKind::Mapping {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: None,
                };
                self.begin(kind, anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span.end, true),
            Event::Alias(anchor) => self.alias(anchor, span)?,
            Event::UnresolvedAlias(name) => {
                self.diagnostics.push(
                    Diagnostic::at(
                        Kind::Alias,
                        self.source,
                        span,
                        format!("`*{name}` refers to an anchor that does not exist"),
                    )
                    .caused_by("in YAML a value that starts with `*` is a reference to an anchor `&name` above it")
.helped(match name.strip_suffix(':') {
                        Some(key) => format!("if it is a key, quote it: `\"*{key}\":`"),
                        None => format!("if it is text or a pattern, quote it: `\"*{name}\"`"),
                    }),
                );
                self.placeholder(span);
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, kind: OpenKind, anchor: usize, span: Span) -> Result<(), ()> {
        self.count(1, span)?;
        if self.open.len() >= MAXIMUM_DEPTH {
            self.refuse_depth(span);
            return Err(());
        }
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.open.push(Open {
            start: span.start,
            anchor,
            kind,
        });
        Ok(())
    }

    fn end(&mut self, end: usize, complete: bool) {
        let Some(open) = self.open.pop() else { return };
        let value = match open.kind {
            OpenKind::Mapping { entries, .. } => Value::Mapping(entries),
            OpenKind::Sequence(items) => Value::Sequence(items),
        };
        // A block collection's end event lies behind the blank lines that follow it.
        let text = &self.source.text()[open.start..end.max(open.start)];
        let end = open.start + text.trim_end().len();
        let node = Node {
            value,
            span: Span::new(open.start, end),
            complete,
        };
        self.finish(node, open.anchor);
    }

    /// Closes what is still open after an error.
    fn abandon(&mut self) {
        while !self.open.is_empty() {
            self.end(self.source.text().len(), false);
        }
    }

    fn finish(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, Some(node.clone()));
        }
        self.attach(node);
    }

    fn attach(&mut self, node: Node) {
        let (source, diagnostics) = (self.source, &mut *self.diagnostics);
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::Sequence(items)) => items.push(node),
            Some(OpenKind::Mapping { entries, seen, key }) => match key.take() {
                None => *key = Some(read_key(source, diagnostics, seen, node)),
                Some(None) => {}
                Some(Some((key, key_span))) => entries.push(Entry {
                    key,
                    key_span,
                    node,
                }),
            },
        }
    }

    /// Stands in for a value that was refused.
    fn placeholder(&mut self, span: Span) {
        let node = Node {
            value: Value::Mapping(Vec::new()),
            span,
            complete: false,
        };
        self.attach(node);
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), ()> {
        match self.anchors.get(&anchor) {
            Some(Some(node)) => {
                let (count, depth) = (node.count(), node.depth());
                self.count(count, span)?;
                if self.open.len() + depth > MAXIMUM_DEPTH {
                    self.refuse_depth(span);
                    return Err(());
                }
                let node = self.anchors.get(&anchor).cloned().flatten();
                if let Some(node) = node {
                    self.attach(Node { span, ..node });
                }
            }
            _ => {
                self.diagnostics.push(
                    Diagnostic::at(
                        Kind::Alias,
                        self.source,
                        span,
                        "the alias stands inside the value that it refers to",
                    )
                    .caused_by("a value cannot contain itself")
                    .helped("write the value out"),
                );
                self.placeholder(span);
            }
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), ()> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= MAXIMUM_NODES {
            return Ok(());
        }
        self.diagnostics.push(
            Diagnostic::at(
                Kind::TooMany,
                self.source,
                span,
                format!("the document has more than {MAXIMUM_NODES} values"),
            )
            .labelled("the limit is passed here")
            .caused_by("an alias counts as often as it is used, so a few lines can stand for billions of values")
            .helped("write fewer values, or use fewer aliases"),
        );
        Err(())
    }

    fn refuse_depth(&mut self, span: Span) {
        self.diagnostics.push(
            Diagnostic::at(
                Kind::TooDeep,
                self.source,
                span,
                format!("lists and maps are nested more than {MAXIMUM_DEPTH} deep"),
            )
            .caused_by("no part of a pipeline is nested that deeply")
            .helped("look for brackets or dashes that are not closed or indented by mistake"),
        );
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: Span) {
        let Some(tag) = tag else { return };
        let (line_start, _) = self.source.line_at(span.start);
        let before = &self.source.text()[line_start..span.start];
        let start = before.rfind('!').map_or(span.start, |at| {
            let first = before[..=at].trim_end_matches('!').len();
            line_start + first
        });
        let written = self.source.text()[start..span.start].trim_end();
        self.diagnostics.push(
            Diagnostic::at(
                Kind::Tag,
                self.source,
                Span::new(start, start + written.len().max(1)),
                format!("the tag `{}` is not supported", tag.original()),
            )
            .caused_by("in YAML a value that starts with `!` has a tag, and a pipeline has no use for tags")
            .helped("leave the tag out; if it is text, quote it"),
        );
    }

    fn refuse_second_document(&mut self, span: Span) {
        self.diagnostics.push(
            Diagnostic::at(
                Kind::SeveralDocuments,
                self.source,
                span,
                "the file holds more than one document",
            )
            .labelled("the second one starts here")
            .caused_by("a pipeline is one YAML document, and `---` starts another")
            .helped("put each pipeline in a file of its own, or remove this line"),
        );
    }
}

/// Reads a key; `None` for one that is refused, so that its value is passed over.
fn read_key(
    source: &Source,
    diagnostics: &mut Vec<Diagnostic>,
    seen: &mut HashMap<String, Span>,
    node: Node,
) -> Option<(String, Span)> {
    let span = node.span;
    let Value::Scalar(scalar) = node.value else {
        let text = source.slice(span);
        let template = text.starts_with('{') && source.text()[..span.start].ends_with('$');
        diagnostics.push(
            Diagnostic::at(Kind::KeyNotText, source, span, "a key must be text")
                .caused_by(if template {
                    "`${…}` without quotes is read as a map here".to_owned()
                } else {
                    "a list or a map stands where a key is expected".to_owned()
                })
                .helped("if it is a template or text with braces, quote it"),
        );
        return None;
    };
    if scalar.is_null() {
        diagnostics.push(
            Diagnostic::at(Kind::KeyNotText, source, span, "a key is empty")
                .caused_by("there is a `:` or a `?` without a name before it")
                .helped("write the key's name, or remove the line"),
        );
        return None;
    }
    if scalar.plain && scalar.text == "<<" {
        diagnostics.push(
            Diagnostic::at(Kind::MergeKey, source, span, "merge keys are not supported")
                .caused_by("`<<` is no part of YAML 1.2, and what it overrides is hard to see")
                .helped("write the keys out, or let `*name` stand for the whole value"),
        );
        return None;
    }
    if scalar.text.contains("${") {
        diagnostics.push(
            Diagnostic::at(
                Kind::Template,
                source,
                span,
                "a template cannot stand in a key",
            )
            .caused_by(
                "templates are filled in after the structure is read, so they cannot change it",
            )
            .helped("write the key out; templates may stand in every value"),
        );
        return None;
    }
    if let Some(first) = seen.get(&scalar.text) {
        let line = source.position(first.start).line;
        diagnostics.push(
            Diagnostic::at(
                Kind::DuplicateKey,
                source,
                span,
                format!("the key `{}` stands here a second time", scalar.text),
            )
            .labelled(format!("first on line {line}"))
            .caused_by("a map cannot hold a key twice: one of the two would be lost")
            .helped("remove one of the two, or put their contents together"),
        );
        return None;
    }
    seen.insert(scalar.text.clone(), span);
    Some((scalar.text, span))
}

fn place(span: &granit_parser::Span) -> Span {
    let range = span.byte_range().unwrap_or_default();
    Span::new(range.start, range.end)
}

#[cfg(test)]
#[path = "tests/tree.rs"]
mod tests;
