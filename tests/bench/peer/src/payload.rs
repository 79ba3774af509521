//! What is sent: text that needs no escaping, and what it adds up to, so that a receiver has to read all of it.

/// Longest payload that comes back as it went. Longer ones are taken, added up, and answered by the sum.
pub(crate) const ECHOED_MAX: usize = 64 * 1024;

/// So many bytes, printable.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| b'a' + (n % 23) as u8).collect()
}

/// The sum of its 64-bit words.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    let (fours, rest) = words.as_chunks::<4>();
    let add = |sum: u64, word: &[u8; 8]| sum.wrapping_add(u64::from_ne_bytes(*word));
    // By hand: at this profile's optimisation nobody else unrolls it, and adding up must not be what is measured.
    let sums =
        fours.iter().fold([0; 4], |[a, b, c, d], [w, x, y, z]| [add(a, w), add(b, x), add(c, y), add(d, z)]);
    rest.iter().fold(sums.into_iter().fold(0, u64::wrapping_add), add)
}
