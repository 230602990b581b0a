//! Configuration of other tools: TOML with the lines that things stand on, and what can't be honoured.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something in another tool's configuration that can't be honoured, or not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Refused {
    /// The line, from 1.
    pub line: usize,
    /// What stands there, and why it is refused.
    pub what: String,
    /// The edit that helps.
    pub hint: String,
}

impl Refused {
    pub(super) fn new(line: usize, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            line,
            what: what.into(),
            hint: hint.into(),
        }
    }
}

/// A key with its value, and the line that it stands on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value, as far as anybody here asks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Flag(bool),
    List(Vec<Value>),
    /// A number or a date.
    Other,
    /// In the order of the file.
    Table(Vec<Entry>),
    Text(String),
}

/// Reads TOML.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, Refused> {
    match DeTable::parse(text) {
        Ok(table) => Ok(entries(table.get_ref(), text)),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let what = error.message().chars().take(200).collect::<String>();
            Err(Refused::new(line(text, at), what, "repair the file"))
        }
    }
}

impl Entry {
    pub(super) fn text(&self) -> Result<&str, Refused> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.malformed("a text")),
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Refused> {
        match self.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.malformed("`true` or `false`")),
        }
    }

    pub(super) fn table(&self) -> Result<&[Entry], Refused> {
        match &self.value {
            Value::Table(entries) => Ok(entries),
            _ => Err(self.malformed("a table")),
        }
    }

    pub(super) fn tables(&self) -> Result<Vec<&[Entry]>, Refused> {
        let Value::List(items) = &self.value else {
            return Err(self.malformed("a list of tables"));
        };
        let tables = items.iter().map(|item| match item {
            Value::Table(entries) => Ok(entries.as_slice()),
            _ => Err(self.malformed("a list of tables")),
        });
        tables.collect()
    }

    /// Returns the texts of a list; one alone is one.
    pub(super) fn texts(&self) -> Result<Vec<&str>, Refused> {
        let items = match &self.value {
            Value::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let texts = items.iter().map(|item| match item {
            Value::Text(text) => Ok(text.as_str()),
            _ => Err(self.malformed("a list of texts")),
        });
        texts.collect()
    }

    /// Refuses it whatever its value is.
    pub(super) fn unknown(&self) -> Refused {
        Refused::new(
            self.line,
            format!("`{}` is not known here", shown(&self.key)),
            "take the line out, or write the mirrors into the document",
        )
    }

    fn malformed(&self, what: &str) -> Refused {
        Refused::new(
            self.line,
            format!("`{}` is not {what}", shown(&self.key)),
            "repair the file",
        )
    }
}

/// Returns a foreign text within bounds.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(120).collect()
}

fn entries(table: &DeTable<'_>, text: &str) -> Vec<Entry> {
    let mut all: Vec<_> = table.iter().collect();
    // A table has no order of its own; whom to ask first is the order of the file.
    all.sort_by_key(|(key, _)| key.span().start);
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        Entry {
            key: key.get_ref().to_string(),
            line: line(text, key.span().start),
            value: value_of(value.get_ref(), text),
        }
    };
    all.into_iter().map(entry).collect()
}

fn value_of(value: &DeValue<'_>, text: &str) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| value_of(item.get_ref(), text));
            Value::List(items.collect())
        }
        DeValue::Table(table) => Value::Table(entries(table, text)),
        _ => Value::Other,
    }
}

fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_toml_is_refused_by_its_line() {
        let refused = parse("a = 1\nb = \n").unwrap_err();
        assert_eq!(refused.line, 2);
        let deep = format!("a = {}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn tables_keep_the_order_of_the_file() {
        let entries = parse("[host.z]\n[host.a]\n").unwrap();
        let hosts = entries[0].table().unwrap();
        let keys: Vec<_> = hosts
            .iter()
            .map(|host| (host.key.as_str(), host.line))
            .collect();
        assert_eq!(keys, [("z", 1), ("a", 2)]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-z\\[\\]\"=.# \n]{0,80}|\\PC{0,60}") {
            if let Err(refused) = parse(&text) {
                prop_assert!(refused.line >= 1 && refused.line <= text.lines().count() + 1);
            }
        }
    }
}
