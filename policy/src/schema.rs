//! The manifest's JSON Schema (2020-12), generated from the claimed types.
//!
//! For editors and for documentation. It is weaker than the checker: it knows shapes, not grammars or ceilings.
//! `policy/manifest.schema.json` is its checked-in copy; a test says when that is stale.

use crate::claims::ClaimedManifest;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;

/// The schema as indented JSON with a final newline. The same text every time.
pub fn schema() -> String {
    let settings = SchemaSettings::default().with_transform(RecursiveTransform(without_null));
    let schema = settings.into_generator().into_root_schema_for::<ClaimedManifest>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// A key that is left out has no value: an editor must not offer `null`, which TOML does not have.
fn without_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(serde_json::Value::is_null) {
        schema.remove("default");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Board, check};

    #[test]
    fn schema_checked_in_copy_is_current() {
        let copy = include_str!("../manifest.schema.json");
        assert!(
            copy == schema(),
            "stale: run `cargo run -p gabion-policy --example schema > policy/manifest.schema.json`"
        );
    }

    #[test]
    fn schema_every_table_and_key_says_what_it_is() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let mut keys = 0;
        let tables = schema["$defs"].as_object().unwrap().values().chain([&schema]);
        for (key, shape) in tables.flat_map(|table| table["properties"].as_object().unwrap()) {
            let said = shape["description"].as_str().unwrap_or_default();
            assert!(said.len() > 10, "{key}: \"{said}\"");
            assert!(shape.get("default").is_none_or(|default| !default.is_null()), "{key}");
            keys += 1;
        }
        assert!(keys >= 30, "only {keys}");
    }

    /// Every key in the schema is one that the reader asks for: a value of a wrong kind is found faulty, not unknown.
    #[test]
    fn schema_every_key_is_known_to_the_reader() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
        let mut keys = 0;
        for (table, shape) in schema["properties"].as_object().unwrap() {
            let name = shape["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
            let Some(properties) = name.and_then(|name| schema["$defs"][name]["properties"].as_object())
            else {
                continue;
            };
            for key in properties.keys() {
                let problems =
                    check(&format!("[{table}]\n{key} = 1979-05-27\n"), &Board::default()).unwrap_err();
                let of_key: Vec<_> = problems.iter().filter(|problem| problem.line == 2).collect();
                assert!(
                    of_key.iter().any(|problem| problem.key == format!("{table}.{key}")),
                    "{table}.{key}: {problems:?}"
                );
                assert!(
                    of_key.iter().all(|problem| problem.message != "unknown key"),
                    "{table}.{key}: {problems:?}"
                );
                keys += 1;
            }
        }
        assert!(keys >= 20, "only {keys} keys found: has the schema's shape changed?");
    }
}
