//! What is in a kernel image: the sections of an EFI program (PE, as UEFI 2.10 has it), of which a Unified Kernel Image has one for
//! each of its parts.
//!
//! Whoever had the disk, or sent the image, may have written all of it: it is read within bounds, and nothing of it is
//! trusted that was not signed.

use crate::disk::{Disk, field};
use crate::fault::Fault;

/// Sections that are looked at.
const SECTIONS_MAX: u16 = 96;
/// Where the file says where its header is; bytes of the header, and of an entry of the section table.
const HEADER_AT: u64 = 0x3c;
const HEADER: usize = 24;
const ENTRY: usize = 40;

/// What is in the section `name` of a program, with the zeros that fill it up, and at most `most` bytes.
///
/// # Errors
/// It is no program, or is cut; it has no such section, or a longer one; the disk's.
pub fn section(program: &impl Disk, name: &str, most: u32) -> Result<Vec<u8>, Fault> {
    let mut header = [0; 4];
    read(program, HEADER_AT, &mut header)?;
    let at = u64::from(field::u32(&header, 0));
    let mut header = [0; HEADER];
    read(program, at, &mut header)?;
    if !header.starts_with(b"PE\0\0") {
        return Err(PROGRAM);
    }
    let first = at + HEADER as u64 + u64::from(field::u16(&header, 20));
    let count = field::u16(&header, 6).min(SECTIONS_MAX);
    for number in 0..u64::from(count) {
        let mut entry = [0; ENTRY];
        read(program, first + number * ENTRY as u64, &mut entry)?;
        let called = entry.get(..8).unwrap_or_default();
        if called.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
            let length = field::u32(&entry, 16);
            if length > most {
                return Err(Fault::Long(length.into()));
            }
            let mut content = vec![0; usize::try_from(length).unwrap_or_default()];
            read(program, field::u32(&entry, 20).into(), &mut content)?;
            return Ok(content);
        }
    }
    Err(Fault::Missing(format!("{name} in the kernel image")))
}

const PROGRAM: Fault = Fault::Damaged("the kernel image: it is no program");

fn read(program: &impl Disk, at: u64, into: &mut [u8]) -> Result<(), Fault> {
    program.read(at, into).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => PROGRAM,
        _ => Fault::Disk(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{self, ErrorKind};

    struct Bytes(Vec<u8>);

    impl Disk for Bytes {
        fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(at).map_err(|_| ErrorKind::UnexpectedEof)?;
            let end = at.checked_add(into.len()).ok_or(ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(self.0.get(at..end).ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            Err(ErrorKind::PermissionDenied.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn program(name: &[u8], text: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 0x200];
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 1;
        let entry = 0x80 + HEADER;
        bytes[entry..entry + name.len()].copy_from_slice(name);
        bytes[entry + 16..entry + 20].copy_from_slice(&(text.len() as u32 + 3).to_le_bytes());
        bytes[entry + 20..entry + 24].copy_from_slice(&0x200_u32.to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(&[0; 3]);
        bytes
    }

    #[test]
    fn section_is_found_by_its_name_and_not_when_it_is_longer_than_asked_or_cut() {
        let bytes = program(b".cmdline", b"ro");
        assert_eq!(section(&Bytes(bytes.clone()), ".cmdline", 5).unwrap(), b"ro\0\0\0");
        assert!(matches!(section(&Bytes(bytes.clone()), ".cmdline", 4), Err(Fault::Long(5))));
        assert!(matches!(section(&Bytes(bytes.clone()), ".cmd", 5), Err(Fault::Missing(_))));
        assert_eq!(section(&Bytes(program(b".cmd", b"ro")), ".cmd", 5).unwrap(), b"ro\0\0\0");
        for length in 0..bytes.len() {
            assert!(section(&Bytes(bytes[..length].to_vec()), ".cmdline", 5).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn section_of_any_bytes_ends(mut bytes in proptest::collection::vec(any::<u8>(), 0x40..600), at in 0_u8..=255) {
            bytes[0x3c..0x40].copy_from_slice(&u32::from(at).to_le_bytes());
            if let Some(place) = bytes.get_mut(usize::from(at)..usize::from(at) + 4) {
                place.copy_from_slice(b"PE\0\0");
            }
            let _ = section(&Bytes(bytes), ".linux", 1 << 20);
        }
    }
}
