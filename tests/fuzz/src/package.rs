//! A package's content: entries of its tree, programs, and the image it comes as.

use package::elf::{self, Machine};
use package::erofs;
use package::gab::{self, Gab};
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

/// What is taken for a package has its parts within the file; what it is not taken for can be shown; and nobody's signature is another's.
/// The checksums are made right first: behind them is what matters.
pub fn gab(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    if let Some(table) = bytes.get(1024..1024 + 128 * 128).map(crc32)
        && let Some(header) = bytes.get_mut(512..604)
    {
        header[88..92].copy_from_slice(&table.to_le_bytes());
        header[16..20].fill(0);
        let sum = crc32(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
    }
    let found = match gab::read(&bytes[..]) {
        Ok(found) => found,
        Err(fault) => return assert!(is_printable(&fault.to_string())),
    };
    let Gab { data_at, data_blocks, tree_at, tree_blocks, root_hash, signature, .. } = found;
    let part = |at: u64, length: u64| &bytes[at as usize..(at + length) as usize];
    let image = part(data_at, data_blocks * 4096);
    part(tree_at, tree_blocks * 4096);
    if let Err(refusal) = gab::manifest(image, 4096) {
        assert!(is_printable(&refusal.to_string()), "{refusal}");
    }
    let hash: String = root_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some((at, length)) = signature {
        assert!(sandboxd::signed::check(part(at, length), &hash, &[7; 64]).is_err());
    }
}

/// As of GPT.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

/// As the kernel's `erofs_superblock_csum_verify` has it.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    })
}
