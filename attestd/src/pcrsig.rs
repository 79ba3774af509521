//! The signatures in a boot image over the states in which the data may be opened: the section `.pcrsig` of a Unified Kernel
//! Image, in systemd's JSON.
//!
//! The image lies on a partition that nobody verifies while it is read here: what is found is a claim, and the TPM judges it
//! by the key that the data was sealed to. What an attacker controls is all of the file, which is read within bounds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tpm::SignedPolicy;

/// Sections that a PE file may have, at most, and the longest signatures, bytes.
const SECTIONS_MAX: u16 = 96;
const SIGNATURES_MAX: u32 = 64 << 10;
/// Signatures that are tried.
const STATES_MAX: usize = 16;
/// The name of the section.
const NAME: &[u8; 8] = b".pcrsig\0";
/// Where a PE file says where its header is; bytes of the header and of an entry of the section table.
const HEADER_AT: u64 = 0x3c;
const HEADER: u64 = 24;
const ENTRY: u64 = 40;

#[derive(Deserialize)]
struct Signatures {
    #[serde(default)]
    sha256: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    pcrs: Vec<u8>,
    pol: String,
    sig: String,
}

/// The signed states in an image; none if it has none that can be read.
pub fn read(image: &File) -> Vec<SignedPolicy> {
    let text = section(image).unwrap_or_default();
    states(&text)
}

/// Reads the section's text.
pub fn states(text: &[u8]) -> Vec<SignedPolicy> {
    let Ok(signatures) = serde_json::from_slice::<Signatures>(trimmed(text)) else { return Vec::new() };
    signatures.sha256.into_iter().take(STATES_MAX).filter_map(state).collect()
}

fn state(signature: Signature) -> Option<SignedPolicy> {
    let pcrs_are = !signature.pcrs.is_empty() && signature.pcrs.iter().all(|pcr| *pcr < 24);
    let policy: evidence::Digest = signature.pol.parse().ok().filter(|_| pcrs_are)?;
    let signature_bytes = STANDARD.decode(&signature.sig).ok()?;
    Some(SignedPolicy { pcrs: signature.pcrs, policy: policy.0, signature: signature_bytes })
}

/// Sections are filled up with zeros.
fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    text.get(..end).unwrap_or_default()
}

fn section(image: &File) -> io::Result<Vec<u8>> {
    let header = u64::from(u32::from_le_bytes(at(image, HEADER_AT)?));
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    if at::<4>(image, header)? != *b"PE\0\0" {
        return Err(missing());
    }
    let count = u16::from_le_bytes(at(image, header + 6)?).min(SECTIONS_MAX);
    let optional = u64::from(u16::from_le_bytes(at(image, header + 20)?));
    for number in 0..u64::from(count) {
        let entry = header + HEADER + optional + number * ENTRY;
        if at::<8>(image, entry)? == *NAME {
            let length = u32::from_le_bytes(at(image, entry + 16)?);
            let start = u32::from_le_bytes(at(image, entry + 20)?);
            let mut bytes = vec![0; usize::try_from(length.min(SIGNATURES_MAX)).map_err(|_| missing())?];
            image.read_exact_at(&mut bytes, start.into())?;
            return Ok(bytes);
        }
    }
    Err(missing())
}

fn at<const N: usize>(image: &File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    image.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str = r#"{"sha256":[
        {"pcrs":[11],"pkfp":"ab","pol":"0000000000000000000000000000000000000000000000000000000000000001","sig":"AAEC"},
        {"pcrs":[11],"pkfp":"ab","pol":"00","sig":"AAEC"},{"pcrs":[99],"pkfp":"","pol":"","sig":""}]}"#;

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
    fn states_of_an_image_are_those_that_can_be_signatures() {
        let states = read(&image(NAME, TEXT.as_bytes()));
        let [state] = &states[..] else { panic!("{states:?}") };
        assert_eq!((&*state.pcrs, state.policy[31], &*state.signature), (&[11][..], 1, &[0, 1, 2][..]));
    }

    #[test]
    fn image_without_the_section_or_cut_has_none() {
        assert!(read(&image(b".linux\0\0", TEXT.as_bytes())).is_empty());
        assert!(read(&image(NAME, b"{")).is_empty());
        assert!(read(&File::open("/dev/null").unwrap()).is_empty());
    }
}
