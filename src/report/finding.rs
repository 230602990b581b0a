//! What is wrong with a file, in words and with its place, as far as reports need to know it.

/// Something that is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What kind of finding it is, in a word: `unknown-key`.
    pub kind: String,
    /// The file as it was named.
    pub file: String,
    /// Where in the file, unless it concerns all of it.
    pub extent: Option<Extent>,
    /// All that people read, several lines without a label in front.
    pub text: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Nothing goes on with it.
    Error,
    /// It is worth a look.
    Warning,
}

impl Level {
    /// Returns the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A stretch of a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// The line of the first character.
    pub line: usize,
    /// The column of the first character, if it is known.
    pub column: Option<usize>,
    /// The column of the last character, if it is known and on the same line.
    pub last_column: Option<usize>,
}
