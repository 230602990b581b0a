//! Maps whose keys the user chooses.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::convert::{Context, FromNode, FromScalar};
use super::source::Spanned;
use super::tree::Node;

/// A map from names to values, in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Map<K, V> {
    entries: Vec<(Spanned<K>, V)>,
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
        }
    }
}

impl<K: PartialEq, V> Map<K, V> {
    /// Returns the entries in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&Spanned<K>, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Returns the keys in the order of the text.
    pub fn keys(&self) -> impl Iterator<Item = &Spanned<K>> {
        self.entries.iter().map(|(key, _)| key)
    }

    /// Returns the values in the order of the text.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// Returns the value of a key.
    pub fn find(&self, key: &K) -> Option<&V> {
        self.iter()
            .find(|(other, _)| other.value == *key)
            .map(|(_, value)| value)
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K: FromScalar + PartialEq, V: FromNode> FromNode for Map<K, V> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        let Some(entries) = node.mapping() else {
            context.wrong_type(
                node,
                &format!("a map, each key {}", K::WHAT),
                &format!("{{{}: …}}", K::EXAMPLE),
            );
            return None;
        };
        let mut read = Vec::new();
        for entry in entries {
            let key = match K::parse(&entry.key) {
                Ok(key) => Some(key),
                Err(problem) => {
                    let diagnostic = context
                        .error(
                            problem.kind,
                            entry.key_span,
                            format!("`{}` is not {}", entry.key, K::WHAT),
                        )
                        .caused_by(problem.cause)
                        .suggesting(problem.suggestion);
                    let diagnostic = match (&diagnostic.help, problem.help) {
                        (_, Some(help)) => diagnostic.helped(help),
                        (None, None) => diagnostic.helped(format!(
                            "write {}, for instance `{}`",
                            K::WHAT,
                            K::EXAMPLE
                        )),
                        _ => diagnostic,
                    };
                    context.push(diagnostic);
                    None
                }
            };
            let value = V::from_node(&entry.node, context);
            if let (Some(key), Some(value)) = (key, value) {
                read.push((Spanned::new(key, entry.key_span), value));
            }
        }
        Some(Self { entries: read })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let values = V::schema(generator);
        let mut names: serde_json::Value = K::scalar_schema().into();
        if let Some(object) = names.as_object_mut() {
            object.remove("type");
        }
        json_schema!({"type": "object", "propertyNames": names, "additionalProperties": values})
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T: FromNode> FromNode for OneOrMany<T> {
    fn from_node(node: &Node, context: &mut Context<'_>) -> Option<Self> {
        if node.sequence().is_some() {
            return Vec::from_node(node, context).map(Self);
        }
        T::from_node(node, context).map(|one| Self(vec![one]))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::schema(generator);
        let many = Vec::<T>::schema(generator);
        json_schema!({"anyOf": [one, many]})
    }
}
