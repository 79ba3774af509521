//! The mount API by file descriptor: `fsopen`, `fsmount`, `open_tree`, `mount_setattr`, `move_mount`.
//!
//! For the box builder only: a mount is prepared detached, locked down, and attached last, so nobody ever sees
//! it half made. Every function takes descriptors, not global paths, wherever the kernel allows it.
//! Nothing here decides anything; names and options come from the caller, who never takes them from an app.
//! Deliberately missing: `mount(2)` (no way to see which option was refused) and recursive binds (a box is
//! made of known single mounts).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// What may not be done through a mount; combined with `|` ([`MountAttr::with`] in `const` context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountAttr(u64);

impl MountAttr {
    /// Nothing forbidden.
    pub const NONE: Self = Self(0);
    /// `MOUNT_ATTR_RDONLY`.
    pub const RDONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// `MOUNT_ATTR_NOSUID`.
    pub const NOSUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// `MOUNT_ATTR_NODEV`.
    pub const NODEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// `MOUNT_ATTR_NOEXEC`.
    pub const NOEXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    /// Both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A file system being configured (`fsopen`).
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Opens a context for the file system type `name` (`tmpfs`, `erofs`, `ext4`).
    pub fn open(name: &CStr) -> io::Result<Self> {
        // SAFETY: `name` is NUL-terminated and outlives the call, which only reads it.
        let ret = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), libc::FSOPEN_CLOEXEC) };
        Ok(Self(owned(ret)?))
    }

    /// Sets `key=value`. An option the file system does not know is an error, unlike with some `mount(2)` paths.
    pub fn string(&self, key: &str, value: &str) -> io::Result<&Self> {
        let (key, value) = (text(key)?, text(value)?);
        self.config(libc::FSCONFIG_SET_STRING, Some(&key), Some(&value))
    }

    /// Sets an option that has no value (`ro`, `prjquota`).
    pub fn flag(&self, key: &str) -> io::Result<&Self> {
        let key = text(key)?;
        self.config(libc::FSCONFIG_SET_FLAG, Some(&key), None)
    }

    /// Makes the superblock and a detached mount of it.
    pub fn mount(self, attr: MountAttr) -> io::Result<OwnedFd> {
        self.config(libc::FSCONFIG_CMD_CREATE, None, None)?;
        // SAFETY: integers only; the descriptor is open for the duration of the call.
        let ret =
            unsafe { libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), libc::FSMOUNT_CLOEXEC, attr.0) };
        owned(ret)
    }

    fn config(&self, cmd: libc::c_uint, key: Option<&CStr>, value: Option<&CStr>) -> io::Result<&Self> {
        let key = key.map_or(ptr::null(), CStr::as_ptr);
        let value = value.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: both pointers are NULL or NUL-terminated strings that outlive the call, which only reads them.
        let ret = unsafe {
            libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), cmd, key, value, 0 as libc::c_int)
        };
        done(ret)?;
        Ok(self)
    }
}

/// A detached copy of the one mount at `path` below `dir` (a bind mount not attached anywhere yet). The last
/// component is not followed when it is a symbolic link.
pub fn clone_mount(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | libc::AT_SYMLINK_NOFOLLOW as libc::c_uint
        | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: `path` is NUL-terminated and outlives the call, which only reads it.
    let ret = unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) };
    owned(ret)
}

/// Adds restrictions to a mount and makes it private.
pub fn restrict(mount: BorrowedFd<'_>, attr: MountAttr) -> io::Result<()> {
    set_attr(mount.as_raw_fd(), c"", libc::AT_EMPTY_PATH, attr.0, libc::MS_PRIVATE)
}

/// Makes every mount of the calling thread's mount namespace private: what happens here stays here.
pub fn make_all_private() -> io::Result<()> {
    set_attr(libc::AT_FDCWD, c"/", libc::AT_RECURSIVE, 0, libc::MS_PRIVATE)
}

/// Attaches the detached `mount` at `path` below `dir`; a symbolic link at `path` is not followed.
pub fn attach(mount: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut flags = libc::MOVE_MOUNT_F_EMPTY_PATH;
    if path.is_empty() {
        flags |= libc::MOVE_MOUNT_T_EMPTY_PATH;
    }
    // SAFETY: both strings are NUL-terminated and outlive the call, which only reads them.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
        )
    };
    done(ret)
}

/// Makes the attached mount `root` the root of the calling thread's mount namespace and lets go of the old one.
/// The thread must have its own file system state (`CLONE_FS` unshared) and namespace.
pub fn pivot_into(root: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is passed.
    done(unsafe { libc::fchdir(root.as_raw_fd()) }.into())?;
    // SAFETY: constant strings. With both the same, the old root is stacked on the new one (pivot_root(2)).
    done(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: a constant string; "." is the old root, on top.
    done(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    // SAFETY: a constant string.
    done(unsafe { libc::chdir(c"/".as_ptr()) }.into())
}

/// Detaches what is mounted at `path`, now from sight and later in fact.
pub fn detach(path: &CStr) -> io::Result<()> {
    // SAFETY: `path` is NUL-terminated and outlives the call, which only reads it.
    done(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }.into())
}

fn set_attr(dir: RawFd, path: &CStr, flags: libc::c_int, set: u64, propagation: u64) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation, userns_fd: 0 };
    // SAFETY: `path` is NUL-terminated, `attr` is a valid `mount_attr` and its size is passed; both are only read.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            ptr::from_ref(&attr),
            size_of::<libc::mount_attr>(),
        )
    };
    done(ret)
}

fn text(s: &str) -> io::Result<CString> {
    CString::new(s).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn owned(ret: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(ret).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn done(ret: libc::c_long) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The current working directory as a base for relative paths (`AT_FDCWD`).
pub fn cwd() -> impl AsFd {
    struct Cwd;
    impl AsFd for Cwd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            // SAFETY: AT_FDCWD is not a descriptor that can be closed; the kernel accepts it wherever a base is.
            unsafe { BorrowedFd::borrow_raw(libc::AT_FDCWD) }
        }
    }
    Cwd
}
