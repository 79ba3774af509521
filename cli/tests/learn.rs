//! `gabion policy learn` as a developer calls it: its output, its exit codes, and what it says when it can not. What it
//! learns is tested in `cli/boxed`. Needs root, as that does.
#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An app directory whose program is this shell script.
fn app(script: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    for name in ["bin", "dev", "proc", "tmp", "data", "run"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    copy(Path::new("/bin/busybox"), &root.join("bin/busybox"));
    symlink("busybox", root.join("bin/sleep")).unwrap();
    fs::write(root.join("bin/script"), script).unwrap();
    let text = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/busybox\", \"sh\", \"/bin/script\"]\n";
    fs::write(dir.path().join("manifest.toml"), text).unwrap();
    dir
}

/// By a process of its own: one that another test starts meanwhile would have what we write open, and nobody could execute it.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

fn learn(app: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    command.args(["policy", "learn", "--offline"]).arg(app).args(options);
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn learn_writes_a_manifest_that_check_takes_and_confirms_it() {
    let app = app("echo hello $1; echo x > /data/x");
    let out = app.path().join("out.toml");
    let options = ["--confirm", "--out", out.to_str().unwrap(), "--", "world"];
    let output = learn(app.path(), &options).output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(0), ""), "{stderr}");
    assert!(stderr.contains("hello world") && stderr.contains("passed"), "{stderr}");
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.contains("storage = \"1MiB\"  # /data/x written by busybox"), "{text}");
    assert!(!text.contains("world"), "arguments of one run are not the manifest's:\n{text}");
    let checked = Command::new(env!("CARGO_BIN_EXE_gabion")).arg("check").arg(&out).status().unwrap();
    assert!(checked.success());
    let again = learn(app.path(), &options).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "it does not write over a file");
}

#[test]
fn learn_as_json_has_evidence_and_files() {
    let app = app("exit 3");
    let output = learn(app.path(), &["--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let profile = json["lines"].as_array().unwrap().iter().find(|line| line["key"] == "profile").unwrap();
    assert!(!profile["evidence"].as_str().unwrap().is_empty());
    assert!(json["remarks"][0].as_str().unwrap().contains("ended badly"), "{json:#}");
    let files = json["files"].as_array().unwrap();
    assert!(files.iter().any(|file| file["path"] == "/bin/script" && file["use"] == "read"), "{json:#}");
    assert!(files.iter().any(|file| file["path"] == "/bin/busybox" && file["use"] == "execute"), "{json:#}");
}

#[test]
fn learn_that_is_interrupted_writes_what_it_learnt() {
    let app = app("trap 'exit 0' TERM; echo x > /tmp/x; echo up; while true; do sleep 0.1; done");
    let mut command = learn(app.path(), &["--for", "2m"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut told, mut stderr) = (BufReader::new(child.stderr.take().unwrap()), String::new());
    while stderr.lines().all(|line| line != "up") {
        assert!(told.read_line(&mut stderr).unwrap() > 0, "{stderr}");
    }
    let begin = Instant::now();
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    told.read_to_string(&mut stderr).unwrap();
    let output = child.wait_with_output().unwrap();
    let (stdout, _) = texts(&output);
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.contains("tmp = \"1MiB\"  # /tmp/x"), "{stdout}");
}

#[test]
fn learn_without_root_or_without_an_app_says_what_to_do() {
    let app = app("true");
    let binary = app.path().join("gabion");
    copy(Path::new(env!("CARGO_BIN_EXE_gabion")), &binary);
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    fs::set_permissions(app.path(), open(0o755)).unwrap();
    let mut command = Command::new(&binary);
    let output = command.args(["policy", "learn"]).arg(app.path()).uid(65_534).output().unwrap();
    assert_eq!(output.status.code(), Some(6));
    assert!(texts(&output).1.contains("sudo"), "{output:?}");

    fs::remove_dir_all(app.path().join("root")).unwrap();
    let output = learn(app.path(), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(texts(&output).1.contains("help: an app is a directory with"), "{output:?}");
}
