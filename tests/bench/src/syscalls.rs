//! Part `box`: what the filter of a box costs each syscall that it lets through, on a loop of `getppid`.
//!
//! Against no filter, and against the smallest there can be: one instruction, which allows everything. Any filter at all
//! takes a call off the kernel's fast way in, and that alone is more than a tenth here; what a profile adds on top is
//! ours. It is nothing as long as the kernel knows the answer by the number alone, which it finds out when a filter is
//! loaded.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use policy::{Board, Profile};

use crate::peer::{Peer, interleave};
use crate::programs::Programs;
use crate::stat::bar_of_ratio;

/// Calls in a round: some 2 ms.
const CALLS: &str = "10000";
/// `BPF_RET | BPF_K` of `SECCOMP_RET_ALLOW`.
const ALLOW_ALL: [u8; 8] = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f];

/// Measures and reports.
pub(crate) fn run(dir: &Path, programs: &Programs, rounds: usize) -> Result<()> {
    let mut peers = vec![
        peer(dir, programs, "no filter", None)?,
        peer(dir, programs, "a filter of one instruction", Some(&ALLOW_ALL))?,
    ];
    for profile in [Profile::Default, Profile::Strict] {
        peers.push(peer(dir, programs, &format!("the filter of {profile}"), Some(&filter(profile)?))?);
    }
    println!("syscalls: {CALLS} times getppid, {rounds} rounds in turn");
    interleave(&mut peers, rounds)?;
    peers.iter().for_each(|peer| peer.samples.print(&peer.what));
    if let [none, smallest, default, strict] = peers.as_slice() {
        bar_of_ratio("filter_vs_none", &default.samples, &none.samples, 1.10);
        bar_of_ratio("filter_vs_smallest", &default.samples, &smallest.samples, 1.05);
        bar_of_ratio("strict_filter_vs_smallest", &strict.samples, &smallest.samples, 1.05);
    }
    Ok(())
}

fn peer(dir: &Path, programs: &Programs, what: &str, filter: Option<&[u8]>) -> Result<Peer> {
    let mut command = Command::new(&programs.syscalls);
    command.args(["round", CALLS]);
    if let Some(filter) = filter {
        let file = dir.join(format!("{}.bpf", what.replace(' ', "-")));
        fs::write(&file, filter).context("the filter")?;
        command.arg(file);
    }
    Peer::start(what, command)
}

fn filter(profile: Profile) -> Result<Vec<u8>> {
    let text = format!(
        "[app]\nid = \"org.gabion.bench\"\nversion = \"1.0.0\"\nexec = [\"/bin/app\"]\n[process]\nprofile = \"{profile}\"\n"
    );
    let manifest = policy::check(&text, &Board::default()).map_err(|faults| anyhow!("{faults:?}"))?;
    Ok(policy::compile(&manifest).seccomp.concat())
}
