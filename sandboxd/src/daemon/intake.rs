//! From a plan to a box that `init` holds.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use policy::{Board, Plan};
use sys::bundle::{Next, Request};

use super::Daemon;
use super::debug::DEBUGGED;
use super::developer::storage_of;
use crate::app::{App, State};
use crate::builder::{Built, Networks, Place, build_box, limit, run_dir};
use crate::cgroup::{Group, Limits};
use crate::devices::Device;
use crate::packages::tag;
use crate::problem::{BoxError, Step};
use crate::verity::Prepared;
use crate::worker::What;
use crate::{boxroot, storage, system, verity};

impl Daemon {
    /// The worker's plan of an app's manifest, unchecked so far.
    pub(super) fn install_app(&mut self, uid: u32, bytes: &[u8]) -> io::Result<()> {
        let plan = match Plan::decode(bytes, &Board::default()) {
            Ok(plan) => plan,
            Err(e) => {
                self.problem(uid, &format!("its plan does not check out: {e}"), "install it again");
                return Ok(());
            }
        };
        let Some(app) = self.apps.get(&uid) else { return Ok(()) };
        if plan.id.as_str() != app.id {
            let text = format!("its manifest says id = \"{}\", which is another app's name", plan.id);
            self.problem(uid, &text, "an app's directory is named by its id; correct one of the two");
            return Ok(());
        }
        let counts = self.ledger_package(&app.id);
        if let Some(package) = counts.filter(|package| package.version != plan.version) {
            let text = format!(
                "its manifest says version = \"{}\"; {} was installed",
                plan.version, package.version
            );
            self.problem(uid, &text, "install it again");
            return Ok(());
        }
        let kept = app.notify_socket().is_some();
        if let Err((text, help)) = self.net_policy(uid, &plan) {
            self.problem(uid, &text, &help);
            return Ok(());
        }
        self.attest_policy(uid, &plan);
        self.bus_party(uid, &plan);
        let root_hash = verity::root_hash(&self.app_dir(plan.id.as_str())).unwrap_or_default();
        if let Some(app) = self.apps.get_mut(&uid) {
            app.root_hash = root_hash;
        }
        if kept {
            return self.take_up(uid, &plan);
        }
        match self.app_root(&plan, uid) {
            Ok(Root::Ready(root)) => self.install(uid, &plan, &root, Wiring::default()),
            Ok(Root::Unread(image)) => {
                self.worker.images.insert(uid, (plan, image));
                self.worker_wanted(uid, What::Image);
                Ok(())
            }
            Err(e) => {
                self.problem(uid, &e.to_string(), &e.help());
                Ok(())
            }
        }
    }

    /// A box that `init` kept for us: it is not touched, only looked after again.
    pub(super) fn take_up(&mut self, uid: u32, plan: &Plan) -> io::Result<()> {
        let now = sys::process::now_ms();
        let devices = devices(plan, uid).unwrap_or_default();
        // It has them already; this only tells the others.
        let _ = self.holders.take(&devices);
        let Some(app) = self.apps.get_mut(&uid) else { return Ok(()) };
        let up = app.pid().is_some();
        // Whether it was ready before we came, nobody knows; the next time counts.
        app.says_ready = plan.lifecycle.notify;
        app.watchdog.set(plan.lifecycle.watchdog_ms, up, now);
        if !up && app.starts == 0 {
            app.state = State::Starting;
            return self.launch(uid);
        }
        Ok(())
    }

    fn app_root(&self, plan: &Plan, uid: u32) -> Result<Root, BoxError> {
        let (app, number) = (self.app_dir(plan.id.as_str()), self.package_number(plan.id.as_str()));
        // A package that came by an update is an image in any case.
        if number.is_none() && !app.join("root.img").exists() {
            return Ok(Root::Ready(app.join("root")));
        }
        let at = self.image_place(plan.id.as_str(), number);
        if storage::is_mounted(&at) {
            return Ok(Root::Ready(at));
        }
        let image = verity::prepare(&app, &label(&uid.to_string(), number), self.config.images)?;
        // The checker's word counts in the verified store alone.
        if number.is_some() || !image.was_checked(&app) {
            return Ok(Root::Unread(image));
        }
        image.mount(&at).map(|()| Root::Ready(at))
    }

    /// Where the image of an app is mounted: its package `number`, or the image's own.
    pub(super) fn image_place(&self, id: &str, number: Option<u64>) -> PathBuf {
        self.config.runtime.join("images").join(label(id, number))
    }

    /// The worker has found the app's image good.
    pub(super) fn image_checked(&mut self, uid: u32) -> io::Result<()> {
        let Some((plan, image)) = self.worker.images.remove(&uid) else { return Ok(()) };
        let at = self.image_place(plan.id.as_str(), self.package_number(plan.id.as_str()));
        match image.mount(&at) {
            Ok(()) => self.install(uid, &plan, &at, Wiring::default()),
            Err(e) => {
                self.problem(uid, &e.to_string(), &e.help());
                Ok(())
            }
        }
    }

    /// Builds and starts the system box `id`.
    pub(super) fn install_system(&mut self, id: &str) {
        let loaded = match system::load(&self.config.system, id) {
            Ok(loaded) => loaded,
            Err(text) => {
                crate::console::problem(id, &text, "the image is broken: build it again");
                return;
            }
        };
        let uid = loaded.uid;
        let app = || App::new(uid, id, true, &self.config.cgroups, None);
        self.apps.entry(uid).or_insert_with(app);
        self.bus_party(uid, &loaded.plan);
        let done =
            self.system_wiring(id).and_then(|wiring| self.install(uid, &loaded.plan, &loaded.root, wiring));
        if let Err(e) = done {
            self.problem(uid, &e.to_string(), "see the kernel's log");
        }
    }

    fn system_wiring(&mut self, id: &str) -> io::Result<Wiring> {
        match id {
            system::WORKER => Ok(Wiring { stdin: Some(self.worker_socket()?), kept: None }),
            system::ROUTER => {
                let (ours, theirs) = sys::channel::pair()?;
                self.bus_router(ours.try_clone()?, true)?;
                Ok(Wiring { stdin: Some(theirs), kept: Some(ours) })
            }
            system::DESK => {
                let (ours, theirs) = sys::channel::pair()?;
                self.desk_opened(ours.try_clone()?, true)?;
                Ok(Wiring { stdin: Some(theirs), kept: Some(ours) })
            }
            system::NETD => {
                let (ours, theirs) = sys::channel::pair()?;
                self.net_opened(ours.try_clone()?, true)?;
                Ok(Wiring { stdin: Some(theirs), kept: Some(ours) })
            }
            system::ATTESTD => {
                let (ours, theirs) = sys::channel::pair()?;
                self.attest_opened(ours.try_clone()?, true)?;
                Ok(Wiring { stdin: Some(theirs), kept: Some(ours) })
            }
            system::UPDATED => {
                let (ours, theirs) = sys::channel::pair()?;
                self.update_opened(ours.try_clone()?, true)?;
                Ok(Wiring { stdin: Some(theirs), kept: Some(ours) })
            }
            _ => Ok(Wiring::default()),
        }
    }

    fn install(&mut self, uid: u32, plan: &Plan, root: &Path, wiring: Wiring) -> io::Result<()> {
        let debugged = self.debug_plan(uid, plan);
        let plan = debugged.as_ref().unwrap_or(plan);
        match self.build(uid, plan, root, wiring) {
            Ok(built) => self.hand_over(uid, plan, built),
            Err(BoxError::DeviceHeld(path, holder)) => {
                let owner = self.apps.get(&holder).map_or("another app", |a| a.id.as_str()).to_owned();
                let help =
                    format!("a device belongs to one app: remove {path} from one of the two manifests");
                self.problem(uid, &format!("{path} is held by {owner}"), &help);
                Ok(())
            }
            Err(e) => {
                self.problem(uid, &e.to_string(), &e.help());
                Ok(())
            }
        }
    }

    fn build(&mut self, uid: u32, plan: &Plan, root: &Path, wiring: Wiring) -> Result<Built, BoxError> {
        let devices = devices(plan, uid)?;
        self.holders.take(&devices)?;
        let app = self.apps.get(&uid).ok_or_else(|| BoxError::step(Step::Root, io::ErrorKind::NotFound))?;
        let storage = self.private_storage(&app.id, uid, plan, self.is_developed(&app.id))?;
        let number = if app.system { None } else { self.package_number(&app.id) };
        let Wiring { stdin, kept } = wiring;
        let place =
            Parts { uid, root, storage: storage.as_deref(), number, limits: self.config.limits, devices };
        let mut built = self.bundle(&app.group, plan, &place, stdin)?;
        built.kept.extend(kept);
        Ok(built)
    }

    /// Builds the bundle of a package that is to take an app's place, while that runs: what is the running app's, its limits
    /// and its quota, is left alone until [`switch_box`](Self::switch_box).
    pub(super) fn build_ahead(
        &self,
        uid: u32,
        plan: &Plan,
        root: &Path,
        number: u64,
        developed: bool,
    ) -> Result<Built, BoxError> {
        let devices = devices(plan, uid)?;
        let id = plan.id.as_str();
        let there = self.config.data.join(storage_of(developed, uid).0).join(id);
        let storage = match plan.limits.storage_bytes {
            0 => None,
            _ if there.symlink_metadata().is_ok() => Some(there),
            _ => self.private_storage(id, uid, plan, developed)?,
        };
        let group = Group::new(&self.config.cgroups.join("apps"), id);
        let parts = Parts {
            uid,
            root,
            storage: storage.as_deref(),
            number: Some(number),
            limits: Limits::NotEnforced,
            devices,
        };
        let built = self.bundle(&group, plan, &parts, None)?;
        if let (Ok(root), Some(program)) = (std::fs::File::open(root), plan.argv.first()) {
            boxroot::read_ahead(root.as_fd(), program);
        }
        Ok(built)
    }

    /// Puts a bundle that was built ahead in the place of the one that ended, with all that was left alone until then.
    pub(super) fn switch_box(&mut self, uid: u32, plan: &Plan, built: Built) -> io::Result<()> {
        let Some(app) = self.apps.get(&uid) else { return Ok(()) };
        let ready = devices(plan, uid)
            .and_then(|devices| self.holders.take(&devices))
            .and_then(|()| limit(plan, &app.group, self.config.limits))
            .and_then(|()| self.private_storage(&app.id, uid, plan, self.is_developed(&app.id)));
        if let Err(e) = ready {
            self.problem(uid, &e.to_string(), &e.help());
            return Ok(());
        }
        if let Err((text, help)) = self.net_policy(uid, plan) {
            self.problem(uid, &text, &help);
            return Ok(());
        }
        self.bus_party(uid, plan);
        self.hand_over(uid, plan, built)
    }

    fn bundle(
        &self,
        group: &Group,
        plan: &Plan,
        parts: &Parts<'_>,
        stdin: Option<OwnedFd>,
    ) -> Result<Built, BoxError> {
        let run = self.run_place(parts.uid, parts.number);
        let place = Place {
            uid: parts.uid,
            root: parts.root,
            storage: parts.storage,
            run: &run,
            cgroup: group,
            limits: parts.limits,
            debug: self.debug.of(parts.uid),
            devices: &parts.devices,
            networks: Networks {
                empty: self.empty_net.as_fd(),
                device: self.net.tables.as_ref().map(|_| self.device_net.as_fd()),
            },
            #[cfg(feature = "weak")]
            missing: crate::weak::missing(&self.app_dir(plan.id.as_str()))?,
        };
        #[cfg(feature = "weak")]
        let place = crate::weak::weakened(place)?;
        let mut built = build_box(plan, &place, stdin)?;
        let number = if place.debug.is_some() { Some(DEBUGGED) } else { parts.number };
        if let Some(number) = number {
            built.kept.push(tag::make(number).map_err(|e| BoxError::step(Step::Run, e))?);
        }
        Ok(built)
    }

    /// The directory with the sockets of a box: of its own for each package, so that one can be built beside another.
    pub(super) fn run_place(&self, uid: u32, number: Option<u64>) -> PathBuf {
        run_dir(&self.config.runtime, uid, number)
    }

    fn private_storage(
        &self,
        id: &str,
        uid: u32,
        plan: &Plan,
        developed: bool,
    ) -> Result<Option<PathBuf>, BoxError> {
        let bytes = plan.limits.storage_bytes;
        if bytes == 0 {
            return Ok(None);
        }
        let (place, project) = storage_of(developed, uid);
        let made =
            storage::private(&self.config.data.join(place), id, uid, project, bytes, self.config.quota);
        made.map(Some).map_err(|e| BoxError::step(Step::Quota, e))
    }

    fn hand_over(&mut self, uid: u32, plan: &Plan, built: Built) -> io::Result<()> {
        let (message, fds) = built.put();
        self.init.send(&message, &fds)?;
        self.bus_forget(uid);
        self.attach(uid, built.kept)?;
        self.bus_refresh();
        if let Some(app) = self.apps.get_mut(&uid) {
            app.state = State::Starting;
            app.says_ready = plan.lifecycle.notify;
            app.awaits_ready = plan.lifecycle.notify;
            app.watchdog.set(plan.lifecycle.watchdog_ms, false, 0);
            if app.held && !self.debug.is_of(uid) {
                app.state = State::Down(Next::Stopped);
                return Ok(());
            }
        }
        self.launch(uid)
    }

    /// Has the box launched for the first time, once nothing stands in the way any more.
    fn launch(&mut self, uid: u32) -> io::Result<()> {
        if self.net_must_wait(uid) || self.attest_must_wait(uid) || self.door_must_wait(uid) {
            self.waiting.insert(uid);
            return Ok(());
        }
        self.init.ask(&Request::Start(uid))
    }

    /// Something does not stand in its way any more.
    pub(super) fn launch_if_it_waits(&mut self, uid: u32) -> io::Result<()> {
        if self.waiting.remove(&uid) { self.launch(uid) } else { Ok(()) }
    }
}

/// What a bundle is made of beside its plan.
struct Parts<'a> {
    uid: u32,
    root: &'a Path,
    storage: Option<&'a Path>,
    number: Option<u64>,
    limits: Limits,
    devices: Vec<Device>,
}

/// Where an app's files are.
enum Root {
    /// There.
    Ready(PathBuf),
    /// In an image that has to be checked before it is mounted.
    Unread(Prepared),
}

/// What a system box gets besides: a socket as its standard input, and our end of it for `init` to keep.
#[derive(Default)]
struct Wiring {
    stdin: Option<OwnedFd>,
    kept: Option<OwnedFd>,
}

pub(super) fn devices(plan: &Plan, uid: u32) -> Result<Vec<Device>, BoxError> {
    plan.devices.iter().map(|path| Device::find(path, uid)).collect()
}

/// What tells the packages of one app, and the image's own, from each other in names.
pub(super) fn label(of: &str, number: Option<u64>) -> String {
    number.map_or_else(|| of.to_owned(), |number| format!("{of}@{number}"))
}
