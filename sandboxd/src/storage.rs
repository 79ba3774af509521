//! `/data`: the one writable file system. Made on first boot, mounted with project quota, grown to its device.
//!
//! There is no `mke2fs` here. The image carries a small ext4 template (features `quota,project`), which is copied
//! onto a *blank* device, the block with the superblock last, so that a power cut leaves either no file system or
//! a whole one; a marker in the boot sector, which ext4 does not use, says that copying had begun and may be begun
//! again. Anything else that is not blank is left alone and refused with a message: this never formats a disk that
//! holds something.
//!
//! Whoever holds the disk can write anything on it; the kernel's ext4 parser sees that (dm-crypt with a sealed key
//! comes with the identity work). Apps see only their own directory, bounded by project quota, without exec, suid
//! and devices.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use sys::mount::{FsContext, MountAttr, attach, cwd};
use sys::quota::Usage;
use sys::{ext4, quota};

use crate::console::say;
use crate::superblock;

/// Looked at to tell blank from not: file systems and partition tables all leave traces here.
const BLANK_BYTES: usize = 1 << 20;
const SUPERBLOCK: usize = 1024;
const MAGIC_AT: usize = SUPERBLOCK + 0x38;
const MAGIC: [u8; 2] = [0x53, 0xef];
/// The first file system block, which holds boot sector and superblock.
const FIRST: usize = 4096;
const MARKER: &[u8; 16] = b"GABION-COPYING-1";
/// Files an app may have per MiB of its quota, at least; and in any case.
const INODES_PER_MIB: u64 = 256;
const INODES_LEAST: u64 = 64;

/// Why there is no storage.
#[derive(Debug)]
pub enum StorageError {
    /// Something failed; what.
    Io(&'static str, io::Error),
    /// The device holds something that is not ours to overwrite.
    NotBlank,
    /// The template does not look like one.
    Template,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, e) => write!(f, "can not {what}: {e}"),
            Self::NotBlank => f.write_str("the device is neither blank nor an ext4 file system"),
            Self::Template => f.write_str("the image's template is no ext4 file system"),
        }
    }
}

impl StorageError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotBlank => "if nothing on it is wanted, overwrite its first MiB with zeros and boot again",
            Self::Template => "the image is broken: build it again",
            Self::Io(..) => "check the disk and the kernel's log; no app is started without storage",
        }
    }
}

impl std::error::Error for StorageError {}

fn failed(what: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |e| StorageError::Io(what, e)
}

/// Mounts the file system on `device` at `at`, making it from `template` first when the device is blank. True when
/// it was made now.
pub fn mount_data(device: &Path, template: &Path, at: &Path, quota: Quota) -> Result<bool, StorageError> {
    let disk =
        OpenOptions::new().read(true).write(true).open(device).map_err(failed("open the data device"))?;
    let made = format_if_blank(&disk, template)?;
    if superblock::mend(&disk).map_err(failed("mend the superblock"))? {
        say(
            "event storage-mended: the checksum of the data's superblock was wrong, as a power cut leaves it",
        );
    }
    let block = read_superblock(&disk)?;
    mount_ext4(device, at, quota).map_err(failed("mount the data file system"))?;
    let root = File::open(at).map_err(failed("open the data file system"))?;
    // Both are done again after a power cut between them.
    if block.bytes < ext4::device_bytes(&disk).map_err(failed("size the data device"))? {
        grow(&disk, &root, block.block_size).map_err(failed("grow the data file system"))?;
    }
    let original = read_superblock(&File::open(template).map_err(failed("open the template"))?)?;
    if block.uuid == original.uuid {
        let uuid = random_uuid().map_err(failed("get random numbers"))?;
        ext4::set_uuid(root.as_fd(), uuid).map_err(failed("set the file system's UUID"))?;
    }
    Ok(made)
}

/// Marks a device that holds nothing, whatever is on it: a file system is made there next.
pub fn begin(device: &Path) -> io::Result<()> {
    let disk = OpenOptions::new().write(true).open(device)?;
    disk.write_all_at(MARKER, 0).and_then(|()| disk.sync_all())
}

fn format_if_blank(disk: &File, template: &Path) -> Result<bool, StorageError> {
    let mut first = [0; FIRST];
    disk.read_exact_at(&mut first, 0).map_err(failed("read the data device"))?;
    // The marker first: while it stands the copy was cut short and never mounted, whatever else is there.
    let begun = first.starts_with(MARKER);
    if !begun && first.get(MAGIC_AT..MAGIC_AT + 2) == Some(&MAGIC) {
        return Ok(false);
    }
    let mut head = vec![0; BLANK_BYTES];
    disk.read_exact_at(&mut head, 0).map_err(failed("read the data device"))?;
    if !begun && head.iter().any(|b| *b != 0) {
        return Err(StorageError::NotBlank);
    }
    let source = File::open(template).map_err(failed("open the template"))?;
    copy_template(&source, disk, head).map(|()| true)
}

/// Marker, then all but the first block, then the first block; on disk in this order.
fn copy_template(source: &File, disk: &File, mut buffer: Vec<u8>) -> Result<(), StorageError> {
    let write = failed("write the data device");
    let read = failed("read the template");
    let mut first = [0; FIRST];
    source.read_exact_at(&mut first, 0).map_err(&read)?;
    if first.get(MAGIC_AT..MAGIC_AT + 2) != Some(&MAGIC) {
        return Err(StorageError::Template);
    }
    disk.write_all_at(MARKER, 0).and_then(|()| disk.sync_all()).map_err(&write)?;
    let mut at = FIRST as u64;
    loop {
        let n = source.read_at(&mut buffer, at).map_err(&read)?;
        let Some(part) = buffer.get(..n).filter(|p| !p.is_empty()) else { break };
        disk.write_all_at(part, at).map_err(&write)?;
        at += n as u64;
    }
    disk.sync_all().map_err(&write)?;
    // The marker's own sector goes last and alone: one sector is what every medium writes whole.
    let (sector, rest) = first.split_at(SECTOR);
    disk.write_all_at(rest, SECTOR as u64).and_then(|()| disk.sync_all()).map_err(&write)?;
    disk.write_all_at(sector, 0).and_then(|()| disk.sync_all()).map_err(&write)
}

/// The smallest unit that any block device writes whole, bytes.
const SECTOR: usize = 512;

struct Superblock {
    bytes: u64,
    block_size: u64,
    uuid: [u8; 16],
}

/// The few fields of ext4's superblock that are needed (kernel documentation, `filesystems/ext4/super.rst`).
fn read_superblock(disk: &File) -> Result<Superblock, StorageError> {
    let mut raw = [0; 1024];
    disk.read_exact_at(&mut raw, SUPERBLOCK as u64).map_err(failed("read the superblock"))?;
    let word = |at: usize| raw.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let block_size = 1024_u64.checked_shl(word(0x18)).unwrap_or_default();
    let blocks = u64::from(word(4)) | u64::from(word(0x150)) << 32;
    let uuid = raw.get(0x68..0x78).and_then(|b| b.try_into().ok()).unwrap_or_default();
    Ok(Superblock { bytes: blocks.saturating_mul(block_size), block_size, uuid })
}

fn mount_ext4(device: &Path, at: &Path, quota: Quota) -> io::Result<()> {
    let device = device.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let context = FsContext::open(c"ext4")?;
    context.string("source", device)?.string("errors", "remount-ro")?;
    if quota == Quota::Enforced {
        context.flag("prjquota")?;
    }
    let attr = MountAttr::NOSUID.with(MountAttr::NODEV).with(MountAttr::NOEXEC);
    let mount = context.mount(attr)?;
    attach_at(mount.as_fd(), at)
}

/// Attaches a detached mount at the path `at` of ours.
pub fn attach_at(mount: std::os::fd::BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(at.as_os_str().as_encoded_bytes())?;
    attach(mount, cwd().as_fd(), &path)
}

fn grow(disk: &File, root: &File, block_size: u64) -> io::Result<()> {
    let blocks = ext4::device_bytes(disk)?.checked_div(block_size).unwrap_or_default();
    ext4::resize(root.as_fd(), blocks)
}

/// Version 4, from the kernel's generator once it is seeded.
fn random_uuid() -> io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    // Not urandom: this is the first boot, and the number must differ between devices.
    io::Read::read_exact(&mut File::open("/dev/random")?, &mut uuid)?;
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ok(uuid)
}

/// Whether something is mounted at `at`.
pub fn is_mounted(at: &Path) -> bool {
    let device = |p: &Path| fs::metadata(p).map(|m| m.dev()).ok();
    let above = at.parent().and_then(device);
    above.is_some() && device(at).is_some_and(|d| Some(d) != above)
}

/// Whether storage quotas are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Every storage has its quota, or the box is refused.
    Enforced,
    /// For tests on a file system without project quota.
    NotEnforced,
}

/// Makes (or finds) the private storage of the app `id` below `apps`, owned by `uid`, bounded to `bytes` as the project `project`.
pub fn private(
    apps: &Path,
    id: &str,
    uid: u32,
    project: u32,
    bytes: u64,
    quota: Quota,
) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o711).create(apps)?;
    let path = apps.join(id);
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // `apps` is ours alone, so this can not be a link that an app planted; a link would be refused all the same. What follows
    // is done to what was opened, whatever the path leads to by then.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let dir = openat2(AT_FDCWD, &path, how)?;
    if quota == Quota::Enforced {
        quota::assign(dir.as_fd(), project)?;
        let inodes = ((bytes >> 20) * INODES_PER_MIB).max(INODES_LEAST);
        // What is so already is not written: that would wait for the journal, for which an app that is updated is down.
        let same =
            |now: Usage| now.limit_bytes.div_ceil(1024) == bytes.div_ceil(1024) && now.limit_inodes == inodes;
        if !quota::usage(dir.as_fd(), project).is_ok_and(same) {
            quota::set_limit(dir.as_fd(), project, bytes, inodes)?;
        }
    }
    let meta = File::from(dir.try_clone()?).metadata()?;
    if (meta.uid(), meta.gid()) != (uid, uid) {
        fchown(&dir, Some(uid), Some(uid))?;
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all_at(bytes, 0).unwrap();
        file
    }

    fn template() -> tempfile::NamedTempFile {
        let mut bytes = vec![7; 3 << 20];
        bytes[MAGIC_AT..MAGIC_AT + 2].copy_from_slice(&MAGIC);
        file(&bytes)
    }

    #[test]
    fn format_blank_device_copies_the_template() {
        let (disk, template) = (file(&vec![0; 4 << 20]), template());
        assert!(format_if_blank(disk.as_file(), template.path()).unwrap());
        let copied = fs::read(disk.path()).unwrap();
        assert_eq!(copied[..3 << 20], fs::read(template.path()).unwrap());
        // Second boot: it is there.
        assert!(!format_if_blank(disk.as_file(), template.path()).unwrap());
    }

    #[test]
    fn format_device_with_anything_on_it_is_refused() {
        let mut bytes = vec![0; 4 << 20];
        bytes[BLANK_BYTES - 1] = 1;
        let disk = file(&bytes);
        let result = format_if_blank(disk.as_file(), template().path());
        assert!(matches!(result, Err(StorageError::NotBlank)));
        assert_eq!(fs::read(disk.path()).unwrap(), bytes);
    }

    #[test]
    fn format_cut_short_is_begun_again() {
        let mut bytes = vec![0; 4 << 20];
        bytes[..MARKER.len()].copy_from_slice(MARKER);
        bytes[500_000] = 7;
        let disk = file(&bytes);
        assert!(format_if_blank(disk.as_file(), template().path()).unwrap());
        assert!(fs::read(disk.path()).unwrap().starts_with(&[7; 16]));
    }

    #[test]
    fn format_with_a_broken_template_touches_nothing() {
        let disk = file(&vec![0; 2 << 20]);
        let result = format_if_blank(disk.as_file(), file(&[0; 8192]).path());
        assert!(matches!(result, Err(StorageError::Template)));
        assert_eq!(fs::read(disk.path()).unwrap(), vec![0; 2 << 20]);
    }
}
