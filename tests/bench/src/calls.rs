//! Part `box`: what the filter costs a system call on the device.
//!
//! A box with its filter and one without, which only the weak build for tests can make, on one device with its own kernel,
//! each timing a call that does nothing, in turn. Both are recorded (`docs/decisions/0013`), which every box is: a filter is
//! asked on the way that the record takes anyway.

use anyhow::{Context, Result};
use device_test::{App, Bench, PATIENCE};

use crate::stat::{Samples, bar_of_ratio};

const MANIFEST: &str = "memory = \"8MiB\"\ncpu = \"100%\"\ntasks = 2\n";

/// Measures and reports.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let timer = |id| App::probe(id, &["calls"]).resources(MANIFEST);
    let device = Bench::new("bench-calls")
        .weak()
        .app(timer("org.bench.filtered"))
        .app(timer("org.bench.free").lacking(&["seccomp"]))
        .boot()?;
    println!("calls: getppid in a box with and without its filter, on the device, {rounds} rounds in turn");
    let of = |id: &str| -> Result<Samples> {
        let said = format!("[{id}] calls: ");
        device.wait_count(0, &said, rounds, PATIENCE);
        let mut samples = Samples::default();
        for line in device.console().lines(0, &said).into_iter().take(rounds) {
            let ns = line.rsplit_once("calls: ").and_then(|(_, ns)| ns.strip_suffix(" ns"));
            samples.push(ns.context("no time")?.parse::<f64>()? / 1000.0);
        }
        Ok(samples)
    };
    let (filtered, free) = (of("org.bench.filtered")?, of("org.bench.free")?);
    filtered.print("with the filter");
    free.print("without");
    bar_of_ratio("filter_vs_none_on_the_device", &filtered, &free, 1.10);
    Ok(())
}
