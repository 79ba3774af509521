//! Somebody on the link of a production device, whom it does not know: he hears nothing from it, as long as its owner does not have
//! it announce itself. (Then he hears its id: `neighbours`.)

use crate::heart;
use device_test::site::{self, servers};
use device_test::{App, Bench, Device, PATIENCE, Site};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Ports of ordinary services, and how long each may take to answer.
const ORDINARY: u16 = 1024;
const ANSWER: Duration = Duration::from_secs(5);
/// What services other devices are known by: echo to chargen, SSH, names, addresses, TFTP, time, NetBIOS, SNMP, SSDP, CoAP.
const DATAGRAMS: [u16; 14] = [7, 9, 13, 19, 22, 53, 67, 68, 69, 123, 137, 161, 1900, 5683];
const MDNS: u16 = 5353;

/// TCP ports of `device`, of those that ordinary services have, at which somebody takes a connection.
fn open(device: Ipv4Addr) -> Vec<u16> {
    let takes = |port: &u16| TcpStream::connect_timeout(&SocketAddr::from((device, *port)), ANSWER).is_ok();
    (1..=ORDINARY).filter(takes).collect()
}

/// Sockets that listen for TCP beyond the loopback, by the device's own word.
fn listening(device: &mut Device) -> Vec<String> {
    let mut all = Vec::new();
    for (file, local) in [("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")] {
        for line in device.agent(&format!("cat /proc/net/{file}")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.get(3) == Some(&"0A") && !words[1].starts_with(local) && !words[1].contains("7F:") {
                all.push(words[1].to_owned());
            }
        }
    }
    all
}

/// What comes back for `bytes` at a UDP port, besides the kernel's word that nobody is there.
fn answer(device: Ipv4Addr, port: u16, bytes: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket.connect((device, port)).unwrap();
    socket.send(bytes).unwrap();
    let mut heard = [0; 2048];
    socket.recv(&mut heard).ok().map(|length| heard[..length].to_vec())
}

/// A question of DNS for `name`, any type, that wants an answer to itself alone.
fn question(name: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 255, 0x80, 1]);
    bytes
}

#[test]
fn stranger_on_the_link_of_a_production_device_hears_nothing_from_it() {
    let site = Site::new().unwrap();
    site.serve(servers::dnsmasq(&site).unwrap());
    // Without an app that has a network there is none.
    let visitor = App::visitor("publisher", &site).unwrap();
    let mut device =
        Bench::new("stranger").beside(&site).memory_mib(192).app(heart()).app(visitor).boot().unwrap();
    device.wait_for("net: eth0 up");
    let address: Ipv4Addr = site::device(0).parse().unwrap();
    site.said("dnsmasq").wait(0, &format!("DHCPACK(*) {address} "), PATIENCE).unwrap();
    device.wait_for("[org.test.heart] beat 5");
    site.inside(|| {
        // It is there: it says no, and does not keep silent because nobody reached it, as until it has taken its address.
        let deadline = Instant::now() + PATIENCE;
        let says_no = || {
            let refused = TcpStream::connect_timeout(&SocketAddr::from((address, 1)), ANSWER);
            refused.unwrap_err().kind() == ErrorKind::ConnectionRefused
        };
        while !says_no() {
            assert!(Instant::now() < deadline, "it does not say no");
        }
        for name in [&["_services", "_dns-sd", "_udp", "local"][..], &["_gabion", "_tcp", "local"]] {
            let told = answer(address, MDNS, &question(name));
            assert!(told.is_none(), "{told:?}");
        }
        for port in DATAGRAMS {
            let told = answer(address, port, &question(&["version", "bind"]));
            assert!(told.is_none(), "UDP {port} answers {told:?}");
        }
        let open = open(address);
        assert!(open.is_empty(), "somebody takes connections at {open:?}");
        Ok(())
    })
    .unwrap();
    // The boxes' name server, whose port was among those that took no connection.
    assert_eq!(listening(&mut device), ["00000000:0035"]);
    device.wait_after(device.console().mark(), "[org.test.heart] beat ");
}
