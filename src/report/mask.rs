//! Where secrets are taken out of whatever leaves the program.

use serde::Serialize;
use serde_json::Value;

/// Replaces secrets in text.
///
/// Every renderer's output passes through one, and so does every report file.
pub trait Mask: Send + Sync {
    /// Returns the text with every form of every secret replaced.
    fn mask(&self, text: &str) -> String;

    /// Returns all that is replaced, the secrets themselves first, for systems that mask by themselves.
    fn forms(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A mask for runs without secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMask;

impl Mask for NoMask {
    fn mask(&self, text: &str) -> String {
        text.to_owned()
    }
}

/// Returns a value as JSON in which every string, keys included, has passed through the mask.
///
/// Masking the finished text instead could break it: a secret of digits may be part of a number.
///
/// # Errors
/// When the value can't be expressed as JSON.
pub fn masked_json(value: &impl Serialize, mask: &dyn Mask) -> serde_json::Result<Value> {
    Ok(masked(serde_json::to_value(value)?, mask))
}

fn masked(value: Value, mask: &dyn Mask) -> Value {
    match value {
        Value::String(text) => Value::String(mask.mask(&text)),
        Value::Array(items) => items.into_iter().map(|item| masked(item, mask)).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, field)| (mask.mask(&key), masked(field, mask)))
            .collect(),
        plain => plain,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// Masks one word.
    pub(crate) struct Word(pub(crate) &'static str);

    impl Mask for Word {
        fn mask(&self, text: &str) -> String {
            text.replace(self.0, "***")
        }
    }

    #[test]
    fn masks_strings_and_keys_but_keeps_numbers_whole() {
        let value = json!({"a 123456 b": ["123456", {"n": 91_234_567}]});
        assert_eq!(
            masked_json(&value, &Word("123456")).unwrap().to_string(),
            r#"{"a *** b":["***",{"n":91234567}]}"#
        );
    }
}
