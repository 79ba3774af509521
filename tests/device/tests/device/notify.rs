//! The `sd_notify` protocol: `READY=1` and `WATCHDOG=1`. Unmodified programs that speak it are in the demo.

use device_test::{App, Bench, Device};
use std::time::Duration;

const ID: &str = "org.test.ready";

/// The state of the app in the newest table.
fn state(device: &Device) -> Option<String> {
    let rows = device.console().lines(0, &format!("{ID} "));
    let row = rows.iter().rfind(|row| row.starts_with(ID))?;
    row.split_whitespace().nth(1).map(str::to_owned)
}

/// Waits for a table that says so.
fn wait_state(device: &Device, expected: &str) {
    for _ in 0..1800 {
        if state(device).as_deref() == Some(expected) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no table says `{expected}` of {ID}, but {:?}", state(device));
}

#[test]
fn app_is_up_once_it_says_ready_and_stays_up_while_it_feeds_its_watchdog() {
    let app = App::probe(ID, &["ready"])
        .resources("memory = \"8MiB\"\nstorage = \"1MiB\"\n")
        .lifecycle("restart = \"always\"\nnotify = true\nwatchdog = \"10s\"\n");
    let mut device = Bench::new("notify").app(app).boot().unwrap();
    let go = "write /data/apps/org.test.ready/go x";
    device.wait_for("[org.test.ready] waiting for /data/go");
    // The first table comes without it, after a quarter of a minute, which is longer than its watchdog allows.
    wait_state(&device, "starting");
    device.agent(go);
    wait_state(&device, "up");
    // A new start has to say so anew.
    let pid = device.pid(ID);
    device.agent(&format!("kill {pid} SIGKILL"));
    device.wait_for(&format!("event started id={ID} * starts=2"));
    wait_state(&device, "starting");
    device.agent(go);
    wait_state(&device, "up");
    // What feeds it is alive for sandboxd; what stands still is not.
    let pid = device.pid(ID);
    assert_eq!(device.console().lines(0, &format!("event exited id={ID}")).len(), 1);
    device.agent(&format!("kill {pid} SIGSTOP"));
    device.wait_for(&format!(
        "event exited id={ID} pid={pid} reason=watchdog detail=\"silent_ms=10000\" count=2 "
    ));
    device.wait_for(&format!("event started id={ID} * starts=3"));
    let records = device.agent(&format!("cat /data/logs/{ID}/exits")).join("\n");
    assert!(records.contains("\"reason\":\"watchdog\""), "{records}");
}
