//! The whole manager on a developer's machine, against a stand-in for `init`. Must run as root.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

#[path = "manager/developer.rs"]
mod developer;
#[path = "manager/packages.rs"]
mod packages;
mod rig;

use std::fs;
use std::path::Path;
use std::time::Duration;

use rig::Rig;

/// Not a test: the manager's own process, started by the others.
#[test]
fn manager_process() {
    rig::manager_process();
}

#[test]
fn app_runs_logs_and_its_exit_is_recorded() {
    let mut rig = Rig::new();
    rig.add_app(
        "com.example.a",
        "echo hello from $HOME; echo bad >&2; exit 3",
        "[lifecycle]\nrestart = \"never\"\n",
    );
    rig.start_manager();
    rig.until("event started id=com.example.a uid=10000 ");
    let line = rig.until("event exited id=com.example.a");
    assert!(line.contains("reason=exit detail=\"code=3\" count=1 "), "{line}");
    assert!(line.ends_with("next=stopped"), "{line}");
    rig.until("gabion: boxes");
    let row = rig.until("com.example.a ");
    assert!(row.contains("stopped") && row.contains("10000") && row.ends_with("exit 3"), "{row}");
    rig.until("ready boxes=2 ");
    assert!(rig.console().contains("[com.example.a] hello from /data\n"));
    assert!(rig.console().contains("[com.example.a!] bad\n"));
    rig.kill_manager();
    let log = fs::read_to_string(rig.path("data/logs/com.example.a/current")).unwrap();
    assert!(log.contains("out hello from /data") && log.contains("err bad"), "{log}");
    let exits = fs::read_to_string(rig.path("data/logs/com.example.a/exits")).unwrap();
    assert!(exits.contains("\"reason\":\"exit\""), "{exits}");
}

#[test]
fn app_broken_manifest_is_a_problem_and_others_run() {
    let mut rig = Rig::new();
    rig.add_app("com.example.good", "echo fine; sleep 100", "");
    rig.add_app("com.example.typo", "true", "[lifecycle]\nrestrat = \"never\"\n");
    rig.add_app("com.example.copy", "true", "");
    let copied = fs::read_to_string(rig.path("apps/com.example.good/manifest.toml")).unwrap();
    fs::write(rig.path("apps/com.example.copy/manifest.toml"), copied).unwrap();
    rig.add_app("com.example.noprog", "true", "");
    fs::remove_file(rig.path("apps/com.example.noprog/root/bin/sh")).unwrap();
    fs::create_dir(rig.path("apps/com.example.empty")).unwrap();
    fs::create_dir(rig.path("apps/Not An App")).unwrap();
    rig.start_manager();
    rig.until("ready boxes=6 ");
    rig.until_once("[com.example.good] fine");
    let console = rig.console();
    for text in [
        "problem id=Not An App ",
        "problem id=com.example.copy its manifest says id = \"com.example.good\"",
        "problem id=com.example.empty can not open its manifest.toml",
        "problem id=com.example.noprog the program /bin/sh is not in the app's root",
        "problem id=com.example.typo manifest.toml:",
    ] {
        assert!(console.contains(text), "no {text:?} in\n{console}");
    }
}

#[test]
fn manager_killed_takes_its_boxes_back_untouched() {
    let mut rig = Rig::new();
    rig.add_app("com.example.a", "n=0; while sleep 0.2; do n=$((n+1)); echo tick $n; done", "");
    rig.start_manager();
    rig.until("ready boxes=2");
    let pid = rig.pid_of(10_000).unwrap();
    for _ in 0..3 {
        // At once after a line: the next one is not yet on its way from the pipe to the console.
        rig.until("[com.example.a] tick");
        rig.kill_manager();
        rig.run_for(Duration::from_millis(300));
        rig.start_manager();
        rig.until(&format!("event adopted id=com.example.a uid=10000 pid={pid} starts=1"));
        rig.until("ready boxes=2 ");
    }
    rig.until("[com.example.a] tick");
    assert_eq!(rig.pid_of(10_000), Some(pid));
    let console = rig.console();
    // Nothing it wrote while nobody listened is lost.
    let ticks: Vec<&str> = console.lines().filter_map(|l| l.strip_prefix("[com.example.a] tick ")).collect();
    let expected: Vec<String> = (1..=ticks.len()).map(|n| n.to_string()).collect();
    assert_eq!(ticks, expected);
    assert!(!console.contains("problem"), "{console}");
}

#[test]
fn ends_that_no_manager_saw_are_recorded_one_by_one_by_the_next() {
    let mut rig = Rig::new();
    // Ends at once the first time, and then not before it may.
    let script = "[ ! -e /data/once ] || until [ -e /data/go ]; do sleep 0.1; done; : > /data/once; exit 7";
    rig.add_app("com.example.a", script, "[lifecycle]\nrestart = \"always\"\n");
    rig.start_manager();
    rig.until("event exited id=com.example.a");
    rig.until("event started id=com.example.a uid=10000 ");
    // What is recorded is not told again.
    rig.until_unheard(10_000, 0);
    rig.kill_manager();
    fs::write(rig.path("data/apps/com.example.a/go"), "").unwrap();
    // Three more ends; the fourth start is the stand-in's last.
    rig.until_unheard(10_000, 3);
    rig.lose_ends(10_000, 5);
    rig.start_manager();
    for count in 2..=4 {
        let line = rig.until("event exited id=com.example.a");
        assert!(line.contains(&format!("detail=\"code=7\" count={count} ")), "{line}");
        assert!(line.contains(" ago_ms="), "{line}");
    }
    rig.until("event unrecorded id=com.example.a ends=5 count=9");
    rig.until("ready boxes=2");
    rig.until_unheard(10_000, 0);
    let exits = fs::read_to_string(rig.path("data/logs/com.example.a/exits")).unwrap();
    assert_eq!(exits.lines().count(), 5, "{exits}");
    assert!(exits.lines().all(|line| line.starts_with("{\"time\":\"20")), "{exits}");
}

#[test]
fn app_silent_for_too_long_is_killed_and_recorded() {
    let mut rig = Rig::new();
    rig.add_app("com.example.dog", "sleep 100", "[lifecycle]\nwatchdog = \"1s\"\nrestart = \"always\"\n");
    rig.start_manager();
    rig.until("event overdue id=com.example.dog silent_ms=1000");
    let line = rig.until("event exited id=com.example.dog");
    assert!(line.contains("reason=watchdog detail=\"silent_ms=1000\""), "{line}");
    rig.until("event started id=com.example.dog uid=10000 ");
}

#[test]
fn app_killed_by_seccomp_is_recorded_with_the_call() {
    let mut rig = Rig::new();
    rig.add_app("com.example.evil", "exec unshare -U true", "[lifecycle]\nrestart = \"never\"\n");
    rig.start_manager();
    let line = rig.until("event exited id=com.example.evil");
    assert!(line.contains("reason=seccomp detail=\"syscall=unshare\""), "{line}");
    rig.kill_manager();
    rig.add_app("com.example.parent", "unshare -U true; echo alive", "[lifecycle]\nrestart = \"never\"\n");
    rig.start_manager();
    let line = rig.until("event denied id=com.example.parent");
    assert!(line.contains(" call=unshare killed=SIGSYS by=seccomp count=1"), "{line}");
}

#[test]
fn app_flood_of_lines_is_bounded_and_neighbours_are_heard() {
    let mut rig = Rig::new();
    rig.add_app("com.example.flood", "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done", "");
    rig.add_app("com.example.quiet", "while sleep 0.1; do echo here; done", "");
    rig.start_manager();
    rig.until("log id=com.example.flood dropped=");
    for _ in 0..20 {
        rig.until("[com.example.quiet] here");
    }
    let shown = rig.console().lines().filter(|l| l.starts_with("[com.example.flood]")).count();
    assert!(shown < 1500, "{shown}");
}

#[test]
fn registry_damaged_starts_no_app_and_is_not_reset() {
    let mut rig = Rig::new();
    rig.add_app("com.example.a", "echo up; sleep 100", "");
    fs::create_dir_all(rig.path("data/gabion")).unwrap();
    fs::write(rig.path("data/gabion/identity"), "gabion-identity 1\nnext 10001\n0 com.example.a\n").unwrap();
    rig.start_manager();
    rig.until("problem id=device the identity registry is corrupt");
    rig.until("ready boxes=1 ");
    assert!(!rig.console().contains("com.example.a"));
    assert!(fs::read_to_string(rig.path("data/gabion/identity")).unwrap().ends_with("0 com.example.a\n"));
}

#[test]
fn safe_mode_starts_the_systems_boxes_and_no_app() {
    let mut rig = Rig::new();
    rig.add_app("com.example.a", "echo up; sleep 100", "");
    let sleeper = [(Path::new("/bin/sleep"), "bin/sleep")];
    rig.add_system_box("os.gabion.testagent", &sleeper, "[\"/bin/sleep\", \"100\"]");
    rig.safe_mode = true;
    rig.start_manager();
    rig.until("safe mode: no app is started until the next boot");
    rig.until("event started id=os.gabion.testagent uid=1001 ");
    rig.until("ready boxes=2 ");
    let pid = rig.pid_of(1001).unwrap();
    rig.kill_manager();
    rig.start_manager();
    rig.until(&format!("event adopted id=os.gabion.testagent uid=1001 pid={pid} starts=1"));
    rig.until("ready boxes=2 ");
    assert_eq!(rig.pid_of(1001), Some(pid));
    assert!(!rig.console().contains("com.example.a"));
}

/// A manager that dies between the bundle and the word to start it leaves a box that nobody started.
#[test]
fn system_box_put_and_never_started_is_started_by_the_next_manager() {
    let mut rig = Rig::new();
    let sleeper = [(Path::new("/bin/sleep"), "bin/sleep")];
    rig.add_system_box("os.gabion.testagent", &sleeper, "[\"/bin/sleep\", \"100\"]");
    rig.start_manager();
    rig.until("event started id=os.gabion.testagent ");
    rig.kill_manager();
    rig.forget_start(1001);
    rig.start_manager();
    rig.until("event adopted id=os.gabion.testagent uid=1001 pid=0 starts=0");
    rig.until("event started id=os.gabion.testagent uid=1001 ");
}

#[test]
fn identity_survives_removal_and_is_never_reused() {
    let mut rig = Rig::new();
    rig.add_app("com.example.b", "true", "[lifecycle]\nrestart = \"never\"\n");
    rig.start_manager();
    rig.until("event started id=com.example.b uid=10000 ");
    rig.until("ready");
    rig.kill_manager();
    fs::remove_dir_all(rig.path("apps/com.example.b")).unwrap();
    rig.add_app("com.example.a", "ls /data; sleep 100", "[lifecycle]\nrestart = \"never\"\n");
    rig.start_manager();
    rig.until("event started id=com.example.a uid=10001 ");
}

#[test]
fn worker_missing_is_a_problem_of_every_app_not_a_silence() {
    let mut rig = Rig::new();
    rig.add_app("com.example.a", "true", "");
    fs::remove_file(rig.path("system/os.gabion.worker/bin/manifest-worker")).unwrap();
    rig.start_manager();
    rig.until("problem id=os.gabion.worker the program /bin/manifest-worker is not in the app's root");
    rig.until("problem id=com.example.a its manifest can not be read");
    rig.until("ready boxes=2 ");
}
