//! The kernel's audit subsystem: what it is told to record, and its records, read from the multicast group. This is how
//! a call that a box was refused is known, whichever layer refused it.
//!
//! [`AuditSocket`] reads (`CAP_AUDIT_READ`), [`AuditControl`] sets rules (`CAP_AUDIT_CONTROL`). Messages come from the
//! kernel (the sender's port is checked to be 0) but contain text an app chose, such as its `comm`: whoever
//! parses them must expect that. A full queue loses messages; nothing waits for them.

mod control;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

pub use control::{AuditControl, CALLS_ALL, Calls, Field, Rule};

/// `AUDIT_SECCOMP` (`linux/audit.h`): a process was killed, or a call refused, by a seccomp filter.
pub const SECCOMP: u16 = 1326;
/// `AUDIT_SYSCALL`: a call that a rule asked to be recorded.
pub const SYSCALL: u16 = 1300;
/// `AUDIT_PATH`: a path of that call.
pub const PATH: u16 = 1302;
/// `AUDIT_SOCKADDR`: a socket address of that call.
pub const SOCKADDR: u16 = 1306;
/// `AUDIT_CWD`, `AUDIT_MMAP`, `AUDIT_PROCTITLE`, `AUDIT_CONFIG_CHANGE`: of no use here.
pub const UNUSED: [u16; 4] = [1307, 1323, 1327, 1305];
/// `AUDIT_EOE`: the records of one call are complete.
pub const END: u16 = 1320;

/// What may wait to be read. A record counts for two or three KiB, so the kernel's own limit is full with ninety.
const QUEUE_BYTES: libc::c_int = 4 << 20;
const NLGRP_READLOG: u32 = 1;
const NLMSG_HDR: usize = 16;

/// A non-blocking socket in the audit multicast group.
#[derive(Debug)]
pub struct AuditSocket(OwnedFd);

impl AuditSocket {
    /// Joins the group. `EPERM` without `CAP_AUDIT_READ`; `EPROTONOSUPPORT` on a kernel without audit.
    pub fn open() -> io::Result<Self> {
        let socket = netlink(libc::SOCK_NONBLOCK)?;
        // What it costs is memory while records wait. Without the capability the kernel's own limit stays.
        let room: libc::c_int = QUEUE_BYTES;
        // SAFETY: `room` is a valid int and its length is passed; it is only read.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                ptr::from_ref(&room).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        // SAFETY: sockaddr_nl is plain integers; all zero is valid.
        let mut addr: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        addr.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        addr.nl_groups = 1 << (NLGRP_READLOG - 1);
        let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: `addr` is a valid sockaddr_nl and its length is passed; it is only read.
        if unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&addr).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(socket))
    }

    /// The next message's type and text, `None` when there is none now. A message longer than `buf` is cut.
    pub fn receive<'a>(&self, buf: &'a mut [u8]) -> io::Result<Option<(u16, &'a [u8])>> {
        // SAFETY: sockaddr_nl is plain integers; all zero is valid.
        let mut from: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        let mut from_len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: `buf` and `from` are writable for the lengths passed.
        let n = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                buf.as_mut_ptr().cast(),
                buf.len(),
                0,
                ptr::from_mut(&mut from).cast(),
                &mut from_len,
            )
        };
        let Ok(n) = usize::try_from(n) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        if from.nl_pid != 0 {
            return Ok(Some((0, &[])));
        }
        Ok(Some(split(buf.get(..n).unwrap_or_default())))
    }
}

/// A netlink socket to the audit subsystem, of this type besides.
fn netlink(kind: libc::c_int) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | kind;
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_AUDIT) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl AsRawFd for AuditSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl std::os::fd::AsFd for AuditSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Type and payload of one netlink message; `(0, [])` when it is too short to be one. `nlmsg_len` is not
/// trusted: audit has had it exclude the header.
fn split(message: &[u8]) -> (u16, &[u8]) {
    match (message.get(4..6), message.get(NLMSG_HDR..)) {
        (Some(&[low, high]), Some(text)) => (u16::from_ne_bytes([low, high]), text),
        _ => (0, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_short_message_is_nothing() {
        assert_eq!(split(&[0; 15]), (0, &[][..]));
    }

    #[test]
    fn split_message_gives_type_and_text() {
        let mut message = vec![0; 16];
        message[4..6].copy_from_slice(&1326_u16.to_ne_bytes());
        message.extend_from_slice(b"pid=1");
        assert_eq!(split(&message), (SECCOMP, &b"pid=1"[..]));
    }
}
