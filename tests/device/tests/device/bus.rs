//! The bus on the device: who gets what, what becomes of it when something dies, and peers that mean ill.

use device_test::{App, Bench, Device, PATIENCE};
use std::time::Duration;

const BUSD: u32 = 1002;
const NETD: u32 = 1003;

fn uses(interface: &str, method: &str) -> String {
    format!("[uses]\n\"{interface}\" = [\"{method}\"]\n")
}

fn sensor() -> App {
    App::peer("org.test.sensor", &["serve", "org.test.Temperature"])
        .tables("[provides]\n\"org.test.Temperature\" = [\"org.test.display\", \"org.test.steady\"]\n")
}

#[test]
fn bus_gives_each_app_what_its_manifest_names_and_nothing_else() {
    let device = Bench::new("bus")
        .app(
            App::peer("org.test.caller", &["call", "os.gabion.Device", "GetInfo", "{}"])
                .tables(&uses("os.gabion.Device", "GetInfo")),
        )
        .app(
            App::peer("org.test.greedy", &["call", "os.gabion.Power", "PowerOff", "{\"reason\":\"x\"}"])
                .tables(&uses("os.gabion.Power", "Reboot")),
        )
        .app(App::peer("org.test.looker", &["reach"]).tables(&uses("os.gabion.Time", "GetStatus")))
        .app(
            App::peer("org.test.forker", &["fork", "os.gabion.Time", "GetStatus"])
                .tables(&uses("os.gabion.Time", "GetStatus")),
        )
        .app(
            App::peer("org.test.asker", &["call", "os.gabion.Update", "GetStatus", "{}"])
                .tables(&uses("os.gabion.Update", "GetStatus")),
        )
        .app(App::peer("org.test.plain", &["reach"]))
        .app(sensor())
        .app(
            App::peer("org.test.display", &["call", "org.test.Temperature", "Get", "{}"])
                .tables(&uses("org.test.Temperature", "Get")),
        )
        .app(
            App::peer("org.test.thief", &["call", "org.test.Temperature", "Get", "{}"])
                .tables(&uses("org.test.Temperature", "Get")),
        )
        .boot()
        .unwrap();

    device.wait_for("[org.test.caller] peer: reply {\"parameters\":{\"os\":\"Gabion\"");
    let refused =
        device.wait_for("[org.test.greedy] peer: reply {\"error\":\"org.varlink.service.PermissionDenied\"");
    assert!(refused.contains("[uses]") && refused.contains("PowerOff"), "{refused}");
    device.wait_for("event bus-refused id=org.test.greedy interface=os.gabion.Power detail=*PowerOff");
    device.wait_for("[org.test.looker] peer: reach /run/bus Ok([\"os.gabion.Time\"])");
    device.wait_for("[org.test.looker] peer: reach /run/serve Err(NotFound)");
    device.wait_for("[org.test.looker] peer: reach os.gabion.Power Err(NotFound)");
    device.wait_for("[org.test.plain] peer: reach /run/bus Err(NotFound)");
    device.wait_for("[org.test.forker] peer: child heard {\"parameters\":{\"realtime_us\"");
    device.wait_for("[org.test.asker] peer: reply {\"parameters\":{\"updates\":[");

    let told = device.wait_for("[org.test.display] peer: reply {\"parameters\":{\"grant\":");
    assert!(
        told.contains("\"app\":\"org.test.display\"") && told.contains("\"methods\":[\"Get\"]"),
        "{told}"
    );
    device.wait_for("[org.test.thief] peer: call ends: ");
    assert!(device.console().lines(0, "[org.test.thief] peer: reply {").is_empty());
    let event = device.wait_for("event bus-refused id=org.test.thief interface=org.test.Temperature");
    assert!(event.contains("org.test.sensor"), "{event}");
    assert!(device.console().lines(0, "[org.test.sensor] peer: handed *org.test.thief").is_empty());
    device.power_button().check_data().unwrap();
}

/// Waits until a caller that connects anew each second is answered again.
fn answered_again(device: &Device, mark: usize) {
    device.wait_count(mark, "[org.test.every] peer: Ok(\"{\\\"parameters\\\"", 3, PATIENCE);
}

fn kill_box(device: &mut Device, uid: u32, name: &str) {
    let pids = device.pids(uid, name);
    assert_eq!(pids.len(), 1, "{name}");
    device.agent(&format!("kill {} SIGKILL", pids[0]));
}

#[test]
fn bus_outlives_its_router_its_servers_and_sandboxd() {
    let mut device = Bench::new("bus-kills")
        .app(sensor())
        .app(
            App::peer("org.test.steady", &["many", "org.test.Temperature", "Get", "3000"])
                .tables(&uses("org.test.Temperature", "Get")),
        )
        .app(
            App::peer("org.test.every", &["every", "os.gabion.Time", "GetStatus", "{}"])
                .tables(&uses("os.gabion.Time", "GetStatus")),
        )
        .boot()
        .unwrap();
    answered_again(&device, 0);
    for _ in 0..3 {
        let mark = device.console().mark();
        kill_box(&mut device, BUSD, "busd");
        answered_again(&device, mark);
    }
    let mark = device.console().mark();
    kill_box(&mut device, NETD, "netd");
    answered_again(&device, mark);
    let mark = device.console().mark();
    let sandboxd = device.pids(0, "sandboxd");
    device.agent(&format!("kill {} SIGKILL", sandboxd[0]));
    device.wait_after(mark, "gabion: event adopted id=os.gabion.bus");
    answered_again(&device, mark);
    // Not one call was lost on the connection that was open all the while.
    device.wait_count(0, "[org.test.steady] peer: answered 3000 of 3000", 1, Duration::from_secs(300));
    assert!(device.console().lines(0, "event exited id=org.test.steady").is_empty());

    // Both at once: connections are unaccounted for, so the boxes that may hold them start again.
    let mark = device.console().mark();
    let router = device.pids(BUSD, "busd");
    let sandboxd = device.pids(0, "sandboxd");
    device.agent(&format!("kill {} SIGSTOP", sandboxd[0]));
    device.agent(&format!("kill {} SIGKILL", router[0]));
    device.agent(&format!("kill {} SIGKILL", sandboxd[0]));
    device.wait_after(mark, "gabion: event bus-unaccounted");
    device.wait_after(mark, "gabion: event exited id=org.test.sensor");
    answered_again(&device, mark);
    device.power_button().check_data().unwrap();
}

/// A neighbour that measures its round trips all the time.
fn latency() -> App {
    App::peer("org.test.latency", &["latency", "os.gabion.Time", "GetStatus"])
        .resources("memory = \"8MiB\"\ncpu = \"100%\"\ntasks = 8\n")
        .tables(&uses("os.gabion.Time", "GetStatus"))
}

/// The median of what it says after `mark`, µs.
fn round_trip_us(device: &Device, mark: usize) -> u64 {
    let said = "[org.test.latency] peer: median_us=";
    device.wait_count(mark, said, 5, PATIENCE);
    let lines = device.console().lines(mark, said);
    let mut times: Vec<u64> = lines.iter().filter_map(|line| line.rsplit('=').next()?.parse().ok()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn bus_peers_that_mean_ill_end_themselves_and_neighbours_are_answered() {
    let time = uses("os.gabion.Time", "GetStatus");
    let quiet = Bench::new("bus-quiet").app(latency()).boot().unwrap();
    let idle_us = round_trip_us(&quiet, 0);
    quiet.power_button();
    let device = Bench::new("bus-hostile")
        .app(App::peer("org.test.every", &["every", "os.gabion.Time", "GetStatus", "{}"]).tables(&time))
        .app(latency())
        .app(App::peer("org.test.flood", &["flood", "os.gabion.Time"]).tables(&time))
        .app(App::peer("org.test.hold", &["hold", "os.gabion.Time", "100"]).tables(&time))
        .app(App::peer("org.test.bad", &["bad", "os.gabion.Time"]).tables(&time))
        .app(App::peer("org.test.unread", &["unread", "os.gabion.Time", "GetStatus"]).tables(&time))
        .boot()
        .unwrap();
    for what in ["deep", "utf8", "json", "empty", "twice", "http"] {
        let line = device.wait_for(&format!("[org.test.bad] peer: bad {what} "));
        assert!(line.ends_with("then Ok(\"\")") || line.contains("then Err("), "{line}");
    }
    let huge = device.wait_for("[org.test.bad] peer: bad huge ");
    assert!(huge.contains("stopped=true"), "{huge}");
    device.wait_for("[org.test.bad] peer: bad fds then ");
    device.wait_for("[org.test.bad] peer: bad half then ");
    device.wait_for("[org.test.bad] peer: bytewise true");
    let held = device.wait_for("[org.test.hold] peer: hold open=");
    assert!(held.contains("open=16 of 100"), "{held}");
    device.wait_for("[org.test.unread] peer: unread sent>0=true then ");
    device.wait_for("event bus-dropped id=org.test.unread interface=os.gabion.Time");
    device.wait_for("event bus-dropped id=org.test.bad interface=os.gabion.Time");
    let mark = device.console().mark();
    answered_again(&device, mark);
    // A figure, not a bound: one of the two may have had a busy machine.
    let hostile_us = round_trip_us(&device, mark);
    println!("neighbour's round trip: {idle_us} µs alone, {hostile_us} µs beside hostile peers");
    for id in ["org.test.every", "org.test.latency", "os.gabion.bus", "os.gabion.net"] {
        assert!(device.console().lines(0, &format!("event exited id={id}")).is_empty(), "{id}");
    }
    device.power_button().check_data().unwrap();
}

#[test]
fn bus_power_restarts_the_device_for_an_app_that_may() {
    let reboot = ["call", "os.gabion.Power", "Reboot", "{\"reason\":\"a new part\"}"];
    let device = Bench::new("bus-power")
        .app(App::peer("org.test.boss", &reboot).tables(&uses("os.gabion.Power", "Reboot")))
        .boot()
        .unwrap();
    device.wait_for("gabion: event reboot reason=\"org.test.boss: a new part\"");
    device.wait_for("[org.test.boss] peer: reply {\"parameters\":{}}");
    device.ended().check_data().unwrap();
}
