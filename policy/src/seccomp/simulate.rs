//! The kernel's classic BPF machine, as far as seccomp programs need it: for the tests, and for counting
//! what a program lets through.
//!
//! Written from `Documentation/networking/filter.rst`, not from the compiler beside it, so that one can show the
//! other wrong. A program that leaves its instructions, loads beside `struct seccomp_data` or uses an opcode that
//! seccomp does not need is a panic: a test fails, or the count.

/// What a syscall looks like to a program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data {
    pub(super) number: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

impl Data {
    /// The 32-bit word at `offset` of `struct seccomp_data`, little endian as both our architectures are.
    fn word(&self, offset: u32) -> u32 {
        assert_eq!(offset % 4, 0, "unaligned load");
        match offset {
            0 => self.number,
            4 => self.arch,
            8 | 12 => 0, // the instruction pointer
            16..=60 => {
                let index = (offset - 16) as usize;
                (self.args[index / 8] >> (index % 8 * 8)) as u32
            }
            _ => panic!("load at {offset} is outside of the data"),
        }
    }
}

/// Runs a program and returns its action.
pub(super) fn run(program: &[u8], data: &Data) -> u32 {
    let instruction = |at: usize| {
        let bytes = &program[at * 8..at * 8 + 8];
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        (
            code,
            usize::from(bytes[2]),
            usize::from(bytes[3]),
            u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        )
    };
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let (code, if_true, if_false, k) = instruction(at);
        let branch = |taken: bool| if taken { if_true } else { if_false };
        at += 1;
        match code {
            0x20 => accumulator = data.word(k),     // ld [k]
            0x54 => accumulator &= k,               // and #k
            0x05 => at += k as usize,               // ja
            0x15 => at += branch(accumulator == k), // jeq
            0x25 => at += branch(accumulator > k),  // jgt
            0x35 => at += branch(accumulator >= k), // jge
            0x06 => return k,                       // ret #k
            _ => panic!("opcode {code:#x}"),
        }
    }
}
