//! Apps that come by updates: which of their packages count, what updated is told of apps, and what it may ask for.
//!
//! Invariants: what counts is what the ledger on the disk names; where that can not be read nothing of it is used, changed or
//! removed, and the image's own apps run. What updated says is held to what is there: an app's id and version are those of
//! the manifest that the worker has read. One installation is under way or on trial at a time.
//!
//! [`switch`](super::switch) installs; [`trial`](super::trial) waits for what was installed to show that it runs, and takes it
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use bus::update_link::{self, ToUpdated};
use policy::{AppId, Version};
use sys::bundle::{Next, Request};

use super::Daemon;
use super::switch::Switch;
use super::trial::{Back, Trial};
use crate::app::{App, State};
use crate::console::{problem, say};
use crate::packages::ledger::{Ledger, Outcome, Package};
use crate::packages::place::{Incoming, Packages, PackagesError};
use crate::registry::Registry;
use crate::storage;
use crate::updatefiles::plain;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Installs {
    /// None without storage, or where the ledger can not be read.
    pub(super) packages: Option<Packages>,
    /// Which uid is whose; none before apps are known.
    pub(super) identity: Option<Registry>,
    pub(super) switch: Option<Switch>,
    pub(super) trial: Option<Trial>,
    pub(super) back: Option<Back>,
    /// Numbers of installations, so that an answer about one is none about the next.
    pub(super) serial: u32,
    /// Boxes that are to end, because what comes after has their place.
    ending: BTreeSet<u32>,
    /// Of those, the ones that are built again from what counts once they have.
    again: BTreeSet<u32>,
    /// Apps that are removed once they have ended.
    leaving: BTreeMap<u32, String>,
    /// What updated knows of each.
    told: BTreeMap<u32, update_link::App>,
    /// It may be something else by now.
    news: bool,
}

impl Installs {
    /// There is something to do at once, or at a time.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let ended = |uid: &u32| !self.ending.contains(uid);
        let back = self.back.as_ref().is_some_and(|back| back.uids().iter().all(ended));
        if self.news || back || self.again.iter().any(ended) || self.leaving.keys().any(ended) {
            return Some(0);
        }
        let switch = self.switch.as_ref().and_then(Switch::deadline_ms);
        let trial = self.trial.as_ref().and_then(Trial::deadline_ms);
        switch.into_iter().chain(trial).min()
    }

    /// An installation is under way, on trial, or on its way back; or an app is removed.
    pub(super) fn is_busy(&self) -> bool {
        self.switch.is_some() || self.trial.is_some() || self.back.is_some() || !self.leaving.is_empty()
    }

    /// The ledger, if there is one to go by.
    pub(super) fn ledger(&self) -> Option<&Ledger> {
        self.packages.as_ref().map(Packages::ledger)
    }

    /// Makes this the ledger that counts.
    pub(super) fn change(&mut self, ledger: Ledger) -> io::Result<()> {
        match &mut self.packages {
            Some(packages) => packages.change(ledger),
            None => Err(io::Error::other("there is no ledger of installed packages")),
        }
    }

    /// Whether no box has yet to be built again.
    pub(super) fn none_again(&self) -> bool {
        self.again.is_empty()
    }

    /// Whether a box has yet to end.
    pub(super) fn is_ending(&self, uid: u32) -> bool {
        self.ending.contains(&uid)
    }
}

impl Daemon {
    /// The storage is open: finds out which packages count. A trial that was cut short is begun again.
    pub(super) fn packages_open(&mut self) {
        let opened = Packages::open(&self.config.data).and_then(|packages| {
            let ready = packages.ready(self.config.quota);
            ready.map_err(|e| PackagesError::Io("make the place for packages", e)).map(|()| packages)
        });
        match opened {
            Ok(packages) => self.installs.packages = Some(packages),
            Err(e) => {
                let help = "the image's own apps are used, and nothing is installed or removed; restore \
                            data/gabion/installed, or remove data/gabion/packages to go on without them";
                return problem("device", &e.to_string(), help);
            }
        }
        if !self.config.safe_mode {
            self.trial_goes_on();
        }
        self.packages_clean();
    }

    /// Removes what the ledger does not name.
    pub(super) fn packages_clean(&self) {
        if let Some(Err(e)) = self.installs.packages.as_ref().map(Packages::clean) {
            problem("device", &format!("can not remove old packages: {e}"), "check the disk");
        }
        if let Err(e) = self.forget_mounts() {
            say(format_args!("can not unmount old packages: {e}"));
        }
    }

    /// Unmounts images and removes sockets of what neither counts nor may count again.
    fn forget_mounts(&self) -> io::Result<()> {
        let Some(ledger) = self.installs.ledger() else { return Ok(()) };
        let stays = |id: &str, number: Option<u64>| match number {
            Some(number) => ledger.names(id, number),
            None => {
                let before = ledger.trial().and_then(|trial| trial.before.get(id));
                ledger.package(id).is_none() || before.is_some_and(Option::is_none)
            }
        };
        for (name, path) in entries(&self.config.runtime.join("images"))? {
            let (id, number) = labelled(&name);
            if !stays(id, number) {
                if storage::is_mounted(&path) {
                    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
                    sys::mount::detach(&path)?;
                }
                std::fs::remove_dir(&path)?;
            }
        }
        for (name, path) in entries(&self.config.runtime.join("boxes"))? {
            let (uid, number) = labelled(&name);
            let app = uid.parse().ok().and_then(|uid| self.apps.get(&uid)).filter(|app| !app.system);
            if app.is_some_and(|app| !stays(&app.id, number)) {
                std::fs::remove_dir_all(&path)?;
            }
        }
        Ok(())
    }

    /// The directory with the app's manifest and files: its package's, or the image's.
    pub(super) fn app_dir(&self, id: &str) -> PathBuf {
        let package = self.installs.packages.as_ref().and_then(|packages| packages.directory(id));
        package.unwrap_or_else(|| self.config.apps.join(id))
    }

    /// The package of the app that counts.
    pub(super) fn ledger_package(&self, id: &str) -> Option<Package> {
        self.installs.ledger()?.package(id)
    }

    /// Its number; `None` for the image's own app.
    pub(super) fn package_number(&self, id: &str) -> Option<u64> {
        self.ledger_package(id).map(|package| package.number)
    }

    /// The box of the app `id`.
    pub(super) fn uid_of(&self, id: &str) -> Option<u32> {
        self.apps.values().find(|app| app.id == id && !app.system).map(|app| app.uid)
    }

    /// A box that `init` kept is another's than what counts, or is on trial and down: one is built anew.
    pub(super) fn packages_adopted(&mut self, uid: u32) -> io::Result<()> {
        let Some(app) = self.apps.get(&uid).filter(|app| !app.system) else { return Ok(()) };
        let on_trial = self.installs.trial.as_ref().is_some_and(|trial| trial.is_of(&app.id));
        if app.package != self.package_number(&app.id) || on_trial && app.pid().is_none() {
            self.packages_again(uid)?;
        }
        Ok(())
    }

    /// The box is built again from what counts, once it has ended.
    pub(super) fn packages_again(&mut self, uid: u32) -> io::Result<()> {
        self.installs.again.insert(uid);
        self.packages_end(uid)
    }

    /// Whether the box is built anew once it has ended, and not before.
    pub(super) fn is_built_again(&self, uid: u32) -> bool {
        self.installs.again.contains(&uid)
    }

    /// The box is to end and to stay down.
    pub(super) fn packages_end(&mut self, uid: u32) -> io::Result<()> {
        self.worker.images.remove(&uid);
        self.worker.queue.forget(|queued| queued == uid);
        let waits = self.waiting.remove(&uid);
        let Some(app) = self.apps.get_mut(&uid) else { return Ok(()) };
        match app.state {
            State::Starting if waits => app.state = State::Down(Next::Stopped),
            State::Up { .. } | State::Starting => {
                self.installs.ending.insert(uid);
                self.init.ask(&Request::Stop(uid))?;
            }
            State::Down(Next::Restart(_) | Next::Backoff(_)) => {
                self.installs.ending.insert(uid);
                self.packages_end_surely(uid)?;
            }
            State::Down(Next::Stopped) | State::Reading | State::Problem => {}
        }
        Ok(())
    }

    /// `init` may be about to launch it, or have done so just now. After the first request it does not; the second it answers
    /// in any case: with the box's end, or with the word that there is nothing to kill.
    fn packages_end_surely(&self, uid: u32) -> io::Result<()> {
        self.init.ask(&Request::Stop(uid))?;
        self.init.ask(&Request::Kill(uid))
    }

    /// The box ended; `next` is what `init` does.
    pub(super) fn packages_ended(&mut self, uid: u32, next: Next) -> io::Result<()> {
        if !self.installs.is_ending(uid) {
            return Ok(());
        }
        if next != Next::Stopped {
            return self.packages_end_surely(uid);
        }
        self.installs.ending.remove(&uid);
        Ok(())
    }

    /// `init` can not do as asked: of a box that is to end, there is nothing that runs. False for any other.
    pub(super) fn packages_nothing_to_end(&mut self, uid: u32) -> bool {
        let Some(app) = self.apps.get_mut(&uid).filter(|app| app.pid().is_none()) else { return false };
        let is_ending = self.installs.ending.remove(&uid);
        if is_ending {
            app.state = State::Down(Next::Stopped);
        }
        is_ending
    }

    /// Does what is due.
    pub(super) fn packages_tick(&mut self, now: u64) -> io::Result<()> {
        self.switch_tick(now)?;
        self.trial_tick(now)?;
        let ended = |uid: &u32| !self.installs.ending.contains(uid);
        let again: Vec<u32> = self.installs.again.iter().copied().filter(ended).collect();
        let leaving: Vec<u32> = self.installs.leaving.keys().copied().filter(ended).collect();
        for uid in again {
            self.installs.again.remove(&uid);
            self.build_again(uid);
        }
        for uid in leaving {
            if let Some(id) = self.installs.leaving.remove(&uid) {
                self.leave(uid, &id)?;
            }
        }
        self.developer_tick()?;
        if std::mem::take(&mut self.installs.news) {
            self.packages_tell();
        }
        Ok(())
    }

    /// Builds the box from what counts, as at the start.
    pub(super) fn build_again(&mut self, uid: u32) {
        self.detach(uid);
        self.net_release(uid);
        self.holders.release(uid);
        if let Some(app) = self.apps.get_mut(&uid) {
            app.state = State::Reading;
            app.problem = None;
            self.worker.unread.retain(|unread| *unread != uid);
            self.worker.unread.push_back(uid);
        }
    }

    /// Whether the app is held by what is being installed, taken back or removed: nobody starts or stops it meanwhile.
    pub(super) fn packages_hold(&self, uid: u32) -> bool {
        let installs = &self.installs;
        installs.ending.contains(&uid)
            || installs.again.contains(&uid)
            || installs.leaving.contains_key(&uid)
            || self.developer.is_leaving(uid)
            || installs.back.as_ref().is_some_and(|back| back.is_of(uid))
            || installs.switch.as_ref().is_some_and(|switch| switch.is_of_box(uid))
    }

    /// Something of an app that updated is told of may have changed.
    pub(super) fn packages_changed(&mut self) {
        self.installs.news = true;
    }

    /// Tells updated of every app: part of the state. With how the last installation ended, which may not have been heard.
    pub(super) fn packages_state(&mut self) {
        self.installs.told.clear();
        self.packages_tell();
        let Some(ledger) = self.installs.ledger() else { return };
        let message = match ledger.outcome() {
            Some(Outcome::Good) => Some(ToUpdated::Settled(None)),
            Some(Outcome::Back(why)) => Some(ToUpdated::Settled(Some(why.clone()))),
            None => ledger.trial().is_some().then_some(ToUpdated::Installed),
        };
        // While one is being taken back that is not over.
        if let Some(message) = message.filter(|_| self.installs.back.is_none()) {
            self.update_send(&message, Vec::new());
        }
    }

    fn packages_tell(&mut self) {
        let apps = self.apps.values().filter(|app| !app.system).map(|app| update_link::App {
            id: app.id.clone(),
            uid: app.uid,
            version: self.version_of(app),
            root_hash: app.root_hash.clone(),
            // What a developer has installed is none of its business.
            installed: self.package_number(&app.id).is_some() && !self.is_developed(&app.id),
            running: app.is_as_it_should(),
        });
        let now: BTreeMap<u32, update_link::App> = apps.map(|app| (app.uid, app)).collect();
        let before = std::mem::replace(&mut self.installs.told, now);
        for (uid, app) in &before {
            if !self.installs.told.contains_key(uid) {
                self.update_send(&ToUpdated::Gone(app.id.clone()), Vec::new());
            }
        }
        let changed = self.installs.told.iter().filter(|(uid, app)| before.get(uid) != Some(app));
        for app in changed.map(|(_, app)| app.clone()).collect::<Vec<_>>() {
            self.update_send(&ToUpdated::App(app), Vec::new());
        }
    }

    /// Empty while nobody knows it: its manifest is not read yet, or can not be.
    fn version_of(&self, app: &App) -> String {
        let installed = || self.ledger_package(&app.id).map(|package| package.version.to_string());
        app.version.clone().or_else(installed).unwrap_or_default()
    }

    /// updated wants to write this app's new image.
    pub(super) fn packages_incoming(&mut self, id: &str, version: &str, length: u64) {
        match self.outcome_was_heard().and_then(|()| self.incoming(id, version, length)) {
            Ok(files) => self.update_send(&ToUpdated::Incoming, files.into_iter().map(Into::into).collect()),
            Err(why) => self.update_refuse(&why),
        }
    }

    /// Nothing else is to come. What can not be removed is in the way of the next image, which says so.
    pub(super) fn packages_wanted(&self, images: &[(String, String)]) {
        let Some(packages) = &self.installs.packages else { return };
        let of = |(id, version): &(String, String)| Some((id.parse().ok()?, version.parse().ok()?));
        let images: Vec<(AppId, Version)> = images.iter().filter_map(of).collect();
        if let Err(e) = packages.retain_incoming(&images) {
            say(format_args!("can not remove images that are not wanted any more: {e}"));
        }
    }

    /// What is asked for is the next installation's: how the last one ended must never be taken for how this one did, whoever
    /// dies when.
    pub(super) fn outcome_was_heard(&mut self) -> Result<(), String> {
        let heard = self.installs.ledger().and_then(Ledger::heard).map(|after| self.installs.change(after));
        heard.unwrap_or(Ok(())).map_err(|e| format!("the ledger can not be written: {e}"))
    }

    fn incoming(&self, id: &str, version: &str, length: u64) -> Result<Vec<std::fs::File>, String> {
        let packages = self.installs.packages.as_ref().ok_or("there is no place for packages")?;
        let id: policy::AppId = id.parse().map_err(|e: policy::Invalid| e.message)?;
        let version = version.parse().map_err(|e: policy::Invalid| e.message)?;
        let mut files = vec![packages.incoming(&Incoming { id: id.clone(), version, length })?];
        let now = std::fs::File::open(self.app_dir(id.as_str()).join("root.img"));
        files.extend(now.ok());
        Ok(files)
    }

    /// This app is to be removed.
    pub(super) fn packages_remove(&mut self, id: &str) -> io::Result<()> {
        match self.removable(id) {
            Ok(ledger) => match self.installs.change(ledger) {
                Ok(()) => {
                    say(format_args!("event removing id={id}"));
                    if let Some(uid) = self.uid_of(id) {
                        self.installs.leaving.insert(uid, id.to_owned());
                        self.packages_end(uid)?;
                    }
                }
                Err(e) => self.update_refuse(&format!("the ledger can not be written: {e}")),
            },
            Err(why) => self.update_refuse(&why),
        }
        Ok(())
    }

    /// The ledger without this app.
    fn removable(&self, id: &str) -> Result<Ledger, String> {
        let ledger = self.installs.ledger().ok_or("there is no place for packages")?;
        if self.config.safe_mode {
            return Err("the device is in safe mode".to_owned());
        }
        let installs = &self.installs;
        if installs.switch.is_some()
            || installs.trial.is_some()
            || installs.back.is_some()
            || self.developer.is_busy()
        {
            return Err("an installation is under way".to_owned());
        }
        if ledger.is_developed(id) {
            return Err(format!("a developer has installed {id}: `gabion rm` removes it"));
        }
        let of_image = self.config.apps.join(id).symlink_metadata().is_ok();
        match ledger.removed(id) {
            // Without its package an older version would come back.
            Some(_) if of_image => {
                Err(format!("{id} is part of the image: it can be replaced and not removed"))
            }
            Some(_) if self.uid_of(id).is_none_or(|uid| self.packages_hold(uid)) => {
                Err(format!("{id} is busy"))
            }
            Some(after) => Ok(after),
            None if of_image => Err(format!("{id} is part of the image: it can be replaced and not removed")),
            None => Err(format!("{id} is not installed")),
        }
    }

    /// The app has ended and is no more: all of it goes.
    fn leave(&mut self, uid: u32, id: &str) -> io::Result<()> {
        self.forget_app(uid)?;
        self.packages_clean();
        self.packages_erase(id, uid);
        self.packages_changed();
        self.update_send(&ToUpdated::Installed, Vec::new());
        Ok(())
    }

    /// The app has no box any more.
    pub(super) fn forget_app(&mut self, uid: u32) -> io::Result<()> {
        let package = self.apps.get(&uid).and_then(|app| app.package);
        self.detach(uid);
        self.net_release(uid);
        self.holders.release(uid);
        self.attest_forget(uid);
        self.waiting.remove(&uid);
        self.init.ask(&Request::Remove(uid))?;
        self.bus_gone(uid);
        if let Some(app) = self.apps.remove(&uid) {
            // Nobody has a socket in there any more. What can fail here leaves some of tmpfs in use until the next boot.
            let _ = std::fs::remove_dir_all(self.run_place(uid, package));
            // Its last process is gone; where it is not empty the next box of this name finds it.
            let _ = app.group.remove();
        }
        self.desk_gone(uid);
        self.schedule.changed(sys::process::now_ms());
        Ok(())
    }

    /// Erases what a removed app had stored.
    fn packages_erase(&mut self, id: &str, uid: u32) {
        let erased = self.wipe_removed(id, uid).and_then(|()| {
            let after = self.installs.ledger().map(|ledger| ledger.erased(id));
            after.map_or(Ok(()), |after| self.installs.change(after))
        });
        if let Err(e) = erased {
            problem(id, &format!("its data can not be erased: {e}"), "it is tried again at the next start");
        }
    }

    /// At the start: goes on with what a cut left of removals.
    pub(super) fn packages_erase_left(&mut self) {
        let gone: Vec<String> =
            self.installs.ledger().into_iter().flat_map(Ledger::gone).map(str::to_owned).collect();
        for id in gone {
            match self.installs.identity.as_ref().and_then(|identity| identity.uid(&id)) {
                Some(uid) if self.uid_of(&id).is_none() => self.packages_erase(&id, uid),
                // The image has it, too: its data is what that goes on with.
                _ => {
                    let after = self.installs.ledger().map(|ledger| ledger.erased(&id));
                    if let Some(Err(e)) = after.map(|after| self.installs.change(after)) {
                        say(format_args!("the ledger can not be written: {e}"));
                    }
                }
            }
        }
    }

    /// Says on the console why something was not installed or went back, and in what form updated is told.
    pub(super) fn packages_say(what: &str, why: &str) -> String {
        let why = plain(why);
        say(format_args!("event {what} reason=\"{why}\""));
        why
    }
}

/// What a name made by `label` was made of.
fn labelled(name: &str) -> (&str, Option<u64>) {
    match name.split_once('@') {
        Some((of, number)) => (of, number.parse().ok()),
        None => (name, None),
    }
}

fn entries(dir: &std::path::Path) -> io::Result<Vec<(String, PathBuf)>> {
    match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?
            .map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())))
            .collect(),
    }
}
