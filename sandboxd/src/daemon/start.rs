//! Coming up: confine, find out what `init` holds, storage, registry, then the boxes. In this order, because each
//! needs the one before, and because less and less is allowed on the way.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use firewall::Maps;
use firewall::attach::attach_or_find;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sys::audit::{AuditControl, AuditSocket};
use sys::bundle::{Event, Power, Request};
use sys::mount::{FsContext, MountAttr};
use sys::time::BUILT_S;
use sys::time::clock::{self, Trust};

use super::Daemon;
use super::attest::Attest;
use super::bus::Bus;
use super::debug::Debug;
use super::desk::Desk;
use super::developer::Developer;
use super::door::Door;
use super::net::Net;
use super::packages::Installs;
use super::update::Update;
use super::update_system::Running;
use super::wiping::Wiping;
use super::worker_box::WorkerBox;
use crate::app::App;
use crate::audit_log::AuditLog;
use crate::config::{Config, Recording};
use crate::console::{problem, say};
use crate::devices::Holders;
use crate::init_link::{Greeting, InitLink};
use crate::logfile::LogFile;
use crate::packages::ledger::Ledger;
use crate::poller::{Poller, Ready};
use crate::refusal::Assembler;
use crate::registry::Registry;
use crate::reports::Reports;
use crate::table::Schedule;
use crate::{audit_rules, confine, netfiles, network, storage, store, system};

pub(super) fn start(mut config: Config, socket: OwnedFd) -> Result<Daemon, Box<dyn std::error::Error>> {
    confine::at_start()?;
    let init = InitLink::new(socket);
    let poller = Poller::new()?;
    let signals = termination()?;
    let audit = AuditSocket::open().inspect_err(|e| say(format_args!("no audit records: {e}"))).ok();
    let audit_control = recording(&config);
    let greeting = init.greet()?;
    config.safe_mode |= greeting.safe_mode;
    let running = Running::find(&config);
    if config.safe_mode && running.as_ref().is_some_and(Running::give_up) {
        init.ask(&Request::Power(Power::Reboot))?;
    }
    let empty_net = network::begin()?;
    let tables = firewall(&config);
    lift_clock(&config);
    let store = mount_store(&config).inspect_err(|e| {
        let text = format!("can not mount the app store: {e}");
        problem("device", &text, "the image is damaged: install it again");
    });
    let locked = store.is_ok() && config.tpm && closed_device(&config).is_some();
    let registry =
        if store.is_err() || locked { None } else { open_storage(&config, closed_device(&config)) };
    let (empty_net, device_net) = (empty_net.wait()?, network::own()?);
    if !locked {
        confine::when_ready()?;
    }

    poller.watch(&init, Ready::Init)?;
    poller.watch(&signals, Ready::Signal)?;
    if let Some(audit) = &audit {
        poller.watch(audit, Ready::Audit)?;
    }
    let mut daemon = Daemon {
        bus: Bus::new(AuditLog::new(None)),
        desk: Desk::default(),
        net: Net::with(tables),
        attest: Attest::default(),
        door: Door::default(),
        update: Update::of(running),
        installs: Installs::default(),
        developer: Developer::default(),
        debug: Debug::default(),
        locked,
        waiting: BTreeSet::new(),
        wiping: Wiping::default(),
        on_demand: Vec::new(),
        config,
        init,
        poller,
        signals,
        audit,
        audit_control,
        apps: Default::default(),
        worker: WorkerBox::default(),
        holders: Holders::default(),
        empty_net,
        device_net,
        killed: VecDeque::new(),
        silent: Vec::new(),
        assembler: Assembler::default(),
        schedule: Schedule::new(sys::process::now_ms()),
        paused: Vec::new(),
        settle_at_ms: None,
    };
    daemon.boxes(greeting, registry)?;
    Ok(daemon)
}

/// SIGTERM as something to read: a last look at the pipes comes before the end.
fn termination() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn recording(config: &Config) -> Option<AuditControl> {
    match config.recording {
        Recording::Everything => {
            let set = audit_rules::set();
            set.inspect_err(|e| say(format_args!("refused calls are not recorded: {e}"))).ok()
        }
        Recording::Filters => None,
    }
}

/// Readies the device's network for apps: settings, and the firewall on the cgroup above them, before the first of them can
/// be launched. A sandboxd that was restarted finds the one that is there.
fn firewall(config: &Config) -> Option<Maps> {
    let ready = || -> Result<Maps, Box<dyn std::error::Error>> {
        network::settle()?;
        let apps = std::fs::File::open(config.cgroups.join("apps"))?;
        Ok(attach_or_find(apps.as_fd())?)
    };
    ready()
        .inspect_err(|e| {
            let help = "no app with a [network] is started; see docs/network.md for what the kernel needs";
            problem("device", &format!("no firewall: {}", cause(e.as_ref())), help);
        })
        .ok()
}

/// The data device, if there is one that is not in use yet.
pub(super) fn closed_device(config: &Config) -> Option<&Path> {
    config.data_device.as_deref().filter(|_| !storage::is_mounted(&config.data))
}

/// Mounts the data on `device`, unless it is mounted, and reads the registry. Without it no app is started, but the system
/// is.
fn open_storage(config: &Config, device: Option<&Path>) -> Option<Registry> {
    if let Some(device) = device {
        match storage::mount_data(device, &config.template, &config.data, config.quota) {
            Ok(true) => say(format_args!("first boot: made a file system on {}", device.display())),
            Ok(false) => {}
            Err(e) => {
                problem("device", &format!("no storage on {}: {e}", device.display()), e.help());
                return None;
            }
        }
    }
    lift_clock(config);
    load_registry(config)
}

/// A clock without a battery begins years ago. No app, and no record of one, is to see a time before the latest that is
/// certain: that at which the system was built, or, once there is storage, that was kept. Time servers, which `netd` asks,
/// take their time.
fn lift_clock(config: &Config) {
    let kept_s = netfiles::floor(config).and_then(|floor_s| i64::try_from(floor_s).ok());
    let least_ns = BUILT_S.max(kept_s.unwrap_or(0)).saturating_mul(1_000_000_000);
    let lifted = clock::realtime_ns().and_then(|now_ns| match least_ns.saturating_sub(now_ns) {
        0 | i64::MIN..0 => Ok(()),
        offset_ns => clock::step(offset_ns, Trust::None),
    });
    if let Err(e) = lifted {
        say(format_args!("can not set the clock: {e}"));
    }
}

fn load_registry(config: &Config) -> Option<Registry> {
    let path = config.data.join("gabion/identity");
    let data_exists = std::fs::read_dir(config.data.join("apps")).is_ok_and(|mut d| d.next().is_some());
    match std::fs::create_dir_all(config.data.join("gabion")).map(|()| Registry::load(&path, data_exists)) {
        // Before anybody has storage, boxes of the system included: from then on it has to be there.
        Ok(Ok(registry)) if path.exists() => Some(registry),
        Ok(Ok(registry)) => match registry.store(&path) {
            Ok(()) => Some(registry),
            Err(e) => {
                problem("device", &cause(&e), "check the disk; no app is started without storage");
                None
            }
        },
        Ok(Err(e)) => {
            let help =
                "no app is started; restore data/gabion/identity, or erase the data partition to begin anew";
            problem("device", &cause(&e), help);
            None
        }
        Err(e) => {
            problem("device", &format!("can not use the storage: {e}"), "check the disk");
            None
        }
    }
}

fn mount_store(config: &Config) -> io::Result<()> {
    let Some(device) = config.apps_device.as_ref().filter(|_| !storage::is_mounted(&config.apps)) else {
        return Ok(());
    };
    let context = FsContext::open(c"erofs")?;
    context.string("source", device.to_str().unwrap_or_default())?.flag("ro")?;
    let mount = context.mount(MountAttr::RDONLY.with(MountAttr::NOSUID).with(MountAttr::NODEV))?;
    storage::attach_at(mount.as_fd(), &config.apps)
}

impl Daemon {
    fn boxes(&mut self, greeting: Greeting, registry: Option<Registry>) -> io::Result<()> {
        let now = sys::process::now_ms();
        self.storage_is_open(registry.is_some());
        let store = self.store_names(registry.is_some());
        for (event, fds) in greeting.kept {
            if let Event::Kept { id, pid, starts, ends, more } = event {
                // Our predecessor may have died while it was silenced.
                self.silence(id, false);
                self.adopt(id, pid, starts, fds, registry.as_ref(), &store, now)?;
                self.unheard(id, ends, more, now)?;
            }
        }
        match system::list(&self.config.system) {
            Ok(ids) => ids.iter().try_for_each(|id| self.system_box(id))?,
            Err(e) => {
                problem("device", &format!("the system's boxes are missing: {e}"), "build the image again")
            }
        }
        if self.config.tpm {
            self.attest_wanted();
        }
        if registry.is_some() {
            self.update_wanted();
        }
        if self.config.safe_mode {
            say("safe mode: no app is started until the next boot");
        }
        registry.map_or(Ok(()), |registry| self.begin_apps(&store, registry))
    }

    /// The data device can be read and written at `device` now.
    pub(super) fn unlocked(&mut self, device: &Path) -> io::Result<()> {
        let registry = open_storage(&self.config, Some(device));
        confine::when_ready().map_err(|e| io::Error::other(e.to_string()))?;
        self.locked = false;
        self.storage_is_open(registry.is_some());
        if registry.is_some() {
            self.update_wanted();
        }
        self.attest_everything();
        let store = self.store_names(registry.is_some());
        registry.map_or(Ok(()), |registry| self.begin_apps(&store, registry))
    }

    /// What is kept on the storage begins to be.
    fn storage_is_open(&mut self, usable: bool) {
        if usable {
            let log = self.config.data.join("logs").join(system::ROUTER);
            self.bus.audit = AuditLog::new(Some(LogFile::new(log)));
            if self.config.tpm {
                self.attest.reports = Reports::load(self.config.data.join("gabion/reports"));
            }
            self.packages_open();
        }
    }

    fn begin_apps(&mut self, store: &BTreeSet<String>, mut registry: Registry) -> io::Result<()> {
        self.wiping_begins(&registry, store)?;
        if !self.config.safe_mode {
            self.queue_apps(store, &mut registry);
        }
        self.installs.identity = Some(registry);
        self.packages_erase_left();
        self.developer_begins()
    }

    fn store_names(&self, usable: bool) -> BTreeSet<String> {
        if !usable {
            return BTreeSet::new();
        }
        match store::list(&self.config.apps) {
            Ok((good, bad)) => {
                for name in bad {
                    problem(
                        &name,
                        "its directory's name can not be an app id, or it is no directory",
                        "name it by the app's id",
                    );
                }
                let installed = self.installs.ledger().into_iter().flat_map(Ledger::apps);
                good.into_iter().chain(installed.map(|(id, _)| id.to_owned())).collect()
            }
            Err(e) => {
                problem("device", &format!("can not read the app store: {e}"), "install the image again");
                BTreeSet::new()
            }
        }
    }

    /// Takes back a box that `init` kept while we were away.
    #[expect(clippy::too_many_arguments, reason = "one call; a struct would only rename them")]
    fn adopt(
        &mut self,
        uid: u32,
        pid: u32,
        starts: u32,
        fds: Vec<OwnedFd>,
        registry: Option<&Registry>,
        store: &BTreeSet<String>,
        now: u64,
    ) -> io::Result<()> {
        let system = system::owner(uid);
        let known = system.or_else(|| registry?.owner(uid).filter(|id| store.contains(*id)));
        let Some(id) = known else {
            // An app that is in no store has no business here. Once it has ended it is removed.
            return self.init.ask(&if pid == 0 { Request::Remove(uid) } else { Request::Stop(uid) });
        };
        if id == system::WORKER && pid == 0 {
            // Its socket was lost with the sandboxd before us: a new bundle takes its place.
            return Ok(());
        }
        let logs = (system.is_none()).then(|| self.config.data.join("logs"));
        let mut app = App::new(uid, id, system.is_some(), &self.config.cgroups, logs.as_deref());
        app.adopted(pid, starts, now);
        say(format_args!("event adopted id={id} uid={uid} pid={pid} starts={starts}"));
        self.apps.insert(uid, app);
        self.schedule.changed(now);
        if id == system::WORKER {
            // The same, once it is down.
            return self.init.ask(&Request::Stop(uid));
        }
        self.attach(uid, fds)?;
        self.packages_adopted(uid)
    }

    /// Starts a box of the system, in safe mode too, or looks after the one that `init` kept.
    fn system_box(&mut self, id: &str) -> io::Result<()> {
        let plan = match system::load(&self.config.system, id) {
            Ok(loaded) => {
                // The door is nobody on the bus before it is opened.
                if id != system::DOOR || self.apps.contains_key(&loaded.uid) {
                    self.bus_party(loaded.uid, &loaded.plan);
                }
                Some(loaded.plan)
            }
            // Installing it says what is wrong.
            Err(_) => None,
        };
        let Some(uid) = system::uid(id).filter(|uid| self.apps.contains_key(uid)) else {
            if id == system::WORKER {
                self.worker_rests();
            } else if plan.and_then(|plan| plan.system).is_some_and(|grant| grant.on_demand) {
                self.on_demand.push(id.to_owned());
            } else {
                self.install_system(id);
            }
            return Ok(());
        };
        // The worker is being stopped, to be built anew.
        if let Some(plan) = plan.filter(|_| id != system::WORKER) {
            self.take_up(uid, &plan)?;
        }
        match self.apps.get_mut(&uid).and_then(App::take_control) {
            Some(socket) if id == system::ROUTER => self.bus_router(socket, false),
            Some(socket) if id == system::DESK => self.desk_opened(socket, false),
            Some(socket) if id == system::NETD => self.net_opened(socket, false),
            Some(socket) if id == system::ATTESTD => self.attest_opened(socket, false),
            Some(socket) if id == system::UPDATED => self.update_opened(socket, false),
            _ => Ok(()),
        }
    }

    /// Gives every app of the store its uid and has its manifest read; those that run already come first.
    fn queue_apps(&mut self, store: &BTreeSet<String>, registry: &mut Registry) {
        let path = self.config.data.join("gabion/identity");
        let mut known = Vec::new();
        let mut fresh = false;
        for id in store {
            match registry.assign(id) {
                Ok((uid, new)) => {
                    fresh |= new;
                    known.push((uid, id));
                }
                Err(e) => problem(id, &cause(&e), "remove apps that are not needed"),
            }
        }
        // A uid is used only once it is on disk for good.
        let stored = if fresh { registry.store(&path) } else { Ok(()) };
        if let Err(e) = stored {
            let help = "no app is started, because no uid can be recorded; free space on the data partition";
            problem("device", &cause(&e), help);
            return;
        }
        known.sort_by_key(|(uid, _)| !self.apps.contains_key(uid));
        let logs = self.config.data.join("logs");
        for (uid, id) in known {
            let cgroups: &Path = &self.config.cgroups;
            self.apps.entry(uid).or_insert_with(|| App::new(uid, id, false, cgroups, Some(&logs)));
            if !self.is_built_again(uid) {
                self.worker.unread.push_back(uid);
            }
        }
    }
}

fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
