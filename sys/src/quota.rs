//! Project quota: the bound on what an app may store, enforced by ext4 itself.
//!
//! An app's storage directory carries a project id that everything made inside inherits; the limit hangs on the
//! id, so it counts every file however it grew (`write`, `fallocate`, `mmap`) and the number of files too.
//! The app cannot change the id, because the box's filter has no `FS_IOC_FSSETXATTR`. That is the only layer: the kernel
//! lets a file's owner change it in the initial user namespace, which boxes are in, and Landlock looks at devices' ioctls.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// `_IOR('X', 31, struct fsxattr)`.
const FS_IOC_FSGETXATTR: libc::Ioctl = 0x801C_581F;
/// `_IOW('X', 32, struct fsxattr)`.
const FS_IOC_FSSETXATTR: libc::Ioctl = 0x401C_5820;
const FS_XFLAG_PROJINHERIT: u32 = 0x200;
const PRJQUOTA: u32 = 2;
const Q_GETQUOTA: u32 = 0x0080_0007;
const Q_SETQUOTA: u32 = 0x0080_0008;
const QIF_BLIMITS: u32 = 1;
const QIF_ILIMITS: u32 = 4;
/// Quota limits are in blocks of 1 KiB whatever the file system's block size (`QIF_DQBLKSIZE`).
const QUOTA_BLOCK: u64 = 1024;

/// `struct fsxattr` (`linux/fs.h`).
#[repr(C)]
#[derive(Default)]
struct FsXattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// `struct if_dqblk` (`linux/quota.h`).
#[repr(C)]
#[derive(Default)]
struct DqBlk {
    bhardlimit: u64,
    bsoftlimit: u64,
    curspace: u64,
    ihardlimit: u64,
    isoftlimit: u64,
    curinodes: u64,
    btime: u64,
    itime: u64,
    valid: u32,
}

/// What a project uses and may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use.
    pub bytes: u64,
    /// Hard limit in bytes (rounded to KiB); 0 means none.
    pub limit_bytes: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Hard limit of inodes; 0 means none.
    pub limit_inodes: u64,
}

/// Puts the directory `dir` into project `id`, and with it all that will be made inside.
pub fn assign(dir: BorrowedFd<'_>, id: u32) -> io::Result<()> {
    let mut attr = FsXattr::default();
    // SAFETY: `attr` has the layout of struct fsxattr, which the request writes.
    done(unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSGETXATTR, ptr::from_mut(&mut attr)) })?;
    if attr.projid == id && attr.xflags & FS_XFLAG_PROJINHERIT != 0 {
        return Ok(());
    }
    attr.projid = id;
    attr.xflags |= FS_XFLAG_PROJINHERIT;
    // SAFETY: `attr` has the layout of struct fsxattr; the request only reads it.
    done(unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_FSSETXATTR, ptr::from_ref(&attr)) })
}

/// Limits project `id` of the file system `fs` (any descriptor in it).
pub fn set_limit(fs: BorrowedFd<'_>, id: u32, bytes: u64, inodes: u64) -> io::Result<()> {
    let blocks = bytes.div_ceil(QUOTA_BLOCK);
    let mut limit = DqBlk {
        bhardlimit: blocks,
        bsoftlimit: blocks,
        ihardlimit: inodes,
        isoftlimit: inodes,
        valid: QIF_BLIMITS | QIF_ILIMITS,
        ..DqBlk::default()
    };
    quotactl(fs, Q_SETQUOTA, id, &mut limit)
}

/// What project `id` of the file system `fs` uses. `ESRCH` when project quota is off.
pub fn usage(fs: BorrowedFd<'_>, id: u32) -> io::Result<Usage> {
    let mut block = DqBlk::default();
    quotactl(fs, Q_GETQUOTA, id, &mut block)?;
    Ok(Usage {
        bytes: block.curspace,
        limit_bytes: block.bhardlimit.saturating_mul(QUOTA_BLOCK),
        inodes: block.curinodes,
        limit_inodes: block.ihardlimit,
    })
}

fn quotactl(fs: BorrowedFd<'_>, command: u32, id: u32, block: &mut DqBlk) -> io::Result<()> {
    // QCMD() of linux/quota.h.
    let command = (command << 8) | PRJQUOTA;
    // SAFETY: `block` has the layout of struct if_dqblk, which the two commands used here read or write.
    let ret =
        unsafe { libc::syscall(libc::SYS_quotactl_fd, fs.as_raw_fd(), command, id, ptr::from_mut(block)) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn done(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_matches_the_kernel() {
        assert_eq!(size_of::<FsXattr>(), 28);
        assert_eq!(size_of::<DqBlk>(), 72);
    }
}
