//! How long an app is down when it is updated, beyond the time that it takes to stop: from its last word to the first of what
//! comes after, by the device's own clock. A stand-in speaks for updated, so that nothing but sandboxd is measured. In turn with it
//! the same app ends by itself and is started again by `init`: what a new version costs beyond that is what updating costs.

use anyhow::{Context, Result, bail};
use device_test::{App, Bench, Device};

use crate::stat::{Samples, bar};

const ID: &str = "org.test.a";
/// The first that an app is given.
const UID: u32 = 10_000;
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
    let (mut down, mut again) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let mark = device.console().mark();
        // The same version may be installed again.
        device.agent(&format!("write {PLACE}/word apps:1:{ID}@1.0.1@next"));
        down.push(between(&device, mark)?);
        device.wait_after(mark, "updater: heard Settled(None)");
        let mark = device.console().mark();
        let shells = device.pids(UID, "sh");
        let [shell] = shells[..] else { bail!("{ID} has {} shells", shells.len()) };
        device.agent(&format!("kill {shell} SIGTERM"));
        again.push(between(&device, mark)?);
    }
    device.power_button();
    down.print("down while it is updated, beyond its stop");
    again.print("down while it is started again, as it is");
    bar("update_app_downtime_vs_stop_ms", down.median() / 1000.0, 100.0);
    bar("update_app_downtime_vs_restart", down.ratio(&again), 2.0);
    Ok(())
}

/// From the end of what ran to the beginning of what runs then, µs.
fn between(device: &Device, mark: usize) -> Result<f64> {
    let began = device.wait_after(mark, &format!("[{ID}] began "));
    let lines = device.console().lines(mark, &format!("[{ID}] ended "));
    let ended = lines.last().context("the old one has not said when it ended")?;
    Ok((word(&began)? - word(ended)?) * 1e6)
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
