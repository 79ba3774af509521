//! Each step of the launch order made to fail: the launch is refused with that step and errno, and nothing runs.
//!
//! The fault is a seccomp filter on the launching thread, which the child inherits: the one system call of the step
//! returns an errno that no kernel gives there, so a refusal for any other reason is noticed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use launch_test::{Bench, End};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter, SeccompRule,
};
use sys::step::Step;

/// EL3HLT: no system call of the launch returns it.
const FAULT: i32 = libc::EL3HLT;

/// Launches in a thread in which `syscall` (with `argument` number = `value`) fails.
fn with_fault(syscall: libc::c_long, condition: Option<(u8, Op, u64)>) -> End {
    let bench = Bench::new("echo ran", "").unwrap();
    let rules = condition.map_or_else(Vec::new, |(argument, op, value)| {
        let condition = SeccompCondition::new(argument, Len::Dword, op, value).unwrap();
        vec![SeccompRule::new(vec![condition]).unwrap()]
    });
    let filter = SeccompFilter::new(
        BTreeMap::from([(syscall, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(FAULT.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    std::thread::scope(|scope| {
        let launching = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            bench.launch().unwrap()
        });
        launching.join().unwrap()
    })
}

fn refused_at(step: Step, syscall: libc::c_long, condition: Option<(u8, Op, u64)>) {
    match with_fault(syscall, condition) {
        End::Refused(at, errno) => assert_eq!((at, errno), (step, FAULT)),
        End::Ran(text) => panic!("the program ran: {text}"),
    }
}

fn prctl(operation: libc::c_int) -> Option<(u8, Op, u64)> {
    Some((0, Op::Eq, u64::from(operation.unsigned_abs())))
}

#[test]
fn clone_failing_is_refused() {
    refused_at(Step::Clone, libc::SYS_clone3, None);
}

#[test]
fn close_fds_failing_is_refused() {
    refused_at(Step::CloseFds, libc::SYS_close_range, None);
}

#[test]
fn stdio_failing_is_refused_as_close_fds() {
    refused_at(Step::CloseFds, libc::SYS_dup2, None);
}

#[test]
fn network_failing_is_refused() {
    refused_at(Step::Network, libc::SYS_setns, Some((1, Op::Eq, libc::CLONE_NEWNET as u64)));
}

#[test]
fn mount_namespace_failing_is_refused() {
    refused_at(Step::Mounts, libc::SYS_setns, Some((1, Op::Eq, libc::CLONE_NEWNS as u64)));
}

#[test]
fn private_mount_copy_failing_is_refused() {
    refused_at(Step::Mounts, libc::SYS_unshare, None);
}

#[test]
fn tmp_failing_is_refused() {
    refused_at(Step::Tmp, libc::SYS_mount, None);
}

#[test]
fn proc_failing_is_refused() {
    refused_at(Step::Proc, libc::SYS_mount, Some((3, Op::MaskedEq(libc::MS_RDONLY), libc::MS_RDONLY)));
}

#[test]
fn limits_failing_are_refused() {
    refused_at(Step::Limits, libc::SYS_setsid, None);
}

#[test]
fn hostname_failing_is_refused() {
    refused_at(Step::Hostname, libc::SYS_sethostname, None);
}

#[test]
fn directory_failing_is_refused() {
    refused_at(Step::Directory, libc::SYS_chdir, None);
}

#[test]
fn groups_failing_are_refused() {
    refused_at(Step::Groups, libc::SYS_setgroups, None);
}

#[test]
fn gid_failing_is_refused() {
    refused_at(Step::Gid, libc::SYS_setresgid, None);
}

#[test]
fn uid_failing_is_refused() {
    refused_at(Step::Uid, libc::SYS_setresuid, None);
}

#[test]
fn bounding_set_failing_is_refused() {
    refused_at(Step::Capabilities, libc::SYS_prctl, prctl(libc::PR_CAPBSET_DROP));
}

#[test]
fn securebits_failing_are_refused() {
    refused_at(Step::Capabilities, libc::SYS_prctl, prctl(libc::PR_SET_SECUREBITS));
}

#[test]
fn capset_failing_is_refused() {
    refused_at(Step::Capabilities, libc::SYS_capset, None);
}

#[test]
fn no_new_privs_failing_is_refused() {
    refused_at(Step::NoNewPrivs, libc::SYS_prctl, prctl(libc::PR_SET_NO_NEW_PRIVS));
}

#[test]
fn dumpable_failing_is_refused() {
    refused_at(Step::Dumpable, libc::SYS_prctl, prctl(libc::PR_SET_DUMPABLE));
}

#[test]
fn write_xor_execute_failing_is_refused() {
    refused_at(Step::WriteXorExecute, libc::SYS_prctl, prctl(65));
}

#[test]
fn landlock_failing_is_refused() {
    refused_at(Step::Landlock, libc::SYS_landlock_restrict_self, None);
}

#[test]
fn seccomp_failing_is_refused() {
    refused_at(Step::Seccomp, libc::SYS_seccomp, None);
}

#[test]
fn exec_failing_is_refused() {
    refused_at(Step::Exec, libc::SYS_execve, None);
}

#[test]
fn every_step_has_a_refusal_test() {
    let this = include_str!("refusal.rs");
    for step in Step::ALL {
        assert!(this.contains(&format!("Step::{step:?}")), "no refusal test for {step:?}");
    }
}
