//! What a device wrote to one of its disks: QEMU's record of it, in the form of the kernel's dm-log-writes, and disks as a
//! power cut may have left them.
//!
//! A disk keeps what was flushed, and of what was not any sectors, or none. A killed QEMU shows nothing of this: what it was
//! told is in the machine's page cache by then.

use crate::device::Device;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

const SECTOR: usize = 512;
/// `drivers/md/dm-log-writes.c`: what a log begins with, and what an entry is.
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// The disk that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// The system's.
    System,
    /// That with the data.
    Data,
}

/// Something that was done to the disk.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes at a place.
    Write(usize, Vec<u8>),
    /// What was written is there to stay.
    Flush,
}

impl Device {
    /// What was done to the disk that is recorded since its machine was started, as far as it was flushed.
    ///
    /// # Errors
    /// It was not recorded; the record is damaged.
    pub fn writes(&self) -> Result<Vec<Event>> {
        read(&fs::read(self.parts.place.path().join("writes.log"))?)
    }

    /// Its system's disk before its first boot.
    ///
    /// # Errors
    /// It is on no board.
    pub fn disk_before(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.system()?.disk)?)
    }
}

fn read(log: &[u8]) -> Result<Vec<Event>> {
    let number = |at: usize| -> Result<u64> {
        let bytes = log.get(at..at + 8).context("a record that is cut")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    };
    ensure!(number(0)? == MAGIC, "no record of writes");
    let mut events = Vec::new();
    let mut at = SECTOR;
    for _ in 0..number(16)? {
        let (sector, sectors, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
        at += SECTOR;
        // A flush that comes with a write comes before it.
        if flags & FLUSH != 0 {
            events.push(Event::Flush);
        }
        let bytes = usize::try_from(sectors)? * SECTOR;
        if bytes > 0 && flags & DISCARD == 0 {
            let content = log.get(at..at + bytes).context("a record that is cut")?;
            events.push(Event::Write(usize::try_from(sector)? * SECTOR, content.to_vec()));
            at += bytes;
        }
    }
    Ok(events)
}

/// The disk after all of it.
pub fn after(before: &[u8], events: &[Event]) -> Vec<u8> {
    let mut disk = before.to_vec();
    for event in events {
        if let Event::Write(at, bytes) = event
            && let Some(place) = disk.get_mut(*at..*at + bytes.len())
        {
            place.copy_from_slice(bytes);
        }
    }
    disk
}

/// Makes `disk` the content of the file at `path`, without what is nought, which most of it is.
///
/// # Errors
/// It can not be written.
pub fn lay_out(disk: &[u8], path: &Path) -> Result<()> {
    const PART: usize = 4096;
    let file = File::create(path)?;
    file.set_len(disk.len() as u64)?;
    for (index, part) in disk.chunks(PART).enumerate() {
        if *part != [0; PART][..part.len()] {
            file.write_all_at(part, (index * PART) as u64)?;
        }
    }
    Ok(())
}

/// How many disks [`cuts`] shows.
pub fn count(events: &[Event], rounds: usize, matters: impl Fn(usize) -> bool) -> usize {
    let mut count = 0;
    cuts(&[], events, rounds, matters, |_| count += 1);
    count
}

/// Shows disks as a cut may have left them to `look`: `rounds` for each flush and each write that `matters` by its place, with
/// some of what was not flushed by then: any half, all but the last, the last alone, all but about four.
pub fn cuts(
    before: &[u8],
    events: &[Event],
    rounds: usize,
    matters: impl Fn(usize) -> bool,
    mut look: impl FnMut(&[u8]),
) {
    let mut flushed = before.to_vec();
    let mut waiting: Vec<(usize, &[u8])> = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut show = |flushed: &mut Vec<u8>, waiting: &[(usize, &[u8])]| {
        // Without anything that waits they are all the same.
        for round in 0..if waiting.is_empty() { 1 } else { rounds.max(1) } {
            let mut undo = BTreeMap::new();
            for (index, (at, sector)) in waiting.iter().enumerate() {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let left = waiting.len() - index;
                let is_there = match round % 4 {
                    0 => random & 1 == 1,
                    1 => left > 1 + round / 4,
                    2 => left <= 1 + round / 4,
                    _ => !random.is_multiple_of((waiting.len() as u64 / 4).max(2)),
                };
                let Some(place) = flushed.get_mut(*at..*at + sector.len()).filter(|_| is_there) else {
                    continue;
                };
                undo.entry(*at).or_insert_with(|| place.to_vec());
                place.copy_from_slice(sector);
            }
            look(flushed);
            for (at, sector) in undo {
                if let Some(place) = flushed.get_mut(at..at + sector.len()) {
                    place.copy_from_slice(&sector);
                }
            }
        }
    };
    for event in events {
        match event {
            Event::Write(at, bytes) => {
                let sectors = bytes.chunks(SECTOR).enumerate();
                waiting.extend(sectors.map(|(index, sector)| (at + index * SECTOR, sector)));
                if matters(*at) {
                    show(&mut flushed, &waiting);
                }
            }
            Event::Flush => {
                show(&mut flushed, &waiting);
                for (at, sector) in waiting.drain(..) {
                    if let Some(place) = flushed.get_mut(at..at + sector.len()) {
                        place.copy_from_slice(sector);
                    }
                }
                show(&mut flushed, &[]);
            }
        }
    }
    show(&mut flushed, &waiting);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sector: u64, content: &[u8], flags: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [sector, (content.len() / SECTOR) as u64, flags, content.len() as u64] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.resize(SECTOR, 0);
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn record_is_read_and_each_cut_keeps_what_was_flushed() {
        let mut log: Vec<u8> = [MAGIC, 1, 3].iter().flat_map(|number| number.to_le_bytes()).collect();
        log.resize(SECTOR, 0);
        log.extend(entry(0, &[1; SECTOR], 0));
        log.extend(entry(0, &[], FLUSH));
        log.extend(entry(1, &[2; 2 * SECTOR], 0));
        let events = read(&log).unwrap();
        let before = vec![0; 3 * SECTOR];
        assert_eq!(after(&before, &events), [vec![1; SECTOR], vec![2; 2 * SECTOR]].concat());
        let mut seen = std::collections::BTreeSet::new();
        cuts(
            &before,
            &events,
            6,
            |_| true,
            |disk| {
                seen.insert([disk[0], disk[SECTOR], disk[2 * SECTOR]]);
            },
        );
        for cut in [[0, 0, 0], [1, 0, 0], [1, 2, 0], [1, 0, 2]] {
            assert!(seen.contains(&cut), "{cut:?} of {seen:?}");
        }
        assert!(seen.iter().all(|[first, second, third]| *first == 1 || (*second, *third) == (0, 0)));
        assert!(read(&log[..log.len() - 1]).is_err());
    }
}
