//! The mount namespace of a box, with the box's root already its root.
//!
//! Built once per box by a short-lived thread that has left our mount namespace; what stays is a descriptor of
//! the namespace (the kernel keeps it alive) and whatever the caller's `inspect` took from inside. Each launch
//! takes a private copy and adds only `/tmp` and `/proc`.
//!
//! ```text
//! /       the app's root    ro nosuid nodev
//! /dev    tmpfs             ro nosuid noexec   null zero full random urandom, granted devices, links
//! /data   private storage   nosuid nodev noexec        (absent without storage)
//! /run    notify socket     ro nosuid nodev noexec
//! /run/debugger             ro nosuid nodev    a debugger's server, in a box that is debugged alone
//! /tmp /proc                empty here; made afresh by each launch
//! ```
//!
//! The app's author controls the root's content: names in it may be symbolic links or missing. No path in it is
//! followed through a link, and every mount is locked down while still detached.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, PosixFadviseAdvice, ResolveFlag, openat2, posix_fadvise};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use sys::mount::{self, FsContext, MountAttr};

use crate::devices::{self, Device};
use crate::problem::{BoxError, Step};

/// Directories a box's root must have: something is mounted on each.
const MOUNT_POINTS: [&CStr; 5] = [c"dev", c"proc", c"tmp", c"data", c"run"];
/// The builder thread's stack. It runs shallow code; the default of 2 MiB would be touched by nobody but count.
const STACK: usize = 256 << 10;

/// What a box's namespace is made of.
#[derive(Debug)]
pub struct BoxRoot<'a> {
    /// The app's root directory.
    pub root: &'a Path,
    /// Its private storage, to appear as `/data`.
    pub storage: Option<&'a Path>,
    /// The directory with its notify socket, to appear as `/run`.
    pub run: &'a Path,
    /// The root of a debugger's server, to appear as `/run/debugger`, whose directory is there.
    pub debugger: Option<&'a Path>,
    /// Devices granted beyond the five everybody has.
    pub devices: &'a [Device],
    #[cfg(feature = "weak")]
    /// Layers it lacks.
    pub missing: sys::weak::Missing,
}

/// Builds the namespace, runs `inspect` inside it (its root is `/` there), and gives back the namespace's
/// descriptor with what `inspect` returned.
pub fn build<T: Send>(
    parts: &BoxRoot<'_>,
    inspect: impl FnOnce(BorrowedFd<'_>) -> Result<T, BoxError> + Send,
) -> Result<(OwnedFd, T), BoxError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("box".into()).stack_size(STACK);
        let builder = thread.spawn_scoped(scope, || in_new_namespace(parts, inspect));
        let builder = builder.map_err(|e| BoxError::step(Step::Thread, e))?;
        builder.join().unwrap_or_else(|_| Err(BoxError::step(Step::Thread, io::Error::other("panic"))))
    })
}

fn in_new_namespace<T>(
    parts: &BoxRoot<'_>,
    inspect: impl FnOnce(BorrowedFd<'_>) -> Result<T, BoxError>,
) -> Result<(OwnedFd, T), BoxError> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
        .map_err(|e| BoxError::step(Step::Namespace, e))?;
    umask(Mode::empty());
    let namespace = File::open("/proc/thread-self/ns/mnt").map_err(|e| BoxError::step(Step::Namespace, e))?;
    mount::make_all_private().map_err(|e| BoxError::step(Step::Namespace, e))?;

    let storage = parts.storage.map(|dir| locked(dir, DATA)).transpose();
    let storage = storage.map_err(|e| BoxError::step(Step::Storage, e))?;
    let run = locked(parts.run, RUN).map_err(|e| BoxError::step(Step::Run, e))?;
    let debugger = parts.debugger.map(|dir| locked(dir, ROOT)).transpose();
    let debugger = debugger.map_err(|e| BoxError::step(Step::Run, e))?;
    let dev = device_tree(parts.devices).map_err(|e| BoxError::step(Step::Devices, e))?;

    let at = directory(AT_FDCWD, parts.root).map_err(|e| BoxError::Root(parts.root.into(), e))?;
    let root = mount::clone_mount(at.as_fd(), c"").map_err(|e| BoxError::step(Step::Root, e))?;
    mount::restrict(root.as_fd(), ROOT).map_err(|e| BoxError::step(Step::Root, e))?;
    mount::attach(root.as_fd(), at.as_fd(), c"").map_err(|e| BoxError::step(Step::Root, e))?;
    check_mount_points(root.as_fd())?;
    attach(dev.as_fd(), root.as_fd(), c"dev", Step::Devices)?;
    attach(run.as_fd(), root.as_fd(), c"run", Step::Run)?;
    if let Some(debugger) = debugger {
        attach(debugger.as_fd(), root.as_fd(), c"run/debugger", Step::Run)?;
    }
    #[cfg(feature = "weak")]
    if parts.missing.has("mounts") {
        let all = [&root, &dev, &run].into_iter().chain(&storage);
        all.into_iter()
            .try_for_each(|mount| sys::weak::unrestrict(mount.as_fd()))
            .map_err(|e| BoxError::step(Step::Root, e))?;
    }
    if let Some(storage) = storage {
        attach(storage.as_fd(), root.as_fd(), c"data", Step::Storage)?;
    }
    mount::pivot_into(root.as_fd()).map_err(|e| BoxError::step(Step::Pivot, e))?;
    let seen = inspect(root.as_fd())?;
    Ok((namespace.into(), seen))
}

const ROOT: MountAttr = MountAttr::RDONLY.with(MountAttr::NOSUID).with(MountAttr::NODEV);
const DATA: MountAttr = MountAttr::NOEXEC.with(MountAttr::NOSUID).with(MountAttr::NODEV);
const RUN: MountAttr = DATA.with(MountAttr::RDONLY);
const DEV: MountAttr = MountAttr::RDONLY.with(MountAttr::NOSUID).with(MountAttr::NOEXEC);

fn attach(mount: BorrowedFd<'_>, root: BorrowedFd<'_>, name: &CStr, step: Step) -> Result<(), BoxError> {
    mount::attach(mount, root, name).map_err(|e| BoxError::step(step, e))
}

/// A detached, locked-down bind of the directory `path` of ours.
fn locked(path: &Path, attr: MountAttr) -> io::Result<OwnedFd> {
    let dir = directory(AT_FDCWD, path)?;
    let bind = mount::clone_mount(dir.as_fd(), c"")?;
    mount::restrict(bind.as_fd(), attr)?;
    Ok(bind)
}

/// Opens a directory of ours; no component may be a symbolic link.
fn directory(base: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(base, path, how)?)
}

/// A detached tmpfs with the box's device nodes, read-only from the first moment anybody can see it.
fn device_tree(granted: &[Device]) -> io::Result<OwnedFd> {
    let context = FsContext::open(c"tmpfs")?;
    context.string("mode", "0755")?.string("size", "64k")?.string("nr_inodes", "64")?;
    let dev = context.mount(MountAttr::NOSUID.with(MountAttr::NOEXEC))?;
    devices::populate(dev.as_fd(), granted)?;
    mount::restrict(dev.as_fd(), DEV)?;
    Ok(dev)
}

fn check_mount_points(root: BorrowedFd<'_>) -> Result<(), BoxError> {
    for name in MOUNT_POINTS {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(root, name, how)
            .map_err(|e| BoxError::MountPoint(name.to_string_lossy().into_owned(), e.into()))?;
    }
    Ok(())
}

/// Checks from inside the box that `path` is a regular file somebody may execute; the kernel resolves it within
/// `root` whatever links the app's author put there.
pub fn check_executable(root: BorrowedFd<'_>, path: &str) -> Result<(), BoxError> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(root, path, how).map_err(|e| BoxError::Executable(path.into(), Some(e.into())))?;
    let meta = File::from(file).metadata().map_err(|e| BoxError::Executable(path.into(), Some(e)))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
    // The box's uid owns nothing in the root and is in no group of it: only the last digit counts.
    if meta.is_file() && mode & 0o001 != 0 {
        return Ok(());
    }
    Err(BoxError::Executable(path.into(), None))
}

/// Has the kernel read the program at `path` ahead, so that its first launch does not wait for the disk. Nothing depends on it.
pub fn read_ahead(root: BorrowedFd<'_>, path: &str) {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    if let Ok(program) = openat2(root, path, how) {
        let _ = posix_fadvise(program, 0, 0, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
    }
}

/// `/dev/null` as a box's standard input, from the box whose root is `root`: its own node on its own read-only mount. On
/// one that others have too it could leave times and locks for them, and somebody with a capability its mode and owner.
pub fn null(root: BorrowedFd<'_>) -> Result<OwnedFd, BoxError> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(root, "dev/null", how).map_err(|e| BoxError::step(Step::Stdio, e))
}
