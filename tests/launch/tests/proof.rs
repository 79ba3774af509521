//! Each line of the launch order, seen from inside the box.
#![expect(clippy::unwrap_used, reason = "tests")]

use launch_test::{Bench, UID, copy_busybox};

fn run(script: &str) -> String {
    Bench::new(script, "").unwrap().output_of_launch().unwrap()
}

fn status_line(key: &str) -> String {
    // Not by a shell, which changes signal dispositions itself.
    let bench = Bench::program(&["/bin/busybox", "cat", "/proc/self/status"], "").unwrap();
    let status = bench.output_of_launch().unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(&format!("{key}:")));
    line.unwrap_or_else(|| panic!("no {key} in:\n{status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn descriptors_in_a_box_are_stdio_alone() {
    // The shell forks `ls`, whose own descriptor 3 is the directory it lists.
    assert_eq!(run("ls /proc/self/fd").split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
}

#[test]
fn descriptors_opened_by_the_launcher_after_the_bundle_stay_out() {
    let bench = Bench::new("ls /proc/self/fd", "").unwrap();
    let _extra: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    assert_eq!(bench.output_of_launch().unwrap().split_whitespace().count(), 4);
}

#[test]
fn network_of_a_box_without_network_is_an_empty_namespace() {
    let inside = run("cat /proc/self/net/dev");
    assert!(inside.contains("lo:"), "{inside}");
    assert_eq!(inside.lines().count(), 3, "only loopback, which is down:\n{inside}");
}

#[test]
fn mounts_of_a_box_are_the_six_it_needs_and_locked_down() {
    let seen = run("cat /proc/self/mountinfo");
    let mut mounts: Vec<(&str, &str)> = seen
        .lines()
        .map(|l| {
            let mut words = l.split(' ').skip(4);
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    mounts.sort_unstable();
    let points: Vec<&str> = mounts.iter().map(|m| m.0).collect();
    assert_eq!(points, ["/", "/data", "/dev", "/proc", "/run", "/tmp"], "{seen}");
    for (point, options) in mounts {
        let has = |o: &str| options.split(',').any(|x| x == o);
        assert!(has("nosuid"), "{point} {options}");
        assert!(has("noexec") || point == "/", "{point} {options}");
        assert!(has("nodev") || point == "/dev", "{point} {options}");
        assert!(has("ro") || point == "/data" || point == "/tmp", "{point} {options}");
    }
}

#[test]
fn root_with_a_device_node_and_a_setuid_program_gives_neither() {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    use std::os::unix::fs::PermissionsExt;
    // The package checker lets neither in: these are for a store that was made by something else.
    let script = "cat /null && echo read; test -c /null && echo node; /bin/busybox-raised id -u";
    let bench = Bench::prepared(&["/bin/busybox", "sh", "-c", script], "", |root| {
        mknod(&root.join("null"), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 3))?;
        std::fs::set_permissions(root.join("null"), PermissionsExt::from_mode(0o666))?;
        copy_busybox(&root.join("bin/busybox-raised"))?;
        Ok(std::fs::set_permissions(root.join("bin/busybox-raised"), PermissionsExt::from_mode(0o4755))?)
    });
    assert_eq!(bench.unwrap().output_of_launch().unwrap(), format!("node\n{UID}\n"));
}

#[test]
fn tmp_is_fresh_at_every_launch() {
    let bench = Bench::new("ls /tmp; touch /tmp/left && echo wrote", "").unwrap();
    assert_eq!(bench.output_of_launch().unwrap(), "wrote\n");
    assert_eq!(bench.output_of_launch().unwrap(), "wrote\n");
}

#[test]
fn proc_shows_own_pids_only_and_nothing_of_the_system() {
    assert_eq!(run("cd /proc; echo [0-9]*").trim(), "1");
    assert_eq!(
        run("ls /proc/kcore /proc/kallsyms /proc/sys /proc/cmdline 2>/dev/null; echo end").trim(),
        "end"
    );
}

#[test]
fn limits_are_as_in_the_manifest() {
    let bench = Bench::new("ulimit -n; ulimit -c; umask", "open_files = 77\n").unwrap();
    assert_eq!(bench.output_of_launch().unwrap(), "77\n0\n0077\n");
}

#[test]
fn signals_are_at_their_defaults() {
    assert_eq!(status_line("SigBlk"), "0000000000000000");
    assert_eq!(status_line("SigIgn"), "0000000000000000");
}

#[test]
fn host_name_is_the_boxes_own() {
    assert_eq!(run("hostname").trim(), "box");
}

#[test]
fn working_directory_is_the_root() {
    assert_eq!(run("pwd").trim(), "/");
}

#[test]
fn ids_are_the_apps_own_without_groups() {
    assert_eq!(status_line("Uid"), format!("{UID} {UID} {UID} {UID}"));
    assert_eq!(status_line("Gid"), format!("{UID} {UID} {UID} {UID}"));
    assert_eq!(status_line("Groups"), "");
}

#[test]
fn capabilities_are_empty_in_all_five_sets() {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status_line(set), "0000000000000000", "{set}");
    }
}

#[test]
fn no_new_privs_and_seccomp_are_on() {
    assert_eq!(status_line("NoNewPrivs"), "1");
    assert_eq!(status_line("Seccomp"), "2");
}

#[test]
fn environment_is_the_manifests_alone() {
    let env = run("env");
    let mut names: Vec<&str> = env.lines().filter_map(|l| l.split('=').next()).collect();
    names.retain(|n| !["PWD", "SHLVL", "OLDPWD", "_"].contains(n)); // set by the shell itself
    names.sort_unstable();
    assert_eq!(names, ["HOME", "NOTIFY_SOCKET", "PATH", "TMPDIR"]);
}

#[test]
fn landlock_and_mounts_refuse_execution_from_storage() {
    for place in ["/data", "/tmp"] {
        let script = format!("cp /bin/busybox {place}/sh && {place}/sh -c 'echo ran' 2>&1 || echo refused");
        assert!(run(&script).ends_with("refused\n"), "{place}");
    }
}

#[test]
fn root_is_read_only() {
    assert_eq!(run("touch /bin/x 2>/dev/null || echo refused").trim(), "refused");
}

#[test]
fn bundle_launched_three_times_after_its_builder_ended_works() {
    let bench = std::thread::spawn(|| Bench::new("echo up", "").unwrap()).join().unwrap();
    for _ in 0..3 {
        assert_eq!(bench.output_of_launch().unwrap(), "up\n");
    }
}
