//! The device nodes of a box: five that hold no state and no authority, and those its manifest was granted.
//!
//! A granted device is named by the manifest (`/dev/ttyS1`), found in our own `/dev`, and belongs to one app at
//! a time. The node is made anew in the box, owned by the app's uid, with mode 0600.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::problem::BoxError;

/// Kernel's `Documentation/admin-guide/devices.txt`: character devices of major 1.
const COMMON: [(&str, u64); 5] = [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)];
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/tmp", "shm"),
];

/// A device to appear in one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name below `/dev`, without a slash.
    pub name: String,
    /// Device number.
    pub rdev: u64,
    /// The app's uid.
    pub owner: u32,
}

impl Device {
    /// Finds `path` (`/dev/NAME`) among this device's own nodes.
    pub fn find(path: &str, owner: u32) -> Result<Self, BoxError> {
        let name = path.strip_prefix("/dev/").filter(|n| !n.is_empty() && !n.contains('/'));
        let name = name.ok_or_else(|| BoxError::DeviceName(path.into()))?;
        let meta = std::fs::symlink_metadata(path).map_err(|e| BoxError::NoDevice(path.into(), e))?;
        if !meta.file_type().is_char_device() {
            return Err(BoxError::NoDevice(path.into(), io::Error::from_raw_os_error(nix::libc::ENODEV)));
        }
        Ok(Self { name: name.into(), rdev: meta.rdev(), owner })
    }
}

/// Who holds which device.
#[derive(Debug, Default)]
pub struct Holders(BTreeMap<u64, u32>);

impl Holders {
    /// Takes all of `devices` for their owner, or none when another app has one of them.
    pub fn take(&mut self, devices: &[Device]) -> Result<(), BoxError> {
        for device in devices {
            if let Some(&holder) = self.0.get(&device.rdev)
                && holder != device.owner
            {
                return Err(BoxError::DeviceHeld(format!("/dev/{}", device.name), holder));
            }
        }
        self.0.extend(devices.iter().map(|d| (d.rdev, d.owner)));
        Ok(())
    }

    /// What is held, by device number, and by whom.
    pub fn held(&self) -> impl Iterator<Item = (&u64, &u32)> {
        self.0.iter()
    }

    /// Gives back what `owner` held.
    pub fn release(&mut self, owner: u32) {
        self.0.retain(|_, holder| *holder != owner);
    }
}

/// Fills the directory `dev`. The caller's umask must be 0.
pub fn populate(dev: BorrowedFd<'_>, granted: &[Device]) -> io::Result<()> {
    for (name, minor) in COMMON {
        mknodat(dev, name, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, minor))?;
    }
    for (target, name) in LINKS {
        symlinkat(target, dev, name)?;
    }
    for device in granted {
        let name = device.name.as_str();
        mknodat(dev, name, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), device.rdev)?;
        let (uid, gid) = (Uid::from_raw(device.owner), Gid::from_raw(device.owner));
        fchownat(dev.as_fd(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(rdev: u64, owner: u32) -> Device {
        Device { name: format!("x{rdev}"), rdev, owner }
    }

    #[test]
    fn holders_second_app_is_refused_until_release() {
        let mut holders = Holders::default();
        holders.take(&[device(1, 10_000), device(2, 10_000)]).unwrap();
        holders.take(&[device(1, 10_000)]).unwrap();
        let error = holders.take(&[device(3, 10_001), device(2, 10_001)]).unwrap_err();
        assert!(matches!(error, BoxError::DeviceHeld(_, 10_000)));
        // All or nothing: 3 was not taken.
        holders.take(&[device(3, 10_002)]).unwrap();
        holders.release(10_000);
        holders.take(&[device(2, 10_001)]).unwrap();
    }

    #[test]
    fn device_find_only_takes_character_devices_in_dev() {
        assert!(Device::find("/dev/null", 1).is_ok());
        for bad in ["/etc/passwd", "/dev/", "/dev/../etc/passwd", "/dev/a/b", "/dev/no-such", "/dev/vda"] {
            assert!(Device::find(bad, 1).is_err(), "{bad}");
        }
    }
}
