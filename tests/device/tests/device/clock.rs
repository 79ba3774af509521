//! The clock of a device whose battery is empty: never before what it must at least be, and set by servers that agree.

use crate::tool::{called, until};
use device_test::site::{Teller, servers};
use device_test::{App, Bench, Device, PATIENCE, Site};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use sys::time::BUILT_S;

const DAY_S: u64 = 86_400;
/// Long before any system was built.
const EMPTY: &str = "2020-02-02T02:02:02";
/// Two that are right, and one that is years ahead.
const SERVERS: [&str; 3] = ["198.51.100.10", "198.51.100.11", "198.51.100.13"];

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Seconds since 1970 by the device's clock.
#[track_caller]
fn shown_s(device: &Device) -> u64 {
    let status = called(device, &["bus", "call", "os.gabion.Time.GetStatus"]);
    status["realtime_us"].as_u64().unwrap() / 1_000_000
}

/// What the first app saw that needs no network, and waits for nobody.
#[track_caller]
fn first_seen_s(device: &Device) -> u64 {
    device.wait_for("[org.test.early] sees ").rsplit(' ').next().unwrap().parse().unwrap()
}

/// Year, month and day, by `date`, which is not ours.
fn day(of_s: u64) -> [u32; 3] {
    let words = ["-u", "-d", &format!("@{of_s}"), "+%Y %m %d"].map(str::to_owned);
    let done = std::process::Command::new("date").args(words).output().unwrap();
    let text = String::from_utf8(done.stdout).unwrap();
    let numbers: Vec<u32> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn clock_without_a_battery_is_lifted_set_by_most_servers_kept_and_written() {
    let built_s = u64::try_from(BUILT_S).unwrap();
    // A month after both: the machine's clock need not be right, and the time that is kept is a day less.
    let right_by_s = (built_s.max(now_s()) - now_s()) + 30 * DAY_S;
    let site = Site::new().unwrap();
    let words = format!("[time]\nservers = [{}]\n", SERVERS.map(|server| format!("{server:?}")).join(", "));
    let device = Bench::new("clock")
        .developer()
        .beside(&site)
        .clock(EMPTY)
        .network(&words)
        .app(App::shell("org.test.early", "echo sees $(/bin/busybox date +%s); sleep 1000000"))
        .boot()
        .unwrap();
    assert!(first_seen_s(&device) >= built_s, "an app sees a time before its system was built");
    assert!((built_s..built_s + DAY_S).contains(&shown_s(&device)));
    until(&device, &["time"], |said| {
        said.contains("set by   the system itself") && said.contains("problem ")
    });

    let tell = |server: &str, later_s| Teller::start(&site, server.parse().unwrap(), later_s).unwrap();
    let right = [tell(SERVERS[0], right_by_s), tell(SERVERS[1], right_by_s)];
    let wrong = tell(SERVERS[2], right_by_s + 3 * 365 * DAY_S);
    site.serve(servers::dnsmasq(&site).unwrap());
    let said = until(&device, &["time"], |said| said.contains("set by   a time server"));
    assert!(!said.contains(SERVERS[2]) && said.contains("error    at most "), "{said}");
    wrong.wait(1);
    right.iter().for_each(|server| server.wait(1));
    let apart_s = shown_s(&device).abs_diff(now_s() + right_by_s);
    assert!(apart_s < 60, "{apart_s} s from what most servers say");
    written(&device, right_by_s);

    // Nobody is asked now, and the battery is empty again.
    site.end("dnsmasq");
    drop((right, wrong));
    let kept_s = now_s() + right_by_s - 2 * DAY_S;
    let off = device.power_button();
    off.check_data().unwrap();
    let device = off.boot().unwrap();
    assert!(first_seen_s(&device) >= kept_s, "an app sees a time before the one that was known");
    assert!((kept_s..now_s() + right_by_s).contains(&shown_s(&device)));
    device.power_button().check_data().unwrap();
}

/// The battery-backed clock shows it too.
#[track_caller]
fn written(device: &Device, right_by_s: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (shows, right_s) = (device.clock().unwrap(), now_s() + right_by_s);
        if [right_s - 60, right_s + 60].into_iter().any(|right_s| day(right_s) == shows) {
            return;
        }
        assert!(Instant::now() < deadline, "the battery-backed clock shows {shows:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
