//! What to write instead: the remedies in the reader's messages.
//!
//! An attacker controls every text that is repeated here; all of them go through `problem::quote`. Nothing here decides
//! whether something is a fault.

use crate::problem::{nearest, quote};

/// What to write in place of a value of the wrong kind.
pub(crate) fn wrong_kind_help(path: &str, written: &str) -> String {
    let written = one_line(written);
    match path {
        "resources.memory" | "resources.storage" | "resources.tmp" => {
            format!("write a text with a unit, as \"{written}MiB\"")
        }
        "resources.cpu" => format!("write a text with a unit, as \"{written}%\""),
        "resources.tasks" | "resources.open_files" => "write a whole number without quotes".to_owned(),
        "lifecycle.watchdog" | "lifecycle.stop_timeout" => {
            format!("write a text with a unit, as \"{written}s\"")
        }
        "process.jit" | "process.sysv_shm" | "lifecycle.notify" | "system.host_pids" | "system.on_demand" => {
            "write true or false".to_owned()
        }
        _ => format!("write a text in quotes, as \"{}\"", written.trim_matches('"')),
    }
}

const TABLES: [&str; 8] =
    ["app", "resources", "process", "network", "devices", "uses", "provides", "lifecycle"];

/// Keys by their table, for the author who wrote one in the wrong place. Tests hold it against the schema.
const KEYS: [(&str, &str); 22] = [
    ("id", "app"),
    ("version", "app"),
    ("exec", "app"),
    ("memory", "resources"),
    ("cpu", "resources"),
    ("tasks", "resources"),
    ("storage", "resources"),
    ("tmp", "resources"),
    ("open_files", "resources"),
    ("profile", "process"),
    ("jit", "process"),
    ("sysv_shm", "process"),
    ("environment", "process"),
    ("working_directory", "process"),
    ("connect", "network"),
    ("listen", "network"),
    ("private", "network"),
    ("serial", "devices"),
    ("restart", "lifecycle"),
    ("watchdog", "lifecycle"),
    ("stop_timeout", "lifecycle"),
    ("notify", "lifecycle"),
];

/// What to do about a key that its table does not know.
pub(crate) fn unknown_key_help(table: &str, key: &str, known: &[&'static str]) -> String {
    if let Some((_, home)) = KEYS.iter().find(|(known, home)| *known == key && *home != table) {
        return format!("`{key}` belongs in [{home}]");
    }
    match nearest(key, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("remove it; [{table}] knows {}", known.join(", ")),
    }
}

/// What to do about a table, or a key outside of any, that a manifest does not know.
pub(crate) fn unknown_table_help(name: &str) -> String {
    if let Some((_, home)) = KEYS.iter().find(|(known, _)| *known == name) {
        return format!("`{name}` belongs in [{home}]");
    }
    match nearest(name, TABLES) {
        Some(meant) => format!("did you mean `[{meant}]`?"),
        None => format!("remove it; a manifest has [{}]", TABLES.join("], [")),
    }
}

/// What to do about a text that is no TOML, by what the parser says of it.
pub(crate) fn not_toml_help(said: &str) -> &'static str {
    let of = [
        ("duplicate key", "remove one of the two; a table's keys all stand below one heading"),
        ("unclosed table", "close the heading with `]`, as `[app]`"),
        ("unclosed array", "close the list with `]`, as [\"/bin/app\", \"-v\"]"),
        ("invalid basic string", "close the text with `\"`; write a backslash as `\\\\`"),
        ("string values must be quoted", "write a text in quotes, as \"16MiB\""),
        ("extra value", "separate the elements of a list with commas"),
    ];
    of.iter().find(|(part, _)| said.contains(part)).map_or(
        "write [tables], and below each a line per key: key = \"text\", key = 5, key = [\"a\", \"b\"]",
        |(_, help)| help,
    )
}

/// A key of the author's, fit for a message.
pub(crate) fn short(key: &str) -> String {
    quote(key).trim_matches('"').to_owned()
}

/// Outside text on one printable line, without quotes around it.
pub(crate) fn one_line(text: &str) -> String {
    let quoted = quote(&text.replace('\n', ", "));
    let inner = quoted.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(&quoted);
    inner.replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_key_of_another_table_names_its_home() {
        assert_eq!(unknown_key_help("resources", "jit", &["memory"]), "`jit` belongs in [process]");
        assert_eq!(unknown_table_help("memory"), "`memory` belongs in [resources]");
    }

    #[test]
    fn hint_value_of_the_wrong_kind_shows_the_right_one() {
        assert_eq!(wrong_kind_help("resources.memory", "16"), "write a text with a unit, as \"16MiB\"");
        assert_eq!(wrong_kind_help("app.exec[0]", "5"), "write a text in quotes, as \"5\"");
    }

    #[test]
    fn hint_outside_text_stays_on_one_line() {
        assert!(!one_line("a\nb\u{1b}").contains(['\n', '\u{1b}']));
    }
}
