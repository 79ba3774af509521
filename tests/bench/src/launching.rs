//! Part `box`: from launch to exit of a trivial static program in the complete box.
//!
//! Against a bare program that makes the same kernel operations in process; bubblewrap with every namespace and the
//! same seccomp program over the same root; and plain vfork + execve, which says what of it is the program's own.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::keeper;
use crate::peer::{Peer, bare_box, bare_plain, inherited, interleave};
use crate::programs::Programs;
use crate::stat::{bar, not_measured};
use crate::subject::Subject;

const UID: u32 = 19_901;

/// Measures and reports.
pub(crate) fn run(dir: &Path, programs: &Programs, rounds: usize) -> Result<()> {
    let subject = Subject::build(dir, UID, &programs.exit)?;
    let (_socket, ours) =
        keeper::start(&programs.keeper, "rounds", &subject, |c| Peer::start("complete box", c))?;
    let bare = inherited(&subject.built.fds, || {
        Peer::start("bare program, same kernel operations", bare_box(&programs.bare, "round", &subject))
    })?;
    let exit = programs.exit.to_str().context("path")?;
    let plain = Peer::start("plain vfork + execve", bare_plain(&programs.bare, "round", None, &[exit]))?;
    let filter = filter(&subject)?;
    let mut peers = vec![ours, bare, plain];
    if has("bwrap") {
        peers.push(bwrap("bwrap", &[], programs, &subject, &filter)?);
        peers.push(bwrap("bwrap without its own pid 1", &["--as-pid-1"], programs, &subject, &filter)?);
    }
    println!("box: launch to exit of a static program that returns 0, {rounds} rounds in turn");
    interleave(&mut peers, rounds)?;
    peers.iter().for_each(|p| p.samples.print(&p.what));
    report(&peers);
    Ok(())
}

fn report(peers: &[Peer]) {
    let median = |at: usize| peers.get(at).map(|p| p.samples.median());
    if let (Some(ours), Some(bare)) = (median(0), median(1)) {
        bar("box_vs_bare", ours / bare, 1.15);
        // Against the faster of the two ways to call it.
        match median(3).into_iter().chain(median(4)).reduce(f64::min) {
            Some(bwrap) => bar("box_vs_bwrap", ours / bwrap, 0.4),
            None => not_measured("box_vs_bwrap", "bwrap is not installed"),
        }
    }
    not_measured("box_vs_minijail", "minijail0 is not packaged");
}

/// The box's seccomp program as bubblewrap reads it: instructions and nothing else.
fn filter(subject: &Subject) -> Result<OwnedFd> {
    let mut file: File = tempfile::tempfile()?;
    for program in &subject.plan.seccomp {
        file.write_all(program)?;
    }
    Ok(file.into())
}

fn bwrap(
    what: &str,
    more: &[&str],
    programs: &Programs,
    subject: &Subject,
    filter: &OwnedFd,
) -> Result<Peer> {
    let path = |p: &Path| p.to_str().map(str::to_owned).context("path");
    let (root, data, run) = (path(&subject.root)?, path(&subject.storage)?, path(&subject.run)?);
    let (seccomp, uid) = (filter.as_raw_fd().to_string(), UID.to_string());
    let mut args = vec!["/usr/bin/bwrap", "--unshare-all", "--seccomp", &seccomp, "--new-session"];
    args.extend(["--uid", &uid, "--gid", &uid, "--hostname", "box", "--cap-drop", "ALL", "--clearenv"]);
    args.extend(["--ro-bind", &root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
    args.extend(["--bind", &data, "/data", "--ro-bind", &run, "/run", "--chdir", "/data"]);
    args.extend_from_slice(more);
    args.push("/bin/app");
    inherited(std::slice::from_ref(filter), || {
        Peer::start(what, bare_plain(&programs.bare, "round", Some(filter), &args))
    })
}

/// Whether a program of this name can be run.
pub(crate) fn has(name: &str) -> bool {
    let found = Command::new("sh").args(["-c", "command -v \"$0\" >/dev/null", name]).status();
    found.is_ok_and(|status| status.success())
}
