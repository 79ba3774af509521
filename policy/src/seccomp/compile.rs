//! Rules to one BPF program.
//!
//! The dispatch by number is a binary search over runs of numbers with the same answer; conditions follow it, a list of
//! values as one load and a comparison each. `seccompiler` would make a chain of five instructions per syscall, five per
//! value, and a program for each answer; loading those took 570 us where this takes a fraction of it, because the kernel
//! translates every instruction and tries every syscall number on every program at each launch. That trial is why calls
//! are allowed whatever their arguments where nothing is gained by looking: the kernel remembers those, and does not
//! run the program for them at all.
//!
//! What holds: the program agrees with the rules it was made from (the tests run both); a call of a foreign
//! architecture or, on x86-64, of the x32 ABI kills. Nothing an attacker controls gets here.

use super::rule::{Check, Rules, Test, When};
use libc::sock_filter;
use std::collections::BTreeMap;

/// `AUDIT_ARCH_*` of `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
pub(crate) const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCH: u32 = 0xc000_00b7;

/// Numbers from here on are not this ABI's: on x86-64 bit 30 marks x32, elsewhere none exist.
pub(super) const FOREIGN_NUMBERS: u32 = 0x4000_0000;

pub(super) const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
pub(super) const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
pub(super) const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// ENOSYS as well, as long as nobody traces the process.
pub(super) const UNTRACED: u32 = libc::SECCOMP_RET_TRACE;
pub(super) const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

type Program = Vec<sock_filter>;

/// A condition with more values than a conditional jump reaches over: 255 instructions.
#[derive(Debug)]
pub(super) struct TooLong;

/// A run of syscall numbers: the first of them, and the program that answers. The run ends where the next begins.
type Run = (u32, Program);

/// The program as the bytes of `struct sock_filter[]`, native endian.
///
/// `tables` are rules with the action of each, the strongest first; what none matches fails with EPERM.
/// The tables are constant but for what `Facts` choose among, and the tests compile every choice, so compiling cannot
/// fail. Should it, the program that comes out kills whatever it is asked.
pub(super) fn program(tables: &[(Rules, u32)]) -> Vec<u8> {
    let instructions = runs(tables).map(|runs| {
        let mut instructions = vec![load(ARCH_OFFSET), jump(JEQ, ARCH, 1, 0), ret(KILL), load(NUMBER_OFFSET)];
        instructions.extend(search(&runs));
        instructions
    });
    instructions.unwrap_or_else(|_| vec![ret(KILL)]).iter().flat_map(bytes).collect()
}

/// The answers in order of number, neighbours with the same answer joined.
fn runs(tables: &[(Rules, u32)]) -> Result<Vec<Run>, TooLong> {
    let mut answers: BTreeMap<u32, Program> = BTreeMap::new();
    for (rules, action) in tables {
        for (number, _, when) in rules.iter() {
            let answer = answers.entry(u32::try_from(number).unwrap_or(u32::MAX)).or_default();
            answer.extend(arguments(when, *action)?);
        }
    }
    let mut runs: Vec<Run> = Vec::new();
    let mut add = |first: u32, mut answer: Program, last_resort: u32| {
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
fn same_answer(a: &[sock_filter], b: &[sock_filter]) -> bool {
    matches!((a.first(), b.first()), (Some(a), Some(b)) if a.code == RET && bytes(a) == bytes(b))
}

/// Returns `action` if the arguments match, and goes on behind itself if not.
fn arguments(when: &When, action: u32) -> Result<Program, TooLong> {
    let When::Args(_, alternatives) = when else { return Ok(vec![ret(action)]) };
    let mut program = Program::new();
    for all in alternatives {
        // From the last condition to the first: what a condition skips when it fails is what stands behind it already.
        let mut alternative = vec![ret(action)];
        for check in all.iter().rev() {
            let mut before = condition(check, alternative.len())?;
            before.append(&mut alternative);
            alternative = before;
        }
        program.append(&mut alternative);
    }
    Ok(program)
}

/// Goes on behind itself if the condition holds, and `rest` instructions further if not.
fn condition(check: &Check, rest: usize) -> Result<Program, TooLong> {
    let low = load(ARGUMENTS_OFFSET + 8 * u32::from(check.arg));
    let over = reach(rest)?;
    Ok(match check.test {
        Test::Is(value) => vec![low, jump(JEQ, value, 0, over)],
        Test::IsNot(value) => vec![low, jump(JEQ, value, over, 0)],
        Test::Masked { mask, value } => vec![low, statement(AND, mask), jump(JEQ, value, 0, over)],
        Test::OneOf(values) => {
            let mut program = vec![low];
            for (index, value) in values.iter().enumerate() {
                let behind = values.len() - index - 1;
                let otherwise = if behind == 0 { over } else { 0 };
                program.push(jump(JEQ, *value, reach(behind)?, otherwise));
            }
            program
        }
        Test::Null => {
            let high = load(ARGUMENTS_OFFSET + 8 * u32::from(check.arg) + 4);
            vec![low, jump(JEQ, 0, 0, reach(rest + 2)?), high, jump(JEQ, 0, 0, over)]
        }
    })
}

fn reach(instructions: usize) -> Result<u8, TooLong> {
    u8::try_from(instructions).map_err(|_| TooLong)
}

/// The runs as a balanced tree of comparisons, with the number in the accumulator.
fn search(runs: &[Run]) -> Program {
    let (lower, upper) = runs.split_at(runs.len() / 2);
    let Some((first, answer)) = upper.first() else { return vec![ret(KILL)] };
    if lower.is_empty() {
        return match answer.first() {
            Some(only) if only.code == RET => vec![*only],
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
const AND: u16 = 0x54; // BPF_ALU | BPF_AND
const JA: u16 = 0x05; // BPF_JMP | BPF_JA
const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ
const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE
const RET: u16 = 0x06; // BPF_RET

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
/// The low half of the first argument, in little endian as both our architectures are; the high half follows.
const ARGUMENTS_OFFSET: u32 = 16;

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
