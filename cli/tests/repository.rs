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

#[test]
fn updates_for_a_disk_are_what_a_device_asks_for_and_nothing_that_was_changed() {
    const PATH: &str = "apps/acme/org.test.work/1.1.0.json";
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    fs::write(at.join("passphrase"), "correct horse battery\n").unwrap();
    for line in [
        "key os",
        "key all",
        "init r --root all --targets all --os os --snapshot all --timestamp all",
        "delegate r apps-acme --targets apps/acme --key all",
        "sign r --key all",
        "sign r --key os",
    ] {
        done(at, line);
    }
    fs::create_dir(at.join("app")).unwrap();
    fs::write(at.join("app/root.img"), vec![7; 3 * 4096]).unwrap();
    let nought = "0".repeat(64);
    let words = format!("data_blocks=1 hash_start_block=2 root_hash={nought} salt={nought}\n");
    fs::write(at.join("app/root.verity"), words).unwrap();
    let manifest = "[app]\nid = \"org.test.work\"\nversion = \"1.1.0\"\nexec = [\"/a\"]\n[resources]\nmemory = \"8MiB\"\n\
                    cpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n";
    fs::write(at.join("app/manifest.toml"), manifest).unwrap();
    let tool = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
        command
            .current_dir(at)
            .env("GABION_REPOSITORY_PASSPHRASE_FILE", "passphrase")
            .env("GABION_REPOSITORY", "r");
        let output = command.args(line.split(' ')).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let make = |file: &str, path: &str| tool(&format!("update offline make {file} {path}"));
    assert_eq!(tool("image add acme app --key all --keep").0, Some(0));
    let (code, said) = make("disk.tar", PATH);
    assert!(
        code == Some(5) && said.contains("`gabion repository refresh` signs a timestamp"),
        "{code:?} {said}"
    );
    done(at, "refresh r --key all --timestamp-days 60");
    let (code, said) = make("disk.tar", PATH);
    assert!(code == Some(0) && said.ends_with(&format!(" bytes, for {PATH}\n")), "{said}");
    let listed = Command::new("tar").arg("-tf").arg(at.join("disk.tar")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.starts_with("gabion-update.json\nmetadata/") && listed.contains("\nmetadata/1.root.json\n"),
        "{listed}"
    );
    assert!(listed.contains("\nmetadata/timestamp.json\n") && listed.contains(".1.1.0.json\n"), "{listed}");
    assert_eq!(listed.matches("\ntargets/blobs/").count(), 3, "{listed}");
    assert!(make("disk.tar", PATH).1.contains("exists"));
    assert!(make("other.tar", "apps/acme/org.test.work/2.0.json").1.contains("nobody who may says"));
    let blob = listed.lines().find(|line| line.starts_with("targets/blobs/")).unwrap();
    fs::write(at.join("r").join(blob), "something else").unwrap();
    assert!(make("other.tar", PATH).1.contains("is not what was signed"));
    assert!(!at.join("other.tar").exists());
}
