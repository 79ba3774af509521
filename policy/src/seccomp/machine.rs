//! The kernel's classic BPF machine, as far as our seccomp programs need it.
//!
//! Written from `Documentation/networking/filter.rst`, not from the compiler beside it, so that one can show the
//! other wrong. What it cannot run (a program that leaves its instructions, loads anything but number, architecture and
//! arguments, or uses an opcode that is not needed) it does not guess: `None`.

/// What a syscall looks like to a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    pub(crate) number: u32,
    pub(crate) arch: u32,
    pub(crate) args: [u64; 6],
}

impl Data {
    /// The 32-bit word at `offset` of `struct seccomp_data`.
    fn word(&self, offset: u32) -> Option<u32> {
        match offset {
            0 => Some(self.number),
            4 => Some(self.arch),
            _ => {
                let (index, high) = argument(offset)?;
                let value = *self.args.get(index)?;
                // Truncation is the point: one of the two halves.
                Some(if high { (value >> 32) as u32 } else { value as u32 })
            }
        }
    }
}

/// Where `struct seccomp_data` has the arguments.
const ARGS: u32 = 16;

/// Which argument lies at `offset`, and whether it is its upper half (both our architectures are little-endian).
pub(crate) fn argument(offset: u32) -> Option<(usize, bool)> {
    let from = offset.checked_sub(ARGS)?;
    (from.is_multiple_of(4) && from < 48).then_some(((from / 8) as usize, from % 8 == 4))
}

/// `struct sock_filter`.
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) if_true: u8,
    pub(crate) if_false: u8,
    pub(crate) k: u32,
}

/// The instruction at index `at`.
pub(crate) fn instruction(program: &[u8], at: usize) -> Option<Instruction> {
    let bytes: [u8; 8] = program.get(at.checked_mul(8)?..)?.get(..8)?.try_into().ok()?;
    let [c0, c1, if_true, if_false, k0, k1, k2, k3] = bytes;
    let k = u32::from_ne_bytes([k0, k1, k2, k3]);
    Some(Instruction { code: u16::from_ne_bytes([c0, c1]), if_true, if_false, k })
}

/// Whether a jump is taken; `None` if it is no conditional jump we know.
pub(crate) fn taken(code: u16, accumulator: u32, k: u32) -> Option<bool> {
    match code {
        0x15 => Some(accumulator == k), // jeq
        0x25 => Some(accumulator > k),  // jgt
        0x35 => Some(accumulator >= k), // jge
        _ => None,
    }
}

/// Runs a program and gives its action.
pub(crate) fn run(program: &[u8], data: &Data) -> Option<u32> {
    let (mut at, mut accumulator) = (0_usize, 0_u32);
    // Jumps only go forward, so it ends with the program.
    loop {
        let Instruction { code, if_true, if_false, k } = instruction(program, at)?;
        at += 1;
        match code {
            0x20 => accumulator = data.word(k)?,      // ld [k]
            0x54 => accumulator &= k,                 // and #k
            0x05 => at = at.checked_add(k as usize)?, // ja
            0x06 => return Some(k),                   // ret #k
            _ => at += usize::from(if taken(code, accumulator, k)? { if_true } else { if_false }),
        }
    }
}
