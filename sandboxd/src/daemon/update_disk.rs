//! Disks that are put in: one that begins like a repository of updates is handed to `updated`, for reading; and what a developer
//! sends instead of one.
//!
//! Nothing on it is read here but whether its first sector is what an archive begins with (`tuf::archive`), byte by byte, and
//! nothing of it is mounted: the kernel's file systems see nothing that nobody signed. A disk is looked at once, by a thread: for one
//! that does not answer other disks wait, and nobody else. Where the owner takes no updates of disks none is looked at, and USB is
//! closed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use bus::desk::Answer;
use bus::update_link::{Came, ToUpdated};

use super::Daemon;
use super::update_system::Running;
use crate::{console, updatefiles, usb};

/// How often is looked for disks, milliseconds.
const LOOK_MS: u64 = 10_000;
/// When it is asked for the first time what was seen, and then twice as late each time.
const SOON_MS: u64 = 20;
/// Of the thread that looks, bytes.
const STACK: usize = 128 << 10;
/// A tar header: its length, and what it has where for one of ours.
const HEADER: usize = 512;
const NAME: &[u8] = b"gabion-update.json\0";
const MAGIC: (usize, &[u8]) = (257, b"ustar\x0000");
/// Devices that are no disks: made by the kernel or by us.
const NONE: [&str; 4] = ["loop", "dm-", "ram", "zram"];

/// A disk, with the kernel's number of what is in it.
type Disk = (String, String);

/// What is known of disks.
#[derive(Debug, Default)]
pub(super) struct Disks {
    /// The owner takes updates of them.
    wanted: bool,
    /// They begin with no archive.
    none: BTreeSet<Disk>,
    look: Option<JoinHandle<Seen>>,
    /// That was begun for an updated that is no more.
    is_old: bool,
    /// The one that updated has.
    carried: Option<Disk>,
    /// What a developer has sent, which updated has.
    sent: Option<File>,
    /// Why USB could not be opened.
    closed: Option<String>,
    at_ms: u64,
    wait_ms: u64,
}

/// What a look saw.
#[derive(Debug, Default)]
struct Seen {
    there: BTreeSet<Disk>,
    /// New ones that begin with no archive.
    none: Vec<Disk>,
    found: Option<(Disk, File)>,
    closed: Option<String>,
}

/// Where the kernel has them.
#[derive(Clone, Debug)]
struct Places {
    usb: PathBuf,
    block: PathBuf,
    devices: PathBuf,
}

/// What became of them.
#[derive(Debug)]
enum Change {
    PutIn(String, File),
    Gone,
    Closed(String),
}

impl Disks {
    /// When there is something to do about them.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.wanted.then_some(self.at_ms)
    }

    /// updated knows nothing. A look that has not come to its end is not begun twice.
    pub(super) fn anew(&mut self) {
        let (sent, look) = (self.sent.take(), self.look.take());
        *self = Self { is_old: look.is_some(), sent, look, ..Self::default() };
    }

    /// Begins a look, or takes what was seen.
    fn turn(&mut self, places: &Places, now_ms: u64) -> Option<Change> {
        let Some(look) = self.look.take_if(|look| look.is_finished()) else {
            if self.look.is_none() {
                self.begin(places.clone());
                self.wait_ms = if self.look.is_some() { SOON_MS } else { LOOK_MS };
            }
            self.at_ms = now_ms + self.wait_ms;
            self.wait_ms = (2 * self.wait_ms).min(LOOK_MS);
            return None;
        };
        let is_old = std::mem::take(&mut self.is_old);
        // Of what was seen for another the next look tells, and so it does of what follows a change.
        let change = look.join().ok().filter(|_| !is_old).and_then(|seen| self.take(seen));
        self.at_ms = now_ms + if change.is_some() || is_old { SOON_MS } else { LOOK_MS };
        change
    }

    fn begin(&mut self, places: Places) {
        // One at a time. What is there besides is looked at when that is gone.
        let wants = self.carried.is_none() && self.sent.is_none();
        let none = self.none.clone();
        self.look = thread::Builder::new().stack_size(STACK).spawn(move || look(&places, wants, &none)).ok();
    }

    fn take(&mut self, seen: Seen) -> Option<Change> {
        let Seen { there, none, found, closed } = seen;
        self.none.extend(none);
        self.none.retain(|disk| there.contains(disk));
        if self.carried.as_ref().is_some_and(|carried| !there.contains(carried)) {
            self.carried = None;
            return Some(Change::Gone);
        }
        if let Some((disk, file)) = found.filter(|_| self.carried.is_none() && self.sent.is_none()) {
            self.carried = Some(disk.clone());
            return Some(Change::PutIn(disk.0, file));
        }
        let is_news = closed.is_some() && closed != self.closed;
        self.closed.clone_from(&closed);
        closed.filter(|_| is_news).map(Change::Closed)
    }
}

/// In a thread of its own: each step may wait for a device, as long as that likes.
fn look(places: &Places, wants: bool, known: &BTreeSet<Disk>) -> Seen {
    let closed = usb::open(&places.usb).err().map(|e| e.to_string());
    let mut seen = Seen { there: disks(&places.block), closed, ..Seen::default() };
    for disk in seen.there.difference(known).filter(|_| wants) {
        match archive(&places.devices.join(&disk.0)) {
            Ok(Some(file)) => {
                seen.found = Some((disk.clone(), file));
                break;
            }
            Ok(None) => seen.none.push(disk.clone()),
            // There is nothing in it, or it is not there yet: it is looked at again.
            Err(_) => {}
        }
    }
    seen
}

fn disks(block: &Path) -> BTreeSet<Disk> {
    let names = fs::read_dir(block).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| !NONE.iter().any(|none| name.starts_with(none)))
        .map(|name| (name.clone(), number(block, &name)))
        .collect()
}

/// The kernel's number of the disk, another for each that is put in; a partition has its disk's.
fn number(block: &Path, name: &str) -> String {
    let place = block.join(name);
    let read = |path: &Path| fs::read_to_string(path.join("diskseq")).ok();
    let of_disk = || read(fs::canonicalize(&place).ok()?.parent()?);
    read(&place).or_else(of_disk).unwrap_or_default()
}

/// The disk, if it begins with an archive.
fn archive(path: &Path) -> io::Result<Option<File>> {
    let file = File::open(path)?;
    Ok(is_archive(&file)?.then_some(file))
}

fn is_archive(file: &File) -> io::Result<bool> {
    let mut header = [0; HEADER];
    match file.read_exact_at(&mut header, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let (at, magic) = MAGIC;
    Ok(header.starts_with(NAME) && header.get(at..).is_some_and(|rest| rest.starts_with(magic)))
}

impl Daemon {
    /// Looks for disks, if it is time; `updated` is told everything else already. A system on trial is left alone: nobody who
    /// puts a disk in is to have a say in how that ends.
    pub(super) fn update_disks(&mut self, now_ms: u64) {
        if self.update.disks.deadline_ms().is_none_or(|at| at > now_ms) || !self.update.is_greeted() {
            return;
        }
        if self.update.running.as_ref().is_some_and(Running::is_on_trial) {
            self.update.disks.at_ms = now_ms + LOOK_MS;
            return;
        }
        let places =
            Places { usb: usb::DEVICES.into(), block: "/sys/class/block".into(), devices: "/dev".into() };
        match self.update.disks.turn(&places, now_ms) {
            None => {}
            Some(Change::PutIn(name, file)) => {
                console::say(format_args!("event update-disk name={name}"));
                self.update_send(&ToUpdated::Disk(Came::Disk), vec![file.into()]);
            }
            Some(Change::Gone) => {
                console::say("event update-disk-gone");
                self.update_send(&ToUpdated::DiskGone, Vec::new());
            }
            Some(Change::Closed(why)) => {
                let text = format!("not all of USB can be opened for disks with updates: {why}");
                console::problem("device", &text, "it is tried again; pull out what does not answer");
            }
        }
    }

    /// The owner takes updates of disks that are put in.
    pub(super) fn update_takes_disks(&mut self) {
        self.update.disks.wanted = true;
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
        if !matches!(is_archive(&file), Ok(true)) {
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

    fn places(place: &Path) -> Places {
        Places { usb: place.join("usb"), block: place.join("block"), devices: place.join("dev") }
    }

    /// What two looks see: the second does of what the first saw.
    fn seen(disks: &mut Disks, places: &Places) -> Option<Change> {
        for _ in 0..2 {
            assert!(disks.look.is_none() && disks.turn(places, 0).is_none());
            while !disks.look.as_ref().unwrap().is_finished() {
                thread::yield_now();
            }
            let change = disks.turn(places, 0);
            if change.is_some() {
                return change;
            }
        }
        None
    }

    #[test]
    fn disk_with_an_archive_is_handed_over_once_and_missed_when_it_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let (block, dev, places) =
            (place.path().join("block"), place.path().join("dev"), places(place.path()));
        let mut disks = Disks::default();
        put(place.path(), "vda", "1", &[7; 4096]);
        put(place.path(), "dm-0", "2", &header());
        put(place.path(), "vdb", "3", b"short");
        assert!(seen(&mut disks, &places).is_none());
        assert_eq!(disks.none.len(), 2);
        put(place.path(), "sda", "4", &header());
        assert!(matches!(seen(&mut disks, &places), Some(Change::PutIn(name, _)) if name == "sda"));
        assert!(seen(&mut disks, &places).is_none());
        // Another one, in the same place.
        put(place.path(), "sda", "5", &header());
        assert!(matches!(seen(&mut disks, &places), Some(Change::Gone)));
        assert!(matches!(seen(&mut disks, &places), Some(Change::PutIn(_, _))));
        fs::remove_dir_all(block.join("sda")).unwrap();
        assert!(matches!(seen(&mut disks, &places), Some(Change::Gone)));
        assert!(seen(&mut disks, &places).is_none());
        // Beside what a developer has sent none is looked at, until that is gone.
        disks.sent = Some(File::open(dev.join("vda")).unwrap());
        put(place.path(), "sda", "6", &header());
        assert!(seen(&mut disks, &places).is_none());
        disks.anew();
        assert!(seen(&mut disks, &places).is_none() && disks.sent.is_some());
        disks.sent = None;
        // One that was put in meanwhile has its turn when the other is gone.
        put(place.path(), "sdb", "7", &header());
        assert!(matches!(seen(&mut disks, &places), Some(Change::PutIn(name, _)) if name == "sda"));
        fs::remove_dir_all(block.join("sda")).unwrap();
        assert!(matches!(seen(&mut disks, &places), Some(Change::Gone)));
        assert!(matches!(seen(&mut disks, &places), Some(Change::PutIn(name, _)) if name == "sdb"));
    }

    #[test]
    fn disk_that_can_not_be_read_yet_is_looked_at_again() {
        let place = tempfile::tempdir().unwrap();
        put(place.path(), "sda", "1", b"");
        // The kernel shows a disk before there is a file for it; a reader of cards, while there is none in it.
        fs::remove_file(place.path().join("dev/sda")).unwrap();
        let mut disks = Disks::default();
        assert!(seen(&mut disks, &places(place.path())).is_none());
        put(place.path(), "sda", "1", &header());
        assert!(matches!(seen(&mut disks, &places(place.path())), Some(Change::PutIn(_, _))));
    }

    #[test]
    fn disk_that_does_not_answer_is_waited_for_by_one_thread_alone() {
        let place = tempfile::tempdir().unwrap();
        let dev = place.path().join("dev");
        put(place.path(), "sda", "1", b"");
        fs::remove_file(dev.join("sda")).unwrap();
        // Whoever opens it waits for one that writes.
        nix::unistd::mkfifo(&dev.join("sda"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut disks, mut now_ms) = (Disks { wanted: true, ..Disks::default() }, 0);
        for _ in 0..20 {
            assert!(disks.turn(&places(place.path()), now_ms).is_none());
            now_ms = disks.deadline_ms().unwrap();
        }
        // Asked for less and less often; and by the next updated no second time.
        assert!(now_ms > 9 * LOOK_MS, "{now_ms}");
        disks.anew();
        assert!(disks.turn(&places(place.path()), now_ms).is_none() && disks.is_old);
        // Then it answers, and what else came has its turn.
        let answers = fs::OpenOptions::new().write(true).open(dev.join("sda")).unwrap();
        fs::remove_file(dev.join("sda")).unwrap();
        put(place.path(), "sda", "1", b"short");
        drop(answers);
        put(place.path(), "sdb", "2", &header());
        let mut changes = std::iter::repeat_with(|| {
            thread::yield_now();
            disks.turn(&places(place.path()), now_ms)
        });
        assert!(matches!(changes.find_map(|change| change), Some(Change::PutIn(name, _)) if name == "sdb"));
    }
}
