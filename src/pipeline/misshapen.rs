//! What is said of a value of the wrong shape.

use super::convert::{Context, FromScalar, Shape};
use super::diagnostic::{Diagnostic, Kind};
use super::tree::{Node, Scalar};

pub(super) fn refuse_list(node: &Node, context: &mut Context<'_>) {
    let text = context.source.slice(context.head(node)).to_owned();
    match node.mapping() {
        Some([first, ..]) if node.complete => {
            let head = context.head(node);
            let dash = first.key.starts_with('-');
            context.push(
                context
                    .error(Kind::WrongType, head, "expected a list, found a map")
                    .caused_by(if dash {
                        "a list item starts with a dash and a space; without the space it is a key"
                    } else {
                        "the items of a list start with `- `, or stand in `[…]`"
                    })
                    .helped(if dash {
                        format!("write `- {}`", first.key.trim_start_matches('-'))
                    } else {
                        format!("put a dash before each item: `- {}: …`", first.key)
                    }),
            );
        }
        _ => {
            if node
                .scalar()
                .is_some_and(|scalar| scalar.text.contains('\n'))
            {
                let span = context.head(node);
                context.push(
                    context
                        .error(Kind::WrongType, span, "expected a list, found text")
                        .caused_by("a `|` or `>` after a key makes all lines under it one text")
                        .helped("remove the `|` or `>`"),
                );
                return;
            }
            let example = match node.scalar() {
                Some(scalar) if !scalar.is_null() => format!("[{text}]"),
                _ => "[…]".to_owned(),
            };
            context.wrong_type(node, "a list", &example);
        }
    }
}

pub(super) fn misshapen<T: FromScalar>(
    context: &Context<'_>,
    node: &Node,
    scalar: &Scalar,
) -> Option<Diagnostic> {
    let template = scalar.text.contains("${");
    let wrong = match T::SHAPE {
        Shape::Any => return None,
        Shape::Text => scalar.is_number() || scalar.is_boolean(),
        Shape::Number => !scalar.is_number() && !template,
        Shape::Boolean => !scalar.is_boolean() && !template,
    };
    if !wrong {
        return None;
    }
    let text = scalar.text.as_str();
    let found = if scalar.plain {
        scalar.describe()
    } else {
        "text in quotes"
    };
    let help = match T::SHAPE {
        Shape::Text => format!("put it in quotes: `\"{text}\"`"),
        Shape::Boolean => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" | "true" | "1" => "write `true`, without quotes".to_owned(),
            "no" | "off" | "n" | "false" | "0" => "write `false`, without quotes".to_owned(),
            _ => "write `true` or `false`".to_owned(),
        },
        _ if T::parse(text).is_ok() => format!("write `{text}`, without quotes"),
        _ => format!("write {}, for instance `{}`", T::WHAT, T::EXAMPLE),
    };
    let cause = match T::SHAPE {
        Shape::Text => format!(
            "without quotes YAML reads `{text}` as {}",
            scalar.describe()
        ),
        Shape::Boolean => {
            "in YAML 1.2 the booleans are `true` and `false`, and nothing else".to_owned()
        }
        _ => format!("this value must be {}", T::WHAT),
    };
    Some(
        context
            .error(
                Kind::WrongType,
                node.span,
                format!("expected {}, found {found}", T::WHAT),
            )
            .caused_by(cause)
            .helped(help),
    )
}
