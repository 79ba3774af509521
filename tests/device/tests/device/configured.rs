//! How the network is configured, by the image and by an operator, and what he is told when it can not be read.

use crate::tool::{done, gabion, until};
use device_test::{App, Bench, Device, PATIENCE, Site};

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

/// The broker sees it come from there, by a name that was looked up on the way.
#[track_caller]
fn comes_from(site: &Site, address: &str) {
    let said = site.said("mosquitto");
    said.wait(said.mark(), &format!("New connection from {address}:"), PATIENCE).unwrap();
}

/// Its one link has this address and this router, and of its IPv4 addresses no other.
#[track_caller]
fn has(device: &Device, address: &str) -> String {
    let is_there = |said: &str| said.contains(&format!(" {address}/24 ")) && said.contains("network  online");
    let said = until(device, &STATUS, is_there);
    let link = said.lines().find(|line| line.starts_with("eth0 ")).unwrap();
    assert_eq!(link.matches("/24").count(), 1, "{said}");
    assert!(said.contains("names    10.77.0.1\n") && link.contains(" 10.77.0.1 "), "{said}");
    said
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
    comes_from(&site, IN_IMAGE);

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
    comes_from(&site, BY_OPERATOR);
    let device = device.power_button().boot().unwrap();
    has(&device, BY_OPERATOR);
    comes_from(&site, BY_OPERATOR);

    // One that an older system left, or a hand: it comes up by the image's, and says so where an operator looks.
    let off = device.power_button();
    off.write_file(KEPT, "[[link]]\nmatch = \"eth0\"\nadresses = []\n").unwrap();
    let device = off.boot().unwrap();
    device.wait_for("gabion: problem id=os.gabion.net network.toml*adresses");
    device.wait_for("gabion: problem id=os.gabion.net   help: *gabion net configure");
    let said = has(&device, IN_IMAGE);
    assert!(said.contains("fault    ") && said.contains("adresses"), "{said}");
    comes_from(&site, IN_IMAGE);

    // Nothing is as none: it asks for an address.
    std::fs::write(&file, "").unwrap();
    done(&device, &configure);
    let said = has(&device, &device_test::site::device(0));
    assert!(!said.contains("fault"), "{said}");
    device.power_button().check_data().unwrap();
}
