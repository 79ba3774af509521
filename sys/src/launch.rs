//! Launching a kept bundle: `clone3`, then the fixed order of [`Step`]s in the child, then `execve`.
//!
//! All that can be prepared is prepared when the bundle arrives ([`Prepared::new`]), so that a launch allocates
//! nothing. The child runs on a copy of PID 1's memory, is single-threaded, and makes only raw system calls:
//! no allocation, no lock, no libc state. Each step that fails is reported as (step, errno) on a close-on-exec
//! pipe; end of file on that pipe means that `execve` succeeded.
//!
//! Nothing here is optional: a kernel that lacks a step's facility refuses the launch at that step.

use std::ffi::{CStr, CString, c_char};
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_long, c_ulong};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};

use crate::bundle::{BOX_FDS, BoxSpec};
use crate::process;
use crate::step::Step;

/// A bundle, checked and ready to be launched any number of times.
pub struct Prepared {
    /// What was asked for.
    pub spec: BoxSpec,
    fds: Vec<OwnedFd>,
    kept: Vec<OwnedFd>,
    tmp_options: CString,
    directory: CString,
    /// Signals to be set to their default, as PID 1 ignores them.
    ignored: u64,
    // The pointers of argv/envp point into these strings' heap blocks, which never move or change.
    _strings: Vec<CString>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
}

// SAFETY: the pointers lead into `_strings`, which belong to the same value and are never changed.
unsafe impl Send for Prepared {}
// SAFETY: as above; a shared `Prepared` is only read.
unsafe impl Sync for Prepared {}

/// A child between `clone3` and `execve`.
pub struct Launched {
    /// Process id as the caller sees it.
    pub pid: u32,
    /// The process, immune to pid reuse.
    pub pidfd: OwnedFd,
    /// Readable when the launch was decided: see [`outcome`]. Non-blocking.
    pub status: OwnedFd,
}

impl Prepared {
    /// Checks a bundle as received.
    ///
    /// # Errors
    /// `InvalidInput` for a wrong number of descriptors, an unsealed seccomp memfd, or a string with a NUL.
    pub fn new(spec: BoxSpec, mut fds: Vec<OwnedFd>) -> io::Result<Prepared> {
        #[cfg(feature = "weak")]
        let spec = crate::weak::prepared(spec);
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        if fds.len() < BOX_FDS {
            return Err(invalid("bundle lacks descriptors"));
        }
        let kept = fds.split_off(BOX_FDS);
        let seals = fcntl(fd_at(&fds, 4)?, FcntlArg::F_GET_SEALS)?;
        let needed = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        if !SealFlag::from_bits_truncate(seals).contains(needed) {
            return Err(invalid("seccomp memfd is not sealed"));
        }
        let text = |s: &String| CString::new(s.as_str()).map_err(|_| invalid("NUL in a string"));
        let args = spec.argv.iter().map(text).collect::<io::Result<Vec<_>>>()?;
        let env = spec.env.iter().map(text).collect::<io::Result<Vec<_>>>()?;
        let argv = pointers(&args);
        let envp = pointers(&env);
        let options = format!("size={},nr_inodes=4096,mode=1777", spec.tmp_bytes.max(4096));
        Ok(Prepared {
            tmp_options: text(&options)?,
            directory: text(&spec.directory)?,
            _strings: args.into_iter().chain(env).collect(),
            ignored: process::ignored_signals(),
            spec,
            fds,
            kept,
            argv,
            envp,
        })
    }

    /// The descriptors held for the builder.
    pub fn kept(&self) -> &[OwnedFd] {
        &self.kept
    }

    /// SIGKILL to the whole box, whose first process is `pidfd`. That one's end takes its pid namespace with it; only
    /// a box that shares the device's pids needs `cgroup.kill`, after which kernels without the mend of 6.12.117
    /// (6.18.44 is one) kill whatever is cloned into the group.
    ///
    /// # Errors
    /// Those of `pidfd_send_signal(2)`, or of writing `cgroup.kill`.
    pub fn kill(&self, pidfd: &OwnedFd) -> io::Result<()> {
        if self.spec.host_pids { self.kill_group() } else { process::signal(pidfd, libc::SIGKILL) }
    }

    /// Ends what a box whose first process is gone has left behind: something only where it shares the device's pids.
    ///
    /// # Errors
    /// Those of writing `cgroup.kill`.
    pub fn kill_rest(&self) -> io::Result<()> {
        if self.spec.host_pids { self.kill_group() } else { Ok(()) }
    }

    fn kill_group(&self) -> io::Result<()> {
        process::kill_cgroup(fd_at(&self.fds, 0)?)
    }

    /// Launches the box. Returns as soon as the child exists; [`Launched::status`] tells how it went on.
    ///
    /// # Errors
    /// Those of `pipe2(2)` and `clone3(2)`: step [`Step::Clone`].
    pub fn launch(&self) -> io::Result<Launched> {
        let (status, report) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
        let raw: [RawFd; BOX_FDS] = std::array::from_fn(|i| self.fds.get(i).map_or(-1, AsRawFd::as_raw_fd));
        let mut pidfd: RawFd = -1;
        let mut flags = libc::CLONE_PIDFD | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if !self.spec.host_pids {
            flags |= libc::CLONE_NEWPID;
        }
        #[cfg(feature = "weak")]
        let flags = crate::weak::clone_flags(&self.spec, flags);
        let [cgroup, ..] = raw;
        // SAFETY: the child goes to `child`, which makes raw system calls only.
        let pid = unsafe { process::clone_into(cgroup, flags, &mut pidfd) };
        if pid == 0 {
            // SAFETY: we are the child: `child` makes raw system calls only and never returns.
            unsafe { child(self, &raw, report.as_raw_fd()) }
        }
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: clone3 succeeded with CLONE_PIDFD, so the kernel stored a descriptor that is ours.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Launched { pid: u32::try_from(pid).unwrap_or(0), pidfd, status })
    }
}

/// How a launch went on: `None` not decided yet; `Ok` the program runs; `Err` refused at a step with an errno.
pub fn outcome(status: &OwnedFd) -> Option<Result<(), (u8, i32)>> {
    let mut report = [0; 8];
    match nix::unistd::read(status, &mut report) {
        Ok(0) => Some(Ok(())),
        Ok(8) => {
            let [step, _, _, _, errno @ ..] = report;
            Some(Err((step, i32::from_ne_bytes(errno))))
        }
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => None,
        Ok(_) => Some(Err((Step::Clone as u8, libc::EIO))),
        Err(e) => Some(Err((Step::Clone as u8, e as i32))),
    }
}

fn fd_at(fds: &[OwnedFd], at: usize) -> io::Result<BorrowedFd<'_>> {
    use std::os::fd::AsFd;
    fds.get(at).map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// The child's whole life. Never returns.
///
/// # Safety
/// Only in a freshly cloned, single-threaded child.
unsafe fn child(p: &Prepared, fds: &[RawFd; BOX_FDS], report: RawFd) -> ! {
    // SAFETY: the contract of this function is that of `enter`.
    let (step, errno) = unsafe { enter(p, fds, report) };
    let [a, b, c, d] = errno.to_ne_bytes();
    let message = [step as u8, 0, 0, 0, a, b, c, d];
    // SAFETY: writes eight bytes of a local to our pipe and ends this process.
    unsafe {
        libc::write(report, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Runs the steps in order; returns the one that failed.
///
/// # Safety
/// As [`child`].
unsafe fn enter(p: &Prepared, fds: &[RawFd; BOX_FDS], report: RawFd) -> (Step, c_int) {
    #[cfg(not(feature = "weak"))]
    macro_rules! step {
        ($step:ident, $($call:expr),+ $(,)?) => {
            // SAFETY: raw system calls on descriptors and buffers that outlive them, in a single-threaded child.
            $(if unsafe { $call } < 0 { return (Step::$step, errno()); })+
        };
    }
    #[cfg(feature = "weak")]
    macro_rules! step {
        ($step:ident, $($call:expr),+ $(,)?) => {
            // SAFETY: as in the other build; the child is single-threaded here too.
            match unsafe { crate::weak::instead(&p.spec, Step::$step, fds, &p.tmp_options) } {
                Some(done) if done < 0 => return (Step::$step, errno()),
                Some(_) => {}
                // SAFETY: as in the other build.
                None => { $(if unsafe { $call } < 0 { return (Step::$step, errno()); })+ }
            }
        };
    }
    let [_, netns, mntns, ruleset, seccomp, stdin, stdout, stderr] = *fds;
    step!(CloseFds, stdio(stdin, stdout, stderr), close_others([netns, mntns, ruleset, seccomp, report]));
    step!(Network, libc::setns(netns, libc::CLONE_NEWNET));
    step!(
        Mounts,
        libc::setns(mntns, libc::CLONE_NEWNS),
        libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP)
    );
    let closed = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    step!(Tmp, mount(c"tmpfs", c"/tmp", closed, p.tmp_options.as_ptr()));
    let proc = if p.spec.wider & 2 == 0 { closed | libc::MS_RDONLY } else { closed };
    step!(Proc, mount(c"proc", c"/proc", proc, c"subset=pid,hidepid=invisible".as_ptr()));
    step!(Limits, limits(p.spec.open_files), process::default_signals(p.ignored), libc::setsid());
    step!(Hostname, libc::sethostname(p.spec.hostname.as_ptr().cast(), p.spec.hostname.len()));
    step!(Directory, libc::chdir(p.directory.as_ptr()));
    let id = p.spec.id;
    step!(Capabilities, libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS_KEEP));
    step!(Groups, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<libc::gid_t>()));
    step!(Gid, libc::syscall(libc::SYS_setresgid, id, id, id));
    step!(Uid, libc::syscall(libc::SYS_setresuid, id, id, id));
    step!(Capabilities, capabilities(p.spec.capabilities));
    step!(NoNewPrivs, prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
    step!(Dumpable, prctl(libc::PR_SET_DUMPABLE, 0));
    if p.spec.wider & 1 == 0 {
        step!(WriteXorExecute, prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN));
    }
    step!(Landlock, libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0));
    step!(Seccomp, install_seccomp(seccomp));
    let Some(program) = p.argv.first() else { return (Step::Exec, libc::EINVAL) };
    step!(Exec, libc::execve(*program, p.argv.as_ptr(), p.envp.as_ptr()));
    (Step::Exec, libc::EINVAL)
}

pub(crate) unsafe fn stdio(stdin: RawFd, stdout: RawFd, stderr: RawFd) -> c_int {
    // PID 1 holds 0, 1 and 2 itself, so no bundle descriptor can be one of them.
    for (from, to) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        // SAFETY: plain system call on integers.
        if unsafe { libc::dup2(from, to) } < 0 {
            return -1;
        }
    }
    0
}

/// Closes everything from 3 up but the five named (all close-on-exec).
unsafe fn close_others(mut keep: [RawFd; 5]) -> c_long {
    keep.sort_unstable();
    let mut from: c_long = 3;
    for fd in keep {
        let fd = c_long::from(fd);
        // SAFETY: plain system call on integers.
        if fd > from && unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) } < 0 {
            return -1;
        }
        from = from.max(fd + 1);
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, c_long::from(u32::MAX), 0) }
}

pub(crate) unsafe fn mount(kind: &CStr, at: &CStr, flags: c_ulong, options: *const c_char) -> c_int {
    // SAFETY: all four are NUL-terminated and live across the call.
    unsafe { libc::mount(kind.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, options.cast()) }
}

unsafe fn limits(open_files: u32) -> c_int {
    let fixed = [
        (libc::RLIMIT_NOFILE, u64::from(open_files)),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_MEMLOCK, 64 * 1024),
        (libc::RLIMIT_MSGQUEUE, 0),
    ];
    for (what, value) in fixed {
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` is a valid rlimit.
        if unsafe { libc::setrlimit(what, &raw const limit) } < 0 {
            return -1;
        }
    }
    // SAFETY: plain system call; umask cannot fail.
    unsafe { libc::umask(0o077) };
    0
}

/// Leaves exactly `granted` in all five sets, and locks the securebits so that nothing raises them again.
pub(crate) unsafe fn capabilities(granted: u64) -> c_int {
    for number in 0..64 {
        // SAFETY: plain prctl; EINVAL past the kernel's last capability.
        if granted & (1 << number) == 0 && unsafe { prctl(libc::PR_CAPBSET_DROP, number) } < 0 {
            if errno() == libc::EINVAL && number > 0 {
                break;
            }
            return -1;
        }
    }
    // SAFETY: as above, and capset on valid local structures.
    unsafe {
        if granted != 0 {
            if capset(u64::MAX, granted) < 0 {
                return -1;
            }
            for number in (0..64).filter(|n| granted & (1 << n) != 0) {
                if libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0, 0) < 0 {
                    return -1;
                }
            }
        }
        if libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS_LOCKED) < 0 {
            return -1;
        }
        capset(granted, granted)
    }
}

pub(crate) unsafe fn capset(held: u64, inheritable: u64) -> c_int {
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    // SAFETY: asks the kernel which capabilities exist by reading our own permitted set, then sets ours; the
    // structures have the layout of linux/capability.h version 3.
    unsafe {
        let header: [u32; 2] = [0x2008_0522, 0];
        let mut now = [const { Data { effective: 0, permitted: 0, inheritable: 0 } }; 2];
        if libc::syscall(libc::SYS_capget, header.as_ptr(), now.as_mut_ptr()) < 0 {
            return -1;
        }
        for (half, data) in now.iter_mut().enumerate() {
            data.permitted &= (held >> (32 * half)) as u32;
            data.effective = data.permitted;
            data.inheritable = (inheritable >> (32 * half)) as u32;
        }
        libc::syscall(libc::SYS_capset, header.as_ptr(), now.as_ptr()) as c_int
    }
}

/// Installs the programs of the sealed memfd in order. Layout: see [`crate::bundle`].
unsafe fn install_seccomp(memfd: RawFd) -> c_long {
    // SAFETY: maps a sealed memfd read-only (its size cannot change) and reads inside the size fstat gave.
    unsafe {
        let mut stat: libc::stat = mem::zeroed();
        if libc::fstat(memfd, &raw mut stat) < 0 {
            return -1;
        }
        let size = stat.st_size.unsigned_abs() as usize;
        // All of it is read now: one call instead of a fault for each page.
        let flags = libc::MAP_PRIVATE | libc::MAP_POPULATE;
        let at = libc::mmap(ptr::null_mut(), size, libc::PROT_READ, flags, memfd, 0);
        if at == libc::MAP_FAILED {
            return -1;
        }
        install_programs(std::slice::from_raw_parts(at.cast::<u32>(), size / 4))
    }
}

unsafe fn install_programs(words: &[u32]) -> c_long {
    let Some((&count, rest)) = words.split_first() else { return invalid() };
    let Some((lengths, mut code)) = rest.split_at_checked(count as usize) else { return invalid() };
    if count == 0 || count > 4 {
        return invalid();
    }
    for &length in lengths {
        let Some((program, after)) = code.split_at_checked(length as usize * 2) else { return invalid() };
        code = after;
        if length > 4096 {
            return invalid();
        }
        let program = libc::sock_fprog { len: length as u16, filter: program.as_ptr().cast_mut().cast() };
        // SAFETY: `filter` points at `len` instructions of eight bytes inside the mapping; the kernel copies them.
        let r = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, LOGGED, &raw const program)
        };
        if r < 0 {
            return r;
        }
    }
    0
}

fn invalid() -> c_long {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = libc::EINVAL };
    -1
}

unsafe fn prctl(operation: c_int, argument: c_ulong) -> c_int {
    // SAFETY: every prctl used here takes integers only.
    unsafe { libc::prctl(operation, argument, 0, 0, 0) }
}

fn errno() -> c_int {
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() }
}

/// What a filter refuses is in the kernel's audit records.
const LOGGED: c_ulong = libc::SECCOMP_FILTER_FLAG_LOG;
const PR_SET_MDWE: c_int = 65; // linux/prctl.h, since 6.3
const PR_MDWE_REFUSE_EXEC_GAIN: c_ulong = 1;
/// While changing uid: NOROOT | NOROOT_LOCKED | NO_SETUID_FIXUP (linux/securebits.h), so that the bounding set can
/// still be emptied afterwards.
const SECUREBITS_KEEP: c_ulong = 0b0000_0111;
/// NOROOT, NO_SETUID_FIXUP and NO_CAP_AMBIENT_RAISE, each locked, and KEEP_CAPS off and locked.
pub(crate) const SECUREBITS_LOCKED: c_ulong = 0b1110_1111;
