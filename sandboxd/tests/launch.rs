//! Boxes built by `build_box` and launched by `init`'s own launcher, seen from inside. Must run as root.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use policy::{Board, Plan};
use sandboxd::builder::{Built, Networks, Place, build_box};
use sandboxd::cgroup::{Group, Limits};
use sandboxd::network;
use sys::launch::{Prepared, outcome};

const UID: u32 = 19_999;

struct Bench {
    dir: tempfile::TempDir,
    cgroup: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Every directory on the way must be open for the box's uid.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        for sub in ["dev", "proc", "tmp", "data", "run", "bin"] {
            fs::create_dir_all(dir.path().join("root").join(sub)).unwrap();
        }
        let bench =
            Self { dir, cgroup: cgroup2().join(format!("sandboxd-test-{name}-{}", std::process::id())) };
        fs::create_dir_all(bench.cgroup.join("apps")).unwrap();
        for program in ["/bin/sh", "/bin/cat", "/bin/ls"] {
            bench.copy_program(program);
        }
        bench
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn copy_program(&self, program: &str) {
        let ldd = Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8(ldd.stdout).unwrap();
        for path in text.split_whitespace().filter(|w| w.starts_with('/')).chain([program]) {
            let to = self.root().join(path.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            // By a process of its own: one that another test starts meanwhile would have what we write open, and nobody could execute it.
            assert!(Command::new("cp").arg(path).arg(to).status().unwrap().success());
        }
    }

    fn build(&self, plan: &Plan, storage: Option<&Path>) -> Result<Built, sandboxd::problem::BoxError> {
        self.build_on(plan, storage, true)
    }

    fn build_on(
        &self,
        plan: &Plan,
        storage: Option<&Path>,
        firewall: bool,
    ) -> Result<Built, sandboxd::problem::BoxError> {
        let (empty, local) = (network::empty().unwrap(), network::local().unwrap());
        let run = self.dir.path().join("run");
        let place = Place {
            uid: UID,
            root: &self.root(),
            storage,
            run: &run,
            cgroup: &Group::new(&self.cgroup.join("apps"), "test"),
            limits: Limits::NotEnforced,
            debug: None,
            devices: &[],
            networks: Networks { empty: empty.as_fd(), device: firewall.then(|| local.as_fd()) },
        };
        build_box(plan, &place, None)
    }

    /// Runs the shell `script` in a box; what it wrote to standard output and error.
    fn run(&self, script: &str) -> String {
        let plan = plan(script, "");
        let storage = self.dir.path().join("data");
        fs::create_dir_all(&storage).unwrap();
        std::os::unix::fs::chown(&storage, Some(UID), Some(UID)).unwrap();
        let built = self.build(&plan, Some(&storage)).unwrap();
        let (out, err) = launch(built);
        format!("{out}{err}")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for dir in [self.cgroup.join("apps/test"), self.cgroup.join("apps"), self.cgroup.clone()] {
            let _ = fs::remove_dir(dir);
        }
    }
}

fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line = mounts.lines().find(|l| l.split(' ').nth(2) == Some("cgroup2")).expect("a cgroup2 mount");
    line.split(' ').nth(1).unwrap().into()
}

fn plan(script: &str, more: &str) -> Plan {
    let script = script.replace('\\', "\\\\").replace('"', "\\\"");
    let text = format!(
        "[app]\nid = \"com.example.test\"\nversion = \"1.0.0\"\nexec = [\"/bin/sh\", \"-c\", \"{script}\"]\n\
         [resources]\nmemory = \"16MiB\"\ncpu = \"20%\"\ntasks = 16\nstorage = \"1MiB\"\n{more}"
    );
    let manifest = policy::check(&text, &Board::default()).unwrap_or_else(|p| panic!("{p:?}"));
    policy::compile(&manifest)
}

fn launch(built: Built) -> (String, String) {
    let Built { spec, mut fds, kept } = built;
    fds.extend(kept.iter().map(|fd| fd.try_clone().unwrap()));
    let prepared = Prepared::new(spec, fds).unwrap();
    let launched = prepared.launch().unwrap();
    let started = Instant::now();
    let verdict = loop {
        match outcome(&launched.status) {
            Some(verdict) => break verdict,
            None => assert!(started.elapsed() < Duration::from_secs(60), "no outcome"),
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(verdict, Ok(()), "refused at {:?}", verdict.map_err(|(s, _)| sys::step::Step::from_number(s)));
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(launched.pid as i32), None).unwrap();
    drop(prepared);
    let mut texts = kept.into_iter().take(2).map(|fd| {
        let mut text = Vec::new();
        // Non-blocking: an error is the end of what was written.
        let _ = fs::File::from(fd).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    (texts.next().unwrap(), texts.next().unwrap())
}

#[test]
fn box_launched_says_hello() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    assert_eq!(
        Bench::new("hello").run("echo hello $NOTIFY_SOCKET; echo oops >&2"),
        "hello /run/notify\noops\n"
    );
}

#[test]
fn box_mounts_are_as_promised() {
    let seen = Bench::new("mounts").run("while read l; do echo \"$l\"; done < /proc/self/mountinfo");
    let mounts: Vec<(&str, &str)> =
        seen.lines().map(|l| l.split(' ').collect::<Vec<_>>()).map(|w| (w[4], w[5])).collect();
    for (at, options) in &mounts {
        assert!(options.contains("nosuid"), "{at} {options}");
        let dev = *at == "/dev";
        assert_eq!(options.contains("nodev"), !dev, "{at} {options}");
        assert_eq!(options.contains("noexec"), *at != "/", "{at} {options}");
        assert_eq!(options.starts_with("ro"), !matches!(*at, "/data" | "/tmp"), "{at} {options}");
    }
    let mut places: Vec<&str> = mounts.iter().map(|(at, _)| *at).collect();
    places.sort_unstable();
    assert_eq!(places, ["/", "/data", "/dev", "/proc", "/run", "/tmp"], "{seen}");
}

#[test]
fn box_sees_its_devices_only() {
    let seen = Bench::new("devices").run("for f in /dev/*; do echo $f; done; echo x > /dev/null && echo ok");
    let expected = "fd full null random shm stderr stdin stdout urandom zero";
    let expected: String = expected.split(' ').map(|n| format!("/dev/{n}\n")).collect();
    assert_eq!(seen, expected + "ok\n");
}

#[test]
fn box_writes_only_to_data_and_tmp() {
    let script =
        "for d in / /bin /dev /run /proc /data /tmp; do (echo x > $d/f) 2>/dev/null && echo $d; done";
    assert_eq!(Bench::new("write").run(script), "/data\n/tmp\n");
}

#[test]
fn box_does_not_run_what_it_wrote() {
    let script =
        "for d in /data /tmp; do cat /bin/cat > $d/x; chmod 755 $d/x; $d/x /dev/null && echo ran; done";
    let seen = Bench::new("exec").run(script);
    assert!(!seen.contains("ran"), "{seen}");
}

#[test]
fn box_without_its_program_is_a_clear_problem() {
    let bench = Bench::new("noprog");
    fs::remove_file(bench.root().join("bin/sh")).unwrap();
    let error = bench.build(&plan("true", ""), None).unwrap_err();
    assert!(error.to_string().contains("/bin/sh is not in the app's root"), "{error}");
    std::os::unix::fs::symlink("/etc/passwd", bench.root().join("bin/sh")).unwrap();
    assert!(bench.build(&plan("true", ""), None).is_err(), "a link out of the root must not count");
    fs::remove_file(bench.root().join("bin/sh")).unwrap();
    fs::write(bench.root().join("bin/sh"), "x").unwrap();
    let error = bench.build(&plan("true", ""), None).unwrap_err();
    assert!(error.to_string().contains("not an executable file"), "{error}");
}

#[test]
fn box_without_mount_point_is_a_clear_problem() {
    let bench = Bench::new("nomount");
    fs::remove_dir(bench.root().join("run")).unwrap();
    std::os::unix::fs::symlink("/tmp", bench.root().join("run")).unwrap();
    let error = bench.build(&plan("true", ""), None).unwrap_err();
    assert!(error.to_string().contains("no directory /run"), "{error}");
    assert!(error.help().contains("empty directory `run`"));
}

#[test]
fn box_with_a_network_needs_a_firewall() {
    let bench = Bench::new("routed");
    let plan = plan("true", "[network]\nconnect = [\"example.com:443/tcp\"]\n");
    let error = bench.build_on(&plan, None, false).unwrap_err();
    assert!(error.to_string().contains("no firewall"), "{error}");
    bench.build_on(&plan, None, true).unwrap();
}

#[test]
fn box_with_names_finds_its_own_name_server() {
    let bench = Bench::new("names");
    let file = bench.dir.path().join("run/resolv.conf");
    bench.build(&plan("true", "[network]\nconnect = [\"example.com:443/tcp\"]\n"), None).unwrap();
    let server = firewall::tables::name_server(UID).unwrap();
    assert!(fs::read_to_string(&file).unwrap().starts_with(&format!("nameserver {server}\n")));
    bench.build(&plan("true", "[network]\nconnect = [\"192.0.2.1:443/tcp\"]\n"), None).unwrap();
    assert!(!file.exists());
}

#[test]
fn box_descriptors_do_not_leak_into_the_next() {
    let seen = Bench::new("fds").run("for f in /proc/self/fd/*; do echo $f; done");
    // The shell has 0, 1, 2 and the directory it reads.
    assert!(seen.lines().count() <= 4, "{seen}");
    let _ = std::io::stdin().as_raw_fd();
}
