//! Our side of updates: what `updated` is told, and what it asks for.
//!
//! Invariants: updated is started once there is storage. What it says is believed in its form and no further: what protects
//! the device whatever it says is in `update_system` and `packages`. It may die at any time: the next one is told everything
//! again, and hears no answer to what the one before had asked.

use std::io;
use std::os::fd::OwnedFd;

use bus::attest_link::ToAttestd;
use bus::network_link::Grants;
use bus::update_link::{FromUpdated, ToUpdated};
use policy::HostPort;

use super::Daemon;
use super::update_disk::Disks;
use super::update_system::Running;
use crate::outbox::Outbox;
use crate::poller::Ready;
use crate::{attestfiles, console, system, updatefiles};

/// Messages read before others have their turn.
const AT_ONCE: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Update {
    outbox: Outbox,
    /// It said `Hello`, or did to the sandboxd before us.
    greeted: bool,
    /// attestd had a good round with the service.
    attested: bool,
    /// Disks that are put in.
    pub(super) disks: Disks,
    /// What runs, on a disk with slots.
    pub(super) running: Option<Running>,
}

impl Update {
    /// On this disk.
    pub(super) fn of(running: Option<Running>) -> Self {
        Self { running, ..Self::default() }
    }

    /// When to try again to send.
    pub(super) fn outbox_ms(&self) -> Option<u64> {
        self.outbox.deadline_ms()
    }

    /// The next time something is due.
    pub(super) fn deadline_ms(&self, safe_mode: bool) -> Option<u64> {
        let trial = self.running.as_ref().and_then(|running| running.deadline_ms(safe_mode));
        let disks = self.greeted.then(|| self.disks.deadline_ms()).flatten();
        [self.outbox_ms(), trial, disks].into_iter().flatten().min()
    }

    /// Whoever is there has been told everything.
    pub(super) fn is_greeted(&self) -> bool {
        self.greeted
    }
}

impl Daemon {
    /// updated is started once there is storage, on devices that are updated; on others when somebody uses it.
    pub(super) fn update_wanted(&mut self) {
        let on_trial = self.update.running.as_ref().is_some_and(Running::is_on_trial);
        if !on_trial && !updatefiles::is_updated(&self.config) {
            return;
        }
        if let Some(at) = self.on_demand.iter().position(|id| id == system::UPDATED) {
            let id = self.on_demand.remove(at);
            self.install_system(&id);
        }
    }

    /// Takes the socket to updated; `fresh` when we started it, and it will say `Hello`.
    pub(super) fn update_opened(&mut self, socket: OwnedFd, fresh: bool) -> io::Result<()> {
        self.poller.watch(&socket, Ready::Updated)?;
        self.update.outbox.open(socket);
        self.update.greeted = false;
        if !fresh {
            self.update_state();
        }
        Ok(())
    }

    /// Tells everything from the beginning.
    fn update_state(&mut self) {
        self.update.outbox.clear();
        self.update.greeted = true;
        self.update.running.iter_mut().for_each(Running::anew);
        self.update.disks.anew();
        self.update_send(&ToUpdated::Sync, Vec::new());
        if let Some(settings) = updatefiles::given(&self.config, updatefiles::SETTINGS) {
            self.update_send(&ToUpdated::Config, vec![settings]);
        }
        if let Some(root) = updatefiles::given(&self.config, updatefiles::TRUST) {
            self.update_send(&ToUpdated::Trust, vec![root]);
        }
        if let Some(server) = system::uid(system::UPDATED).and_then(firewall::tables::name_server) {
            let text = attestfiles::service(&self.config);
            self.update_send(&ToUpdated::Service(text, server), Vec::new());
        }
        self.update_tell_system();
        self.packages_state();
        if self.attest.clock_set {
            self.update_send(&ToUpdated::ClockSet, Vec::new());
        }
        if self.update.attested {
            self.update_send(&ToUpdated::Attested, Vec::new());
        }
        self.update_send(&ToUpdated::SyncEnd, Vec::new());
        self.update_sent_again();
    }

    /// Before updated's `Hello` nothing is queued: that gets the whole state.
    pub(super) fn update_send(&mut self, message: &ToUpdated, fds: Vec<OwnedFd>) {
        if self.update.greeted {
            self.update.outbox.push(message.encode(), fds);
        }
    }

    pub(super) fn update_flush(&mut self) {
        self.update.outbox.flush();
    }

    /// Answers what updated asked for last: not done, and why.
    pub(super) fn update_refuse(&mut self, why: &str) {
        self.update_send(&ToUpdated::Refused(updatefiles::plain(why)), Vec::new());
    }

    /// The clock is set.
    pub(super) fn update_clock(&mut self) {
        self.update_send(&ToUpdated::ClockSet, Vec::new());
    }

    /// A round with the service went well.
    pub(super) fn update_attested(&mut self) {
        if !std::mem::replace(&mut self.update.attested, true) {
            self.update_send(&ToUpdated::Attested, Vec::new());
        }
    }

    /// Takes what updated says.
    pub(super) fn update_messages(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Some((bytes, fds)) = self.update.outbox.receive() else { return Ok(()) };
            match FromUpdated::decode(&bytes) {
                Some(FromUpdated::Hello) => self.update_state(),
                Some(FromUpdated::Say(text)) => console::say(format_args!("event update: {text}")),
                Some(FromUpdated::Permit(id)) => self.attest_send(&ToAttestd::Permit(id), Vec::new()),
                Some(FromUpdated::Reach(addresses)) => self.update_reach(&addresses),
                Some(FromUpdated::Incoming(id, version, bytes)) => {
                    self.packages_incoming(&id, &version, bytes);
                }
                Some(FromUpdated::Install(packages, trial_s)) => {
                    self.packages_install(packages, fds, trial_s)?;
                }
                Some(FromUpdated::Remove(id)) => self.packages_remove(&id)?,
                Some(FromUpdated::Back(id)) => self.trial_back_wanted(&id)?,
                Some(FromUpdated::CarriedEnd) => self.update_sent_gone(),
                Some(FromUpdated::Disks) => self.update_takes_disks(),
                Some(FromUpdated::Wanted(images)) => self.packages_wanted(&images),
                Some(message) => self.update_system(message, fds),
                None => console::say("event updated-nonsense: updated sent what is no message"),
            }
        }
        Ok(())
    }

    /// updated's own way out: to the service and the repository, and to nobody else.
    fn update_reach(&mut self, addresses: &[String]) {
        let Some(uid) = system::uid(system::UPDATED) else { return };
        let to: Vec<HostPort> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
        let grants = Grants {
            uid,
            id: system::UPDATED.to_owned(),
            connect: to.iter().map(ToString::to_string).collect(),
            // Whoever runs a service may run it at home.
            private: to.iter().filter(|to| to.host().is_name()).map(|to| to.host().to_string()).collect(),
            ..Grants::default()
        };
        self.net_grants(grants);
    }
}
