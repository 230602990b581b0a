//! From the tree to typed values: every fault is noted, none ends the work.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostic::{Diagnostic, Kind, listed, nearest};
use super::interpolate::{Piece, Resolved, Scope};
use super::misshapen::{misshapen, refuse_list};
use super::source::{Source, Span, Spanned};
use super::tree::{Entry, Node, Scalar};

/// A type that a value of the document can be read into.
pub trait FromNode: Sized {
    /// Reads a value. Nothing comes back where it is wrong, and a diagnostic then says why.
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self>;

    /// Returns what stands for a key that is missing, for types that can do without.
    fn absent() -> Option<Self> {
        None
    }

    /// Describes what is accepted as JSON Schema.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A type that is read from a single value, which may also be a template.
pub trait FromScalar: Sized {
    /// What is expected, for messages: `a duration`.
    const WHAT: &'static str;
    /// An example of a value.
    const EXAMPLE: &'static str;
    /// What YAML may take the value for.
    const SHAPE: Shape = Shape::Any;

    /// Reads the text, with templates filled in.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    fn parse(text: &str) -> Result<Self, Problem>;

    /// Returns what stands in for a value that is not known when a document is only validated.
    fn stand_in() -> Self;

    /// Describes the values, templates aside, as JSON Schema.
    fn scalar_schema() -> Schema;
}

/// What YAML may take a single value for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    /// Anything: what the text says decides.
    Any,
    /// `true` or `false` without quotes.
    Boolean,
    /// A number without quotes.
    Number,
    /// Text: what looks like a number, a boolean or null needs quotes.
    Text,
}

/// What is wrong with the text of a value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// What sort of fault.
    pub kind: Kind,
    /// Why the text is refused.
    pub cause: String,
    /// The edit that helps.
    pub help: Option<String>,
    /// The value that was probably meant.
    pub suggestion: Option<String>,
}

impl Problem {
    /// Makes a problem of a malformed value.
    pub fn new(cause: impl Into<String>) -> Self {
        Self {
            kind: Kind::BadValue,
            cause: cause.into(),
            help: None,
            suggestion: None,
        }
    }

    /// Says which edit helps.
    #[must_use]
    pub fn helped(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What conversion knows, and the findings so far.
pub struct Context<'a> {
    /// The document's text.
    pub source: &'a Source,
    /// What names stand for.
    pub scope: Scope,
    /// How many steps come before the one that is being read, where one is.
    pub step: Option<usize>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Context<'a> {
    /// Starts with what names stand for.
    pub fn new(source: &'a Source, scope: Scope) -> Self {
        Self {
            source,
            scope,
            step: None,
            diagnostics: Vec::new(),
        }
    }

    /// Notes a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Returns how many findings there are so far.
    pub fn count(&self) -> usize {
        self.diagnostics.len()
    }

    /// Returns the findings.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// Makes an error at a place.
    pub fn error(&self, kind: Kind, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(kind, self.source, span, message)
    }

    /// Returns the part of a span that is worth a caret: a block of several lines is shown by its first key.
    pub fn head(&self, node: &Node) -> Span {
        let text = self.source.slice(node.span);
        match (node.mapping(), node.sequence()) {
            (Some([first, ..]), _) if !text.starts_with('{') => first.key_span,
            _ => {
                let line = text.lines().next().map_or(0, |line| line.trim_end().len());
                Span::new(node.span.start, node.span.start + line)
            }
        }
    }

    /// Notes that a value is of another type than expected.
    pub fn wrong_type(&mut self, node: &Node, what: &str, example: &str) {
        if !node.complete {
            return;
        }
        let found = node.describe();
        let span = self.head(node);
        let mut diagnostic = self.error(
            Kind::WrongType,
            span,
            format!("expected {what}, found {found}"),
        );
        let scalar = node.scalar();
        if scalar.is_some_and(Scalar::is_null) {
            diagnostic = diagnostic
                .labelled("nothing stands here")
                .caused_by(
                    "the key has no value; lines that belong to it must be indented deeper than it",
                )
                .helped(format!(
                    "write {what}, for instance `{example}`, or remove the key"
                ));
        } else {
            diagnostic = diagnostic
                .caused_by(format!("this value must be {what}"))
                .helped(format!("write {what}, for instance `{example}`"));
        }
        self.push(diagnostic);
    }

    /// Fills in the templates of a single value.
    pub fn resolve(&mut self, node: &Node) -> Option<Resolved> {
        let scalar = node.scalar()?;
        let Self {
            source,
            scope,
            diagnostics,
            ..
        } = self;
        scope.resolve(source, node.span, scalar, diagnostics)
    }

    /// Fills in the templates of a value that may hold neither secrets nor what only the run knows.
    pub fn plain_text(&mut self, node: &Node, what: &str) -> Option<Spanned<String>> {
        let resolved = self.resolve(node)?;
        let mut text = String::new();
        let mut sound = true;
        for piece in &resolved.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Secret(name, _) => {
                    sound = false;
                    self.push(
                        self.error(
                            Kind::SecretMisplaced,
                            node.span,
                            format!("the secret `{name}` cannot stand here"),
                        )
                        .caused_by(format!(
                            "this value is {what}, which is shown in plans, logs and reports"
                        ))
                        .helped(
                            "secrets may stand in a password, a webhook and the value of a header",
                        ),
                    );
                }
                Piece::Late(late) => {
                    sound = false;
                    self.push(
                        self.error(
                            Kind::LateMisplaced,
                            node.span,
                            format!("`{}` is not known before the run", late.name),
                        )
                        .caused_by(format!(
                            "this value is {what}, which must be known when the run starts"
                        ))
                        .helped(
                            "such names may stand in `name` of a step, in `message` of a notice, and in `json.equals`, \
                             `json.not-equals` and `body.contains` of a probe",
                        ),
                    );
                }
            }
        }
        sound.then_some(Spanned {
            value: text,
            span: node.span,
            known: resolved.known,
        })
    }

    /// Notes that a key is not known, is known but not supported, or has its dash attached.
    pub fn unknown_key(&mut self, entry: &Entry, what: &str, known: &[&str], later: &[&str]) {
        let key = entry.key.as_str();
        if later.contains(&key) {
            self.push(not_supported(self.source, entry.key_span, key));
            return;
        }
        if let Some(rest) = key.strip_prefix('-') {
            self.push(
                self.error(
                    Kind::UnknownKey,
                    entry.key_span,
                    format!("`{key}` is read as a key, not as a list item"),
                )
                .caused_by("a list item starts with a dash and a space")
                .suggesting(Some(format!("- {rest}"))),
            );
            return;
        }
        let mut diagnostic = self
            .error(
                Kind::UnknownKey,
                entry.key_span,
                format!("unknown key `{key}` in {what}"),
            )
            .caused_by(format!(
                "{what} has the keys {}",
                listed(known.iter().copied())
            ));
        if let Some(help) = elsewhere(key, what, known) {
            self.push(diagnostic.helped(help));
            return;
        }
        let lookalike =
            "it has letters that only look like those of the alphabet: type the key anew";
        diagnostic = match nearest(key, known.iter().copied()) {
            Some(suggestion) if !key.is_ascii() => {
                let help = format!("did you mean `{suggestion}`? {lookalike}");
                diagnostic.suggesting(Some(suggestion)).helped(help)
            }
            Some(suggestion) => diagnostic.suggesting(Some(suggestion)),
            None => match nearest(key, later.iter().copied()) {
                Some(meant) => diagnostic.helped(format!(
                    "did you mean `{meant}`? It is not supported by this version: remove the key"
                )),
                None if !key.is_ascii() => diagnostic.helped(lookalike),
                None => diagnostic
                    .helped("remove the key, or check its indentation: it may belong elsewhere"),
            },
        };
        self.push(diagnostic);
    }
}

/// Keys by which other tools call what a document calls otherwise.
const ELSEWHERE: [(&str, &str); 22] = [
    ("allow-failure", "continue-on-error"),
    ("allow_failure", "continue-on-error"),
    ("always", "finally"),
    ("condition", "if"),
    ("deadline", "within"),
    ("delay", "start-after"),
    ("expect", "status"),
    ("initial-delay", "start-after"),
    ("initialDelaySeconds", "start-after"),
    ("insecure", "plain-http"),
    ("interval", "every"),
    ("jobs", "steps"),
    ("parameters", "inputs"),
    ("params", "inputs"),
    ("period", "every"),
    ("periodSeconds", "every"),
    ("retries", "retry"),
    ("successThreshold", "consecutive"),
    ("timeout", "within"),
    ("variables", "inputs"),
    ("vars", "inputs"),
    ("when", "if"),
];

/// Returns the edit for a key that belongs to another tool, or to another place.
fn elsewhere(key: &str, what: &str, known: &[&str]) -> Option<String> {
    if what == "a step" && ["run", "script", "uses", "shell", "command"].contains(&key) {
        return Some(
            "a step is one of the verbs; commands of your own belong into the CI job, between a call \
             with `--until` and one with `--from`"
                .to_owned(),
        );
    }
    if known.contains(&"probes") && ["http", "tcp"].contains(&key) {
        return Some(format!(
            "put it under `probes`, with a name: `probes: {{web: {{{key}: …}}}}`"
        ));
    }
    if known.contains(&"address") && ["host", "port"].contains(&key) {
        return Some("write both into one key: `address: \"HOST:PORT\"`".to_owned());
    }
    let (_, meant) = ELSEWHERE
        .iter()
        .find(|(other, meant)| *other == key && known.contains(meant))?;
    Some(format!("it is called `{meant}` here"))
}

/// Says that a key or a value of the design is not supported by this version.
pub fn not_supported(source: &Source, span: Span, name: &str) -> Diagnostic {
    Diagnostic::at(
        Kind::NotSupported,
        source,
        span,
        format!("`{name}` is not supported by this version"),
    )
    .caused_by("a key that would have no effect is refused, so that nobody relies on it")
    .helped("remove it, or use a version that supports it")
}

impl<T: FromScalar> FromNode for Spanned<T> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let scalar = match node.scalar() {
            Some(scalar) if !scalar.is_null() => scalar,
            _ => {
                context.wrong_type(node, T::WHAT, T::EXAMPLE);
                return None;
            }
        };
        if let Some(diagnostic) = misshapen::<T>(context, node, scalar) {
            context.push(diagnostic);
            return None;
        }
        let text = context.plain_text(node, T::WHAT)?;
        match T::parse(&text.value) {
            Ok(value) => Some(Spanned {
                value,
                span: text.span,
                known: text.known,
            }),
            // The stand-in for a missing input need not be of the right form.
            Err(_) if !text.known => Some(Spanned {
                value: T::stand_in(),
                span: text.span,
                known: false,
            }),
            Err(problem) => {
                let what = T::WHAT.split_once(' ').map_or(T::WHAT, |(_, noun)| noun);
                let shown: String = text.value.chars().take(80).collect();
                let message = match problem.kind {
                    Kind::PlainSecret => {
                        format!("{} with credentials stands in the document", T::WHAT)
                    }
                    Kind::UnknownValue => format!("unknown {what} `{shown}`"),
                    Kind::NotSupported => {
                        format!("the {what} `{shown}` is not supported by this version")
                    }
                    _ => format!("`{shown}` is not {}", T::WHAT),
                };
                let comma = text
                    .value
                    .strip_suffix(',')
                    .is_some_and(|rest| T::parse(rest).is_ok());
                let help = match (problem.help, &problem.suggestion) {
                    _ if comma => {
                        "remove the comma: outside brackets nothing separates lines".to_owned()
                    }
                    (Some(help), _) => help,
                    (None, Some(name)) => format!("did you mean `{name}`?"),
                    (None, None) => format!("write {}, for instance `{}`", T::WHAT, T::EXAMPLE),
                };
                let mut diagnostic = context
                    .error(problem.kind, node.span, message)
                    .caused_by(problem.cause)
                    .helped(help);
                diagnostic.suggestion = problem.suggestion;
                if problem.kind == Kind::PlainSecret {
                    diagnostic = diagnostic.starred();
                }
                context.push(diagnostic);
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        let plain = T::scalar_schema();
        if T::SHAPE == Shape::Text {
            return plain;
        }
        json_schema!({"anyOf": [plain, template_schema()]})
    }
}

impl<T: FromScalar> FromNode for T {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        Spanned::<T>::from_node(node, context).map(|spanned| spanned.value)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        Spanned::<T>::schema(generator)
    }
}

impl<T: FromNode> FromNode for Option<T> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        // The fault is noted; what depends on the value is judged as if it were not there.
        Some(T::from_node(node, context))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        T::schema(generator)
    }
}

impl<T: FromNode> FromNode for Vec<T> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(items) = node.sequence() else {
            refuse_list(node, context);
            return None;
        };
        if items.is_empty() && node.complete {
            context.push(
                context
                    .error(Kind::Empty, node.span, "the list is empty")
                    .caused_by("a list without items has no effect here")
                    .helped("add an item, or remove the key"),
            );
            return None;
        }
        let read: Vec<T> = items
            .iter()
            .filter_map(|item| T::from_node(item, context))
            .collect();
        Some(read)
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let items = T::schema(generator);
        json_schema!({"type": "array", "minItems": 1, "items": items})
    }
}

/// Describes a template as JSON Schema.
pub fn template_schema() -> Schema {
    json_schema!({"type": "string", "pattern": "\\$\\{.+\\}", "description": "A template of a value"})
}

/// Makes a type's [`FromNode::schema`] of its `JsonSchema`, so that it gets a definition of its own.
pub fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}
