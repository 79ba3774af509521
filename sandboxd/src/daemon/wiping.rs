//! Erasing what apps have stored, between everything else: those that are installed, and those that are gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use sys::bundle::{Next, Request};
use sys::quota;

use super::Daemon;
use super::developer::storage_of;
use crate::app::State;
use crate::console::{problem, say};
use crate::registry::Registry;
use crate::storage::Quota;
use crate::wipe::Wiped;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Wiping {
    /// None without storage.
    wiped: Option<Wiped>,
    /// Installed apps that are being wiped, and whether they have ended.
    under_way: BTreeMap<u32, (String, bool)>,
    /// Apps that are not in the store and have data, with their uids.
    left: BTreeMap<String, u32>,
}

impl Wiping {
    /// The app is being wiped and must not be started.
    pub(super) fn is_under_way(&self, uid: u32) -> bool {
        self.under_way.contains_key(&uid)
    }

    /// There is something to do at once.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let ended = self.under_way.values().any(|(_, ended)| *ended);
        (ended || self.wiped.as_ref().is_some_and(Wiped::has_work)).then_some(0)
    }

    /// The app is to be wiped once it has ended. On disk before it is answered: nothing forgets it.
    pub(super) fn note(&mut self, uid: u32, id: &str) -> io::Result<()> {
        let wiped = self.wiped.as_ref().ok_or_else(|| io::Error::other("there is no storage"))?;
        wiped.note(self.under_way.values().map(|(id, _)| id.as_str()).chain([id]))?;
        self.under_way.insert(uid, (id.to_owned(), false));
        Ok(())
    }

    /// Nothing of the app runs.
    pub(super) fn may_begin(&mut self, uid: u32) {
        if let Some((_, ended)) = self.under_way.get_mut(&uid) {
            *ended = true;
        }
    }
}

impl Daemon {
    /// At the start: goes on where it was cut short, and says which apps are gone but for their data.
    pub(super) fn wiping_begins(
        &mut self,
        registry: &Registry,
        store: &std::collections::BTreeSet<String>,
    ) -> io::Result<()> {
        let mut wiped = match Wiped::open(&self.config.data) {
            Ok(wiped) => wiped,
            Err(e) => {
                problem("device", &format!("can not erase the data of apps: {e}"), "check the disk");
                return Ok(());
            }
        };
        let noted = wiped.under_way().unwrap_or_else(|e| {
            problem("device", &format!("can not read which apps are being wiped: {e}"), "wipe them again");
            Vec::new()
        });
        for id in noted {
            // A word on a disk that may have been edited: only what is an app's name becomes a path.
            let Some(uid) = registry.uid(&id) else { continue };
            match self.apps.get(&uid) {
                Some(app) => {
                    let ended = app.pid().is_none();
                    self.wiping.under_way.insert(uid, (id, ended));
                    if !ended {
                        self.init.ask(&Request::Stop(uid))?;
                    }
                }
                None => {
                    if let Err(e) = wiped.take(&id) {
                        problem(&id, &format!("its data can not be erased: {e}"), "wipe it again");
                    }
                }
            }
        }
        let under_way = self.wiping.under_way.values().map(|(id, _)| id.as_str());
        if let Err(e) = wiped.note(under_way) {
            problem("device", &format!("can not record which apps are wiped: {e}"), "check the disk");
        }
        self.wiping.wiped = Some(wiped);
        for (id, uid) in registry.entries().filter(|(id, _)| !store.contains(*id)) {
            if self.config.data.join("apps").join(id).symlink_metadata().is_ok() {
                say(format_args!(
                    "event left id={id} uid={uid}: it is not installed, and its data is still there"
                ));
                self.wiping.left.insert(id.to_owned(), uid);
            }
        }
        Ok(())
    }

    /// The app is not installed any more; its data, if it has any, can be erased.
    pub(super) fn wipe_later(&mut self, id: &str, uid: u32) {
        self.wiping.left.insert(id.to_owned(), uid);
    }

    /// The app is not installed any more; erases what it had stored, if it had anything.
    pub(super) fn wipe_removed(&mut self, id: &str, uid: u32) -> io::Result<()> {
        self.wiping.left.insert(id.to_owned(), uid);
        self.wipe_left(id).unwrap_or_else(|| Err(io::Error::other("there is no storage")))
    }

    /// Wipes an app that is not installed; `None` when there is none with data.
    pub(super) fn wipe_left(&mut self, id: &str) -> Option<io::Result<()>> {
        let uid = *self.wiping.left.get(id)?;
        let wiped = self.wiping.wiped.as_mut()?;
        let done = wiped.take(id).and_then(|()| self.forget_quota(uid));
        if done.is_ok() {
            self.wiping.left.remove(id);
            say(format_args!("event wiped id={id} uid={uid}"));
        }
        Some(done)
    }

    /// Erases what a developer's app of this id has stored, bounded by the quota of `project`.
    pub(super) fn wipe_developed(&mut self, id: &str, project: Option<u32>) -> io::Result<()> {
        let wiped = self.wiping.wiped.as_mut().ok_or_else(|| io::Error::other("there is no storage"))?;
        wiped.take_developed(id)?;
        project.map_or(Ok(()), |project| self.forget_quota(project))
    }

    /// Erases the log of an app that is gone. What can not be is told, and stays.
    pub(super) fn wipe_log(&mut self, id: &str) {
        if let Some(Err(e)) = self.wiping.wiped.as_mut().map(|wiped| wiped.take_logs(id)) {
            say(format_args!("can not erase the log of {id}: {e}"));
        }
    }

    /// The limit of a project that nobody fills any more.
    fn forget_quota(&self, uid: u32) -> io::Result<()> {
        match self.config.quota {
            Quota::Enforced => quota::set_limit(File::open(&self.config.data)?.as_fd(), uid, 0, 0),
            Quota::NotEnforced => Ok(()),
        }
    }

    /// The app ended; `next` is what `init` does.
    pub(super) fn wipe_ended(&mut self, uid: u32, next: Next) {
        if next == Next::Stopped {
            self.wiping.may_begin(uid);
        }
    }

    /// Erases some more.
    pub(super) fn wipe_some(&mut self) -> io::Result<()> {
        let developed = self.installs.ledger().map(|ledger| ledger.developed().map(|(id, _)| id.to_owned()));
        let developed: std::collections::BTreeSet<String> = developed.into_iter().flatten().collect();
        let Some(wiped) = &mut self.wiping.wiped else { return Ok(()) };
        let next = self.wiping.under_way.iter().find(|(_, (_, ended))| *ended);
        let Some((uid, id)) = next.map(|(uid, (id, _))| (*uid, id.clone())) else {
            if wiped.has_work()
                && let Err(e) = wiped.some()
            {
                problem("device", &format!("can not erase what was wiped: {e}"), "check the disk");
                self.wiping.wiped = None;
            }
            return Ok(());
        };
        let done = match wiped.empty_some(storage_of(developed.contains(&id), uid).0, &id) {
            Ok(false) => return Ok(()),
            Ok(true) => wiped.take_logs(&id),
            Err(e) => Err(e),
        };
        self.wiping.under_way.remove(&uid);
        let noted = wiped.note(self.wiping.under_way.values().map(|(id, _)| id.as_str()));
        if let Some(app) = self.apps.get_mut(&uid) {
            app.log.begin_anew();
            app.last.clear();
            app.last_exit = None;
            if done.is_ok() {
                say(format_args!("event wiped id={id} uid={uid}"));
            }
            if !matches!(app.state, State::Problem) {
                app.state = State::Down(Next::Stopped);
            }
        }
        self.desk_wiped(uid, done.and(noted));
        Ok(())
    }
}
