//! Killing what runs: the manager, apps, and both at once. Nobody else may notice.

use crate::heart;
use device_test::{App, Bench, Device, PATIENCE, word};
use std::time::{Duration, Instant};

const IDLE: &str = "echo up; while true; do sleep 1000; done";

/// The manager's process.
fn sandboxd(device: &mut Device) -> Option<u32> {
    device.pids(0, "sandboxd").first().copied()
}

/// Waits for a manager other than `old`.
fn next_sandboxd(device: &mut Device, old: Option<u32>) -> u32 {
    for _ in 0..1800 {
        match sandboxd(device) {
            Some(pid) if Some(pid) != old => return pid,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    panic!("no new sandboxd within three minutes");
}

fn uid(device: &Device, id: &str) -> u32 {
    let line = device.wait_for(&format!("event started id={id} "));
    word(&line, "uid").unwrap().parse().unwrap()
}

#[test]
fn sandboxd_killed_apps_live_on_and_are_adopted() {
    let mut device =
        Bench::new("sandboxd-killed").app(heart()).app(App::shell("org.test.idle", IDLE)).boot().unwrap();
    device.wait_for("gabion: ready");
    let (heart, idle) = (device.pid("org.test.heart"), device.pid("org.test.idle"));
    for _ in 0..2 {
        let mark = device.console().mark();
        let old = next_sandboxd(&mut device, None);
        device.agent(&format!("kill {old} SIGKILL"));
        device.wait_after(mark, "event manager-exited");
        device.wait_after(mark, &format!("event adopted id=org.test.heart uid=* pid={heart} starts=1"));
        device.wait_after(mark, &format!("event adopted id=org.test.idle uid=* pid={idle} starts=1"));
        device.wait_count(mark, "[org.test.heart] beat", 3, PATIENCE);
        device.wait_after(mark, "gabion: end of boxes");
    }
    assert!(device.console().lines(0, "event exited id=org.test.").is_empty());
    // What it took back, it still manages.
    let mark = device.console().mark();
    device.agent(&format!("kill {idle} SIGKILL"));
    device.wait_after(
        mark,
        &format!("event exited id=org.test.idle pid={idle} reason=signal detail=\"signal=SIGKILL\""),
    );
    device.wait_after(mark, "event started id=org.test.idle * starts=2");
    device.power_button().check_data().unwrap();
}

#[test]
fn sandboxd_killed_while_it_comes_up_starts_each_app_once() {
    let ids = ["org.test.four", "org.test.one", "org.test.three", "org.test.two"];
    let mut bench = Bench::new("sandboxd-killed-early");
    for id in ids {
        bench = bench.app(App::shell(id, IDLE));
    }
    // The first app in line: the store has no plan for its manifest, so the worker is woken.
    bench = bench.app(App::shell("org.test.bad", IDLE).manifest("[app]\nnonsense = 1\n"));
    let mut device = bench.boot().unwrap();
    assert_eq!(device.agent("ping"), ["pong"]);
    for moment in ["event started id=os.gabion.worker", "event started id=org.test."] {
        device.wait_for(moment);
        let manager = next_sandboxd(&mut device, None);
        device.agent(&format!("kill {manager} SIGKILL"));
        device.wait_for(&format!("event manager-exited pid={manager} "));
    }
    device.wait_for("gabion: ready boxes=6 ");
    for id in ids {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pid = device.pid(id);
            // The uid of the event that told of this pid; `sh` waits for a child, `sleep`.
            let line = device.wait_for(&format!("event *ed id={id} uid=* pid={pid} "));
            let uid = word(&line, "uid").unwrap().parse().unwrap();
            let shells = device.pids(uid, "sh");
            // One that was put and not started was adopted without a process, and is started now.
            if shells == [pid] {
                break;
            }
            assert!(Instant::now() < deadline, "{id}: {shells:?} and not {pid}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert!(device.console().lines(0, "event exited id=org.test.").is_empty());
    device.power_button().check_data().unwrap();
}

#[test]
fn app_killed_while_sandboxd_stands_still_is_started_again() {
    let mut device = Bench::new("sandboxd-stopped").app(App::shell("org.test.idle", IDLE)).boot().unwrap();
    device.wait_for("gabion: ready");
    let (manager, first) = (next_sandboxd(&mut device, None), device.pid("org.test.idle"));
    let uid = uid(&device, "org.test.idle");
    device.agent(&format!("kill {manager} SIGSTOP"));
    let mark = device.console().mark();
    device.agent(&format!("kill {first} SIGKILL"));
    let second = next_shell(&mut device, uid, first);
    assert!(device.console().lines(mark, "event ").is_empty(), "sandboxd was to stand still");
    device.agent(&format!("kill {manager} SIGCONT"));
    device.wait_after(mark, &format!("event exited id=org.test.idle pid={first}"));
    device.wait_after(mark, &format!("event started id=org.test.idle uid={uid} pid={second} starts=2"));
}

/// Waits until the app's shell is a process other than `old`.
fn next_shell(device: &mut Device, uid: u32, old: u32) -> u32 {
    for _ in 0..1800 {
        match device.pids(uid, "sh").as_slice() {
            [pid] if *pid != old => return *pid,
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    panic!("the app is not started again");
}

#[test]
fn exits_that_a_dying_sandboxd_took_with_it_are_recorded_one_by_one() {
    let mut device = Bench::new("exits-unheard").app(App::shell("org.test.idle", IDLE)).boot().unwrap();
    device.wait_for("gabion: ready");
    let (manager, first) = (next_sandboxd(&mut device, None), device.pid("org.test.idle"));
    let uid = uid(&device, "org.test.idle");
    // It stands still, so what it is told waits in its socket, and dies with it.
    device.agent(&format!("kill {manager} SIGSTOP"));
    device.agent(&format!("kill {first} SIGKILL"));
    let second = next_shell(&mut device, uid, first);
    device.agent(&format!("kill {second} SIGKILL"));
    let third = next_shell(&mut device, uid, second);
    let mark = device.console().mark();
    device.agent(&format!("kill {manager} SIGKILL"));
    device.wait_after(mark, &format!("event adopted id=org.test.idle uid={uid} pid={third} starts=3"));
    for (count, pid) in [(1, first), (2, second)] {
        device.wait_after(
            mark,
            &format!("event exited id=org.test.idle pid={pid} reason=signal * count={count} * ago_ms="),
        );
    }
    device.wait_after(mark, "gabion: end of boxes");
    // Once recorded, they are not told to the next one.
    let mark = device.console().mark();
    let manager = next_sandboxd(&mut device, Some(manager));
    device.agent(&format!("kill {manager} SIGKILL"));
    device.wait_after(mark, &format!("event adopted id=org.test.idle uid={uid} pid={third} starts=3"));
    device.wait_after(mark, "gabion: end of boxes");
    let records = device.agent("cat /data/logs/org.test.idle/exits");
    assert_eq!(records.len(), 2, "{records:?}");
}

/// It ends itself, since three ends within ten seconds are what counts, and whoever looks on may be slow. So may the device
/// be: it ends until it was held back three times.
#[test]
fn app_that_ends_quickly_backs_off_and_runs_again() {
    let mortal = "[ -e /data/enough ] || exit 3; echo up; sleep 1000";
    let resources = "memory = \"8MiB\"\nstorage = \"1MiB\"\n";
    let mut device = Bench::new("back-off")
        .app(heart())
        .app(App::shell("org.test.mortal", mortal).resources(resources))
        .boot()
        .unwrap();
    for next in ["restart in 0 ms", "back-off 1000 ms", "back-off 2000 ms", "back-off 4000 ms"] {
        device.wait_for(&format!("event exited id=org.test.mortal * reason=exit * next={next}"));
    }
    let ends = device.console().lines(0, "event exited id=org.test.mortal ");
    assert!(ends[0].contains("next=restart in 0 ms") && ends[1].contains("next=restart in 0 ms"), "{ends:?}");
    device.agent("write /data/apps/org.test.mortal/enough x");
    device.wait_for("[org.test.mortal] up");
    assert!(device.console().lines(0, "event exited id=org.test.heart").is_empty());
}

/// Two ends within ten seconds bring no back-off, three do: hence the pace, from each end that was told to the next kill, so
/// that a slow machine changes nothing.
#[test]
fn apps_killed_fifty_times_each_always_return_and_neighbours_go_on() {
    const ROUNDS: usize = 50;
    const PACE: Duration = Duration::from_millis(5_200);
    let victims = ["org.test.one", "org.test.three", "org.test.two"];
    let storage = "memory = \"8MiB\"\nstorage = \"1MiB\"\n";
    let writer = "while true; do echo $((n+=1)) > /data/n; sleep 1; done";
    let mut device = Bench::new("fifty-kills")
        .mostly_idle()
        .app(heart())
        .app(App::shell(victims[0], IDLE))
        .app(App::shell(victims[1], "while true; do echo x; done > /dev/null"))
        .app(App::shell(victims[2], writer).resources(storage))
        .boot()
        .unwrap();
    device.wait_for("gabion: ready");
    let mut ended = [Instant::now(); 3];
    for round in 1..=ROUNDS {
        for (id, ended) in victims.iter().zip(&mut ended) {
            device.wait_count(0, &format!("event started id={id} "), round, PATIENCE);
            let pid = device.pid(id);
            std::thread::sleep(PACE.saturating_sub(ended.elapsed()));
            device.agent(&format!("kill {pid} SIGKILL"));
            device.wait_count(0, &format!("event exited id={id} "), round, PATIENCE);
            *ended = Instant::now();
        }
    }
    for id in victims {
        device.wait_for(&format!("event exited id={id} * reason=signal * count={ROUNDS} "));
        device.wait_count(0, &format!("event started id={id} "), ROUNDS + 1, PATIENCE);
    }
    assert!(device.console().lines(0, "event exited id=org.test.* next=back-off").is_empty());
    let mark = device.console().mark();
    device.wait_after(mark, "[org.test.heart] beat");
    assert!(device.console().lines(0, "event exited id=org.test.heart").is_empty());
    // A beat takes one second and a little, and more on a busy machine; the storm took 260 s at least.
    let beats = device.console().lines(0, "[org.test.heart] beat").len();
    assert!(beats > 50, "{beats} beats");
    device.power_button().check_data().unwrap();
}

#[test]
fn sandboxd_killed_six_times_in_a_row_leads_to_safe_mode() {
    let mut device = Bench::new("safe-mode").app(heart()).system_box().boot().unwrap();
    device.wait_for("gabion: ready");
    device.wait_for("[os.gabion.testagent] beat");
    let uid = uid(&device, "org.test.heart");
    let system = device.pid("os.gabion.testagent");
    let mut killed = None;
    for _ in 0..6 {
        let pid = next_sandboxd(&mut device, killed);
        device.agent(&format!("kill {pid} SIGKILL"));
        killed = Some(pid);
    }
    device.wait_for("gabion: event safe-mode");
    device.wait_for("gabion: safe mode: no app is started until the next boot");
    let mut left = vec![0];
    for _ in 0..1800 {
        left = device.pids(uid, "sh");
        if left.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(left.is_empty(), "apps in safe mode: {left:?}");

    // The system's own boxes never noticed, and are still looked after: by `init`, and by a sandboxd that is there.
    assert_eq!(device.pids(1001, "test-probe"), [system]);
    let mark = device.console().mark();
    device.wait_after(mark, "[os.gabion.testagent] beat");
    assert!(device.console().lines(0, "event exited id=os.gabion.testagent").is_empty());
    device.agent(&format!("kill {system} SIGKILL"));
    device.wait_after(mark, &format!("event exited id=os.gabion.testagent pid={system} reason=signal"));
    device.wait_after(mark, "event started id=os.gabion.testagent uid=1001 * starts=2");
    device.wait_after(mark, "[os.gabion.testagent] beat 2");
    assert!(device.console().lines(mark, "event started id=org.test.heart").is_empty());
    let off = device.power_button();
    off.check_data().unwrap();
    let device = off.boot().unwrap();
    device.wait_for("[org.test.heart] beat");
}
