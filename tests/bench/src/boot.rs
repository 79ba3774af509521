//! Part `boot`: from the kernel's start to the first app's `main`, in QEMU.
//!
//! Against the same kernel, machine, command line and verified file system format with Debian's static busybox as init,
//! which starts the same static binary unboxed. Each reports the guest's own `CLOCK_MONOTONIC`, which begins with
//! the kernel, so that firmware and loader, the same for both, do not flatter the ratio.
//!
//! What is measured is any boot but the first: the first one also makes `/data` (see its own line).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use image::assemble::{self, Audience, Bootable};
use image::paths::Tree;
use image::qemu::{DATA_BYTES, Machine, blank_disk};
use image::verity::{self, Verified};
use image::{erofs, stage, store};

use crate::programs::Programs;
use crate::stat::{Samples, bar_of_ratio};

const UUID: &str = "67616269-6f6e-4000-8000-62656e636800";
/// All of a processor: with the default fifth of one, an app on an emulated machine waits out the rest of several periods
/// before its `main`, which says how much its manifest allows it and not how long the system takes.
const MANIFEST: &str = "[app]\nid = \"org.gabion.bench\"\nversion = \"1.0.0\"\nexec = [\"/bin/app\", \"text\"]\n\
                        [resources]\ncpu = \"100%\"\nstorage = \"1MiB\"\n";
const OFF: Duration = Duration::from_secs(30);

/// Measures and reports.
pub(crate) fn run(dir: &Path, programs: &Programs, rounds: usize) -> Result<()> {
    let tree = Tree::here()?;
    let (kernel, root) = assemble::system(&tree, Audience::Production)?;
    let apps = store::build(&[app(dir, programs)?], &store::Settings::default(), &dir.join("apps.img"))?;
    let ours = Bootable { kernel: kernel.bzimage, root, apps, audience: Audience::Production };
    let theirs = Bootable { root: busybox(dir, programs)?, ..ours.clone() };
    let (ours_data, theirs_data) = (dir.join("ours.img"), dir.join("theirs.img"));
    for data in [&ours_data, &theirs_data] {
        blank_disk(data, DATA_BYTES)?;
    }
    println!("boot: kernel start to the first app's main, {rounds} boots in turn");
    let first = boot(dir, &ours, &ours_data)?;
    let (mut boxed, mut unboxed) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        boxed.push(boot(dir, &ours, &ours_data)?);
        unboxed.push(boot(dir, &theirs, &theirs_data)?);
    }
    boxed.print("init, sandboxd, complete box");
    unboxed.print("busybox init, unboxed");
    println!("  the first boot, which makes /data: {first:.0} µs");
    bar_of_ratio("boot_vs_busybox", &boxed, &unboxed, 1.25);
    Ok(())
}

/// Boots, reads when `main` ran, µs, and switches off.
fn boot(dir: &Path, what: &Bootable, data: &Path) -> Result<f64> {
    let mut machine = Machine::new(what, data, &dir.join("qmp"));
    machine.die_with_thread = true;
    let mut running = machine.spawn()?;
    let console = BufReader::new(running.console().context("the console is a pipe")?);
    let mut said = Vec::new();
    let mut main_us = None;
    for line in console.lines() {
        let line = line?;
        if let Some((_, ns)) = line.split_once("main_ns=") {
            main_us = Some(ns.trim().parse::<f64>()? / 1000.0);
            break;
        }
        said.push(line);
    }
    let Some(main_us) = main_us else { bail!("the app never ran; the console said:\n{}", said.join("\n")) };
    // busybox init has no power button; whoever has one leaves a clean file system for the next boot.
    if what.root.image.ends_with("root.img") {
        running.power_button()?;
        running.wait(OFF)?;
    }
    running.kill();
    Ok(main_us)
}

/// The app's directory as a store has it.
fn app(dir: &Path, programs: &Programs) -> Result<PathBuf> {
    let app = dir.join("org.gabion.bench");
    let root = app.join("root");
    stage::directories(&root, &stage::BOX_DIRECTORIES)?;
    stage::write(&app.join("manifest.toml"), MANIFEST)?;
    stage::copy(&programs.stamp, &root.join("bin/app"))?;
    Ok(app)
}

/// A root with busybox as init and the same app.
fn busybox(dir: &Path, programs: &Programs) -> Result<Verified> {
    let (staged, image) = (dir.join("busybox"), dir.join("busybox.img"));
    stage::directories(&staged, &["dev", "proc", "sys", "run", "tmp", "data", "apps"])?;
    stage::copy(Path::new("/bin/busybox"), &staged.join("sbin/init"))
        .context("Debian's busybox-static is needed: make packages")?;
    stage::copy(&programs.stamp, &staged.join("bin/app"))?;
    fs::create_dir_all(staged.join("etc"))?;
    stage::write(&staged.join("etc/inittab"), "::once:/bin/app text\n")?;
    stage::normalise(&staged)?;
    erofs::format(&staged, UUID, &image)?;
    verity::append(&image, UUID)
}
