//! Random bytes from the kernel.

use std::io;

/// Fills `bytes`, at most 256, with random bytes; waits until the kernel has gathered enough, once after boot.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the kernel writes at most `len` bytes from the pointer on, which are ours alone for the call.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    match usize::try_from(got) {
        Ok(length) if length == bytes.len() => Ok(()),
        // No more than 256 bytes are never cut short by a signal: getrandom(2).
        Ok(_) => Err(io::ErrorKind::InvalidInput.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_bytes_differ() {
        let (mut one, mut other) = ([0; 32], [0; 32]);
        fill(&mut one).unwrap();
        fill(&mut other).unwrap();
        assert_ne!(one, other);
        assert_ne!(one, [0; 32]);
    }
}
