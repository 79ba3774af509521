//! A device that is given what it should not be given: it says so by name and with a remedy, and runs the rest.

use crate::heart;
use device_test::{App, Bench, PATIENCE};

#[test]
fn apps_that_are_wrong_are_named_with_a_remedy_and_others_run() {
    let app = |id: &str| App::shell(id, "echo I run; sleep 1000");
    let manifest = |id: &str, rest: &str| {
        format!("[app]\nid = \"{id}\"\nversion = \"1.0.0\"\nexec = [\"/bin/sh\", \"/bin/run\"]\n{rest}")
    };
    let holder = App::shell("org.test.holder", "sleep 1000").tables("[network]\nlisten = [\"8080/tcp\"]\n");
    let mut bench = Bench::new("bad-input").app(heart()).app(holder);
    let cases = [
        (app("org.test.broken").manifest("[app\nid ="), "org.test.broken", "manifest.toml:1*expected"),
        (
            app("org.test.unknown").manifest(&manifest("org.test.unknown", "colour = \"red\"\n")),
            "org.test.unknown",
            "manifest.toml:5*colour",
        ),
        (
            app("org.test.greedy").manifest(&manifest("org.test.greedy", "[resources]\nmemory = \"4GiB\"\n")),
            "org.test.greedy",
            "resources.memory",
        ),
        (
            app("org.test.royal")
                .manifest(&manifest("org.test.royal", "[system]\ncapabilities = [\"CAP_KILL\"]\n")),
            "org.test.royal",
            "system",
        ),
        (app("org.test.empty").without("manifest.toml"), "org.test.empty", "manifest.toml"),
        (
            app("org.test.missing").without("root/bin/sh"),
            "org.test.missing",
            "/bin/sh is not in the app's root",
        ),
        (app("org.test.rootless").without("root"), "org.test.rootless", "root"),
        (app("org.test.holes").without("root/proc"), "org.test.holes", "/proc"),
        (app("org.test.twin").manifest(&manifest("org.test.heart", "")), "org.test.twin", "org.test.heart"),
        (
            app("org.test.serial").tables("[devices]\nserial = [\"/dev/ttyS7\"]\n"),
            "org.test.serial",
            "/dev/ttyS7",
        ),
        (
            app("org.test.squatter").tables("[network]\nlisten = [\"8080/tcp\"]\n"),
            "org.test.squatter",
            "port 8080/tcp is served by org.test.holder already",
        ),
        (app("org.test.name").directory("Not An Id"), "Not An Id", "can not be an app id"),
    ];
    for (app, ..) in &cases {
        bench = bench.app(app.clone());
    }
    let device = bench.boot().unwrap();
    device.wait_for("[org.test.heart] beat 2");
    device.wait_for("gabion: ready boxes=");
    for (_, id, text) in &cases {
        device.wait_for(&format!("gabion: problem id={id} *{text}"));
        // What is not TOML is told in the parser's words, which say what it expected.
        if *id != "org.test.broken" {
            device.wait_for(&format!("gabion: problem id={id} *help: "));
        }
    }
    assert!(device.console().lines(0, "] I run").is_empty());
    device.power_button().check_data().unwrap();
}

#[test]
fn app_with_corrupt_blocks_is_named_and_others_run() {
    // Bytes that do not compress lie in the image as they are.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(64 << 10)
    .collect();
    let reader = "cat /bin/noise > /dev/null; echo read $?; sleep 1000";
    let sealed = App::shell("org.test.sealed", "echo I run; sleep 1000");
    let device = Bench::new("corrupt")
        .app(heart())
        .app(App::shell("org.test.reader", reader).file("bin/noise", &noise))
        .app(sealed.corrupt_image())
        .app(App::shell("org.test.whole", "echo I run; sleep 1000").image())
        .corrupt(&noise[30_000..30_064])
        .boot()
        .unwrap();
    device.wait_for("[org.test.reader!] cat: read error: Input/output error");
    device.wait_for("[org.test.reader] read 1");
    device.wait_for("gabion: problem id=org.test.sealed ");
    device.wait_for("gabion: problem id=org.test.sealed *help: *install the app again");
    device.wait_for("[org.test.whole] I run");
    device.wait_for("[org.test.heart] beat 2");
    device.wait_for("gabion: ready");
    assert!(device.console().lines(0, "[org.test.sealed] I run").is_empty());
}

#[test]
fn disk_full_apps_run_and_the_device_boots_again() {
    let filler = "dd if=/dev/zero of=/data/big bs=64k; echo filled; exec sleep 1000";
    let mut device = Bench::new("disk-full")
        .data_bytes(48 << 20)
        .app(heart())
        .app(App::shell("org.test.filler", filler).resources("memory = \"16MiB\"\nstorage = \"256MiB\"\n"))
        .app(
            App::shell("org.test.scribe", "while true; do echo x > /data/n; echo wrote $?; sleep 1; done")
                .resources("memory = \"8MiB\"\nstorage = \"1MiB\"\n"),
        )
        .boot()
        .unwrap();
    device.wait_for("[org.test.filler!] dd: error writing '/data/big': No space left on device");
    device.wait_for("[org.test.filler] filled");
    let mark = device.console().mark();
    device.wait_count(mark, "[org.test.heart] beat", 3, PATIENCE);
    device.wait_count(mark, "[org.test.scribe] wrote", 3, PATIENCE);
    let manager = device.pids(0, "sandboxd")[0];
    device.agent(&format!("kill {manager} SIGKILL"));
    device.wait_after(mark, "event adopted id=org.test.heart");
    let off = device.power_button();
    off.check_data().unwrap();
    let device = off.boot().unwrap();
    device.wait_for("[org.test.heart] beat 3");
    device.wait_for("[org.test.scribe] wrote");
    device.wait_for("gabion: ready boxes=");
    device.power_button().check_data().unwrap();
}

#[test]
fn kernel_without_landlock_runs_no_app_and_says_why() {
    let device = Bench::new("no-landlock").words("lsm=lockdown,yama").app(heart()).boot().unwrap();
    device.wait_for("gabion: problem id=* Landlock");
    device.wait_for("gabion: problem id=* help: boxes need Landlock ABI 6");
    device.wait_for("gabion: ready boxes=* running=0");
    assert!(device.console().lines(0, "[org.test.heart]").is_empty());
    device.power_button().check_data().unwrap();
}

#[test]
fn disk_with_something_else_on_it_is_never_formatted() {
    let off = Bench::new("foreign-disk").app(heart()).boot().unwrap();
    off.wait_for("gabion: ready");
    let off = off.power_button();
    let size = std::fs::metadata(off.data()).unwrap().len();
    let mut foreign = b"not a file system of ours".to_vec();
    foreign.resize(usize::try_from(size).unwrap(), 7);
    std::fs::write(off.data(), &foreign).unwrap();
    let device = off.boot().unwrap();
    device.wait_for("gabion: problem id=device no storage on /dev/vdc");
    device.wait_for("gabion: problem id=device *help: ");
    device.wait_for("gabion: ready boxes=* running=0");
    let off = device.power_button();
    assert!(std::fs::read(off.data()).unwrap() == foreign, "the disk was written to");
}

/// The registry says whose data is whose. A guess could give one app's data to another.
#[test]
fn identity_registry_damaged_starts_no_app_and_is_left_as_it_is() {
    let device = Bench::new("registry").app(heart()).boot().unwrap();
    device.wait_for("[org.test.heart] beat 1");
    let mut off = device.power_button();
    let registry = off.read_file("/gabion/identity").unwrap();
    for damaged in [&registry[..registry.len() / 2], &registry[..0], &registry.replace("10000", "10001")] {
        off.write_file("/gabion/identity", damaged).unwrap();
        let device = off.boot().unwrap();
        let mark = 0;
        device.wait_after(mark, "gabion: problem id=device the identity registry is corrupt");
        device.wait_after(
            mark,
            "gabion: problem id=device *help: no app is started; restore data/gabion/identity",
        );
        device.wait_after(mark, "gabion: ready boxes=* running=0");
        off = device.power_button();
        assert_eq!(off.read_file("/gabion/identity").unwrap(), damaged);
    }
    off.write_file("/gabion/identity", &registry).unwrap();
    off.boot().unwrap().wait_for("[org.test.heart] beat 1");
}
