//! What the names in templates stand for.
//!
//! Names are filled in after the structure was read, so that no value can change it. What comes from a
//! secret stays apart from other text, and what only the run can know stays a name.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::diagnostic::{Diagnostic, Kind};
use super::names::Names;
use super::scalar::InputType;
use super::secret::SecretString;
use super::source::{Source, Span};
use super::template::{Fallback, Name, Part, Template};
use super::text::Text;
use super::tree::Scalar;
use super::unfilled::{give, misplaced_in_default, unknown_namespace};
pub use super::unfilled::{input_missing, undefined};
use super::{Mode, PlaygroundNames, RunNames};

/// A value with its templates filled in, as far as that is possible before the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// Its parts in order.
    pub pieces: Vec<Piece>,
    /// Whether the value is the one that a run will see, not a stand-in.
    pub known: bool,
    /// Whether anything was filled in.
    pub templated: bool,
}

/// A part of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text that may be shown.
    Text(String),
    /// The value of a secret, with the secret's name.
    Secret(String, SecretString),
    /// A name that only the run can fill in.
    Late(Late),
}

/// A name that only the run can fill in.
#[derive(Clone, Debug, PartialEq)]
pub struct Late {
    /// What it stands for.
    pub name: LateName,
    /// What stands in where the run has no value for it either.
    pub fallback: Option<Text>,
}

/// What only the run can know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LateName {
    /// `image.NAME.digest`: the digest that the image's reference was resolved to.
    ImageDigest(String),
    /// `image.NAME.ref`: the image's reference with that digest.
    ImageRef(String),
    /// `run.reason`: why the run failed.
    RunReason,
    /// `run.status`: how the run stands.
    RunStatus,
    /// `step.ID.outcome`: how a step ended.
    StepOutcome(String),
}

impl std::fmt::Display for LateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ImageDigest(name) => write!(f, "image.{name}.digest"),
            Self::ImageRef(name) => write!(f, "image.{name}.ref"),
            Self::RunReason => f.write_str("run.reason"),
            Self::RunStatus => f.write_str("run.status"),
            Self::StepOutcome(id) => write!(f, "step.{id}.outcome"),
        }
    }
}

/// The value of an input, as templates see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InputText {
    /// Given, or the default.
    Known(String),
    /// Declared without a default, and not given; the text stands in for it, the span is its declaration.
    Missing {
        /// A value of the right type.
        stand_in: String,
        /// Where the input is declared.
        declared: Span,
    },
    /// Declared wrongly, which is noted already.
    Broken(String),
}

/// What an input is declared as.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// The type, where it is known.
    pub of: Option<InputType>,
    /// The values that it may have, where they are limited.
    pub options: Vec<String>,
}

/// What names stand for.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Whether the document is to be run, or only validated.
    pub mode: Mode,
    /// The inputs.
    pub inputs: BTreeMap<String, InputText>,
    /// What the inputs are declared as.
    pub input_types: BTreeMap<String, Declared>,
    /// The secrets; without a value where that is noted already, or where the document is only validated.
    pub secrets: BTreeMap<String, Option<SecretString>>,
    /// What the run is called.
    pub run: RunNames,
    /// What the playground offers, where the document asks for one.
    pub playground: Option<PlaygroundNames>,
    /// What the document declares.
    pub names: Names,
    /// How many steps have been read so far.
    pub position: usize,
    /// The inputs that something refers to.
    pub used_inputs: BTreeSet<String>,
    /// The secrets that something refers to.
    pub used_secrets: BTreeSet<String>,
}

/// What one name stands for.
enum Lookup {
    Known(String),
    StandIn(String),
    Secret(String, SecretString, bool),
    Late(LateName),
    Unset(Box<Diagnostic>, String),
    Refused(Box<Diagnostic>),
}

impl Scope {
    /// Fills in a value's templates. Nothing comes back where one of them is wrong.
    pub fn resolve(
        &mut self,
        source: &Source,
        span: Span,
        scalar: &Scalar,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Resolved> {
        if !scalar.text.contains('$') {
            return Some(Resolved {
                pieces: vec![Piece::Text(scalar.text.clone())],
                known: true,
                templated: false,
            });
        }
        let place = Within {
            source,
            span,
            text: &scalar.text,
        };
        let template = match Template::parse(&scalar.text) {
            Ok(template) => template,
            Err(error) => {
                diagnostics.push(
                    Diagnostic::at(
                        Kind::Template,
                        source,
                        place.find(&error.range),
                        error.message,
                    )
                    .caused_by("`${` starts a template in every value")
                    .helped(error.help),
                );
                return None;
            }
        };
        let mut resolved = Resolved {
            known: true,
            templated: template.has_names(),
            ..Resolved::default()
        };
        self.fill(&template, &place, &mut resolved, diagnostics)
            .then_some(resolved)
    }

    fn fill(
        &mut self,
        template: &Template,
        place: &Within<'_>,
        resolved: &mut Resolved,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let mut sound = true;
        for part in &template.0 {
            match part {
                Part::Literal(text) => resolved.pieces.push(Piece::Text(text.clone())),
                Part::Name(name) => sound &= self.fill_name(name, place, resolved, diagnostics),
            }
        }
        sound
    }

    fn fill_name(
        &mut self,
        name: &Name,
        place: &Within<'_>,
        resolved: &mut Resolved,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let span = place.find(&name.range);
        let empty = |text: &str| text.is_empty() && name.fallback.is_some();
        match self.look_up(place.source, span, &name.path) {
            Lookup::Known(text) if !empty(&text) => resolved.pieces.push(Piece::Text(text)),
            Lookup::StandIn(text) => {
                resolved.known = false;
                resolved.pieces.push(Piece::Text(text));
            }
            Lookup::Secret(secret, value, known) => {
                resolved.known &= known;
                resolved.pieces.push(Piece::Secret(secret, value));
            }
            Lookup::Late(late) => {
                let fallback = match &name.fallback {
                    None => None,
                    Some(Fallback::Default(default)) => {
                        let mut inner = Resolved {
                            known: true,
                            ..Resolved::default()
                        };
                        if !self.fill(default, place, &mut inner, diagnostics) {
                            return false;
                        }
                        match Text::from_pieces(&inner) {
                            Ok(text) => Some(text),
                            Err(secret) => {
                                diagnostics.push(misplaced_in_default(place.source, span, &secret));
                                return false;
                            }
                        }
                    }
                    Some(Fallback::Message(_)) => {
                        diagnostics.push(
                            Diagnostic::at(
                                Kind::Template,
                                place.source,
                                span,
                                format!("`{}` cannot be demanded with `:?`", name.path),
                            )
                            .caused_by("it is only known during the run, when the document can no longer be refused")
                            .helped(format!("write `${{{}:-text}}` to give it a default", name.path)),
                        );
                        return false;
                    }
                };
                resolved.pieces.push(Piece::Late(Late {
                    name: late,
                    fallback,
                }));
            }
            Lookup::Refused(diagnostic) => {
                diagnostics.push(*diagnostic);
                return false;
            }
            Lookup::Known(_) => {
                return self.fall_back(name, place, span, None, resolved, diagnostics);
            }
            Lookup::Unset(missing, stand_in) => {
                return self.fall_back(
                    name,
                    place,
                    span,
                    Some((*missing, stand_in)),
                    resolved,
                    diagnostics,
                );
            }
        }
        true
    }

    /// Uses the default of a name without a value, or refuses it.
    fn fall_back(
        &mut self,
        name: &Name,
        place: &Within<'_>,
        span: Span,
        missing: Option<(Diagnostic, String)>,
        resolved: &mut Resolved,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let validating = self.mode == Mode::Validate;
        match (&name.fallback, missing) {
            (Some(Fallback::Default(default)), _) => {
                if validating {
                    // A run may be given the input, so the default is only one of the values.
                    resolved.known = false;
                }
                self.fill(default, place, resolved, diagnostics)
            }
            (_, Some((_, stand_in))) if validating => {
                resolved.known = false;
                resolved.pieces.push(Piece::Text(stand_in));
                true
            }
            (Some(Fallback::Message(message)), _) => {
                let said = if message.is_empty() {
                    format!("`{}` has no value", name.path)
                } else {
                    message.clone()
                };
                diagnostics.push(
                    Diagnostic::at(Kind::InputMissing, place.source, span, said)
                        .caused_by(format!(
                            "`{}` has no value, and `:?` demands one",
                            name.path
                        ))
                        .helped(give(&name.path)),
                );
                false
            }
            (None, Some((diagnostic, stand_in))) => {
                diagnostics.push(diagnostic);
                resolved.known = false;
                resolved.pieces.push(Piece::Text(stand_in));
                true
            }
            (None, None) => true,
        }
    }

    fn look_up(&mut self, source: &Source, span: Span, path: &str) -> Lookup {
        let parts: Vec<&str> = path.split('.').collect();
        let refuse = |diagnostic: Diagnostic| Lookup::Refused(Box::new(diagnostic));
        match parts.as_slice() {
            ["input", name] => {
                self.used_inputs.insert((*name).to_owned());
                match self.inputs.get(*name) {
                    Some(InputText::Known(text)) => Lookup::Known(text.clone()),
                    Some(InputText::Broken(text)) => Lookup::StandIn(text.clone()),
                    Some(InputText::Missing { stand_in, declared }) => {
                        Lookup::Unset(Box::new(input_missing(source, *declared, name)), stand_in.clone())
                    }
                    None => refuse(undefined(source, span, "input", name, self.inputs.keys())),
                }
            }
            ["secret", name] => {
                self.used_secrets.insert((*name).to_owned());
                match self.secrets.get(*name) {
                    Some(Some(value)) => Lookup::Secret((*name).to_owned(), value.clone(), true),
                    Some(None) => {
                        Lookup::Secret((*name).to_owned(), SecretString::new("stand-in"), false)
                    }
                    None => refuse(undefined(source, span, "secret", name, self.secrets.keys())),
                }
            }
            ["run", "id"] => Lookup::Known(self.run.id.clone()),
            ["run", "link"] => Lookup::Known(self.run.link.clone().unwrap_or_default()),
            ["run", "status"] => Lookup::Late(LateName::RunStatus),
            ["run", "reason"] => Lookup::Late(LateName::RunReason),
            ["image", name, "digest" | "ref"] => {
                if !self.names.images.iter().any(|image| image == name) {
                    return refuse(undefined(source, span, "image", name, &self.names.images));
                }
                let name = (*name).to_owned();
                Lookup::Late(if parts[2] == "digest" {
                    LateName::ImageDigest(name)
                } else {
                    LateName::ImageRef(name)
                })
            }
            ["step", id, "outcome"] => {
                if self.names.steps.iter().any(|step| step == id) {
                    Lookup::Late(LateName::StepOutcome((*id).to_owned()))
                } else {
                    refuse(undefined(source, span, "step", id, &self.names.steps))
                }
            }
            ["playground", name] => match &self.playground {
                Some(playground) => match playground.value(name) {
                    Some(value) => Lookup::Known(value.to_owned()),
                    None => refuse(undefined(source, span, "playground name", name, PlaygroundNames::NAMES)),
                },
                None if self.names.playground && PlaygroundNames::NAMES.contains(name) => {
                    Lookup::StandIn(PlaygroundNames::stand_in(name).to_owned())
                }
                None if self.names.playground => {
                    refuse(undefined(source, span, "playground name", name, PlaygroundNames::NAMES))
                }
                None => refuse(
                    Diagnostic::at(Kind::Undefined, source, span, "there is no playground")
                        .caused_by("the names under `playground` exist only in a document with `playground: true`")
                        .helped("add `playground: true` at the top of the document, or write a real value"),
                ),
            },
            _ => refuse(unknown_namespace(source, span, path)),
        }
    }
}

/// Finds a part of a value in the document's text.
struct Within<'a> {
    source: &'a Source,
    span: Span,
    text: &'a str,
}

impl Within<'_> {
    fn find(&self, range: &Range<usize>) -> Span {
        find(self.source, self.span, self.text, range)
    }
}

/// Returns the place of a part of a value; of the whole value where quoting or folding moved it.
pub fn find(source: &Source, span: Span, text: &str, range: &Range<usize>) -> Span {
    let written = source.slice(span);
    let (quote, unquoted) = written
        .strip_prefix(['"', '\''])
        .map_or((0, written), |rest| (1, rest));
    if !unquoted.starts_with(text) {
        let part = text.get(range.clone()).filter(|part| !part.is_empty());
        return match part.and_then(|part| written.find(part)) {
            Some(at) => Span::new(span.start + at, span.start + at + range.len()),
            None => span,
        };
    }
    let start = span.start + quote;
    Span::new(start + range.start, start + range.end)
}
