//! Images made for tests.

#![allow(dead_code, reason = "each test file uses a part")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot make its image has failed"
)]

use package::elf::Machine;
use package::erofs::{self, Contents, Refusal};
use package::tree::Wrong;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// The checker's word on it.
pub(crate) fn verdict(image: &[u8]) -> Result<Contents, Refusal> {
    erofs::check(image, Machine::HERE)
}

/// As `image/src/erofs.rs` has it made.
pub(crate) fn image(root: &Path) -> Vec<u8> {
    format(root, &["-zlz4hc,12", "-x-1"])
}

/// With these options instead.
pub(crate) fn format(root: &Path, options: &[&str]) -> Vec<u8> {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("it.img");
    let uuid = "67616269-6f6e-4000-8000-617070696d67";
    let made = Command::new("mkfs.erofs")
        .args(["--quiet", "-T0", "--all-root", "-U", uuid])
        .args(options)
        .arg(&file)
        .arg(root)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("mkfs.erofs of Debian's erofs-utils");
    assert!(made.success());
    fs::read(file).unwrap()
}

/// What is wrong with an entry of an image of a tree that `make` made.
pub(crate) fn refusal(make: impl FnOnce(&Path)) -> Wrong {
    let tree = tempfile::tempdir().unwrap();
    make(tree.path());
    match verdict(&image(tree.path())) {
        Err(Refusal::Entry(problem)) => problem.wrong,
        other => panic!("{other:?}"),
    }
}

/// An image with all that a package may have: compressed and plain files, links, hard links, a directory of several blocks.
pub(crate) fn rich() -> (Vec<u8>, TempDir) {
    let tree = tempfile::tempdir().unwrap();
    let at = |path: &str| tree.path().join(path);
    for directory in ["bin", "many", "empty"] {
        fs::create_dir(at(directory)).unwrap();
    }
    fs::copy("/bin/busybox", at("bin/busybox")).unwrap();
    symlink("busybox", at("bin/sh")).unwrap();
    symlink("busy".repeat(100), at("bin/long")).unwrap();
    fs::hard_link(at("bin/busybox"), at("bin/same")).unwrap();
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(20_000)
    .collect();
    fs::write(at("bin/plain"), &noise).unwrap();
    fs::write(at("bin/zeros"), vec![0; 3 << 20]).unwrap();
    fs::write(at("bin/nothing"), "").unwrap();
    fs::write(at("bin/block"), vec![b'a'; 4096]).unwrap();
    fs::write(at("text"), "a line of text\n".repeat(2000)).unwrap();
    for number in 0..400 {
        fs::write(at(&format!("many/a-rather-long-name-{number:04}")), format!("{number}\n")).unwrap();
    }
    (image(tree.path()), tree)
}

/// The smallest program that the checker takes.
pub(crate) fn program() -> Vec<u8> {
    let machine: u16 = if Machine::HERE == Machine::X86_64 { 62 } else { 183 };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([2_u16, machine].iter().flat_map(|half| half.to_le_bytes()));
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0_u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([64_u16, 56, 1, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    // PT_GNU_STACK, readable and writable.
    bytes.extend([0x6474_e551_u32, 6].iter().flat_map(|word| word.to_le_bytes()));
    bytes.extend([0; 48]);
    bytes
}

/// Numbers that follow from a first one (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A value that is often at an edge.
    fn value(&mut self) -> u64 {
        let edges = [0, 1, 2, 0x7f, 0xff, 0xfff, 0x1000, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
        match self.below(3) {
            0 => edges[self.below(edges.len())],
            1 => 1 << self.below(64),
            _ => self.next() >> self.below(64),
        }
    }
}

/// The mutant of this number of an image: one to three changes, and its superblock's checksum made right again, so that what
/// lies behind it is reached.
pub(crate) fn mutant(original: &[u8], number: u64) -> Vec<u8> {
    let mut numbers = Numbers(number);
    let mut image = original.to_vec();
    for _ in 0..=numbers.below(3) {
        change(&mut image, &mut numbers);
    }
    if numbers.below(50) != 0 {
        sign(&mut image);
    }
    image
}

fn change(image: &mut Vec<u8>, numbers: &mut Numbers) {
    let length = image.len();
    match numbers.below(10) {
        // A bit anywhere.
        0 => put(image, numbers.below(length), 1, None, numbers),
        // A field of the superblock.
        1 => {
            let at = 1024 + 4 * numbers.below(32);
            put(image, at, 4, None, numbers);
        }
        // A field of an inode or an index: they begin right behind the superblock.
        2..=4 => {
            let at = 1152 + 2 * numbers.below((length.min(12_288) - 1152) / 2);
            let size = [2, 4, 8][numbers.below(3)];
            let value = Some(numbers.value());
            put(image, at, size, value, numbers);
        }
        // An inode for another, or a directory's block.
        5 => {
            let slot = |numbers: &mut Numbers| 1152 + 32 * numbers.below((length - 1152) / 32 - 2);
            let (from, to) = (slot(numbers), slot(numbers));
            image.copy_within(from..from + 32, to);
        }
        6 => {
            let blocks = length / 4096;
            let (from, to) = (numbers.below(blocks) * 4096, numbers.below(blocks) * 4096);
            image.copy_within(from..from + 4096, to);
        }
        // A number of an entry: loops, two parents, files as directories.
        7 => {
            let found = entries(image);
            if let Some(at) = found.get(numbers.below(found.len())).copied() {
                let other = found[numbers.below(found.len())];
                let value = match numbers.below(4) {
                    0 => numbers.value(),
                    _ => u64::from_le_bytes(image[other..other + 8].try_into().unwrap()),
                };
                put(image, at, 8, Some(value), numbers);
            }
        }
        // The rest of an entry: where its name is, its kind; or a letter of a name.
        8 => {
            let found = entries(image);
            if let Some(at) = found.get(numbers.below(found.len())).copied() {
                let value = Some(numbers.value());
                match numbers.below(3) {
                    0 => put(image, at + 8, 2, value, numbers),
                    1 => put(image, at + 10, 1, value, numbers),
                    _ => {
                        let letter = b"/.\0\xff\n~"[numbers.below(6)];
                        let name = usize::from(u16::from_le_bytes([image[at + 8], image[at + 9]]));
                        put(image, (at & !4095) + name, 1, Some(u64::from(letter)), numbers);
                    }
                }
            }
        }
        // Cut, or longer.
        _ => {
            let to = if numbers.below(2) == 0 { numbers.below(length) } else { length + numbers.below(9000) };
            image.resize(to.max(8192), 0);
        }
    }
}

/// Overwrites `size` bytes with `value`, or flips one bit of them.
fn put(image: &mut [u8], at: usize, size: usize, value: Option<u64>, numbers: &mut Numbers) {
    let bit = numbers.below(size * 8);
    let Some(field) = image.get_mut(at..at + size) else { return };
    match value {
        Some(value) => field.copy_from_slice(&value.to_le_bytes()[..size]),
        None => field[bit / 8] ^= 1 << (bit % 8),
    }
}

/// Where entries of directories seem to lie: a number, an offset, a kind, a zero.
fn entries(image: &[u8]) -> Vec<usize> {
    let like = |at: &usize| {
        let entry = &image[*at..*at + 12];
        entry[11] == 0
            && (1..=7).contains(&entry[10])
            && entry[3..8] == [0; 5]
            && (12..4096).contains(&u16::from_le_bytes([entry[8], entry[9]]))
    };
    (1152..image.len().saturating_sub(12)).step_by(4).filter(like).collect()
}

/// Makes the superblock's checksum right.
pub(crate) fn sign(image: &mut [u8]) {
    let Some(block) = image.get_mut(1024..4096) else { return };
    block[4..8].fill(0);
    let sum = block.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    });
    block[4..8].copy_from_slice(&sum.to_le_bytes());
}
