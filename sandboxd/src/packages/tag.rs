//! Which package a bundle was made of, as a descriptor that `init` keeps with it: so whoever comes after us knows what runs,
//! whatever the ledger has come to name since. It goes the same way as the bundle, in the same message.
//!
//! A bundle of the image's own app has none.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

/// The tag of the package `number`.
pub fn make(number: u64) -> io::Result<OwnedFd> {
    sys::memfd::sealed(c"package", &number.to_le_bytes())
}

/// The number on a tag; `None` for what is none.
pub fn read(fd: &OwnedFd) -> Option<u64> {
    if !sys::memfd::is_sealed(fd.as_fd()) {
        return None;
    }
    let mut bytes = [0; 8];
    let file = File::from(fd.try_clone().ok()?);
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_is_read_and_what_is_none_is_not() {
        assert_eq!(read(&make(7).unwrap()), Some(7));
        assert_eq!(read(&File::open("/proc/self/ns/net").unwrap().into()), None);
        assert_eq!(read(&sys::memfd::sealed(c"short", b"1234").unwrap()), None);
    }
}
