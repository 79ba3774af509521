//! A developer's day: from an edit to the app running on a device again, from nothing to a box on this machine, and what making
//! a package costs above the tools that it is made with.
//!
//! The tool is built as people install it. A device is booted once; what is timed of it is the command alone, which ends at the app's
//! first line. The app that is edited ends when it is told to, as those that `gabion new` makes; one that does not takes its
//! `stop_timeout` besides.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use device_test::{App, Bench};
use image::command::{cargo, visibly};
use image::paths::Tree;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stat::{Samples, bar, bar_of_ratio};

const EDIT_TO_RUNNING_S: f64 = 3.0;
const NEW_TO_RUN_S: [(&str, f64); 3] = [("rust", 60.0), ("c", 2.0), ("python", 2.0)];
const BUILD_RATIO: f64 = 1.2;
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
const MIB: usize = 1 << 20;

/// Measures and reports.
pub(crate) fn run(place: &Path, rounds: usize) -> Result<()> {
    let tree = Tree::here()?;
    visibly(cargo().current_dir(&tree.root).args(["build", "--quiet", "--release", "-p", "gabion-cli"]))?;
    let gabion = tree.target.join("release/gabion");
    edit_to_running(&gabion, &place.join("edited"), rounds)?;
    new_to_run(&gabion, &place.join("new"))?;
    build_beside_mkfs(&gabion, &place.join("built"), rounds)
}

/// An app whose package is a megabyte: a file of it is edited, and it is deployed again.
fn edit_to_running(gabion: &Path, place: &Path, rounds: usize) -> Result<()> {
    println!("dev: an edit of an app of 1 MB, `gabion deploy`, until its first line on a running device");
    let app = App::shell("org.bench.edited", "").packed(place)?;
    for program in ["test-probe", "test-bus-peer"] {
        fs::remove_file(app.join("root/bin").join(program))?;
    }
    let device = Bench::new("bench-dev").developer().app(App::small("org.bench.other")).boot()?;
    device.wait_for("gabion: ready");
    let mut us = Samples::default();
    for round in 0..=rounds {
        let line = format!("edit {round}");
        fs::write(app.join("root/bin/run"), format!("trap 'exit 0' TERM; echo {line}; sleep 1000 & wait\n"))?;
        let began = Instant::now();
        let done = Command::new(gabion)
            .args(["deploy", "--json", "--wait", "60"])
            .arg(&app)
            .env("GABION_DEVICE", device.port())
            .output()?;
        let took = micros(began);
        let said = String::from_utf8_lossy(&done.stdout);
        ensure!(
            done.status.success() && said.contains(&line),
            "{said}{}",
            String::from_utf8_lossy(&done.stderr)
        );
        // The first one is new to the device.
        if round > 0 {
            us.push(took);
        }
    }
    let package = fs::read_dir(app.join(".gabion"))?.filter_map(Result::ok).map(|entry| entry.path());
    let package = package
        .filter(|path| path.extension().is_some_and(|end| end == "gab"))
        .find_map(|path| path.metadata().ok());
    println!("  the package has {} bytes", package.context("a package")?.len());
    us.print("edit, deploy, first line");
    bar("dev_edit_to_running_s", us.median() / 1e6, EDIT_TO_RUNNING_S);
    Ok(())
}

/// `gabion new`, then `gabion run` until the first line; what Cargo and Debian have sent is there already.
fn new_to_run(gabion: &Path, place: &Path) -> Result<()> {
    println!("dev: `gabion new` and `gabion run`, until the first line from the box on this machine");
    for (language, limit) in NEW_TO_RUN_S {
        let mut us = Samples::default();
        for round in 0..4 {
            let app = place.join(format!("{language}{round}"));
            fs::create_dir_all(place)?;
            let began = Instant::now();
            let made = Command::new(gabion).args(["new", "--lang", language]).arg(&app).output()?;
            ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            let took = first_line(Command::new(gabion).args(["run", "--offline"]).arg(&app), began)?;
            // The first one fetches.
            if round > 0 {
                us.push(took);
            }
        }
        us.print(&format!("new, run, first line: {language}"));
        bar(&format!("dev_new_to_run_{language}_s"), us.median() / 1e6, limit);
    }
    Ok(())
}

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}

/// Runs it until its first line, then ends it; how long after `began` the line came, microseconds.
fn first_line(command: &mut Command, began: Instant) -> Result<f64> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let line = BufReader::new(child.stdout.take().context("its output")?).lines().next();
    let took = micros(began);
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
    child.wait()?;
    line.context("it ended without a line")??;
    Ok(took)
}

/// `gabion build` of a directory of 50 MB, and `mkfs.erofs` with `veritysetup` alone, in turn.
fn build_beside_mkfs(gabion: &Path, place: &Path, rounds: usize) -> Result<()> {
    println!(
        "dev: `gabion build` of 50 MB, and mkfs.erofs with veritysetup alone, the same options, in turn"
    );
    let app = App::shell("org.bench.built", "exec sleep 1000").packed(place)?;
    fill(&app.join("root/share"))?;
    // What programs among it need, without which no package takes them.
    fs::create_dir_all(app.join("root/lib64"))?;
    fs::copy(LOADER, app.join("root").join(LOADER.trim_start_matches('/')))?;
    let image = place.join("image");
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let began = Instant::now();
        let built = Command::new(gabion).arg("build").arg(&app).output()?;
        ours.push(micros(began));
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let began = Instant::now();
        alone(&app.join("root"), &image)?;
        theirs.push(micros(began));
    }
    ours.print("gabion build");
    theirs.print("mkfs.erofs, veritysetup");
    bar_of_ratio("dev_build_vs_mkfs", &ours, &theirs, BUILD_RATIO);
    Ok(())
}

/// As much of this machine's own programs and texts as makes 50 MB: what an app of that size is made of.
fn fill(to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let mut left = 50 * MIB;
    for from in ["/usr/lib/x86_64-linux-gnu", "/usr/lib/python3.11", "/usr/bin"] {
        let mut files: Vec<PathBuf> = fs::read_dir(from)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        files.sort();
        for file in files {
            let about = file.symlink_metadata()?;
            // Libraries alone would be more than an app has, and so would programs.
            if !about.is_file()
                || about.len() == 0
                || about.len() > 4 * MIB as u64
                || about.len() as usize > left
            {
                continue;
            }
            let bytes = fs::read(&file)?;
            let name = file.file_name().context("a name")?;
            fs::write(to.join(name), &bytes)?;
            left -= bytes.len();
        }
    }
    ensure!(left < 5 * MIB, "this machine has too few files: {left} bytes are missing");
    Ok(())
}

fn alone(root: &Path, image: &Path) -> Result<()> {
    if image.exists() {
        fs::remove_file(image)?;
    }
    let made = Command::new("mkfs.erofs")
        .args(["--quiet", "-zlz4hc,12", "-T0", "-x-1", "--all-root"])
        .args([image, root])
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let at = format!("--hash-offset={}", image.metadata()?.len());
    let made = Command::new("veritysetup")
        .args(["format", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096", &at])
        .args([image, image])
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
