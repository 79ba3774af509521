//! A device beside a simulated site: real servers, real programs as apps.

use device_test::site::servers;
use device_test::{App, Bench, Device, PATIENCE, Site, word};

const CURL: &str = "tests/programs/apps/curl";
/// `netd`'s uid.
const NETD: u32 = 1003;
/// Those that end, and how many of their checks must hold.
const WORKERS: [(&str, usize); 3] = [("curl", 10), ("rediscli", 5), ("requests", 12)];
/// Ports of `netd`'s own, and of what it speaks.
const PORTS: &str = "53,67,68,123,5353";

fn visitors(site: &Site) -> Bench {
    let all = WORKERS.iter().map(|(name, _)| *name).chain(["publisher", "subscriber"]);
    all.fold(Bench::new("network").beside(site).memory_mib(384), |bench, name| {
        bench.app(App::visitor(name, site).unwrap())
    })
}

/// The only process of `netd`, other than `old`.
fn netd(device: &mut Device, old: Option<u32>) -> u32 {
    for _ in 0..1800 {
        match device.pids(NETD, "netd")[..] {
            [pid] if Some(pid) != old => return pid,
            _ => std::thread::sleep(std::time::Duration::from_millis(100)),
        }
    }
    panic!("no netd within three minutes");
}

/// A page of `web.example`, as somebody at the site sees it.
fn page(site: &Site, address: &str) -> String {
    let resolve = format!("web.example:443:{address}");
    let words =
        ["/usr/bin/curl", "-sS", "--cacert", "/ca.pem", "--resolve", &resolve, "https://web.example/"];
    let done = servers::client(site, CURL, &words).unwrap();
    String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
}

#[test]
fn site_beside_a_device_serves_by_both_families() {
    let site = Site::complete().unwrap();
    for address in ["198.51.100.10", "[2001:db8:1::10]"] {
        assert!(page(&site, address).starts_with("hello from web.example"), "{}", page(&site, address));
    }
}

/// One boot for all that needs none of its own.
#[test]
fn real_programs_reach_what_they_were_granted_and_live_through_what_happens_to_the_network() {
    let site = Site::complete().unwrap();
    let mut device = visitors(&site).boot().unwrap();
    granted(&device);
    refusals_are_told(&device);
    flow_outlives_netd(&mut device);
    cable(&device);
    device.power_button().check_data().unwrap();
}

#[track_caller]
fn granted(device: &Device) {
    for (name, checks) in WORKERS {
        device.wait_for(&format!("[org.test.{name}] done {checks}"));
    }
    device.wait_for("[org.test.publisher] sent ");
    device.wait_for("[org.test.subscriber] reading ");
    let failed = device.console().lines(0, "] FAILED ");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Each names the app, who was to be reached, the port, and the line that would allow it.
#[track_caller]
fn refusals_are_told(device: &Device) {
    let denied =
        |name: &str, what: &str| device.wait_for(&format!("event denied id=org.test.{name} call={what}"));
    denied(
        "curl",
        r#"connect errno=EPERM by=firewall peer="198.51.100.13" port=443/tcp allow="connect = ['198.51.100.13:443/tcp']""#,
    );
    denied("curl", r#"connect errno=EPERM by=firewall peer="2001:db8:1::13" port=443/tcp allow="#);
    denied("curl", r#"resolve by=firewall peer="other.example" allow="connect = ['other.example:"#);
    // Another port of a host that it knows is refused by Landlock already.
    let named = |name: &str, to: &str, line: &str| {
        let (address, host) = to.split_once(' ').unwrap();
        device.wait_for(&format!(
            "event denied id=org.test.{name} pid=* call=connect errno=EACCES by=landlock address={address} host=\"{host}\" \
             allow=\"network.connect = ['{line}']\""
        ));
    };
    named("curl", "198.51.100.10:80 web.example", "web.example:80/tcp");
    named("rediscli", "198.51.100.12:443 store.example", "store.example:443/tcp");
    // What libraries ask for at each start, and do without, is no news.
    let socket = device.console().lines(0, "event denied id=org.test.* call=socket ");
    assert!(socket.is_empty(), "{}", socket.join("\n"));
    let own = device.console().lines(0, "event denied id=os.gabion.*");
    assert!(own.is_empty(), "{}", own.join("\n"));
}

/// The rules are the kernel's: whoever is connected notices nothing, and nobody reaches more while netd is not there.
#[track_caller]
fn flow_outlives_netd(device: &mut Device) {
    // It may have ended before, when it began sooner than the network.
    let begun = device.console().mark();
    let subscriber = device.pid("org.test.subscriber");
    for _ in 0..3 {
        let old = netd(device, None);
        let mark = device.console().mark();
        device.agent(&format!("kill {old} SIGKILL"));
        netd(device, Some(old));
        // New connections, and the old one.
        device.wait_count(mark, "[org.test.publisher] sent ", 2, PATIENCE);
        device.wait_count(mark, "[org.test.subscriber] reading ", 2, PATIENCE);
    }
    assert!(device.console().lines(begun, "event exited id=org.test.subscriber").is_empty());
    assert_eq!(device.pid("org.test.subscriber"), subscriber);
}

/// The cable is pulled while readings are sent: they go on when it is back.
#[track_caller]
fn cable(device: &Device) {
    let carrier = |mark, up: bool| {
        device.wait_after(mark, &format!("net: eth0 {}", if up { "up" } else { "down" }));
    };
    for _ in 0..2 {
        let mark = device.console().mark();
        device.plug(false).unwrap();
        carrier(mark, false);
        let mark = device.console().mark();
        device.plug(true).unwrap();
        carrier(mark, true);
        device.wait_count(mark, "[org.test.publisher] sent ", 2, PATIENCE);
    }
}

/// Kills netd and takes its ports while it restarts.
#[track_caller]
fn seize(device: &mut Device) {
    for _ in 0..20 {
        let old = netd(device, None);
        if device.ask(&format!("seize {old} {PORTS}")).is_ok() {
            netd(device, Some(old));
            return;
        }
    }
    panic!("netd has its ports again before anybody can take them");
}

#[test]
fn ports_of_netd_taken_before_it_starts_and_while_it_restarts_are_its_own_again_once_they_are_free() {
    let site = Site::complete().unwrap();
    let mut device = Bench::new("network-ports")
        .beside(&site)
        .words(&format!("test_ports={PORTS}"))
        .app(App::visitor("publisher", &site).unwrap())
        .boot()
        .unwrap();
    device.wait_for("gabion: ready");
    let first = netd(&mut device, None);
    device.agent("release");
    device.wait_count(0, "[org.test.publisher] sent ", 2, PATIENCE);
    assert_eq!(netd(&mut device, None), first, "it waits for its ports, and does not die of it");

    let mark = device.console().mark();
    seize(&mut device);
    let second = netd(&mut device, None);
    device.agent("release");
    device.wait_count(mark, "[org.test.publisher] sent ", 2, PATIENCE);
    assert_eq!(netd(&mut device, None), second);
    let exits = device.console().lines(mark, "event exited id=os.gabion.net");
    assert!(exits.iter().all(|line| word(line, "reason") == Some("signal")), "{exits:?}");
    device.power_button().check_data().unwrap();
}
