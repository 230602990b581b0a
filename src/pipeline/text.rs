//! Texts that a run completes.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::convert::{Context, FromNode};
use super::diagnostic::Kind;
use super::interpolate::{Late, LateName, Piece, Resolved};
use super::tree::Node;

/// A text for people, in which names may stand that only the run can fill in.
///
/// It holds no secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text(Vec<TextPart>);

#[derive(Clone, Debug, PartialEq)]
enum TextPart {
    Plain(String),
    Late(Late),
}

impl Text {
    /// Makes a text that is known already.
    pub fn plain(text: impl Into<String>) -> Self {
        Self(vec![TextPart::Plain(text.into())])
    }

    /// Makes a text of a value; fails with the name of a secret that it holds.
    ///
    /// # Errors
    ///
    /// Returns the secret's name.
    pub fn from_pieces(resolved: &Resolved) -> Result<Self, String> {
        resolved
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => Ok(TextPart::Plain(text.clone())),
                Piece::Late(late) => Ok(TextPart::Late(late.clone())),
                Piece::Secret(name, _) => Err(name.clone()),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Says whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        let empty = |part: &TextPart| matches!(part, TextPart::Plain(text) if text.is_empty());
        self.0.iter().all(empty)
    }

    /// Returns the names that only the run can fill in and that have no default.
    pub fn demanded(&self) -> impl Iterator<Item = &LateName> {
        self.0.iter().filter_map(|part| match part {
            TextPart::Late(late) if late.fallback.is_none() => Some(&late.name),
            TextPart::Late(_) | TextPart::Plain(_) => None,
        })
    }

    /// Completes the text. `known` gives what the run knows; where it knows nothing, the default of the
    /// document stands, or the name itself in parentheses.
    pub fn complete(&self, known: &dyn Fn(&LateName) -> Option<String>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                TextPart::Plain(plain) => text.push_str(plain),
                TextPart::Late(late) => {
                    let value = known(&late.name).filter(|value| !value.is_empty());
                    match (value, &late.fallback) {
                        (Some(value), _) => text.push_str(&value),
                        (None, Some(fallback)) => text.push_str(&fallback.complete(known)),
                        (None, None) => text.push_str(&format!("(no {})", late.name)),
                    }
                }
            }
        }
        text
    }
}

impl FromNode for Text {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            context.wrong_type(node, "text", "all is well");
            return None;
        };
        if scalar.is_number() || scalar.is_boolean() {
            let found = scalar.describe();
            context.push(
                context
                    .error(
                        Kind::WrongType,
                        node.span,
                        format!("expected text, found {found}"),
                    )
                    .caused_by(format!(
                        "without quotes YAML reads `{}` as {found}",
                        scalar.text
                    ))
                    .helped(format!("put it in quotes: `\"{}\"`", scalar.text)),
            );
            return None;
        }
        let resolved = context.resolve(node)?;
        match Self::from_pieces(&resolved) {
            Ok(text) => Some(text),
            Err(secret) => {
                context.push(
                    context
                        .error(
                            Kind::SecretMisplaced,
                            node.span,
                            format!("the secret `{secret}` cannot stand here"),
                        )
                        .caused_by("this text is shown in logs, reports and notices")
                        .helped(
                            "secrets may stand in a password, a webhook and the value of a header",
                        ),
                );
                None
            }
        }
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_run_does_not_know_falls_back() {
        let late = |name, fallback| TextPart::Late(Late { name, fallback });
        let text = Text(vec![
            TextPart::Plain("web is ".into()),
            late(
                LateName::ImageDigest("web".into()),
                Some(Text::plain("unresolved")),
            ),
            TextPart::Plain(", ".into()),
            late(LateName::RunStatus, None),
        ]);
        assert_eq!(
            text.complete(&|_| None),
            "web is unresolved, (no run.status)"
        );
        assert_eq!(
            text.complete(&|name| Some(match name {
                LateName::RunStatus => "passed".into(),
                _ => "sha256:00".into(),
            })),
            "web is sha256:00, passed"
        );
    }
}
