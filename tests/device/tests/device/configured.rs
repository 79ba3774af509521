//! How the network is configured, by the image and by an operator, and what he is told when it can not be read.

use crate::tool::{done, gabion, until};
use device_test::{App, Bench, Device, PATIENCE, Site};
use std::io::ErrorKind;
use std::net::{IpAddr, TcpStream};

const STATUS: [&str; 2] = ["net", "status"];
/// Of the site's link, and none that its DHCP server gives away.
const IN_IMAGE: &str = "10.77.0.20";
const BY_OPERATOR: &str = "10.77.0.21";
/// Where an operator's file is on the data disk.
const KEPT: &str = "gabion/network.toml";

fn fixed(address: &str) -> String {
    format!(
        "[[link]]\nmatch = \"eth0\"\naddresses = [\"{address}/24\"]\ngateway = \"10.77.0.1\"\n[dns]\nservers = [\"10.77.0.1\"]\n\
         [time]\nservers = [\"10.77.0.1\"]\n"
    )
}

/// Somebody at this address says that nobody listens at a port of it; where nobody is, nobody does.
fn is_there(site: &Site, address: &str) -> bool {
    let at = (address.parse::<IpAddr>().unwrap(), 9).into();
    let called = site.inside(|| Ok(TcpStream::connect_timeout(&at, PATIENCE).map(drop))).unwrap();
    called.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

/// It can be reached there, its app reaches others by a name that was looked up on the way, and it is not at `left` any more.
#[track_caller]
fn works(site: &Site, device: &Device, address: &str, left: Option<&str>) {
    assert!(is_there(site, address), "nobody is at {address}");
    assert!(!left.is_some_and(|left| is_there(site, left)), "somebody is at {left:?} still");
    let mark = device.console().mark();
    device.wait_count(mark, "[org.test.publisher] sent ", 2, PATIENCE);
}

/// Its one link comes to have this address and this router, and of IPv4 addresses no other.
#[track_caller]
fn has(device: &Device, address: &str) -> String {
    until(device, &STATUS, |said| {
        let link = said.lines().find(|line| line.starts_with("eth0 ")).unwrap_or_default();
        let only = link.contains(&format!(" {address}/24 ")) && link.matches("/24").count() == 1;
        let routed = link.contains(" 10.77.0.1 ") && said.contains("names    10.77.0.1");
        said.contains("network  online") && only && routed
    })
}

#[test]
fn network_is_as_the_image_says_then_as_the_operator_says_and_a_fault_is_told() {
    let site = Site::complete().unwrap();
    let device = Bench::new("configured")
        .developer()
        .beside(&site)
        .memory_mib(192)
        .network(&fixed(IN_IMAGE))
        .app(App::visitor("publisher", &site).unwrap())
        .boot()
        .unwrap();
    has(&device, IN_IMAGE);
    works(&site, &device, IN_IMAGE, None);

    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("network.toml");
    let configure = ["net", "configure", file.to_str().unwrap()];
    std::fs::write(&file, fixed(BY_OPERATOR).replace("10.77.0.1\"\n[dns]", "10.78.0.1\"\n[dns]")).unwrap();
    let ran = gabion(&device, &configure);
    let fault = "gateway 10.78.0.1 is in the network of none of its addresses";
    assert!(ran.code == Some(1) && ran.err.contains(fault), "{}{}", ran.out, ran.err);
    has(&device, IN_IMAGE);

    std::fs::write(&file, fixed(BY_OPERATOR)).unwrap();
    done(&device, &configure);
    has(&device, BY_OPERATOR);
    works(&site, &device, BY_OPERATOR, Some(IN_IMAGE));
    let device = device.power_button().boot().unwrap();
    has(&device, BY_OPERATOR);
    works(&site, &device, BY_OPERATOR, Some(IN_IMAGE));

    // One that an older system left, or a hand: it comes up by the image's, and says so where an operator looks.
    let off = device.power_button();
    off.write_file(KEPT, "[[link]]\nmatch = \"eth0\"\nadresses = []\n").unwrap();
    let device = off.boot().unwrap();
    device.wait_for("gabion: problem id=os.gabion.net network.toml*adresses");
    device.wait_for("gabion: problem id=os.gabion.net   help: *gabion net configure");
    let said = has(&device, IN_IMAGE);
    assert!(said.contains("fault    ") && said.contains("adresses"), "{said}");
    works(&site, &device, IN_IMAGE, Some(BY_OPERATOR));

    // Nothing is as none: it asks for an address.
    std::fs::write(&file, "").unwrap();
    done(&device, &configure);
    let said = has(&device, &device_test::site::device(0));
    assert!(!said.contains("fault"), "{said}");
    device.power_button().check_data().unwrap();
}
