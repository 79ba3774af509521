//! Two devices on one link: they are found by what they announce, and reach what both sides granted, and nothing else.

use device_test::site::{self, servers};
use device_test::{App, Bench, Device, PATIENCE, Site};
use serde_json::Value;
use std::net::UdpSocket;

const SERVED: &str = "7000";
const NOT_SERVED: &str = "7001";
/// Of `store.example`: what comes there by UDP comes back, and what no line grants.
const ECHO: u16 = 7007;
const NO_ECHO: u16 = 7008;

/// Who serves one port, and wants one that is not granted.
fn host(site: &Site) -> Bench {
    let serve = |id: &str, at: &str, listen: &str| {
        App::probe(id, &["serve", &format!("[::]:{at}")])
            .tables(&format!("[network]\nlisten = [\"{listen}/tcp\"]\n"))
    };
    Bench::new("neighbours-host")
        .beside(site)
        .network("[mdns]\nannounce = true\n")
        .app(serve("org.test.granted", SERVED, SERVED))
        .app(serve("org.test.squatter", NOT_SERVED, "7002"))
}

/// Who calls it: by address, by name, at the port that nobody serves, and without a line that names it.
fn caller(site: &Site) -> Bench {
    let address = site::device(0);
    let call = |id: &str, to: &str, network: &str| {
        App::probe(id, &["call", to]).tables(&format!("[network]\n{network}\n"))
    };
    let by_address = format!("{address}:{SERVED}");
    let by_name = format!("device.example:{SERVED}");
    let closed = format!("{address}:{NOT_SERVED}");
    let private = "private = [\"device.example\"]";
    Bench::new("neighbours-caller")
        .beside(site)
        // It takes no turn: the other one has it.
        .mostly_idle()
        .network("[mdns]\nannounce = true\n")
        .app(call("org.test.address", &by_address, &format!("connect = [\"{by_address}/tcp\"]")))
        .app(call("org.test.name", &by_name, &format!("connect = [\"{by_name}/tcp\"]\n{private}")))
        .app(call("org.test.closed", &closed, &format!("connect = [\"{closed}/tcp\"]")))
        .app(call("org.test.rebound", &by_name, &format!("connect = [\"{by_name}/tcp\"]")))
        .app(call("org.test.stranger", &by_address, &format!("connect = [\"198.51.100.10:{SERVED}/tcp\"]")))
        .app(datagrams("org.test.datagrams", ECHO))
        .app(datagrams("org.test.silence", NO_ECHO))
}

fn datagrams(id: &str, port: u16) -> App {
    App::probe(id, &["datagram", &format!("store.example:{port}")])
        .tables(&format!("[network]\nconnect = [\"store.example:{ECHO}/udp\"]\n"))
}

/// Sends back what it gets, by IPv6, until the test ends.
fn echo(site: &Site) {
    let socket = site.inside(|| Ok(UdpSocket::bind(("2001:db8:1::12", ECHO))?)).unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
}

#[test]
fn devices_on_one_link_find_each_other_and_reach_what_both_sides_granted() {
    let site = Site::new().unwrap();
    site.serve(servers::dnsmasq(&site).unwrap());
    echo(&site);
    let mut host = host(&site).boot().unwrap();
    let caller = caller(&site).boot().unwrap();
    host.wait_for("[org.test.granted] serve: listening");
    reached(&caller);
    refused(&host, &caller);
    // No client of the host gets a port by chance that was granted to somebody.
    assert_eq!(host.agent("cat /proc/sys/net/ipv4/ip_local_reserved_ports"), ["7000,7002"]);
    found(&site);
    for device in [host, caller] {
        device.power_button().check_data().unwrap();
    }
}

#[track_caller]
fn reached(caller: &Device) {
    for id in ["org.test.address", "org.test.name"] {
        caller.wait_count(0, &format!("[{id}] call: Ok(5) hello"), 2, PATIENCE);
    }
    caller.wait_count(0, "[org.test.datagrams] datagram: Ok(true)", 2, PATIENCE);
}

#[track_caller]
fn refused(host: &Device, caller: &Device) {
    // The port is let through where it leaves, and nobody may serve it where it arrives.
    caller.wait_for("[org.test.closed] call: Err(ConnectionRefused)");
    host.wait_for(&format!("event denied id=org.test.squatter *bind *{NOT_SERVED}*listen = "));
    host.wait_for("[org.test.squatter] serve: Err(Os { *PermissionDenied");
    // A name that leads to a neighbour without a word of the manifest, and an address that no line names.
    caller.wait_for("event denied id=org.test.rebound *call=resolve *device.example*");
    caller.wait_for("[org.test.stranger] call: Err(PermissionDenied)");
    let address = site::device(0);
    caller.wait_for(&format!(
        "event denied id=org.test.stranger call=connect errno=EPERM by=firewall peer=\"{address}\" port={SERVED}/tcp \
         allow=\"connect = ['{address}:{SERVED}/tcp']\""
    ));
    caller.wait_for("[org.test.silence] datagram: Err(PermissionDenied)");
    caller.wait_for(&format!(
        "event denied id=org.test.silence *by=firewall peer=\"store.example\" port={NO_ECHO}/udp allow=\"connect = "
    ));
    for id in ["closed", "rebound", "stranger"] {
        assert!(caller.console().lines(0, &format!("[org.test.{id}] call: Ok(")).is_empty(), "{id}");
    }
}

/// Somebody on the link who knows nothing of us finds both, by the service and by their names.
#[track_caller]
fn found(site: &Site) {
    let words = ["/usr/bin/python3.11", "-B", "/bin/work", "2"];
    let done = servers::client(site, "tests/device/seeker", &words).unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let found: Value =
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&done.stderr)));
    for (number, name) in (0..).zip(["gabion-0000", "gabion-0001"]) {
        let one = &found[format!("{name}._gabion._tcp.local.")];
        assert_eq!(one["host"], format!("{name}.local."), "{found:#}");
        assert_eq!(one["by_name"], site::device(number), "{found:#}");
        let addresses = one["addresses"].as_array().unwrap();
        assert!(addresses.contains(&site::device(number).into()), "{found:#}");
        assert_eq!(one["text"], serde_json::json!({"id": format!("5254007700{number:02x}")}), "{found:#}");
    }
    assert_eq!(found.as_object().unwrap().len(), 2, "{found:#}");
}
