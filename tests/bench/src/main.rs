//! `make bench`: every number the README promises, measured here and printed against its limit.
//!
//! `gabion-bench [[--part] NAME]... [--rounds N]`, N of launches or boots. Each bar is one line, `bar: NAME value=V
//! limit=L ok|SHORT`, after what it comes from. A bar that is missed is no error: what fails this program is not being able to measure.
//! A bar whose peer is not installed says so in its place, with the remedy.
//! Needs root. Times are compared within one run only; absolute ones are this machine's.

#[path = "../../../init/src/backoff.rs"]
mod backoff;
mod boot;
#[path = "../../../init/src/boxes.rs"]
#[expect(dead_code, reason = "stopping and shutting down are not measured")]
mod boxes;
mod bus;
mod calls;
mod demo;
mod dev;
mod identity;
mod identity_device;
mod keeper;
mod launching;
mod memory;
mod net;
mod peer;
#[path = "../../../init/src/poller.rs"]
mod poller;
mod programs;
mod restarting;
mod size;
mod stat;
mod subject;
mod syscalls;
#[path = "../../../init/src/unheard.rs"]
mod unheard;
mod update;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use programs::Programs;

/// What `docs/specification.md` calls `PART`.
const PARTS: [&str; 7] = ["box", "boot", "bus", "net", "identity", "update", "dev"];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut parts, mut rounds) = (Vec::new(), None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--part" => parts.push(args.next().context("--part needs a name")?),
            "--rounds" => rounds = Some(args.next().context("--rounds needs a number")?.parse()?),
            "--keeper" => {
                let (mode, fd) =
                    args.next().zip(args.next()).context("--keeper is for this program itself")?;
                return keeper::run(&mode, sys::inherit::take(fd.parse()?)?);
            }
            "--apply" => return update::child(&args.collect::<Vec<_>>()),
            part if PARTS.contains(&part) => parts.push(part.to_owned()),
            other => {
                bail!("unknown argument {other}; usage: gabion-bench [{}]... [--rounds N]", PARTS.join("|"))
            }
        }
    }
    ensure!(geteuid().is_root(), "boxes are built by root: run this as root");
    if parts.is_empty() {
        parts = PARTS.map(String::from).to_vec();
    }
    parts.iter().try_for_each(|part| measure(part, rounds))
}

fn measure(part: &str, rounds: Option<usize>) -> Result<()> {
    if part == "bus" {
        return bus::run(rounds.unwrap_or(1000));
    }
    if part == "update" {
        return update::run(rounds.unwrap_or(9));
    }
    if part == "identity" {
        identity::run()?;
        return identity_device::run();
    }
    let dir = tempfile::Builder::new().prefix("gabion-bench").tempdir()?;
    if part == "dev" {
        return dev::run(dir.path(), rounds.unwrap_or(5));
    }
    if part == "net" {
        return net::run(dir.path(), rounds.unwrap_or(50));
    }
    let programs = Programs::compile(dir.path())?;
    match part {
        "box" => {
            launching::run(dir.path(), &programs, rounds.unwrap_or(1000))?;
            syscalls::run(dir.path(), &programs, rounds.unwrap_or(300))?;
            restarting::run(dir.path(), &programs)?;
            calls::run(rounds.unwrap_or(60).min(60))
        }
        "boot" => {
            boot::run(dir.path(), &programs, rounds.unwrap_or(7))?;
            memory::run()?;
            size::run()?;
            demo::run()
        }
        other => bail!("no part {other}: there are {}", PARTS.join(", ")),
    }
}
