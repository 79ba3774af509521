//! What of some bytes is in others: Colin Percival's bsdiff, on a suffix array.

use crate::patch::Part;

/// Shorter parts of the old are told as new ones: the place costs as much, and each may mean opening a cluster.
const SHORT: u32 = 48;

/// Bytes whose suffixes are in order.
pub(super) struct Sorted<'a> {
    bytes: &'a [u8],
    order: Vec<i32>,
}

impl<'a> Sorted<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut order = vec![0; bytes.len()];
        divsufsort::sort_in_place(bytes, &mut order);
        Self { bytes, order }
    }

    fn suffix(&self, rank: usize) -> (usize, &[u8]) {
        let at = self.order.get(rank).and_then(|at| usize::try_from(*at).ok()).unwrap_or(self.bytes.len());
        (at, self.bytes.get(at..).unwrap_or_default())
    }

    /// How long the longest beginning of `wanted` is that is in there, and where.
    fn longest(&self, wanted: &[u8]) -> (usize, usize) {
        let after = self.order.partition_point(|at| {
            self.bytes.get(usize::try_from(*at).unwrap_or(self.bytes.len())..).unwrap_or_default() < wanted
        });
        let common = |rank: usize| {
            let (at, suffix) = self.suffix(rank);
            (suffix.iter().zip(wanted).take_while(|(a, b)| a == b).count(), at)
        };
        let before = after.checked_sub(1).map_or((0, 0), common);
        let after = common(after);
        if before.0 > after.0 { before } else { after }
    }
}

/// Tells `new` by what is `sorted`.
pub(super) fn parts(sorted: &Sorted<'_>, new: &[u8]) -> Vec<Part> {
    let old = sorted.bytes;
    let mut parts = Vec::new();
    let same = |old_at: isize, new_at: usize| {
        usize::try_from(old_at)
            .ok()
            .and_then(|at| old.get(at))
            .is_some_and(|byte| new.get(new_at) == Some(byte))
    };
    let (mut scan, mut length, mut position) = (0_usize, 0_usize, 0_usize);
    let (mut last_scan, mut last_position, mut offset) = (0_usize, 0_usize, 0_isize);
    while scan < new.len() {
        let mut score = 0_usize;
        scan += length;
        let mut scored = scan;
        while scan < new.len() {
            (length, position) = sorted.longest(new.get(scan..).unwrap_or_default());
            while scored < scan + length {
                score += usize::from(same(scored as isize + offset, scored));
                scored += 1;
            }
            if length == score && length != 0 || length > score + 8 {
                break;
            }
            score -= usize::from(score > 0 && same(scan as isize + offset, scan));
            scan += 1;
        }
        if length == score && scan != new.len() {
            continue;
        }
        let (mut forward, mut backward) = (ahead(old, new, last_position, last_scan, scan), 0);
        if scan < new.len() {
            backward = behind(old, new, position, scan, last_scan);
        }
        if let Some(overlap) =
            (last_scan + forward + backward).checked_sub(scan).filter(|overlap| *overlap > 0)
        {
            let (mut sum, mut best, mut kept) = (0_isize, 0, 0);
            for i in 0..overlap {
                let ours = last_position + forward - overlap + i;
                sum += isize::from(same(ours as isize, last_scan + forward - overlap + i));
                sum -= isize::from(same((position - backward + i) as isize, scan - backward + i));
                if sum > best {
                    (best, kept) = (sum, i + 1);
                }
            }
            forward = forward + kept - overlap;
            backward -= kept;
        }
        let (from, old) = (last_position as u64, forward as u32);
        let new = (scan - backward - last_scan - forward) as u32;
        match parts.last_mut() {
            Some(Part { new: before, .. }) if old < SHORT => *before += old + new,
            _ => parts.push(Part { from, old, new }),
        }
        last_scan = scan - backward;
        last_position = position - backward;
        offset = position as isize - scan as isize;
    }
    parts
}

/// How far both go on together, at least half of the bytes being equal.
fn ahead(old: &[u8], new: &[u8], old_at: usize, new_at: usize, until: usize) -> usize {
    let pairs = old.iter().skip(old_at).zip(new.iter().take(until).skip(new_at));
    furthest(pairs)
}

fn behind(old: &[u8], new: &[u8], old_at: usize, new_at: usize, since: usize) -> usize {
    let old = old.iter().take(old_at).rev();
    furthest(old.zip(new.iter().take(new_at).skip(since).rev()))
}

fn furthest<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    let (mut score, mut best, mut length) = (0_isize, 0_isize, 0);
    for (at, (old, new)) in pairs.enumerate() {
        score += if old == new { 1 } else { -1 };
        if score > best {
            (best, length) = (score, at + 1);
        }
    }
    length
}
