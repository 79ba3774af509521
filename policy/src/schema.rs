//! The manifest's JSON Schema (2020-12), generated from the claimed types.
//!
//! For editors and for documentation. It is weaker than the checker: it knows shapes, not grammars or ceilings.
//! `policy/manifest.schema.json` is its checked-in copy; a test says when that is stale.

use crate::claims::ClaimedManifest;

/// The schema as indented JSON with a final newline. The same text every time.
pub fn schema() -> String {
    let schema = schemars::schema_for!(ClaimedManifest);
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
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
