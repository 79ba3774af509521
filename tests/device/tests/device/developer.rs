//! A developer's device, with `gabion bus` on the host; and a production image, which lets nobody in.

use crate::tool::{called, done, gabion, refused};
use device_test::{App, Bench, Device};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// A `gabion` that goes on, read line by line.
struct Stream {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    fn start(device: &Device, arguments: &[&str]) -> Self {
        let mut child = device.gabion(arguments).unwrap().stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads until a line has `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let line = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(text));
        line.unwrap_or_else(|| panic!("the stream ended without {text}"))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn time() -> App {
    App::peer("org.test.every", &["every", "os.gabion.Time", "GetStatus", "{}"])
        .tables("[uses]\n\"os.gabion.Time\" = [\"GetStatus\"]\n")
}

#[test]
fn developer_sees_and_moves_the_device_from_the_host() {
    let device = Bench::new("developer").developer().app(crate::heart()).app(time()).boot().unwrap();
    device.wait_for("[org.test.heart] beat 2");

    let list = done(&device, &["bus", "list"]);
    let grant = list.lines().find(|line| line.starts_with("org.test.every ")).unwrap();
    let words: Vec<&str> = grant.split_whitespace().collect();
    assert_eq!(words[..4], ["org.test.every", "os.gabion.Time", "GetStatus", "os.gabion.net"], "{list}");
    let list = called(&device, &["bus", "list", "--json"]);
    assert!(list["grants"].as_array().unwrap().iter().any(|grant| grant["app"] == "os.gabion.devport"));
    assert!(done(&device, &["bus", "interfaces"]).contains("os.gabion.Power"));
    let text = done(&device, &["bus", "describe", "os.gabion.Apps"]);
    assert_eq!(text, bus::interfaces::apps::DESCRIPTION);

    // One after the other, as fast as they go: each finds the port just left by the one before.
    for _ in 0..30 {
        done(&device, &["bus", "call", "os.gabion.Time.GetStatus"]);
    }
    let about = called(&device, &["bus", "call", "os.gabion.Device.GetInfo"]);
    assert_eq!((&about["os"], &about["developer"]), (&Value::from("Gabion"), &Value::from(true)));
    let apps = called(&device, &["bus", "call", "os.gabion.Apps.List"]);
    let state = |apps: &Value, id: &str| {
        let app = apps["apps"].as_array().unwrap().iter().find(|app| app["id"] == id).unwrap().clone();
        app["state"].clone()
    };
    assert_eq!(state(&apps, "org.test.heart"), "running");
    assert_eq!(state(&apps, "os.gabion.devport"), "running");

    let heart = "{\"app\":\"org.test.heart\"}";
    let mark = device.console().mark();
    done(&device, &["bus", "call", "os.gabion.Apps.Stop", heart]);
    device.wait_after(mark, "event exited id=org.test.heart");
    let apps = called(&device, &["bus", "call", "os.gabion.Apps.List"]);
    assert_eq!(state(&apps, "org.test.heart"), "stopped");
    done(&device, &["bus", "call", "os.gabion.Apps.Start", heart]);
    device.wait_after(mark, "[org.test.heart] beat 1");

    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    let words = ["bus", "call", "os.gabion.Apps.ExportLog", heart, "-o", log.to_str().unwrap()];
    let reply = called(&device, &words);
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(reply["size_bytes"], text.len());
    assert!(text.contains(" out beat 1\n") && text.ends_with('\n'), "{text}");

    device.power_button().check_data().unwrap();
}

#[test]
fn developer_streams_go_on_while_others_call_and_end_when_they_end() {
    let mut device =
        Bench::new("developer-streams").developer().app(crate::heart()).app(time()).boot().unwrap();
    device.wait_for("[org.test.heart] beat 2");
    let follow =
        ["bus", "call", "os.gabion.Apps.FollowLog", "{\"app\":\"org.test.heart\",\"lines\":1}", "--more"];
    let mut log = Stream::start(&device, &follow);
    let first: Value = serde_json::from_str(&log.wait_for("beat")).unwrap();
    assert_eq!(first["lines"][0]["stream"], "stdout");
    let mut calls = Stream::start(&device, &["bus", "monitor"]);
    let call = calls.wait_for("org.test.every -> os.gabion.Time.GetStatus");
    assert!(call.contains('#'), "{call}");
    // What is called from here is seen as well, while both streams are open.
    let why = ["bus", "why", "org.test.every", "os.gabion.Time", "GetStatus"];
    let answer = done(&device, &why);
    assert_eq!(answer, "allowed: [uses] \"os.gabion.Time\" = [\"GetStatus\"]\n");
    calls.wait_for("os.gabion.devport -> os.gabion.Bus.Why");
    log.wait_for("beat");
    let connections = |device: &Device, interface: &str| {
        let list = called(device, &["bus", "list", "--json"]);
        let grants = list["grants"].as_array().unwrap().clone();
        let ours = |grant: &&Value| grant["app"] == "os.gabion.devport" && grant["interface"] == interface;
        grants.iter().find(ours).unwrap()["connections"].as_i64().unwrap()
    };
    assert_eq!(connections(&device, "os.gabion.Apps"), 1);
    let monitored = connections(&device, "os.gabion.Bus");
    drop((log, calls));
    // The ends travel to the router and back; each question takes longer than that.
    let gone =
        || connections(&device, "os.gabion.Apps") == 0 && connections(&device, "os.gabion.Bus") < monitored;
    assert!((0..50).any(|_| gone()), "connections of callers that went stay open");

    // All ports at once, and one too many.
    let mut streams: Vec<Stream> = (0..4).map(|_| Stream::start(&device, &follow)).collect();
    streams.iter_mut().for_each(|stream| drop(stream.wait_for("beat")));
    let ran = gabion(&device, &["bus", "list"]);
    assert!(ran.code == Some(3) && ran.err.contains("4 others"), "{}", ran.err);
    streams.pop();
    done(&device, &["bus", "list"]);
    drop(streams);

    // A devport that dies costs its connections, and the next one takes over.
    let mut log = Stream::start(&device, &follow);
    log.wait_for("beat");
    let mark = device.console().mark();
    let pids = device.pids(1007, "devport");
    device.agent(&format!("kill {} SIGKILL", pids[0]));
    device.wait_after(mark, "event started id=os.gabion.devport");
    assert!(matches!(log.child.wait().unwrap().code(), Some(3 | 6)));
    done(&device, &["bus", "list"]);
    device.power_button().check_data().unwrap();
}

#[test]
fn developer_is_told_what_was_wrong_and_what_would_grant_it() {
    let device = Bench::new("developer-errors").developer().app(time()).boot().unwrap();
    device.wait_for("event started id=os.gabion.devport");
    let call = |method: &'static str| ["bus", "call", method];
    refused(&device, &call("os.gabion.Apps.Lisst"), &["no method \"Lisst\"", "did you mean List?"]);
    refused(&device, &call("os.gabion.App.List"), &["did you mean os.gabion.Apps?"]);
    refused(
        &device,
        &call("os.gabion.Apps.Stop"),
        &["parameter \"app\"", "gabion bus describe os.gabion.Apps"],
    );
    refused(&device, &call("os.gabion.Audit.Follow"), &["--more"]);
    assert!(done(&device, &call("os.gabion.Update.GetStatus")).contains("\"updates\""));
    let no_app = ["bus", "call", "os.gabion.Apps.Stop", "{\"app\":\"org.test.nobody\"}"];
    refused(&device, &no_app, &["os.gabion.Apps.AppNotFound", "There is no app with this id"]);
    let ran = gabion(&device, &["bus", "why", "org.test.every", "os.gabion.Power", "Reboot"]);
    assert_eq!(
        (ran.code, ran.out.contains("[uses] \"os.gabion.Power\" = [\"Reboot\"]")),
        (Some(1), true),
        "{}",
        ran.out
    );
    let ran = gabion(&device, &["bus", "call", "os.gabion.Apps.List", "[1]"]);
    assert!(ran.code == Some(2) && ran.err.contains("no JSON object"), "{}", ran.err);
    // What was done from here is on record under the port's own name.
    let audit = called(&device, &["bus", "call", "os.gabion.Audit.List", "{\"newest\":100}"]);
    let ours = |event: &Value| event["app"] == "os.gabion.devport" && event["kind"] == "opened";
    assert!(audit["events"].as_array().unwrap().iter().any(ours), "{audit}");
    let mark = device.console().mark();
    done(&device, &["bus", "call", "os.gabion.Power.PowerOff", "{\"reason\":\"enough\"}"]);
    device.wait_after(mark, "event power-off reason=\"os.gabion.devport: enough\"");
    device.ended().check_data().unwrap();
}

/// Each of the two locks by itself: without the word the box can not watch; without the box there is nobody to ask.
#[test]
fn production_image_has_no_port_and_without_the_word_nobody_watches() {
    let words = "GABION_DEVELOPER=0";
    let device = Bench::new("developer-word").developer().words(words).app(time()).boot().unwrap();
    device.wait_for("event started id=os.gabion.devport");
    assert_eq!(called(&device, &["bus", "call", "os.gabion.Device.GetInfo"])["developer"], false);
    refused(&device, &["bus", "monitor"], &["os.gabion.Bus.DeveloperModeOnly"]);
    drop(device);

    let mut device = Bench::new("production").developer_port().app(time()).boot().unwrap();
    device.wait_for("[org.test.every] peer: Ok(");
    device.wait_for("gabion: ready");
    assert!(device.agent("cat /proc/cmdline").iter().all(|line| !line.contains("GABION_DEVELOPER")));
    assert!(!device.agent("ls /usr/share/gabion/system").iter().any(|name| name.contains("devport")));
    assert!(device.agent("ls /dev").iter().any(|name| name == "vport0p1"), "the machine has the port");
    let ran = gabion(&device, &["bus", "list", "--timeout", "5"]);
    assert!(ran.code == Some(3) && ran.err.contains("does not answer"), "{}", ran.err);
    assert!(device.console().lines(0, "devport").is_empty());
    device.power_button().check_data().unwrap();
}
