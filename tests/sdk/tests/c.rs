//! The C library: by itself, installed, each call against a bus, and serving. All of it built with the sanitizers.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::Command;

use sdk_test::c::{self, done};
use sdk_test::world::World;
use sdk_test::{grantable, tree};

fn make(words: &[&str], build: &std::path::Path) -> String {
    let mut make = Command::new("make");
    // The flags of who tests us are not the library's.
    make.arg("-s").arg("-C").arg(c::library()).args(words).arg(format!("BUILD={}", build.display()));
    done(make.env_remove("CFLAGS").env_remove("MAKEFLAGS").env_remove("LDFLAGS")).unwrap()
}

#[test]
fn library_reads_good_refuses_bad_and_survives_mutated_messages() {
    let place = tempfile::tempdir().unwrap();
    let said = make(&["check"], place.path());
    assert!(said.ends_with("ok\n"), "{said}");
}

#[test]
fn library_installed_is_found_by_pkg_config_static_shared_and_from_cpp() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    make(&["install", "PREFIX=/usr", &format!("DESTDIR={}", at("root").display())], &at("build"));
    let config = |words: &[&str]| {
        let mut config = Command::new("pkg-config");
        config.env("PKG_CONFIG_SYSROOT_DIR", at("root")).args(words).arg("gabion");
        done(config.env("PKG_CONFIG_PATH", at("root/usr/lib/pkgconfig"))).unwrap()
    };
    assert_eq!(config(&["--modversion"]).trim(), "0.1.0");
    let flags = config(&["--cflags", "--libs"]);
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let calls = c::library().join("examples/calls.c");
    let compile = |compiler: &str, more: &[&str], to: &str| {
        done(Command::new(compiler).arg("-Werror").args(more).arg("-o").arg(at(to)).arg(&calls).args(&flags))
            .unwrap()
    };
    compile("cc", &[], "shared");
    let needed = done(Command::new("readelf").arg("-d").arg(at("shared"))).unwrap();
    assert!(needed.contains("libgabion.so.0"), "{needed}");
    compile("cc", &["-static"], "static");
    for program in ["shared", "static"] {
        let mut run = Command::new(at(program));
        run.env("LD_LIBRARY_PATH", at("root/usr/lib")).env("GABION_BUS", at("nowhere")).arg("device");
        let said = String::from_utf8(run.output().unwrap().stdout).unwrap();
        assert!(said.contains("the manifest names no method of the interface"), "{said}");
    }
    std::fs::write(at("plus.cpp"), "#include <gabion.h>\nint main() { gabion_free(gabion_new()); }\n")
        .unwrap();
    done(Command::new("g++").arg("-o").arg(at("plus")).arg(at("plus.cpp")).args(&flags)).unwrap();
    // Nothing but what the header declares is seen from outside.
    let names =
        done(Command::new("nm").args(["-D", "--defined-only"]).arg(at("root/usr/lib/libgabion.so"))).unwrap();
    let header = std::fs::read_to_string(c::library().join("gabion.h")).unwrap();
    for name in names.lines().filter_map(|line| line.split(' ').nth(2)) {
        assert!(header.contains(&format!("{name}(")), "{name} is not in gabion.h");
    }
}

#[test]
fn header_names_every_method_that_an_app_may_be_granted() {
    let header = std::fs::read_to_string(c::library().join("gabion.h")).unwrap();
    for name in grantable() {
        let (interface, method) = name.rsplit_once('.').unwrap();
        assert!(header.contains(&format!("\"{interface}\" = [\"{method}\"]")), "no example line for {name}");
        let words = [interface.rsplit('.').next().unwrap(), method].map(snake).join("_");
        assert!(header.contains(&format!(" gabion_{words}(")), "no gabion_{words}()");
    }
}

/// `CheckNow` as `check_now`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[test]
fn example_makes_every_call_that_an_app_may_be_granted_and_serves_one() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    c::program(&c::library().join("examples/calls.c"), &at("calls")).unwrap();
    c::program(&tree("sdk/examples/c/sensor/sensor.c"), &at("sensor")).unwrap();
    let world = World::new().unwrap();
    std::fs::write(at("degrees"), "18.0\n").unwrap();
    let mut sensor = world.command(at("sensor")).arg(at("degrees")).spawn().unwrap();
    let said = done(&mut world.command(at("calls"))).unwrap();
    println!("{said}");
    for ends in ["reboot", "power-off"] {
        done(world.command(at("calls")).arg(ends)).unwrap();
    }
    assert_eq!(world.system.called(), grantable());
    for line in [
        "device: Gabion 0.1.0 on a \"desk\", x86_64, up for 5 s, boot 01234567, developer\n",
        "chain: 2 certificates, the first of 5 bytes, until 1700000000000000\n",
        "authorities: 1 authorities, no list of what is revoked\n",
        "sign: a signature of 5 bytes\n",
        "attest: evidence of 28 bytes, which begins with {\"app\":\"com.exa\n",
        "updates: the system runs 1.0.0, none is coming; the app runs 1.0.0, none is coming; 2 in all\n",
        "defer: nothing is pending\n",
        "watch: nothing happens\n",
        "time: 1700000000000000, synchronised by time.example.com, off by at most 1500 us\n",
        "network: local, names is missing, 1 name servers\n",
        "resolve: 192.0.2.7, for 60 s\n",
        "interfaces: eth0 is ethernet, up; 1 in all\n",
        "rules: connect 192.0.2.7:8883/tcp; 1 in all\n",
        "temperature: 18.00 degrees\n",
        "temperatures: 18.00; 18.00; 18.00; watched\n",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    let words = ["resume App", "reboot an example: \"calls reboot\"", "power-off an example"];
    assert_eq!(world.system.words(), words);
    sensor.kill().unwrap();
    sensor.wait().unwrap();
}
