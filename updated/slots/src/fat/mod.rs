//! A FAT file system, 16 or 32 bits, as EFI system partitions are: read, and written so that no cut is seen on it.
//!
//! What holds after each flush, and between any two: each file that is there is whole. What a file consists of is written
//! first, where nothing is; then the table; then one sector of its directory, which makes it be there, be gone, or have
//! another name. So what a cut leaves behind is at most space that nobody has, or the same file by two names. The table is
//! therefore not believed as to what is free: that is what no directory leads to.
//!
//! Whoever had the disk may have written all of it: loops, crossing chains and lengths end as an error or an end.

mod name;
mod shape;
mod write;

use std::collections::BTreeSet;

use crate::disk::{Disk, SECTOR, field};
use crate::fault::Fault;
use name::{ENTRY, Kind, Pieces, Short};
use shape::{Root, Shape};

/// Directories deeper or longer than this are of no EFI system partition.
const DEPTH: usize = 8;
const SECTORS_OF_DIRECTORY: usize = 256;
const TABLE: Fault = Fault::Damaged("a chain of the EFI system partition's table");
const TREE: Fault = Fault::Damaged("the EFI system partition's tree of directories");

/// A file or directory that is there.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, the long one if it has any.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Its length, bytes; 0 of a directory.
    pub bytes: u32,
    raw: [u8; 11],
    first: u32,
    /// Where its entries are: sector, and place in it. Its own is the last.
    slots: Vec<(u64, usize)>,
}

/// A file system on a partition.
pub struct Fat<D> {
    disk: D,
    shape: Shape,
    table: Vec<u8>,
}

impl<D: Disk> Fat<D> {
    /// Reads what there is.
    ///
    /// # Errors
    /// It is no such file system; the disk's.
    pub fn open(disk: D) -> Result<Self, Fault> {
        let shape = Shape::read(&disk)?;
        let mut table = vec![0; usize::try_from(shape.table).unwrap_or_default()];
        disk.read(shape.table_at, &mut table)?;
        Ok(Self { disk, shape, table })
    }

    /// What is in a directory, by its path: names with `/` between them, empty for the root.
    ///
    /// # Errors
    /// There is none; a structure is damaged; the disk's.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, Fault> {
        self.entries(&self.directory(path)?)
    }

    /// A file's content.
    ///
    /// # Errors
    /// There is none, or it is longer than `most`; its chain is damaged; the disk's.
    pub fn read(&self, directory: &str, name: &str, most: u32) -> Result<Vec<u8>, Fault> {
        let entry = self.find(directory, name)?;
        if entry.bytes > most {
            return Err(Fault::Long(entry.bytes.into()));
        }
        let bytes = usize::try_from(entry.bytes).unwrap_or_default();
        let mut content = vec![0; bytes];
        let chain = self.chain(entry.first)?;
        if chain.len() < bytes.div_ceil(self.shape.cluster) {
            return Err(TABLE);
        }
        for (part, cluster) in content.chunks_mut(self.shape.cluster).zip(chain) {
            self.disk.read(self.shape.place(cluster).ok_or(TABLE)?, part)?;
        }
        Ok(content)
    }

    fn find(&self, directory: &str, name: &str) -> Result<Entry, Fault> {
        let mut all = self.list(directory)?.into_iter();
        let found = all.find(|entry| entry.name.eq_ignore_ascii_case(name) && !entry.directory);
        found.ok_or_else(|| Fault::Missing(format!("{directory}/{name}")))
    }

    /// The sectors of a directory.
    fn directory(&self, path: &str) -> Result<Vec<u64>, Fault> {
        let mut sectors = self.root()?;
        for name in path.split('/').filter(|name| !name.is_empty()).take(DEPTH) {
            let mut all = self.entries(&sectors)?.into_iter();
            let found = all.find(|entry| entry.directory && entry.name.eq_ignore_ascii_case(name));
            sectors = self.sectors(found.ok_or_else(|| Fault::Missing(path.to_owned()))?.first)?;
        }
        Ok(sectors)
    }

    fn root(&self) -> Result<Vec<u64>, Fault> {
        match self.shape.root {
            Root::Fixed(at, bytes) => Ok((at..at + bytes).step_by(SECTOR).collect()),
            Root::Chain(first) => self.sectors(first),
        }
    }

    /// The sectors of a chain of clusters.
    fn sectors(&self, first: u32) -> Result<Vec<u64>, Fault> {
        self.sectors_of(&self.chain(first)?)
    }

    fn sectors_of(&self, chain: &[u32]) -> Result<Vec<u64>, Fault> {
        let mut sectors = Vec::new();
        for cluster in chain {
            let at = self.shape.place(*cluster).ok_or(TABLE)?;
            sectors.extend((at..at + self.shape.cluster as u64).step_by(SECTOR));
            if sectors.len() > SECTORS_OF_DIRECTORY {
                return Err(Fault::Damaged("a directory of the EFI system partition"));
            }
        }
        Ok(sectors)
    }

    fn entries(&self, sectors: &[u64]) -> Result<Vec<Entry>, Fault> {
        let (mut all, mut pieces, mut slots) = (Vec::new(), Pieces::default(), Vec::new());
        for at in sectors {
            let mut sector = [0; SECTOR];
            self.disk.read(*at, &mut sector)?;
            for (index, entry) in sector.chunks(ENTRY).enumerate() {
                match name::read(entry) {
                    Kind::End => return Ok(all),
                    Kind::Free => (pieces, slots) = (Pieces::default(), Vec::new()),
                    Kind::Piece(piece) => {
                        if !pieces.push(&piece) {
                            slots.clear();
                        }
                        slots.push((*at, index));
                    }
                    Kind::Short(short) => {
                        slots.push((*at, index));
                        let name = pieces.name(&short);
                        all.extend(entry_of(name, &short, std::mem::take(&mut slots)));
                    }
                }
            }
        }
        Ok(all)
    }

    /// What the table says of a cluster.
    fn next(&self, cluster: u32) -> u32 {
        let index = usize::try_from(cluster).unwrap_or(usize::MAX);
        if self.shape.wide {
            field::u32(&self.table, index.saturating_mul(4)) & 0x0fff_ffff
        } else {
            field::u16(&self.table, index.saturating_mul(2)).into()
        }
    }

    fn is_last(&self, next: u32) -> bool {
        next >= if self.shape.wide { 0x0fff_fff8 } else { 0xfff8 }
    }

    /// The clusters from `first` on; none for 0.
    fn chain(&self, first: u32) -> Result<Vec<u32>, Fault> {
        let (mut chain, mut at) = (Vec::new(), first);
        if first == 0 {
            return Ok(chain);
        }
        loop {
            if self.shape.place(at).is_none() || chain.len() > self.shape.clusters as usize {
                return Err(TABLE);
            }
            chain.push(at);
            at = self.next(at);
            if self.is_last(at) {
                return Ok(chain);
            }
        }
    }

    /// Every cluster that a directory leads to. Of a file's chain that is damaged, as far as it goes; by two names a file may
    /// be there, from a cut.
    ///
    /// # Errors
    /// A directory's chain is damaged, or has a cluster that is of something else too: what is written to the one would be
    /// written to the other.
    fn used(&self) -> Result<BTreeSet<u32>, Fault> {
        let mut used = Used::default();
        if let Root::Chain(first) = self.shape.root {
            used.directory(&self.chain(first)?)?;
        }
        self.mark_below(&self.root()?, DEPTH, &mut used)?;
        used.all()
    }

    fn mark_below(&self, sectors: &[u64], depth: usize, used: &mut Used) -> Result<(), Fault> {
        for entry in self.entries(sectors)? {
            if !entry.directory {
                self.mark(entry.first, &mut used.files);
            } else if entry.name != "." && entry.name != ".." {
                let chain = self.chain(entry.first)?;
                used.directory(&chain)?;
                let depth = depth.checked_sub(1).ok_or(TREE)?;
                self.mark_below(&self.sectors_of(&chain)?, depth, used)?;
            }
        }
        Ok(())
    }

    fn mark(&self, first: u32, used: &mut BTreeSet<u32>) {
        let mut at = first;
        while self.shape.place(at).is_some() && used.insert(at) {
            at = self.next(at);
        }
    }
}

/// Clusters that something leads to.
#[derive(Default)]
struct Used {
    directories: BTreeSet<u32>,
    files: BTreeSet<u32>,
}

impl Used {
    fn directory(&mut self, chain: &[u32]) -> Result<(), Fault> {
        let are_new = chain.iter().all(|cluster| self.directories.insert(*cluster));
        if are_new { Ok(()) } else { Err(TREE) }
    }

    fn all(mut self) -> Result<BTreeSet<u32>, Fault> {
        if !self.directories.is_disjoint(&self.files) {
            return Err(TREE);
        }
        self.directories.append(&mut self.files);
        Ok(self.directories)
    }
}

fn entry_of(name: String, short: &Short, slots: Vec<(u64, usize)>) -> Option<Entry> {
    let bytes = if short.directory { 0 } else { short.bytes };
    let usable = !name.is_empty() && !name.contains('/');
    usable.then_some(Entry {
        name,
        directory: short.directory,
        bytes,
        raw: short.raw,
        first: short.first,
        slots,
    })
}
