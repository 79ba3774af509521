//! What an app sees of its box, on the real kernel with all its controllers.

use device_test::{App, Bench, word};

const LOOK: &str = r#"
cat /proc/self/status
echo pid $$
ls /proc/self/fd | while read fd; do echo fd $fd; done
cat /proc/self/mounts
env | while read line; do echo "env $line"; done
echo cgroup $(cat /proc/self/cgroup)
for pid in /proc/[0-9]*; do echo process ${pid##*/}; done
echo limit $(ulimit -n) $(ulimit -c)
for place in / /bin /dev /run /proc; do echo x 2>/dev/null > $place/new && echo writable $place; done
for place in /tmp /data; do cp_ok=no; cat /bin/busybox 2>/dev/null | head -c 2000 > $place/program && cp_ok=yes; echo "kept $place $cp_ok"; done
cat /bin/busybox > /data/program; chmod 755 /data/program; /data/program true; echo ran from data $?
echo end of look
exec sleep 1000
"#;

#[test]
fn box_seen_from_inside_is_what_the_manifest_says() {
    let mut device =
        Bench::new("inside")
            .app(App::shell("org.test.look", LOOK).resources(
                "memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 7\nstorage = \"4MiB\"\nopen_files = 33\n",
            ))
            .boot()
            .unwrap();
    let started = device.wait_for("event started id=org.test.look");
    let (uid, pid) = (word(&started, "uid").unwrap(), word(&started, "pid").unwrap());
    device.wait_for("[org.test.look] end of look");
    let said = device.console().lines(0, "[org.test.look] ");
    let said: Vec<String> = said.iter().map(|line| line.replacen("[org.test.look] ", "", 1)).collect();
    let all = said.join("\n");
    let has = |line: &str| assert!(said.iter().any(|said| said == line), "`{line}` is not in\n{all}");

    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        has(&format!("{set}:\t0000000000000000"));
    }
    has(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"));
    has(&format!("Gid:\t{uid}\t{uid}\t{uid}\t{uid}"));
    has("Groups:\t ");
    has("NoNewPrivs:\t1");
    has("Seccomp:\t2");
    has("pid 1");
    has("cgroup 0::/");
    has("limit 33 0");
    has("kept /tmp yes");
    has("kept /data yes");
    has("ran from data 126");
    assert!(!all.contains("writable "), "{all}");
    let fds: Vec<&String> = said.iter().filter(|line| line.starts_with("fd ")).collect();
    // The fourth is the directory that is being listed.
    assert_eq!(fds, ["fd 0", "fd 1", "fd 2", "fd 3"]);
    let pids = said.iter().filter(|line| line.starts_with("process ")).count();
    assert!((1..=2).contains(&pids), "{pids} processes");

    let mount = |at: &str| {
        let line =
            said.iter().find(|line| line.split(' ').nth(1) == Some(at) && line.split(' ').count() == 6);
        line.unwrap_or_else(|| panic!("{at} is not mounted in\n{all}")).split(' ').nth(3).unwrap().to_owned()
    };
    for (at, options) in [
        ("/", "ro,nosuid,nodev"),
        ("/dev", "ro,nosuid,noexec"),
        ("/data", "rw,nosuid,nodev,noexec"),
        ("/tmp", "rw,nosuid,nodev,noexec"),
        ("/run", "ro,nosuid,nodev,noexec"),
        ("/proc", "ro,nosuid,nodev,noexec"),
    ] {
        assert!(mount(at).starts_with(options), "{at}: {}", mount(at));
    }

    let group = "/sys/fs/cgroup/apps/org.test.look";
    assert_eq!(device.agent(&format!("cat {group}/memory.max")), ["8388608"]);
    assert_eq!(device.agent(&format!("cat {group}/pids.max")), ["7"]);
    assert_eq!(device.agent(&format!("cat {group}/cpu.max")), ["50000 100000"]);
    assert_eq!(device.agent(&format!("cat /proc/{pid}/cgroup")), ["0::/apps/org.test.look"]);
    let environment: Vec<&String> = said.iter().filter(|line| line.starts_with("env ")).collect();
    assert!(!environment.iter().any(|line| line.contains("GABION_")), "{environment:?}");
}
