//! What is wrong with a document: where, why, and what to change.

use std::fmt;

use serde::Serialize;

pub use super::excerpt::Excerpt;
use super::source::{Position, Source, Span};

/// A finding about a document.
///
/// Its `Display` is the plain form, as compilers write it; reports take the fields.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Diagnostic {
    /// What sort of finding it is.
    pub kind: Kind,
    /// Whether the document may still be run.
    pub severity: Severity,
    /// The document's name.
    pub file: String,
    /// Where it is, unless it concerns the whole file.
    pub place: Option<Place>,
    /// One sentence without a full stop: what is wrong.
    pub message: String,
    /// What stands under the caret, if that adds something.
    pub label: Option<String>,
    /// Why it is wrong.
    pub cause: Option<String>,
    /// The edit that helps.
    pub help: Option<String>,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    /// Makes an error at a place.
    pub fn at(kind: Kind, source: &Source, span: Span, message: impl Into<String>) -> Self {
        Self {
            place: Some(Place::of(source, span)),
            ..Self::of_file(kind, source.name(), message)
        }
    }

    /// Makes an error about a whole file.
    pub fn of_file(kind: Kind, file: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            severity: Severity::Error,
            file: file.to_owned(),
            place: None,
            message: visible(&message.into()),
            label: None,
            cause: None,
            help: None,
            suggestion: None,
        }
    }

    /// Says what stands under the caret.
    #[must_use]
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(visible(&label.into()));
        self
    }

    /// Says why.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(visible(&cause.into()));
        self
    }

    /// Says which edit helps.
    #[must_use]
    pub fn helped(mut self, help: impl Into<String>) -> Self {
        self.help = Some(visible(&help.into()));
        self
    }

    /// Says which edit helps, unless that is said already.
    #[must_use]
    pub fn or_helped(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// Says which name was probably meant; the help says so too unless it is already given.
    #[must_use]
    pub fn suggesting(mut self, suggestion: Option<String>) -> Self {
        if let Some(name) = &suggestion {
            self.help
                .get_or_insert_with(|| format!("did you mean `{name}`?"));
        }
        self.suggestion = suggestion;
        self
    }

    /// Lets the document run all the same.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Shows stars instead of the value, and nothing of what stands around it but its key.
    #[must_use]
    pub fn starred(mut self) -> Self {
        if let Some(excerpt) = self.place.as_mut().and_then(|place| place.excerpt.as_mut()) {
            excerpt.star();
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity, self.message)?;
        let Some(place) = &self.place else {
            write!(f, "\n --> {}", self.file)?;
            return self.fmt_notes(f, 1);
        };
        let number = place.start.line.to_string();
        let margin = number.len();
        write!(
            f,
            "\n{:margin$}--> {}:{}:{}",
            "", self.file, place.start.line, place.start.column
        )?;
        if let Some(excerpt) = &place.excerpt {
            write!(f, "\n{:margin$} |\n{number} | {}", "", excerpt.text)?;
            write!(
                f,
                "\n{:margin$} | {:indent$}{}",
                "",
                "",
                "^".repeat(excerpt.width),
                indent = excerpt.indent
            )?;
            if let Some(label) = &self.label {
                write!(f, " {label}")?;
            }
        }
        self.fmt_notes(f, margin)
    }
}

impl Diagnostic {
    fn fmt_notes(&self, f: &mut fmt::Formatter<'_>, margin: usize) -> fmt::Result {
        if let Some(cause) = &self.cause {
            write!(f, "\n{:margin$} = cause: {cause}", "")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{:margin$} = help: {help}", "")?;
        }
        Ok(())
    }
}

/// Whether a document may still be run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It may not.
    Error,
    /// It may.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Where a finding is.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Place {
    /// The first character.
    pub start: Position,
    /// One past the last character.
    pub end: Position,
    /// The line that it is on, ready to be shown.
    pub excerpt: Option<Excerpt>,
    /// The offsets in the text, for sorting.
    #[serde(skip)]
    pub span: Span,
}

impl Place {
    /// Finds a span's lines and columns, and cuts out what is shown of it.
    pub fn of(source: &Source, span: Span) -> Self {
        let (line_start, line) = source.line_at(span.start);
        Self {
            start: source.position(span.start),
            end: source.position(span.end.max(span.start)),
            excerpt: Some(Excerpt::cut(
                line,
                span.start.saturating_sub(line_start),
                span.end.saturating_sub(line_start),
            )),
            span,
        }
    }
}

/// Writes control characters as escapes: a value that is quoted must not move the cursor.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The sort of a finding: one variant for each thing that can be wrong with a document.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// Every kind, for tests and tables.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

kinds! {
    /// An alias names an anchor that does not exist.
    Alias,
    /// A text, number, duration, size, address or reference is malformed.
    BadValue,
    /// A condition in `if:` cannot be read.
    Condition,
    /// Keys stand together that exclude each other.
    Conflict,
    /// Inputs refer to each other in a circle.
    Cycle,
    /// A YAML directive.
    Directive,
    /// A name or an id is given twice.
    DuplicateName,
    /// A key stands twice in one map.
    DuplicateKey,
    /// The document, a list or a map is empty where something is needed.
    Empty,
    /// The bytes are not UTF-8.
    Encoding,
    /// Two values contradict each other.
    Inconsistent,
    /// An input's value is not one that its declaration allows.
    InputInvalid,
    /// An input has no value.
    InputMissing,
    /// A key is a list or a map.
    KeyNotText,
    /// A name that is only known during the run stands where a value is needed before it.
    LateMisplaced,
    /// A YAML merge key.
    MergeKey,
    /// A key is missing.
    MissingKey,
    /// A key or a value of the design that this version does not do.
    NotSupported,
    /// A secret is written into the document.
    PlainSecret,
    /// A secret stands where it would be shown.
    SecretMisplaced,
    /// A secret's value is too short to be masked.
    SecretShort,
    /// A secret has no value.
    SecretUnset,
    /// More than one YAML document in the file.
    SeveralDocuments,
    /// The text is not YAML.
    Syntax,
    /// A tab where YAML takes spaces only.
    Tab,
    /// A YAML tag.
    Tag,
    /// A template such as `${input.tag}` cannot be read.
    Template,
    /// Lists and maps are nested too deeply.
    TooDeep,
    /// The file is too large.
    TooLarge,
    /// The document has too many values, aliases counted as often as they are used.
    TooMany,
    /// A name that is not declared.
    Undefined,
    /// A key that is not one of those known.
    UnknownKey,
    /// A value that is not one of those known.
    UnknownValue,
    /// The file cannot be read.
    Unreadable,
    /// A declaration that nothing uses.
    Unused,
    /// The document's version is not one that this program reads.
    Version,
    /// A value of another type.
    WrongType,
}

impl Kind {
    /// Says whether the finding ends the reading of the text, so that what follows is unknown.
    pub fn is_syntax(self) -> bool {
        matches!(
            self,
            Self::Alias
                | Self::Directive
                | Self::Syntax
                | Self::Tab
                | Self::TooDeep
                | Self::TooMany
        )
    }
}

/// Puts findings in the order of the text, those without a place first, and drops repetitions.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.sort_by(|a, b| {
        let key = |d: &Diagnostic| {
            d.place
                .as_ref()
                .map(|place| (place.span.start, place.span.end))
        };
        key(a)
            .cmp(&key(b))
            .then_with(|| a.kind.cmp(&b.kind))
            .then_with(|| a.message.cmp(&b.message))
    });
    diagnostics.dedup();
}

/// Returns the candidate that is nearest to a name, if any is near enough to be a typing error.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' '], "-");
    let wanted = plain(name);
    candidates
        .into_iter()
        .map(|candidate| {
            let other = plain(candidate);
            let related = wanted.len() >= 3
                && other.len() >= 3
                && (other.starts_with(&wanted) || wanted.starts_with(&other));
            let distance = strsim::damerau_levenshtein(&wanted, &other);
            let bound = match wanted.chars().count() {
                0..=2 => 0,
                _ if related => 8,
                characters => 1 + characters / 5,
            };
            (distance, bound, candidate)
        })
        .filter(|(distance, bound, _)| distance <= bound)
        .min_by(|a, b| (a.0, a.2).cmp(&(b.0, b.2)))
        .map(|(_, _, candidate)| candidate.to_owned())
}

/// Joins names for a sentence: `a`, `b` and `c`.
pub fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_covers_the_span_behind_wide_characters_and_tabs() {
        let source = Source::new("p.yml", "a: 1\n\t名: [深, bad]\n");
        let start = source.text().find("bad").unwrap();
        let finding = Diagnostic::at(
            Kind::Undefined,
            &source,
            Span::new(start, start + 3),
            "no image `bad`",
        )
        .labelled("not declared")
        .caused_by("images are declared in `images`")
        .suggesting(Some("bat".into()));
        insta::assert_snapshot!(finding, @r"
        error: no image `bad`
         --> p.yml:2:9
          |
        2 |     名: [深, bad]
          |              ^^^ not declared
          = cause: images are declared in `images`
          = help: did you mean `bat`?
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let line = format!("a: {}bad{}", "x".repeat(500), "y".repeat(500));
        let source = Source::new("p.yml", line);
        let place = Place::of(&source, Span::new(503, 506));
        let excerpt = place.excerpt.unwrap();
        let shown: String = excerpt
            .text
            .chars()
            .skip(excerpt.indent)
            .take(excerpt.width)
            .collect();
        assert_eq!(shown, "bad");
        assert!(excerpt.text.chars().count() <= super::super::excerpt::SHOWN_COLUMNS + 2);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let source = Source::new("p.yml", "a: \u{1b}[31mred\n");
        let finding = Diagnostic::at(Kind::Syntax, &source, Span::new(3, 4), "no");
        assert!(!finding.to_string().contains('\u{1b}'));
    }

    #[test]
    fn typing_errors_find_the_name_that_was_meant() {
        let keys = ["preload", "verify", "gate", "check", "on-failure"];
        assert_eq!(nearest("prelaod", keys).as_deref(), Some("preload"));
        assert_eq!(nearest("on_failure", keys).as_deref(), Some("on-failure"));
        assert_eq!(nearest("Gate", keys).as_deref(), Some("gate"));
        assert_eq!(nearest("build", keys), None);
        assert_eq!(nearest("x", keys), None);
    }
}
