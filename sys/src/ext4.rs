//! The three things the data partition needs on a device without `mke2fs`: its size, growing it, its identity.
//!
//! The image carries a small template file system; on first boot it is written out, mounted, grown online to
//! the partition and given its own UUID. Arguments are numbers of ours; nothing an app chose comes here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// `_IOW('f', 16, __u64)`: the new size in blocks.
const EXT4_IOC_RESIZE_FS: libc::Ioctl = 0x4008_6610;
/// `_IOW('f', 44, struct fsuuid)`, `struct fsuuid { u32 len; u32 flags; u8 uuid[]; }`.
const EXT4_IOC_SETFSUUID: libc::Ioctl = 0x4008_662C;
/// `_IOR(0x12, 114, size_t)`.
const BLKGETSIZE64: libc::Ioctl = 0x8008_1272;

#[repr(C)]
struct FsUuid {
    len: u32,
    flags: u32,
    uuid: [u8; 16],
}

/// The size of a block device in bytes.
pub fn device_bytes(device: &File) -> io::Result<u64> {
    let mut bytes = 0_u64;
    // SAFETY: the request writes one u64 (size_t on the 64-bit targets this is built for) to `bytes`.
    let ret = unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, ptr::from_mut(&mut bytes)) };
    done(ret).map(|()| bytes)
}

/// Grows the mounted file system that `root` is in to `blocks` blocks.
pub fn resize(root: BorrowedFd<'_>, blocks: u64) -> io::Result<()> {
    // SAFETY: the request reads one u64.
    done(unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_RESIZE_FS, ptr::from_ref(&blocks)) })
}

/// Gives the mounted file system that `root` is in a new UUID.
pub fn set_uuid(root: BorrowedFd<'_>, uuid: [u8; 16]) -> io::Result<()> {
    let arg = FsUuid { len: 16, flags: 0, uuid };
    // SAFETY: `arg` has the layout of struct fsuuid followed by the 16 bytes `len` speaks of; it is only read.
    done(unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SETFSUUID, ptr::from_ref(&arg)) })
}

fn done(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
