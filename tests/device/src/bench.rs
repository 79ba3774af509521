//! Where a device is put together, and what stays of it when it is off.

use crate::app::App;
use crate::chain::Tamper;
use crate::device::Device;
use crate::images::{self, Kind, Member, Texts, Wanted};
use crate::site::Site;
use crate::turn::Turn;
use crate::writes::Recorded;
use anyhow::Result;
use image::assemble::{Audience, Bootable};
use image::paths::{Release, Tree};
use image::qemu::{self, blank_disk};
use std::fs::{self, File};
use std::path::PathBuf;
use tempfile::TempDir;

/// The port of the demo's web server, by its manifest.
const PAGE_PORT: u16 = 8080;

/// Size of a device's data disk, where a test wants no other.
pub const DATA_BYTES: u64 = 128 << 20;

/// Where a device is put together.
#[derive(Debug)]
pub struct Bench {
    name: String,
    apps: Vec<App>,
    demo: bool,
    pub(crate) wanted: Wanted,
    pub(crate) port: bool,
    pub(crate) memory_mib: u32,
    data_bytes: u64,
    pub(crate) words: String,
    pub(crate) release: Release,
    pub(crate) next: Option<Release>,
    pub(crate) recorded: Option<Recorded>,
    pub(crate) without: String,
    spoiled: Vec<Vec<u8>>,
    pub(crate) site: Option<Site>,
    /// Its place on the site's link, from its first boot on.
    pub(crate) card: Option<Vec<String>>,
    pub(crate) texts: Texts,
    pub(crate) clock: Option<String>,
    /// It has a USB controller.
    pub(crate) usb: bool,
    pub(crate) board: Option<Tamper>,
    /// Where that has its disks and partitions.
    layout: Option<&'static str>,
    pub(crate) resets: bool,
    /// Its board's disk is written anew, though the board is not.
    pub(crate) flash: bool,
    idle: bool,
}

impl Bench {
    /// For the test called `name`, which its console's log is called after.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            apps: Vec::new(),
            demo: false,
            wanted: Wanted { kind: Kind::Shipped(Audience::Production), system_box: None },
            port: false,
            memory_mib: 96,
            data_bytes: DATA_BYTES,
            words: String::new(),
            release: Release::of_this_tree(),
            next: None,
            recorded: None,
            without: String::new(),
            spoiled: Vec::new(),
            site: None,
            card: None,
            texts: Texts::default(),
            clock: None,
            usb: false,
            board: None,
            layout: None,
            resets: false,
            flash: false,
            idle: false,
        }
    }

    /// With this app in its store.
    pub fn app(mut self, app: App) -> Self {
        self.apps.push(app);
        self
    }

    /// With the shipped demo's store instead of one of its own.
    pub fn demo(mut self) -> Self {
        self.demo = true;
        self
    }

    /// With `os.gabion.testagent` among the system's boxes: it beats as the heart does, and feeds a watchdog.
    pub fn system_box(mut self) -> Self {
        self.wanted.system_box = Some(Member::Beat);
        self
    }

    /// With `os.gabion.testagent` among the system's boxes: python-varlink, which calls every interface of the system.
    pub fn foreign_system_box(mut self) -> Self {
        self.wanted.system_box = Some(Member::Foreign);
        self
    }

    /// As a developer's device.
    pub fn developer(mut self) -> Self {
        self.wanted.kind = Kind::Shipped(Audience::Developers);
        self.port = true;
        self
    }

    /// With a system whose boxes lack the layers that their apps' file `weak` names ([`App::lacking`]).
    pub fn weak(mut self) -> Self {
        self.wanted.kind = Kind::Weak;
        self
    }

    /// On a machine that has developer ports, whatever the image makes of them.
    pub fn developer_port(mut self) -> Self {
        self.port = true;
        self
    }

    /// With a network card, `eth0`, on the link of this site.
    pub fn beside(mut self, site: &Site) -> Self {
        self.site = Some(site.clone());
        self
    }

    /// On the network of one that `make run` gives it: its page is at `page` of this machine's loopback, and the Security
    /// Service that listens there is at 10.0.2.100.
    pub fn alone(mut self, page: u16, service: u16) -> Self {
        self.card = Some(qemu::network_of_one(&[(page, PAGE_PORT)], Some(service)).into());
        self
    }

    /// With this `network.toml` in its image.
    pub fn network(mut self, text: &str) -> Self {
        self.texts.network = Some(text.to_owned());
        self
    }

    /// With this `service.toml` in its image.
    pub fn service(mut self, text: &str) -> Self {
        self.texts.service = Some(text.to_owned());
        self
    }

    /// With this `update.toml`, and this first root of the repository of updates, in its image.
    pub fn updates(mut self, text: &str, root: &str) -> Self {
        (self.texts.update, self.texts.update_root) = (Some(text.to_owned()), Some(root.to_owned()));
        self
    }

    /// With a USB controller, into which disks can be put (`Device::put_in`).
    pub fn usb(mut self) -> Self {
        self.usb = true;
        self
    }

    /// With a battery-backed clock that shows this, `2020-02-02T02:02:02`, UTC, at each boot.
    pub fn clock(mut self, shows: &str) -> Self {
        self.clock = Some(shows.to_owned());
        self
    }

    /// On the reference board, by the real chain: firmware, boot loader, signed kernel image, TPM.
    pub fn board(self) -> Self {
        self.tampered(|_| Ok(()))
    }

    /// The same with a board, or its disk, that somebody has had in their hands.
    pub fn tampered(mut self, tamper: Tamper) -> Self {
        self.board = Some(tamper);
        self
    }

    /// The same as one that has its disks and partitions as this file of `tests/device/system` says.
    pub fn layout(mut self, file: &'static str) -> Self {
        self.layout = Some(file);
        self
    }

    /// A reset starts it again, instead of ending the test's machine.
    pub fn resets(mut self) -> Self {
        self.resets = true;
        self
    }

    /// With so much memory.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// With a data disk of this size.
    pub fn data_bytes(mut self, data_bytes: u64) -> Self {
        self.data_bytes = data_bytes;
        self
    }

    /// With further words on the kernel's command line.
    pub fn words(mut self, words: &str) -> Self {
        self.words = format!("{} {words}", self.words);
        self
    }

    /// Without these words, which stand there as they are here.
    pub fn without_words(mut self, words: &str) -> Self {
        self.without = words.to_owned();
        self
    }

    /// With the store corrupted wherever `needle` stands in it, after its root hash was taken.
    pub fn corrupt(mut self, needle: &[u8]) -> Self {
        self.spoiled.push(needle.to_vec());
        self
    }

    /// One that mostly waits, or for so long, that it runs beside the others instead of taking its turn.
    pub fn mostly_idle(mut self) -> Self {
        self.idle = true;
        self
    }

    /// As another release of the system.
    pub fn release(mut self, version: &str, floor: u32) -> Self {
        self.release = Release { version: version.to_owned(), floor };
        self
    }

    /// With what stands in for the update daemon.
    pub fn stand_in(mut self) -> Self {
        self.wanted.system_box = Some(Member::Updater);
        // A device that has no settings of updates starts nobody for them.
        self.texts.update.get_or_insert_with(|| "product = \"meter\"\ncatalog = \"acme\"\n".to_owned());
        self
    }

    /// With what stands in for the update daemon, and the release it has to install on a disk of its own.
    pub fn updater(mut self, version: &str, floor: u32) -> Self {
        self = self.stand_in();
        self.next = Some(Release { version: version.to_owned(), floor });
        self
    }

    /// With each write to its system's disk recorded, from each boot of the machine on (`Device::writes`).
    pub fn logged(mut self) -> Self {
        self.recorded = Some(Recorded::System);
        self
    }

    /// The same of its data's disk.
    pub fn data_logged(mut self) -> Self {
        self.recorded = Some(Recorded::Data);
        self
    }

    /// The tree that its release is made of.
    pub(crate) fn tree(&self) -> Result<Tree> {
        self.tree_of(self.release.clone())
    }

    /// The same of another release for it.
    pub(crate) fn tree_of(&self, release: Release) -> Result<Tree> {
        let tree = Tree::here()?.of_release(release)?;
        match self.layout {
            Some(name) => {
                let file = tree.root.join("tests/device/system").join(name);
                tree.of_board(&file)
            }
            None => Ok(tree),
        }
    }

    /// Makes the images and boots.
    ///
    /// # Errors
    /// When a part cannot be built or QEMU does not start; not when the device does not come up.
    pub fn boot(self) -> Result<Device> {
        let tree = self.tree()?;
        let turn = (!self.idle).then(Turn::take);
        // Short, whatever the tree's path: a socket's may have 107 bytes.
        let place = tempfile::Builder::new().prefix("gabion-device-").tempdir()?;
        let bootable = match self.demo {
            true => images::demo(&tree, &self.texts, self.wanted, place.path())?,
            false => images::bootable(&tree, &self.apps, &self.texts, self.wanted, place.path())?,
        };
        for needle in &self.spoiled {
            images::spoil(&bootable.apps, needle)?;
        }
        blank_disk(&place.path().join("data.img"), self.data_bytes)?;
        let logs = tree.target.join("device-logs");
        fs::create_dir_all(&logs)?;
        let log = logs.join(format!("{}.log", self.name));
        File::create(&log)?;
        Device::start(Parts { bench: self, bootable, place, log, _turn: turn })
    }
}

/// What stays of a device when it is off.
pub(crate) struct Parts {
    pub(crate) bench: Bench,
    pub(crate) bootable: Bootable,
    pub(crate) place: TempDir,
    pub(crate) log: PathBuf,
    _turn: Option<Turn>,
}

impl Drop for Parts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the device's console is kept in {}", self.log.display());
        } else if std::env::var_os("GABION_KEEP_LOGS").is_none() {
            // It may be gone, which is what is wanted.
            let _ = fs::remove_file(&self.log);
        }
    }
}
