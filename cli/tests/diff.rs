//! `gabion policy diff` as CI calls it: by its exit code, and by its JSON.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::{Command, Output};

const APP: &str = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";

fn diff(old: &str, new: &str, options: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, rest: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("{APP}{rest}")).unwrap();
        path
    };
    let (old, new) = (file("old.toml", old), file("new.toml", new));
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    command.args(["policy", "diff"]).args([old, new]).args(options).output().unwrap()
}

#[test]
fn manifest_that_gains_ends_with_1_and_says_what() {
    let output = diff("", "[network]\nlisten = [\"80/tcp\"]\n[process]\njit = true", &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("gains:\n") && text.contains("JIT IS ON"), "{text}");
    assert!(text.contains("may be reached at 80/tcp"), "{text}");
}

#[test]
fn manifest_that_only_loses_or_changes_ends_with_0() {
    let output = diff("[resources]\nmemory = \"32MiB\"", "[lifecycle]\nrestart = \"always\"", &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["gains"], serde_json::json!([]));
    assert_eq!(json["losses"][0]["key"], "resources.memory");
    assert_eq!(json["changes"][0]["key"], "lifecycle.restart");
}

#[test]
fn manifest_with_problems_ends_with_1_and_one_that_is_not_there_with_5() {
    assert_eq!(diff("", "[nothing]\n", &[]).status.code(), Some(1));
    let absent =
        Command::new(env!("CARGO_BIN_EXE_gabion")).args(["policy", "diff", "/absent", "/absent"]).output();
    assert_eq!(absent.unwrap().status.code(), Some(5));
}
