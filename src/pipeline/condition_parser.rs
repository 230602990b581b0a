//! Reads conditions; the grammar is in [`super::condition`].

use std::ops::Range;

use super::condition::{Ending, Expression, Standing};
use super::convert::{Context, not_supported};
use super::diagnostic::{Diagnostic, Kind, nearest};
use super::interpolate::{InputText, input_missing, undefined};
use super::scalar::InputType;
use super::tree::Node;
use super::{Mode, interpolate};

/// How deep parentheses and `not` may be nested.
const MAXIMUM_DEPTH: usize = 32;
const FUNCTIONS: [&str; 7] = [
    "failed",
    "passed",
    "skipped",
    "inconclusive",
    "success",
    "failure",
    "cancelled",
];
const WORDS: [&str; 11] = [
    "failed",
    "passed",
    "skipped",
    "inconclusive",
    "success",
    "failure",
    "cancelled",
    "input",
    "and",
    "or",
    "not",
];

/// Reads a condition.
pub(super) fn parse(
    text: &str,
    node: &Node,
    context: &mut Context<'_>,
) -> Result<Expression, Refusal> {
    let mut parser = Parser {
        tokens: Vec::new(),
        at: 0,
        end: text.len(),
        node,
        text,
        context,
    };
    parser.tokenize()?;
    parser.whole()
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Close,
    Equal,
    NotEqual,
    Open,
    Quoted(String),
    Word(String),
}

type Refusal = Box<Diagnostic>;

struct Parser<'p, 'c> {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
    node: &'p Node,
    text: &'p str,
    context: &'p mut Context<'c>,
}

impl Parser<'_, '_> {
    fn tokenize(&mut self) -> Result<(), Refusal> {
        let text = self.text;
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            let rest = &text[at..];
            let (token, length) = match next {
                blank if blank.is_whitespace() => {
                    at += blank.len_utf8();
                    continue;
                }
                '(' => (Token::Open, 1),
                ')' => (Token::Close, 1),
                '\'' | '"' => {
                    let Some(end) = rest[1..].find(next) else {
                        return Err(self.refuse(
                            at..text.len(),
                            "a quote is not closed",
                            "the value runs on to the end",
                            format!("add the closing `{next}`"),
                        ));
                    };
                    (Token::Quoted(rest[1..=end].to_owned()), end + 2)
                }
                _ if rest.starts_with("==") => (Token::Equal, 2),
                _ if rest.starts_with("!=") => (Token::NotEqual, 2),
                word if word.is_alphanumeric() || word == '_' => {
                    let length = rest
                        .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
                        .unwrap_or(rest.len());
                    (Token::Word(rest[..length].to_owned()), length)
                }
                other => return Err(self.refuse_character(at, other)),
            };
            self.tokens.push((token, at..at + length));
            at += length;
        }
        Ok(())
    }

    fn refuse_character(&self, at: usize, character: char) -> Refusal {
        let rest = &self.text[at..];
        let (length, help) = if rest.starts_with("${{") || rest.starts_with("${") {
            (
                2,
                "write names bare, without `${` and `}`: `input.wait`, `failed(live)`".to_owned(),
            )
        } else if rest.starts_with("&&") {
            (2, "write `and`".to_owned())
        } else if rest.starts_with("||") {
            (2, "write `or`".to_owned())
        } else if character == '!' {
            (1, "write `not`".to_owned())
        } else if character == '=' {
            (1, "write `==`".to_owned())
        } else {
            (
                character.len_utf8(),
                "remove it, or quote the value that it belongs to".to_owned(),
            )
        };
        let found = &rest[..length];
        self.refuse(
            at..at + length,
            format!("`{found}` cannot stand in a condition"),
            "conditions are made of outcomes, inputs, `and`, `or`, `not` and parentheses",
            help,
        )
    }

    fn whole(&mut self) -> Result<Expression, Refusal> {
        if self.tokens.is_empty() {
            return Err(self.refuse(
                0..self.end,
                "the condition is empty",
                "a step without a condition runs whenever its list does",
                "remove the key".to_owned(),
            ));
        }
        let expression = self.or(0)?;
        match self.tokens.get(self.at).cloned() {
            None => Ok(expression),
            Some((Token::Close, range)) => Err(self.refuse(
                range,
                "a `)` closes nothing",
                "there is no `(` before it that is still open",
                "remove it".to_owned(),
            )),
            Some((token, range)) => {
                let word = match &token {
                    Token::Word(word) => nearest(&word.to_lowercase(), ["and", "or"]),
                    _ => None,
                };
                let help = match word {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => "put `and` or `or` between two conditions".to_owned(),
                };
                Err(self.refuse(
                    range,
                    "the condition goes on where it could end",
                    "`and` or `or` is expected here",
                    help,
                ))
            }
        }
    }

    fn or(&mut self, depth: usize) -> Result<Expression, Refusal> {
        let mut left = self.and(depth)?;
        while self.eat(&Token::Word("or".into())) {
            left = Expression::Any(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expression, Refusal> {
        let mut left = self.not(depth)?;
        while self.eat(&Token::Word("and".into())) {
            left = Expression::All(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Expression, Refusal> {
        if depth > MAXIMUM_DEPTH {
            return Err(self.refuse(
                0..self.end,
                "the condition is nested too deeply",
                format!("at most {MAXIMUM_DEPTH} levels are read"),
                "write it with fewer parentheses".to_owned(),
            ));
        }
        if self.eat(&Token::Word("not".into())) {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        let start = self.at;
        if self.eat(&Token::Open) {
            let inner = self.or(depth + 1)?;
            if !self.eat(&Token::Close) {
                let range = self.tokens[start].1.clone();
                return Err(self.refuse(
                    range,
                    "a parenthesis is not closed",
                    "the condition ends before the matching `)`",
                    "add the `)`".to_owned(),
                ));
            }
            return Ok(inner);
        }
        self.atom()
    }

    fn atom(&mut self) -> Result<Expression, Refusal> {
        let Some((token, range)) = self.tokens.get(self.at).cloned() else {
            return Err(self.refuse(
                self.end.saturating_sub(1)..self.end,
                "the condition ends too early",
                "an outcome or an input is expected after this",
                "complete it, for instance `failed(live)`".to_owned(),
            ));
        };
        self.at += 1;
        let Token::Word(word) = token else {
            return Err(self.refuse(
                range,
                "an outcome or an input is expected here",
                "conditions are made of outcomes and inputs",
                "write for instance `failed(live)` or `input.wait`".to_owned(),
            ));
        };
        match word.as_str() {
            "true" => return Ok(Expression::Constant(true)),
            "false" => return Ok(Expression::Constant(false)),
            _ => {}
        }
        if let Some(name) = word.strip_prefix("input.") {
            return self.input(name, range);
        }
        let ending = match word.as_str() {
            "failed" => Some(Ending::Failed),
            "passed" => Some(Ending::Passed),
            "skipped" => Some(Ending::Skipped),
            "inconclusive" => Some(Ending::Inconclusive),
            _ => None,
        };
        let standing = match word.as_str() {
            "success" => Some(Standing::Success),
            "failure" => Some(Standing::Failure),
            "cancelled" => Some(Standing::Cancelled),
            _ => None,
        };
        match (ending, standing) {
            (Some(ending), _) => self.step(ending, &word, &range),
            (_, Some(standing)) => {
                if !(self.eat(&Token::Open) && self.eat(&Token::Close)) {
                    return Err(self.refuse(
                        range,
                        format!("`{word}` is a function of the whole run"),
                        "it takes an empty pair of parentheses",
                        format!("write `{word}()`"),
                    ));
                }
                Ok(Expression::Stands(standing))
            }
            _ => Err(self.refuse_word(&word, range)),
        }
    }

    fn refuse_word(&self, word: &str, range: Range<usize>) -> Refusal {
        if word == "deployed" {
            let span = self.span(&range);
            return Box::new(not_supported(self.context.source, span, word));
        }
        let cause = "conditions know `failed(id)`, `passed(id)`, `skipped(id)`, `inconclusive(id)`, `success()`, \
                     `failure()`, `cancelled()` and `input.NAME`";
        let message = format!("there is no `{word}` in conditions");
        let help = match word {
            "always" => "a step in `finally` always runs: move it there".to_owned(),
            "inputs" => "write `input.NAME`".to_owned(),
            _ if word.starts_with("inputs.") => {
                format!("did you mean `{}`?", word.replacen("inputs.", "input.", 1))
            }
            _ => {
                let lower = word.to_lowercase();
                let alias = match lower.as_str() {
                    "failing" | "fail" => Some("failed"),
                    "ok" | "succeeded" | "pass" => Some("passed"),
                    _ => None,
                };
                match alias.map(str::to_owned).or_else(|| nearest(&lower, WORDS)) {
                    Some(meant) if FUNCTIONS.contains(&meant.as_str()) => {
                        format!("did you mean `{meant}(…)`?")
                    }
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if self.context.scope.inputs.contains_key(word) => {
                        format!("did you mean `input.{word}`?")
                    }
                    None => "use one of these".to_owned(),
                }
            }
        };
        self.refuse(range, message, cause, help)
    }

    fn step(
        &mut self,
        ending: Ending,
        word: &str,
        range: &Range<usize>,
    ) -> Result<Expression, Refusal> {
        let id = match (self.eat(&Token::Open), self.tokens.get(self.at).cloned()) {
            (true, Some((Token::Word(id) | Token::Quoted(id), id_range))) => {
                self.at += 1;
                if !self.eat(&Token::Close) {
                    return Err(self.refuse(
                        range.start..id_range.end,
                        "a parenthesis is not closed",
                        format!("`{word}` takes one id in parentheses"),
                        format!("write `{word}({id})`"),
                    ));
                }
                (id, id_range)
            }
            _ => {
                return Err(self.refuse(
                    range.clone(),
                    format!("`{word}` needs the id of a step"),
                    "it takes one id in parentheses",
                    format!("write for instance `{word}(live)`"),
                ));
            }
        };
        let (id, id_range) = id;
        let names = &self.context.scope.names;
        let position = names.steps.iter().position(|step| *step == id);
        let span = self.span(&id_range);
        match (position, self.context.step) {
            (None, _) if names.complete => Err(Box::new(undefined(
                self.context.source,
                span,
                "step",
                &id,
                &names.steps,
            ))),
            (Some(position), Some(current)) if position >= current => Err(Box::new(
                Diagnostic::at(
                    Kind::Condition,
                    self.context.source,
                    span,
                    if position == current {
                        format!("the step `{id}` cannot depend on itself")
                    } else {
                        format!("the step `{id}` comes later")
                    },
                )
                .caused_by("a condition is decided before the step runs, from the steps before it")
                .helped("name a step above this one"),
            )),
            _ => Ok(Expression::Ended(ending, id)),
        }
    }

    fn input(&mut self, name: &str, range: Range<usize>) -> Result<Expression, Refusal> {
        let span = self.span(&range);
        let scope = &mut self.context.scope;
        scope.used_inputs.insert(name.to_owned());
        let Some(input) = scope.inputs.get(name).cloned() else {
            return Err(Box::new(undefined(
                self.context.source,
                span,
                "input",
                name,
                scope.inputs.keys(),
            )));
        };
        let (value, known) = match input {
            InputText::Known(text) => (text, true),
            InputText::Broken(text) => (text, false),
            InputText::Missing { stand_in, declared } => {
                if scope.mode == Mode::Run {
                    return Err(Box::new(input_missing(self.context.source, declared, name)));
                }
                (stand_in, false)
            }
        };
        let declared = scope.input_types.get(name).cloned().unwrap_or_default();
        let equal = if self.eat(&Token::Equal) {
            true
        } else if self.eat(&Token::NotEqual) {
            false
        } else if declared.of == Some(InputType::Boolean) || !known {
            return Ok(Expression::Constant(value == "true"));
        } else {
            return Err(self.refuse(
                range,
                format!("the input `{name}` is not a boolean"),
                "only a boolean is a condition by itself",
                format!("compare it: `input.{name} == '…'`"),
            ));
        };
        let Some((Token::Quoted(text) | Token::Word(text), value_range)) =
            self.tokens.get(self.at).cloned()
        else {
            let range = self
                .tokens
                .get(self.at)
                .map_or(range.start..self.end, |(_, range)| range.clone());
            return Err(self.refuse(
                range,
                "a value is expected here",
                "an input is compared with a value",
                format!("write for instance `input.{name} == 'production'`"),
            ));
        };
        self.at += 1;
        if !declared.options.is_empty() && !declared.options.contains(&text) {
            let span = self.span(&value_range);
            return Err(Box::new(
                Diagnostic::at(
                    Kind::UnknownValue,
                    self.context.source,
                    span,
                    format!("the input `{name}` is never `{text}`"),
                )
                .caused_by(format!(
                    "its options are {}",
                    super::diagnostic::listed(declared.options.iter().map(String::as_str))
                ))
                .suggesting(nearest(&text, declared.options.iter().map(String::as_str)))
                .or_helped("compare it with one of its options"),
            ));
        }
        Ok(Expression::Constant((value == text) == equal))
    }

    fn eat(&mut self, token: &Token) -> bool {
        let found = self
            .tokens
            .get(self.at)
            .is_some_and(|(next, _)| next == token);
        self.at += usize::from(found);
        found
    }

    fn span(&self, range: &Range<usize>) -> super::source::Span {
        interpolate::find(self.context.source, self.node.span, self.text, range)
    }

    fn refuse(
        &self,
        range: Range<usize>,
        message: impl Into<String>,
        cause: impl Into<String>,
        help: String,
    ) -> Refusal {
        Box::new(
            Diagnostic::at(
                Kind::Condition,
                self.context.source,
                self.span(&range),
                message,
            )
            .caused_by(cause)
            .helped(help),
        )
    }
}
