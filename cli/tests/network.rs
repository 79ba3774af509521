//! `gabion net` where there is no device: what a manifest alone says, and what is said when a device is needed.

#![allow(clippy::unwrap_used, reason = "what fails here is a test that fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const MANIFEST: &str = r#"
[app]
id = "com.example.a"
version = "1.0.0"
exec = ["/bin/a"]

[resources]
memory = "8MiB"
cpu = "10%"
tasks = 4
open_files = 64

[network]
connect = ["mqtt.example.com:8883/tcp"]
"#;

fn gabion(arguments: &[&str]) -> (Option<i32>, String) {
    let place = TempDir::new().unwrap();
    fs::write(place.path().join("manifest.toml"), MANIFEST).unwrap();
    fs::write(place.path().join("network.toml"), "").unwrap();
    gabion_in(place.path(), arguments)
}

fn gabion_in(place: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_gabion"))
        .args(arguments)
        .current_dir(place)
        .env_remove("GABION_DEVICE")
        .output()
        .unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

#[test]
fn why_of_a_manifest_names_the_line_that_is_missing() {
    let (code, said) = gabion(&["net", "why", "--manifest", ".", "other.example.com:443"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.starts_with("denied: ") && said.contains("connect = [\"other.example.com:443/tcp\"]"),
        "{said}"
    );
    let (code, said) = gabion(&["net", "why", "--manifest", ".", "--json", "mqtt.example.com:8883/udp"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\"manifest_line\": \"connect = [\\\"mqtt.example.com:8883/udp\\\"]\""), "{said}");
}

#[test]
fn why_of_a_manifest_that_has_the_line_is_yes_and_says_what_is_not_known() {
    let (code, said) = gabion(&["net", "why", "--manifest", "manifest.toml", "mqtt.example.com:8883"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("allowed: [network] connect") && said.contains("a device knows"), "{said}");
}

#[test]
fn destination_with_a_fault_is_answered_by_what_to_write() {
    let (code, said) = gabion(&["net", "why", "com.example.a", "mqtt.example.com"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("write host, port and protocol"), "{said}");
}

#[test]
fn command_that_needs_a_device_says_how_to_have_one() {
    for command in [
        &["net", "status"][..],
        &["net", "rules", "com.example.a"],
        &["net", "why", "com.example.a", "mqtt.example.com:8883"],
        &["net", "configure", "network.toml"],
        &["time"],
    ] {
        let (code, said) = gabion(command);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("make run"), "{said}");
    }
    let (code, said) = gabion(&["net", "configure", "none.toml"]);
    assert!(code == Some(5) && said.contains("cannot read none.toml"), "{said}");
}
