//! The grammar of `if:`, which is closed: no functions but these, no side effects, no wait.
//!
//! ```text
//! or         := and ("or" and)*
//! and        := not ("and" not)*
//! not        := "not" not | "(" or ")" | atom
//! atom       := OUTCOME "(" id ")" | STATUS "()" | "input." name [("==" | "!=") value] | "true" | "false"
//! OUTCOME    := "failed" | "passed" | "skipped" | "inconclusive"
//! STATUS     := "success" | "failure" | "cancelled"
//! value      := "'" text "'" | '"' text '"' | word
//! ```

use std::fmt;

use schemars::{Schema, SchemaGenerator, json_schema};

use super::condition_parser;
use super::convert::{Context, FromNode};
use super::tree::Node;

/// When a step runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
    expression: Expression,
}

/// What a condition is decided by, while the run goes on.
pub trait Facts {
    /// Says whether an earlier step ended in this way.
    fn ended(&self, step: &str, ending: Ending) -> bool;

    /// Says whether the run stands so.
    fn stands(&self, standing: Standing) -> bool;
}

/// How a step ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// It failed.
    Failed,
    /// It could not decide.
    Inconclusive,
    /// It did what it was asked.
    Passed,
    /// It did not run.
    Skipped,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It was cancelled.
    Cancelled,
    /// A step failed or could not decide.
    Failure,
    /// Nothing has gone wrong so far.
    Success,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    All(Box<Expression>, Box<Expression>),
    Any(Box<Expression>, Box<Expression>),
    Constant(bool),
    Ended(Ending, String),
    Not(Box<Expression>),
    Stands(Standing),
}

impl Condition {
    /// Decides.
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        self.expression.holds(facts)
    }

    /// Returns the condition as the document writes it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression {
    fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Self::All(left, right) => left.holds(facts) && right.holds(facts),
            Self::Any(left, right) => left.holds(facts) || right.holds(facts),
            Self::Constant(value) => *value,
            Self::Ended(ending, step) => facts.ended(step, *ending),
            Self::Not(inner) => !inner.holds(facts),
            Self::Stands(standing) => facts.stands(*standing),
        }
    }
}

impl FromNode for Condition {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            context.wrong_type(node, "a condition", "failed(live)");
            return None;
        };
        let text = scalar.text.clone();
        let expression = condition_parser::parse(&text, node, context);
        match expression {
            Ok(expression) => Some(Self { text, expression }),
            Err(diagnostic) => {
                context.push(*diagnostic);
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "boolean"]})
    }
}

#[cfg(test)]
#[path = "tests/condition.rs"]
mod tests;
