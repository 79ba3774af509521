//! The disk that the system is on: two slots, of which one runs, and the kernel images that lead to them (`gabion-slots`).
//!
//! What holds whatever updated says: the slot that runs is not written. A kernel image is put there only when it is of a newer
//! version, leads to the root that was read back whole, and raises no doubt about what it is by its own words, which are
//! signed. Who signed it the firmware finds out. Power may go at any write (`slots::install`).
//!
//! What an attacker who has the disk controls: all of it. It is read by code of ours, within bounds, and not by the kernel's.

use std::cmp::Ordering;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bus::bulk;
use bus::update_link::KERNEL_MAX;
use slots::fault::Fault;
use slots::gpt::Partition;
use slots::install::{Release, Slots};
use slots::kernel::{Kernel, compare, is_version};
use slots::layout::{self, Layout};
use slots::program;
use sys::dm::{self, DeviceMapper};

use crate::bootline;
use crate::verity::VerityText;

/// Boot images that are handed out.
const IMAGES_MAX: usize = 3;
/// Longest command line, and longest text of `os-release`, of a kernel image, bytes.
const TEXT_MAX: u32 = 16 << 10;
/// Read at once, bytes.
const CHUNK: usize = 1 << 18;
const SECTOR: u64 = 512;

/// Why something of the disk was not done.
#[derive(Debug)]
pub enum DiskError {
    /// What is on it.
    Slots(Fault),
    /// Something of the kernel's failed; what.
    Io(&'static str, io::Error),
    /// A version that is none, or not newer than the one that runs.
    NotNewer(String, String),
    /// A release that would make the device go further back than it may.
    Floor(u32, u32),
    /// What the kernel image says of itself is not what was said of it; what.
    Differs(&'static str),
    /// A slot that is too small, bytes.
    Small(u64),
    /// There is no other system that is known to be good.
    Alone,
    /// The next boot starts what runs now.
    Unarmed,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slots(fault) => fault.fmt(f),
            Self::Io(what, e) => write!(f, "can not {what}: {e}"),
            Self::NotNewer(new, running) => {
                write!(f, "version {new} is not newer than {running}, which runs")
            }
            Self::Floor(new, running) => write!(f, "its floor is {new}, and that of what runs is {running}"),
            Self::Differs(what) => write!(f, "the kernel image is not what it is said to be: {what}"),
            Self::Small(bytes) => write!(f, "it does not fit its slot of {bytes} bytes"),
            Self::Alone => f.write_str("there is no other system that is known to be good"),
            Self::Unarmed => f.write_str("the next boot would start what runs now"),
        }
    }
}

impl std::error::Error for DiskError {}

impl From<Fault> for DiskError {
    fn from(fault: Fault) -> Self {
        Self::Slots(fault)
    }
}

/// Where this board has what an update needs, by the file that the verified root may have of it.
///
/// # Errors
/// It can not be read, or says what can not be.
pub fn layout(file: &Path) -> Result<Layout, String> {
    let mut text = String::new();
    match File::open(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Layout::default()),
        Err(e) => return Err(e.to_string()),
        Ok(file) => {
            file.take(layout::TEXT_MAX as u64 + 1).read_to_string(&mut text).map_err(|e| e.to_string())?
        }
    };
    Layout::parse(&text)
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> DiskError {
    move |e| DiskError::Io(what, e)
}

/// What runs, and where from.
#[derive(Clone, Debug)]
pub struct SystemDisk {
    disk: PathBuf,
    layout: Layout,
    /// Of the running system: its version, its command line, the hash of its root.
    version: String,
    line: String,
    root_hash: [u8; 32],
}

/// How the systems on the disk stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What runs is on trial.
    pub trial: bool,
    /// A newer system that has no attempt left, by its version, and how many it had.
    pub spent: Option<(String, u32)>,
    /// Another system is known to be good.
    pub other: bool,
    /// The next boot starts another system than the one that runs.
    pub armed: bool,
}

/// What is to start at the next boot.
#[derive(Debug)]
pub struct Order {
    /// Its version.
    pub version: String,
    /// Where its hash tree is, and what it must be.
    pub verity: VerityText,
    /// What the device does not go back behind once it is good.
    pub floor: u32,
    /// Its kernel image.
    pub kernel: File,
}

impl SystemDisk {
    /// The disk that the EFI system partition `esp` is on, of the running system with this `version` and command line.
    ///
    /// # Errors
    /// There is no such partition, or its system was started from elsewhere.
    pub fn of_device(esp: &Path, layout: Layout, version: &str, line: &str) -> Result<Self, DiskError> {
        let find = || -> io::Result<PathBuf> {
            let name = esp.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            // The kernel's folder of a partition is in that of its disk.
            let folder = fs::canonicalize(Path::new(BLOCK_DEVICES).join(name))?;
            let disk = folder.parent().and_then(Path::file_name).ok_or(io::ErrorKind::NotFound)?;
            Ok(Path::new("/dev").join(disk))
        };
        Self::of(find().map_err(failed("find the system's disk"))?, layout, version, line)
    }

    /// The same by the disk itself, which may be a file that is one.
    ///
    /// # Errors
    /// The command line names no verified root.
    pub fn of(disk: PathBuf, layout: Layout, version: &str, line: &str) -> Result<Self, DiskError> {
        let root = bootline::verity(line, "root").ok_or(DiskError::Differs("it has no verified root"))?;
        let (version, line) = (version.trim().to_owned(), line.trim().to_owned());
        Ok(Self { disk, layout, version, line, root_hash: root.hash() })
    }

    /// The version that runs.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The hash of the root that runs.
    pub fn root_hash(&self) -> [u8; 32] {
        self.root_hash
    }

    /// How the systems on it stand.
    ///
    /// # Errors
    /// The disk is damaged, or fails.
    pub fn standing(&self) -> Result<Standing, DiskError> {
        let (mut disk, slots) = self.open(false)?;
        let all = slots.kernels(&mut disk)?;
        let mine = |kernel: &&Kernel| kernel.version == self.version;
        let spent = all.iter().filter(|kernel| !mine(kernel)).find_map(|kernel| match kernel.trial {
            Some((0, made)) if compare(&kernel.version, &self.version).is_gt() => {
                Some((kernel.version.clone(), made))
            }
            _ => None,
        });
        Ok(Standing {
            trial: all.iter().any(|k| mine(&k)) && !all.iter().filter(mine).any(|k| k.trial.is_none()),
            spent,
            other: all.iter().any(|kernel| !mine(&kernel) && kernel.trial.is_none()),
            armed: all.first().is_some_and(|kernel| !mine(&kernel)),
        })
    }

    /// The boot image of the running version, or those that there are when none is called so, each as a sealed memfd. The
    /// firmware's renaming may have left it by two names.
    ///
    /// # Errors
    /// The disk is damaged, or fails.
    pub fn boot_images(&self) -> Result<Vec<OwnedFd>, DiskError> {
        let (mut disk, slots) = self.open(false)?;
        let mut all = slots.kernels(&mut disk)?;
        if all.iter().any(|kernel| kernel.version == self.version) {
            all.retain(|kernel| kernel.version == self.version);
        }
        all.truncate(IMAGES_MAX);
        all.iter().map(|kernel| self.sealed(&mut disk, &slots, kernel)).collect()
    }

    /// The kernel image that runs, as a sealed memfd.
    ///
    /// # Errors
    /// There is none; the disk is damaged, or fails.
    pub fn kernel(&self) -> Result<OwnedFd, DiskError> {
        let (mut disk, slots) = self.open(false)?;
        let all = slots.kernels(&mut disk)?;
        let mine = all.iter().find(|kernel| kernel.version == self.version);
        let missing = || Fault::Missing(format!("kernel image of {}", self.version));
        self.sealed(&mut disk, &slots, mine.ok_or_else(missing)?)
    }

    fn sealed(&self, disk: &mut File, slots: &Slots, kernel: &Kernel) -> Result<OwnedFd, DiskError> {
        let most = u32::try_from(KERNEL_MAX).unwrap_or(u32::MAX);
        let bytes = slots.kernel(disk, kernel, most)?;
        bulk::seal(c"kernel", &bytes).map_err(failed("hand out a kernel image"))
    }

    /// Gives up what is in the other slot, and opens the slots: root and hash tree of the one that runs, for reading, and of
    /// the other one, for writing.
    ///
    /// # Errors
    /// What runs is on trial; the disk is damaged, or fails.
    pub fn slot(&self) -> Result<Vec<OwnedFd>, DiskError> {
        let (mut disk, slots) = self.open(true)?;
        slots.disarm(&mut disk, &self.version)?;
        let ((root, tree), (other_root, other_tree)) = (slots.running()?, slots.other()?);
        let parts = [(root, false), (tree, false), (other_root, true), (other_tree, true)];
        let open = |(part, write): &(Partition, bool)| -> Result<OwnedFd, DiskError> {
            let opened = OpenOptions::new().read(true).write(*write).open(self.node(part)?);
            opened.map(OwnedFd::from).map_err(failed("open a slot"))
        };
        parts.iter().map(open).collect()
    }

    /// Has the other slot start at the next boot, on trial, once it is read back whole from the disk.
    ///
    /// # Errors
    /// See [`DiskError`]; nothing is changed then, but that nothing leads to the other slot.
    pub fn arm(&self, order: &Order) -> Result<(), DiskError> {
        self.arm_with(order, |slots, verity| {
            let (root, tree) = slots.other()?;
            read_back(&self.node(&root)?, &self.node(&tree)?, verity)
        })
    }

    fn arm_with(
        &self,
        order: &Order,
        read_back: impl FnOnce(&Slots, &VerityText) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        self.check(order)?;
        let (_, slots) = self.open(false)?;
        let (root, _) = slots.other()?;
        if order.verity.data_bytes() > root.bytes {
            return Err(DiskError::Small(root.bytes));
        }
        read_back(&slots, &order.verity)?;
        self.name(order)
    }

    /// What the kernel image says of itself is what is to be started, and may be.
    fn check(&self, order: &Order) -> Result<(), DiskError> {
        let version = &order.version;
        if !is_version(version) || compare(version, &self.version) != Ordering::Greater {
            return Err(DiskError::NotNewer(version.clone(), self.version.clone()));
        }
        let (line, about) = (text(&order.kernel, ".cmdline")?, text(&order.kernel, ".osrel")?);
        let kernel_max = u32::try_from(KERNEL_MAX).unwrap_or(u32::MAX);
        program::section(&order.kernel, ".linux", kernel_max)?;
        if crate::release::version(&about) != Some(version) {
            return Err(DiskError::Differs("it is of another version"));
        }
        if bootline::verity(&line, "root").as_ref() != Some(&order.verity) {
            return Err(DiskError::Differs("it starts another root"));
        }
        if bootline::verity(&line, "apps") != bootline::verity(&self.line, "apps") {
            return Err(DiskError::Differs("it is for a device with other apps in its store"));
        }
        // What waits for a device that is not there waits before anything counts its attempts.
        let there = |device: &str| {
            device.strip_prefix("/dev/").is_some_and(|name| Path::new(BLOCK_DEVICES).join(name).exists())
        };
        if bootline::places(&line) != bootline::places(&self.line) || !bootline::awaited(&line).all(there) {
            return Err(DiskError::Differs("it is for a board with other disks"));
        }
        let floor = floor(&line);
        if floor != order.floor {
            return Err(DiskError::Differs("its floor is another"));
        }
        match floor < self.floor() {
            true => Err(DiskError::Floor(floor, self.floor())),
            false => Ok(()),
        }
    }

    fn name(&self, order: &Order) -> Result<(), DiskError> {
        let mut kernel = Vec::new();
        let image = (&order.kernel).take(KERNEL_MAX).read_to_end(&mut kernel);
        image.map_err(failed("read the kernel image"))?;
        let (mut disk, mut slots) = self.open(true)?;
        let root_hash = order.verity.hash();
        let release = Release { version: &order.version, root_hash, kernel: &kernel };
        Ok(slots.arm(&mut disk, &release)?)
    }

    /// What a device that runs this does not go back behind, by its signed command line.
    pub fn floor(&self) -> u32 {
        floor(&self.line)
    }

    /// Says that what runs is good.
    ///
    /// # Errors
    /// It has no kernel image; the disk is damaged, or fails.
    pub fn bless(&self) -> Result<(), DiskError> {
        let (mut disk, slots) = self.open(true)?;
        Ok(slots.bless(&mut disk, &self.version)?)
    }

    /// Says that what runs is not good, so that the next boot starts the other system.
    ///
    /// # Errors
    /// There is no other that is known to be good, or it is one that the device does not go back to; the disk is damaged, or
    /// fails.
    pub fn fail(&self) -> Result<(), DiskError> {
        self.other()?;
        let (mut disk, slots) = self.open(true)?;
        Ok(slots.fail(&mut disk, &self.version)?)
    }

    /// There is another system, to which the device may go back.
    ///
    /// # Errors
    /// As those of [`fail`](Self::fail).
    pub fn other(&self) -> Result<(), DiskError> {
        let (mut disk, slots) = self.open(false)?;
        let all = slots.kernels(&mut disk)?;
        let other = all.iter().find(|kernel| kernel.version != self.version && kernel.trial.is_none());
        let image = File::from(self.sealed(&mut disk, &slots, other.ok_or(DiskError::Alone)?)?);
        // What was on trial has raised nothing yet; what was good has.
        let floor = floor(&text(&image, ".cmdline")?);
        if !self.standing()?.trial && floor < self.floor() {
            return Err(DiskError::Floor(floor, self.floor()));
        }
        Ok(())
    }

    /// The next boot starts another system than the one that runs.
    ///
    /// # Errors
    /// It does not; the disk is damaged, or fails.
    pub fn is_armed(&self) -> Result<(), DiskError> {
        if self.standing()?.armed { Ok(()) } else { Err(DiskError::Unarmed) }
    }

    fn open(&self, write: bool) -> Result<(File, Slots), DiskError> {
        let opened = OpenOptions::new().read(true).write(write).open(&self.disk);
        let mut disk = opened.map_err(failed("open the system's disk"))?;
        let bytes = disk.seek(SeekFrom::End(0)).map_err(failed("size the system's disk"))?;
        let slots = Slots::read(&disk, bytes, &self.root_hash, &self.layout)?;
        Ok((disk, slots))
    }

    /// The kernel's device of a partition: the one that begins there.
    fn node(&self, partition: &Partition) -> Result<PathBuf, DiskError> {
        let find = || -> io::Result<PathBuf> {
            let disk = self.disk.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            for entry in fs::read_dir(Path::new(BLOCK_DEVICES).join(disk))? {
                let entry = entry?;
                let number =
                    |name| fs::read_to_string(entry.path().join(name)).ok()?.trim().parse::<u64>().ok();
                let place = number("start").zip(number("size"));
                if place == Some((partition.from / SECTOR, partition.bytes / SECTOR)) {
                    return Ok(Path::new("/dev").join(entry.file_name()));
                }
            }
            Err(io::ErrorKind::NotFound.into())
        };
        find().map_err(failed("find a slot's device"))
    }
}

const BLOCK_DEVICES: &str = "/sys/class/block";

/// A section of a kernel image that is a text.
fn text(image: &File, section: &str) -> Result<String, DiskError> {
    let bytes = program::section(image, section, TEXT_MAX)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| DiskError::Differs("its words are no text"))
}

/// 0 on a line that has no such word.
fn floor(line: &str) -> u32 {
    bootline::word(line, "GABION_FLOOR").and_then(|floor| floor.parse().ok()).unwrap_or(0)
}

/// Reads each block of a slot from the disk, under its root hash. What was written goes there first; device-mapper reads from
/// the disk, and not what the kernel remembers of it.
fn read_back(root: &Path, tree: &Path, verity: &VerityText) -> Result<(), DiskError> {
    for part in [root, tree] {
        let written = OpenOptions::new().write(true).open(part).and_then(|part| part.sync_all());
        written.map_err(failed("write the slot"))?;
    }
    let [root, tree] = [root, tree].map(|part| part.to_string_lossy());
    let mapper = DeviceMapper::open().map_err(failed("read the slot back"))?;
    // One that a sandboxd before us left has another name.
    let name = format!("slot-{}", std::process::id());
    let device = mapper.create_verity(&name, &verity.target_apart(&root, &tree));
    let device = device.map_err(failed("read the slot back"))?;
    let read = File::open(dm::node(device)).and_then(|mut device| {
        let mut chunk = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            match device.read(&mut chunk)? {
                0 => return Ok(bytes),
                read => bytes += read as u64,
            }
        }
    });
    // It goes with its last user, who was here. What can fail only leaves it behind.
    let _ = mapper.remove(&name);
    match read.map_err(failed("read the slot back"))? {
        bytes if bytes == verity.data_bytes() => Ok(()),
        _ => Err(DiskError::Differs("the slot holds less than its root")),
    }
}

#[cfg(test)]
mod tests;
