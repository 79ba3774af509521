//! The router's own memory: idle, and what a connection adds.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::scene::{Scene, start};
use crate::stat::{Samples, bar};

/// Connections that are opened, over all callers' boxes.
const CONNECTIONS: usize = 1000;

/// Routers that are looked at idle. The kernel maps a program's pages by neighbourhoods that begin elsewhere with each
/// load address, so that starts of one program differ by a quarter.
const STARTS: usize = 15;

/// Measures and reports.
pub(super) fn run(scene: &mut Scene) -> Result<()> {
    let mut starts = Samples::default();
    for _ in 0..STARTS {
        // The next one has done nothing yet.
        scene.router.kill()?;
        starts.push(pss_kib(scene.router.pid())?);
    }
    let before = pss_kib(scene.router.pid())?;
    let each = (CONNECTIONS / scene.callers.len()).to_string();
    let held = scene.callers.iter().map(|caller| start(caller, &["bus-hold", &each]));
    let held = held.collect::<Result<Vec<_>>>()?;
    let full = pss_kib(scene.router.pid())?;
    println!(
        "bus: the router's PSS in KiB: idle {} (median of {STARTS} starts, {} .. {}), then {before}, and {full} with \
         {CONNECTIONS} connections of {} boxes",
        starts.median(),
        starts.quantile(0.0),
        starts.quantile(1.0),
        held.len()
    );
    bar("busd_pss_kib", starts.median(), 1024.0);
    bar("busd_bytes_per_connection", (full - before) * 1024.0 / CONNECTIONS as f64, 4096.0);
    Ok(())
}

fn pss_kib(pid: Pid) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.split_whitespace().next().context("Pss")?.parse()?)
}
