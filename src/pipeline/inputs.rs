//! The values of inputs and secrets.

use std::collections::BTreeMap;

use super::address::Name;
use super::convert::{Context, FromNode, FromScalar};
use super::diagnostic::{Diagnostic, Kind, listed, nearest};
use super::interpolate::{Declared, InputText};
use super::map::Map;
use super::model::{Input, Raw, SecretDeclaration, SecretSource};
use super::scalar::InputType;
use super::secret::{self, MINIMUM_CHARACTERS, SecretValue};
use super::source::{Source, Span};
use super::template::{Fallback, Part, Template};
use super::tree::Node;
use super::{Given, Mode};

/// Gives every input its value, and notes what is wrong with those given.
pub fn inputs(root: &Node, given: &BTreeMap<String, String>, context: &mut Context<'_>) {
    let declared = root
        .entry("inputs")
        .and_then(|node| Map::<Name, Input>::from_node(node, context))
        .unwrap_or_default();
    let names: Vec<String> = root
        .entry("inputs")
        .and_then(Node::mapping)
        .map(|entries| entries.iter().map(|entry| entry.key.clone()).collect())
        .unwrap_or_default();
    for name in given
        .keys()
        .filter(|name| root.complete && !names.contains(name))
    {
        let mut diagnostic = Diagnostic::of_file(
            Kind::Undefined,
            context.source.name(),
            format!("there is no input `{name}`"),
        )
        .caused_by(if names.is_empty() {
            "a value was given for it, and the document declares no inputs".to_owned()
        } else {
            format!(
                "a value was given for it, and declared are {}",
                listed(names.iter().map(String::as_str))
            )
        })
        .suggesting(nearest(name, names.iter().map(String::as_str)));
        if diagnostic.help.is_none() {
            diagnostic = diagnostic.helped("give a value for one of these, or declare the input");
        }
        context.push(diagnostic);
    }
    let mut evaluation = Evaluation {
        source: context.source,
        declared: &declared,
        given,
        names: &names,
        run_id: context.scope.run.id.clone(),
        values: BTreeMap::new(),
        open: Vec::new(),
        diagnostics: Vec::new(),
        used: Vec::new(),
    };
    for (name, _) in declared.iter() {
        evaluation.value(&name.value.0);
    }
    let Evaluation {
        mut values,
        diagnostics,
        used,
        ..
    } = evaluation;
    for diagnostic in diagnostics {
        context.push(diagnostic);
    }
    // An input whose declaration is wrong is still declared.
    for name in names {
        values
            .entry(name)
            .or_insert_with(|| InputText::Broken("stand-in".to_owned()));
    }
    context.scope.inputs = values;
    context.scope.used_inputs.extend(used);
    context.scope.input_types = declared
        .iter()
        .map(|(name, input)| {
            let options = input
                .options
                .iter()
                .flatten()
                .map(|option| option.scalar.text.clone());
            let declared = Declared {
                of: Some(input.r#type),
                options: options.collect(),
            };
            (name.value.0.clone(), declared)
        })
        .collect();
}

struct Evaluation<'a> {
    source: &'a Source,
    declared: &'a Map<Name, Input>,
    given: &'a BTreeMap<String, String>,
    names: &'a [String],
    run_id: String,
    values: BTreeMap<String, InputText>,
    /// The inputs whose defaults are being filled in, to find circles.
    open: Vec<String>,
    diagnostics: Vec<Diagnostic>,
    used: Vec<String>,
}

impl Evaluation<'_> {
    fn value(&mut self, name: &str) -> InputText {
        if let Some(value) = self.values.get(name) {
            return value.clone();
        }
        let found = self
            .declared
            .iter()
            .find(|(other, _)| other.value.0 == name)
            .map(|(key, input)| (key.span, input.clone()));
        let Some((declared, input)) = found else {
            return InputText::Broken("stand-in".to_owned());
        };
        let value = if let Some(text) = self.given.get(name) {
            self.check_given(name, &input, text, declared)
        } else if let Some(default) = &input.default {
            self.open.push(name.to_owned());
            let value = self.default(name, &input, default);
            self.open.pop();
            value
        } else {
            InputText::Missing {
                stand_in: stand_in(&input),
                declared,
            }
        };
        self.values.insert(name.to_owned(), value.clone());
        value
    }

    fn check_given(&mut self, name: &str, input: &Input, text: &str, declared: Span) -> InputText {
        match check(input, text) {
            Ok(()) => InputText::Known(text.to_owned()),
            Err(refusal) => {
                let shown: String = text.chars().take(80).collect();
                self.diagnostics.push(
                    Diagnostic::at(
                        Kind::InputInvalid,
                        self.source,
                        declared,
                        format!("the value `{shown}` of the input `{name}` is not allowed"),
                    )
                    .labelled("declared here")
                    .caused_by(refusal.cause)
                    .suggesting(refusal.suggestion)
                    .or_helped(refusal.help.unwrap_or_else(|| {
                        format!("run with another `--input {name}=…`, or change the declaration")
                    })),
                );
                InputText::Broken(stand_in(input))
            }
        }
    }

    fn default(&mut self, name: &str, input: &Input, default: &Raw) -> InputText {
        let template = match Template::parse(&default.scalar.text) {
            Ok(template) => template,
            Err(error) => {
                let span = super::interpolate::find(
                    self.source,
                    default.span,
                    &default.scalar.text,
                    &error.range,
                );
                self.diagnostics.push(
                    Diagnostic::at(Kind::Template, self.source, span, error.message)
                        .caused_by("`${` starts a template in every value")
                        .helped(error.help),
                );
                return InputText::Broken(stand_in(input));
            }
        };
        let mut text = String::new();
        let sound = self.fill(&template, default, &mut text);
        match sound {
            Filled::Sound => {}
            Filled::Missing(declared) => {
                return InputText::Missing {
                    stand_in: stand_in(input),
                    declared,
                };
            }
            Filled::Broken => return InputText::Broken(stand_in(input)),
        }
        match check(input, &text) {
            Ok(()) => InputText::Known(text),
            Err(refusal) => {
                let kind = if template.has_names() {
                    Kind::InputInvalid
                } else {
                    refusal.kind
                };
                self.diagnostics.push(
                    Diagnostic::at(
                        kind,
                        self.source,
                        default.span,
                        format!("the default `{text}` of the input `{name}` is not allowed"),
                    )
                    .caused_by(refusal.cause)
                    .suggesting(refusal.suggestion)
                    .or_helped(
                        refusal
                            .help
                            .unwrap_or_else(|| "change the default, or the declaration".to_owned()),
                    ),
                );
                InputText::Broken(stand_in(input))
            }
        }
    }

    fn fill(&mut self, template: &Template, raw: &Raw, text: &mut String) -> Filled {
        let mut filled = Filled::Sound;
        for part in &template.0 {
            let name = match part {
                Part::Literal(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Part::Name(name) => name,
            };
            let span =
                super::interpolate::find(self.source, raw.span, &raw.scalar.text, &name.range);
            let Some(input) = name.path.strip_prefix("input.") else {
                match name.path.as_str() {
                    "run.id" => text.push_str(&self.run_id),
                    path => {
                        self.refuse_name(path, span);
                        filled = Filled::Broken;
                    }
                }
                continue;
            };
            self.used.push(input.to_owned());
            if self.open.iter().any(|open| open == input) {
                self.refuse_cycle(input, span);
                return Filled::Broken;
            }
            if !self.names.iter().any(|name| name == input) {
                self.diagnostics.push(super::interpolate::undefined(
                    self.source,
                    span,
                    "input",
                    input,
                    self.names,
                ));
                filled = Filled::Broken;
                continue;
            }
            match (self.value(input), &name.fallback) {
                (InputText::Known(value), fallback)
                    if !(value.is_empty() && fallback.is_some()) =>
                {
                    text.push_str(&value)
                }
                (InputText::Broken(_), _) => filled = Filled::Broken,
                (_, Some(Fallback::Default(default))) => match self.fill(default, raw, text) {
                    Filled::Sound => {}
                    other => filled = other,
                },
                (InputText::Missing { declared, .. }, _) => {
                    if matches!(filled, Filled::Sound) {
                        filled = Filled::Missing(declared);
                    }
                }
                (InputText::Known(_), _) => filled = Filled::Missing(span),
            }
        }
        filled
    }

    fn refuse_cycle(&mut self, input: &str, span: Span) {
        let start = self.open.iter().position(|open| open == input).unwrap_or(0);
        let mut circle: Vec<String> = self.open[start..]
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        circle.push(format!("`{input}`"));
        self.diagnostics.push(
            Diagnostic::at(
                Kind::Cycle,
                self.source,
                span,
                "the defaults of inputs refer to each other in a circle",
            )
            .caused_by(circle.join(" needs "))
            .helped("give one of them a default that stands by itself"),
        );
    }

    fn refuse_name(&mut self, path: &str, span: Span) {
        let (kind, message) = if path.starts_with("secret.") {
            (
                Kind::SecretMisplaced,
                format!("`{path}` cannot stand in the default of an input"),
            )
        } else {
            (
                Kind::Template,
                format!("`{path}` cannot stand in the default of an input"),
            )
        };
        self.diagnostics.push(
            Diagnostic::at(kind, self.source, span, message)
                .caused_by("inputs have their values before everything else, and are shown in plans and reports")
                .helped("refer to other inputs or to `run.id`, or write a plain value"),
        );
    }
}

enum Filled {
    Broken,
    Missing(Span),
    Sound,
}

/// Checks a value against a declaration.
///
/// # Errors
///
/// Says which part of the declaration refuses it.
pub fn check(input: &Input, text: &str) -> Result<(), super::convert::Problem> {
    use super::convert::Problem;
    let refuse = |cause: String| {
        Err(Problem {
            kind: Kind::InputInvalid,
            ..Problem::new(cause)
        })
    };
    let typed = match input.r#type {
        InputType::String => Ok(()),
        InputType::Boolean if matches!(text, "true" | "false") => Ok(()),
        InputType::Boolean => refuse("its type is boolean: `true` or `false`".to_owned()),
        InputType::Integer => match text.parse::<i64>() {
            Ok(_) => Ok(()),
            Err(_) => refuse("its type is integer: a whole number".to_owned()),
        },
        InputType::Number => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(()),
            _ => refuse("its type is number".to_owned()),
        },
        InputType::Duration => std::time::Duration::parse(text)
            .map(|_| ())
            .map_err(|problem| Problem {
                kind: Kind::InputInvalid,
                cause: format!("its type is duration: {}", problem.cause),
                ..problem
            }),
    };
    typed?;
    if let Some(pattern) = &input.pattern
        && !full_match(pattern.value.0.as_str(), text)
    {
        return refuse(format!(
            "it does not match the pattern `{}` as a whole",
            pattern.value.0.as_str()
        ));
    }
    if let Some(options) = &input.options {
        let known: Vec<&str> = options
            .iter()
            .map(|option| option.scalar.text.as_str())
            .collect();
        if !known.contains(&text) {
            return Err(Problem {
                kind: Kind::InputInvalid,
                suggestion: nearest(text, known.iter().copied()),
                ..Problem::new(format!("its options are {}", listed(known.iter().copied())))
            });
        }
    }
    Ok(())
}

/// `$` matches before a line end at the end of a text too, so the ends are those of the text.
fn full_match(pattern: &str, text: &str) -> bool {
    regex::Regex::new(&format!(r"\A(?:{pattern})\z")).is_ok_and(|whole| whole.is_match(text))
}

/// Returns a value that the declaration allows, as far as that can be found.
fn stand_in(input: &Input) -> String {
    if let Some(option) = input.options.iter().flatten().next() {
        return option.scalar.text.clone();
    }
    match input.r#type {
        InputType::String => "stand-in",
        InputType::Integer | InputType::Number => "1",
        InputType::Boolean => "true",
        InputType::Duration => "1s",
    }
    .to_owned()
}

/// Reads the secrets. When a document is only validated, none is read.
pub fn secrets(root: &Node, given: &Given<'_>, context: &mut Context<'_>) -> Vec<SecretValue> {
    let Some(node) = root.entry("secrets") else {
        return Vec::new();
    };
    let declared = Map::<Name, SecretDeclaration>::from_node(node, context).unwrap_or_default();
    let mut values = Vec::new();
    for entry in node.mapping().unwrap_or_default() {
        context.scope.secrets.insert(entry.key.clone(), None);
    }
    if given.mode == Mode::Validate {
        return values;
    }
    for (name, SecretDeclaration(source)) in declared.iter() {
        match read(source, given, context) {
            Ok(value) => {
                context
                    .scope
                    .secrets
                    .insert(name.value.0.clone(), Some(value.clone()));
                values.push(SecretValue {
                    name: name.value.0.clone(),
                    value,
                    users: Vec::new(),
                });
            }
            Err(None) => {}
            Err(Some(diagnostic)) => context.push(*diagnostic),
        }
    }
    values
}

fn read(
    source: &SecretSource,
    given: &Given<'_>,
    context: &Context<'_>,
) -> Result<secret::SecretString, Option<Box<Diagnostic>>> {
    let (raw, span, from_file, what) = match source {
        SecretSource::Env(name) if name.known => {
            let variable = &name.value.0;
            match (given.variables)(variable) {
                Some(value) if !value.is_empty() => (
                    value,
                    name.span,
                    false,
                    format!("the variable `{variable}`"),
                ),
                found => {
                    let state = if found.is_some() { "empty" } else { "not set" };
                    return Err(Some(Box::new(
                        context
                            .error(Kind::SecretUnset, name.span, format!("the variable `{variable}` is {state}"))
                            .caused_by("a secret is read from it")
                            .helped(format!("set it before the run, in CI as a masked variable, for instance `export {variable}=…`")),
                    )));
                }
            }
        }
        SecretSource::File(path) if path.known => {
            let shown = path.value.display().to_string();
            let refuse = |cause: String| {
                Err(Some(Box::new(
                    context
                        .error(Kind::SecretUnset, path.span, format!("the secret's file `{shown}` cannot be read"))
                        .caused_by(cause)
                        .helped("paths are relative to the working directory: check the path, and who may read it"),
                )))
            };
            match (given.read_file)(&path.value).map(String::from_utf8) {
                Ok(Ok(text)) => (text, path.span, true, format!("the file `{shown}`")),
                Ok(Err(_)) => return refuse("it is not UTF-8 text".to_owned()),
                Err(error) => return refuse(error.to_string()),
            }
        }
        _ => return Err(None),
    };
    secret::clean(&raw, from_file).map_err(|characters| {
        Some(Box::new(
            context
                .error(Kind::SecretShort, span, format!("the secret in {what} is too short"))
                .caused_by(format!(
                    "it has {characters} characters, and one with fewer than {MINIMUM_CHARACTERS} cannot be masked without hiding half the log"
                ))
                .helped("use a longer secret; check that the variable or file holds what you think it does"),
        ))
    })
}
