//! Part `box`: from launch to exit of a trivial static program in the complete box.
//!
//! Against a bare program that makes the same kernel operations in process; bubblewrap and minijail with every namespace
//! and the same seccomp program over the same root; and plain vfork + execve, which says what of it is the program's own.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::keeper;
use crate::peer::{Peer, bare_box, bare_plain, inherited, interleave};
use crate::programs::Programs;
use crate::stat::{bar_of_ratio, not_measured};
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
    if let Some(tool) = found("bwrap") {
        peers.push(bwrap("bwrap", &tool, &[], programs, &subject, &filter)?);
        peers.push(bwrap(
            "bwrap without its own pid 1",
            &tool,
            &["--as-pid-1"],
            programs,
            &subject,
            &filter,
        )?);
    }
    if let Some(tool) = found("minijail0") {
        peers.push(minijail(&tool, dir, programs, &subject)?);
    }
    println!("box: launch to exit of a static program that returns 0, {rounds} rounds in turn");
    interleave(&mut peers, rounds)?;
    peers.iter().for_each(|p| p.samples.print(&p.what));
    report(&peers);
    Ok(())
}

fn report(peers: &[Peer]) {
    let Some((ours, peers)) = peers.split_first() else { return };
    let ratio = |name, peer, limit, remedy| {
        // Where there are two ways to call a tool, against the faster.
        let ways = peers.iter().filter(|p| p.what.starts_with(peer)).map(|p| &p.samples);
        match ways.min_by(|a, b| a.median().total_cmp(&b.median())) {
            Some(theirs) => bar_of_ratio(name, &ours.samples, theirs, limit),
            None => not_measured(name, remedy),
        }
    };
    ratio("box_vs_bare", "bare program", 1.15, "it was not run");
    ratio("box_vs_bwrap", "bwrap", 0.4, "bwrap is not on PATH: install bubblewrap");
    ratio(
        "box_vs_minijail",
        "minijail0",
        0.5,
        "minijail0 is not on PATH, nor in Debian 12: build it from source",
    );
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
    tool: &Path,
    more: &[&str],
    programs: &Programs,
    subject: &Subject,
    filter: &OwnedFd,
) -> Result<Peer> {
    let (tool, root) = (text(tool)?, text(&subject.root)?);
    let (data, run) = (text(&subject.storage)?, text(&subject.run)?);
    let (seccomp, uid) = (filter.as_raw_fd().to_string(), UID.to_string());
    let mut args = vec![tool.as_str(), "--unshare-all", "--seccomp", &seccomp, "--new-session"];
    args.extend(["--uid", &uid, "--gid", &uid, "--hostname", "box", "--cap-drop", "ALL", "--clearenv"]);
    args.extend(["--ro-bind", &root, "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
    args.extend(["--bind", &data, "/data", "--ro-bind", &run, "/run", "--chdir", "/data"]);
    args.extend_from_slice(more);
    args.push("/bin/app");
    inherited(std::slice::from_ref(filter), || {
        Peer::start(what, bare_plain(&programs.bare, "round", Some(filter), &args))
    })
}

/// Every namespace it has but the user's, which root has no use for; the program as pid 1, without a process of its own
/// between. It leaves the bounding set, the limits, Landlock and W^X as they were: less than the box, not more.
fn minijail(tool: &Path, dir: &Path, programs: &Programs, subject: &Subject) -> Result<Peer> {
    let bpf = dir.join("filter.bpf");
    std::fs::write(&bpf, subject.plan.seccomp.concat())?;
    let (tool, root, uid) = (text(tool)?, text(&subject.root)?, UID.to_string());
    let data = format!("{},/data,1", text(&subject.storage)?);
    let run = format!("{},/run", text(&subject.run)?);
    let seccomp = format!("--seccomp-bpf-binary={}", text(&bpf)?);
    let mut args = vec![tool.as_str(), "-v", "-I", "-l", "-N", "-e", "--uts=box", "-P", &root, "-d", "-t"];
    args.extend(["-b", &data, "-b", &run, "-u", &uid, "-g", &uid, "-n", "-c", "0", "--ambient"]);
    args.extend([&seccomp, "-T", "static", "--", "/bin/app"]);
    Peer::start("minijail0", bare_plain(&programs.bare, "round", None, &args))
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).context("a path that is no text")
}

/// The program of this name on `PATH`.
pub(crate) fn found(name: &str) -> Option<PathBuf> {
    let places = std::env::var_os("PATH")?;
    std::env::split_paths(&places).map(|place| place.join(name)).find(|program| program.is_file())
}
