//! The weak build, for tests alone: boxes that lack one of their layers, to see what the others are worth.
//!
//! A box's layers to be left out travel in [`crate::bundle::BoxSpec`] and are looked at here, before each step of the
//! launch order. Nothing of this is in another build: the module, the field and the places that ask are behind the
//! feature `weak`, which does not compile without debug assertions, and no release has those. [`MARK`] is in each program
//! that was built so; tests look for it in what ships.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use libc::{c_int, c_long, c_ulong};

use crate::bundle::{BOX_FDS, BoxSpec};
use crate::launch;
use crate::step::Step;

#[cfg(not(debug_assertions))]
compile_error!("the feature `weak` leaves protection out and is for tests: build it with --profile weak");

/// Stands in every program of the weak build, and in no other.
pub const MARK: &str = "gabion weak build: boxes may lack layers";

/// The names of the layers, as `docs/defence-in-depth.md` has them. The place of a name is its bit.
const NAMES: [&str; 12] = [
    "seccomp",
    "landlock",
    "mounts",
    "namespaces",
    "uid",
    "capabilities",
    "wx",
    "nnp",
    "cgroup",
    "quota",
    "fds",
    "firewall",
];

/// Layers that a box lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing(pub u32);

impl Missing {
    /// Reads names with white space between them; `None` for one that is no layer's.
    pub fn parse(text: &str) -> Option<Self> {
        let bit = |name| NAMES.iter().position(|known| *known == name).map(|at| 1 << at);
        text.split_whitespace().try_fold(0, |bits, name| Some(bits | bit(name)?)).map(Self)
    }

    /// Whether the layer of that name is among them.
    pub fn has(self, layer: &str) -> bool {
        NAMES.iter().position(|known| *known == layer).is_some_and(|at| self.0 & (1 << at) != 0)
    }
}

/// A box as it is launched: one without namespaces of its own shares the device's pids. Says once that this is no
/// build for a device.
pub(crate) fn prepared(mut spec: BoxSpec) -> BoxSpec {
    static SAID: std::sync::Once = std::sync::Once::new();
    SAID.call_once(|| eprintln!("{MARK}"));
    spec.host_pids |= spec.missing.has("namespaces");
    spec
}

/// The flags of `clone3` for this box.
pub(crate) fn clone_flags(spec: &BoxSpec, flags: c_int) -> c_int {
    let ours = if spec.missing.has("namespaces") { libc::CLONE_NEWIPC | libc::CLONE_NEWUTS } else { 0 };
    flags & !ours
}

/// What is done in place of a step, `None` for the step itself.
///
/// # Safety
/// In a freshly cloned, single-threaded child only.
pub(crate) unsafe fn instead(
    spec: &BoxSpec,
    step: Step,
    fds: &[RawFd; BOX_FDS],
    tmp_options: &CStr,
) -> Option<c_long> {
    let missing = spec.missing;
    let [_, _, mntns, _, _, stdin, stdout, stderr] = *fds;
    // SAFETY: raw system calls on descriptors and strings that outlive them; the caller is a single-threaded child.
    unsafe {
        match step {
            Step::CloseFds if missing.has("fds") => Some(launch::stdio(stdin, stdout, stderr).into()),
            Step::Network | Step::Hostname if missing.has("namespaces") => Some(0),
            Step::Mounts if missing.has("namespaces") => {
                Some(both(libc::setns(mntns, libc::CLONE_NEWNS), || libc::unshare(libc::CLONE_NEWNS)))
            }
            Step::Tmp if missing.has("mounts") => Some(mount(c"tmpfs", c"/tmp", tmp_options.as_ptr())),
            Step::Proc if missing.has("mounts") => Some(mount(c"proc", c"/proc", ptr::null())),
            Step::Gid | Step::Uid if missing.has("uid") => Some(0),
            Step::Capabilities if missing.has("capabilities") => {
                second_half(|| launch::capabilities(EVERY_CAPABILITY))
            }
            Step::Capabilities if missing.has("nnp") => second_half(|| no_capability_after_execve()),
            Step::NoNewPrivs if missing.has("nnp") => Some(0),
            Step::WriteXorExecute if missing.has("wx") => Some(0),
            Step::Landlock if missing.has("landlock") => Some(0),
            Step::Seccomp if missing.has("seccomp") => Some(0),
            _ => None,
        }
    }
}

/// The step has two halves, of which the first, before the uid changes, stays as it is.
unsafe fn second_half(leave: impl FnOnce() -> c_int) -> Option<c_long> {
    // SAFETY: plain prctl.
    (unsafe { libc::prctl(libc::PR_GET_SECUREBITS) } != 0).then(|| leave().into())
}

/// Without capabilities and without `no_new_privs` the kernel takes neither rules nor filters, so one is held until
/// `execve` takes it away, since it is not inheritable.
unsafe fn no_capability_after_execve() -> c_int {
    // SAFETY: plain prctls and a capset, in the caller's single-threaded child.
    unsafe {
        for number in 0..64 {
            if libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) < 0
                && EVERY_CAPABILITY & (1 << number) != 0
            {
                return -1;
            }
        }
        if libc::prctl(libc::PR_SET_SECUREBITS, launch::SECUREBITS_LOCKED) < 0 {
            return -1;
        }
        launch::capset(1 << CAP_SYS_ADMIN, 0)
    }
}

fn both(first: c_int, second: impl FnOnce() -> c_int) -> c_long {
    if first < 0 { first } else { second() }.into()
}

unsafe fn mount(kind: &CStr, at: &CStr, options: *const c_char) -> c_long {
    // SAFETY: the strings are NUL-terminated, or null for the options, and live across the call.
    unsafe { launch::mount(kind, at, 0 as c_ulong, options) }.into()
}

/// Takes every restriction off a mount of ours.
///
/// # Errors
/// Those of `mount_setattr(2)`.
pub fn unrestrict(mount: BorrowedFd<'_>) -> io::Result<()> {
    let all =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attr = libc::mount_attr { attr_set: 0, attr_clr: all, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: the path is a constant, `attr` is a valid `mount_attr` and its size is passed; both are only read.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            ptr::from_ref(&attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const CAP_SYS_ADMIN: u32 = 21;
/// Up to `CAP_CHECKPOINT_RESTORE`, the last one that the required kernel has.
const EVERY_CAPABILITY: u64 = (1 << 41) - 1;
