//! The first things: kernel file systems, the cgroup tree, signals. Everything else is `sandboxd`'s.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::resource::{Resource, setrlimit};

use crate::report;

/// Makes the mounts and the cgroup tree. On the device this is the first thing after the kernel; in a test it runs
/// in the test's own mount namespace.
///
/// # Errors
/// A mount or cgroup controller that the kernel does not have, named.
pub(crate) fn prepare() -> io::Result<()> {
    // A box is 13 descriptors here, and one more for each of its interfaces; sandboxd inherits this and has one for
    // each open connection of the bus besides.
    setrlimit(Resource::RLIMIT_NOFILE, 16_384, 16_384).map_err(|e| named("descriptor limit", e))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|e| named("/ (private)", e))?;
    let closed = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let nodev = closed | MsFlags::MS_NODEV;
    attach("proc", "/proc", nodev, "")?;
    report::never_wait();
    attach("sysfs", "/sys", nodev, "")?;
    attach("devtmpfs", "/dev", closed, "mode=0755")?;
    attach("tmpfs", "/run", nodev, "mode=0755,size=4m")?;
    attach("cgroup2", "/sys/fs/cgroup", nodev, "")?;
    cgroups()
}

fn attach(kind: &str, at: &str, flags: MsFlags, options: &str) -> io::Result<()> {
    match mount(Some(kind), at, Some(kind), flags, Some(options)) {
        // EBUSY: the kernel mounted it already (devtmpfs).
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(e) => Err(named(at, e)),
    }
}

/// `/sys/fs/cgroup/{manager,system,apps}`, with the controllers handed down to where boxes live.
fn cgroups() -> io::Result<()> {
    const ROOT: &str = "/sys/fs/cgroup";
    delegate(ROOT)?;
    for name in ["manager", "system", "apps"] {
        let path = format!("{ROOT}/{name}");
        match fs::create_dir(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(context(&path, e)),
            _ => {}
        }
        if name != "manager" {
            delegate(&path)?;
        }
    }
    Ok(())
}

fn delegate(path: &str) -> io::Result<()> {
    let file = format!("{path}/cgroup.subtree_control");
    fs::write(&file, "+cpu +memory +pids").map_err(|e| context(&file, e))
}

/// The manager's cgroup, to be cloned into.
pub(crate) fn manager_cgroup() -> io::Result<OwnedFd> {
    Ok(fs::File::open("/sys/fs/cgroup/manager")?.into())
}

fn named(what: &str, e: Errno) -> io::Error {
    context(what, e.into())
}

fn context(what: &str, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{what}: {e}"))
}
