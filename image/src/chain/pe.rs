//! EFI programs (PE32+): sections added to one, and the hash that Secure Boot and the TPM take of it.
//!
//! The inputs are Debian's stub and what was made here, so a file of another shape is an error and nothing more.

use super::{field, sha256};
use anyhow::{Context, Result, bail};

/// Where the offset of the PE header is, by the format.
const HEADER_POINTER: usize = 0x3c;
/// Readable, initialized data.
const DATA: u32 = 0x4000_0040;
/// Bytes of a section's header.
const SECTION: usize = 40;

/// Offsets of the header's fields in a file.
struct Layout {
    pe: usize,
    optional: usize,
    table: usize,
    sections: usize,
}

impl Layout {
    fn of(file: &[u8]) -> Result<Self> {
        let read = || {
            let pe = usize::try_from(field::u32(file, HEADER_POINTER)?).ok()?;
            let optional = pe + 24;
            let ours = field::bytes(file, pe)? == *b"PE\0\0" && field::u16(file, optional)? == 0x20b;
            let table = optional + usize::from(field::u16(file, pe + 20)?);
            ours.then_some(Self { pe, optional, table, sections: field::u16(file, pe + 6)?.into() })
        };
        read().context("no PE32+ program")
    }

    /// Offset of the certificate table's entry among the data directories.
    fn certificates(&self) -> usize {
        self.optional + 112 + 4 * 8
    }

    fn checksum(&self) -> usize {
        self.optional + 64
    }
}

/// `program` with the sections, each with its name (at most 8 bytes) and content, behind its own.
///
/// # Errors
/// The program is of another format; its header has no room for so many.
pub fn with_sections(program: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let layout = Layout::of(program)?;
    let number = |at| field::u32(program, at).context("a header that ends early");
    let alignment = number(layout.optional + 32)?.max(0x1000);
    let file_alignment = number(layout.optional + 36)?;
    let headers = number(layout.optional + 60)?;
    let mut header = layout.table + SECTION * layout.sections;
    if header + SECTION * sections.len() > usize::try_from(headers)? {
        bail!("no room for {} more sections in the header", sections.len());
    }
    let (mut end, mut address) = (headers, headers);
    for index in 0..layout.sections {
        let at = layout.table + SECTION * index;
        address = address.max(number(at + 12)? + number(at + 8)?.max(number(at + 16)?));
        end = end.max(number(at + 20)? + number(at + 16)?);
    }
    let mut file = program.to_vec();
    // Behind the last section is the linker's symbol table, which nobody measures.
    file.resize(usize::try_from(end.next_multiple_of(file_alignment))?, 0);
    let write = |file: &mut Vec<u8>, at: usize, value: &[u8]| {
        field::put(file, at, value).context("a header that ends early")
    };
    for (name, content) in sections {
        address = address.next_multiple_of(alignment);
        let size = u32::try_from(content.len())?;
        let raw = size.next_multiple_of(file_alignment);
        let at = u32::try_from(file.len())?;
        let mut entry = [0; SECTION];
        field::put(&mut entry, 0, name.as_bytes()).filter(|()| name.len() <= 8).context("a long name")?;
        for (place, value) in [(8, size), (12, address), (16, raw), (20, at), (36, DATA)] {
            write_u32(&mut entry, place, value)?;
        }
        write(&mut file, header, &entry)?;
        header += SECTION;
        file.extend_from_slice(content);
        file.resize(usize::try_from(at + raw)?, 0);
        address += size;
    }
    let count = u16::try_from(layout.sections + sections.len())?;
    write(&mut file, layout.pe + 6, &count.to_le_bytes())?;
    // No symbols, and no checksum: the firmware looks at neither.
    write(&mut file, layout.pe + 12, &[0; 8])?;
    write(&mut file, layout.optional + 56, &address.next_multiple_of(alignment).to_le_bytes())?;
    write(&mut file, layout.checksum(), &[0; 4])?;
    Ok(file)
}

/// A program of one section of code, which starts at its beginning.
///
/// # Errors
/// The code is larger than a program may be.
pub fn of_code(code: &[u8]) -> Result<Vec<u8>> {
    const ALIGNMENT: u32 = 0x1000;
    let size = u32::try_from(code.len())?;
    let raw = size.next_multiple_of(0x200);
    let mut file = vec![0; 0x200];
    let words: [(usize, &[u8]); 6] = [
        (0, b"MZ"),
        (HEADER_POINTER, &[0x40]),
        (0x40, b"PE\0\0"),
        // x86-64, one section.
        (0x44, &[0x64, 0x86, 1, 0]),
        // 240 bytes of optional header; an executable image, no symbols, large addresses.
        (0x54, &[240, 0, 0x2e, 0x02]),
        (0x58, &[0x0b, 0x02]),
    ];
    for (at, bytes) in words {
        field::put(&mut file, at, bytes).context("a header")?;
    }
    let optional = 0x58;
    for (at, value) in [
        (4, raw),
        (16, ALIGNMENT),
        (20, ALIGNMENT),
        (32, ALIGNMENT),
        (36, 0x200),
        (56, ALIGNMENT + size.next_multiple_of(ALIGNMENT)),
        (60, 0x200),
        // An EFI application.
        (68, 10),
        (108, 16),
    ] {
        write_u32(&mut file, optional + at, value)?;
    }
    let section = optional + 240;
    field::put(&mut file, section, b".text").context("a header")?;
    // Code that may be read and executed.
    for (at, value) in [(8, size), (12, ALIGNMENT), (16, raw), (20, 0x200), (36, 0x6000_0020)] {
        write_u32(&mut file, section + at, value)?;
    }
    file.extend_from_slice(code);
    file.resize(usize::try_from(0x200 + raw)?, 0);
    Ok(file)
}

/// The content of the section called `name`, if there is one.
///
/// # Errors
/// The program is of another format.
pub fn section<'a>(program: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    let layout = Layout::of(program)?;
    for index in 0..layout.sections {
        let at = layout.table + SECTION * index;
        let called: [u8; 8] = field::bytes(program, at).context("a header that ends early")?;
        if called.split(|byte| *byte == 0).next() == Some(name.as_bytes()) {
            let number = |at| field::u32(program, at).map(|value| value as usize);
            let content = number(at + 20)
                .zip(number(at + 8))
                .and_then(|(start, size)| program.get(start..start.checked_add(size)?));
            return content.map(Some).context("a section outside of its file");
        }
    }
    Ok(None)
}

/// The Authenticode hash: all of the file but its checksum and its certificates. It is what is signed, and what the
/// firmware extends into PCR 4.
///
/// # Errors
/// The program is of another format.
pub fn authenticode(program: &[u8]) -> Result<[u8; 32]> {
    let layout = Layout::of(program)?;
    let (checksum, entry) = (layout.checksum(), layout.certificates());
    let at = field::u32(program, entry).context("a header that ends early")? as usize;
    let end = if at == 0 { program.len() } else { at };
    let part = |range: std::ops::Range<usize>| program.get(range).context("a header that ends early");
    // Signing fills the file up to a multiple of 8, and the hash is over that too.
    let padding = [0; 8];
    let missing = padding.get(..end.next_multiple_of(8) - end).unwrap_or_default();
    Ok(sha256(&[part(0..checksum)?, part(checksum + 4..entry)?, part(entry + 8..end)?, missing]))
}

fn write_u32(file: &mut [u8], at: usize, value: u32) -> Result<()> {
    field::put(file, at, &value.to_le_bytes()).context("a header that ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_were_added_are_found_and_keep_their_length() {
        let program = of_code(&[0xc3]).unwrap();
        let more = with_sections(&program, &[(".osrel", b"ID=x\n"), (".linux", &[7; 5000])]).unwrap();
        assert_eq!(section(&more, ".text").unwrap(), Some(&[0xc3][..]));
        assert_eq!(section(&more, ".osrel").unwrap(), Some(&b"ID=x\n"[..]));
        assert_eq!(section(&more, ".linux").unwrap(), Some(&[7; 5000][..]));
        assert_eq!(section(&more, ".pcrsig").unwrap(), None);
    }

    #[test]
    fn hash_covers_everything_but_checksum_and_certificates() {
        let mut program = of_code(&[0xc3]).unwrap();
        let before = authenticode(&program).unwrap();
        program[0x58 + 64] = 1;
        assert_eq!(authenticode(&program).unwrap(), before);
        program[0x200] = 0x90;
        assert_ne!(authenticode(&program).unwrap(), before);
    }

    #[test]
    fn header_without_room_and_other_files_are_refused() {
        let program = of_code(&[0xc3]).unwrap();
        assert!(with_sections(&program, &[(".a", b"1"), (".b", b"2")]).is_ok());
        assert!(with_sections(&program, &[(".a", &b"1"[..]); 9]).is_err());
        assert!(authenticode(b"MZ").is_err());
    }
}
