//! The C library: by itself, installed, each call against a bus, and serving. All of it built with the sanitizers.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use sdk_test::c::{self, done};
use sdk_test::world::{PATIENCE, TEMPERATURE, World};
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

/// What a caller is answered with; `None` when its connection is ended instead.
fn answered(world: &World, bytes: &[u8]) -> Option<String> {
    let mut stream = UnixStream::connect(world.folder("bus").join(TEMPERATURE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be ended before all of it is sent.
    let _ = stream.write_all(bytes);
    let mut said = Vec::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() {
        if byte[0] == 0 {
            return Some(String::from_utf8(said).unwrap());
        }
        said.push(byte[0]);
    }
    None
}

#[test]
fn server_outlives_callers_that_mean_ill_and_answers_the_others() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    c::program(&tree("sdk/examples/c/sensor/sensor.c"), &at("sensor")).unwrap();
    let world = World::granting(&[(TEMPERATURE.to_owned(), "Get".to_owned())]).unwrap();
    std::fs::write(at("degrees"), "18.0\n").unwrap();
    let mut sensor = world.command(at("sensor")).arg(at("degrees")).spawn().unwrap();
    let good = b"{\"method\":\"com.example.Temperature.Get\",\"parameters\":{\"room\":\"kitchen\"}}\0";
    let right = "{\"parameters\":{\"degrees\":18.00}}";
    assert_eq!(answered(&world, good).as_deref(), Some(right));
    for (call, error) in [
        (
            "com.example.Temperature.Watch",
            "PermissionDenied\",\"parameters\":{\"method\":\"com.example.Temperature.Watch\",\"manifest_line\":\"[uses] \\\"com.example.Temperature\\\" = [\\\"Watch\\\"]\"}}",
        ),
        ("com.example.Temperature.Wat", "MethodNotFound"),
        ("com.example.Temperature.", "MethodNotFound"),
        ("com.example.Temperatures.Get", "InterfaceNotFound"),
        ("Get", "InterfaceNotFound"),
        ("com.example.Temperature.Get", "InvalidParameter"),
    ] {
        let said = answered(&world, format!("{{\"method\":\"{call}\"}}\0").as_bytes()).unwrap();
        assert!(said.contains(&format!("org.varlink.service.{error}")), "{call}: {said}");
    }
    let told = answered(&world, b"{\"method\":\"org.varlink.service.GetInfo\"}\0").unwrap();
    assert!(told.contains("[\"org.varlink.service\",\"com.example.Temperature\"]"), "{told}");
    let what = "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"com.example.Temperature\"}}\0";
    assert!(answered(&world, what.as_bytes()).unwrap().contains("method Get(room: string)"));
    world.event("Refused").unwrap();
    // What is no call ends its connection, whatever it is.
    let long = vec![b'['; 100_000];
    for ill in [
        b"\0".as_slice(),
        b"{}\0",
        b"[]\0",
        b"{\"method\":1}\0",
        b"{\"method\":\"a.b.C.D\",\"what\":1}\0",
        b"{\"method\":\"a.b.C.D\",\"oneway\":true,\"more\":true}\0",
        b"{\"method\":\"a.b.C.D\",\"upgrade\":true}\0",
        b"{\"method\":\"a.b.C.D\",\"parameters\":[]}\0",
        b"{\"method\":\"a.b.C.D\"}{\0",
        b"{\"method\":\"\xff\"}\0",
        &long,
    ] {
        assert_eq!(answered(&world, ill), None, "{}", String::from_utf8_lossy(ill));
    }
    for word in ["malformed", "too-long"] {
        world.event(word).unwrap();
    }
    // Half a call, and nothing; one that does not wait for its answer; several at once.
    let half = UnixStream::connect(world.folder("bus").join(TEMPERATURE)).unwrap();
    (&half).write_all(&good[..20]).unwrap();
    for _ in 0..50 {
        let mut hasty = UnixStream::connect(world.folder("bus").join(TEMPERATURE)).unwrap();
        hasty.write_all(good).unwrap();
    }
    assert_eq!(answered(&world, good).as_deref(), Some(right));
    let mut several = UnixStream::connect(world.folder("bus").join(TEMPERATURE)).unwrap();
    several.write_all(&good.repeat(20)).unwrap();
    let mut all = vec![0; (right.len() + 1) * 20];
    several.read_exact(&mut all).unwrap();
    assert_eq!(all, format!("{right}\0").repeat(20).into_bytes());
    // The one with half a call is still there; and nothing that ended keeps the server busy.
    (&half).write_all(&good[20..]).unwrap();
    let mut answer = vec![0; right.len()];
    (&half).read_exact(&mut answer).unwrap();
    assert_eq!(answer, right.as_bytes());
    let spent = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", sensor.id())).unwrap();
        let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap()
    };
    let before = spent();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(spent() - before < 10, "it is busy though nobody asks: {} ticks", spent() - before);
    assert_eq!(sensor.try_wait().unwrap(), None, "it ended");
    sensor.kill().unwrap();
    sensor.wait().unwrap();
}
