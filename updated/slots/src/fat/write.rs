//! Files that come, go, and get another name. Nothing is written where directories cross each other or a file.

use std::collections::BTreeSet;

use super::name::{ENTRY, Kind, REMOVED};
use super::{Entry, Fat, TABLE, name};
use crate::disk::{Disk, SECTOR, field};
use crate::fault::Fault;

const PER_SECTOR: usize = SECTOR / ENTRY;
const LAST: u32 = 0x0fff_ffff;

impl<D: Disk> Fat<D> {
    /// Makes a file in a directory that is there.
    ///
    /// # Errors
    /// One is there by this name; no room; directories cross; the disk's. Then there is none.
    pub fn put(&mut self, directory: &str, name: &str, content: &[u8]) -> Result<(), Fault> {
        if self.list(directory)?.iter().any(|entry| entry.name.eq_ignore_ascii_case(name)) {
            return Err(Fault::Exists(format!("{directory}/{name}")));
        }
        let bytes = u32::try_from(content.len()).map_err(|_| Fault::Full("in a file"))?;
        let chain = self.free(content.len().div_ceil(self.shape.cluster))?;
        for (part, cluster) in content.chunks(self.shape.cluster).zip(&chain) {
            let mut whole = part.to_vec();
            whole.resize(part.len().next_multiple_of(SECTOR), 0);
            self.disk.write(self.shape.place(*cluster).ok_or(TABLE)?, &whole)?;
        }
        self.disk.flush()?;
        let next = chain.iter().skip(1).copied().chain([LAST]);
        self.enter(&chain.iter().copied().zip(next).collect::<Vec<_>>())?;
        self.name(directory, name, chain.first().copied().unwrap_or_default(), bytes)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// There is none; directories cross; the disk's.
    pub fn remove(&mut self, directory: &str, name: &str) -> Result<(), Fault> {
        let entry = self.find(directory, name)?;
        self.used()?;
        self.forget(&entry)?;
        // Another name of the same file may be there, from a cut.
        let used = self.used()?;
        let free: Vec<_> =
            self.chain(entry.first)?.into_iter().filter(|cluster| !used.contains(cluster)).collect();
        self.enter(&free.into_iter().map(|cluster| (cluster, 0)).collect::<Vec<_>>())
    }

    /// Gives a file another name. It has one of the two at any time, or for a moment both.
    ///
    /// # Errors
    /// There is none; one has the new name; no room; directories cross; the disk's.
    pub fn rename(&mut self, directory: &str, from: &str, to: &str) -> Result<(), Fault> {
        let all = self.list(directory)?;
        if all.iter().any(|entry| entry.name.eq_ignore_ascii_case(to)) {
            return Err(Fault::Exists(format!("{directory}/{to}")));
        }
        let entry = self.find(directory, from)?;
        self.used()?;
        let taken: Vec<_> = all.iter().map(|entry| entry.raw).collect();
        let entries = name::write(to, name::short(to, &taken), entry.first, entry.bytes)?;
        let sectors: BTreeSet<u64> = entry.slots.iter().map(|(sector, _)| *sector).collect();
        match (sectors.first(), entry.slots.len().checked_sub(entries.len())) {
            // The same places, in one sector.
            (Some(at), Some(spare)) if sectors.len() == 1 => {
                let mut sector = self.sector(*at)?;
                let (gone, kept) = entry.slots.split_at(spare);
                gone.iter().for_each(|(_, slot)| field::put(&mut sector, slot * ENTRY, &[REMOVED]));
                for ((_, slot), bytes) in kept.iter().zip(&entries) {
                    field::put(&mut sector, slot * ENTRY, bytes);
                }
                self.disk.write(*at, &sector)?;
                Ok(self.disk.flush()?)
            }
            _ => {
                self.name(directory, to, entry.first, entry.bytes)?;
                self.forget(&entry)
            }
        }
    }

    /// Puts a name into a directory, by one sector.
    fn name(&mut self, directory: &str, name: &str, first: u32, bytes: u32) -> Result<(), Fault> {
        let taken: Vec<_> = self.list(directory)?.iter().map(|entry| entry.raw).collect();
        let entries = name::write(name, name::short(name, &taken), first, bytes)?;
        let (at, slot) = self.room(directory, entries.len())?;
        let mut sector = self.sector(at)?;
        field::put(&mut sector, slot * ENTRY, &entries.concat());
        self.disk.write(at, &sector)?;
        Ok(self.disk.flush()?)
    }

    /// Where `count` entries have room in one sector of a directory, its end not before them.
    fn room(&mut self, directory: &str, count: usize) -> Result<(u64, usize), Fault> {
        loop {
            let sectors = self.directory(directory)?;
            for (number, at) in sectors.iter().enumerate() {
                let sector = self.sector(*at)?;
                let free: Vec<bool> = kinds(&sector).map(|kind| matches!(kind, Kind::Free)).collect();
                let end = kinds(&sector).position(|kind| matches!(kind, Kind::End));
                let until = end.unwrap_or(PER_SECTOR);
                if let Some(slot) = (0..until).find(|from| {
                    free.get(*from..from + count)
                        .is_some_and(|run| from + count <= until && run.iter().all(|free| *free))
                }) {
                    return Ok((*at, slot));
                }
                let Some(end) = end else { continue };
                // Behind the end anything may lie: it is made an end before the end moves on.
                if end + count <= PER_SECTOR {
                    let mut clean = sector;
                    if let Some(rest) = clean.get_mut(end * ENTRY..) {
                        rest.fill(0);
                    }
                    self.disk.write(*at, &clean)?;
                    self.close(sectors.get(number + 1).copied())?;
                    return Ok((*at, end));
                }
                let next = sectors.get(number + 1).copied();
                if next.is_none() {
                    break;
                }
                self.close(next)?;
                let mut open = sector;
                (end..PER_SECTOR).for_each(|slot| {
                    field::put(&mut open, slot * ENTRY, &[0; ENTRY]);
                    field::put(&mut open, slot * ENTRY, &[REMOVED]);
                });
                self.disk.write(*at, &open)?;
                self.disk.flush()?;
            }
            self.lengthen(directory)?;
        }
    }

    /// Makes a sector of a directory its end.
    fn close(&mut self, at: Option<u64>) -> Result<(), Fault> {
        if let Some(at) = at {
            self.disk.write(at, &[0; SECTOR])?;
        }
        Ok(self.disk.flush()?)
    }

    /// Gives a directory one cluster more.
    fn lengthen(&mut self, directory: &str) -> Result<(), Fault> {
        let (above, name) = directory.rsplit_once('/').unwrap_or(("", directory));
        let mut all = self.list(above)?.into_iter();
        let own = all.find(|entry| entry.directory && entry.name.eq_ignore_ascii_case(name));
        // A root of 16 bits has the length that it has.
        let own = own.ok_or(Fault::Full("in a directory of the EFI system partition"))?;
        let last = self.chain(own.first)?.last().copied().ok_or(TABLE)?;
        let free = self.free(1)?;
        let cluster = free.first().copied().ok_or(TABLE)?;
        let blank = vec![0; self.shape.cluster];
        self.disk.write(self.shape.place(cluster).ok_or(TABLE)?, &blank)?;
        self.disk.flush()?;
        self.enter(&[(cluster, LAST)])?;
        self.enter(&[(last, cluster)])
    }

    /// Marks a file's entries as removed, its own first.
    fn forget(&mut self, entry: &Entry) -> Result<(), Fault> {
        let mut left: Vec<(u64, usize)> = entry.slots.clone();
        while let Some((at, _)) = left.last().copied() {
            let mut sector = self.sector(at)?;
            left.retain(|(other, slot)| {
                if *other == at {
                    field::put(&mut sector, slot * ENTRY, &[REMOVED]);
                }
                *other != at
            });
            self.disk.write(at, &sector)?;
            self.disk.flush()?;
        }
        Ok(())
    }

    /// Clusters that nobody has.
    fn free(&self, count: usize) -> Result<Vec<u32>, Fault> {
        let used = self.used()?;
        let all = (2..self.shape.clusters.saturating_add(2)).filter(|cluster| !used.contains(cluster));
        let free: Vec<u32> = all.take(count).collect();
        if free.len() < count { Err(Fault::Full("on the EFI system partition")) } else { Ok(free) }
    }

    /// Writes entries of the table, to each of its copies.
    fn enter(&mut self, entries: &[(u32, u32)]) -> Result<(), Fault> {
        let width: usize = if self.shape.wide { 4 } else { 2 };
        let mut sectors = BTreeSet::new();
        for (cluster, next) in entries {
            let at = usize::try_from(*cluster).map_err(|_| TABLE)?.saturating_mul(width);
            // Of 32 bits four are not ours.
            let kept = field::u32(&self.table, at) & 0xf000_0000;
            let bytes = if self.shape.wide { kept | next & LAST } else { *next }.to_le_bytes();
            field::put(&mut self.table, at, bytes.get(..width).unwrap_or_default());
            sectors.insert(at / SECTOR * SECTOR);
        }
        for copy in 0..self.shape.copies {
            for at in &sectors {
                let sector = self.table.get(*at..at + SECTOR).ok_or(TABLE)?;
                self.disk.write(self.shape.table_at + copy * self.shape.table + *at as u64, sector)?;
            }
        }
        Ok(self.disk.flush()?)
    }

    fn sector(&self, at: u64) -> Result<[u8; SECTOR], Fault> {
        let mut sector = [0; SECTOR];
        self.disk.read(at, &mut sector)?;
        Ok(sector)
    }
}

fn kinds(sector: &[u8; SECTOR]) -> impl Iterator<Item = Kind> {
    sector.chunks(ENTRY).map(name::read)
}
