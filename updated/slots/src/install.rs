//! The steps of an update of the system, in their order.
//!
//! | step | what is on the disk afterwards |
//! |---|---|
//! | [`Slots::disarm`] | one kernel image, the running one's: nothing leads to the other slot |
//! | (the caller) | the new root and its hash tree in the other slot, flushed, read back and verified |
//! | [`Slots::arm`] | the other slot bears the new root's GUIDs; then, by one sector, the new kernel image is there, on trial |
//! | [`Slots::bless`] or [`Slots::fail`] | the new system is known to be good, or has no attempt left |
//!
//! Attempts are counted only of a system on trial: one that was blessed has no counter, however often its power is cut.
//! Any step may be cut and done again from [`Slots::disarm`] on. It is not checked here whether a root is what its hash says,
//! nor who signed a kernel image: the first is the caller's, and the kernel's at each block; the second the firmware's.

use crate::disk::{Disk, Window};
use crate::fat::Fat;
use crate::fault::Fault;
use crate::gpt::{Gpt, Partition};
use crate::kernel::{Kernel, compare, is_version};
use crate::layout::Layout;

/// Types of the Discoverable Partitions Specification, as GPT writes them: an EFI system partition, and for each
/// architecture a root and its hash tree.
const ESP: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
const ROOTS: [([u8; 16], [u8; 16]); 2] = [
    // x86-64
    (
        *b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09",
        *b"\xed\x57\x73\x2c\xd2\xeb\xd9\x46\xae\xc1\x23\xd4\x37\xec\x2b\xf5",
    ),
    // 64-bit ARM
    (
        *b"\x45\xb0\x21\xb9\xf0\x1d\xc3\x41\xaf\x44\x4c\x6f\x28\x0d\x3f\xae",
        *b"\x24\x88\x3f\xdf\xe8\xda\xc1\x4c\x8f\x4f\x2b\xf0\xb1\xba\x40\xb5",
    ),
];

/// One of the two places for a system: the partitions of its root and of its hash tree, by their place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    root: usize,
    tree: usize,
}

/// A system that is to be installed.
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Numbers with dots.
    pub version: &'a str,
    /// Of its root.
    pub root_hash: [u8; 32],
    /// Its kernel image, signed.
    pub kernel: &'a [u8],
}

/// Where the two slots are, and which of them runs.
#[derive(Clone, Debug)]
pub struct Slots {
    gpt: Gpt,
    esp: Partition,
    running: Slot,
    other: Slot,
    /// The folder of kernel images.
    kernels: String,
}

impl Slots {
    /// Reads them from a disk of `bytes` bytes. The running one is that of the root with this hash.
    ///
    /// # Errors
    /// The table is damaged, lacks a partition, or has no such root; the disk's.
    pub fn read(disk: &impl Disk, bytes: u64, root_hash: &[u8; 32], layout: &Layout) -> Result<Self, Fault> {
        let gpt = Gpt::read(disk, bytes)?;
        let partitions = gpt.partitions();
        let of = |kind: &[u8; 16]| -> Vec<usize> {
            let places = partitions.iter().enumerate();
            places
                .filter(|(_, there)| there.as_ref().is_some_and(|there| there.kind == *kind))
                .map(|(at, _)| at)
                .collect()
        };
        let missing = || Fault::Missing("two slots in the partition table".to_owned());
        let esp = layout.esp.or_else(|| of(&ESP).first().copied());
        let esp = esp.and_then(|at| partitions.get(at).cloned().flatten());
        let by_types = || {
            ROOTS.iter().find_map(|(root, tree)| match (&of(root)[..], &of(tree)[..]) {
                ([a, b], [c, d]) => Some([Slot { root: *a, tree: *c }, Slot { root: *b, tree: *d }]),
                _ => None,
            })
        };
        let by_layout = layout.slots.map(|both| both.map(|(root, tree)| Slot { root, tree }));
        let [a, b] = by_layout.or_else(by_types).ok_or_else(missing)?;
        let is_running = |slot: &Slot| {
            let unique =
                |at: usize| partitions.get(at).and_then(|there| there.as_ref().map(|there| there.unique));
            (unique(slot.root), unique(slot.tree)) == (Some(half(root_hash, 0)), Some(half(root_hash, 16)))
        };
        let (running, other) = match (is_running(&a), is_running(&b)) {
            (true, _) => (a, b),
            (false, true) => (b, a),
            (false, false) => {
                return Err(Fault::Missing("root of the running system in the table".to_owned()));
            }
        };
        let is_there = |slot: &Slot| {
            [slot.root, slot.tree].iter().all(|at| partitions.get(*at).is_some_and(Option::is_some))
        };
        if !is_there(&other) {
            return Err(missing());
        }
        let kernels = layout.kernels.clone();
        Ok(Self { esp: esp.ok_or_else(missing)?, gpt, running, other, kernels })
    }

    /// The partitions of the other slot, where a new system is written: root, and hash tree.
    ///
    /// # Errors
    /// Never; they were there when this was read.
    pub fn other(&self) -> Result<(Partition, Partition), Fault> {
        self.partitions(self.other)
    }

    /// The partitions of the slot that runs.
    ///
    /// # Errors
    /// Never; they were there when this was read.
    pub fn running(&self) -> Result<(Partition, Partition), Fault> {
        self.partitions(self.running)
    }

    fn partitions(&self, slot: Slot) -> Result<(Partition, Partition), Fault> {
        let all = self.gpt.partitions();
        let get = |at: usize| all.get(at).cloned().flatten().ok_or(Fault::Damaged("the partition table"));
        Ok((get(slot.root)?, get(slot.tree)?))
    }

    /// The kernel images there are, the one that the boot loader takes first.
    ///
    /// # Errors
    /// The partition is damaged; the disk's.
    pub fn kernels(&self, disk: &mut impl Disk) -> Result<Vec<Kernel>, Fault> {
        let mut all: Vec<Kernel> =
            self.fat(disk)?.list(&self.kernels)?.iter().filter_map(|entry| Kernel::of(&entry.name)).collect();
        all.sort_by(Kernel::precedence);
        Ok(all)
    }

    /// A kernel image's content, at most `most` bytes.
    ///
    /// # Errors
    /// There is none, or a longer one; the partition is damaged; the disk's.
    pub fn kernel(&self, disk: &mut impl Disk, kernel: &Kernel, most: u32) -> Result<Vec<u8>, Fault> {
        self.fat(disk)?.read(&self.kernels, &kernel.to_string(), most)
    }

    /// Leaves the kernel image of the running system, whose version this is, alone on the partition. Whatever it is that
    /// the other slot has is given up.
    ///
    /// # Errors
    /// The running system is on trial itself, or has no kernel image; the partition is damaged; the disk's.
    pub fn disarm(&self, disk: &mut impl Disk, version: &str) -> Result<(), Fault> {
        let good = Kernel { version: version.to_owned(), trial: None };
        let all = self.kernels(disk)?;
        if !all.contains(&good) {
            return Err(Fault::Missing(format!("{good}: the running system is not known to be good")));
        }
        let mut fat = self.fat(disk)?;
        for kernel in all.iter().filter(|kernel| **kernel != good) {
            fat.remove(&self.kernels, &kernel.to_string())?;
        }
        Ok(())
    }

    /// Names the other slot after what lies in it, and puts its kernel image there, on trial.
    ///
    /// # Errors
    /// Its version is none, or the boot loader would not prefer it to what is there; no room; a structure is damaged; the
    /// disk's.
    pub fn arm(&mut self, disk: &mut impl Disk, release: &Release<'_>) -> Result<(), Fault> {
        let new = Kernel::new(release.version);
        let older = |kernel: &Kernel| compare(&kernel.version, release.version).is_lt();
        if !is_version(release.version) || !self.kernels(disk)?.iter().all(older) {
            return Err(Fault::Name(format!("{}: it must be newer than what is there", release.version)));
        }
        let label = format!("gabion_{}", release.version);
        let root = (self.other.root, half(&release.root_hash, 0), label.clone());
        let tree = (self.other.tree, half(&release.root_hash, 16), label);
        self.gpt.name(disk, &[root, tree])?;
        self.fat(disk)?.put(&self.kernels, &new.to_string(), release.kernel)
    }

    /// Says of the system with this version that it is good.
    ///
    /// # Errors
    /// It has no kernel image; the partition is damaged; the disk's.
    pub fn bless(&self, disk: &mut impl Disk, version: &str) -> Result<(), Fault> {
        self.judge(disk, version, Kernel::good)
    }

    /// Says of the system with this version that it is not, so that the boot loader takes another.
    ///
    /// # Errors
    /// As those of [`bless`](Self::bless).
    pub fn fail(&self, disk: &mut impl Disk, version: &str) -> Result<(), Fault> {
        self.judge(disk, version, Kernel::bad)
    }

    fn judge(
        &self,
        disk: &mut impl Disk,
        version: &str,
        verdict: impl Fn(&Kernel) -> Kernel,
    ) -> Result<(), Fault> {
        let all = self.kernels(disk)?;
        let of_it: Vec<&Kernel> = all.iter().filter(|kernel| kernel.version == version).collect();
        let first = of_it.first().ok_or_else(|| Fault::Missing(format!("kernel image of {version}")))?;
        let judged = verdict(first);
        let mut fat = self.fat(disk)?;
        if !of_it.contains(&&judged) {
            fat.rename(&self.kernels, &first.to_string(), &judged.to_string())?;
        }
        // The firmware's own renaming may have been cut: then it is there by two names.
        for kernel in of_it.iter().filter(|kernel| **kernel != *first && **kernel != &judged) {
            fat.remove(&self.kernels, &kernel.to_string())?;
        }
        if *first != &judged && of_it.contains(&&judged) {
            fat.remove(&self.kernels, &first.to_string())?;
        }
        Ok(())
    }

    fn fat<'a, D: Disk>(&self, disk: &'a mut D) -> Result<Fat<Window<'a, D>>, Fault> {
        Fat::open(Window::new(disk, self.esp.from, self.esp.bytes))
    }
}

/// Half of a root hash as a GUID, as GPT writes it.
fn half(root_hash: &[u8; 32], from: usize) -> [u8; 16] {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    ORDER.map(|at| root_hash.get(from + at).copied().unwrap_or_default())
}
