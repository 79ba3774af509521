//! Disks that are put in: one that begins like a repository of updates is handed to `updated`, for reading; and what a developer
//! sends instead of one.
//!
//! Nothing on it is read here but whether its first sector is what an archive begins with (`tuf::archive`), byte by byte, and
//! nothing of it is mounted: the kernel's file systems see nothing that nobody signed. A disk is looked at once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bus::desk::Answer;
use bus::update_link::{Came, ToUpdated};

use super::Daemon;
use crate::{console, updatefiles};

/// How often is looked for disks, milliseconds.
const LOOK_MS: u64 = 10_000;
/// A tar header: its length, and what it has where for one of ours.
const HEADER: usize = 512;
const NAME: &[u8] = b"gabion-update.json\0";
const MAGIC: (usize, &[u8]) = (257, b"ustar\x0000");
/// Devices that are no disks: made by the kernel or by us.
const NONE: [&str; 4] = ["loop", "dm-", "ram", "zram"];

/// What was seen of disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// Each with the kernel's number of the disk that is in it.
    seen: BTreeSet<(String, String)>,
    /// The one that updated has.
    carried: Option<(String, String)>,
    /// What a developer has sent, which updated has.
    sent: Option<File>,
    at_ms: u64,
}

/// What became of them.
#[derive(Debug)]
enum Change {
    PutIn(String, File),
    Gone,
}

impl Disks {
    /// When they are looked for again.
    pub(super) fn deadline_ms(&self) -> u64 {
        self.at_ms
    }

    /// updated knows nothing.
    pub(super) fn anew(&mut self) {
        *self = Self { sent: self.sent.take(), ..Self::default() };
    }

    fn look(&mut self, block: &Path, devices: &Path) -> Option<Change> {
        let names = fs::read_dir(block).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let now: BTreeSet<(String, String)> = names
            .filter(|name| !NONE.iter().any(|none| name.starts_with(none)))
            .map(|name| (name.clone(), number(block, &name)))
            .collect();
        let new: Vec<_> = now.difference(&self.seen).cloned().collect();
        self.seen = now;
        if self.carried.as_ref().is_some_and(|carried| !self.seen.contains(carried)) {
            self.carried = None;
            // What else came meanwhile is looked at when this was told.
            new.iter().for_each(|disk| {
                self.seen.remove(disk);
            });
            return Some(Change::Gone);
        }
        // One at a time. What is there besides is looked at when that is gone.
        if self.carried.is_some() || self.sent.is_some() {
            return None;
        }
        let found = new.into_iter().find_map(|disk| Some((archive(&devices.join(&disk.0))?, disk)));
        found.map(|(file, disk)| {
            self.carried = Some(disk.clone());
            Change::PutIn(disk.0, file)
        })
    }
}

/// The kernel's number of the disk, another for each that is put in; a partition has its disk's.
fn number(block: &Path, name: &str) -> String {
    let place = block.join(name);
    let read = |path: &Path| fs::read_to_string(path.join("diskseq")).ok();
    let of_disk = || read(fs::canonicalize(&place).ok()?.parent()?);
    read(&place).or_else(of_disk).unwrap_or_default()
}

/// The disk, if it begins with an archive.
fn archive(path: &Path) -> Option<File> {
    File::open(path).ok().filter(is_archive)
}

fn is_archive(file: &File) -> bool {
    let mut header = [0; HEADER];
    let (at, magic) = MAGIC;
    file.read_exact_at(&mut header, 0).is_ok()
        && header.starts_with(NAME)
        && header.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

impl Daemon {
    /// Looks for disks, if it is time; `updated` is told everything else already.
    pub(super) fn update_disks(&mut self, now_ms: u64) {
        if self.update.disks.deadline_ms() > now_ms || !self.update.is_greeted() {
            return;
        }
        self.update.disks.at_ms = now_ms + LOOK_MS;
        match self.update.disks.look(Path::new("/sys/class/block"), Path::new("/dev")) {
            None => {}
            Some(Change::PutIn(name, file)) => {
                console::say(format_args!("event update-disk name={name}"));
                self.update_send(&ToUpdated::Disk(Came::Disk), vec![file.into()]);
            }
            Some(Change::Gone) => {
                console::say("event update-disk-gone");
                self.update_send(&ToUpdated::DiskGone, Vec::new());
                self.update.disks.at_ms = now_ms;
            }
        }
    }

    /// What a developer has sent are releases.
    pub(super) fn update_carry(&mut self, number: u32) -> Answer {
        let file = match self.developer_sent(number) {
            Ok(file) => file,
            Err(answer) => return answer,
        };
        if !updatefiles::is_updated(&self.config) {
            return Answer::Refused("this device is not updated: its image has no update.toml".to_owned());
        }
        if !is_archive(&file) {
            return Answer::Refused(
                "these are no releases as `gabion update offline make` writes them".to_owned(),
            );
        }
        if self.update.disks.carried.take().is_some() || self.update.disks.sent.is_some() {
            self.update_send(&ToUpdated::DiskGone, Vec::new());
        }
        console::say("event update-sent");
        self.update.disks.sent = Some(file);
        self.update_sent_again();
        Answer::Done
    }

    /// updated is told of what a developer has sent.
    pub(super) fn update_sent_again(&mut self) {
        if let Some(Ok(file)) = self.update.disks.sent.as_ref().map(File::try_clone) {
            self.update_send(&ToUpdated::Disk(Came::Developer), vec![file.into()]);
        }
    }

    /// Nothing is wanted of what was sent any more, or who has sent it is no developer of this device.
    pub(super) fn update_sent_gone(&mut self) {
        if self.update.disks.sent.take().is_some() {
            self.update_send(&ToUpdated::DiskGone, Vec::new());
            self.update.disks.seen.clear();
            self.update.disks.at_ms = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(place: &Path, name: &str, number: &str, bytes: &[u8]) {
        fs::create_dir_all(place.join("block").join(name)).unwrap();
        fs::create_dir_all(place.join("dev")).unwrap();
        fs::write(place.join("block").join(name).join("diskseq"), number).unwrap();
        fs::write(place.join("dev").join(name), bytes).unwrap();
    }

    fn header() -> Vec<u8> {
        let mut header = vec![0; 2 * HEADER];
        header[..NAME.len()].copy_from_slice(NAME);
        header[MAGIC.0..MAGIC.0 + MAGIC.1.len()].copy_from_slice(MAGIC.1);
        header
    }

    #[test]
    fn disk_with_an_archive_is_handed_over_once_and_missed_when_it_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let (block, dev) = (place.path().join("block"), place.path().join("dev"));
        let mut disks = Disks::default();
        put(place.path(), "vda", "1", &[7; 4096]);
        put(place.path(), "dm-0", "2", &header());
        put(place.path(), "vdb", "3", b"short");
        assert!(disks.look(&block, &dev).is_none());
        put(place.path(), "sda", "4", &header());
        assert!(matches!(disks.look(&block, &dev), Some(Change::PutIn(name, _)) if name == "sda"));
        assert!(disks.look(&block, &dev).is_none());
        // Another one, in the same place.
        put(place.path(), "sda", "5", &header());
        assert!(matches!(disks.look(&block, &dev), Some(Change::Gone)));
        assert!(matches!(disks.look(&block, &dev), Some(Change::PutIn(_, _))));
        fs::remove_dir_all(block.join("sda")).unwrap();
        assert!(matches!(disks.look(&block, &dev), Some(Change::Gone)));
        assert!(disks.look(&block, &dev).is_none());
        // Beside what a developer has sent none is looked at, until that is gone.
        disks.sent = Some(File::open(dev.join("vda")).unwrap());
        put(place.path(), "sda", "6", &header());
        assert!(disks.look(&block, &dev).is_none());
        disks.anew();
        assert!(disks.look(&block, &dev).is_none() && disks.sent.is_some());
        disks.sent = None;
        disks.seen.clear();
        assert!(matches!(disks.look(&block, &dev), Some(Change::PutIn(_, _))));
    }
}
