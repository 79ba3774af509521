//! The data device of a board with a TPM: LUKS2, of which attestd knows the key once the TPM has given it.
//!
//! What is on the device is read in attestd's box: here only its first bytes are copied out and, when it was blank,
//! written. A device that holds anything else is refused, as [`storage`](crate::storage) does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bus::attest_link::{HEADER_COPY, HEADER_MAX, SEALING, VOLUME_KEY};
use bus::bulk::{self, Sealed};
use sys::dm::{self, Crypt, DeviceMapper};
use sys::ext4;

/// Bytes of a sector, as the kernel's tables count.
const SECTOR: u64 = 512;
/// What is compared and written at once, bytes.
const BLOCK: usize = 4096;

/// What attestd says of the data device.
#[derive(Debug)]
pub(crate) struct Volume {
    pub(crate) key: [[u8; 32]; 2],
    /// Where the data begins, bytes.
    pub(crate) offset: u64,
    /// What is encrypted as one, bytes.
    pub(crate) sector_bytes: u32,
}

/// The first bytes of `device`, where the LUKS2 header and its key slots are, as a sealed memfd.
pub(crate) fn header(device: &Path) -> io::Result<OwnedFd> {
    let mut bytes = Vec::new();
    File::open(device)?.take(HEADER_MAX).read_to_end(&mut bytes)?;
    bulk::seal(c"luks-header", &bytes)
}

/// Writes a new header to the beginning of `device`: a mark, all but the first sector, and that at last, each on the medium
/// before the next. Before the last, `behind` readies what is behind the header. A power cut leaves a device with the mark,
/// which is sealed anew, or with a whole header and all that is behind it.
pub(crate) fn format<R>(
    device: &Path,
    header: OwnedFd,
    behind: impl FnOnce() -> io::Result<R>,
) -> io::Result<R> {
    let bytes = Sealed::open(header, HEADER_MAX)?.read()?;
    let (first, rest) = bytes.split_at_checked(SECTOR as usize).ok_or(io::ErrorKind::InvalidData)?;
    let disk = OpenOptions::new().write(true).open(device)?;
    disk.write_all_at(SEALING, 0).and_then(|()| disk.sync_all())?;
    disk.write_all_at(rest, SECTOR).and_then(|()| disk.sync_all())?;
    let ready = behind()?;
    disk.write_all_at(first, 0).and_then(|()| disk.sync_all())?;
    Ok(ready)
}

/// Writes a header in place of the one on `device`, which is in use: first what changed in its key slots, then its second
/// copy, then its first, each on the medium before the next. A power cut leaves a whole header, the old or the new, and a
/// slot that was not changed opens in either case.
pub(crate) fn rewrite(device: &Path, header: OwnedFd) -> io::Result<()> {
    let bytes = Sealed::open(header, HEADER_MAX)?.read()?;
    let disk = OpenOptions::new().read(true).write(true).open(device)?;
    let mut before = vec![0; bytes.len()];
    disk.read_exact_at(&mut before, 0)?;
    let slots = 2 * HEADER_COPY..bytes.len();
    let (Some(new), Some(old)) = (bytes.get(slots.clone()), before.get(slots)) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    for ((at, new), old) in
        (2 * HEADER_COPY as u64..).step_by(BLOCK).zip(new.chunks(BLOCK)).zip(old.chunks(BLOCK))
    {
        if new != old {
            disk.write_all_at(new, at)?;
        }
    }
    disk.sync_all()?;
    for at in [HEADER_COPY, 0] {
        let copy = bytes.get(at..at + HEADER_COPY).ok_or(io::ErrorKind::InvalidData)?;
        disk.write_all_at(copy, at as u64).and_then(|()| disk.sync_all())?;
    }
    Ok(())
}

/// Makes the kernel's view of the data behind `offset`; gives its device. One that a sandboxd before us left half-way is
/// taken away first.
pub(crate) fn open(device: &Path, volume: &Volume) -> io::Result<PathBuf> {
    let Volume { key, offset, sector_bytes } = volume;
    if !matches!(sector_bytes, 512 | 4096) || !offset.is_multiple_of(4096) {
        return Err(io::Error::other("its sectors are neither of 512 nor of 4096 bytes"));
    }
    let disk = File::open(device)?;
    // A multiple of both sizes.
    let bytes = ext4::device_bytes(&disk)?.checked_sub(*offset).map(|n| n / 4096 * 4096).filter(|n| *n > 0);
    let bytes = bytes.ok_or_else(|| io::Error::other("the device is smaller than its header says"))?;
    let mut whole = [0; VOLUME_KEY];
    whole.iter_mut().zip(key.as_flattened()).for_each(|(to, from)| *to = *from);
    let path = device.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let mapper = DeviceMapper::open()?;
    let (offset, sectors) = (offset / SECTOR, bytes / SECTOR);
    let crypt = Crypt { device: path, offset, sectors, sector_bytes: *sector_bytes, key: &whole };
    let made = mapper.create_crypt(NAME, &crypt).or_else(|_| {
        mapper.remove(NAME)?;
        mapper.create_crypt(NAME, &crypt)
    });
    made.map(|device| dm::node(device).into())
}

const NAME: &str = "data";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_written_is_the_header_read() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(64 << 20).unwrap();
        let bytes: Vec<u8> = (0..HEADER_MAX).map(|n| (n % 251) as u8).collect();
        format(disk.path(), bulk::seal(c"test", &bytes).unwrap(), || Ok(())).unwrap();
        let read = Sealed::open(header(disk.path()).unwrap(), HEADER_MAX).unwrap();
        assert!(read.read().unwrap() == bytes);
        assert!(format(disk.path(), bulk::seal(c"test", b"short").unwrap(), || Ok(())).is_err());
    }

    #[test]
    fn header_rewritten_is_the_new_one_and_the_data_behind_it_stays() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        let old: Vec<u8> = (0..HEADER_MAX + 4096).map(|n| (n % 251) as u8).collect();
        disk.as_file().write_all_at(&old, 0).unwrap();
        let mut new = old[..HEADER_MAX as usize].to_vec();
        for at in [0, HEADER_COPY, 2 * HEADER_COPY, HEADER_MAX as usize - 1] {
            new[at] ^= 0xff;
        }
        rewrite(disk.path(), bulk::seal(c"test", &new).unwrap()).unwrap();
        let now = std::fs::read(disk.path()).unwrap();
        assert!(now[..new.len()] == new && now[new.len()..] == old[new.len()..]);
        assert!(rewrite(disk.path(), bulk::seal(c"test", b"short").unwrap()).is_err());
        assert!(std::fs::read(disk.path()).unwrap() == now);
    }
}
