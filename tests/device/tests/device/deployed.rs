//! An app's developer deploys to a running device: new, edited, broken, in place of the image's own; and takes it all away.

use crate::debug::app_is_debugged_and_goes_on;
use crate::heart;
use crate::tool::{called, done, gabion, refused};
use device_test::{App, Bench, Device};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const A: &str = "org.test.a";
const OWN: &str = "org.test.own";
const STORAGE: &str = "memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n";

/// The directory of an app, as its developer has it.
fn source(place: &Path, id: &str, script: &str) -> PathBuf {
    App::shell(id, script).resources(STORAGE).packed(place).unwrap()
}

fn edit(app: &Path, script: &str) {
    fs::write(app.join("root/bin/run"), script).unwrap();
}

/// What was written by the time that it ran.
fn lines(seen: &Value) -> Vec<&str> {
    seen["lines"].as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap()).collect()
}

/// Deploys, and waits for a line of it.
#[track_caller]
fn deploy(device: &Device, app: &Path, first: &str) -> Value {
    let mark = device.console().mark();
    let seen = called(device, &["deploy", app.to_str().unwrap(), "--json", "--wait", "60"]);
    assert_eq!(seen["running"], true, "{seen}");
    device.wait_after(mark, first);
    seen
}

fn developed(device: &Device) -> Vec<(String, Value)> {
    let all = called(device, &["bus", "call", "os.gabion.Developer.List"]);
    let each = |app: &Value| (app["app"].as_str().unwrap().to_owned(), app["beneath"].clone());
    all["apps"].as_array().unwrap().iter().map(each).collect()
}

#[test]
fn app_is_deployed_edited_refused_and_gone_and_the_images_own_comes_back() {
    let own = App::shell(OWN, "ls /data; echo own > /data/own; sync; echo image; exec sleep 1000");
    let bench = Bench::new("deployed").developer().app(heart()).app(own.resources(STORAGE));
    let device = bench.boot().unwrap();
    device.wait_for("[org.test.own] image");
    device.wait_for("gabion: ready");
    let heart_pid = device.pid("org.test.heart");
    let place = tempfile::tempdir().unwrap();

    // New; what it was refused is told, with the line that would allow it.
    let a = source(
        place.path(),
        A,
        "mount -t proc none /tmp; echo one > /data/mark; sync; echo first; exec sleep 1000",
    );
    let seen = deploy(&device, &a, "[org.test.a] first");
    assert_eq!(
        (&seen["app"], &seen["version"], &seen["state"]),
        (&A.into(), &"1.0.0".into(), &"running".into())
    );
    assert!(!lines(&seen).is_empty(), "{seen}");
    assert!(seen["refused"].to_string().contains("mount killed=SIGSYS by=seccomp"), "{seen}");

    // Edited, under the same version: its data is there.
    edit(&a, "cat /data/mark; echo second; exec sleep 1000");
    let began = Instant::now();
    let seen = deploy(&device, &a, "[org.test.a] second");
    println!("an edit was deployed and said its first line after {:?}", began.elapsed());
    assert!(!lines(&seen).contains(&"first"), "what the one before wrote is not its own: {seen}");
    device.wait_for("[org.test.a] one");
    let stats = called(&device, &["stats", A, "--json"]);
    let usage = &stats["apps"][0];
    assert!(
        usage["memory_bytes"].as_i64().unwrap() > 0 && usage["storage_limit_bytes"] == 1 << 20,
        "{stats}"
    );
    assert!(usage["tasks"].as_i64().unwrap() > 0 && usage["uptime_ms"].as_i64().unwrap() > 0, "{stats}");
    assert!(done(&device, &["stats"]).contains("of 1024 KiB"));

    // One that does not run: how it ended, and exit code 1.
    let b = source(place.path(), "org.test.b", "exit 3");
    let text = fs::read_to_string(b.join("manifest.toml")).unwrap();
    fs::write(b.join("manifest.toml"), text.replace("\"always\"", "\"never\"")).unwrap();
    let ran = gabion(&device, &["deploy", b.to_str().unwrap(), "--wait", "60"]);
    assert!(ran.code == Some(1) && ran.out.contains("ended by code=3"), "{}{}", ran.out, ran.err);

    // A mistake in the manifest is refused with its line and the remedy, before anything is sent.
    let pid = device.pid(A);
    let text = fs::read_to_string(a.join("manifest.toml")).unwrap();
    fs::write(a.join("manifest.toml"), text.replace("restart =", "restrat =")).unwrap();
    let ran = gabion(&device, &["deploy", a.to_str().unwrap()]);
    assert!(
        ran.code == Some(1)
            && ran.err.contains("manifest.toml:")
            && ran.err.contains("did you mean `restart`?"),
        "{}",
        ran.err
    );
    fs::write(a.join("manifest.toml"), text).unwrap();
    // A byte that is damaged on the way is found by the device, wherever it is.
    let package = place.path().join("a.gab");
    done(&device, &["build", a.to_str().unwrap(), "-o", package.to_str().unwrap()]);
    let good = fs::read(&package).unwrap();
    for at in [600, (20 << 10) + 1030, good.len() / 2, good.len() - (22 << 10)] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&package, bytes).unwrap();
        refused(&device, &["deploy", package.to_str().unwrap()], &[]);
    }
    assert_eq!((device.pid(A), device.pid("org.test.heart")), (pid, heart_pid), "nobody was disturbed");

    // In place of the image's own, whose data it does not see; that is there after a boot, and goes back.
    let own =
        source(place.path(), OWN, "ls /data; echo x > /data/theirs; sync; echo developer; exec sleep 1000");
    let seen = deploy(&device, &own, "[org.test.own] developer");
    assert!(!lines(&seen).contains(&"own"), "{seen}");
    let all = developed(&device);
    let of = |id: &str| all.iter().find(|(app, _)| app == id).unwrap().1.clone();
    assert_eq!((all.len(), of(OWN), of(A)), (3, "image".into(), Value::Null));
    let off = device.power_button();
    off.check_data().unwrap();
    let mut device = off.boot().unwrap();
    device.wait_for("[org.test.own] developer");
    device.wait_for("[org.test.a] second");
    device.wait_for("gabion: ready");
    done(&device, &["rm", OWN]);
    device.wait_for("[org.test.own] own");
    device.wait_for("[org.test.own] image");
    refused(&device, &["rm", OWN], &["was not deployed here"]);

    // Everything goes, with its data.
    assert_eq!(done(&device, &["rm", "--all"]), "2 apps removed\n");
    assert!(developed(&device).is_empty());
    for place in ["/data/developed", "/data/logs", "/data/gabion/packages"] {
        assert!(!device.agent(&format!("ls {place}")).contains(&A.to_owned()), "{place}");
    }
    assert_eq!(device.agent("ls /data/gabion/packages/uploads"), [""; 0]);
    // And the way is free.
    deploy(&device, &a, "[org.test.a] second");
    app_is_debugged_and_goes_on(&device, place.path());
    device.power_button().check_data().unwrap();
}
