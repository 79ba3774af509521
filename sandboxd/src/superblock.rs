//! The checksum of ext4's superblock, made right again after a torn write.
//!
//! The superblock is 1 KiB long and written in place at a mount; the smallest unit that a disk writes whole is 512 bytes. A cut between
//! its two sectors leaves new numbers in the first and the old checksum at the end of the second, and the kernel refuses to
//! mount that, before it looks at its journal. What changes while a file system is in use are counts, times and states, of which each
//! sector's are good by themselves, so the checksum alone is wrong: it is taken anew, in one write of one sector. Whether a tear or
//! rot was the cause is not seen by it; the kernel checks what it reads of the superblock besides, and the checksums of all else. It takes
//! nothing from anybody: whoever writes the disk can compute it as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the superblock is, bytes (kernel documentation, `filesystems/ext4/super.rst`; so are the fields).
const AT: u64 = 1024;
const BYTES: usize = 1024;
const SECTOR: usize = 512;
const MAGIC: (usize, [u8; 2]) = (0x38, [0x53, 0xef]);
/// `s_feature_ro_compat` and its bit for checksums of metadata.
const FEATURES: usize = 0x64;
const METADATA_CSUM: u32 = 0x400;
/// `s_checksum_type`: CRC-32C.
const KIND: (usize, u8) = (0x175, 1);
/// `s_checksum`, of all that is before it.
const CHECKSUM: usize = 0x3fc;

/// Makes it right on `disk`, which nobody has mounted. True when it was not.
pub fn mend(disk: &File) -> io::Result<bool> {
    let mut block = [0; BYTES];
    disk.read_exact_at(&mut block, AT)?;
    let word =
        |at: usize| block.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    let has_sum = block.get(MAGIC.0..MAGIC.0 + 2) == Some(&MAGIC.1)
        && word(FEATURES) & METADATA_CSUM != 0
        && block.get(KIND.0) == Some(&KIND.1);
    let (body, sum) = block.split_at_mut(CHECKSUM);
    let right = crc32c(body).to_le_bytes();
    if !has_sum || *sum == right {
        return Ok(false);
    }
    sum.copy_from_slice(&right);
    let (_, last) = block.split_at(BYTES - SECTOR);
    disk.write_all_at(last, AT + (BYTES - SECTOR) as u64)?;
    disk.sync_data().map(|()| true)
}

/// As ext4 has it: from all ones, not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// `dumpe2fs` and the kernel refuse one whose checksum is wrong.
    fn is_read(path: &std::path::Path) -> bool {
        Command::new("dumpe2fs").arg("-h").arg(path).output().unwrap().status.success()
    }

    #[test]
    fn superblock_torn_between_its_sectors_is_mended_and_a_good_one_left_alone() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(8 << 20).unwrap();
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-O", "metadata_csum,quota,project"]).arg(disk.path());
        assert!(make.status().unwrap().success());
        assert!(!mend(disk.as_file()).unwrap());
        // The count of mounts, in the first sector alone.
        disk.as_file().write_all_at(&[9, 0], AT + 0x34).unwrap();
        assert!(!is_read(disk.path()));
        assert!(mend(disk.as_file()).unwrap());
        assert!(is_read(disk.path()) && !mend(disk.as_file()).unwrap());
        let checked = Command::new("e2fsck").arg("-fn").arg(disk.path()).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }

    #[test]
    fn disk_without_such_a_superblock_is_left_alone() {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(1 << 20).unwrap();
        assert!(!mend(disk.as_file()).unwrap());
        assert_eq!(std::fs::read(disk.path()).unwrap(), vec![0; 1 << 20]);
    }
}
