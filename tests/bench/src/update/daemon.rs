//! What `updated` has of memory on a device: while it fetches and applies another system and an app, and when it waits. On the
//! reference board, with a real Security Service over TLS.

use anyhow::{Context, Result, ensure};
use device_test::site::releases::Releases;
use device_test::site::service::Security;
use device_test::{App, Bench, Device, PATIENCE};
use std::thread::sleep;
use std::time::Duration;

use crate::identity_device::{claim, groups, site};
use crate::stat::bar;

/// Longest wait for what takes the firmware, or an image over an emulated link.
const PASS: Duration = Duration::from_secs(4 * PATIENCE.as_secs());
/// It is looked at so often; the most that the kernel remembers of it is printed besides.
const LOOK: Duration = Duration::from_millis(50);
/// What is freed after the last word is freed by then.
const REST: Duration = Duration::from_secs(10);
const SETTINGS: &str =
    "product = \"meter\"\ncatalog = \"acme\"\ncheck_s = 3600\nhealth_s = 600\ntrial_s = 5\n";
const ID: &str = "org.bench.work";

/// Measures and reports.
pub(super) fn run() -> Result<()> {
    println!("update: updated on a device that renews its system, and an app");
    let site = site()?;
    let security = Security::start(&site, &[])?;
    groups(&security)?;
    let releases = Releases::begin(&security)?;
    let bench = Bench::new("bench-updated").board().resets().memory_mib(192).beside(&site);
    let bench = bench.service(&security.settings()?).updates(SETTINGS, &releases.root()?);
    let mut device = bench.app(app("1.0.0")).boot()?;
    let (bootable, system) = device.release()?;
    releases.system(&bootable, &system, 0)?;
    claim(&security, &device)?;
    device.wait_for("event attest: attested ");
    let (bootable, system) = device.next_release("0.2.0", 0)?;
    let target = releases.system(&bootable, &system, 0)?;
    releases.deploy(&[&target])?;
    let mut most = most_until(&mut device, "event update-armed version=0.2.0")?;
    device.wait_count(0, "event update-good version=0.2.0", 1, PASS);
    sleep(REST);
    let mut idle = pss_kib(&mut device)?;

    let place = tempfile::tempdir()?;
    releases.app(&app("1.1.0").packed(place.path())?)?;
    releases.deploy(&[&format!("apps/acme/{ID}/1.1.0.json")])?;
    most = most.max(most_until(&mut device, "event update: updated app=org.bench.work version=1.1.0")?);
    sleep(REST);
    idle = idle.max(pss_kib(&mut device)?);
    device.power_button();
    bar("update_updated_applying_pss_kib", most, 16.0 * 1024.0);
    bar("update_updated_idle_pss_kib", idle, 3.0 * 1024.0);
    Ok(())
}

/// The most that is seen of it until the device says this.
fn most_until(device: &mut Device, line: &str) -> Result<f64> {
    let (mut most, mut peak) = (0.0_f64, String::new());
    while device.console().lines(0, line).is_empty() {
        // It may have ended with the device, which is about to start what it fetched.
        if let Ok(now) = pss_kib(device) {
            most = most.max(now);
        }
        if let Ok(text) = about(device, "status") {
            peak = text.into_iter().find(|line| line.starts_with("VmHWM:")).unwrap_or(peak);
        }
        sleep(LOOK);
    }
    ensure!(most > 0.0, "updated was never seen");
    println!("  at most {most} KiB were seen; files that others map too: {}", peak.replace('\t', " "));
    Ok(most)
}

fn pss_kib(device: &mut Device) -> Result<f64> {
    let text = about(device, "smaps_rollup")?;
    let pss = text.iter().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(pss.split_whitespace().next().context("Pss")?.parse()?)
}

/// A file of its in `/proc`.
fn about(device: &mut Device, file: &str) -> Result<Vec<String>> {
    let all = device.ask("ps")?;
    let updated = all.iter().find(|line| line.ends_with(" updated")).context("no updated")?;
    let pid = updated.split(' ').next().context("a pid")?;
    device.ask(&format!("cat /proc/{pid}/{file}"))
}

fn app(version: &'static str) -> App {
    App::shell(ID, "exec sleep 100000")
        .resources("memory = \"8MiB\"\ncpu = \"50%\"\ntasks = 8\nstorage = \"1MiB\"\n")
        .version(version)
        .image()
}
