//! What the definitions of [`super::record`] are made of: reading the keys of a map, and describing them.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map as Object, Value as Json, json};

use super::convert::{Context, FromNode};
use super::diagnostic::{Kind, listed, nearest};
use super::source::Span;
use super::tree::{Entry, Node};

/// How much of a map is underlined that lacks a key; of a longer one, its start.
const WIDEST: usize = 40;

/// A choice of keys of which exactly one must be there.
pub trait OneOf: Sized {
    /// What the choice is, for messages: `a verb`.
    const WHAT: &'static str;
    /// The keys.
    const NAMES: &'static [&'static str];
    /// Keys of the design that are not supported yet.
    const LATER: &'static [&'static str];

    /// Reads the value of one of [`Self::NAMES`].
    fn from_entry(entry: &Entry, context: &mut Context<'_>) -> Option<Self>;

    /// Describes the values of the keys as JSON Schema.
    fn properties(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)>;
}

/// Adds the keys of a choice to those of a record.
pub fn with_names<T: OneOf>(mut known: Vec<&'static str>) -> Vec<&'static str> {
    known.extend(T::NAMES);
    known
}

/// The keys of a map that is being read into a record.
pub struct Fields<'n> {
    node: &'n Node,
    entries: Vec<&'n Entry>,
    what: &'static str,
    known: Vec<&'static str>,
    later: &'n [&'static str],
}

impl<'n> Fields<'n> {
    /// Starts reading; notes a value that is no map.
    pub fn of(
        node: &'n Node,
        what: &'static str,
        known: Vec<&'static str>,
        later: &'n [&'static str],
        context: &mut Context<'_>,
    ) -> Option<Self> {
        let Some(entries) = node.mapping() else {
            let example = format!("{{{}: …}}", known.first().unwrap_or(&"key"));
            context.wrong_type(node, &format!("{what} as a map"), &example);
            return None;
        };
        Some(Self {
            node,
            entries: entries.iter().collect(),
            what,
            known,
            later,
        })
    }

    /// Reads a key that must be there, unless its type can do without.
    pub fn required<T: FromNode>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Option<T> {
        if let Some(entry) = self.take(key) {
            return T::from_node(&entry.node, context);
        }
        if let Some(absent) = T::absent() {
            return Some(absent);
        }
        // A misspelt key is noted as such.
        if self.node.complete && self.misspelt(key).is_none() {
            let span = context.head(self.node);
            let wide = span.end - span.start > WIDEST;
            let span = if wide {
                Span::new(span.start, span.start + 1)
            } else {
                span
            };
            context.push(
                context
                    .error(
                        Kind::MissingKey,
                        span,
                        format!("{} needs the key `{key}`", self.what),
                    )
                    .labelled(format!("`{key}` is missing"))
                    .caused_by(format!("`{key}` has no default"))
                    .helped(format!("add `{key}: …`")),
            );
        }
        None
    }

    /// Reads a key that need not be there.
    pub fn optional<T: FromNode>(
        &mut self,
        key: &'static str,
        context: &mut Context<'_>,
    ) -> Option<T> {
        self.take(key)
            .and_then(|entry| T::from_node(&entry.node, context))
    }

    /// Reads the one key of a choice.
    pub fn one_of<T: OneOf>(&mut self, context: &mut Context<'_>) -> Option<T> {
        let chosen: Vec<&Entry> = T::NAMES.iter().filter_map(|name| self.take(name)).collect();
        let later: Vec<&Entry> = T::LATER.iter().filter_map(|name| self.take(name)).collect();
        for entry in &later {
            let diagnostic =
                super::convert::not_supported(context.source, entry.key_span, &entry.key);
            context.push(diagnostic);
        }
        let mut by_place = chosen.clone();
        by_place.sort_by_key(|entry| entry.key_span);
        let mut read = None;
        for entry in &by_place {
            let value = T::from_entry(entry, context);
            read = read.or(value);
        }
        match by_place.as_slice() {
            [_] => read,
            [] => {
                if later.is_empty() && self.node.complete {
                    self.refuse_none::<T>(context);
                }
                None
            }
            [first, second, ..] => {
                context.push(
                    context
                        .error(
                            Kind::Conflict,
                            second.key_span,
                            format!("`{}` and `{}` stand together", first.key, second.key),
                        )
                        .caused_by(format!(
                            "{} has exactly one of {}",
                            self.what,
                            listed(T::NAMES.iter().copied())
                        ))
                        .helped(if T::WHAT == "a verb" {
                            format!(
                                "make them two steps: start a new item with `- {}:`",
                                second.key
                            )
                        } else {
                            "remove one of the two".to_owned()
                        }),
                );
                None
            }
        }
    }

    /// Notes the keys that are left.
    pub fn finish(self, context: &mut Context<'_>) {
        for entry in &self.entries {
            context.unknown_key(entry, self.what, &self.known, self.later);
        }
    }

    fn refuse_none<T: OneOf>(&mut self, context: &mut Context<'_>) {
        // A misspelt key is the likelier reason, and is then noted as such, alone.
        let misspelt = self.entries.iter().any(|entry| {
            nearest(&entry.key, T::NAMES.iter().copied()).is_some()
                || !self.known.contains(&entry.key.as_str())
        });
        if misspelt {
            return;
        }
        let span = context.head(self.node);
        let noun = T::WHAT;
        context.push(
            context
                .error(
                    Kind::MissingKey,
                    span,
                    format!("{} has no {}", self.what, noun.trim_start_matches("a ")),
                )
                .caused_by(format!(
                    "{} has exactly one of {}",
                    self.what,
                    listed(T::NAMES.iter().copied())
                ))
                .helped(format!(
                    "add {noun}, for instance `{}: …`",
                    T::NAMES.first().unwrap_or(&"")
                )),
        );
    }

    fn take(&mut self, key: &str) -> Option<&'n Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Finds the unknown key that was probably meant to be this one.
    fn misspelt(&self, key: &str) -> Option<&'n str> {
        self.entries
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|written| !self.known.contains(written))
            .find(|written| nearest(written, self.known.iter().copied()).as_deref() == Some(key))
    }
}

/// Writes dashes for the underscores of a field's name.
pub const fn dashed<const LENGTH: usize>(field: &str) -> [u8; LENGTH] {
    let bytes = field.as_bytes();
    let mut key = [0; LENGTH];
    let mut at = 0;
    while at < LENGTH {
        key[at] = if bytes[at] == b'_' { b'-' } else { bytes[at] };
        at += 1;
    }
    key
}

/// Wraps a single value as the map that it is short for.
pub fn shorthand(node: &Node, key: &str) -> Option<Node> {
    let scalar = node.scalar().filter(|scalar| !scalar.is_null())?;
    let inner = Node {
        value: super::tree::Value::Scalar(scalar.clone()),
        ..node.clone()
    };
    Some(Node {
        value: super::tree::Value::Mapping(vec![Entry {
            key: key.to_owned(),
            key_span: node.span,
            node: inner,
        }]),
        span: node.span,
        complete: node.complete,
    })
}

/// Says that a word is none of those known.
pub fn unknown_word(text: &str, known: &[&str], later: &[&str]) -> super::convert::Problem {
    use super::convert::Problem;
    if later.contains(&text) {
        return Problem {
            kind: Kind::NotSupported,
            ..Problem::new("what would have no effect is refused, so that nobody relies on it")
        }
        .helped("remove it, or use a version that supports it");
    }
    Problem {
        kind: Kind::UnknownValue,
        suggestion: nearest(text, known.iter().copied()),
        ..Problem::new(format!("the values are {}", listed(known.iter().copied())))
    }
}

/// Adds docs to a schema.
pub fn described(mut schema: Schema, doc: &[&str]) -> Schema {
    let text = doc
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ");
    schema.insert("description".to_owned(), Json::String(text));
    schema
}

/// A JSON Schema of a map, while it is being made.
pub struct ObjectSchema {
    description: String,
    properties: Object<String, Json>,
    required: Vec<&'static str>,
    choices: Vec<&'static str>,
    short: Option<Json>,
}

impl ObjectSchema {
    /// Starts with the docs.
    pub fn new(doc: &[&str]) -> Self {
        Self {
            description: doc
                .iter()
                .map(|line| line.trim())
                .collect::<Vec<_>>()
                .join(" "),
            properties: Object::new(),
            required: Vec::new(),
            choices: Vec::new(),
            short: None,
        }
    }

    /// Adds a key.
    pub fn property<T: FromNode>(
        &mut self,
        generator: &mut SchemaGenerator,
        key: &'static str,
        doc: &[&str],
        has_default: bool,
    ) {
        let schema = described(T::schema(generator), doc);
        self.properties.insert(key.to_owned(), schema.into());
        if !has_default && T::absent().is_none() {
            self.required.push(key);
        }
    }

    /// Adds the keys of a choice.
    pub fn one_of<T: OneOf>(&mut self, generator: &mut SchemaGenerator) {
        for (key, schema) in T::properties(generator) {
            self.properties.insert(key.to_owned(), schema.into());
        }
        self.choices.extend(T::NAMES);
    }

    /// Lets a single value stand for a map with this key alone.
    pub fn short(&mut self, key: &str) {
        self.short = self.properties.get(key).cloned();
    }

    /// Returns the schema.
    pub fn finish(self) -> Schema {
        let mut object = json!({
            "type": "object",
            "properties": self.properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            object["required"] = json!(self.required);
        }
        if !self.choices.is_empty() {
            let choices: Vec<Json> = self
                .choices
                .iter()
                .map(|key| json!({"required": [key]}))
                .collect();
            object["oneOf"] = json!(choices);
        }
        let mut whole = match self.short {
            Some(short) => json!({"anyOf": [short, object]}),
            None => object,
        };
        whole["description"] = json!(self.description);
        Schema::try_from(whole).unwrap_or_default()
    }
}
