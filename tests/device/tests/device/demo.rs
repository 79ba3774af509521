//! The shipped demo: unmodified Debian programs, in the memory that is promised.

use device_test::{Bench, PATIENCE};

#[test]
fn demo_in_96_mib_runs_every_app_and_those_that_may_reach_each_other_do() {
    let device = Bench::new("demo").demo().memory_mib(96).boot().unwrap();
    device.wait_for("gabion: ready boxes=11 ");
    // Up means that mosquitto, by libsystemd, and the Python script, by Debian's sdnotify, have said READY=1.
    for speaks in ["broker", "python", "clock"] {
        device.wait_for(&format!("org.gabion.demo.{speaks} * up "));
    }
    device.wait_for("[org.gabion.demo.subscriber] sensors/temperature ");
    device.wait_for("[org.gabion.demo.notes] 2 notes");
    device.wait_for("[org.gabion.demo.python] Gabion *, boot ");
    device.wait_for("[org.gabion.demo.python] http://localhost:8080/index.html: 200, ");
    device.wait_count(0, "[org.gabion.demo.clock] up for ", 3, PATIENCE);
    assert!(device.console().lines(0, "gabion: problem ").is_empty());
    // Whoever looks for the broker before it listens ends, and is started again: so does mosquitto_sub.
    let mut ends = device.console().lines(0, "event exited id=org.gabion.demo.");
    ends.retain(|line| !line.contains("id=org.gabion.demo.subscriber "));
    assert!(ends.is_empty(), "{ends:?}");
    // Refused calls are no fault: programs ask and go on. Being killed for one is.
    assert!(device.console().lines(0, "event denied * killed=").is_empty());
    let off = device.power_button();
    off.check_data().unwrap();
    let device = off.boot().unwrap();
    device.wait_for("[org.gabion.demo.notes] 3 notes");
}
