//! The profiles against what programs were seen to need: `tests/programs/need`.
//!
//! One file for each program, a call on each line by its kernel name; `#` begins a comment. Files in the folder itself
//! are of unmodified Debian programs, which must work under `default`; those in `strict` of static ones, in
//! `jit` and `sysv_shm` of those that need that besides, in `network-server` of tuned servers, in `system` of the system's own, named as their filter is in the manifest.

use super::super::reasons::{DAEMON_LEFT_OUT, DAEMON_NOT_SEEN, LEFT_OUT, NOT_SEEN};
use super::super::surface;
use super::{daemon, facts_of};
use crate::facts::{Facts, Profile, SystemFilter};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

type Calls = BTreeSet<String>;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/programs/need").join(name)
}

/// The programs that have evidence in a folder, with their calls.
fn seen(name: &str) -> Vec<(String, Calls)> {
    let files = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), calls(&path))).collect()
}

fn calls(path: &PathBuf) -> Calls {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
    lines.filter(|line| !line.is_empty()).map(|call| here(call).to_owned()).collect()
}

/// Evidence is of x86-64. Where an architecture has one call of several old ones, they are evidence of that.
#[cfg(target_arch = "x86_64")]
fn here(call: &str) -> &str {
    call
}
#[cfg(target_arch = "aarch64")]
fn here(call: &str) -> &str {
    match call {
        "open" | "creat" => "openat",
        "stat" | "lstat" => "newfstatat",
        "access" => "faccessat",
        "readlink" => "readlinkat",
        "mkdir" => "mkdirat",
        "rmdir" | "unlink" => "unlinkat",
        "rename" => "renameat",
        "link" => "linkat",
        "symlink" => "symlinkat",
        "chmod" => "fchmodat",
        "chown" | "lchown" => "fchownat",
        "dup2" => "dup3",
        "pipe" => "pipe2",
        "poll" => "ppoll",
        "select" => "pselect6",
        "epoll_wait" => "epoll_pwait",
        "fork" | "vfork" => "clone",
        "getpgrp" => "getpgid",
        "alarm" => "setitimer",
        "accept" => "accept4",
        "arch_prctl" => "prctl",
        other => other,
    }
}

fn all(folders: &[&str]) -> Calls {
    folders.iter().flat_map(|name| seen(name)).flat_map(|(_, calls)| calls).collect()
}

fn of(reasons: &[(&str, &str)]) -> Calls {
    reasons.iter().map(|(call, _)| (*call).to_owned()).collect()
}

fn reached(facts: &Facts) -> Calls {
    surface::of(facts).into_iter().collect()
}

const GRANTS: &str = "[network]\nlisten = [\"1/tcp\", \"1/udp\"]\n[devices]\nserial = [\"/dev/ttyS1\"]\n";

/// Every profile, and the folders whose programs it is for: `strict` alone, and all with everything that can be granted.
/// Sockets are a grant of their own, so what strict has with them is held against all programs that have any.
fn profiles() -> [(Facts, &'static [&'static str]); 4] {
    [
        (facts_of(Profile::Strict, false, "", false), &["strict"]),
        (facts_of(Profile::Strict, false, GRANTS, true), &["strict", ""]),
        (facts_of(Profile::Default, true, GRANTS, true), &["strict", "", "jit"]),
        (
            Facts { sysv_shm: true, ..facts_of(Profile::NetworkServer, true, GRANTS, true) },
            &["strict", "", "jit", "network-server", "sysv_shm"],
        ),
    ]
}

fn daemons() -> Vec<(Facts, Calls)> {
    let file = |filter: &SystemFilter| folder("system").join(format!("{filter}.txt"));
    SystemFilter::ALL.iter().map(|filter| (daemon(*filter), calls(&file(filter)))).collect()
}

#[test]
fn profile_every_call_is_in_evidence_or_has_a_reason() {
    for (facts, folders) in profiles() {
        let needed = &all(folders) | &of(NOT_SEEN);
        let idle: Vec<String> = reached(&facts).difference(&needed).cloned().collect();
        assert!(idle.is_empty(), "{} allows what nothing needs: {idle:?}", facts.profile);
    }
}

#[test]
fn profile_every_call_in_evidence_is_allowed_or_left_out() {
    for (facts, folders) in profiles() {
        let known = &reached(&facts) | &of(LEFT_OUT);
        let folders = if facts.profile == Profile::Strict { &["strict"] } else { folders };
        let mut lacking = Vec::new();
        for (program, calls) in folders.iter().flat_map(|name| seen(name)) {
            lacking.extend(calls.difference(&known).map(|call| format!("{program}: {call}")));
        }
        assert!(lacking.is_empty(), "{} has not what programs need: {lacking:?}", facts.profile);
    }
}

#[test]
fn daemon_every_call_is_in_its_evidence_and_all_of_that_is_allowed() {
    let left_out: Calls = DAEMON_LEFT_OUT.iter().map(|call| (*call).to_owned()).collect();
    for (facts, needed) in daemons() {
        let (reached, name) = (reached(&facts), &facts.id);
        let idle: Vec<String> = reached.difference(&(&needed | &of(DAEMON_NOT_SEEN))).cloned().collect();
        assert!(idle.is_empty(), "{name} allows what it does not need: {idle:?}");
        let missing: Vec<String> =
            needed.difference(&(&(&reached | &left_out) | &of(LEFT_OUT))).cloned().collect();
        assert!(missing.is_empty(), "{name} needs what its filter has not: {missing:?}");
    }
}

#[test]
fn daemon_reason_that_nothing_needs_is_refused() {
    let daemons = daemons();
    for (call, _) in DAEMON_NOT_SEEN {
        let helps =
            daemons.iter().any(|(facts, needed)| reached(facts).contains(*call) && !needed.contains(*call));
        assert!(helps, "{call} is in evidence or not allowed: no reason is needed");
    }
    for call in DAEMON_LEFT_OUT {
        let helps =
            daemons.iter().any(|(facts, needed)| !reached(facts).contains(*call) && needed.contains(*call));
        assert!(helps, "{call} is allowed or in no evidence: it is not left out");
    }
}

#[test]
fn daemon_reaches_less_than_strict() {
    let strict = reached(&facts_of(Profile::Strict, false, "", false)).len();
    for (facts, _) in daemons() {
        let count = reached(&facts).len();
        println!("{}: {count}", facts.id);
        // Those that talk to the network are all sockets and timers; the others are a few messages.
        let sockets = matches!(
            facts.filter(),
            Some(SystemFilter::Net | SystemFilter::Attest | SystemFilter::Update | SystemFilter::Door)
        );
        let most = if sockets { strict * 2 / 3 } else { strict / 2 };
        assert!(count < most, "{} reaches {count} calls, strict {strict}", facts.id);
    }
}

#[test]
fn reason_that_evidence_makes_idle_is_refused() {
    let profiles = profiles();
    for (call, _) in NOT_SEEN {
        let helps = profiles
            .iter()
            .any(|(facts, folders)| reached(facts).contains(*call) && !all(folders).contains(*call));
        assert!(helps, "{call} is in evidence or not allowed: no reason is needed");
    }
    // What only tuned servers have is left out of what most programs have.
    let [_, _, (widest, _), _] = &profiles;
    let (seen, reached) = (all(&["strict", "", "jit", "network-server", "sysv_shm"]), reached(widest));
    for (call, _) in LEFT_OUT {
        assert!(seen.contains(*call), "{call} is in no evidence: it needs no reason to be left out");
        assert!(!reached.contains(*call), "{call} is allowed: it is not left out");
    }
}

#[test]
fn profile_reaches_no_more_than_it_promises() {
    for (profile, grants, uses, most) in [
        (Profile::Strict, "", false, 90),
        (Profile::Strict, GRANTS, true, 110),
        (Profile::Default, "", false, 130),
        (Profile::Default, GRANTS, true, 131),
    ] {
        let count = reached(&facts_of(profile, false, grants, uses)).len();
        println!(
            "{profile}{}: {count}",
            if uses { ", with TCP, UDP, the bus and a serial line" } else { "" }
        );
        assert!(count <= most, "{profile} reaches {count} calls, more than {most}");
    }
}

#[test]
fn evidence_is_of_enough_programs() {
    assert!(seen("").len() >= 14, "{}", seen("").len());
}
