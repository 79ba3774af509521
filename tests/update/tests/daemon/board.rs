//! `sandboxd`, the disk and the boot loader, as far as the daemon can tell.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use ::bus::bulk::{Sealed, seal};
use ::bus::update_link::{App, Came, FromUpdated, KERNEL_MAX, Package, System as Told, ToUpdated};
use bus_tokio::Link;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Duration, sleep};

use super::bus::Caller;
use super::clock;
use super::releases::{self, System};

/// Bytes of a slot's partitions.
const ROOT_BYTES: u64 = 24 << 20;
const TREE_BYTES: u64 = 256 << 10;

/// A device without its daemon.
pub(crate) struct Board {
    pub(crate) folder: TempDir,
    /// Which systems there can be: a slot is read back against them.
    pub(crate) systems: RefCell<Vec<System>>,
    running: Cell<usize>,
    versions: RefCell<[String; 2]>,
    kernels: RefCell<[Vec<u8>; 2]>,
    pub(crate) armed: Cell<bool>,
    pub(crate) trial: Cell<bool>,
    pub(crate) failed: RefCell<Option<(String, String)>>,
    pub(crate) floor: Cell<u32>,
    pub(crate) apps: RefCell<BTreeMap<String, App>>,
    pub(crate) images: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Which images there can be of apps, by their words.
    pub(crate) packages: RefCell<Vec<releases::App>>,
    pub(crate) settings: RefCell<String>,
    pub(crate) trust: RefCell<Vec<u8>>,
    pub(crate) service: RefCell<String>,
    pub(crate) clock_set: Cell<bool>,
    /// A disk that is in it.
    pub(crate) disk: RefCell<Option<std::path::PathBuf>>,
    /// How it came there.
    pub(crate) came: Cell<Came>,
    /// updated has said that disks are taken.
    pub(crate) takes_disks: Cell<bool>,
    pub(crate) attested: Cell<bool>,
    /// A new app crashes in its trial.
    pub(crate) crashes: RefCell<Option<String>>,
    /// Apps that do not run after a boot.
    pub(crate) broken: RefCell<Vec<String>>,
    pub(crate) refuses: RefCell<Option<String>>,
    pub(crate) refused_times: Cell<u32>,
    /// What of the system is not well.
    pub(crate) unwell: RefCell<Option<String>>,
    /// How long apps take to be launched, seconds.
    pub(crate) launch_s: Cell<u32>,
    pub(crate) said: RefCell<Vec<String>>,
    pub(crate) reached: RefCell<Vec<String>>,
    /// The developer's permit that attestd would be told of.
    pub(crate) permit: RefCell<Option<String>>,
    /// The device boots: whoever runs is gone.
    pub(crate) boots: Notify,
    pub(crate) booted: Cell<u32>,
    pub(crate) armed_times: Cell<u32>,
    /// Its boot loader never takes what is armed.
    pub(crate) stubborn: Cell<bool>,
    pub(crate) installed_times: Cell<u32>,
    /// Apps are on trial; and how the last one ended, which is told again and again.
    on_trial: Cell<bool>,
    settled: RefCell<Option<Option<String>>>,
    /// Who is connected to the daemon's interface.
    pub(crate) callers: RefCell<Vec<Caller>>,
    link: RefCell<Option<Rc<Link<FromUpdated, ToUpdated>>>>,
}

impl Board {
    /// A device that runs a system.
    pub(crate) fn new(system: &System) -> Rc<Self> {
        let board = Self {
            folder: tempfile::tempdir().unwrap(),
            systems: RefCell::new(vec![system.clone()]),
            running: Cell::new(0),
            versions: RefCell::new([system.version.clone(), String::new()]),
            kernels: RefCell::new([system.kernel.clone(), Vec::new()]),
            armed: Cell::new(false),
            trial: Cell::new(false),
            failed: RefCell::default(),
            floor: Cell::new(0),
            apps: RefCell::default(),
            images: RefCell::default(),
            packages: RefCell::default(),
            settings: RefCell::new("product = \"box\"\ncatalog = \"acme\"\n".to_owned()),
            trust: RefCell::default(),
            service: RefCell::default(),
            clock_set: Cell::new(true),
            disk: RefCell::default(),
            came: Cell::new(Came::Disk),
            takes_disks: Cell::new(false),
            attested: Cell::new(true),
            crashes: RefCell::default(),
            broken: RefCell::default(),
            refuses: RefCell::default(),
            refused_times: Cell::new(0),
            unwell: RefCell::default(),
            launch_s: Cell::new(0),
            said: RefCell::default(),
            reached: RefCell::default(),
            permit: RefCell::default(),
            boots: Notify::new(),
            booted: Cell::new(0),
            armed_times: Cell::new(0),
            stubborn: Cell::new(false),
            installed_times: Cell::new(0),
            on_trial: Cell::new(false),
            settled: RefCell::default(),
            callers: RefCell::default(),
            link: RefCell::default(),
        };
        for slot in 0..2 {
            board.open(&format!("root-{slot}")).set_len(ROOT_BYTES).unwrap();
            board.open(&format!("tree-{slot}")).set_len(TREE_BYTES).unwrap();
        }
        let (data, tree) = system.root.bytes.split_at(system.root.data);
        board.open("root-0").write_all_at(data, 0).unwrap();
        board.open("tree-0").write_all_at(tree, 0).unwrap();
        std::fs::create_dir(board.folder.path().join("storage")).unwrap();
        Rc::new(board)
    }

    fn open(&self, name: &str) -> File {
        let path = self.folder.path().join(name);
        File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
    }

    /// The version that runs.
    pub(crate) fn version(&self) -> String {
        self.versions.borrow()[self.running.get()].clone()
    }

    /// The daemon's end of a new link; the other is served until it is gone.
    pub(crate) fn link(self: &Rc<Self>) -> OwnedFd {
        let (ours, theirs) = sys::channel::pair().unwrap();
        let link = Rc::new(Link::new(ours).unwrap());
        *self.link.borrow_mut() = Some(link.clone());
        let board = self.clone();
        spawn_local(async move {
            while let Ok((message, fds)) = link.receive().await {
                board.take(&link, message, fds);
            }
        });
        theirs
    }

    /// An app is how it is now.
    pub(crate) fn app(&self, app: App) {
        self.apps.borrow_mut().insert(app.id.clone(), app.clone());
        self.tell(&ToUpdated::App(app));
    }

    /// A disk is put in, or taken out.
    pub(crate) fn disk(&self, disk: Option<std::path::PathBuf>) {
        match &disk {
            Some(disk) => {
                if let Some(link) = &*self.link.borrow() {
                    link.send_with(&ToUpdated::Disk(self.came.get()), vec![File::open(disk).unwrap().into()]);
                }
            }
            None => self.tell(&ToUpdated::DiskGone),
        }
        *self.disk.borrow_mut() = disk;
    }

    pub(crate) fn tell(&self, message: &ToUpdated) {
        if let Some(link) = &*self.link.borrow() {
            link.send(message);
        }
    }

    /// The power goes, and comes back.
    pub(crate) fn boot(&self) {
        self.booted.set(self.booted.get() + 1);
        clock::boot();
        if self.trial.get() || self.armed.get() {
            // One attempt was enough for this one to be given up, if it is not the first.
            let first = self.armed.take();
            if first && !self.stubborn.get() {
                self.running.set(1 - self.running.get());
                self.trial.set(true);
            }
        }
        for (id, app) in &mut *self.apps.borrow_mut() {
            app.running = !self.broken.borrow().contains(id);
        }
        self.boots.notify_one();
    }

    fn take(
        self: &Rc<Self>,
        link: &Rc<Link<FromUpdated, ToUpdated>>,
        message: FromUpdated,
        mut fds: Vec<OwnedFd>,
    ) {
        let refused = |why: &str| link.send(&ToUpdated::Refused(why.to_owned()));
        if let Some(why) = &*self.refuses.borrow()
            && matches!(message, FromUpdated::Arm(..) | FromUpdated::Install(..) | FromUpdated::Fail(..))
        {
            self.refused_times.set(self.refused_times.get() + 1);
            return refused(why);
        }
        match message {
            FromUpdated::Hello => self.state(link),
            FromUpdated::Say(text) => self.said.borrow_mut().push(text),
            FromUpdated::Permit(id) => *self.permit.borrow_mut() = Some(id),
            FromUpdated::Reach(addresses) => *self.reached.borrow_mut() = addresses,
            FromUpdated::Slot => {
                if self.trial.get() {
                    return refused("the running system is not known to be good");
                }
                self.armed.set(false);
                let (here, there) = (self.running.get(), 1 - self.running.get());
                let files = [("root", here), ("tree", here), ("root", there), ("tree", there)];
                let fds = files.map(|(name, slot)| self.open(&format!("{name}-{slot}")).into());
                link.send_with(&ToUpdated::Slot, fds.into());
            }
            FromUpdated::Kernel => {
                let kernel = seal(c"kernel", &self.kernels.borrow()[self.running.get()]).unwrap();
                link.send_with(&ToUpdated::Kernel, vec![kernel]);
            }
            FromUpdated::Arm(version, words, _) => match self.arm(&version, &words, fds.pop().unwrap()) {
                Ok(()) => link.send(&ToUpdated::Armed),
                Err(why) => refused(why),
            },
            FromUpdated::Reboot => {
                assert!(self.armed.get(), "it boots into nothing");
                self.boot();
            }
            FromUpdated::Bless if self.unwell.borrow().is_some() => {
                refused(self.unwell.borrow().as_deref().unwrap_or_default());
            }
            FromUpdated::Bless => {
                assert!(self.trial.get());
                self.trial.set(false);
                *self.failed.borrow_mut() = None;
                link.send(&ToUpdated::Blessed);
            }
            FromUpdated::Fail(why) => {
                self.trial.set(false);
                *self.failed.borrow_mut() = Some((self.version(), why));
                self.running.set(1 - self.running.get());
                self.boot();
            }
            FromUpdated::Incoming(id, version, length) => {
                *self.settled.borrow_mut() = None;
                let mut fds = vec![self.incoming(&id, &version, length).into()];
                if let Some(old) = self.images.borrow().get(&id) {
                    let file = self.open(&format!("old-{id}"));
                    file.set_len(0).unwrap();
                    file.write_all_at(old, 0).unwrap();
                    fds.push(file.into());
                }
                link.send_with(&ToUpdated::Incoming, fds);
            }
            FromUpdated::Install(packages, trial_s) => self.install(link, packages, fds, trial_s),
            FromUpdated::Back(id) if self.on_trial.get() => {
                *self.crashes.borrow_mut() = Some(id);
                link.send(&ToUpdated::Installed);
            }
            FromUpdated::CarriedEnd => *self.disk.borrow_mut() = None,
            FromUpdated::Disks => self.takes_disks.set(true),
            FromUpdated::Wanted(images) => self.images_stay(&images),
            FromUpdated::Back(_) => refused("it is not on trial"),
            FromUpdated::Remove(id) => {
                self.apps.borrow_mut().remove(&id).unwrap();
                link.send(&ToUpdated::Gone(id));
                link.send(&ToUpdated::Installed);
            }
        }
    }

    fn incoming(&self, id: &str, version: &str, length: u64) -> File {
        let name = format!("incoming-{id}-{version}-{length}");
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let there = entry.unwrap().file_name().into_string().unwrap();
            if there.starts_with(&format!("incoming-{id}-")) && there != name {
                std::fs::remove_file(self.folder.path().join(there)).unwrap();
            }
        }
        self.open(&name)
    }

    fn images_stay(&self, wanted: &[(String, String)]) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let there = entry.unwrap().file_name().into_string().unwrap();
            let is =
                |(id, version): &(String, String)| there.starts_with(&format!("incoming-{id}-{version}-"));
            if there.starts_with("incoming-") && !wanted.iter().any(is) {
                std::fs::remove_file(self.folder.path().join(there)).unwrap();
            }
        }
    }

    fn arm(&self, version: &str, words: &str, kernel: OwnedFd) -> Result<(), &'static str> {
        let there = 1 - self.running.get();
        let systems = self.systems.borrow();
        let system =
            systems.iter().find(|system| system.version == version).ok_or("nobody made this version")?;
        if system.root.words != words {
            return Err("the words are of another root");
        }
        let mut read = vec![0; system.root.bytes.len()];
        let (data, tree) = read.split_at_mut(system.root.data);
        self.open(&format!("root-{there}")).read_exact_at(data, 0).unwrap();
        self.open(&format!("tree-{there}")).read_exact_at(tree, 0).unwrap();
        if read != system.root.bytes {
            return Err("the slot is not what its root hash says");
        }
        let kernel = Sealed::open(kernel, KERNEL_MAX).unwrap().read().unwrap();
        if kernel != system.kernel {
            return Err("the kernel image is not signed");
        }
        *self.failed.borrow_mut() = None;
        self.armed_times.set(self.armed_times.get() + 1);
        self.versions.borrow_mut()[there] = version.to_owned();
        self.kernels.borrow_mut()[there] = kernel;
        self.armed.set(true);
        Ok(())
    }

    fn install(
        self: &Rc<Self>,
        link: &Rc<Link<FromUpdated, ToUpdated>>,
        packages: Vec<Package>,
        manifests: Vec<OwnedFd>,
        trial_s: u32,
    ) {
        assert_eq!(packages.len(), manifests.len());
        let mut before = Vec::new();
        for (package, manifest) in packages.iter().zip(manifests) {
            let known = self.packages.borrow();
            let app =
                known.iter().find(|app| app.id == package.id && app.version == package.version).unwrap();
            let image = std::fs::read(self.folder.path().join(format!(
                "incoming-{}-{}-{}",
                app.id,
                app.version,
                app.image.bytes.len()
            )));
            assert!(image.unwrap() == app.image.bytes, "an image that nobody made");
            assert_eq!(package.verity, app.image.words);
            assert_eq!(Sealed::open(manifest, 1 << 20).unwrap().read().unwrap(), app.manifest);
            before.push((
                self.apps.borrow().get(&app.id).cloned(),
                self.images.borrow().get(&app.id).cloned(),
                app.clone(),
            ));
        }
        if self.on_trial.replace(true) {
            return link.send(&ToUpdated::Refused("an installation is on trial".to_owned()));
        }
        *self.settled.borrow_mut() = None;
        self.installed_times.set(self.installed_times.get() + 1);
        link.send(&ToUpdated::Installed);
        for (_, _, app) in &before {
            let told = App {
                id: app.id.clone(),
                version: app.version.clone(),
                installed: true,
                running: true,
                ..App::default()
            };
            self.app(told);
            self.images.borrow_mut().insert(app.id.clone(), app.image.bytes.clone());
        }
        let board = self.clone();
        spawn_local(async move {
            sleep(Duration::from_secs((board.launch_s.get() + trial_s).into())).await;
            let crashed =
                board.crashes.borrow().clone().filter(|id| before.iter().any(|(_, _, app)| app.id == *id));
            if crashed.is_some() {
                for (app, image, new) in before {
                    match (app, image) {
                        (Some(app), Some(image)) => {
                            board.images.borrow_mut().insert(app.id.clone(), image);
                            board.app(app);
                        }
                        _ => {
                            board.images.borrow_mut().remove(&new.id);
                            board.apps.borrow_mut().remove(&new.id);
                            board.tell(&ToUpdated::Gone(new.id));
                        }
                    }
                }
            }
            let ended = crashed.map(|id| format!("{id} crashed"));
            board.on_trial.set(false);
            *board.settled.borrow_mut() = Some(ended.clone());
            board.tell(&ToUpdated::Settled(ended));
        });
    }

    fn state(&self, link: &Link<FromUpdated, ToUpdated>) {
        link.send(&ToUpdated::Sync);
        link.send_with(&ToUpdated::Config, vec![seal(c"config", self.settings.borrow().as_bytes()).unwrap()]);
        link.send_with(&ToUpdated::Trust, vec![seal(c"trust", &self.trust.borrow()).unwrap()]);
        link.send(&ToUpdated::Service(self.service.borrow().clone(), std::net::Ipv4Addr::LOCALHOST));
        let version = self.version();
        let systems = self.systems.borrow();
        let root = &systems.iter().find(|system| system.version == version).unwrap().root;
        link.send(&ToUpdated::System(Told {
            version,
            root_hash: root.root_hash(),
            trial: self.trial.get(),
            floor: self.floor.get(),
            failed: self.failed.borrow().clone(),
        }));
        for app in self.apps.borrow().values() {
            link.send(&ToUpdated::App(app.clone()));
        }
        if self.on_trial.get() {
            link.send(&ToUpdated::Installed);
        }
        if let Some(ended) = &*self.settled.borrow() {
            link.send(&ToUpdated::Settled(ended.clone()));
        }
        if self.clock_set.get() {
            link.send(&ToUpdated::ClockSet);
        }
        if self.attested.get() {
            link.send(&ToUpdated::Attested);
        }
        if let Some(disk) = &*self.disk.borrow() {
            link.send_with(&ToUpdated::Disk(self.came.get()), vec![File::open(disk).unwrap().into()]);
        }
        link.send(&ToUpdated::SyncEnd);
    }
}
