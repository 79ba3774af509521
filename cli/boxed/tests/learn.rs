//! Programs that nobody told what to write into their manifest: recorded, given what was proposed, and run again by the
//! real box, without anybody watching. Then each proposed line is taken away, and the program must fail.
//!
//! Needs root, Landlock ABI 6 and a cgroup v2 mount, as tests/launch does. Every box has a loopback of its own.
#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use boxed::{Answers, App, End, Learned, Network, Run, Show, Watch, Wish, learn, newly_refused, run};
use policy::Board;
use policy::learn::Line;

static NEVER: AtomicBool = AtomicBool::new(false);

fn wish(answers: &Answers) -> Wish<'_> {
    let time = Some(Duration::from_secs(60));
    Wish {
        network: Network::Alone,
        answers,
        time,
        enough: &NEVER,
        show: Show::Nothing,
        watch: Watch::Spare,
        data: None,
    }
}

/// An app's root with Debian's static busybox.
fn busybox(root: &Path) {
    for name in ["bin", "dev", "proc", "tmp", "data", "run", "etc"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    by_cp(Path::new("/bin/busybox"), &root.join("bin/busybox"));
    for tool in ["sh", "cat", "nc", "sleep", "true", "test"] {
        symlink("busybox", root.join("bin").join(tool)).unwrap();
    }
}

fn app(root: &Path, exec: &[&str]) -> App {
    let text = format!("[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = {exec:?}\n");
    App::with(&text, root).unwrap()
}

fn script(root: &Path, text: &str) -> App {
    fs::write(root.join("bin/script"), text).unwrap();
    app(root, &["/bin/busybox", "sh", "/bin/script"])
}

/// The program under `manifest`, in the box a device would give it.
fn again(app: &App, manifest: &str, answers: &Answers) -> Run {
    let manifest = policy::check(manifest, &Board::default()).unwrap();
    let app = App { manifest, ..app.clone() };
    let plan = policy::compile(&app.manifest);
    run(&app, plan, &[], &Wish { watch: Watch::Not, ..wish(answers) }).unwrap()
}

fn said(run: &Run) -> String {
    run.output.iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}

fn has(learned: &Learned, table: &str, key: &str, value: &str) -> String {
    let found = |line: &&Line| line.table == table && line.key == key && line.value == value;
    let line = learned.proposal.lines.iter().find(found);
    line.unwrap_or_else(|| panic!("no {key} = {value} in:\n{}", learned.proposal.text)).evidence.clone()
}

/// The proposal without the line that has `value`.
fn without(learned: &Learned, value: &str) -> String {
    let lines: Vec<&str> = learned.proposal.text.lines().filter(|line| !line.contains(value)).collect();
    assert_eq!(lines.len() + 1, learned.proposal.text.lines().count(), "{value}:\n{}", learned.proposal.text);
    lines.join("\n")
}

#[test]
fn script_that_forks_serves_and_stores_is_learnt_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    busybox(dir.path());
    let app = script(
        dir.path(),
        "echo kept > /data/a || exit 3\n\
         echo now > /tmp/b || exit 4\n\
         nc -l -p 7070 -e /bin/busybox true & n=0\n\
         until nc 127.0.0.1 7070 < /dev/null 2> /dev/null; do n=$((n + 1)); test $n -lt 30 || exit 5; sleep 0.1; done\n\
         wait $! || exit 6\n\
         cat /data/a /tmp/b\n",
    );
    let answers = Answers::default();
    let learned = learn(&app, &wish(&answers), |_| {}).unwrap();
    let text = &learned.proposal.text;
    assert_eq!(learned.run.end, End::Exited(0), "{}\n{text}", said(&learned.run));
    assert!(
        has(&learned, "network", "connect", "\"localhost:7070/tcp\"")
            .contains("connect() to 127.0.0.1:7070 by nc")
    );
    assert!(has(&learned, "network", "listen", "\"7070/tcp\"").contains("bind() at"));
    assert!(has(&learned, "resources", "storage", "\"1MiB\"").contains("/data/a written by busybox"));
    assert!(has(&learned, "resources", "tmp", "\"1MiB\"").contains("/tmp/b"));
    assert!(has(&learned, "process", "profile", "\"default\"").contains("clone (by busybox"), "{text}");

    let passes = again(&app, text, &answers);
    assert_eq!((passes.end, said(&passes)), (End::Exited(0), said(&learned.run)), "{text}");
    for (line, code) in [("storage = ", 3), ("\"localhost:7070/tcp\"", 5), ("\"7070/tcp\"", 5)] {
        let run = again(&app, &without(&learned, line), &answers);
        assert_eq!(run.end, End::Exited(code), "{line} was not needed: {}", said(&run));
    }
    let watched = Wish { watch: Watch::Calls, ..wish(&answers) };
    let watched = run(&app, policy::compile(&learned.proposal.manifest), &[], &watched).unwrap();
    assert_eq!(newly_refused(&learned, &watched.record), [""; 0]);
    let less = policy::check(&without(&learned, "storage = "), &Board::default()).unwrap();
    let less =
        run(&app, policy::compile(&less), &[], &Wish { watch: Watch::Calls, ..wish(&answers) }).unwrap();
    assert!(
        newly_refused(&learned, &less.record)[0].starts_with("openat by busybox"),
        "{:?}",
        less.record.refused
    );
    let narrower = again(&app, &text.replace("profile = \"default\"", "profile = \"strict\""), &answers);
    assert!(!narrower.end.is_good(), "{}", said(&narrower));
}

/// An app's root with this machine's Python, the libraries it is linked with, and its standard library.
fn python(root: &Path) {
    busybox(root);
    let program = fs::canonicalize("/usr/bin/python3").unwrap();
    copy(root, &program);
    let linked = Command::new("ldd").arg(&program).output().unwrap();
    let words = String::from_utf8(linked.stdout).unwrap();
    words
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .for_each(|library| copy(root, Path::new(library)));
    let library = Path::new("/usr/lib").join(program.file_name().unwrap());
    let modules = fs::read_dir(&library).unwrap().map(|entry| entry.unwrap().path());
    let modules = modules.filter(|path| path.extension().is_some_and(|kind| kind == "py"));
    modules.for_each(|module| copy(root, &module));
    for folder in [
        "encodings",
        "collections",
        "json",
        "asyncio",
        "concurrent",
        "concurrent/futures",
        "lib-dynload",
        "re",
    ] {
        let Ok(all) = fs::read_dir(library.join(folder)) else { continue };
        all.map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .for_each(|module| copy(root, &module));
    }
    symlink(&program, root.join("bin/python3")).unwrap();
}

/// The file at its own place in the root.
fn copy(root: &Path, file: &Path) {
    let to = root.join(file.strip_prefix("/").unwrap());
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    by_cp(file, &to);
}

/// By a process of its own: one that another test starts meanwhile would have what we write open, and nobody could execute it.
fn by_cp(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

const THREADS_ON_THE_BUS: &str = r#"
import json, os, socket, sys, threading
def call(method):
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/bus/" + method.rsplit(".", 1)[0])
    s.sendall(json.dumps({"method": method}).encode() + b"\0")
    return json.loads(s.recv(65536).rstrip(b"\0"))
found = []
threads = [threading.Thread(target=lambda: found.append(call("os.gabion.Device.GetInfo"))) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(found) == 4
if not sys.argv[1:]:
    assert all(reply["parameters"]["os_version"] == "7" for reply in found), found
    assert call("os.gabion.Time.GetStatus")["error"] == "org.varlink.service.MethodNotImplemented"
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
"#;

#[test]
fn program_with_threads_on_the_bus_is_learnt_with_its_methods() {
    let dir = tempfile::tempdir().unwrap();
    python(dir.path());
    fs::write(dir.path().join("etc/a.py"), THREADS_ON_THE_BUS).unwrap();
    let app = app(dir.path(), &["/bin/python3", "/etc/a.py"]);
    let file = dir.path().join("answers.json");
    fs::write(&file, r#"{"os.gabion.Device.GetInfo": {"os_version": "7"}}"#).unwrap();
    let answers = Answers::read(&file).unwrap();
    let learned = learn(&app, &wish(&answers), |_| {}).unwrap();
    let text = &learned.proposal.text;
    assert_eq!(learned.run.end, End::Exited(0), "{}\n{text}", said(&learned.run));
    let evidence = has(&learned, "uses", "\"os.gabion.Device\"", "\"GetInfo\"");
    assert_eq!(evidence, "called by python3, 4 times");
    has(&learned, "uses", "\"os.gabion.Time\"", "\"GetStatus\"");
    has(&learned, "lifecycle", "notify", "true");
    assert!(learned.run.record.tasks >= 2, "{text}");

    let passes = again(&app, text, &answers);
    assert_eq!(passes.end, End::Exited(0), "{}\n{text}", said(&passes));
    let device = text.find("\"os.gabion.Device\"").unwrap();
    let end = text[device..].find("]\n").unwrap() + device + 2;
    let run = again(&app, &(text[..device].to_owned() + &text[end..]), &answers);
    assert_eq!(run.end, End::Exited(1), "{}", said(&run));
}

/// An app whose program is made from this C source.
fn compiled(root: &Path, source: &str, arguments: &[&str]) -> App {
    busybox(root);
    let file = root.join("etc/a.c");
    fs::write(&file, source).unwrap();
    let made = Command::new("gcc").args(["-static", "-O1", "-o"]).arg(root.join("bin/a")).arg(file).status();
    assert!(made.unwrap().success());
    app(root, &[&["/bin/a"], arguments].concat())
}

/// Runs code that it wrote, where it may; with an argument it does without where it may not.
const WRITES_CODE: &str = r#"
#include <sys/mman.h>
int main(int argc, char **argv) {
    char *code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED)
        return argc > 1 ? 0 : 9;
    *code = (char)0xc3;
    ((void (*)(void))code)();
    return 0;
}
"#;

#[test]
fn program_that_must_write_code_gets_jit_and_one_that_can_do_without_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let answers = Answers::default();
    let must = compiled(dir.path(), WRITES_CODE, &[]);
    let told = std::cell::Cell::new(0);
    let learned = learn(&must, &wish(&answers), |_| told.set(told.get() + 1)).unwrap();
    assert!(has(&learned, "process", "jit", "true").starts_with("W^X IS LIFTED: "));
    assert_eq!((told.get(), learned.run.end), (1, End::Exited(0)));
    assert_eq!(again(&must, &learned.proposal.text, &answers).end, End::Exited(0));
    assert_eq!(again(&must, &without(&learned, "jit = true"), &answers).end, End::Exited(9));

    let can = app(dir.path(), &["/bin/a", "without"]);
    let learned = learn(&can, &wish(&answers), |_| {}).unwrap();
    let text = &learned.proposal.text;
    assert!(!text.contains("jit"), "{text}");
    assert!(learned.proposal.remarks.iter().any(|remark| remark.contains("jit stays off")), "{text}");
    has(&learned, "process", "profile", "\"strict\"");
    assert_eq!(again(&can, text, &answers).end, End::Exited(0));
}

/// The same by two mappings of one memfd.
const MAPS_CODE_TWICE: &str = r#"
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
    int fd = memfd_create("code", 0);
    if (fd < 0 || ftruncate(fd, 4096))
        return 9;
    char *write = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void *run = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    *write = (char)0xc3;
    ((void (*)(void))run)();
    return 0;
}
"#;

#[test]
fn program_that_maps_code_twice_gets_jit_too_and_one_that_fails_anyway_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let answers = Answers::default();
    let app = compiled(dir.path(), MAPS_CODE_TWICE, &[]);
    let learned = learn(&app, &wish(&answers), |_| {}).unwrap();
    assert!(has(&learned, "process", "jit", "true").contains("memfd_create() was called by a"));
    assert_eq!(again(&app, &learned.proposal.text, &answers).end, End::Exited(0));

    let dir = tempfile::tempdir().unwrap();
    let failing = compiled(dir.path(), &MAPS_CODE_TWICE.replace("return 0;", "return 9;"), &[]);
    let learned = learn(&failing, &wish(&answers), |_| {}).unwrap();
    assert_eq!(learned.run.end, End::Exited(9));
    assert!(!learned.proposal.text.contains("jit"), "{}", learned.proposal.text);
}

/// Wants 300 open files, or fails; with an argument it asks for too many first, and takes what it gets.
const WANTS_OPEN_FILES: &str = r#"
#include <sys/resource.h>
int main(int argc, char **argv) {
    struct rlimit many = { 100000, 100000 }, some = { 300, 300 };
    if (argc > 1)
        return setrlimit(RLIMIT_NOFILE, &many) && setrlimit(RLIMIT_NOFILE, &some) && 0;
    return setrlimit(RLIMIT_NOFILE, &some) == 0 ? 0 : 9;
}
"#;

#[test]
fn limit_of_open_files_is_proposed_to_who_counts_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let answers = Answers::default();
    let counts = compiled(dir.path(), WANTS_OPEN_FILES, &[]);
    let learned = learn(&counts, &wish(&answers), |_| {}).unwrap();
    has(&learned, "resources", "open_files", "300");
    assert_eq!(again(&counts, &learned.proposal.text, &answers).end, End::Exited(0));
    assert_eq!(again(&counts, &without(&learned, "open_files"), &answers).end, End::Exited(9));

    let tries = app(dir.path(), &["/bin/a", "less"]);
    let learned = learn(&tries, &wish(&answers), |_| {}).unwrap();
    assert!(!learned.proposal.text.contains("open_files"), "{}", learned.proposal.text);
}

/// Tries what no manifest can grant, and goes on.
const TRIES_WHAT_NOBODY_MAY: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_in any = { .sin_family = AF_INET };
    int traced = ptrace(PTRACE_TRACEME, 0, 0, 0) == -1 && errno == EPERM;
    int written = open("/etc/x", O_WRONLY | O_CREAT, 0600) == -1 && errno == EROFS;
    int bound = bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&any, sizeof any) == -1 && errno == EACCES;
    int opened = open("/dev/ttyS9", O_RDWR) == -1;
    any.sin_port = htons(80);
    int served = bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&any, sizeof any) == -1 && errno == EACCES;
    return traced && written && bound && opened && served ? 0 : 1;
}
"#;

#[test]
fn what_no_manifest_can_grant_is_remarked_and_does_not_end_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    let app = compiled(dir.path(), TRIES_WHAT_NOBODY_MAY, &[]);
    let learned = learn(&app, &wish(&Answers::default()), |_| {}).unwrap();
    let remarks = learned.proposal.remarks.join("\n");
    assert_eq!(learned.run.end, End::Exited(0), "{remarks}");
    assert!(remarks.contains("nothing proposed allows `ptrace`"), "{remarks}");
    assert!(remarks.contains("on the device the call kills the program"), "{remarks}");
    assert!(remarks.contains("/etc/x (by a) could not be written"), "{remarks}");
    assert!(remarks.contains("bind() to TCP port 0 by a"), "{remarks}");
    assert!(remarks.contains("bind() to port 80 by a was refused"), "{remarks}");
    assert!(has(&learned, "devices", "serial", "\"/dev/ttyS9\"").contains("not in the recording's box"));
}

/// Answers `queries` for an IPv4 address with 127.0.0.7, on the calling thread's network.
fn name_server(queries: usize) -> std::thread::JoinHandle<()> {
    let server = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        for _ in 0..queries {
            let (length, whom) = loop {
                match server.recv_from(&mut query) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    heard => break heard.unwrap(),
                }
            };
            let end = 12 + query[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let ipv4 = query[end - 4..end - 2] == [0, 1];
            let mut reply =
                [&query[..2], b"\x81\x80\0\x01\0", &[u8::from(ipv4)], b"\0\0\0\0", &query[12..end]].concat();
            if ipv4 {
                reply.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x07");
            }
            server.send_to(&reply, whom).unwrap();
        }
    })
}

const ASKS_FOR_A_NAME: &str = r#"
import socket
address = socket.getaddrinfo("broker.example", 7000, type=socket.SOCK_DGRAM)[0][4]
assert address == ("127.0.0.7", 7000), address
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", address)
"#;

const ANSWERS_WHO_ASKED: &str = r#"
import socket
one, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
one.bind(("127.0.0.1", 7001))
other.sendto(b"x", ("127.0.0.1", 7001))
one.sendto(b"y", one.recvfrom(8)[1])
assert other.recv(8) == b"y"
"#;

#[test]
fn host_that_was_asked_for_by_name_is_proposed_by_name() {
    let network = sandboxd::network::local().unwrap();
    nix::sched::setns(&network, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let dir = tempfile::tempdir().unwrap();
    python(dir.path());
    fs::write(dir.path().join("etc/a.py"), ASKS_FOR_A_NAME).unwrap();
    fs::write(dir.path().join("etc/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let app = app(dir.path(), &["/bin/python3", "/etc/a.py"]);
    let answers = Answers::default();
    let server = name_server(2);
    let learned = learn(&app, &Wish { network: Network::Machine, ..wish(&answers) }, |_| {}).unwrap();
    assert_eq!(learned.run.end, End::Exited(0), "{}", said(&learned.run));
    server.join().unwrap();
    let evidence = has(&learned, "network", "connect", "\"broker.example:7000/udp\"");
    assert_eq!(evidence, "sent to 127.0.0.7:7000 by python3");
    has(&learned, "network", "connect", "\"localhost:53/udp\"");
}

#[test]
fn reply_over_udp_is_no_destination() {
    let dir = tempfile::tempdir().unwrap();
    python(dir.path());
    fs::write(dir.path().join("etc/a.py"), ANSWERS_WHO_ASKED).unwrap();
    let app = app(dir.path(), &["/bin/python3", "/etc/a.py"]);
    let learned = learn(&app, &wish(&Answers::default()), |_| {}).unwrap();
    assert_eq!(learned.run.end, End::Exited(0), "{}", said(&learned.run));
    has(&learned, "network", "listen", "\"localhost:7001/udp\"");
    has(&learned, "network", "connect", "\"localhost:7001/udp\"");
    let lines = learned.proposal.lines.iter().filter(|line| line.table == "network").count();
    assert_eq!(lines, 2, "{}", learned.proposal.text);
}

#[test]
fn server_that_does_not_end_is_ended_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    busybox(dir.path());
    let app = script(dir.path(), "trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done");
    let answers = Answers::default();
    let wish = Wish { time: Some(Duration::from_secs(10)), ..wish(&answers) };
    let learned = learn(&app, &wish, |_| {}).unwrap();
    assert_eq!((learned.run.end, said(&learned.run).as_str()), (End::Stopped, "bye\n"));
}

#[test]
fn given_lines_are_kept_and_those_not_seen_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    busybox(dir.path());
    let text = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/busybox\", \"true\"]\n\
                [resources]\nmemory = \"32MiB\"\ncpu = \"50%\"\n[network]\nlisten = [\"80/tcp\"]\n\
                [process]\nprofile = \"network-server\"\nenvironment = { A = \"b \\\"c\\\"\" }\n\
                [lifecycle]\nrestart = \"always\"\nwatchdog = \"30s\"\n";
    let app = App::with(text, dir.path()).unwrap();
    let learned = learn(&app, &wish(&Answers::default()), |_| {}).unwrap();
    assert!(has(&learned, "network", "listen", "\"80/tcp\"").contains("not seen"));
    assert!(has(&learned, "resources", "memory", "\"32MiB\"").starts_with("given; peak of"));
    assert!(has(&learned, "process", "profile", "\"network-server\"").starts_with("given"));
    let differences = policy::diff(&app.manifest, &learned.proposal.manifest);
    let gains = differences.iter().filter(|d| d.direction == policy::Direction::Gain).count();
    assert_eq!(gains, 0, "{differences:?}");
    assert!(differences.iter().all(|d| d.key.starts_with("resources.")), "{differences:?}");
}

#[test]
fn program_that_is_not_there_is_said_with_a_remedy() {
    let dir = tempfile::tempdir().unwrap();
    busybox(dir.path());
    let error = learn(&app(dir.path(), &["/bin/absent"]), &wish(&Answers::default()), |_| {}).unwrap_err();
    assert!(error.to_string().contains("/bin/absent"), "{error}");
    assert!(error.help().contains("put the program"), "{}", error.help());
    fs::remove_dir(dir.path().join("run")).unwrap();
    let error = learn(&app(dir.path(), &["/bin/sh"]), &wish(&Answers::default()), |_| {}).unwrap_err();
    assert!(error.help().contains("`run`"), "{}", error.help());
}

/// A program that gives up as V8 and abort() do, by an instruction that can not be executed: it is seen to end, by that.
#[test]
fn program_that_ends_itself_by_a_fault_is_seen_to_end() {
    let dir = tempfile::tempdir().unwrap();
    busybox(dir.path());
    let source = dir.path().join("fault.c");
    fs::write(&source, "int main(void) { __builtin_trap(); }\n").unwrap();
    let mut gcc = Command::new("gcc");
    assert!(
        gcc.arg("-static")
            .arg("-o")
            .arg(dir.path().join("bin/fault"))
            .arg(&source)
            .status()
            .unwrap()
            .success()
    );
    let answers = Answers::default();
    let app = app(dir.path(), &["/bin/fault"]);
    let plan = policy::compile(&app.manifest);
    for watch in [Watch::Not, Watch::Calls, Watch::Spare] {
        let run = run(&app, plan.clone(), &[], &Wish { watch, ..wish(&answers) }).unwrap();
        assert_eq!(run.end, End::Killed(4), "{watch:?}");
    }
}
