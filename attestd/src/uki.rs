//! The section `.pcrsig` of a Unified Kernel Image: the signatures over the states in which the data may be opened.
//!
//! The image lies on a partition that nobody verifies while it is read here: what is found is a claim, and the TPM judges it
//! by the key that the data was sealed to. What an attacker controls is all of the file, which is read within bounds.

use std::fs::File;

/// The longest signatures, bytes.
const SIGNATURES_MAX: u32 = 64 << 10;

/// What is in the section, with the zeros that fill it up; nothing if the image has none that can be read.
pub fn signatures(image: &File) -> Vec<u8> {
    slots::program::section(image, ".pcrsig", SIGNATURES_MAX).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A PE file with one section.
    fn image(name: &[u8; 8], text: &[u8]) -> File {
        let mut bytes = vec![0; 0x200];
        bytes[0x3c] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        bytes[0x86] = 1;
        let entry = 0x80 + 24;
        bytes[entry..entry + 8].copy_from_slice(name);
        bytes[entry + 16..entry + 20].copy_from_slice(&(text.len() as u32 + 3).to_le_bytes());
        bytes[entry + 20..entry + 24].copy_from_slice(&0x200_u32.to_le_bytes());
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(&[0; 3]);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn signatures_of_an_image_are_its_sections_bytes() {
        assert_eq!(signatures(&image(b".pcrsig\0", b"{}")), b"{}\0\0\0");
    }

    #[test]
    fn image_without_the_section_or_cut_has_none() {
        assert!(signatures(&image(b".linux\0\0", b"{}")).is_empty());
        assert!(signatures(&File::open("/dev/null").unwrap()).is_empty());
        let cut = image(b".pcrsig\0", b"{}");
        cut.set_len(0x201).unwrap();
        assert!(signatures(&cut).is_empty());
    }
}
