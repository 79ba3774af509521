//! Bytes and descriptors together, on any Unix socket.
//!
//! What a peer sends is read without waiting on it ([`Wait::No`]) or with; descriptors are close-on-exec, at most
//! [`FDS_MAX`] for one reading; surplus ones are closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, MsgFlags, recvmsg, sendmsg};

/// Most descriptors with one message.
pub const FDS_MAX: usize = 8;
/// The kernel's own limit, `SCM_MAX_FD`. There is room for all of them, so that surplus ones are seen.
const KERNEL_FDS_MAX: usize = 253;

/// Whether to wait when nothing is there, or no room. The socket's own flag does not matter for [`Wait::No`]: other
/// processes have duplicates of it and could change that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `WouldBlock` instead.
    No,
    /// Unless the socket is non-blocking.
    Yes,
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes; 0 at the end of a stream.
    pub bytes: usize,
    /// The message was longer than the buffer (not for streams).
    pub cut: bool,
    /// There were descriptors that were not wanted, or more than [`FDS_MAX`]: they are closed.
    pub surplus: bool,
}

/// Receives bytes, and no descriptor.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], wait: Wait) -> io::Result<Received> {
    let mut io = [IoSliceMut::new(buffer)];
    let got = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut io, None, flags(wait))?;
    Ok(Received {
        bytes: got.bytes,
        cut: got.flags.contains(MsgFlags::MSG_TRUNC),
        // Without room for descriptors the kernel closes them and says so.
        surplus: got.flags.contains(MsgFlags::MSG_CTRUNC),
    })
}

/// Receives bytes and adds the descriptors that came with them to `fds`.
///
/// # Errors
/// Those of `recvmsg(2)`.
pub fn receive_with(
    socket: impl AsFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: Wait,
) -> io::Result<Received> {
    let mut space = Space([0; SPACE]);
    let mut io = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeroes is a message header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut io;
    header.msg_iovlen = 1;
    header.msg_control = space.0.as_mut_ptr().cast();
    header.msg_controllen = SPACE as _;
    let flags = flags(wait) | MsgFlags::MSG_CMSG_CLOEXEC;
    // SAFETY: the header names `buffer` and `space`, with their lengths; both live until after the call.
    let bytes = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags.bits()) };
    let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
    let before = fds.len();
    // SAFETY: the kernel has filled the header in.
    unsafe { take_descriptors(&header, fds) };
    let surplus = fds.len() > before + FDS_MAX || header.msg_flags & libc::MSG_CTRUNC != 0;
    fds.truncate(before + FDS_MAX);
    Ok(Received { bytes, cut: header.msg_flags & libc::MSG_TRUNC != 0, surplus })
}

/// Takes every descriptor that the kernel installed. nix shows none of them when some did not fit, be it into the
/// buffer or into the process: they would stay open, and a peer could fill our table with them.
///
/// # Safety
/// The kernel must have filled `header` in, and nobody else may have looked at it.
unsafe fn take_descriptors(header: &libc::msghdr, fds: &mut Vec<OwnedFd>) {
    // SAFETY: the header names a control buffer, with the length that the kernel wrote there.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: `at` is a control message inside the buffer; it is aligned as the buffer is.
        let message = unsafe { &*at };
        if (message.cmsg_level, message.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: no memory is touched.
            let around = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (message.cmsg_len as usize).saturating_sub(around) / size_of::<RawFd>();
            // SAFETY: as above; the data begins behind the header.
            let data: *const RawFd = unsafe { libc::CMSG_DATA(at) }.cast();
            for n in 0..count {
                // SAFETY: the kernel wrote `count` descriptors there, and has just installed them for us alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(data.add(n).read_unaligned()) });
            }
        }
        // SAFETY: as for the first one.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
}

/// Room for every descriptor that one message can have; 16 for its header.
const SPACE: usize = 16 + 4 * KERNEL_FDS_MAX + 4;

/// Aligned as `struct cmsghdr` is.
#[repr(align(8))]
struct Space([u8; SPACE]);

/// Sends bytes, as many as there is room for, with descriptors. Never raises `SIGPIPE`.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[impl AsFd], wait: Wait) -> io::Result<usize> {
    let socket = socket.as_fd().as_raw_fd();
    let flags = flags(wait) | MsgFlags::MSG_NOSIGNAL;
    if fds.is_empty() {
        return Ok(nix::sys::socket::send(socket, bytes, flags)?);
    }
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    Ok(sendmsg::<()>(socket, &[IoSlice::new(bytes)], &rights, flags, None)?)
}

fn flags(wait: Wait) -> MsgFlags {
    match wait {
        Wait::No => MsgFlags::MSG_DONTWAIT,
        Wait::Yes => MsgFlags::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::net::UnixStream;

    fn null(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn descriptors_arrive_with_their_bytes() {
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, b"abc", &null(2), Wait::No).unwrap();
        let (mut buffer, mut fds) = ([0; 8], Vec::new());
        let got = receive_with(&other, &mut buffer, &mut fds, Wait::No).unwrap();
        assert_eq!((got.bytes, got.surplus, fds.len()), (3, false, 2));
    }

    #[test]
    fn descriptors_that_are_not_wanted_are_noticed() {
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, b"abc", &null(1), Wait::No).unwrap();
        let got = receive(&other, &mut [0; 8], Wait::No).unwrap();
        assert_eq!(got, Received { bytes: 3, cut: false, surplus: true });
    }

    #[test]
    fn descriptors_beyond_the_most_are_noticed() {
        let (one, other) = UnixStream::pair().unwrap();
        send(&one, b"a", &null(KERNEL_FDS_MAX), Wait::No).unwrap();
        let mut fds = null(1);
        let got = receive_with(&other, &mut [0; 8], &mut fds, Wait::No).unwrap();
        assert!(got.surplus);
        assert_eq!(fds.len(), 1 + FDS_MAX);
    }

    #[test]
    fn empty_socket_is_not_waited_for() {
        let (one, _other) = UnixStream::pair().unwrap();
        let error = receive(&one, &mut [0; 8], Wait::No).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
