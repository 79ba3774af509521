//! Where things are in a FAT file system: its first sector, read strictly.

use crate::disk::{Disk, SECTOR, field};
use crate::fault::Fault;

/// Tables larger than this are of no EFI system partition.
const TABLE_MAX: u64 = 4 << 20;
const DAMAGED: Fault = Fault::Damaged("the EFI system partition's first sector");

/// Where the root directory is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Root {
    /// Between the tables and the data: first byte, length. FAT16.
    Fixed(u64, u64),
    /// As any other directory, from this cluster on. FAT32.
    Chain(u32),
}

/// The layout, bytes from the start of the partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Entries of the table are 32 bits, else 16.
    pub(super) wide: bool,
    /// Bytes of a cluster.
    pub(super) cluster: usize,
    /// The first table.
    pub(super) table_at: u64,
    /// Bytes of a table.
    pub(super) table: u64,
    /// Tables, one after the other.
    pub(super) copies: u64,
    /// The root directory.
    pub(super) root: Root,
    /// The first cluster, whose number is 2.
    pub(super) data_at: u64,
    /// Clusters there are.
    pub(super) clusters: u32,
}

impl Shape {
    pub(super) fn read(disk: &impl Disk) -> Result<Self, Fault> {
        let mut sector = [0; SECTOR];
        disk.read(0, &mut sector)?;
        let byte = |at: usize| u64::from(sector.get(at).copied().unwrap_or_default());
        let short = |at: usize| u64::from(field::u16(&sector, at));
        let long = |at: usize| u64::from(field::u32(&sector, at));
        let unit = SECTOR as u64;
        let per_cluster = byte(13);
        let sane = short(510) == 0xaa55
            && short(11) == unit
            && per_cluster.is_power_of_two()
            && (1..=2).contains(&byte(16))
            && short(14) > 0
            && (short(17) * 32).is_multiple_of(unit);
        if !sane {
            return Err(DAMAGED);
        }
        let table = if short(22) > 0 { short(22) } else { long(36) };
        let total = if short(19) > 0 { short(19) } else { long(32) };
        let fixed = short(17) * 32 / unit;
        let data = short(14) + byte(16) * table + fixed;
        let clusters = total.checked_sub(data).ok_or(DAMAGED)? / per_cluster;
        // By the count alone: that is the standard's rule.
        let wide = clusters >= 65_525;
        let entry = if wide { 4 } else { 2 };
        let fits = clusters >= 4_085
            && wide == (fixed == 0)
            && table * unit <= TABLE_MAX
            && (clusters + 2) * entry <= table * unit;
        if !fits {
            return Err(DAMAGED);
        }
        let root = match fixed {
            0 => Root::Chain(field::u32(&sector, 44)),
            sectors => Root::Fixed((data - sectors) * unit, sectors * unit),
        };
        Ok(Self {
            wide,
            cluster: usize::try_from(per_cluster * unit).map_err(|_| DAMAGED)?,
            table_at: short(14) * unit,
            table: table * unit,
            copies: byte(16),
            root,
            data_at: data * unit,
            clusters: u32::try_from(clusters).map_err(|_| DAMAGED)?,
        })
    }

    /// Where a cluster is; `None` when there is none of this number.
    pub(super) fn place(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.data_at + u64::from(index) * self.cluster as u64)
    }
}
