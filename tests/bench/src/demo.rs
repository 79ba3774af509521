//! `make run` as a newcomer types it the second time: until the table of boxes, and in the memory that is promised.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use image::assemble::{self, Audience};
use image::paths::Tree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stat::bar;

const TABLE_S: f64 = 30.0;
const MEMORY_MIB: f64 = 96.0;

/// Measures and reports.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::here()?;
    // The first time builds.
    assemble::demo(&tree, Audience::Developers)?;
    println!("demo: make run, the second time, until the table of boxes");
    let begin = Instant::now();
    let mut make = Command::new("make");
    make.current_dir(&tree.root).arg("run").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut make = make.spawn().context("make")?;
    let console = BufReader::new(make.stdout.take().context("stdout")?);
    let mut ready = None;
    for line in console.lines() {
        let line = line?;
        if line.contains("gabion: ready ") {
            ready = Some((begin.elapsed().as_secs_f64(), line));
            // `make` hands it on to the program, which switches the device off.
            kill(Pid::from_raw(i32::try_from(make.id())?), Signal::SIGTERM)?;
        }
    }
    make.wait()?;
    let Some((seconds, line)) = ready else { bail!("the demo did not come up: run `make run`") };
    println!("  {line}");
    bar("run_to_table_s", seconds, TABLE_S);
    // Its QEMU has no more (`image/src/qemu.rs`), and the line above says that everything runs.
    bar("demo_memory_mib", MEMORY_MIB, MEMORY_MIB);
    Ok(())
}
