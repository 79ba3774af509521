//! `--json` for programs, exit codes for scripts, completions and manual pages for people: with a device that answers as a device does.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bus::devport::{Frame, Frames};
use serde_json::{Value, json};

/// What the device answers, by method.
fn reply(method: &str) -> Value {
    let exit = json!({ "time": "2026-01-31T12:00:00.000Z", "reason": "signal", "detail": "signal=SIGSEGV", "uptime_ms": 3 });
    let app = json!({ "id": "com.example.a", "version": "1.0.0", "system": false, "state": "running", "uid": 10_000, "pid": 7,
        "memory_bytes": 4096, "restarts": 0, "jit": false, "last_exit": exit });
    let crash = json!({ "app": "com.example.a", "system": false, "time": "T", "reason": "signal", "detail": "signal=SIGSEGV",
        "uptime_ms": 3, "count": 1 });
    let event = json!({ "number": 1, "time": "T", "kind": "denied", "app": "com.example.a", "interface": "", "detail": "call=bpf count=3",
        "suppressed": 0 });
    let line = json!({ "time": "T", "stream": "stdout", "text": "beat\u{1b}[2J" });
    let grant = json!({ "app": "os.gabion.devport", "interface": "os.gabion.Apps", "methods": ["List"], "connections": 0 });
    let rule = json!({ "direction": "listen", "port": 80, "protocol": "tcp", "attempts": 1, "packets": 2, "bytes": 3 });
    let update = json!({ "target": "os", "running_version": "1.0", "state": "none" });
    match method {
        "os.gabion.Apps.List" => json!({ "apps": [app] }),
        "os.gabion.Apps.GetLog" => json!({ "lines": [line, line], "dropped": 0 }),
        "os.gabion.Audit.List" => json!({ "events": [event], "lost": 0 }),
        "os.gabion.Crashes.List" => {
            json!({ "apps": [{ "app": "com.example.a", "count": 1, "last": crash }] })
        }
        "os.gabion.Bus.List" => json!({ "grants": [grant] }),
        "os.gabion.Bus.Why" => json!({ "allowed": false, "because": "no line" }),
        "os.gabion.Bus.Monitor" => {
            json!({ "skipped": 0, "call": { "time": "T", "app": "a", "interface": "i", "method": "m", "serial": 1,
            "refused": false } })
        }
        "os.gabion.Network.GetStatus" => json!({ "reach": "online", "name_servers": ["192.0.2.1"] }),
        "os.gabion.Network.ListInterfaces" => json!({ "interfaces": [] }),
        "os.gabion.Network.ListRules" => json!({ "rules": [rule] }),
        "os.gabion.Network.WhyConnect" => json!({ "allowed": true, "because": "a line" }),
        "os.gabion.Time.GetStatus" => {
            json!({ "realtime_us": 1, "monotonic_us": 1, "source": "none", "synchronised": false,
            "authenticated": false })
        }
        "os.gabion.Update.GetStatus" | "os.gabion.Update.CheckNow" => json!({ "updates": [update] }),
        "os.gabion.Update.Defer" => json!({ "until_us": 1 }),
        "os.gabion.Update.Watch" => json!({ "target": "os", "event": "pending" }),
        "os.gabion.Device.GetInfo" => {
            json!({ "os": "Gabion", "os_version": "1.0", "board": "b", "architecture": "x86_64", "kernel": "6.12",
            "boot_id": "0", "uptime_us": 1, "mode": "normal", "developer": true, "memory_bytes": 1 })
        }
        "org.varlink.service.GetInterfaceDescription" => {
            json!({ "description": "interface os.gabion.Apps\n" })
        }
        _ => json!({}),
    }
}

fn answer(message: &[u8]) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&message[..message.len() - 1]).unwrap();
    let method = asked["method"].as_str().unwrap();
    let answered = match method {
        "os.gabion.Apps.Stop" => json!({ "error": "os.gabion.Apps.AppNotFound", "parameters": {} }),
        "os.gabion.Power.Reboot" => {
            json!({ "error": "org.varlink.service.PermissionDenied", "parameters": { "method": method, "manifest_line": "line" } })
        }
        _ => json!({ "parameters": reply(method) }),
    };
    let mut bytes = answered.to_string().into_bytes();
    bytes.push(0);
    bytes
}

fn serve(mut host: UnixStream) {
    let (mut frames, mut message, mut buffer) = (Frames::default(), Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = host.read(&mut buffer) {
        let mut out = Vec::new();
        frames.take(&buffer[..length], |frame| match frame {
            Frame::Open(token, "os.gabion.None") => Frame::Refused(token, "there is none").encode(&mut out),
            Frame::Open(token, _) => Frame::Opened(token).encode(&mut out),
            Frame::Data(bytes) => {
                message.extend(bytes);
                if message.ends_with(b"\0") {
                    Frame::Data(&answer(&message)).encode(&mut out);
                    message.clear();
                }
            }
            _ => {}
        });
        if host.write_all(&out).is_err() {
            return;
        }
    }
}

/// A device that answers whoever comes, in a folder with an app.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(place.path().join("device.sock")).unwrap();
    std::thread::spawn(move || {
        listener.incoming().flatten().for_each(|host| drop(std::thread::spawn(|| serve(host))))
    });
    let app = place.path().join("app");
    fs::create_dir_all(app.join("root/bin")).unwrap();
    fs::write(app.join("root/bin/a"), "a").unwrap();
    let manifest = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";
    fs::write(app.join("manifest.toml"), manifest).unwrap();
    fs::write(place.path().join("bad.toml"), "[app]\nid = 5\n").unwrap();
    place
}

fn gabion(place: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gabion"))
        .args(arguments)
        .current_dir(place)
        .env("GABION_DEVICE", place.join("device.sock"))
        .env("XDG_CONFIG_HOME", place)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The code, and the fields that programs may count on.
type Answer = (&'static [&'static str], i32, &'static [&'static str]);

const ANSWERS: [Answer; 29] = [
    (&["ps"], 0, &["/apps/0/id", "/apps/0/state", "/apps/0/memory_bytes", "/apps/0/restarts"]),
    (
        &["why", "com.example.a"],
        0,
        &[
            "/app",
            "/refused/0/what",
            "/refused/0/last",
            "/refused/0/count",
            "/last_crash/detail",
            "/events_lost",
        ],
    ),
    (&["start", "com.example.a"], 0, &["/app", "/done"]),
    (&["net", "status"], 0, &["/reach", "/name_servers", "/interfaces"]),
    (&["net", "rules", "com.example.a"], 0, &["/rules/0/direction", "/rules/0/port"]),
    (&["net", "why", "com.example.a", "a.example:1"], 0, &["/allowed", "/because"]),
    (
        &["net", "why", "--manifest", "app", "a.example:1"],
        1,
        &["/allowed", "/because", "/obstacle", "/manifest_line"],
    ),
    (&["net", "configure", "app/root/bin/a"], 0, &["/done"]),
    (&["time"], 0, &["/source", "/synchronised"]),
    (&["bus", "list"], 0, &["/grants/0/app", "/grants/0/methods"]),
    (&["bus", "interfaces"], 0, &["/interfaces/0/interface", "/interfaces/0/methods/0"]),
    (&["bus", "describe", "os.gabion.Apps"], 0, &["/interface", "/description"]),
    (&["bus", "call", "os.gabion.Apps.List"], 0, &["/apps/0/id"]),
    (&["bus", "why", "a", "os.gabion.Power", "Reboot"], 1, &["/allowed", "/because"]),
    (&["bus", "monitor"], 0, &["/call/app", "/call/method", "/skipped"]),
    (&["update", "status"], 0, &["/updates/0/state", "/updates/0/running_version"]),
    (&["update", "check"], 0, &["/updates/0/target"]),
    (&["update", "defer", "os", "5"], 0, &["/until_us"]),
    (&["update", "resume", "os"], 0, &["/done"]),
    (&["update", "watch"], 0, &["/target", "/event"]),
    (&["update", "rollback"], 0, &["/done"]),
    (&["check", "app"], 0, &["/file", "/good", "/problems"]),
    (
        &["check", "bad.toml"],
        1,
        &[
            "/good",
            "/problems/0/line",
            "/problems/0/column",
            "/problems/0/key",
            "/problems/0/message",
            "/problems/0/help",
        ],
    ),
    (&["explain", "app", "open", "/x"], 0, &["/allowed", "/because"]),
    (&["policy", "diff", "app", "app"], 0, &["/gains", "/losses", "/changes"]),
    (&["new", "--lang", "c", "hello"], 0, &["/app", "/id", "/test"]),
    (&["schema"], 0, &["/properties/app"]),
    (&["man", "man"], 0, &["/directory", "/pages"]),
    (&["exit-codes"], 0, &["/0/exit", "/0/code", "/0/meaning"]),
];

#[test]
fn every_answer_is_one_json_value_with_the_fields_that_were_given_out() {
    let place = place();
    for (arguments, code, fields) in ANSWERS {
        let done = gabion(place.path(), &[arguments, &["--json"]].concat());
        let err = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {err}");
        let value: Value = serde_json::from_slice(&done.stdout).unwrap();
        for field in fields {
            assert!(value.pointer(field).is_some(), "{arguments:?}: no {field} in {value:#}");
        }
        assert!(err.is_empty(), "{arguments:?}: {err}");
    }
    // What goes on is a value a line, and what a package is made of takes tools.
    let logs = gabion(place.path(), &["--json", "logs", "com.example.a"]).stdout;
    let lines: Vec<Value> =
        String::from_utf8(logs).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), lines[0]["text"].as_str()), (2, Some("beat\u{1b}[2J")));
    let built: Value =
        serde_json::from_slice(&gabion(place.path(), &["build", "app", "--json"]).stdout).unwrap();
    assert!(
        built["package"].is_string() && built["root_hash"].is_string() && built["signed"] == false,
        "{built}"
    );
    let package = built["package"].as_str().unwrap();
    let opened: Value =
        serde_json::from_slice(&gabion(place.path(), &["check", package, "--json"]).stdout).unwrap();
    assert_eq!((&opened["root_hash"], &opened["app"]), (&built["root_hash"], &json!("com.example.a")));
    let doctor: Value = serde_json::from_slice(&gabion(place.path(), &["doctor", "--json"]).stdout).unwrap();
    let device =
        doctor["findings"].as_array().unwrap().iter().find(|finding| finding["about"] == "device").unwrap();
    assert_eq!((&device["state"], &device["said"]), (&json!("ok"), &json!("Gabion 1.0 on b, Linux 6.12")));
    // For people the same is text, in which nothing reaches the terminal that a device or an app sent.
    for (arguments, ..) in ANSWERS.iter().filter(|(arguments, ..)| arguments[0] != "new") {
        let said = gabion(place.path(), arguments).stdout;
        assert!(!said.contains(&0x1b), "{arguments:?}");
    }
    assert!(!gabion(place.path(), &["logs", "com.example.a"]).stdout.contains(&0x1b));
}

#[test]
fn every_error_is_one_line_of_json_with_its_code() {
    let place = place();
    let errors: [(&[&str], i32, &str); 12] = [
        (&["policy", "diff", "bad.toml", "app"], 1, "no"),
        (&["explain", "bad.toml", "open", "/x"], 1, "no"),
        (&["nothing"], 2, "usage"),
        (&["ps", "--colour"], 2, "usage"),
        (&["wipe", "com.example.a"], 2, "usage"),
        (&["new", "app"], 2, "usage"),
        (&["bus", "call", "os.gabion.Apps.List", "[]"], 2, "usage"),
        (&["ps", "--device", "none.sock"], 3, "unreachable"),
        (&["bus", "call", "os.gabion.Power.Reboot"], 4, "refused"),
        (&["device", "list", "acme"], 4, "refused"),
        (&["stop", "com.example.a"], 5, "not-found"),
        (&["check", "none.toml"], 5, "not-found"),
    ];
    for (arguments, exit, code) in errors {
        let done = gabion(place.path(), &[arguments, &["--json"]].concat());
        let err = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{arguments:?}: {err}");
        let said: Value = serde_json::from_str(&err).unwrap();
        let error = &said["error"];
        assert_eq!((&error["exit"], &error["code"]), (&json!(exit), &json!(code)), "{arguments:?}: {err}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{arguments:?}: {err}");
        assert!(done.stdout.is_empty(), "{arguments:?}");
    }
    let done = gabion(place.path(), &["--json", "explain", "bad.toml", "open", "/x"]);
    let said: Value = serde_json::from_slice(&done.stderr).unwrap();
    let problems = said["error"]["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["line"] == 2 && problem["key"] == "app.id"), "{said}");
}

#[test]
fn completions_and_manual_pages_are_good() {
    let place = place();
    for (shell, check) in
        [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])]
    {
        let script = gabion(place.path(), &["completions", shell]).stdout;
        assert!(String::from_utf8_lossy(&script).contains("doctor"), "{shell}");
        let path = place.path().join(shell);
        fs::write(&path, script).unwrap();
        match Command::new(check[0]).arg(check[1]).arg(&path).output() {
            Ok(done) => assert!(done.status.success(), "{shell}: {}", String::from_utf8_lossy(&done.stderr)),
            // Only one of them is everywhere.
            Err(_) => assert_ne!(shell, "bash"),
        }
    }
    let pages = place.path().join("man");
    assert!(gabion(place.path(), &["man", "man"]).status.success());
    let mut count = 0;
    for page in fs::read_dir(&pages).unwrap() {
        let path = page.unwrap().path();
        let groff =
            Command::new("groff").args(["-man", "-ww", "-Tutf8", "-Kutf8"]).arg(&path).output().unwrap();
        let (text, err) = (fs::read_to_string(&path).unwrap(), String::from_utf8_lossy(&groff.stderr));
        assert!(groff.status.success() && err.is_empty(), "{}: {err}", path.display());
        assert!(text.contains("\n.SH NAME\n") && text.contains("\n.SH SYNOPSIS\n"), "{}", path.display());
        count += 1;
    }
    assert!(count > 100, "only {count}");
    assert!(pages.join("gabion-policy-diff.1").exists());
}
