//! What the parts of the daemon share. One thread, so cells.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use bus::update_link::{App, FromUpdated, System};
use contact::config::Service;
use contact::http::printable;
use tokio::sync::Notify;

use crate::carried::Carried;
use crate::connect::{Identity, Way};
use crate::kept::{Disk, Kept};
use crate::link::Desk;
use crate::notices::Notices;
use crate::settings::Settings;

/// The clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Seconds since 1970.
    pub wall_s: fn() -> u64,
    /// Milliseconds since the device booted.
    pub boot_ms: fn() -> u64,
}

impl Clock {
    /// The kernel's.
    pub fn of_kernel() -> Self {
        let wall_s = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { wall_s, boot_ms: sys::process::now_ms }
    }
}

/// What sandboxd has told.
#[derive(Debug)]
pub struct Facts {
    /// All of it was.
    pub synced: bool,
    /// The system; none on a device whose disk has no slots.
    pub system: Option<System>,
    /// Apps by their ids.
    pub apps: BTreeMap<String, App>,
    /// The clock is set.
    pub clock: bool,
    /// The service has been shown what booted.
    pub attested: bool,
    /// Which service; none if nobody configured one.
    pub service: Option<Service>,
    /// Our name server.
    pub name_server: Ipv4Addr,
    /// `update.toml`; none if there is none, or it has a fault, which was said.
    pub settings: Option<Settings>,
    /// The repository's first root.
    pub trust: Option<Vec<u8>>,
    /// Apps that were installed together are on trial, as it was when sandboxd told everything.
    pub on_trial: bool,
    /// What was carried here, on a disk.
    pub carried: Option<Carried>,
    /// How trials of apps ended.
    pub settled: Vec<Option<String>>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            synced: false,
            system: None,
            apps: BTreeMap::new(),
            clock: false,
            attested: false,
            service: None,
            name_server: Ipv4Addr::LOCALHOST,
            settings: None,
            trust: None,
            on_trial: false,
            carried: None,
            settled: Vec::new(),
        }
    }
}

/// See the module.
pub struct State {
    /// The link to sandboxd.
    pub desk: Desk,
    /// What is kept, and where.
    pub disk: Disk,
    /// The same in memory.
    pub kept: RefCell<Kept>,
    /// Who we are to the service.
    pub identity: Identity,
    /// The clocks.
    pub clock: Clock,
    /// What sandboxd has told.
    pub facts: RefCell<Facts>,
    /// What is told on the bus.
    pub notices: Notices,
    /// Something changed: look again.
    pub wake: Notify,
    /// What is being fetched may not be wanted any more.
    pub interrupt: Notify,
    /// sandboxd was started anew, and has forgotten what it was asked for.
    pub anew: Cell<bool>,
    /// The service is to be asked at once.
    pub check_now: Cell<bool>,
    /// The owner has asked: what failed is tried again, once.
    pub forgives: Cell<bool>,
    /// And a network that costs money is used.
    pub insists: Cell<bool>,
}

impl State {
    /// Knowing what is kept.
    pub fn new(desk: Desk, disk: Disk, identity: Identity, clock: Clock) -> Self {
        let kept = RefCell::new(disk.load());
        Self {
            desk,
            disk,
            kept,
            identity,
            clock,
            facts: RefCell::default(),
            notices: Notices::default(),
            wake: Notify::new(),
            interrupt: Notify::new(),
            anew: Cell::new(false),
            check_now: Cell::new(false),
            forgives: Cell::new(false),
            insists: Cell::new(false),
        }
    }

    /// The wall clock.
    pub fn now_s(&self) -> u64 {
        (self.clock.wall_s)()
    }

    /// The way to the service, when it can be gone: it is known, and so is the time.
    pub fn way(&self) -> Option<Way> {
        let facts = self.facts.borrow();
        let ready = facts.synced && facts.clock && facts.settings.is_some();
        let service = facts.service.clone().filter(|_| ready)?;
        Some(Way { service, name_server: facts.name_server, identity: self.identity.clone() })
    }

    /// Says something to people.
    pub fn say(&self, text: &str) {
        self.desk.tell(&FromUpdated::Say(printable(text)));
    }

    /// Changes what is kept, and brings it to the disk.
    pub fn keep<R>(&self, change: impl FnOnce(&mut Kept) -> R) -> R {
        let mut kept = self.kept.borrow_mut();
        let changed = change(&mut kept);
        if let Err(e) = self.disk.store(&kept) {
            self.say(&format!("what is known of updates can not be kept: {e}"));
        }
        changed
    }

    /// The same where nothing is to come of it unless it is on the disk: it is as before otherwise.
    ///
    /// # Errors
    /// The disk.
    pub fn keep_surely(&self, change: impl FnOnce(&mut Kept)) -> std::io::Result<()> {
        let mut kept = self.kept.borrow_mut();
        let mut changed = kept.clone();
        change(&mut changed);
        self.disk.store(&changed)?;
        *kept = changed;
        Ok(())
    }

    /// The service should be asked, and what is being fetched looked at again.
    pub fn check_is_due(&self) {
        self.check_now.set(true);
        self.interrupt.notify_one();
        self.wake.notify_one();
    }
}
