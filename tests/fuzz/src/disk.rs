//! The system's disk, on which whoever had it may have written anything; and a kernel image that somebody sent.

use std::io::{self, ErrorKind};
use std::sync::OnceLock;

use slots::disk::{Disk, SECTOR};
use slots::fat::Fat;
use slots::install::{Release, Slots};
use slots::layout::{KERNELS, Layout};
use slots::program;

/// Sectors of the disk, and where the partitions are: the EFI system partition, and two slots.
const SECTORS: usize = 4500;
const ESP: (usize, usize) = (40, 4400);
const SLOTS: [usize; 4] = [4440, 4444, 4448, 4452];
const SLOT: usize = 4;
/// Of the file system: sectors of a table and of the root directory.
const TABLE: usize = 18;
const ROOT: usize = 1;
/// Where on the disk its tables, its root, and its first cluster are.
const TABLES: usize = ESP.0 + 1;
const DIRECTORY: usize = TABLES + 2 * TABLE;
const DATA: usize = DIRECTORY + ROOT;
/// The root hash of the system that runs.
const RUNNING: [u8; 32] = [0x11; 32];

/// A disk in memory.
#[derive(Clone)]
struct Memory(Vec<u8>);

impl Memory {
    fn place(&self, at: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
        let at = usize::try_from(at).map_err(|_| ErrorKind::UnexpectedEof)?;
        let end =
            at.checked_add(length).filter(|end| *end <= self.0.len()).ok_or(ErrorKind::UnexpectedEof)?;
        Ok(at..end)
    }
}

impl Disk for Memory {
    fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let place = self.place(at, into.len())?;
        into.copy_from_slice(&self.0[place]);
        Ok(())
    }

    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()> {
        assert!(
            at.is_multiple_of(SECTOR as u64) && sectors.len().is_multiple_of(SECTOR),
            "not whole sectors"
        );
        let place = self.place(at, sectors.len())?;
        self.0[place].copy_from_slice(sectors);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A script of changes to a good disk: a sector in two bytes, a place in it in two, a length in one, and as many bytes. What is
/// done to such a disk then comes to an end, touches nothing but the partition table and the EFI system partition, and a
/// system that was armed is the first to start.
pub fn disk(bytes: &[u8]) {
    changed(bytes);
}

/// The same; whether a system was armed.
pub fn changed(bytes: &[u8]) -> bool {
    let mut disk = good().clone();
    let mut script = bytes;
    while let Some((head, rest)) = script.split_at_checked(5) {
        let sector = usize::from(u16::from_le_bytes([head[0], head[1]])) % SECTORS;
        let at = sector * SECTOR + usize::from(u16::from_le_bytes([head[2], head[3]])) % SECTOR;
        let (patch, rest) = rest.split_at(rest.len().min(usize::from(head[4])));
        let end = (at + patch.len()).min(disk.0.len());
        disk.0[at..end].copy_from_slice(&patch[..end - at]);
        script = rest;
    }
    seal(&mut disk.0);
    let before = disk.0.clone();
    let armed = update(&mut disk);
    // Where the partitions are is as its maker had it: then what is in the slots is nobody's to write here.
    let (from, end) = (SLOTS[0] * SECTOR, (SLOTS[3] + SLOT) * SECTOR);
    if before[..ESP.0 * SECTOR] == good().0[..ESP.0 * SECTOR] && before[end..] == good().0[end..] {
        assert!(disk.0[from..end] == before[from..end], "a slot was written");
    }
    armed
}

fn update(disk: &mut Memory) -> bool {
    let Ok(mut slots) = Slots::read(disk, (SECTORS * SECTOR) as u64, &RUNNING, &Layout::default()) else {
        return false;
    };
    let all = slots.kernels(disk).unwrap_or_default();
    for kernel in &all {
        if let Ok(content) = slots.kernel(disk, kernel, 4096) {
            assert!(content.len() <= 4096);
        }
    }
    let _ = slots.disarm(disk, "1.0.0");
    let release = Release { version: "2.0.0", root_hash: [0x22; 32], kernel: &[7; 3000] };
    let armed = slots.arm(disk, &release).is_ok();
    if armed {
        let first = slots.kernels(disk).ok().and_then(|all| all.first().cloned());
        assert_eq!(first.map(|kernel| kernel.version).as_deref(), Some("2.0.0"));
    }
    let _ = (slots.bless(disk, "2.0.0"), slots.fail(disk, "1.0.0"));
    armed
}

/// A kernel image, read as the updater and the identity daemon read it.
pub fn kernelimage(bytes: &[u8]) {
    let image = Memory(bytes.to_vec());
    for name in [".cmdline", ".osrel", ".pcrsig", ".linux"] {
        if let Ok(content) = program::section(&image, name, 16 << 10) {
            assert!(content.len() <= 16 << 10 && content.len() <= bytes.len());
        }
    }
}

/// A disk as its maker has it, with a kernel image.
fn good() -> &'static Memory {
    static DISK: OnceLock<Memory> = OnceLock::new();
    DISK.get_or_init(|| {
        let mut disk = Memory(vec![0; SECTORS * SECTOR]);
        table(&mut disk.0);
        file_system(&mut disk.0);
        seal(&mut disk.0);
        let window = slots::disk::Window::new(&mut disk, (ESP.0 * SECTOR) as u64, (ESP.1 * SECTOR) as u64);
        let put = Fat::open(window).and_then(|mut fat| fat.put(KERNELS, "gabion_1.0.0.efi", &[5; 2000]));
        assert!(put.is_ok(), "{put:?}");
        disk
    })
}

fn put(disk: &mut [u8], at: usize, bytes: &[u8]) {
    disk[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Both copies of a partition table.
fn table(disk: &mut [u8]) {
    let kinds: [&[u8; 16]; 3] = [
        b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b",
        b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09",
        b"\xed\x57\x73\x2c\xd2\xeb\xd9\x46\xae\xc1\x23\xd4\x37\xec\x2b\xf5",
    ];
    let parts = [
        (kinds[0], ESP.0, ESP.1, 0x33),
        (kinds[1], SLOTS[0], SLOT, 0x11),
        (kinds[2], SLOTS[1], SLOT, 0x11),
        (kinds[1], SLOTS[2], SLOT, 0x44),
        (kinds[2], SLOTS[3], SLOT, 0x55),
    ];
    for (own, other, entries) in [(1, SECTORS - 1, 2), (SECTORS - 1, 1, SECTORS - 33)] {
        let header = own * SECTOR;
        put(disk, header, b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, value) in [(24, own), (32, other), (40, 34), (48, SECTORS - 34), (72, entries)] {
            put(disk, header + at, &(value as u64).to_le_bytes());
        }
        put(disk, header + 80, &[128, 0, 0, 0, 128, 0, 0, 0]);
        for (index, (kind, from, sectors, unique)) in parts.iter().enumerate() {
            let entry = entries * SECTOR + 128 * index;
            put(disk, entry, &kind[..]);
            put(disk, entry + 16, &[*unique; 16]);
            put(disk, entry + 32, &(*from as u64).to_le_bytes());
            put(disk, entry + 40, &((from + sectors - 1) as u64).to_le_bytes());
        }
    }
}

/// FAT16 with the folders of kernel images.
fn file_system(disk: &mut [u8]) {
    let first = ESP.0 * SECTOR;
    put(disk, first + 11, &[0, 2, 1, 1, 0, 2, 16, 0]);
    put(disk, first + 19, &(ESP.1 as u16).to_le_bytes());
    put(disk, first + 22, &(TABLE as u16).to_le_bytes());
    put(disk, first + 510, &[0x55, 0xaa]);
    for copy in 0..2 {
        put(disk, (TABLES + copy * TABLE) * SECTOR, &[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }
    let folder = |name: &[u8; 11], cluster: u8| {
        let mut entry = [0; 32];
        entry[..11].copy_from_slice(name);
        entry[11] = 0x10;
        entry[26] = cluster;
        entry
    };
    put(disk, DIRECTORY * SECTOR, &folder(b"EFI        ", 2));
    put(disk, DATA * SECTOR, &folder(b"LINUX      ", 3));
}

/// Makes the sums of both copies of the partition table right: a damaged one is refused by them, which is soon learnt.
fn seal(disk: &mut [u8]) {
    for (own, entries) in [(1, 2), (SECTORS - 1, SECTORS - 33)] {
        let header = own * SECTOR;
        let sum = crc32(&disk[entries * SECTOR..(entries + 32) * SECTOR]);
        put(disk, header + 88, &sum.to_le_bytes());
        put(disk, header + 16, &[0; 4]);
        let sum = crc32(&disk[header..header + 92]);
        put(disk, header + 16, &sum.to_le_bytes());
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    })
}
