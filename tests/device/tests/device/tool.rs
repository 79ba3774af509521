//! `gabion` on the machine beside a developer's device.

use device_test::{Device, PATIENCE};
use serde_json::Value;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What `gabion` ended with: its exit code, output and errors.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs it for this device.
pub(crate) fn gabion(device: &Device, arguments: &[&str]) -> Ran {
    let done = device.gabion(arguments).unwrap().stdin(Stdio::null()).output().unwrap();
    Ran {
        code: done.status.code(),
        out: String::from_utf8(done.stdout).unwrap(),
        err: String::from_utf8(done.stderr).unwrap(),
    }
}

/// It did what it was told; what it said.
#[track_caller]
pub(crate) fn done(device: &Device, arguments: &[&str]) -> String {
    let ran = gabion(device, arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}{}", ran.out, ran.err);
    ran.out
}

/// The same, as JSON.
#[track_caller]
pub(crate) fn called(device: &Device, arguments: &[&str]) -> Value {
    serde_json::from_str(&done(device, arguments)).unwrap()
}

/// It ended with a no, and said all of this; of the codes of docs/cli.md each but "not reached" and "failed" is one.
#[track_caller]
pub(crate) fn refused(device: &Device, arguments: &[&str], said: &[&str]) {
    let ran = gabion(device, arguments);
    assert!(matches!(ran.code, Some(1 | 2 | 4 | 5)), "{arguments:?}: {:?} {}{}", ran.code, ran.out, ran.err);
    for text in said {
        assert!(ran.err.contains(text), "{arguments:?}: `{text}` is not in {}", ran.err);
    }
}

/// Asks again until it says this, whatever it ends with.
#[track_caller]
pub(crate) fn until(device: &Device, arguments: &[&str], said: impl Fn(&str) -> bool) -> String {
    until_in(PATIENCE, device, arguments, said)
}

/// The same, with this patience.
#[track_caller]
pub(crate) fn until_in(
    patience: Duration,
    device: &Device,
    arguments: &[&str],
    said: impl Fn(&str) -> bool,
) -> String {
    let deadline = Instant::now() + patience;
    loop {
        let Ran { out, err, .. } = gabion(device, arguments);
        if said(&out) {
            return out;
        }
        assert!(Instant::now() < deadline, "{arguments:?}: {out}{err}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
