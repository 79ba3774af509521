//! How long an app is down when it is updated, beyond the time that it takes to stop: from its last word to the first of what
//! comes after, by the device's own clock. A stand-in speaks for updated, so that nothing but sandboxd is measured.

use anyhow::{Context, Result};
use device_test::{App, Bench, Device};

use crate::stat::{Samples, bar};

const ID: &str = "org.test.a";
const NEXT: &str = "org.test.next";
const PLACE: &str = "/data/apps/os.gabion.update";
/// Its shell is started within what is measured.
const SCRIPT: &str =
    "echo began $EPOCHREALTIME; trap 'echo ended $EPOCHREALTIME; exit 0' TERM; sleep 1000 & wait";

/// Measures and reports.
pub(super) fn run(rounds: usize) -> Result<()> {
    println!("update: an app that is updated on a device");
    let bench = Bench::new("downtime").stand_in().app(app("1.0.0", ID)).app(app("1.0.1", NEXT));
    let mut device = bench.boot()?;
    device.wait_for("gabion: ready");
    for (file, kind) in [("root.img", "img"), ("root.verity", "verity"), ("manifest.toml", "toml")] {
        device.agent(&format!("copy /apps/{NEXT}/{file} {PLACE}/next.{kind}"));
    }
    let mut down = Samples::default();
    for _ in 0..rounds {
        let mark = device.console().mark();
        // The same version may be installed again.
        device.agent(&format!("write {PLACE}/word apps:1:{ID}@1.0.1@next"));
        let began = device.wait_after(mark, &format!("[{ID}] began "));
        device.wait_after(mark, "updater: heard Settled(None)");
        down.push((word(&began)? - ended(&device, mark)?) * 1e6);
    }
    device.power_button();
    down.print("down while it is updated, beyond its stop");
    bar("update_app_downtime_vs_stop_ms", down.median() / 1000.0, 100.0);
    Ok(())
}

fn ended(device: &Device, mark: usize) -> Result<f64> {
    let lines = device.console().lines(mark, &format!("[{ID}] ended "));
    word(lines.last().context("the old one has not said when it ended")?)
}

/// The last word of a line, a number of seconds.
fn word(line: &str) -> Result<f64> {
    Ok(line.trim().rsplit(' ').next().unwrap_or_default().parse()?)
}

fn app(version: &str, directory: &str) -> App {
    let manifest = format!(
        "[app]\nid = \"{ID}\"\nversion = \"{version}\"\nexec = [\"/bin/sh\", \"/bin/run\"]\n\
         [resources]\nmemory = \"16MiB\"\ncpu = \"100%\"\ntasks = 8\nstorage = \"4MiB\"\n[lifecycle]\nrestart = \"always\"\n"
    );
    App::shell(ID, SCRIPT).manifest(&manifest).directory(directory).image()
}
