//! What sandboxd takes away from itself, as its first act and again once its start-up is done.
//!
//! It must change mounts, so it can not use Landlock (a landlocked thread may not), and it needs `CAP_SYS_ADMIN`
//! for that, which is nearly everything. What is left to take: the other capabilities, every way to run a program
//! or to touch another process, the kernel's large interfaces, sockets. An attacker who took over sandboxd would
//! still be able to build boxes to his liking: that is its job, and why it parses nothing an app wrote.

use std::collections::BTreeMap;

use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Needed all along: mounts and quota; storage of other uids; device nodes; reading the audit records, and silencing those
/// of a box that makes too many.
const KEEP: [Capability; 7] = [
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_MKNOD,
    Capability::CAP_AUDIT_READ,
    Capability::CAP_AUDIT_CONTROL,
];
/// Needed at the start: raising the loopback, the network's settings, the firewall; growing the data file system; lifting
/// the clock to the time that was kept.
const AT_START: [Capability; 4] =
    [Capability::CAP_NET_ADMIN, Capability::CAP_BPF, Capability::CAP_SYS_RESOURCE, Capability::CAP_SYS_TIME];

/// Never called here, whatever happens. `execve` among them: sandboxd starts no program, `init` does.
const DENIED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_personality,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_connect,
    libc::SYS_accept4,
    libc::SYS_chroot,
    libc::SYS_syslog,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_fanotify_init,
    libc::SYS_memfd_secret,
    libc::SYS_kill,
    libc::SYS_tkill,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_accept,
];

type Error = Box<dyn std::error::Error>;

/// First act: no capability beyond the two lists, nothing gained by any later `execve`, no denied call.
pub fn at_start() -> Result<(), Error> {
    keep(KEEP.iter().chain(&AT_START).copied().collect())?;
    nix::sys::prctl::set_no_new_privs()?;
    // `clone3` hides its flags in memory: as if it were not there, libc uses `clone`, which is checked.
    install(
        BTreeMap::from([(libc::SYS_clone3, vec![])]),
        SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
    )?;
    let mut rules: BTreeMap<_, _> = DENIED.iter().map(|call| (*call, vec![])).collect();
    rules.insert(libc::SYS_clone, vec![not_a_thread()?]);
    rules.insert(libc::SYS_socket, vec![neither_of(&[libc::AF_UNIX, libc::AF_NETLINK])?]);
    install(rules, SeccompAction::Errno(libc::EPERM.cast_unsigned()))
}

/// Once namespaces, firewall and storage are there: the start's capabilities go, sockets other than Unix ones, and the calls
/// that load programs into the kernel and set the clock.
pub fn when_ready() -> Result<(), Error> {
    keep(KEEP.into())?;
    let rules = BTreeMap::from([
        (libc::SYS_bpf, vec![]),
        (libc::SYS_adjtimex, vec![]),
        (libc::SYS_clock_adjtime, vec![]),
        (libc::SYS_socket, vec![neither_of(&[libc::AF_UNIX])?]),
    ]);
    install(rules, SeccompAction::Errno(libc::EPERM.cast_unsigned()))
}

fn keep(set: CapsHashSet) -> Result<(), Error> {
    caps::clear(None, CapSet::Ambient)?;
    // The bounding set only shrinks while CAP_SETPCAP is there, so it goes first; the second time it is small already.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for cap in caps::read(None, CapSet::Bounding)?.difference(&set) {
            caps::drop(None, CapSet::Bounding, *cap)?;
        }
    }
    caps::clear(None, CapSet::Inheritable)?;
    let held: CapsHashSet = caps::read(None, CapSet::Permitted)?.intersection(&set).copied().collect();
    caps::set(None, CapSet::Effective, &held)?;
    caps::set(None, CapSet::Permitted, &held)?;
    Ok(())
}

fn not_a_thread() -> Result<SeccompRule, Error> {
    let thread = libc::CLONE_THREAD as u64;
    Ok(SeccompRule::new(vec![SeccompCondition::new(0, Len::Qword, Op::MaskedEq(thread), 0)?])?)
}

fn neither_of(families: &[libc::c_int]) -> Result<SeccompRule, Error> {
    let not =
        |family: &libc::c_int| SeccompCondition::new(0, Len::Dword, Op::Ne, u64::from(family.unsigned_abs()));
    Ok(SeccompRule::new(families.iter().map(not).collect::<Result<_, _>>()?)?)
}

/// Calls in `rules` get `answer`, all others pass.
fn install(rules: BTreeMap<libc::c_long, Vec<SeccompRule>>, answer: SeccompAction) -> Result<(), Error> {
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, std::env::consts::ARCH.try_into()?)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter_all_threads(&program)?)
}
