//! From a parser's events to the tree.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::diagnostic::{Diagnostic, Kind};
use super::source::{Source, Span};
use super::syntax;
use super::tree::{Entry, MAXIMUM_DEPTH, MAXIMUM_NODES, Node, Scalar, Value};

/// Reads a document; what is wrong goes to `diagnostics`.
pub(super) fn read(source: &Source, diagnostics: &mut Vec<Diagnostic>) -> Option<Node> {
    let mut builder = Builder {
        source,
        diagnostics,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    builder.read();
    builder.root
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
                Ok(read) => read,
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
                    self.refuse_second_document(place(&span));
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
    fn take(&mut self, event: Event<'_>, written: granit_parser::Span) -> Result<(), ()> {
        let span = place(&written);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &written);
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
                self.refuse_tag(tag.as_deref(), &written);
                self.begin(OpenKind::Sequence(Vec::new()), anchor, span)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &written);
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

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: &granit_parser::Span) {
        let Some(tag) = tag else { return };
        self.diagnostics.push(
            Diagnostic::at(
                Kind::Tag,
                self.source,
                place(&span.tag_span().unwrap_or(*span)),
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
