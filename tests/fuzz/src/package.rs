//! A package's content: entries of its tree, programs, and the image it comes as.

use package::elf::{self, Machine};
use package::erofs;
use package::tree::{BYTES_MAX, DEPTH_MAX, ENTRIES_MAX, Entry, Kind, PATH_MAX, Tree};

use crate::is_printable;

/// Bytes that begin as an ELF file does are a program; others are entries, one a line: a byte for the kind, a byte for the mode,
/// the path.
pub fn package(bytes: &[u8]) {
    if bytes.starts_with(b"\x7fELF") { program(bytes) } else { entries(bytes) }
}

/// What is taken for a program has, read as the kernel reads it, no segment that is writable and executable, and says that
/// its stack is not.
fn program(bytes: &[u8]) {
    let found = match elf::check(bytes, Machine::X86_64) {
        Ok(found) => found,
        Err(fault) => return assert!(is_printable(&fault.to_string())),
    };
    let Some(program) = found else { return };
    assert!(program.loader.is_none_or(|path| path.starts_with('/') && !path.contains('\0')));
    let number = |at: usize, width: usize| {
        bytes[at..at + width].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    // e_phoff, e_phnum; then p_type and p_flags of each, of 56 bytes.
    let (table, count) = (number(32, 8), number(56, 2));
    let mut stack = None;
    for at in (0..count).map(|segment| table + 56 * segment) {
        let (kind, flags) = (number(at, 4), number(at + 4, 4));
        match kind {
            1 => assert_ne!(flags & 3, 3, "PT_LOAD"),
            0x6474_e551 => stack = Some(flags),
            _ => {}
        }
    }
    assert_eq!(stack.map(|flags| flags & 1), Some(0), "PT_GNU_STACK");
}

/// What is taken is a plain entry whose name can be shown and leads nowhere else; what is not is named so that it can be shown.
fn entries(bytes: &[u8]) {
    let mut tree = Tree::default();
    for line in bytes.split(|byte| *byte == b'\n').take(64) {
        let [kind, mode, path @ ..] = line else { continue };
        let kind = match kind % 6 {
            0 => Kind::Directory,
            1 => Kind::File(u64::from(*mode) << 24),
            2 => Kind::Link(u64::from(*mode) * 5),
            3 => Kind::Device,
            4 => Kind::Fifo,
            _ => Kind::Socket,
        };
        let mode = u32::from(*mode) << 4 | 0o644;
        match tree.add(&Entry { path, kind, mode, attributes: &[] }) {
            Ok(()) => {
                assert!(matches!(kind, Kind::Directory | Kind::File(_) | Kind::Link(_)));
                assert!(mode & 0o6000 == 0 || matches!(kind, Kind::Link(_)));
                assert!(path.len() <= PATH_MAX && path.split(|b| *b == b'/').count() <= DEPTH_MAX);
                assert!(path.split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b"..")));
                assert!(std::str::from_utf8(path).is_ok_and(is_printable), "{path:?}");
            }
            Err(problem) => assert!(is_printable(&problem.to_string()), "{problem}"),
        }
    }
}

/// An EROFS image, with the checksum of its superblock made right: what is wrong with it can be shown, what is taken is within a
/// package's bounds.
pub fn image(bytes: &[u8]) {
    const SUPERBLOCK: std::ops::Range<usize> = 1024..4096;
    let mut bytes = bytes.to_vec();
    if let Some(block) = bytes.get_mut(SUPERBLOCK) {
        block[4..8].fill(0);
        let sum = crc32c(block);
        block[4..8].copy_from_slice(&sum.to_le_bytes());
    }
    match erofs::check(&bytes[..], Machine::X86_64) {
        Ok(contents) => assert!(contents.entries <= ENTRIES_MAX && contents.bytes <= BYTES_MAX),
        Err(refusal) => assert!(is_printable(&refusal.to_string()), "{refusal}"),
    }
}

/// As the kernel's `erofs_superblock_csum_verify` has it.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}
