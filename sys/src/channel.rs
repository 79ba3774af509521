//! `SOCK_SEQPACKET` messages with descriptors: both ends of the `init`–`sandboxd` socket, and of the router's.
//!
//! One `recvmsg` gives one whole message and exactly its descriptors. A message that was cut is an error. Descriptors
//! that were cut (this process has too many open, or there were more than a bundle has) are an error of their own: what
//! the message asked for is still known, so that one request can be refused by name and the conversation goes on.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::sockopt::SndBuf;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair,
};

use crate::bundle::{BOX_FDS, KEPT_FDS_MAX, MESSAGE_MAX};

/// What a send buffer is asked to hold, bytes: the most that needs no privilege; the kernel doubles it. The answer to
/// `Hello` has to fit as a whole (256 boxes with all their ends are 320 KiB of the kernel's memory).
const SEND_BUFFER: usize = 212_992;

/// A connected, non-blocking, close-on-exec pair.
///
/// # Errors
/// Those of `socketpair(2)` and `setsockopt(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    setsockopt(&one, SndBuf, &SEND_BUFFER)?;
    setsockopt(&other, SndBuf, &SEND_BUFFER)?;
    Ok((one, other))
}

/// Sends one message. Never blocks, whatever whoever shares the socket has set: a full queue is `WouldBlock`.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send(socket: impl AsFd, message: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(message)], control, flags, None)?;
    Ok(())
}

/// A message's descriptors (close-on-exec): all of them, or `EMFILE` when some were cut and the rest is closed.
pub type Descriptors = io::Result<Vec<OwnedFd>>;

/// Receives one message and its descriptors. `Ok(None)` when the other end is gone.
///
/// # Errors
/// Those of `recvmsg(2)`; `InvalidData` for a message that was cut.
pub fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Descriptors)>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let Some((length, fds)) = receive_into(socket, &mut buffer)? else { return Ok(None) };
    buffer.truncate(length);
    buffer.shrink_to_fit();
    Ok(Some((buffer, fds)))
}

/// The same for messages of another size: the length of the one in `buffer` now, and its descriptors.
///
/// # Errors
/// As [`receive`].
pub fn receive_into(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Descriptors)>> {
    let (length, flags, fds) = receive_raw(socket.as_fd().as_raw_fd(), buffer)?;
    if flags & libc::MSG_TRUNC != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message was cut"));
    }
    let whole = flags & libc::MSG_CTRUNC == 0;
    let fds = if whole { Ok(fds) } else { Err(io::Error::from_raw_os_error(libc::EMFILE)) };
    Ok((length != 0).then_some((length, fds)))
}

/// `recvmsg(2)`, with the descriptors that came, however many those are. By hand, since `nix` gives none of a list that
/// was cut, and they would stay open.
fn receive_raw(socket: RawFd, buffer: &mut [u8]) -> io::Result<(usize, i32, Vec<OwnedFd>)> {
    const DESCRIPTORS: usize = (BOX_FDS + KEPT_FDS_MAX) * size_of::<RawFd>();
    // In words of eight bytes, because a control header, of two such words, must be aligned.
    let mut space = [0_u64; DESCRIPTORS.div_ceil(8) + 2];
    let mut fds = Vec::new();
    // SAFETY: all zero is an empty msghdr; its pointers lead to locals that outlive the call, with their lengths. The
    // walk is the kernel's own over what it wrote, and each descriptor was installed for us: nobody else owns it.
    unsafe {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = space.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_LEN(DESCRIPTORS as u32) as _;
        let length = libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT);
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let mut control = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(header) = control.as_ref() {
            if header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_RIGHTS {
                let bytes = header.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
                let list = libc::CMSG_DATA(control).cast::<RawFd>();
                let one = |at| OwnedFd::from_raw_fd(list.add(at).read_unaligned());
                fds.extend((0..bytes / size_of::<RawFd>()).map(one));
            }
            control = libc::CMSG_NXTHDR(&raw const message, control);
        }
        Ok((length, message.msg_flags, fds))
    }
}
