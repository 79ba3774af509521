//! What an operator sees of a device's network: `gabion net` and `gabion time`, while its site falls short.

use crate::tool::{called, done, gabion, until, until_in};
use device_test::site::servers::{Tells, chronyd, dnsmasq_that, mosquitto};
use device_test::{App, Bench, Device, PATIENCE, Site};
use std::time::{Duration, Instant};

const STATUS: [&str; 2] = ["net", "status"];
const APP: &str = "org.test.publisher";
const BROKER: &str = "broker.example:8883";

/// From no cable to a network that lacks nothing: each stage that is missing is named.
#[test]
fn why_there_is_no_network_is_said_stage_by_stage_and_what_an_app_may_reach() {
    let site = Site::new().unwrap();
    site.serve(mosquitto(&site).unwrap());
    let mut device = Bench::new("operator")
        .developer()
        .beside(&site)
        .memory_mib(192)
        .app(App::visitor("publisher", &site).unwrap())
        .boot()
        .unwrap();
    device.plug(false).unwrap();
    missing(&device, "link: eth0 has no carrier");
    let why = gabion(&device, &["net", "why", APP, BROKER]);
    assert!(why.code == Some(1) && why.out.contains("but link: eth0"), "{}{}", why.out, why.err);

    device.plug(true).unwrap();
    missing(&device, "address: eth0 is up and nobody gave it an address");
    for (tells, said) in [
        (Tells::Addresses, "route: eth0 has an address and no router"),
        (Tells::Routes, "names: nobody named a name server"),
        (Tells::Servers, "names: no name server answers"),
        (Tells::Names, "time: no time server has set the clock"),
    ] {
        site.end("dnsmasq");
        site.serve(dnsmasq_that(&site, tells).unwrap());
        replug(&device);
        missing(&device, said);
    }
    site.serve(chronyd(&site).unwrap());
    let said = until(&device, &STATUS, |said| said.contains("network  online") && !said.contains("missing"));
    assert!(said.contains("10.77.0.50/24") && said.contains("names    10.77.0.1"), "{said}");

    router_6(&mut device);
    quiet(&device);
    time(&device);
    rules(&device);
    why_not(&device);
    flaps(&mut device);
    falls_short(&device, &site);
    device.power_button().check_data().unwrap();
}

#[track_caller]
fn missing(device: &Device, stage: &str) {
    until(device, &STATUS, |said| said.contains(&format!("missing  {stage}")));
}

fn replug(device: &Device) {
    let mark = device.console().mark();
    device.plug(false).unwrap();
    device.wait_after(mark, "net: eth0 down");
    device.plug(true).unwrap();
    device.wait_after(mark, "net: eth0 up");
}

#[track_caller]
fn time(device: &Device) {
    let said = until(device, &["time"], |said| said.contains("set by   a time server (10.77.0.1)"));
    let number = |key: &str| -> i64 {
        let line = said.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().find_map(|word| word.parse().ok()).unwrap()
    };
    assert!((1..10_000).contains(&number("error ")) && number("apart ").abs() < 60_000, "{said}");
}

/// What each program of the system is refused at its start is no news.
#[track_caller]
fn quiet(device: &Device) {
    let own = device.console().lines(0, "event denied id=os.gabion.");
    assert!(own.is_empty(), "{}", own.join("\n"));
}

/// The traffic of each line is counted as it goes.
#[track_caller]
fn rules(device: &Device) {
    let counted = || {
        let rules = called(device, &["net", "rules", APP, "--json"]);
        let all = rules["rules"].as_array().unwrap();
        let line = format!("connect = [\"{BROKER}/tcp\"]");
        // By whichever family it went.
        let of = |key: &str| -> i64 {
            let rules = all.iter().filter(|rule| rule["manifest_line"] == line.as_str());
            rules.map(|rule| rule[key].as_i64().unwrap()).sum()
        };
        ["attempts", "packets", "bytes"].map(of)
    };
    let mark = device.console().mark();
    device.wait_count(mark, &format!("[{APP}] sent "), 2, PATIENCE);
    let before = counted();
    let mark = device.console().mark();
    device.wait_count(mark, &format!("[{APP}] sent "), 2, PATIENCE);
    let after = counted();
    assert!(before.iter().zip(&after).all(|(before, after)| before < after), "{before:?} {after:?}");
    let said = done(device, &["net", "rules", APP]);
    assert!(said.contains("198.51.100.11") && said.contains("(its name server)"), "{said}");
}

#[track_caller]
fn why_not(device: &Device) {
    let ask = |to: &str| gabion(device, &["net", "why", APP, to]);
    let allowed = ask(BROKER);
    let line = format!("allowed: connect = [\"{BROKER}/tcp\"]; broker.example is 198.51.100.11");
    assert!(allowed.code == Some(0) && allowed.out.starts_with(&line), "{}{}", allowed.out, allowed.err);
    for to in ["other.example:443", "broker.example:1883", "198.51.100.13:443/udp"] {
        let denied = ask(to);
        let whole = if to.contains("/udp") { to.to_owned() } else { format!("{to}/tcp") };
        let line = format!("connect = [\"{whole}\"]");
        let said = denied.out.starts_with("denied: ") && denied.out.contains(&line);
        assert!(denied.code == Some(1) && said, "{to}: {}{}", denied.out, denied.err);
    }
    let nobody = gabion(device, &["net", "why", "org.test.nobody", BROKER]);
    assert!(nobody.code == Some(1) && nobody.out.contains("is not installed"), "{}", nobody.out);
}

/// What worked and ends is said too.
#[track_caller]
fn falls_short(device: &Device, site: &Site) {
    site.end("chronyd");
    site.end("dnsmasq");
    // The names' time is over, or the time servers are asked again: whichever comes first, both come, though not soon.
    until_in(3 * PATIENCE, device, &STATUS, |said| said.contains("missing  names: no name server answers"));
    until_in(3 * PATIENCE, device, &["time"], |said| {
        said.contains("nobody keeps it in step now") && said.contains("problem  ")
    });
}

/// IPv6's default route is there, by the router's own word.
#[track_caller]
fn router_6(device: &mut Device) {
    let deadline = Instant::now() + PATIENCE;
    let any = "0".repeat(32);
    loop {
        let routes = device.agent("cat /proc/net/ipv6_route");
        let leads_out = |route: &String| {
            let words: Vec<&str> = route.split_whitespace().collect();
            words[0] == any && words[1] == "00" && words[4].starts_with("fe80") && words[9] == "eth0"
        };
        if routes.iter().any(leads_out) {
            return;
        }
        assert!(Instant::now() < deadline, "no default route: {}", routes.join("\n"));
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A cable with a bad contact: when it holds, both families lead out again.
#[track_caller]
fn flaps(device: &mut Device) {
    for _ in 0..5 {
        replug(device);
    }
    router_6(device);
    until(device, &STATUS, |said| said.contains("network  online") && !said.contains("missing"));
}
