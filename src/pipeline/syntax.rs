//! Words for what a YAML parser refuses: the cause as a person would say it, and the edit.

use granit_parser::{ErrorKind, ScanError};

use super::diagnostic::{Diagnostic, Kind};
use super::source::{Source, Span};

/// Explains why a text is not YAML. Tabs elsewhere in indentation are found as well.
pub fn explain(source: &Source, error: &ScanError) -> Vec<Diagnostic> {
    let offset = error
        .marker()
        .byte_offset()
        .unwrap_or(0)
        .min(source.text().len());
    let mut found = vec![one(source, offset, error)];
    if found[0].kind == Kind::Tab {
        found.extend(other_tabs(source, offset));
    }
    found
}

fn one(source: &Source, offset: usize, error: &ScanError) -> Diagnostic {
    let (line_start, line) = source.line_at(offset);
    let span = one_character(source, offset);
    let syntax = |message: &str| Diagnostic::at(Kind::Syntax, source, span, message);
    let indent = line.len() - line.trim_start().len();
    let leading_tab = line[..indent].find('\t').map(|at| line_start + at);
    match error.kind() {
        kind if is_tab(kind) || (leading_tab.is_some() && !matches!(kind, ErrorKind::UnclosedQuotedScalar)) => {
            tab(source, leading_tab.unwrap_or(offset))
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            syntax("a quote is not closed")
                .labelled("opened here")
                .caused_by("the text runs on to the end of the file or out of its indentation")
                .helped("close the quote on the same line; inside double quotes write `\\\"`, inside single quotes `''`")
        }
        ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar => {
            syntax("text follows a closing quote")
                .caused_by("a quoted value ends at its closing quote")
                .helped("put all of the value inside the quotes")
        }
        ErrorKind::UnknownQuotedScalarEscape | ErrorKind::InvalidQuotedScalarHexEscape | ErrorKind::InvalidUnicodeEscape => {
            syntax("this escape does not exist")
                .caused_by("inside double quotes a backslash starts an escape such as `\\n` or `\\\"`")
                .helped("write `\\\\` for a backslash, or use single quotes, which have no escapes")
        }
        ErrorKind::UnexpectedCharacter { character } => syntax(&format!("a value cannot start with `{character}`"))
            .caused_by(format!("`{character}` is reserved in YAML at the start of a value without quotes"))
            .helped("put the value in quotes"),
        ErrorKind::MissingAnchorOrAliasName => syntax("a value cannot start with a bare `*` or `&`")
            .caused_by("in YAML they start an alias or an anchor, and its name is missing")
            .helped("put the value in quotes, for instance `\"*.example\"`"),
        ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping | ErrorKind::UnclosedFlowCollection { .. } => {
            let opened = last_open_bracket(&source.text()[..offset]).unwrap_or(offset);
            Diagnostic::at(Kind::Syntax, source, one_character(source, opened), "a bracket is not closed")
                .labelled("opened here")
                .caused_by("the file ends before the matching `]` or `}`")
                .helped("close it where the list or map ends")
        }
        ErrorKind::MismatchedFlowCollectionEnd { .. } => syntax("the wrong bracket closes here")
            .caused_by("a list that starts with `[` ends with `]`, a map that starts with `{` ends with `}`")
            .helped("use the bracket that matches"),
        ErrorKind::MisplacedFlowCollectionEnd => syntax("a bracket closes that was not opened")
            .caused_by("there is no `[` or `{` before it that is still open")
            .helped("remove it, or quote the value if it belongs to the text"),
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator
            if source.text()[..offset].ends_with('$') || line[..offset - line_start].contains("${") =>
        {
            syntax("a template inside brackets needs quotes")
                .caused_by("inside `[…]` and `{…}` the braces of `${…}` are read as a map")
                .helped("quote the value, for instance `{ref: \"ghcr.io/acme/web:${input.tag}\"}`")
        }
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::InvalidColonPlacement | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::FlowMappingValueAdjacentCollection | ErrorKind::BlockEntryInFlowCollection => {
            in_brackets(source, offset, syntax("this cannot stand inside brackets"))
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidMappingValueWhitespace => colon(source, offset),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => Diagnostic::at(Kind::Syntax, source, Span::new(offset, line_start + line.trim_end().len().max(offset - line_start)), "a key has no `:`")
            .caused_by("a line among keys has to be `key: value`, with a space after the colon")
            .helped("add `: ` after the key, or indent the line if it belongs to the value above"),
        ErrorKind::ExpectedBlockMappingKey => list_item_or(source, offset, syntax("this line does not fit the lines above it"))
            .helped("give keys of one map the same indentation, two spaces deeper than the key that they belong to"),
        ErrorKind::ExpectedBlockSequenceEntry => syntax("this line does not fit the list above it")
            .caused_by("it stands where the list's next `- ` would stand")
            .helped("start it with `- ` if it is an item, or indent it under the item that it belongs to"),
        ErrorKind::InvalidIndentation | ErrorKind::InvalidQuotedScalarIndent | ErrorKind::InvalidBlockScalarIndent => {
            syntax("the indentation does not fit any line above")
                .caused_by("YAML reads structure from indentation")
                .helped("give lines that belong together the same indentation, in spaces")
        }
        ErrorKind::BlockSequenceEntryNotAllowed => syntax("a list item cannot stand here")
            .caused_by("`- ` starts an item, and here a value on the same line or a key is expected")
            .helped("put the list on lines of its own under its key, or quote the value if it is text"),
        ErrorKind::DirectiveDisallowed | ErrorKind::MissingDirectiveName | ErrorKind::InvalidDirectiveName => {
            Diagnostic::at(Kind::Directive, source, span, "YAML directives are not supported")
                .caused_by("a line that starts with `%` is a directive, and a pipeline has no use for one")
                .helped("remove the line")
        }
        ErrorKind::RecursionLimitExceeded => {
            Diagnostic::at(Kind::TooDeep, source, span, "lists and maps are nested too deeply")
                .caused_by("no part of a pipeline is nested that deeply")
                .helped("look for brackets or dashes that are not closed or indented by mistake")
        }
        ErrorKind::InvalidDocumentEnd | ErrorKind::ExpectedDocumentStart => syntax("text follows the end of the document")
            .caused_by("the value that the document consists of ended on a line above")
            .helped("check the indentation of this line and of the first lines of the file"),
        _ => syntax("this is not YAML")
            .caused_by(error.info())
            .helped("check this line and the one above for quotes, brackets and indentation"),
    }
}

fn is_tab(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

fn tab(source: &Source, offset: usize) -> Diagnostic {
    // Some faults are reported where the value began that the tab follows.
    let text = &source.text()[offset..];
    let found = text.find('\t').map_or(offset, |at| offset + at);
    let run = source.text()[found..]
        .bytes()
        .take_while(|byte| *byte == b'\t')
        .count();
    let span = if run > 0 {
        Span::new(found, found + run)
    } else {
        one_character(source, offset)
    };
    Diagnostic::at(
        Kind::Tab,
        source,
        span,
        "a tab stands where YAML takes spaces only",
    )
    .caused_by("YAML reads structure from indentation, and tabs have no agreed width")
    .helped("replace each tab by two spaces")
}

/// Finds the tabs in the indentation of the lines after the first such line.
fn other_tabs(source: &Source, first: usize) -> Vec<Diagnostic> {
    let text = source.text();
    let mut found = Vec::new();
    let mut start = text[first..]
        .find('\n')
        .map_or(text.len(), |at| first + at + 1);
    while start < text.len() && found.len() < 10 {
        let (_, line) = source.line_at(start);
        let indent = line.len() - line.trim_start().len();
        if let Some(at) = line[..indent]
            .find('\t')
            .filter(|_| !line.trim().is_empty())
        {
            found.push(tab(source, start + at));
        }
        start = text[start..]
            .find('\n')
            .map_or(text.len(), |at| start + at + 1);
    }
    found
}

fn colon(source: &Source, offset: usize) -> Diagnostic {
    let (line_start, line) = source.line_at(offset);
    let before = &line[..offset - line_start];
    let start = line_start + (line.len() - line.trim_start().len());
    if before.contains(": ") {
        return Diagnostic::at(
            Kind::Syntax,
            source,
            one_character(source, offset),
            "a second `: ` stands on this line",
        )
        .caused_by("a value without quotes cannot hold a colon that is followed by a space")
        .helped("quote the value, or put the inner key on a line of its own");
    }
    Diagnostic::at(
        Kind::Syntax,
        source,
        Span::new(start, offset.max(start + 1)),
        "this key is indented more than the line above allows",
    )
    .caused_by("the line above already has a value, so this line is read as a part of it")
    .helped("give it the indentation of the key above, or remove the value from the key that it belongs to")
}

fn in_brackets(source: &Source, offset: usize, otherwise: Diagnostic) -> Diagnostic {
    let opened = last_open_bracket(&source.text()[..offset]);
    let same_line =
        opened.is_some_and(|at| source.position(at).line == source.position(offset).line);
    match opened {
        Some(at) if !same_line => Diagnostic::at(
            Kind::Syntax,
            source,
            one_character(source, at),
            "a bracket is not closed",
        )
        .labelled("opened here")
        .caused_by(format!(
            "line {} is still read as a part of it",
            source.position(offset).line
        ))
        .helped("close it where the list or map ends"),
        _ => otherwise
            .caused_by(
                "inside `[…]` and `{…}`, items are separated by commas, and keys are `key: value`",
            )
            .helped("add the missing comma or space, or quote the value"),
    }
}

fn list_item_or(source: &Source, offset: usize, otherwise: Diagnostic) -> Diagnostic {
    let (line_start, line) = source.line_at(offset);
    let trimmed = line.trim_start();
    if trimmed.starts_with("- ") || trimmed == "-" {
        let start = line_start + line.len() - trimmed.len();
        return Diagnostic::at(
            Kind::Syntax,
            source,
            one_character(source, start),
            "a list item stands among keys",
        )
        .caused_by("the lines above it at this indentation are `key: value`");
    }
    otherwise.caused_by("it is neither a key of the map above nor a part of the value above")
}

/// Finds the innermost bracket that is open at the end of a text; quotes and comments are passed over.
fn last_open_bracket(text: &str) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut comment = false;
    let mut previous = '\n';
    for (offset, character) in text.char_indices() {
        match (quote, character) {
            _ if comment => comment = character != '\n',
            (Some(mark), other) if mark == other && previous != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if !previous.is_alphanumeric() => quote = Some(character),
            (None, '#') if previous.is_whitespace() => comment = true,
            (None, '[' | '{') => open.push(offset),
            (None, ']' | '}') => {
                open.pop();
            }
            _ => {}
        }
        previous = character;
    }
    open.pop()
}

fn one_character(source: &Source, offset: usize) -> Span {
    let width = source.text()[offset..]
        .chars()
        .next()
        .filter(|character| !matches!(character, '\n' | '\r'))
        .map_or(0, char::len_utf8);
    Span::new(offset, offset + width)
}
