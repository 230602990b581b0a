//! What a document declares, found before anything is read in full.
//!
//! A step may be named in a text above it, and an image whose reference is wrong is still declared:
//! otherwise one fault would make a second, false one.

use std::collections::HashMap;

use super::diagnostic::{Diagnostic, Kind};
use super::source::{Source, Span};
use super::tree::{Entry, Node};

/// The lists of steps, in the order in which they run.
pub const LISTS: [&str; 3] = ["steps", "on-failure", "finally"];

/// The names that a document declares.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Whether the whole document could be read; otherwise a missing name proves nothing.
    pub complete: bool,
    /// Whether it asks for a playground.
    pub playground: bool,
    /// The images.
    pub images: Vec<String>,
    /// The signers.
    pub signers: Vec<String>,
    /// The steps' ids in order, the three lists one after the other. A step without an id has its verb's name.
    pub steps: Vec<String>,
}

impl Names {
    /// Finds the names; `verbs` are the keys by which a step without an id is named.
    pub fn of(
        source: &Source,
        root: &Node,
        verbs: &[&str],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let keys = |node: Option<&Node>| {
            node.and_then(Node::mapping)
                .map(|entries| entries.iter().map(|entry| entry.key.clone()).collect())
                .unwrap_or_default()
        };
        Self {
            complete: root.complete,
            playground: root
                .entry("playground")
                .and_then(Node::scalar)
                .is_some_and(|scalar| scalar.text == "true"),
            images: keys(root.entry("images")),
            signers: keys(root.entry("trust").and_then(|trust| trust.entry("signers"))),
            steps: steps(source, root, verbs, diagnostics),
        }
    }
}

fn steps(
    source: &Source,
    root: &Node,
    verbs: &[&str],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let items: Vec<&Node> = LISTS
        .iter()
        .filter_map(|list| root.entry(list)?.sequence())
        .flatten()
        .collect();
    let mut given: HashMap<&str, Span> = HashMap::new();
    for item in &items {
        let Some((id, span)) = explicit(item) else {
            continue;
        };
        if id.contains("${") {
            diagnostics.push(
                Diagnostic::at(Kind::Template, source, span, "an id cannot be a template")
                    .caused_by("conditions, `--only` and the lock file name a step by its id")
                    .helped("write the id out; a step's `name` may be a template"),
            );
            continue;
        }
        if let Some(first) = given.get(id) {
            let line = source.position(first.start).line;
            diagnostics.push(
                Diagnostic::at(
                    Kind::DuplicateName,
                    source,
                    span,
                    format!("the id `{id}` is given to a second step"),
                )
                .labelled(format!("first on line {line}"))
                .caused_by("conditions, `--only` and the lock file name a step by its id, in all three lists")
                .helped("give one of the two another id"),
            );
        } else {
            given.insert(id, span);
        }
    }
    let mut ids: Vec<String> = Vec::new();
    for item in &items {
        let id = match explicit(item) {
            Some((id, _)) => id.to_owned(),
            None => {
                let verb = verb(item, verbs);
                let taken =
                    |name: &str| given.contains_key(name) || ids.iter().any(|id| id == name);
                let mut name = verb.to_owned();
                let mut number = 2;
                while taken(&name) {
                    name = format!("{verb}-{number}");
                    number += 1;
                }
                name
            }
        };
        ids.push(id);
    }
    ids
}

fn explicit(item: &Node) -> Option<(&str, Span)> {
    let node = item.entry("id")?;
    let scalar = node.scalar().filter(|scalar| !scalar.is_null())?;
    Some((scalar.text.as_str(), node.span))
}

fn verb<'a>(item: &Node, verbs: &[&'a str]) -> &'a str {
    let has = |verb: &&str| {
        item.mapping()
            .is_some_and(|entries: &[Entry]| entries.iter().any(|entry| entry.key == *verb))
    };
    verbs
        .iter()
        .find(|verb| has(verb))
        .copied()
        .unwrap_or("step")
}
