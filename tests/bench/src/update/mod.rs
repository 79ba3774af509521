//! What an update costs: bytes, memory and time, for two root images that differ by one rebuilt daemon.
//!
//! The second image is built from a copy of the tree with a change in `netd` (`pair`), which takes as long as a build the first time.
//! Bytes are everything a device downloads, the index included. What others download for the same pair is counted from their
//! own tools' output (`others`). Applying is measured in a process of its own, streaming the body from a file; in turn with it
//! `dd` writes the same image to the same place and syncs it. None of that needs root or a boot; how long an app is
//! down when it is updated does (`downtime`), and what `updated` itself has of memory on a device (`daemon`). Last, the Security Service with a fleet that waits for updates and fetches one
//! (`load`).

mod apply;
mod daemon;
mod downtime;
mod load;
mod others;
mod pair;

use anyhow::{Context, Result, ensure};
use image::command::{output, tool};
use image::paths::Tree;
use image::payload;
use std::fs;
use std::path::Path;
use std::time::Instant;

pub(crate) use apply::child;

use crate::stat::{Samples, bar};

/// Measures and reports.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let tree = Tree::here()?;
    println!("update: the root image after one daemon was rebuilt");
    let pair = pair::build(&tree)?;
    let dir = pair.scratch.as_path();
    let floor = others::floor(&pair, dir)?;
    let (index, body) = payload::make(Some(&pair.old), &pair.new, &dir.join("patch"))?;
    let ours = length(&index)? + length(&body)?;
    let (full_index, full_body) = payload::make(None, &pair.new, &dir.join("full"))?;
    println!(
        "  patch {ours} B, index {} B of it; full {} B and its index {} B",
        length(&index)?,
        length(&full_body)?,
        length(&full_index)?
    );
    println!("  the best patch for each file that changed, together {floor} B");
    bar("delta_vs_floor", ours as f64 / floor as f64, 1.5);
    let others = [
        ("delta_vs_casync", "casync", others::casync(&pair, dir)?),
        ("delta_vs_zchunk", "zchunk", others::zchunk(&pair, dir)?),
        ("delta_vs_rauc", "RAUC's index, its blocks packed by zstd", others::rauc(&pair)?),
    ];
    for (name, what, bytes) in others {
        println!("  {what} {bytes} B");
        bar(name, ours as f64 / bytes as f64, 0.35);
    }
    applying(&pair, &index, &body, rounds)?;
    downtime::run(rounds)?;
    daemon::run()?;
    load::run()
}

fn applying(pair: &pair::Pair, index: &Path, body: &Path, rounds: usize) -> Result<()> {
    let slot = pair.scratch.join("slot");
    let (mut ours, mut theirs, mut most) = (Samples::default(), Samples::default(), 0_u64);
    for _ in 0..rounds {
        let _ = fs::remove_file(&slot);
        let program = std::env::current_exe()?;
        let said = output(tool(&program.to_string_lossy()).arg("--apply").args([
            index,
            body,
            pair.old.as_path(),
            slot.as_path(),
        ]))?;
        let (us, kib) = said.trim().split_once(' ').context("the applying process printed no figures")?;
        ours.push(us.parse()?);
        most = most.max(kib.parse()?);
        ensure!(fs::read(&slot)? == fs::read(&pair.new)?, "another image was made");
        fs::remove_file(&slot)?;
        let began = Instant::now();
        let (from, to) = (format!("if={}", pair.new.display()), format!("of={}", slot.display()));
        output(tool("dd").args([&from, &to, "bs=1M", "conv=fsync", "status=none"]))?;
        theirs.push(began.elapsed().as_secs_f64() * 1e6);
    }
    ours.print("applying the patch, synced");
    theirs.print("dd of the image, synced");
    bar("delta_apply_memory", most as f64 / 1024.0, 16.0);
    bar("delta_apply_vs_dd", ours.ratio(&theirs), 2.0);
    Ok(())
}

fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
}
