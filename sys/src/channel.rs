//! `SOCK_SEQPACKET` messages with descriptors, both ends of the `init`–`sandboxd` socket.
//!
//! One `recvmsg` gives one whole message and exactly its descriptors: a message that was cut, or that carried more
//! descriptors than there is room for, is an error and its descriptors are closed.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};

use crate::bundle::{BOX_FDS, KEPT_FDS_MAX, MESSAGE_MAX};

/// A connected, non-blocking, close-on-exec pair.
///
/// # Errors
/// Those of `socketpair(2)`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one message. Never blocks on a socket made by [`pair`]: a full queue is `WouldBlock`.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send(socket: impl AsFd, message: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(message)], control, flags, None)?;
    Ok(())
}

/// Receives one message and its descriptors (close-on-exec). `Ok(None)` when the other end is gone.
///
/// # Errors
/// Those of `recvmsg(2)`; `InvalidData` for a message or descriptor list that was cut.
pub fn receive(socket: impl AsFd) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_MAX];
    let mut space = nix::cmsg_space!([RawFd; BOX_FDS + KEPT_FDS_MAX]);
    let mut fds = Vec::new();
    let (length, cut) = {
        let mut io = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let got = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut io, Some(&mut space), flags)?;
        let cut = got.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        if let Ok(control) = got.cmsgs() {
            for message in control {
                if let ControlMessageOwned::ScmRights(list) = message {
                    // SAFETY: the kernel has just installed these descriptors for us; nobody else owns them.
                    fds.extend(list.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
            }
        }
        (got.bytes, cut)
    };
    if cut {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message or its descriptors were cut"));
    }
    if length == 0 {
        return Ok(None);
    }
    buffer.truncate(length);
    buffer.shrink_to_fit();
    Ok(Some((buffer, fds)))
}
