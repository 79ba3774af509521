//! The first 4096 bytes of each copy of a header (clause 2.1): what it is, which copy is newer, and a checksum over it and
//! the JSON behind it.
//!
//! A checksum says that nothing was damaged, and nothing about who wrote it.

use ring::digest;

use crate::error::Error;

/// Bytes of one copy: the binary part and the JSON. The least that the format has, and what `cryptsetup` makes.
pub(crate) const SIZE: usize = 16 * 1024;

/// Bytes of the binary part.
pub(crate) const BINARY: usize = 4096;

const MAGIC: [[u8; 6]; 2] = [*b"LUKS\xba\xbe", *b"SKUL\xba\xbe"];
const CHECKSUM: std::ops::Range<usize> = 448..480;
const ALGORITHM: std::ops::Range<usize> = 72..104;
const UUID: std::ops::Range<usize> = 168..208;

/// What the binary part says besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    /// Of two whole copies the one with the higher number counts.
    pub(crate) sequence: u64,
    /// At most 36 characters of a UUID.
    pub(crate) uuid: String,
}

/// Both copies, with `json` in each. `salts` make their checksums differ.
pub(crate) fn write(binary: &Binary, json: &[u8], salts: &[[u8; 64]; 2]) -> Result<Vec<u8>, Error> {
    let mut both = Vec::with_capacity(2 * SIZE);
    for (copy, salt) in salts.iter().enumerate() {
        let mut bytes = vec![0; SIZE];
        let mut put = |at: usize, field: &[u8]| {
            bytes
                .get_mut(at..at + field.len())
                .map(|place| place.copy_from_slice(field))
                .ok_or(Error::TooLong)
        };
        put(0, MAGIC.get(copy).ok_or(Error::TooLong)?)?;
        put(6, &2_u16.to_be_bytes())?;
        put(8, &(SIZE as u64).to_be_bytes())?;
        put(16, &binary.sequence.to_be_bytes())?;
        put(ALGORITHM.start, b"sha256")?;
        put(104, salt)?;
        put(UUID.start, binary.uuid.as_bytes())?;
        put(256, &((copy * SIZE) as u64).to_be_bytes())?;
        // A NUL behind the text at least.
        put(BINARY, &[json, &[0]].concat())?;
        let sum = digest::digest(&digest::SHA256, &bytes);
        bytes.get_mut(CHECKSUM).ok_or(Error::TooLong)?.copy_from_slice(sum.as_ref());
        both.extend(bytes);
    }
    Ok(both)
}

/// The newer of the copies that are whole, and its JSON.
pub(crate) fn read(both: &[u8]) -> Result<(Binary, &[u8]), Error> {
    let copies = [both.get(..SIZE), both.get(SIZE..2 * SIZE)];
    let whole = copies.into_iter().enumerate().filter_map(|(number, copy)| read_copy(copy?, number));
    // Of two equal ones the first.
    let newest = whole.reduce(|one, other| if other.0.sequence > one.0.sequence { other } else { one });
    newest.ok_or(if both.starts_with(&MAGIC[0]) { Error::Damaged } else { Error::Absent })
}

fn read_copy(copy: &[u8], number: usize) -> Option<(Binary, &[u8])> {
    let u64_at = |at: usize| copy.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
    let is_ours = copy.starts_with(MAGIC.get(number)?)
        && copy.get(6..8)? == [0, 2]
        && u64_at(8)? == SIZE as u64
        && u64_at(256)? == (number * SIZE) as u64
        && text(copy.get(ALGORITHM)?)? == "sha256";
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(copy.get(..CHECKSUM.start)?);
    context.update(&[0; 64]);
    context.update(copy.get(CHECKSUM.start + 64..)?);
    if !is_ours || copy.get(CHECKSUM)? != context.finish().as_ref() {
        return None;
    }
    let uuid = text(copy.get(UUID)?)?.to_owned();
    let json = copy.get(BINARY..)?;
    let end = json.iter().position(|byte| *byte == 0)?;
    Some((Binary { sequence: u64_at(16)?, uuid }, json.get(..end)?))
}

/// Printable ASCII up to the first NUL, which has to be there.
fn text(field: &[u8]) -> Option<&str> {
    let end = field.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(field.get(..end)?).ok()?;
    text.bytes().all(|byte| byte.is_ascii_graphic()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(first: u64, second: u64) -> Vec<u8> {
        let write = |sequence, json: &[u8]| {
            write(&Binary { sequence, uuid: "u".into() }, json, &[[1; 64], [2; 64]]).expect("it fits")
        };
        let (one, two) = (write(first, b"{1}"), write(second, b"{2}"));
        [&one[..SIZE], &two[SIZE..]].concat()
    }

    #[test]
    fn newer_copy_counts_and_the_older_one_where_that_is_damaged() {
        assert_eq!(read(&both(1, 2)).expect("whole").1, b"{2}");
        assert_eq!(read(&both(3, 2)).expect("whole").1, b"{1}");
        assert_eq!(read(&both(2, 2)).expect("whole").1, b"{1}");
        for at in [0, 7, 16, 170, BINARY, SIZE - 1] {
            let mut bytes = both(3, 2);
            bytes[at] ^= 1;
            assert_eq!(read(&bytes).expect("one is whole").1, b"{2}", "{at}");
        }
    }

    #[test]
    fn two_damaged_copies_are_none_and_what_never_was_a_header_is_told_apart() {
        let mut bytes = both(1, 1);
        bytes[100] ^= 1;
        bytes[SIZE + 100] ^= 1;
        assert!(matches!(read(&bytes), Err(Error::Damaged)));
        assert!(matches!(read(&vec![0; 2 * SIZE]), Err(Error::Absent)));
        // The first copy is written last: without it the second was never finished.
        bytes[..512].fill(0);
        assert!(matches!(read(&bytes), Err(Error::Absent)));
        assert!(matches!(read(&[]), Err(Error::Absent)));
    }
}
