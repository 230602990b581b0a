//! One definition for a part of the document: the type, its reader and its schema.

pub use super::fields::{
    Fields, ObjectSchema, OneOf, dashed, described, shorthand, unknown_word, with_names,
};

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
