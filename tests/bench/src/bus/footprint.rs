//! The router's own memory: idle, and what a connection adds.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

use super::scene::{Scene, start};
use crate::stat::bar;

/// Connections that are opened, over all callers' boxes.
const CONNECTIONS: usize = 1000;

/// Measures and reports.
pub(super) fn run(scene: &mut Scene) -> Result<()> {
    // A router that has done nothing yet.
    scene.router.kill()?;
    let idle = pss_kib(scene.router.pid())?;
    let each = (CONNECTIONS / scene.callers.len()).to_string();
    let held = scene.callers.iter().map(|caller| start(caller, &["bus-hold", &each]));
    let held = held.collect::<Result<Vec<_>>>()?;
    let full = pss_kib(scene.router.pid())?;
    println!(
        "bus: the router's PSS in KiB: idle {idle}, with {CONNECTIONS} connections of {} boxes {full}",
        held.len()
    );
    bar("busd_pss_kib", idle, 1024.0);
    bar("busd_bytes_per_connection", (full - idle) * 1024.0 / CONNECTIONS as f64, 4096.0);
    Ok(())
}

fn pss_kib(pid: Pid) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    Ok(line.split_whitespace().next().context("Pss")?.parse()?)
}
