//! What an HTTP probe expects inside a JSON body.

use serde_json::{Number, Value};
use serde_json_path::JsonPath;

use super::phrase::bare;

/// A place in a JSON body ([RFC 9535](https://www.rfc-editor.org/rfc/rfc9535)) and what must be
/// true of every value that is found there.
#[derive(Clone, Debug)]
pub struct JsonTest {
    text: String,
    path: JsonPath,
    comparisons: Vec<Comparison>,
}

/// A demand on a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// It is a number over this one.
    Above(f64),
    /// It is a number under this one.
    Below(f64),
    /// It is this value; numbers are compared by value, so `1` equals `1.0`, and no number
    /// equals a text.
    Equals(Value),
    /// It is there, or it is not.
    Exists(bool),
    /// It is there and another value.
    NotEquals(Value),
}

impl JsonTest {
    /// Reads the path.
    ///
    /// # Errors
    /// A path that RFC 9535 does not allow, no comparison, or `exists: false` beside others.
    pub fn try_new(path: &str, comparisons: Vec<Comparison>) -> Result<Self, InvalidJsonTest> {
        // The parser calls itself at each bracket, and nothing else bounds how deep.
        if path.len() > LONGEST {
            return Err(InvalidJsonTest::PathTooLong { length: path.len() });
        }
        if depth(path) > DEEPEST {
            return Err(InvalidJsonTest::PathTooDeep);
        }
        let parsed = JsonPath::parse(path).map_err(|error| InvalidJsonTest::Path {
            path: bare(path),
            // The parser counts from nought.
            position: error.position() + 1,
            detail: error.message().to_owned(),
        })?;
        if comparisons.is_empty() {
            return Err(InvalidJsonTest::NoComparison);
        }
        if comparisons.len() > 1 && comparisons.contains(&Comparison::Exists(false)) {
            return Err(InvalidJsonTest::ExcludedComparison);
        }
        let number = comparisons.iter().find_map(|comparison| match comparison {
            Comparison::Above(number) | Comparison::Below(number) => Some(*number),
            _ => None,
        });
        if number.is_some_and(|number| !number.is_finite()) {
            return Err(InvalidJsonTest::NotFinite);
        }
        Ok(Self {
            text: bare(path),
            path: parsed,
            comparisons,
        })
    }

    /// Returns what is otherwise than asked for, in one phrase.
    pub(super) fn missing(&self, body: &str) -> Option<String> {
        let value: Value = match serde_json::from_str(body) {
            Ok(value) => value,
            Err(error) => return Some(format!("body is not JSON: {error}")),
        };
        let found = self.path.query(&value).all();
        let missing = self
            .comparisons
            .iter()
            .find_map(|comparison| comparison.missing(&found))?;
        Some(format!("{} {missing}", self.text))
    }
}

/// A refusal of a JSON test.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidJsonTest {
    /// `exists: false` leaves nothing to compare.
    #[error("`exists: false` can't stand beside another comparison")]
    ExcludedComparison,
    /// The path is only asked for, not compared.
    #[error("the JSON path is compared with nothing")]
    NoComparison,
    /// A bound is infinite or not a number.
    #[error("a bound must be a finite number")]
    NotFinite,
    /// The path is not one of RFC 9535.
    #[error("`{path}` is no JSON path: {detail} at character {position}")]
    Path {
        /// The path as written.
        path: String,
        /// Where the parser stopped.
        position: usize,
        /// The parser's own words.
        detail: String,
    },
    /// The path has more brackets inside each other than any that is meant.
    #[error("the JSON path has more than {DEEPEST} brackets inside each other")]
    PathTooDeep,
    /// The path is longer than any that is meant.
    #[error("the JSON path has {length} bytes, more than {LONGEST}")]
    PathTooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// The most bytes of a path.
const LONGEST: usize = 512;

/// The most brackets inside each other, those in quotes counted too.
const DEEPEST: usize = 8;

fn depth(path: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for letter in path.bytes() {
        match letter {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl InvalidJsonTest {
    /// Returns the edit that helps.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::ExcludedComparison => "keep `exists: false` alone, or remove it",
            Self::NoComparison => "add `equals`, `not-equals`, `above`, `below` or `exists`",
            Self::NotFinite => "write the bound in digits",
            Self::PathTooDeep | Self::PathTooLong { .. } => {
                "name a place, with a simple filter at most"
            }
            Self::Path { .. } => "write it as RFC 9535 does, for instance $.status or $['a'][0].b",
        }
    }
}

impl Comparison {
    fn missing(&self, found: &[&Value]) -> Option<String> {
        match (self, found.first()) {
            (Self::Exists(false), None) => return None,
            (Self::Exists(false), Some(value)) => {
                return Some(format!("is {}, expected nothing there", shown(value)));
            }
            (_, None) => return Some("finds nothing in the body".to_owned()),
            _ => {}
        }
        let (holds, expected): (&dyn Fn(&Value) -> bool, String) = match self {
            Self::Above(bound) => (
                &|value| value.as_f64().is_some_and(|number| number > *bound),
                format!("a number above {bound}"),
            ),
            Self::Below(bound) => (
                &|value| value.as_f64().is_some_and(|number| number < *bound),
                format!("a number below {bound}"),
            ),
            Self::Equals(wanted) => (&|value| equal(value, wanted), shown(wanted)),
            Self::Exists(_) => (&|_| true, String::new()),
            Self::NotEquals(other) => (
                &|value| !equal(value, other),
                format!("anything but {}", shown(other)),
            ),
        };
        let wrong = found.iter().find(|value| !holds(value))?;
        Some(format!("is {}, expected {expected}", shown(wrong)))
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => equal_numbers(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

/// Compares as integers where both are, since neighbours above 2^53 are one `f64`.
fn equal_numbers(left: &Number, right: &Number) -> bool {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left == right,
        _ => left.as_f64() == right.as_f64(),
    }
}

fn shown(value: &Value) -> String {
    bare_json(&value.to_string())
}

/// Shortens JSON without taking its own quotes away.
fn bare_json(json: &str) -> String {
    let quoted = super::phrase::excerpt(json);
    quoted
        .strip_prefix('"')
        .and_then(|it| it.strip_suffix('"'))
        .unwrap_or(&quoted)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(path: &str, comparison: Comparison, body: &str) -> String {
        let test = JsonTest::try_new(path, vec![comparison]).unwrap();
        test.missing(body).unwrap_or_else(|| "nothing".to_owned())
    }

    #[test]
    fn comparisons_say_what_was_found() {
        let body = r#"{"status": "starting", "count": 3, "parts": [{"ok": true}, {"ok": false}], "big": 9007199254740993, "none": null}"#;
        let found: Vec<String> = [
            ("$.status", Comparison::Equals(json!("ok"))),
            ("$.status", Comparison::Equals(json!("starting"))),
            ("$['status']", Comparison::NotEquals(json!("starting"))),
            ("$.count", Comparison::Above(3.0)),
            ("$.count", Comparison::Below(3.5)),
            ("$.count", Comparison::Equals(json!(3.0))),
            ("$.count", Comparison::Equals(json!("3"))),
            ("$.status", Comparison::Above(1.0)),
            ("$.parts[*].ok", Comparison::Equals(json!(true))),
            ("$.parts[?@.ok == true].ok", Comparison::Equals(json!(true))),
            ("$.parts[5]", Comparison::Equals(json!(true))),
            (
                "$.parts",
                Comparison::Equals(json!([{"ok": true}, {"ok": false}])),
            ),
            (
                "$.big",
                Comparison::Equals(json!(9_007_199_254_740_992_u64)),
            ),
            ("$.none", Comparison::Exists(true)),
            ("$.nope", Comparison::Exists(true)),
            ("$.nope", Comparison::Exists(false)),
            ("$.none", Comparison::Exists(false)),
            ("$.nope", Comparison::NotEquals(json!(1))),
            ("$[?length(@) == 8]", Comparison::Equals(json!("starting"))),
        ]
        .into_iter()
        .map(|(path, comparison)| missing(path, comparison, body))
        .collect();
        insta::assert_snapshot!(found.join("\n"), @r#"
        $.status is "starting", expected "ok"
        nothing
        $['status'] is "starting", expected anything but "starting"
        $.count is 3, expected a number above 3
        nothing
        nothing
        $.count is 3, expected "3"
        $.status is "starting", expected a number above 1
        $.parts[*].ok is false, expected true
        nothing
        $.parts[5] finds nothing in the body
        nothing
        $.big is 9007199254740993, expected 9007199254740992
        nothing
        $.nope finds nothing in the body
        nothing
        $.none is null, expected nothing there
        $.nope finds nothing in the body
        nothing
        "#);
    }

    #[test]
    fn bodies_that_are_no_json_are_said_so() {
        let test = |body: &str| missing("$.a", Comparison::Exists(true), body);
        assert_eq!(
            test(""),
            "body is not JSON: EOF while parsing a value at line 1 column 0"
        );
        assert!(test("<html>").starts_with("body is not JSON: expected value"));
        assert!(test(&"[".repeat(100_000)).contains("recursion limit"));
        assert!(test(r#"{"a": NaN}"#).starts_with("body is not JSON"));
    }

    #[test]
    fn long_values_are_shortened_and_tame() {
        let body = json!({"a": format!("\u{1b}[2J\n{}", "x".repeat(5000))}).to_string();
        let found = missing("$.a", Comparison::Equals(json!("ok")), &body);
        assert!(
            found.chars().count() < 200 && !found.chars().any(char::is_control),
            "{found}"
        );
        assert!(found.ends_with("…, expected \"ok\""), "{found}");
    }

    #[test]
    fn wrong_tests_are_refused() {
        let refused = |path: &str, comparisons| {
            let error = JsonTest::try_new(path, comparisons).unwrap_err();
            assert!(!error.hint().is_empty());
            error.to_string()
        };
        let exists = || vec![Comparison::Exists(true)];
        insta::assert_snapshot!(
            [
                refused("status", exists()),
                refused("$.a[", exists()),
                refused("$.a\n\u{1b}", exists()),
                refused(&format!("$[?{}", "(".repeat(500)), exists()),
                refused(&format!("$[?{}", "(".repeat(100_000)), exists()),
                refused("$.a", vec![]),
                refused("$.a", vec![Comparison::Exists(false), Comparison::Above(1.0)]),
                refused("$.a", vec![Comparison::Above(f64::NAN)]),
            ]
            .join("\n"),
            @r#"
        `status` is no JSON path: parser error at character 1
        `$.a[` is no JSON path: parser error at character 4
        `$.a\n\u{1b}` is no JSON path: parser error at character 4
        the JSON path has more than 8 brackets inside each other
        the JSON path has 100003 bytes, more than 512
        the JSON path is compared with nothing
        `exists: false` can't stand beside another comparison
        a bound must be a finite number
        "#
        );
    }

    #[test]
    fn the_deepest_paths_are_read_at_once() {
        for inner in ["(", "!(", "@[?", "length((", "@.a && ("] {
            for depth in 1..=16 {
                let open = inner.repeat(depth);
                let exists = vec![Comparison::Exists(true)];
                let _ = JsonTest::try_new(&format!("$[?{open}"), exists.clone());
                let close = open
                    .replace('[', "]")
                    .replace(|letter| letter != '(' && letter != ']', "");
                let close: String = close
                    .chars()
                    .rev()
                    .map(|it| if it == '(' { ')' } else { it })
                    .collect();
                let _ = JsonTest::try_new(&format!("$[?{open}@.a == 1{close}]"), exists);
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn any_path_and_body_are_taken_without_panic(path in "\\$?[\\.\\[\\]'\"a*?@0-9:-]{0,20}", body in "[\\[\\]{}\":,a0-9 ]{0,40}") {
            if let Ok(test) = JsonTest::try_new(&path, vec![Comparison::Above(1.0)]) {
                let _ = test.missing(&body);
            }
        }
    }
}
