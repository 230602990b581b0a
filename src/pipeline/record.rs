//! One definition for a part of the document: the type, its reader and its schema.

use schemars::{Schema, SchemaGenerator};
use serde_json::{Map as Object, Value as Json, json};

use super::convert::{Context, FromNode};
use super::diagnostic::{Kind, listed, nearest};
use super::source::Span;
use super::tree::{Entry, Node};

/// How much of a map is underlined that lacks a key; of a longer one, its start.
const WIDEST: usize = 40;

/// Defines a map of the document: a struct, its [`FromNode`] and its JSON Schema.
///
/// ```text
/// record! {
///     /// What it is, for the docs and the schema.
///     pub struct Gate("a gate") {
///         /// A key that must be there, unless its type can do without (`Option`).
///         within: Spanned<Duration>,
///         /// A key with a default.
///         every: Spanned<Duration> = spanned_default(),
///     }
///     one_of { /// Exactly one of the keys of this type must be there.
///         verb: Verb }
///     short = within;              // a single value alone is this key's
///     later = ["fallback"];        // keys of the design that are not supported yet
///     check = check_gate;          // fn(&Self, &Node, &mut Context)
/// }
/// ```
///
/// Keys are the fields' names with dashes for underscores.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident($what:literal) {
            $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty $(= $default:expr)?,)*
        }
        $(one_of { $(#[doc = $one_doc:literal])+ $one:ident: $one_type:ty })?
        $(short = $short:ident;)?
        $(later = [$($later:literal),* $(,)?];)?
        $(check = $check:expr;)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: $type,)*
            $($(#[doc = $one_doc])+ pub $one: $one_type,)?
        }

        impl $crate::pipeline::convert::FromNode for $name {
            fn from_node(
                node: &$crate::pipeline::tree::Node,
                context: &mut $crate::pipeline::convert::Context<'_>,
            ) -> Option<Self> {
                let known: Vec<&str> = vec![$($crate::pipeline::record::key!($field),)*];
                $(let known = $crate::pipeline::record::with_names::<$one_type>(known);)?
                $(let short = $crate::pipeline::record::shorthand(node, $crate::pipeline::record::key!($short));
                let node = short.as_ref().unwrap_or(node);)?
                let later: &[&str] = &[$($($later),*)?];
                let mut fields = $crate::pipeline::record::Fields::of(node, $what, known, later, context)?;
                $(let $field = $crate::pipeline::record::field!(fields, context, $field, $type $(, $default)?);)*
                $(let $one = fields.one_of::<$one_type>(context);)?
                fields.finish(context);
                let read = Self { $($field: $field?,)* $($one: $one?,)? };
                $(let check: fn(&Self, &$crate::pipeline::tree::Node, &mut $crate::pipeline::convert::Context<'_>) = $check;
                check(&read, node, context);)?
                Some(read)
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::pipeline::convert::reference::<Self>(generator)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut object = $crate::pipeline::record::ObjectSchema::new(&[$($doc),+]);
                $(object.property::<$type>(
                    generator,
                    $crate::pipeline::record::key!($field),
                    &[$($field_doc),+],
                    $crate::pipeline::record::has_default!($($default)?),
                );)*
                $(object.one_of::<$one_type>(generator);)?
                $(object.short($crate::pipeline::record::key!($short));)?
                object.finish()
            }
        }
    };
}

/// Returns the key of a field: its name with dashes for underscores, and without `r#`.
macro_rules! key {
    ($field:ident) => {{
        const BYTES: [u8; stringify!($field).len()] =
            $crate::pipeline::record::dashed(stringify!($field));
        const KEY: &str = match std::str::from_utf8(&BYTES) {
            Ok(key) => key,
            Err(_) => stringify!($field),
        };
        KEY.strip_prefix("r#").unwrap_or(KEY)
    }};
}

/// Reads one field of a [`record!`].
macro_rules! field {
    ($fields:ident, $context:ident, $field:ident, $type:ty) => {
        $fields.required::<$type>($crate::pipeline::record::key!($field), $context)
    };
    ($fields:ident, $context:ident, $field:ident, $type:ty, $default:expr) => {
        Some(
            $fields
                .optional::<$type>($crate::pipeline::record::key!($field), $context)
                .unwrap_or_else(|| $default),
        )
    };
}

/// Says whether a field of a [`record!`] has a default.
macro_rules! has_default {
    () => {
        false
    };
    ($default:expr) => {
        true
    };
}

/// Defines a choice of keys of which exactly one must be there: an enum, its reader and its schema.
///
/// ```text
/// one_of! {
///     /// What it is.
///     pub enum Question("a kind of probe", later = ["kubernetes"]) {
///         /// A key's docs.
///         Http(HttpProbe) = "http",
///     }
/// }
/// ```
macro_rules! one_of {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident($what:literal, later = [$($later:literal),* $(,)?]) {
            $($(#[doc = $variant_doc:literal])+ $variant:ident($type:ty) = $key:literal,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant($type),)+
        }

        impl $name {
            /// Returns the key that the document names it by.
            pub fn key(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $key,)+
                }
            }
        }

        impl $crate::pipeline::record::OneOf for $name {
            const WHAT: &'static str = $what;
            const NAMES: &'static [&'static str] = &[$($key),+];
            const LATER: &'static [&'static str] = &[$($later),*];

            fn from_entry(
                entry: &$crate::pipeline::tree::Entry,
                context: &mut $crate::pipeline::convert::Context<'_>,
            ) -> Option<Self> {
                match entry.key.as_str() {
                    $($key => <$type as $crate::pipeline::convert::FromNode>::from_node(&entry.node, context)
                        .map(Self::$variant),)+
                    _ => None,
                }
            }

            fn properties(generator: &mut schemars::SchemaGenerator) -> Vec<(&'static str, schemars::Schema)> {
                vec![$((
                    $key,
                    $crate::pipeline::record::described(
                        <$type as $crate::pipeline::convert::FromNode>::schema(generator),
                        &[$($variant_doc),+],
                    ),
                ),)+]
            }
        }

        impl $crate::pipeline::convert::FromNode for $name {
            fn from_node(
                node: &$crate::pipeline::tree::Node,
                context: &mut $crate::pipeline::convert::Context<'_>,
            ) -> Option<Self> {
                let known = <Self as $crate::pipeline::record::OneOf>::NAMES.to_vec();
                let mut fields = $crate::pipeline::record::Fields::of(node, $what, known, &[], context)?;
                let read = fields.one_of::<Self>(context);
                fields.finish(context);
                read
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut object = $crate::pipeline::record::ObjectSchema::new(&[$($doc),+]);
                object.one_of::<Self>(generator);
                object.finish()
            }
        }
    };
}

/// Defines a value that is one of a few words.
///
/// ```text
/// choice! {
///     /// What it is.
///     pub enum Outcome("an outcome", later = ["recovery"]) {
///         /// A word's docs.
///         Success = "success",
///     }
/// }
/// ```
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident($what:literal, later = [$($later:literal),* $(,)?]) {
            $(#[doc = $first_doc:literal])+ $first:ident = $first_word:literal,
            $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum $name {
            $(#[doc = $first_doc])+ $first,
            $($(#[doc = $variant_doc])+ $variant,)*
        }

        impl $name {
            /// Returns the word that the document names it by.
            pub fn word(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl $crate::pipeline::convert::FromScalar for $name {
            const WHAT: &'static str = $what;
            const EXAMPLE: &'static str = $first_word;

            fn parse(text: &str) -> Result<Self, $crate::pipeline::convert::Problem> {
                match text {
                    $first_word => Ok(Self::$first),
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::pipeline::record::unknown_word(
                        text,
                        &[$first_word, $($word),*],
                        &[$($later),*],
                    )),
                }
            }

            fn stand_in() -> Self {
                Self::$first
            }

            fn scalar_schema() -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": [$first_word, $($word),*]})
            }
        }
    };
}

pub(crate) use {choice, field, has_default, key, one_of, record};

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
