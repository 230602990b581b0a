//! The published JSON Schema, made of the types.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::model::Document;

/// Where the published copy is, from the root of the repository.
pub const SCHEMA_PATH: &str = "schema/pipeline.schema.json";

/// Returns the JSON Schema of a document.
pub fn schema() -> Value {
    let mut schema: Value = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<Document>()
        .into();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), json!("shipgate pipeline"));
    }
    schema
}
