//! Rules to one BPF program.
//!
//! `seccompiler` compiles the argument conditions; the dispatch by number is ours: a binary search over runs of
//! numbers with the same answer. `seccompiler`'s own dispatch is a chain of five instructions per syscall with one
//! answer for a match and one for the rest, so a box would need three programs; loading those took 570 µs where this
//! takes a fraction of it, because the kernel translates every instruction and tries every syscall number on every program
//! at each launch.
//!
//! What holds: the program agrees with the rules it was made from (the tests run both); a call of a foreign
//! architecture or, on x86-64, of the x32 ABI kills. Nothing an attacker controls gets here.

use super::rule::{Check, Rules, Test, When};
use seccompiler::{
    BackendError, BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule, sock_filter,
};
use std::collections::BTreeMap;

/// `AUDIT_ARCH_*` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCH: u32 = 0xc000_00b7;

/// Numbers from here on are not this ABI's: on x86-64 bit 30 marks x32, elsewhere none exist.
pub(super) const FOREIGN_NUMBERS: u32 = 0x4000_0000;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
pub(super) const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
pub(super) const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// A run of syscall numbers: the first of them, and the program that answers. The run ends where the next begins.
type Run = (u32, BpfProgram);

/// The program as the bytes of `struct sock_filter[]`, native endian.
///
/// The tables are constant but for what `Facts` choose among, and the tests compile every choice, so compiling cannot
/// fail. Should it, the program that comes out kills whatever it is asked.
pub(super) fn program(killed: &Rules, absent: &Rules, allowed: &Rules) -> Vec<u8> {
    let instructions = runs(killed, absent, allowed).map(|runs| {
        let mut instructions = vec![load(ARCH_OFFSET), jump(JEQ, ARCH, 1, 0), ret(KILL), load(NUMBER_OFFSET)];
        instructions.extend(search(&runs));
        instructions
    });
    instructions.unwrap_or_else(|_| vec![ret(KILL)]).iter().flat_map(bytes).collect()
}

/// The answers in order of number, neighbours with the same answer joined. A syscall in several tables is killed if
/// the first matches, absent if the second does, allowed if the third does, and refused otherwise.
fn runs(killed: &Rules, absent: &Rules, allowed: &Rules) -> Result<Vec<Run>, BackendError> {
    let mut answers: BTreeMap<u32, BpfProgram> = BTreeMap::new();
    for (rules, action) in [(killed, KILL), (absent, ENOSYS), (allowed, ALLOW)] {
        for (number, _, when) in rules.iter() {
            let answer = answers.entry(u32::try_from(number).unwrap_or(u32::MAX)).or_default();
            answer.extend(arguments(when, action)?);
        }
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut add = |first: u32, mut answer: BpfProgram, last_resort: u32| {
        answer.push(ret(last_resort));
        if runs.last().is_none_or(|(_, before)| !same_answer(before, &answer)) {
            runs.push((first, answer));
        }
    };
    let mut next = 0;
    for (number, answer) in answers {
        if number > next || next == 0 {
            add(next, Vec::new(), EPERM);
        }
        add(number, answer, EPERM);
        next = number + 1;
    }
    add(next, Vec::new(), EPERM);
    add(FOREIGN_NUMBERS, Vec::new(), KILL);
    Ok(runs)
}

/// Whether two answers begin by returning the same: what follows a return is never reached.
fn same_answer(a: &BpfProgram, b: &BpfProgram) -> bool {
    matches!((a.first(), b.first()), (Some(a), Some(b)) if a.code == RET && a == b)
}

/// Returns `action` if the arguments match, and goes on behind itself if not.
fn arguments(when: &When, action: u32) -> Result<BpfProgram, BackendError> {
    let When::Args(_, alternatives) = when else { return Ok(vec![ret(action)]) };
    let mut program = BpfProgram::new();
    for all in alternatives {
        let conditions: Result<Vec<SeccompCondition>, _> = all.iter().map(condition).collect();
        // As seccompiler chains them: a rule falls through when it matches, and skips one instruction more if not.
        program.extend(BpfProgram::from(SeccompRule::new(conditions?)?));
        program.push(ret(action));
    }
    Ok(program)
}

fn condition(check: &Check) -> Result<SeccompCondition, BackendError> {
    let (width, operation, value) = match check.test {
        Test::Is(value) => (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
        Test::IsNot(value) => (SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value),
        Test::Masked { mask, value } => (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask.into()), value),
        Test::Null => (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
    };
    SeccompCondition::new(check.arg, width, operation, value.into())
}

/// The runs as a balanced tree of comparisons, with the number in the accumulator.
fn search(runs: &[Run]) -> BpfProgram {
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let Some((first, answer)) = upper.first() else { return vec![ret(KILL)] };
    if lower.is_empty() {
        return match answer.first() {
            Some(only) if only.code == RET => vec![only.clone()],
            _ => answer.clone(),
        };
    }
    let below = search(lower);
    // A conditional jump reaches 255 instructions; behind it stands one that reaches any.
    let mut program = match u8::try_from(below.len()) {
        Ok(reach) => vec![jump(JGE, *first, reach, 0)],
        Err(_) => {
            vec![jump(JGE, *first, 0, 1), statement(JA, u32::try_from(below.len()).unwrap_or(u32::MAX))]
        }
    };
    program.extend(below);
    program.extend(search(upper));
    program
}

/// Opcodes of `linux/bpf_common.h`, with `BPF_K`.
const LD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JA: u16 = 0x05; // BPF_JMP | BPF_JA
const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ
const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE
const RET: u16 = 0x06; // BPF_RET

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;

fn load(offset: u32) -> sock_filter {
    statement(LD, offset)
}

fn ret(action: u32) -> sock_filter {
    statement(RET, action)
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn bytes(instruction: &sock_filter) -> [u8; 8] {
    let [code_0, code_1] = instruction.code.to_ne_bytes();
    let [k_0, k_1, k_2, k_3] = instruction.k.to_ne_bytes();
    [code_0, code_1, instruction.jt, instruction.jf, k_0, k_1, k_2, k_3]
}
