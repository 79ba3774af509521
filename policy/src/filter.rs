//! What a compiled seccomp program answers to a call, arguments included.
//!
//! `explain` answers from the tables, by syscall; this answers from the program itself, for calls that were really made.
//! What it cannot run it does not guess: the answer is `None`. The programs come from this crate, so nothing hostile is
//! run here; an attacker may have chosen a call's arguments.

use crate::seccomp::ARCH;
use crate::seccomp::machine::{Data, Instruction, argument, instruction, run, taken};

/// A system call as a seccomp program sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// Its number.
    pub number: u32,
    /// Its arguments, as registers.
    pub args: [u64; 6],
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// It is made.
    Allowed,
    /// It fails with this errno.
    Fails(u16),
    /// The process is killed.
    Killed,
}

/// What `programs` together answer: as in the kernel, the least that any of them lets through.
pub fn reply(programs: &[Vec<u8>], call: &Call) -> Option<Reply> {
    let replies = programs.iter().map(|program| reply_of(program, call));
    replies.collect::<Option<Vec<_>>>()?.into_iter().max()
}

fn reply_of(program: &[u8], call: &Call) -> Option<Reply> {
    action(run(program, &Data { number: call.number, arch: ARCH, args: call.args })?)
}

fn action(value: u32) -> Option<Reply> {
    match value & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_ALLOW => Some(Reply::Allowed),
        libc::SECCOMP_RET_ERRNO => {
            Some(Reply::Fails(u16::try_from(value & libc::SECCOMP_RET_DATA).unwrap_or_default()))
        }
        // As long as nobody traces the process.
        libc::SECCOMP_RET_TRACE => u16::try_from(libc::ENOSYS).ok().map(Reply::Fails),
        libc::SECCOMP_RET_KILL_PROCESS => Some(Reply::Killed),
        _ => None,
    }
}

/// Which arguments of the syscall `number` the programs may look at, on any path: bit *n* is argument *n*. Two calls that
/// differ in the others only get the same reply.
pub fn arguments_read(programs: &[Vec<u8>], number: u32) -> u8 {
    programs.iter().fold(0, |mask, program| mask | read_by(program, number))
}

fn read_by(program: &[u8], number: u32) -> u8 {
    let mut mask = 0;
    let mut open = vec![(0usize, None)];
    let mut seen = std::collections::BTreeSet::new();
    while let Some((at, known)) = open.pop() {
        if !seen.insert((at, known)) {
            continue;
        }
        let Some(Instruction { code, if_true, if_false, k }) = instruction(program, at) else { continue };
        let next = at + 1;
        match (code, known) {
            (0x20, _) => {
                let value = match k {
                    0 => Some(number),
                    4 => Some(ARCH),
                    _ => {
                        mask |= argument(k).map_or(0, |(index, _)| 1 << index);
                        None
                    }
                };
                open.push((next, value));
            }
            (0x54, known) => open.push((next, known.map(|value| value & k))),
            (0x05, known) => open.push((next.saturating_add(k as usize), known)),
            (0x06, _) => {}
            (_, known) => {
                let way = known.and_then(|value| taken(code, value, k));
                let branches = [(true, if_true), (false, if_false)];
                let open_ways = branches.iter().filter(|(taken, _)| way.is_none_or(|way| way == *taken));
                open.extend(open_ways.map(|(_, skip)| (next + usize::from(*skip), known)));
            }
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Board, Plan, check, compile};

    fn plan(rest: &str) -> Plan {
        let app = "[app]\nid = \"com.example.a\"\nversion = \"1.0.0\"\nexec = [\"/bin/a\"]\n";
        compile(&check(&format!("{app}{rest}"), &Board::default()).unwrap())
    }

    fn call(number: libc::c_long, args: [u64; 6]) -> Call {
        Call { number: u32::try_from(number).unwrap(), args }
    }

    #[test]
    fn reply_depends_on_number_and_arguments() {
        let plan = plan("");
        let of = |number, args| reply(&plan.seccomp, &call(number, args));
        assert_eq!(of(libc::SYS_read, [0; 6]), Some(Reply::Allowed));
        assert_eq!(of(libc::SYS_ptrace, [0; 6]), Some(Reply::Killed));
        assert_eq!(of(libc::SYS_clone3, [0; 6]), Some(Reply::Fails(38)));
        assert_eq!(of(libc::SYS_clone, [0x11, 0, 0, 0, 0, 0]), Some(Reply::Allowed));
        assert_eq!(of(libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0]), Some(Reply::Fails(1)));
        assert_eq!(of(libc::SYS_mmap, [0, 4096, 7, 0, 0, 0]), Some(Reply::Fails(1)));
        assert_eq!(of(libc::SYS_mmap, [0, 4096, 5, 2, 3, 0]), Some(Reply::Allowed));
    }

    #[test]
    fn reply_of_what_is_no_program_is_none() {
        let read = call(libc::SYS_read, [0; 6]);
        for program in [vec![], vec![0; 7], vec![0xff; 8]] {
            assert_eq!(reply(&[program], &read), None);
        }
    }

    #[test]
    fn arguments_read_are_those_that_can_change_the_reply() {
        let plan = plan("");
        let of = |number: libc::c_long| arguments_read(&plan.seccomp, u32::try_from(number).unwrap());
        assert_eq!(of(libc::SYS_read), 0);
        assert_eq!(of(libc::SYS_clone), 0b1);
        assert_eq!(of(libc::SYS_mmap), 0b1100);
        assert_eq!(of(libc::SYS_socket) & 1, 1);
    }
}
