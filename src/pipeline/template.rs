//! The grammar of `${…}` in values.
//!
//! ```text
//! template := (text | "$$" | "${" name [ ":-" template | ":?" text ] "}")*
//! name     := part ("." part)*
//! ```
//!
//! A `$` that neither `$` nor `{` follows stands for itself, so that patterns and JSON paths need no escape.

use std::fmt;
use std::ops::Range;

/// How deep defaults may be nested.
const MAXIMUM_DEPTH: usize = 16;

/// A value with places to fill in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template(pub Vec<Part>);

/// A part of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// A name to be filled in.
    Name(Name),
}

/// A name to be filled in.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name, for instance `input.tag`.
    pub path: String,
    /// What stands in where there is no value.
    pub fallback: Option<Fallback>,
    /// Where the name stands in the value's text, `${` and `}` included.
    pub range: Range<usize>,
}

impl PartialEq for Name {
    /// Compares what is meant: where it stands makes no difference.
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path && self.fallback == other.fallback
    }
}

impl Eq for Name {}

/// What happens where a name has no value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fallback {
    /// `:-`: this stands in.
    Default(Template),
    /// `:?`: the document is refused with this message.
    Message(String),
}

/// Why a template cannot be read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TemplateError {
    /// Where, in the value's text.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// The edit that helps.
    pub help: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// Refuses a `${` that is not closed, an empty name, and defaults nested more than 16 deep.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut reader = Reader { text, at: 0 };
        reader.template(0)
    }

    /// Says whether anything is to be filled in.
    pub fn has_names(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Name(_)))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Literal(text) => f.write_str(&text.replace('$', "$$"))?,
                Part::Name(name) => {
                    write!(f, "${{{}", name.path)?;
                    match &name.fallback {
                        None => {}
                        Some(Fallback::Default(template)) => write!(f, ":-{template}")?,
                        Some(Fallback::Message(message)) => write!(f, ":?{message}")?,
                    }
                    f.write_str("}")?;
                }
            }
        }
        Ok(())
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// Reads up to the end, or up to the `}` that closes the name around a default.
    fn template(&mut self, depth: usize) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        while let Some(next) = self.rest().chars().next() {
            if depth > 0 && next == '}' {
                break;
            }
            if self.rest().starts_with("$$") {
                literal.push('$');
                self.at += 2;
            } else if self.rest().starts_with("${") {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Name(self.name(depth)?));
            } else {
                literal.push(next);
                self.at += next.len_utf8();
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template(parts))
    }

    fn name(&mut self, depth: usize) -> Result<Name, TemplateError> {
        let start = self.at;
        if depth >= MAXIMUM_DEPTH {
            return Err(TemplateError {
                range: start..start + 2,
                message: format!("defaults are nested more than {MAXIMUM_DEPTH} deep"),
                help: "give the inner value to an input of its own".into(),
            });
        }
        if self.rest().starts_with("${{") {
            return Err(self.foreign(start));
        }
        self.at += 2;
        let length = self
            .rest()
            .find(|character: char| !is_name_character(character))
            .unwrap_or(self.rest().len());
        let path = self.rest()[..length].to_owned();
        self.at += length;
        let rest = self.rest();
        let fallback = if rest.starts_with('}') {
            None
        } else if rest.starts_with(":-") {
            self.at += 2;
            Some(Fallback::Default(self.template(depth + 1)?))
        } else if rest.starts_with(":?") {
            self.at += 2;
            let end = self.rest().find('}').ok_or_else(|| self.unclosed(start))?;
            let message = self.rest()[..end].to_owned();
            self.at += end;
            Some(Fallback::Message(message))
        } else if let Some(found) = rest.chars().next() {
            let end = self.at + found.len_utf8();
            return Err(if self.rest().contains('}') {
                TemplateError {
                    range: self.at..end,
                    message: format!("`{found}` cannot stand in the name of a template"),
                    help: "write `${input.name}`, `${input.name:-default}` or `${input.name:?message}`; \
                           write `$$` for a plain `$`"
                        .into(),
                }
            } else {
                self.unclosed(start)
            });
        } else {
            None
        };
        if !self.rest().starts_with('}') {
            return Err(self.unclosed(start));
        }
        self.at += 1;
        if path.is_empty() {
            return Err(TemplateError {
                range: start..self.at,
                message: "a template has no name".into(),
                help: "write for instance `${input.tag}`; write `$$` for a plain `$`".into(),
            });
        }
        Ok(Name {
            path,
            fallback,
            range: start..self.at,
        })
    }

    fn unclosed(&self, start: usize) -> TemplateError {
        TemplateError {
            range: start..self.text.len(),
            message: "a template is not closed".into(),
            help: "add the `}`; write `$$` for a plain `$`".into(),
        }
    }

    /// `${{ … }}` is how GitHub's workflows write it.
    fn foreign(&self, start: usize) -> TemplateError {
        let end = self
            .rest()
            .find("}}")
            .map_or(self.text.len(), |at| self.at + at + 2);
        let name = self.text[start..end]
            .trim_matches(['$', '{', '}', ' '])
            .replace("inputs.", "input.")
            .replace("secrets.", "secret.");
        TemplateError {
            range: start..end,
            message: "templates have single braces here".into(),
            help: format!("write `${{{name}}}`; `${{{{ … }}}}` is the form of GitHub's workflows"),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }
}

fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn templates() -> impl Strategy<Value = Template> {
        let leaf = prop_oneof![
            "[a-z $:?.-]{1,8}".prop_map(Part::Literal),
            "[a-z]{1,5}\\.[a-z0-9_-]{1,5}".prop_map(|path| Part::Name(Name {
                path,
                fallback: None,
                range: 0..0
            })),
        ];
        let part = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                inner.clone(),
                ("[a-z]{1,5}", prop::collection::vec(inner, 0..3)).prop_map(|(path, parts)| {
                    Part::Name(Name {
                        path,
                        fallback: Some(Fallback::Default(Template(merge(parts)))),
                        range: 0..0,
                    })
                }),
                ("[a-z]{1,5}", "[a-z $]{0,8}").prop_map(|(path, message)| Part::Name(Name {
                    path,
                    fallback: Some(Fallback::Message(message)),
                    range: 0..0
                })),
            ]
        });
        prop::collection::vec(part, 0..5).prop_map(|parts| Template(merge(parts)))
    }

    /// Reading never yields two literals in a row.
    fn merge(parts: Vec<Part>) -> Vec<Part> {
        let mut merged: Vec<Part> = Vec::new();
        for part in parts {
            match (merged.last_mut(), part) {
                (Some(Part::Literal(before)), Part::Literal(text)) => before.push_str(&text),
                (_, part) => merged.push(part),
            }
        }
        merged
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(template in templates()) {
            prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[$ {}:?a-z.\\-é]{0,40}") {
            if let Err(error) = Template::parse(&text) {
                prop_assert!(text.get(error.range).is_some());
            }
        }
    }

    #[test]
    fn a_lone_dollar_stands_for_itself() {
        for text in ["$.a[0]", "^v[0-9]+$", "costs 5$", "$HOME"] {
            assert_eq!(
                Template::parse(text).unwrap().0,
                [Part::Literal(text.to_owned())]
            );
        }
        assert_eq!(
            Template::parse("$${input.a}").unwrap().0,
            [Part::Literal("${input.a}".into())]
        );
    }

    #[test]
    fn the_form_of_github_is_recognised() {
        let error = Template::parse("x ${{ inputs.tag }}").unwrap_err();
        assert_eq!(error.range, 2..19);
        assert!(
            error.help.starts_with("write `${input.tag}`"),
            "{}",
            error.help
        );
    }

    #[test]
    fn a_nesting_bomb_is_refused() {
        assert!(Template::parse(&"${a:-".repeat(100_000)).is_err());
    }
}
