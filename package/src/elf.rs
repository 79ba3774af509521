//! ELF files: is this one a program that keeps memory either writable or executable?
//!
//! What the kernel and the dynamic loader read before any filter is asked: program headers, `PT_GNU_STACK`, the dynamic
//! section's flags. Parsing is the `elf` crate's, which knows no `unsafe`.

use std::fmt;

use elf::ElfBytes;
use elf::abi;
use elf::dynamic::DynamicTable;
use elf::endian::LittleEndian;
use elf::segment::ProgramHeader;

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

/// Checks the whole content of a file. `None`: it is no ELF file, or one that nothing runs (an object file).
///
/// # Errors
/// The first fault.
pub fn check(content: &[u8], machine: Machine) -> Result<Option<Program>, Fault> {
    if !content.starts_with(&abi::ELFMAGIC) {
        return Ok(None);
    }
    // Another class or byte order is another machine's.
    if content.get(4..6) != Some(&[abi::ELFCLASS64, abi::ELFDATA2LSB]) {
        return Err(Fault::Foreign);
    }
    let file = ElfBytes::<LittleEndian>::minimal_parse(content).map_err(|_| Fault::Unreadable)?;
    if !matches!(file.ehdr.e_type, abi::ET_EXEC | abi::ET_DYN) {
        return Ok(None);
    }
    if file.ehdr.e_machine != machine.number() {
        return Err(Fault::Foreign);
    }
    // Where the real number of segments would stand elsewhere, neither the kernel nor the loader looks for it.
    if file.ehdr.e_phnum == abi::PN_XNUM {
        return Err(Fault::Unreadable);
    }
    let segments = file.segments().ok_or(Fault::Unreadable)?;
    let mut stack = None;
    let mut loader = None;
    for segment in segments {
        let end = segment.p_offset.checked_add(segment.p_filesz).ok_or(Fault::Unreadable)?;
        if usize::try_from(end).map_or(true, |end| end > content.len()) {
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
                let bytes = file.segment_data(&segment).map_err(|_| Fault::Unreadable)?;
                loader = Some(path(bytes).ok_or(Fault::Loader)?);
            }
            abi::PT_DYNAMIC if text_relocations(&file, &segment)? => return Err(Fault::TextRelocations),
            _ => {}
        }
    }
    match stack {
        None => return Err(Fault::NoStackHeader),
        Some(flags) if flags & abi::PF_X != 0 => return Err(Fault::ExecutableStack),
        Some(_) => {}
    }
    Ok(Some(Program { loader }))
}

fn path(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes.strip_suffix(&[0])?).ok()?;
    (text.starts_with('/') && !text.contains('\0')).then(|| text.to_owned())
}

/// `DF_TEXTREL` of `DT_FLAGS`.
const DF_TEXTREL: u64 = 4;

/// Of the segment, as the loader reads it: what section headers say is nothing to it.
fn text_relocations(file: &ElfBytes<'_, LittleEndian>, segment: &ProgramHeader) -> Result<bool, Fault> {
    let bytes = file.segment_data(segment).map_err(|_| Fault::Unreadable)?;
    let entries = DynamicTable::new(file.ehdr.endianness, file.ehdr.class, bytes);
    Ok(entries.iter().take_while(|entry| entry.d_tag != abi::DT_NULL).any(|entry| {
        entry.d_tag == abi::DT_TEXTREL || entry.d_tag == abi::DT_FLAGS && entry.d_val() & DF_TEXTREL != 0
    }))
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
        check(&file(abi::EM_X86_64, segments), Machine::X86_64)
    }

    #[test]
    fn program_that_keeps_memory_apart_is_good() {
        let good = [(abi::PT_LOAD, RX), (abi::PT_LOAD, RW), (abi::PT_GNU_STACK, RW)];
        assert_eq!(verdict(&good), Ok(Some(Program { loader: None })));
        assert_eq!(check(b"#!/bin/sh\n", Machine::X86_64), Ok(None));
        let running = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(check(&running, Machine::HERE).unwrap().is_some());
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
        assert_eq!(check(&other, Machine::X86_64), Err(Fault::Foreign));
        let mut narrow = file(abi::EM_X86_64, &[(abi::PT_GNU_STACK, RW)]);
        narrow[4] = 1;
        assert_eq!(check(&narrow, Machine::X86_64), Err(Fault::Foreign));
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
        assert_eq!(check(&bytes, Machine::X86_64), Err(Fault::Unreadable));
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
        assert_eq!(check(&bytes, Machine::X86_64), Err(Fault::TextRelocations));
        // One section, and no dynamic one.
        let sections = bytes.len() as u64;
        bytes[40..48].copy_from_slice(&sections.to_le_bytes());
        bytes[60] = 1;
        bytes.extend([0; 64]);
        assert_eq!(check(&bytes, Machine::X86_64), Err(Fault::TextRelocations));
    }

    #[test]
    fn segment_past_the_end_of_the_file_is_refused() {
        let mut bytes = file(abi::EM_X86_64, &[(abi::PT_LOAD, RX), (abi::PT_GNU_STACK, RW)]);
        bytes[64 + 8..64 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
        bytes[64 + 32..64 + 40].copy_from_slice(&2_u64.to_le_bytes());
        assert_eq!(check(&bytes, Machine::X86_64), Err(Fault::Unreadable));
    }
}
