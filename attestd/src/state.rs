//! What the parts of the daemon share. One thread, so cells.

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use bus::attest_link::{FromAttestd, ToAttestd};
use bus_tokio::Link;
use tokio::sync::Notify;

use crate::config::Service;
use crate::identity::Identity;
use crate::kept::Kept;
use crate::packages::Packages;
use crate::reports::Reports;

/// See the module.
pub struct State {
    /// The link to sandboxd.
    pub link: Link<ToAttestd, FromAttestd>,
    /// The TPM.
    pub identity: Identity,
    /// Who the service says we are.
    pub kept: RefCell<Kept>,
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
    /// What the service should hear of.
    pub reports: RefCell<Reports>,
    /// Why the last round failed; empty when none did.
    pub failure: RefCell<String>,
    /// Something changed that a round is for.
    pub wake: Notify,
}

impl State {
    /// Knowing nothing.
    pub fn new(link: Link<ToAttestd, FromAttestd>, identity: Identity) -> Self {
        Self {
            link,
            identity,
            kept: RefCell::default(),
            service: RefCell::default(),
            name_server: Cell::new(Ipv4Addr::LOCALHOST),
            boot_log: RefCell::default(),
            packages: RefCell::default(),
            apps: RefCell::default(),
            reports: RefCell::default(),
            failure: RefCell::default(),
            wake: Notify::new(),
        }
    }

    /// Why an app has no certificate now, for people.
    pub fn why_none(&self) -> String {
        if self.service.borrow().is_none() {
            return "the device belongs to no service: it has no service.toml".to_owned();
        }
        match self.failure.borrow().as_str() {
            "" => "the service was not asked yet".to_owned(),
            failure => failure.to_owned(),
        }
    }
}

/// The wall clock, seconds since 1970-01-01 UTC.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
