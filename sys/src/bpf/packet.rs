//! A socket of one link's frames, of which a program in the kernel (classic BPF, `struct sock_filter`) lets some through.
//!
//! What holds: no frame reaches the socket before its filter is in place. What comes through is bytes that anybody on the
//! link wrote; the reader checks them again.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `struct sock_filter`: operation, where to go on when a comparison holds and when not, operand.
pub type Instruction = (u16, u8, u8, u32);

/// A socket that does not block, hears frames of this Ethernet type on this link, and sends whole frames there.
///
/// # Errors
/// Those of `socket(2)`, `bind(2)` and of `SO_ATTACH_FILTER`: a link that is not there, a program that is none.
pub fn open(link: u32, ethertype: u16, filter: &[Instruction]) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // Without a protocol it hears nothing yet.
    let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    attach(&fd, filter)?;
    bind(&fd, link, ethertype)?;
    Ok(fd)
}

fn attach(fd: &OwnedFd, filter: &[Instruction]) -> io::Result<()> {
    let mut code: Vec<libc::sock_filter> =
        filter.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    // SAFETY: the kernel reads one `sock_fprog`, and `len` instructions where it points; both outlive the call.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn bind(fd: &OwnedFd, link: u32, ethertype: u16) -> io::Result<()> {
    // SAFETY: plain data, for which zeros are a value.
    let mut at: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    at.sll_family = libc::AF_PACKET as u16;
    at.sll_protocol = ethertype.to_be();
    at.sll_ifindex = i32::try_from(link).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads an address of this length, which outlives the call.
    let done = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            std::ptr::from_ref(&at).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
