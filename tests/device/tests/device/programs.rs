//! Unmodified Debian programs, all side by side on one device, each in its box under the default profile.
//!
//! What they do, and what it took, is told in `tests/programs`. A script that gives a program its work says `done` with
//! how many of its checks held. That the work is done is shown by the other end where a program only serves.

use device_test::{App, Bench, Device, word};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Those that end, and how many checks of each must hold.
const WORKERS: [(&str, usize); 15] = [
    ("bash", 14),
    ("busybox", 17),
    ("curl", 10),
    ("dropbear", 5),
    ("git", 9),
    ("gron", 4),
    ("jq", 6),
    ("lua", 10),
    ("openssl", 7),
    ("perl", 9),
    ("python", 11),
    ("rediscli", 10),
    ("ripgrep", 6),
    ("socat", 6),
    ("sqlite", 7),
];

/// Those that go on: `curl`, `rediscli` and `socat` are their clients.
const SERVERS: [&str; 4] = ["haproxy", "memcached", "nginx", "redis"];

/// They all start at once, on an interpreted machine.
const PATIENCE: Duration = Duration::from_secs(300);

fn programs() -> impl Iterator<Item = &'static str> {
    WORKERS.iter().map(|(name, _)| *name).chain(SERVERS)
}

#[test]
fn programs_of_debian_under_the_default_profile_do_their_work() {
    let bench = Bench::new("programs").memory_mib(512);
    let device = programs().fold(bench, |bench, name| bench.app(App::program(name))).boot().unwrap();
    for (name, checks) in WORKERS {
        device.wait_count(0, &format!("[org.test.{name}] done {checks}"), 1, PATIENCE);
        device.wait_for(&format!("event exited id=org.test.{name} "));
    }
    let console = device.console();
    let failed = console.lines(0, "] FAILED ");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // Nobody crashed, was killed or started again; servers have not ended at all.
    let mut ends = console.lines(0, "event exited id=org.test.");
    ends.retain(|line| !WORKERS.iter().any(|(name, _)| finished(line, name)));
    assert!(ends.is_empty(), "{}", ends.join("\n"));
    only_survived_refusals(&device);
    device.power_button().check_data().unwrap();
}

fn finished(line: &str, name: &str) -> bool {
    word(line, "id") == Some(&format!("org.test.{name}"))
        && word(line, "reason") == Some("exit")
        && line.contains("code=0")
}

#[test]
fn evidence_names_the_calls_of_every_program_and_of_those_it_survives_without() {
    for name in programs() {
        let need = fs::read_to_string(tests().join("need").join(format!("{name}.txt"))).unwrap();
        let need: Vec<_> = need.lines().collect();
        assert!(need.contains(&"execve") && need.is_sorted(), "{name}: {need:?}");
        for line in survives(name).lines() {
            let (call, why) = line.split_once(' ').unwrap();
            assert!(need.contains(&call) && !why.trim().is_empty(), "{name}: {line}");
        }
    }
    let there = fs::read_dir(tests().join("apps")).unwrap().count();
    assert_eq!(there, programs().count(), "the programs of tests/programs/apps are not those that are run");
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs")
}

/// The lines `CALL WHY` of what a program goes on without; most have no such file.
fn survives(name: &str) -> String {
    match fs::read_to_string(tests().join("apps").join(name).join("survives")) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.unwrap(),
    }
}

/// Each call that a box was refused is one that its program is known to go on without: `survives` in its folder.
#[track_caller]
fn only_survived_refusals(device: &Device) {
    let mut unknown = Vec::new();
    for line in device.console().lines(0, "event denied id=org.test.*by=seccomp") {
        let name = word(&line, "id").and_then(|id| id.strip_prefix("org.test.")).unwrap_or_default();
        let call = word(&line, "call").unwrap_or_default();
        let survives = survives(name);
        let known = survives.lines().any(|known| known.split_whitespace().next() == Some(call));
        println!("{name}: refused {call}, {}", if known { "and goes on" } else { "not known to go on" });
        if !known {
            unknown.push(line);
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
