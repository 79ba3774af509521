//! Segments that are zstd frames.
//!
//! A frame has to say how long its contents are, and to have them as its one window: nothing is kept beyond them, whatever
//! the frame's author wished for. An attacker controls every byte, until the digest is checked.

use ruzstd::decoding::FrameDecoder;

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// Frame header descriptor: one segment, no dictionary, no reserved bit.
const SINGLE: u8 = 1 << 5;
const CHECKSUM: u8 = 1 << 2;

/// What a frame of exactly `length` bytes holds.
pub(crate) fn open(frame: &[u8], length: usize) -> Option<Vec<u8>> {
    let rest = frame.strip_prefix(&MAGIC)?;
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0b0011_1111 & !CHECKSUM != SINGLE {
        return None;
    }
    let said = match descriptor >> 6 {
        0 => usize::from(*rest.first()?),
        1 => usize::from(u16::from_le_bytes(*rest.first_chunk()?)) + 256,
        2 => u32::from_le_bytes(*rest.first_chunk()?) as usize,
        _ => return None,
    };
    if said != length {
        return None;
    }
    let mut out = vec![0; length];
    let written = FrameDecoder::new().decode_all(frame, &mut out).ok()?;
    (written == length).then_some(out)
}
