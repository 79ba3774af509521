//! Sealed memfds: bytes that, once written, nobody can change, however the descriptor is passed on.
//!
//! The seccomp program of a box travels this way: `init` maps or reads it at each launch and may rely on its
//! being what `sandboxd` wrote. The bytes are the caller's.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

const SEALS: libc::c_int = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;

/// A close-on-exec memfd that holds exactly `bytes`, sealed against any change and against execution. `name` shows up
/// in `/proc/PID/fd`.
pub fn sealed(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = File::from(create(name)?);
    // The offset stays at the beginning, where a reader expects it.
    file.write_all_at(bytes, 0)?;
    add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Whether nobody can change the bytes of this memfd any more. Nothing that is no memfd is ever sealed.
pub fn is_sealed(fd: impl AsFd) -> bool {
    has_seals(fd, SEALS)
}

/// An empty memfd that can be sealed.
pub(crate) fn create(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING | libc::MFD_NOEXEC_SEAL;
    // SAFETY: `name` is NUL-terminated and outlives the call, which only reads it.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn add_seals(fd: impl AsFd, seals: libc::c_int) -> io::Result<()> {
    // SAFETY: integers only.
    if unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(crate) fn has_seals(fd: impl AsFd, seals: libc::c_int) -> bool {
    // SAFETY: integers only.
    let found = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_GET_SEALS) };
    found >= 0 && found & seals == seals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_memfd_holds_bytes_and_refuses_change() {
        let file = File::from(sealed(c"test", b"abc").unwrap());
        assert!(is_sealed(&file));
        let mut buf = [0; 8];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 3);
        assert_eq!(&buf[..3], b"abc");
        assert_eq!(file.write_at(b"x", 0).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(file.set_len(1).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(file.set_len(9).unwrap_err().raw_os_error(), Some(libc::EPERM));
    }
    #[test]
    fn what_can_be_changed_is_not_sealed() {
        let file = create(c"test").unwrap();
        assert!(!is_sealed(&file));
        add_seals(&file, SEALS & !libc::F_SEAL_WRITE).unwrap();
        assert!(!is_sealed(&file) && !is_sealed(File::open("/dev/null").unwrap()));
    }
}
