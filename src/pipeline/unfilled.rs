//! What is said of a name that nothing can be filled in for.

use super::diagnostic::{Diagnostic, Kind, listed, nearest};
use super::source::{Source, Span};

/// Says that an input that something needs has no value.
pub fn input_missing(source: &Source, declared: Span, name: &str) -> Diagnostic {
    Diagnostic::at(
        Kind::InputMissing,
        source,
        declared,
        format!("the input `{name}` has no value"),
    )
    .caused_by("it has no default, and none was given")
    .helped(give(&format!("input.{name}")))
}

pub(super) fn give(path: &str) -> String {
    match path.strip_prefix("input.") {
        Some(name) => format!("run with `--input {name}=…`, or give the input a `default`"),
        None => "give it a default with `:-`".to_owned(),
    }
}

pub(super) fn misplaced_in_default(source: &Source, span: Span, secret: &str) -> Diagnostic {
    Diagnostic::at(
        Kind::SecretMisplaced,
        source,
        span,
        format!("the secret `{secret}` cannot stand here"),
    )
    .caused_by("the default of a name that is known during the run is shown in logs and reports")
    .helped("write a text that may be shown")
}

/// Says that a name is not declared.
pub fn undefined<T: AsRef<str>>(
    source: &Source,
    span: Span,
    what: &str,
    name: &str,
    declared: impl IntoIterator<Item = T>,
) -> Diagnostic {
    let declared: Vec<T> = declared.into_iter().collect();
    let names = || declared.iter().map(AsRef::as_ref);
    let cause = if declared.is_empty() {
        format!("the document declares no {what}")
    } else {
        let verb = if what.starts_with("playground") {
            "there are"
        } else {
            "declared are"
        };
        format!("{verb} {}", listed(names()))
    };
    let article = if what.starts_with(['a', 'e', 'i', 'o']) {
        "an"
    } else {
        "a"
    };
    let diagnostic = Diagnostic::at(
        Kind::Undefined,
        source,
        span,
        format!("there is no {what} `{name}`"),
    )
    .caused_by(cause)
    .suggesting(nearest(name, names()));
    diagnostic.or_helped(format!(
        "declare {article} {what} of this name, or use one that is declared"
    ))
}

pub(super) fn unknown_namespace(source: &Source, span: Span, path: &str) -> Diagnostic {
    let (space, rest) = path.split_once('.').unwrap_or((path, ""));
    let base = Diagnostic::at(
        Kind::Undefined,
        source,
        span,
        format!("there is no name `{path}`"),
    )
    .caused_by(
        "names are `input.NAME`, `secret.NAME`, `run.id`, `run.link`, `run.status`, `run.reason`, \
         `image.NAME.digest`, `image.NAME.ref`, `step.ID.outcome` and `playground.NAME`",
    );
    let spaces = ["input", "secret", "run", "image", "step", "playground"];
    match (space, rest) {
        ("env" | "vars" | "variables", _) => base.helped(
            "a pipeline reads no variables by itself: declare an input, or a secret with `{env: NAME}`",
        ),
        ("image", name) if !name.is_empty() => base.helped(format!(
            "write `${{image.{}.digest}}` or `${{image.{0}.ref}}`",
            name.split('.').next().unwrap_or(name)
        )),
        ("run", name) => match nearest(name, ["id", "link", "status", "reason"]) {
            Some(meant) => base.suggesting(Some(format!("run.{meant}"))),
            None => base.helped("write `${run.id}`, `${run.link}`, `${run.status}` or `${run.reason}`"),
        },
        (_, "") => base.helped(format!(
            "declare an input and write `${{input.{}}}`, or write `$${{{space}}}` if it is plain text",
            space.to_lowercase()
        )),
        _ => match nearest(space, spaces) {
            Some(meant) => base.suggesting(Some(format!("{meant}.{rest}"))),
            None => base.helped("use one of these names, or write `$$` for a plain `$`"),
        },
    }
}
