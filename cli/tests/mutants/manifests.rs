//! Each key of a manifest: misspelt, twice, in the wrong table, and with values that it can not have.

use std::fs;

use crate::gabion;

/// A table, a key, a value that is good, and some that are not; a value of another type is tried besides.
type Key = (&'static str, &'static str, &'static str, &'static [&'static str]);

const KEYS: [Key; 23] = [
    (
        "app",
        "id",
        "\"com.example.a\"",
        &["\"\"", "\"a\"", "\"com.example\"", "\"com.Example.a\"", "\"os.gabion.a\"", "\"com.example.a_b\""],
    ),
    (
        "app",
        "version",
        "\"1.0.0\"",
        &["\"\"", "\"1.0\"", "\"v1.0.0\"", "\"1.0.0-rc1\"", "\"1.0.99999999999\""],
    ),
    (
        "app",
        "exec",
        "[\"/bin/a\"]",
        &[
            "[]",
            "\"/bin/a\"",
            "[\"bin/a\"]",
            "[\"/bin/../a\"]",
            "[\"/bin/a\", 5]",
            "[\"/bin/a\", \"\\u0000\"]",
        ],
    ),
    (
        "resources",
        "memory",
        "\"16MiB\"",
        &[
            "\"\"",
            "16",
            "\"16\"",
            "\"16MB\"",
            "\"16 MiB\"",
            "\"1KiB\"",
            "\"65MiB\"",
            "\"-1MiB\"",
            "\"9999999999GiB\"",
        ],
    ),
    ("resources", "cpu", "\"20%\"", &["\"\"", "20", "\"20\"", "\"0%\"", "\"900%\"", "\"0.5%\""]),
    ("resources", "tasks", "4", &["\"4\"", "0", "-1", "513", "4.5", "99999999999999999999"]),
    ("resources", "storage", "\"1MiB\"", &["\"\"", "1", "\"1M\"", "\"9999GiB\""]),
    ("resources", "tmp", "\"1MiB\"", &["\"\"", "\"1\"", "\"17MiB\""]),
    ("resources", "open_files", "64", &["\"64\"", "1", "-5", "99999999"]),
    ("process", "profile", "\"default\"", &["\"\"", "\"none\"", "\"Strict\""]),
    ("process", "jit", "false", &["\"false\"", "0"]),
    ("process", "sysv_shm", "true", &["\"true\"", "1"]),
    ("process", "working_directory", "\"/data\"", &["\"\"", "\"data\"", "\"/data/../etc\""]),
    (
        "process",
        "environment",
        "{ A = \"1\" }",
        &["\"A=1\"", "{ A = 1 }", "{ \"A=B\" = \"1\" }", "{ NOTIFY_SOCKET = \"/x\" }", "{ A = \"\\u0000\" }"],
    ),
    (
        "network",
        "connect",
        "[\"a.example:1/tcp\"]",
        &[
            "\"a.example:1/tcp\"",
            "[\"a.example\"]",
            "[\"a.example:1\"]",
            "[\"a.example:0/tcp\"]",
            "[\"*.example:1/tcp\"]",
            "[\"a.example:1/sctp\"]",
            "[\"localhost:40000/tcp\"]",
        ],
    ),
    (
        "network",
        "listen",
        "[\"80/tcp\"]",
        &[
            "80",
            "[80]",
            "[\"80\"]",
            "[\"70000/tcp\"]",
            "[\"80/tcp\", \"80/tcp\"]",
            "[\"53/udp\"]",
            "[\"80/tcp\", \"localhost:80/tcp\"]",
        ],
    ),
    ("network", "private", "[]", &["\"a.example\"", "[\"b.example\"]", "[\"10.0.0.1\"]"]),
    (
        "devices",
        "serial",
        "[\"/dev/ttyS1\"]",
        &["\"/dev/ttyS1\"", "[\"ttyS1\"]", "[\"/dev/mem\"]", "[\"/dev/ttyS1\", \"/dev/ttyS1\"]"],
    ),
    ("devices", "gpio", "[\"/dev/gpiochip0\"]", &["5", "[\"/dev/sda\"]"]),
    ("lifecycle", "restart", "\"always\"", &["\"\"", "\"sometimes\"", "true"]),
    ("lifecycle", "watchdog", "\"30s\"", &["\"\"", "30", "\"30\"", "\"1ms\"", "\"25h\""]),
    ("lifecycle", "stop_timeout", "\"5s\"", &["\"\"", "5", "\"0s\"", "\"10m\""]),
    ("lifecycle", "notify", "true", &["\"yes\"", "1"]),
];

/// What is in tables whose keys are the author's own names, and what is no line of a key.
const LINES: [(&str, &str); 24] = [
    ("uses", "\"os.gabion.Device\" = []"),
    ("uses", "\"os.gabion.Device\" = \"GetInfo\""),
    ("uses", "\"os.gabion.Device\" = [\"*\"]"),
    ("uses", "\"os.gabion.Device\" = [\"getInfo\"]"),
    ("uses", "\"os.gabion.Device\" = [\"GetInfo\", \"GetInfo\"]"),
    ("uses", "\"os.gabion.Nothing\" = [\"Get\"]"),
    ("uses", "\"Device\" = [\"GetInfo\"]"),
    ("uses", "os.gabion.Device = [\"GetInfo\"]"),
    ("provides", "\"os.gabion.Device\" = [\"com.example.b\"]"),
    ("provides", "\"org.other.T\" = [\"com.example.b\"]"),
    ("provides", "\"com.example.T\" = []"),
    ("provides", "\"com.example.T\" = [\"anyone\"]"),
    ("provides", "\"org.varlink.service\" = [\"com.example.b\"]"),
    ("devices", "tpm = [\"/dev/tpmrm0\"]"),
    ("devices", "camera = [\"/dev/video0\"]"),
    ("system", "capabilities = [\"CAP_SYS_ADMIN\"]"),
    ("resourcess", "memory = \"1MiB\""),
    ("", "memory = \"1MiB\""),
    ("network", "listen = [\"80/tcp\""),
    ("network", "listen = [\"80/tcp\" \"81/tcp\"]"),
    ("process", "profile = strict"),
    ("process", "profile = \"strict"),
    ("process", "= 5"),
    ("process", "profile \"strict\""),
];

/// A good manifest of all keys but those of `without`, and then a line at its end, below its table.
fn manifest(table: &str, without: &str, lines: &[&str]) -> (String, usize) {
    let mut text = String::new();
    if table.is_empty() {
        text = format!("{}\n", lines.join("\n"));
    }
    let tables = ["app", "resources", "process", "network", "devices", "lifecycle"];
    for name in
        tables.iter().filter(|name| **name != table).chain(tables.iter().filter(|name| **name == table))
    {
        text.push_str(&format!("[{name}]\n"));
        for (_, key, value, _) in KEYS.iter().filter(|(of, key, ..)| of == name && *key != without) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    if !table.is_empty() {
        if !tables.contains(&table) {
            text.push_str(&format!("[{table}]\n"));
        }
        text.push_str(&lines.join("\n"));
        text.push('\n');
    }
    let line = if table.is_empty() { 1 } else { text.lines().count() };
    (text, line)
}

/// Which lines are to be named: mostly the last, or one near.
fn wrong(text: &str, lines: &[usize], what: &str) {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("manifest.toml"), text).unwrap();
    let said = gabion(place.path(), what, &["check"]);
    let named = lines.iter().find(|line| said.err.contains(&format!("--> manifest.toml:{line}:")));
    let line = named.unwrap_or(&lines[0]);
    said.is_told(&format!("--> manifest.toml:{line}:"));
}

/// Two letters exchanged.
fn misspelt(key: &str) -> String {
    let mut letters: Vec<char> = key.chars().collect();
    let end = letters.len() - 1;
    letters.swap(end - 1, end);
    letters.into_iter().collect()
}

#[test]
fn manifest_with_one_thing_wrong_is_told_in_its_line_with_the_remedy() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("manifest.toml"), manifest("lifecycle", "", &[]).0).unwrap();
    let good = gabion(place.path(), "good", &["check"]);
    assert_eq!(good.code, Some(0), "{}", good.err);

    let mut count = 0;
    for (table, key, good, bad) in KEYS {
        let others: &[&str] = if good.starts_with('"') { &["5", "[\"x\"]"] } else { &["\"x\"", "{ x = 1 }"] };
        for value in bad.iter().chain(others) {
            let (text, line) = manifest(table, key, &[&format!("{key} = {value}")]);
            wrong(&text, &[line], &format!("[{table}] {key} = {value}"));
            count += 1;
        }
        let (text, line) = manifest(table, key, &[&format!("{} = {good}", misspelt(key))]);
        // What is required is missing besides, in its table's heading.
        wrong(&text, &[line], &format!("[{table}] {}", misspelt(key)));
        let (text, line) = manifest(table, "", &[&format!("{key} = {good}")]);
        wrong(&text, &[line], &format!("[{table}] {key} twice"));
        count += 2;
    }
    for (table, line) in LINES {
        let (text, at) = manifest(table, line.split(' ').next().unwrap(), &[line]);
        let heading = at.saturating_sub(1).max(1);
        wrong(&text, &[at, heading], &format!("[{table}] {line}"));
        count += 1;
    }
    assert!(count >= 180, "only {count}");
}

#[test]
fn several_problems_of_a_manifest_are_told_at_once() {
    let text = "[app]\nid = \"x\"\nversion = 1\nexec = []\n[resources]\nmemroy = \"1MiB\"\n[netwrok]\n";
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("manifest.toml"), text).unwrap();
    let said = gabion(place.path(), "several", &["check"]);
    said.is_told("manifest.toml: 5 problems");
    for (line, column) in [(2, 6), (3, 11), (4, 8), (6, 1), (7, 2)] {
        said.is_told(&format!("--> manifest.toml:{line}:{column}"));
    }
    for command in [&["build"][..], &["run"], &["explain", ".", "open", "/x"], &["policy", "diff", ".", "."]]
    {
        let said = gabion(place.path(), command[0], command);
        // Who is not root is told that first.
        if command[0] != "run" || nix::unistd::geteuid().is_root() {
            said.is_told("--> manifest.toml:2:6");
        }
    }
}
