//! Damaged images, each made from its number. The tests of whole devices boot some of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot make its image has failed")]

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
