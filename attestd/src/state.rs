//! What the parts of the daemon share. One thread, so cells.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use bus::attest_link::{FromAttestd, ToAttestd};
use bus_tokio::Link;
use tokio::sync::Notify;

use crate::developer::Mode;
use crate::escrow::Escrow;
use crate::identity::Identity;
use crate::kept::Kept;
use crate::packages::Packages;
use crate::reports::Reports;
use contact::config::Service;

/// Why there is never a certificate.
pub const NO_SERVICE: &str = "the device belongs to no service: it has no service.toml";

/// How old the list of what was revoked may be when an app asks for it, milliseconds; then it is fetched anew.
const REVOKED_MS: u64 = 15 * 60 * 1000;

/// See the module.
pub struct State {
    /// The link to sandboxd.
    pub link: Link<ToAttestd, FromAttestd>,
    /// The TPM.
    pub identity: Identity,
    /// Who the service says we are.
    pub kept: RefCell<Kept>,
    /// The number of the system that runs: what is older is too old, once this one is known to be good.
    pub system: Cell<u32>,
    /// Which service; `None` when nobody configured one.
    pub service: RefCell<Option<Service>>,
    /// Our name server.
    pub name_server: Cell<Ipv4Addr>,
    /// The firmware's event log.
    pub boot_log: RefCell<Vec<u8>>,
    /// The log of packages.
    pub packages: RefCell<Packages>,
    /// Apps that get a certificate: id and uid.
    pub apps: RefCell<Vec<(String, u32)>>,
    /// Which release of the system runs.
    pub release: RefCell<String>,
    /// What the service should hear of.
    pub reports: RefCell<Reports>,
    /// A recovery key that is under way.
    pub escrow: RefCell<Escrow>,
    /// Why the last round failed, line by line; empty when none did.
    pub failure: RefCell<Vec<String>>,
    /// Developer mode.
    pub mode: Mode,
    /// There is something to do.
    pub wake: Notify,
    /// And it takes a round.
    pub due: Cell<bool>,
    /// A round went well since the device booted, or since we were started.
    pub attested: Cell<bool>,
    /// When the service was last asked what was revoked, milliseconds of the monotonic clock; 0 for never.
    pub revoked_ms: Cell<u64>,
}

impl State {
    /// Knowing nothing.
    pub fn new(link: Link<ToAttestd, FromAttestd>, identity: Identity) -> Self {
        Self {
            link,
            identity,
            kept: RefCell::default(),
            system: Cell::new(0),
            service: RefCell::default(),
            name_server: Cell::new(Ipv4Addr::LOCALHOST),
            boot_log: RefCell::default(),
            packages: RefCell::default(),
            apps: RefCell::default(),
            release: RefCell::default(),
            reports: RefCell::default(),
            escrow: RefCell::default(),
            failure: RefCell::default(),
            mode: Mode::default(),
            wake: Notify::new(),
            due: Cell::new(false),
            attested: Cell::new(false),
            revoked_ms: Cell::new(0),
        }
    }

    /// Why an app has no certificate now, for people.
    pub fn why_none(&self) -> String {
        if self.service.borrow().is_none() {
            return NO_SERVICE.to_owned();
        }
        match self.failure.borrow().first() {
            None => "the service was not asked yet".to_owned(),
            Some(failure) => failure.to_owned(),
        }
    }

    /// Whether what was revoked is to be asked for again, since an app wants to know.
    pub fn revoked_is_old(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.revoked_ms.get()) >= REVOKED_MS
    }

    /// Something changed that a round is for.
    pub fn round_is_due(&self) {
        self.due.set(true);
        self.wake.notify_one();
    }
}

/// The wall clock, seconds since 1970-01-01 UTC.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
