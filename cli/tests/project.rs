//! An app from nothing: made, tested, run in its box and packed, in each language.
//!
//! Needs root, Landlock ABI 6 and a cgroup v2 mount, a C compiler and cargo, and Debian's archive.
#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn gabion(place: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gabion")).current_dir(place).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the app in its box until it says this, and interrupts that.
fn run(app: &Path, wanted: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    command.current_dir(app).args(["run", "--offline", "--for", "2m", "--data", "kept"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut told, mut said) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    while !said.contains(wanted) && told.read_line(&mut said).unwrap() > 0 {}
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    told.read_to_string(&mut said).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && said.contains(wanted), "{said}{}", text(&ended.stderr));
}

/// Makes an app, runs its own test, then itself in its box, and packs it; gives the package.
fn made(lang: &str, test: &[&str]) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let said = gabion(place.path(), &["new", "--lang", lang, "hello"]);
    assert!(said.status.success(), "{}", text(&said.stderr));
    let app = place.path().join("hello");
    assert!(gabion(&app, &["check"]).status.success());
    let (program, arguments) = test.split_first().unwrap();
    let tested = Command::new(program).current_dir(&app).args(arguments).output().unwrap();
    assert!(tested.status.success(), "{}{}", text(&tested.stdout), text(&tested.stderr));
    for start in ["1", "2"] {
        run(&app, &format!("hello, this is start {start}"));
    }
    let built = gabion(&app, &["build", "-o", "hello.gab"]);
    assert!(built.status.success(), "{}", text(&built.stderr));
    let package = fs::read(app.join("hello.gab")).unwrap();
    // A second time nothing is made anew, and the same comes out.
    assert!(gabion(&app, &["build", "-o", "again.gab"]).status.success());
    assert!(package == fs::read(app.join("again.gab")).unwrap(), "{lang}: not the same twice");
    package
}

#[test]
fn app_in_c_is_made_tested_run_and_packed() {
    let package = made("c", &["make", "test"]);
    assert!(package.len() < 2 << 20, "{} bytes", package.len());
}

#[test]
fn app_in_rust_is_made_tested_run_and_packed() {
    made("rust", &["cargo", "test", "--quiet"]);
}

#[test]
fn app_in_python_is_made_tested_run_and_packed() {
    made("python", &["python3", "-m", "unittest"]);
}

#[test]
fn app_of_a_shell_is_made_tested_run_and_packed() {
    made("any", &["sh", "test.sh"]);
}

#[test]
fn app_that_can_not_be_made_or_built_says_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let said = |arguments: &[&str]| {
        let output = gabion(place.path(), arguments);
        assert!(!output.status.success(), "{arguments:?}");
        text(&output.stderr)
    };
    assert!(said(&["new", "Hello"]).contains("a-z"));
    assert!(said(&["new", "hello", "--id", "no dots"]).contains("id"));
    assert!(gabion(place.path(), &["new", "--lang", "c", "hello"]).status.success());
    assert!(said(&["new", "hello"]).contains("there already"));
    let list = place.path().join("hello/app.list");
    fs::write(&list, "bild make\n").unwrap();
    let wrong = said(&["build", "hello"]);
    assert!(wrong.contains("app.list:1") && wrong.contains("bild"), "{wrong}");
    fs::write(&list, "build false\nfile build/hello /bin/hello\n").unwrap();
    let failed = said(&["run", "hello"]);
    assert!(failed.contains("hello/app.list:1:7") && failed.contains("run it in hello until"), "{failed}");
    fs::write(&list, "build make -s\n").unwrap();
    assert!(said(&["build", "hello"]).contains("app.exec names /bin/hello"));
}
