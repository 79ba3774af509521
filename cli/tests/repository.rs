//! `gabion repository`, as those who release call it: keys in different hands, one signature after another, a rotation.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn gabion(folder: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    command.current_dir(folder).env("GABION_REPOSITORY_PASSPHRASE_FILE", "passphrase");
    command.arg("repository").args(line.split(' ')).output().unwrap()
}

fn done(folder: &Path, line: &str) -> String {
    let output = gabion(folder, line);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn refused(folder: &Path, line: &str, why: &str) {
    let output = gabion(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains(why), "{line}: {said}");
}

#[test]
fn repository_is_made_signed_by_several_and_rotated() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("passphrase"), "correct horse battery\n").unwrap();
    fs::write(at.join("image"), "the system").unwrap();
    for key in ["root", "targets", "os-1", "os-2", "online"] {
        done(at, &format!("key {key}"));
    }
    done(at, "public os-2 os-2.pub");
    done(
        at,
        "init r --root root --targets targets --os os-1 --os os-2.pub --os-threshold 2 --snapshot online --timestamp online",
    );
    refused(
        at,
        "init r --root root --targets targets --os os-1 --snapshot online --timestamp online",
        "already",
    );
    assert_eq!(done(at, "add r os/box/root.img image --kind os --release 1.0"), "os waits for signatures\n");
    refused(at, "add r ../x image --kind os --release 1.0", "no target can have the path");
    for key in ["root", "targets"] {
        done(at, &format!("sign r --key {key}"));
    }
    assert_eq!(done(at, "sign r --key os-1"), "os 1: 1 of 2 signatures\n");
    // Nothing that a device would refuse is published.
    refused(at, "refresh r --key online", "os 1: 1 of its role's keys have signed it, of 2");
    assert!(!at.join("r/metadata/timestamp.json").exists());
    assert_eq!(done(at, "sign r --key os-2"), "os 1: 2 of 2 signatures\n");
    refused(at, "refresh r --key os-1", "snapshot needs 1 of its keys, and 0 are given");
    assert!(done(at, "refresh r --key online").contains("timestamp 1 published"));
    refused(at, "sign r --key os-1", "nothing that is staged");
    let shown: serde_json::Value = serde_json::from_str(&done(at, "show r --json")).unwrap();
    let online = shown["roles"][1]["keys"][0].as_str().unwrap().to_owned();
    assert_eq!(shown["targets"][0]["custom"]["version"], "1.0");
    // The online key is replaced.
    done(at, "key online-2");
    refused(at, "rotate r timestamp --threshold 2", "timestamp would need 2 signatures and have 1 keys");
    for role in ["snapshot", "timestamp"] {
        done(at, &format!("rotate r {role} --add online-2 --remove {online}"));
    }
    assert!(done(at, "refresh r --key online").contains("root 2: 0 of 1 signatures"));
    done(at, "sign r --key root");
    assert!(done(at, "refresh r --key online-2").contains("root 2 published"));
    refused(at, "refresh r --key online", "0 are given");
    assert!(done(at, "show r").contains("root: version 2, until "));
}

#[test]
fn key_with_another_passphrase_is_told_from_one_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("passphrase"), "correct horse battery\n").unwrap();
    done(at, "key a");
    assert_eq!(gabion(at, "key a").status.code(), Some(6));
    fs::write(at.join("passphrase"), "another horse battery\n").unwrap();
    let wrong = gabion(at, "sign r --key a");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("is the passphrase right?"));
    let missing = gabion(at, "sign r --key b");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("No such file"));
}
