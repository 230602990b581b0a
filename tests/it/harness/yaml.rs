//! YAML as other programs read it: every document of a file, as JSON values.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Reads all documents of a file; panics on what is not YAML, and on merge keys and tags, which are not understood.
pub fn yaml_documents(text: &str) -> Vec<Value> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.unwrap_or_else(|error| panic!("{error} in\n{text}"));
        reader.take(event);
    }
    reader.documents
}

#[derive(Default)]
struct Reader {
    documents: Vec<Value>,
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, Value>,
}

enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

impl Reader {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                assert!(tag.is_none(), "a tag at {text:?}");
                let value = match style {
                    ScalarStyle::Plain => plain(&text),
                    _ => Value::String(text.into_owned()),
                };
                self.put(value, anchor);
            }
            Event::SequenceStart(_, anchor, _) => self.open.push((Open::List(Vec::new()), anchor)),
            Event::MappingStart(_, anchor, _) => {
                self.open.push((Open::Map(Map::new(), None), anchor));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (value, anchor) = match self.open.pop().unwrap() {
                    (Open::List(items), anchor) => (Value::Array(items), anchor),
                    (Open::Map(entries, _), anchor) => (Value::Object(entries), anchor),
                };
                self.put(value, anchor);
            }
            Event::Alias(anchor) => {
                let value = self.anchors[&anchor].clone();
                self.put(value, 0);
            }
            _ => {}
        }
    }

    fn put(&mut self, value: Value, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        match self.open.last_mut() {
            None => self.documents.push(value),
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Map(entries, key), _)) => match key.take() {
                None => *key = Some(value.as_str().unwrap().to_owned()),
                Some(key) => {
                    assert_ne!(key, "<<", "merge keys are not understood");
                    assert!(entries.insert(key.clone(), value).is_none(), "{key} twice");
                }
            },
        }
    }
}

/// Reads a scalar without quotes by the core schema.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number => number
            .parse::<i64>()
            .map_or_else(|_| Value::String(text.to_owned()), Value::from),
    }
}
