//! Part `memory`: proportional set size of `init` and `sandboxd` on a booted device, and what a box adds to them.
//!
//! Read by the test agent from `/proc/PID/smaps_rollup` once the device has settled. What a box costs is the growth
//! of both per further app, from two devices that differ in nothing but the number of apps.

use std::fmt::{self, Display, Formatter};

use anyhow::{Context, Result, ensure};
use device_test::{App, Bench, Device};

use crate::stat::bar;

const FEW: usize = 1;
const MANY: usize = 9;
const IDLE: &str = "echo up; while true; do sleep 1000; done";

/// Measures and reports.
pub(crate) fn run() -> Result<()> {
    println!("memory: PSS in KiB with {FEW} and with {MANY} apps");
    let few = measure(FEW)?;
    let many = measure(MANY)?;
    for (apps, pss) in [(FEW, &few), (MANY, &many)] {
        println!("  {apps} apps: init {}, sandboxd {}", pss.init, pss.sandboxd);
    }
    bar("init_pss_kib", many.init.all, 1024.0);
    bar("init_and_sandboxd_pss_kib", many.sum(), 4096.0);
    bar("box_pss_kib", (many.sum() - few.sum()) / (MANY - FEW) as f64, 100.0);
    Ok(())
}

struct Pss {
    init: Process,
    sandboxd: Process,
}

/// KiB.
struct Process {
    all: f64,
    anonymous: f64,
    file: f64,
}

impl Display for Process {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} ({:.0} anonymous, {:.0} of files)", self.all, self.anonymous, self.file)
    }
}

impl Pss {
    fn sum(&self) -> f64 {
        self.init.all + self.sandboxd.all
    }
}

fn measure(apps: usize) -> Result<Pss> {
    let mut bench = Bench::new(&format!("memory-{apps}"));
    for n in 0..apps {
        bench = bench.app(App::shell(&format!("org.bench.idle{n}"), IDLE));
    }
    let mut device = bench.boot()?;
    let ready = device.wait_for("gabion: ready");
    ensure!(ready.contains(&format!("running={apps}")), "not every app runs: {ready}");
    let manager = *device.pids(0, "sandboxd").first().context("no sandboxd")?;
    let pss = Pss { init: pss(&mut device, 1)?, sandboxd: pss(&mut device, manager)? };
    device.power_button();
    Ok(pss)
}

fn pss(device: &mut Device, pid: u32) -> Result<Process> {
    let text = device.ask(&format!("cat /proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> Result<f64> {
        let line = text.iter().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        Ok(line.split_whitespace().next().context("Pss")?.parse()?)
    };
    Ok(Process { all: field("Pss:")?, anonymous: field("Pss_Anon:")?, file: field("Pss_File:")? })
}
