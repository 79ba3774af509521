//! The manifest's page, from its JSON Schema: what the keys are is the schema's to say, and its alone.

use super::{Made, cell};
use anyhow::{Context, Result};
use serde_json::Value;

const HEAD: &str = "# The manifest

<!-- Made from the manifest's JSON Schema by `cargo run -p gabion-docs-test -- reference`. Change policy/src/claims.rs. -->

`manifest.toml` lies beside an app's `root/` or `app.list`, and says what the app may do. Everything is off until it is named;
a key that is not in this page is an error. `gabion check` says what is wrong and what to write instead, and has rules that a
table can not show: it is the device's own code. `gabion schema` prints the JSON Schema that this page is made from.

Amounts are texts with a unit: memory and storage as `\"512KiB\"`, `\"16MiB\"`, `\"1GiB\"`; processor time as `\"20%\"` of one
processor, more than 100 for several; times as `\"500ms\"`, `\"30s\"`, `\"5m\"`.

```toml
[app]
id = \"com.example.thermostat\"
version = \"1.4.0\"
exec = [\"/bin/thermostat\", \"--poll\", \"5s\"]

[resources]
memory = \"16MiB\"
cpu = \"20%\"
tasks = 16
storage = \"1MiB\"

[process]
profile = \"default\"
environment = { LANG = \"C.UTF-8\" }

[network]
connect = [\"mqtt.example.com:8883/tcp\"]
listen = [\"8080/tcp\"]

[devices]
serial = [\"/dev/ttyS1\"]

[uses]
\"os.gabion.Update\" = [\"Defer\", \"Resume\"]

[provides]
\"com.example.Temperature\" = [\"com.example.display\"]

[lifecycle]
restart = \"always\"
watchdog = \"30s\"
stop_timeout = \"5s\"
```
";

/// In the order in which people write them.
const ORDER: [&str; 8] =
    ["app", "resources", "process", "network", "devices", "uses", "provides", "lifecycle"];

/// The page.
pub(super) fn page(schema: &str) -> Result<Made> {
    let schema: Value = serde_json::from_str(schema)?;
    let tables = schema["properties"].as_object().context("a schema has properties")?;
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut names: Vec<&String> = tables.keys().collect();
    names.sort_by_key(|name| (place(name), name.as_str()));
    let mut page = HEAD.to_owned();
    for name in names {
        let table = &tables[name];
        page += &format!("\n## `[{name}]`\n\n{}\n", table["description"].as_str().unwrap_or_default());
        if let Some(reference) = table["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
            page += &keys(&schema["$defs"][reference])?;
        } else {
            page += &format!(
                "\nEach key is a name of the reader's own; each value is {}.\n",
                kind(&table["additionalProperties"])
            );
        }
    }
    Ok(("docs/reference/manifest.md".to_owned(), page))
}

/// The keys of a table.
fn keys(table: &Value) -> Result<String> {
    let required =
        |key: &str| table["required"].as_array().is_some_and(|list| list.iter().any(|name| name == key));
    let mut rows = "\n| key | is | |\n|---|---|---|\n".to_owned();
    for (key, value) in table["properties"].as_object().context("a table has keys")? {
        let must = if required(key) { "; must be there" } else { "" };
        let said = value["description"].as_str().unwrap_or_default();
        rows += &format!("| `{key}` | {}{must} | {} |\n", cell(&kind(value)), cell(&said.replace('\n', " ")));
    }
    Ok(rows)
}

/// A value's type and bounds, in words.
fn kind(value: &Value) -> String {
    let bound = |key: &str| value[key].as_u64();
    if let Some(words) = value["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    match value["type"].as_str() {
        Some("array") => {
            let items = plural(&kind(&value["items"]));
            match (bound("minItems"), bound("maxItems")) {
                (Some(min), Some(max)) => format!("a list of {min} to {max} {items}"),
                (None, Some(max)) => format!("a list of up to {max} {items}"),
                _ => format!("a list of {items}"),
            }
        }
        Some("object") => format!("a table of {}", plural(&kind(&value["additionalProperties"]))),
        Some("string") => match (bound("maxLength"), value["pattern"].as_str()) {
            (_, Some(pattern)) => format!("a text, `{pattern}`"),
            (Some(max), None) => format!("a text of up to {max} bytes"),
            _ => "a text".to_owned(),
        },
        Some("integer") => "a whole number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        _ => "any value".to_owned(),
    }
}

fn plural(kind: &str) -> String {
    kind.strip_prefix("a ").map_or(kind.to_owned(), |kind| format!("{kind}s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_every_key_of_the_schema() {
        let (_, page) = page(&policy::schema()).unwrap();
        let schema: Value = serde_json::from_str(&policy::schema()).unwrap();
        for table in schema["$defs"].as_object().unwrap().values() {
            for (key, value) in table["properties"].as_object().unwrap() {
                assert!(page.contains(&format!("| `{key}` | ")), "{key}");
                let said = value["description"].as_str().unwrap();
                assert!(page.contains(&said.replace('\n', " ")), "{said}");
            }
        }
    }

    #[test]
    fn kind_is_said_in_words() {
        let kind = |text: &str| kind(&serde_json::from_str(text).unwrap());
        assert_eq!(
            kind(r#"{"type":"array","maxItems":4,"items":{"type":"string"}}"#),
            "a list of up to 4 texts"
        );
        assert_eq!(kind(r#"{"type":"string","enum":["a","b"]}"#), "`\"a\"`, `\"b\"`");
        assert_eq!(kind(r#"{"type":"integer"}"#), "a whole number");
    }
}
