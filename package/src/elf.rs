//! ELF files: is this one a program that keeps memory either writable or executable?
//!
//! What the kernel and the dynamic loader read before any filter is asked: program headers, `PT_GNU_STACK`, the dynamic
//! section's flags. Parsing is the `elf` crate's, which knows no `unsafe`; only these tables are ever in memory.

use std::fmt;

use elf::abi;
use elf::dynamic::DynamicTable;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};

use crate::read::{ReadAt, Unreadable};

/// What a file is that starts like an ELF file and has nothing wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its dynamic loader (`PT_INTERP`), which must be in the package too.
    pub loader: Option<String>,
}

/// What is wrong with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It begins like an ELF file and is none that can be read.
    Unreadable,
    /// It is for another kind of processor.
    Foreign,
    /// It has no `PT_GNU_STACK`, so the kernel makes its stack, and all that it may read, executable.
    NoStackHeader,
    /// `PT_GNU_STACK` asks for an executable stack.
    ExecutableStack,
    /// A segment is writable and executable.
    WritableCode,
    /// Its code is to be changed when it is loaded (`DT_TEXTREL`).
    TextRelocations,
    /// `PT_INTERP` is no absolute path.
    Loader,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "begins like a program (ELF) and is damaged",
            Self::Foreign => "is a program for another processor than the package's",
            Self::NoStackHeader => {
                "does not say that its stack is not executable: link it with `-z noexecstack`"
            }
            Self::ExecutableStack => "asks for an executable stack: link it with `-z noexecstack`",
            Self::WritableCode => {
                "has a segment that is writable and executable: link it without `-N` and without such a section"
            }
            Self::TextRelocations => "has relocations in its code: compile it with `-fPIC`",
            Self::Loader => "names a dynamic loader by something else than an absolute path",
        })
    }
}

impl std::error::Error for Fault {}

/// Processors that packages are made for, by `e_machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// `EM_X86_64`.
    X86_64,
    /// `EM_AARCH64`.
    Aarch64,
}

impl Machine {
    /// The one that this code is compiled for.
    pub const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    fn number(self) -> u16 {
        match self {
            Self::X86_64 => abi::EM_X86_64,
            Self::Aarch64 => abi::EM_AARCH64,
        }
    }
}

/// Longest table of program headers that the kernel reads, bytes (`load_elf_phdrs`).
const SEGMENTS_MAX: usize = 65_536;
/// Longest dynamic section that is looked at. Those of Debian's largest programs have 1 KiB.
const DYNAMIC_MAX: u64 = 65_536;
/// The kernel's `PATH_MAX`, which bounds `PT_INTERP`.
const LOADER_MAX: u64 = 4096;
const HEADER: usize = 64;
const SEGMENT: u16 = 56;

/// Checks the content of a file. `None`: it is no ELF file, or one that nothing runs (an object file).
///
/// # Errors
/// The first fault.
pub fn check(content: &(impl ReadAt + ?Sized), machine: Machine) -> Result<Option<Program>, Fault> {
    let Ok(magic) = content.array::<4>(0) else { return Ok(None) };
    if magic != abi::ELFMAGIC {
        return Ok(None);
    }
    let header: [u8; HEADER] = content.array(0).map_err(|Unreadable| Fault::Unreadable)?;
    // Another class or byte order is another machine's.
    if header[4..6] != [abi::ELFCLASS64, abi::ELFDATA2LSB] {
        return Err(Fault::Foreign);
    }
    let (ident, tail) = header.split_at(abi::EI_NIDENT);
    let ident = parse_ident::<LittleEndian>(ident).map_err(|_| Fault::Unreadable)?;
    let header = FileHeader::parse_tail(ident, tail).map_err(|_| Fault::Unreadable)?;
    if !matches!(header.e_type, abi::ET_EXEC | abi::ET_DYN) {
        return Ok(None);
    }
    if header.e_machine != machine.number() {
        return Err(Fault::Foreign);
    }
    let length = usize::from(header.e_phnum) * usize::from(SEGMENT);
    if header.e_phentsize != SEGMENT || length > SEGMENTS_MAX {
        return Err(Fault::Unreadable);
    }
    let table = piece(content, header.e_phoff, length)?;
    let segments = SegmentTable::new(LittleEndian, Class::ELF64, &table);
    judge(content, segments.iter())
}

fn judge(
    content: &(impl ReadAt + ?Sized),
    segments: impl Iterator<Item = ProgramHeader>,
) -> Result<Option<Program>, Fault> {
    let (mut stack, mut loader) = (None, None);
    for segment in segments {
        let end = segment.p_offset.checked_add(segment.p_filesz).ok_or(Fault::Unreadable)?;
        if end > content.size() {
            return Err(Fault::Unreadable);
        }
        match segment.p_type {
            abi::PT_LOAD if segment.p_flags & (abi::PF_W | abi::PF_X) == abi::PF_W | abi::PF_X => {
                return Err(Fault::WritableCode);
            }
            // Of several, the kernel takes the last.
            abi::PT_GNU_STACK => stack = Some(segment.p_flags),
            // Of several, the kernel takes the first.
            abi::PT_INTERP if loader.is_none() => {
                let bytes = bounded(content, &segment, LOADER_MAX)?;
                loader = Some(path(&bytes).ok_or(Fault::Loader)?);
            }
            abi::PT_DYNAMIC if text_relocations(&bounded(content, &segment, DYNAMIC_MAX)?) => {
                return Err(Fault::TextRelocations);
            }
            _ => {}
        }
    }
    match stack {
        None => Err(Fault::NoStackHeader),
        Some(flags) if flags & abi::PF_X != 0 => Err(Fault::ExecutableStack),
        Some(_) => Ok(Some(Program { loader })),
    }
}

fn bounded(content: &(impl ReadAt + ?Sized), segment: &ProgramHeader, most: u64) -> Result<Vec<u8>, Fault> {
    let length = Some(segment.p_filesz).filter(|length| *length <= most).ok_or(Fault::Unreadable)?;
    piece(content, segment.p_offset, length as usize)
}

/// `length` is bounded by the caller.
fn piece(content: &(impl ReadAt + ?Sized), at: u64, length: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![0; length];
    content.read_at(at, &mut bytes).map_err(|Unreadable| Fault::Unreadable)?;
    Ok(bytes)
}

fn path(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes.strip_suffix(&[0])?).ok()?;
    (text.starts_with('/') && !text.contains('\0')).then(|| text.to_owned())
}

/// `DF_TEXTREL` of `DT_FLAGS`.
const DF_TEXTREL: u64 = 4;

fn text_relocations(section: &[u8]) -> bool {
    let entries = DynamicTable::new(LittleEndian, Class::ELF64, section);
    entries.iter().take_while(|entry| entry.d_tag != abi::DT_NULL).any(|entry| {
        entry.d_tag == abi::DT_TEXTREL || entry.d_tag == abi::DT_FLAGS && entry.d_val() & DF_TEXTREL != 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit little-endian file with these segments (type, flags), and nothing in them.
    fn file(machine: u16, segments: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [3_u16, machine] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend(1_u32.to_le_bytes());
        for word in [0_u64, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, segments.len() as u16, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for (kind, flags) in segments {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend([0; 48]);
        }
        bytes
    }

    const RW: u32 = abi::PF_R | abi::PF_W;
    const RX: u32 = abi::PF_R | abi::PF_X;

    fn verdict(segments: &[(u32, u32)]) -> Result<Option<Program>, Fault> {
        check(&file(abi::EM_X86_64, segments)[..], Machine::X86_64)
    }

    #[test]
    fn program_that_keeps_memory_apart_is_good() {
        let good = [(abi::PT_LOAD, RX), (abi::PT_LOAD, RW), (abi::PT_GNU_STACK, RW)];
        assert_eq!(verdict(&good), Ok(Some(Program { loader: None })));
        assert_eq!(check(&b"#!/bin/sh\n"[..], Machine::X86_64), Ok(None));
        let running = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check(&running[..], Machine::HERE).unwrap().is_some());
    }

    #[test]
    fn program_with_an_executable_stack_or_none_said_is_refused() {
        assert_eq!(verdict(&[(abi::PT_LOAD, RX)]), Err(Fault::NoStackHeader));
        assert_eq!(verdict(&[(abi::PT_GNU_STACK, RW | abi::PF_X)]), Err(Fault::ExecutableStack));
        // The kernel goes by the last one.
        let twice = [(abi::PT_GNU_STACK, RW), (abi::PT_GNU_STACK, RW | abi::PF_X)];
        assert_eq!(verdict(&twice), Err(Fault::ExecutableStack));
    }

    #[test]
    fn program_with_a_segment_that_is_both_is_refused() {
        let both = [(abi::PT_LOAD, RW | abi::PF_X), (abi::PT_GNU_STACK, RW)];
        assert_eq!(verdict(&both), Err(Fault::WritableCode));
    }

    #[test]
    fn program_for_another_machine_or_cut_short_is_refused() {
        let other = file(abi::EM_AARCH64, &[(abi::PT_GNU_STACK, RW)]);
        assert_eq!(check(&other[..], Machine::X86_64), Err(Fault::Foreign));
        let mut narrow = file(abi::EM_X86_64, &[(abi::PT_GNU_STACK, RW)]);
        narrow[4] = 1;
        assert_eq!(check(&narrow[..], Machine::X86_64), Err(Fault::Foreign));
        let whole = file(abi::EM_X86_64, &[(abi::PT_LOAD, RX), (abi::PT_GNU_STACK, RW)]);
        for end in 4..whole.len() {
            assert!(check(&whole[..end], Machine::X86_64).is_err(), "{end}");
        }
    }

    #[test]
    fn number_of_segments_that_stands_elsewhere_is_refused() {
        let mut bytes = file(abi::EM_X86_64, &[(abi::PT_LOAD, RX), (abi::PT_GNU_STACK, RW)]);
        // A section header whose `sh_info` says two, of a file whose own header says as many as there can be.
        let at = bytes.len() as u64;
        bytes[40..48].copy_from_slice(&at.to_le_bytes());
        bytes[56..58].copy_from_slice(&abi::PN_XNUM.to_le_bytes());
        bytes.extend([0; 64]);
        bytes[at as usize + 44] = 2;
        assert_eq!(check(&bytes[..], Machine::X86_64), Err(Fault::Unreadable));
    }

    #[test]
    fn text_relocations_are_seen_whatever_sections_say() {
        let segments = [(abi::PT_LOAD, RX), (abi::PT_DYNAMIC, RW), (abi::PT_GNU_STACK, RW)];
        let mut bytes = file(abi::EM_X86_64, &segments);
        let at = bytes.len() as u64;
        let header = 64 + 56;
        bytes[header + 8..header + 16].copy_from_slice(&at.to_le_bytes());
        bytes[header + 32..header + 40].copy_from_slice(&32_u64.to_le_bytes());
        bytes.extend(abi::DT_TEXTREL.to_le_bytes());
        bytes.extend([0; 24]);
        assert_eq!(check(&bytes[..], Machine::X86_64), Err(Fault::TextRelocations));
        // One section, and no dynamic one.
        let sections = bytes.len() as u64;
        bytes[40..48].copy_from_slice(&sections.to_le_bytes());
        bytes[60] = 1;
        bytes.extend([0; 64]);
        assert_eq!(check(&bytes[..], Machine::X86_64), Err(Fault::TextRelocations));
    }

    #[test]
    fn segment_past_the_end_of_the_file_is_refused() {
        let mut bytes = file(abi::EM_X86_64, &[(abi::PT_LOAD, RX), (abi::PT_GNU_STACK, RW)]);
        bytes[64 + 8..64 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes[64 + 32..64 + 40].copy_from_slice(&2_u64.to_le_bytes());
        assert_eq!(check(&bytes[..], Machine::X86_64), Err(Fault::Unreadable));
    }
}
