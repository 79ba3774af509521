//! What is sent: text that needs no escaping, and what it adds up to, so that a receiver has to read all of it.

/// Longest payload that comes back as it went. Longer ones are taken, added up, and answered by the sum.
pub(crate) const ECHOED_MAX: usize = 64 * 1024;

/// So many bytes, printable.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| b'a' + (n % 23) as u8).collect()
}

/// The sum of its 64-bit words.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    words.fold(0, u64::wrapping_add)
}
