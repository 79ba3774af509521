//! The old image as patches see it: its bytes, and behind them what each compressed cluster of it holds.
//!
//! A position below the old image's length is a byte of it; from there on the clusters' contents follow each other, in the
//! order of the index. Clusters are opened when a patch first asks, and the last few are kept. A hostile index chooses where
//! clusters lie and how long they are, within [`crate::index`]'s bounds; how often one is opened is bounded here.

use crate::index::Cluster;
use crate::lz4::{self, Opened};
use crate::patch::Broken;
use crate::read::ReadAt;
use std::rc::Rc;

/// Opened clusters are kept up to so many bytes: eight of ours.
const KEPT: usize = 6 << 20;
/// How often a segment may have a cluster opened: what opening costs is bounded by it.
pub(crate) const OPENED_MAX: u32 = 128;

/// Where a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Image { at: u64, left: u64 },
    Cluster { index: usize, at: u32, left: u32 },
}

pub(crate) struct Reference<'a, R: ?Sized> {
    old: &'a R,
    length: u64,
    clusters: &'a [Cluster],
    kept: Vec<(usize, Rc<Opened>)>,
    opened: u32,
}

impl<'a, R: ReadAt + ?Sized> Reference<'a, R> {
    /// Of an image of `length` bytes.
    pub(crate) fn new(old: &'a R, length: u64, clusters: &'a [Cluster]) -> Self {
        Self { old, length, clusters, kept: Vec::new(), opened: 0 }
    }

    pub(crate) fn locate(&self, position: u64) -> Option<Place> {
        if position < self.length {
            return Some(Place::Image { at: position, left: self.length - position });
        }
        let position = position - self.length;
        let index = self.clusters.partition_point(|cluster| cluster.begins <= position).checked_sub(1)?;
        let cluster = self.clusters.get(index)?;
        let at = u32::try_from(position - cluster.begins).ok()?;
        let left = cluster.length.checked_sub(at).filter(|left| *left > 0)?;
        Some(Place::Cluster { index, at, left })
    }

    pub(crate) fn image(&self, at: u64, buffer: &mut [u8]) -> Result<(), Broken> {
        self.old.read_at(at, buffer).map_err(|_| Broken::Old)
    }

    fn held(&self) -> usize {
        self.kept.iter().map(|(_, opened)| opened.bytes()).sum()
    }

    pub(crate) fn cluster(&mut self, index: usize) -> Result<Rc<Opened>, Broken> {
        if let Some(at) = self.kept.iter().position(|(kept, _)| *kept == index) {
            let found = self.kept.remove(at);
            let opened = found.1.clone();
            self.kept.push(found);
            return Ok(opened);
        }
        self.opened += 1;
        let cluster = self.clusters.get(index).filter(|_| self.opened <= OPENED_MAX).ok_or(Broken::Patch)?;
        let mut stored = vec![0; cluster.stored as usize];
        self.image(cluster.at, &mut stored)?;
        let opened = Rc::new(lz4::open(&stored, cluster.length as usize).ok_or(Broken::Old)?);
        while !self.kept.is_empty() && self.held() + opened.bytes() > KEPT {
            self.kept.remove(0);
        }
        self.kept.push((index, opened.clone()));
        Ok(opened)
    }
}
