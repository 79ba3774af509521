//! Big-endian numbers and sized buffers, which are all that TPM messages are made of (TPM 2.0 Library, part 2, clause 4).
//!
//! Reading: every byte is somebody else's. Nothing is taken beyond what is there, a size is compared with the most that
//! may come before it is used, and what is left over is a fault of the whole message.

/// Reads from the front. Every method is `None` when the bytes are not there.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What `read` makes of all of `bytes`: nothing may be left.
    pub fn whole<T>(bytes: &'a [u8], read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut reader = Self(bytes);
        let value = read(&mut reader)?;
        reader.0.is_empty().then_some(value)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A `TPM2B`: a size of two bytes, which is at most `most`, and as many bytes.
    pub fn sized(&mut self, most: usize) -> Option<&'a [u8]> {
        let size = usize::from(self.u16()?);
        if size > most { None } else { self.take(size) }
    }

    /// What `read` makes of a whole `TPM2B`.
    pub fn within<T>(&mut self, most: usize, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        Self::whole(self.sized(most)?, read)
    }

    /// Reads the two bytes of `expected` and nothing else.
    pub fn expect_u16(&mut self, expected: u16) -> Option<()> {
        (self.u16()? == expected).then_some(())
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Writes what [`Reader`] reads. What is written is ours, and bounded where it is made.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet, and room for so many bytes.
    #[must_use]
    pub fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Bytes as they are.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A byte.
    #[must_use]
    pub fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Four bytes.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// A `TPM2B`. What does not fit into one is cut, so that the TPM refuses it; whoever lets others choose `bytes` checks
    /// their number before.
    #[must_use]
    pub fn sized(self, bytes: &[u8]) -> Self {
        let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.u16(size).bytes(bytes.get(..usize::from(size)).unwrap_or_default())
    }

    /// What was written.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sized_longer_than_the_rest_or_the_most_is_nothing() {
        assert_eq!(Reader::new(&[0, 3, 1, 2]).sized(8), None);
        assert_eq!(Reader::new(&[0, 2, 1, 2]).sized(1), None);
        assert_eq!(Reader::new(&[0, 2, 1, 2]).sized(2), Some(&[1, 2][..]));
    }

    #[test]
    fn whole_with_something_left_is_nothing() {
        assert_eq!(Reader::whole(&[0, 1, 2], Reader::u16), None);
        assert_eq!(Reader::whole(&[0, 1], Reader::u16), Some(1));
        assert_eq!(Reader::whole(&[0, 2, 0, 1, 9], |r| r.within(2, Reader::u16)), None);
    }

    #[test]
    fn written_reads_back() {
        let bytes = Writer::new().u8(1).u16(2).u32(3).sized(b"ab").done();
        let read = Reader::whole(&bytes, |r| Some((r.u8()?, r.u16()?, r.u32()?, r.sized(2)?.to_vec())));
        assert_eq!(read, Some((1, 2, 3, b"ab".to_vec())));
    }
}
