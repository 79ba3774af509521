//! A device beside a simulated site: real servers, real programs as apps.

use device_test::site::servers;
use device_test::{Bench, Site};

const CURL: &str = "tests/programs/apps/curl";

/// A page of `web.example`, as somebody at the site sees it.
fn page(site: &Site, address: &str) -> String {
    let resolve = format!("web.example:443:{address}");
    let words =
        ["/usr/bin/curl", "-sS", "--cacert", "/ca.pem", "--resolve", &resolve, "https://web.example/"];
    let done = servers::client(site, CURL, &words).unwrap();
    String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()
}

#[test]
fn site_beside_a_device_serves_and_the_device_has_a_card() {
    let site = Site::complete().unwrap();
    for address in ["198.51.100.10", "[2001:db8:1::10]"] {
        assert!(page(&site, address).starts_with("hello from web.example"), "{}", page(&site, address));
    }
    let mut device = Bench::new("site").beside(&site).boot().unwrap();
    device.wait_for("gabion: ready");
    assert!(device.agent("ls /sys/class/net").contains(&"eth0".to_owned()));
    device.plug(false).unwrap();
    device.plug(true).unwrap();
}
