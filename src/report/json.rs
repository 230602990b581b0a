//! Events as JSON lines (docs/events.md): one object a line, fields in a fixed order.

use super::inert::inert_json;
use super::mask::masked_json;
use super::{Event, Mask};

/// Returns an event as one line of JSON, without the line break.
///
/// JSON escapes control characters itself, so nothing in an event can break the line, and what a CI system would
/// take for a command is escaped besides.
#[must_use]
pub fn line(event: &Event, mask: &dyn Mask) -> String {
    // Events are maps with string keys and plain values, which can't fail to serialise.
    masked_json(event, mask)
        .map(|value| inert_json(&value.to_string()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use schemars::JsonSchema as _;
    use serde_json::Value;

    use crate::report::Detail;

    /// The page is generated: run the test with `SHIPGATE_BLESS=1` to write it anew.
    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the test suite, not of the library"
    )]
    fn the_page_of_events_is_current() {
        let page = page();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/events.md");
        if std::env::var("SHIPGATE_BLESS").is_ok() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(path).unwrap_or_default(),
            page,
            "bless docs/events.md"
        );
    }

    fn page() -> String {
        let mut generator = schemars::generate::SchemaSettings::default()
            .for_serialize()
            .into_generator();
        let detail = Detail::json_schema(&mut generator).to_value();
        let definitions = generator.take_definitions(true);
        let mut page = String::from(HEAD);
        for variant in detail["oneOf"].as_array().unwrap() {
            let tag = variant["properties"]["event"]["const"].as_str().unwrap();
            let meaning = variant["description"].as_str().unwrap();
            let _ = writeln!(page, "\n## {tag}\n\n{}\n", one_line(meaning));
            fields(&mut page, variant);
        }
        page += "\n# Objects inside events\n";
        for (name, schema) in &definitions {
            let meaning = one_line(schema["description"].as_str().unwrap());
            if name == "ExitCode" {
                let _ = writeln!(
                    page,
                    "\n## {name}\n\n{meaning} See [exit-codes.md](exit-codes.md)."
                );
                continue;
            }
            let _ = writeln!(page, "\n## {name}\n\n{meaning}\n");
            if let Some(words) = schema["oneOf"].as_array() {
                page += "| word | meaning |\n| --- | --- |\n";
                for word in words {
                    let constant = word["const"].as_str().unwrap();
                    let meaning = one_line(word["description"].as_str().unwrap());
                    let _ = writeln!(page, "| `{constant}` | {meaning} |");
                }
            } else {
                fields(&mut page, schema);
            }
        }
        page
    }

    fn fields(page: &mut String, schema: &Value) {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        *page += "| field | type | meaning |\n| --- | --- | --- |\n";
        for (name, field) in schema["properties"].as_object().unwrap() {
            if name == "event" {
                continue;
            }
            let kind = kind(field);
            let meaning = one_line(field["description"].as_str().unwrap_or_default());
            let may_be_null = field["type"].is_array() || field["anyOf"].is_array();
            let if_none = match (required.contains(&Value::from(name.as_str())), may_be_null) {
                (false, _) => " Left out if there is none.",
                (true, true) => " Null if there is none.",
                (true, false) => "",
            };
            let _ = writeln!(page, "| `{name}` | {kind} | {meaning}{if_none} |");
        }
    }

    fn kind(field: &Value) -> String {
        if let Some(name) = field["$ref"].as_str() {
            return name.rsplit('/').next().unwrap().to_owned();
        }
        if let Some(choices) = field["anyOf"].as_array().or(field["allOf"].as_array()) {
            return kind(&choices[0]);
        }
        match &field["type"] {
            Value::Array(kinds) => kinds[0].as_str().unwrap().to_owned(),
            Value::String(array) if array == "array" => {
                format!("array of {}", kind(&field["items"]))
            }
            kind => kind.as_str().unwrap().to_owned(),
        }
    }

    /// Returns the first paragraph as one line.
    fn one_line(text: &str) -> String {
        let paragraph = text.split("\n\n").next().unwrap_or_default();
        paragraph.replace('\n', " ")
    }

    const HEAD: &str = "# Events\n\n\
        `--format json` writes one event a line to standard output, each a JSON object. Every event has\n\n\
        | field | type | meaning |\n| --- | --- | --- |\n\
        | `elapsed_ms` | integer | Milliseconds since the run began. |\n\
        | `step` | string | The id of the step that it belongs to. Left out if it belongs to the run. |\n\
        | `event` | string | What happened: one of the headings below. |\n\n\
        and the fields of its kind, in the order below. Digests are `sha256:` and 64 hex digits; sizes are\n\
        bytes; fields that end in `_ms` are milliseconds. Secrets are replaced before a line is written.\n\
        Fields and events may be added; none changes its meaning.\n";
}
