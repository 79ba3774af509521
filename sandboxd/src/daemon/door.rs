//! Developer mode on a device in production: whom attestd says that a permit lets in, and the box that lets him in.
//!
//! Invariants: there is a door only while attestd says that there is a permit, and it is a new one for each developer; without, there
//! is neither a process nor a port, nor a party on the bus that could be anything. What attestd says is believed in its form and no
//! further: who takes it over can let developers in, who may do what the manifest of the door names. It is not believed to know
//! before it says so: what developers installed is removed by its word, never by its silence.

use std::io;

use bus::attest_link::Developer;
use bus::devport::DOOR_PORT;
use bus::network_link::Grants;
use policy::Port;

use super::Daemon;
use crate::{console, system};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Whom attestd named last; `None` until it has said anything.
    told: Option<Option<Developer>>,
    /// The door ends, for good or for another.
    closing: bool,
}

impl Door {
    /// What attestd said last of who may; `None` until it has said anything.
    pub(super) fn told(&self) -> Option<Option<&Developer>> {
        self.told.as_ref().map(Option::as_ref)
    }

    /// Who may put apps onto this device now.
    pub(super) fn developer(&self) -> Option<&Developer> {
        self.told.as_ref().and_then(Option::as_ref)
    }
}

impl Daemon {
    /// attestd says who may put apps onto this device, from now on.
    pub(super) fn door_told(&mut self, developer: Option<Developer>) -> io::Result<()> {
        if self.door.told.as_ref() == Some(&developer) {
            return Ok(());
        }
        self.door.told = Some(developer);
        self.developer_told()?;
        // What was there before is another's, or was left by a sandboxd that did not tell us whose it is.
        self.door_close()?;
        self.door_tick()?;
        // What stays of what developers installed may start now.
        for uid in self.waiting.clone() {
            self.launch_if_it_waits(uid)?;
        }
        Ok(())
    }

    /// Whether the box may not be launched yet: it is a developer's, and nobody has said whether one is let in. What is not to stay
    /// never starts.
    pub(super) fn door_must_wait(&self, uid: u32) -> bool {
        let developed = || self.apps.get(&uid).is_some_and(|app| !app.system && self.is_developed(&app.id));
        self.door.told.is_none() && !self.config.developer && developed()
    }

    /// Opens the door once the one before it has ended.
    pub(super) fn door_tick(&mut self) -> io::Result<()> {
        let Some(uid) = system::uid(system::DOOR) else { return Ok(()) };
        if self.door.closing {
            if self.installs.is_ending(uid) {
                return Ok(());
            }
            self.door.closing = false;
            self.forget_app(uid)?;
            self.on_demand.push(system::DOOR.to_owned());
            console::say("event door closed");
        }
        if self.door.developer().is_some() {
            self.door_open(uid);
        }
        Ok(())
    }

    fn door_close(&mut self) -> io::Result<()> {
        match system::uid(system::DOOR).filter(|uid| self.apps.contains_key(uid)) {
            Some(uid) if !self.door.closing => {
                self.door.closing = true;
                self.packages_end(uid)
            }
            _ => Ok(()),
        }
    }

    fn door_open(&mut self, uid: u32) {
        // It is open, or this image has none.
        let Some(at) = self.on_demand.iter().position(|id| id == system::DOOR) else { return };
        if self.config.safe_mode || self.locked || !self.bus.grants.is_complete() {
            return;
        }
        let port = format!("{DOOR_PORT}/tcp");
        let Ok(number) = port.parse::<Port>() else { return };
        if let Some(holder) = self.net_serve(number, uid) {
            let help = "a port belongs to one app: remove it from that app's manifest";
            return console::problem(
                system::DOOR,
                &format!("port {port} is served by {holder} already"),
                help,
            );
        }
        let id = self.on_demand.remove(at);
        self.net_grants(Grants { uid, id: id.clone(), listen: vec![port], ..Grants::default() });
        self.install_system(&id);
        // What it uses may have waited for somebody who does.
        self.bus_start_used();
        console::say(format_args!("event door open port={DOOR_PORT}"));
    }
}
