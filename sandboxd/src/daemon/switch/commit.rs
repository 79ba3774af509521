//! The switch itself: who comes is measured, mounted, read ahead and built, the ledger is written, what runs ends, and what comes starts.

use std::io;

use bus::update_link::ToUpdated;
use policy::Version;

use super::super::Daemon;
use super::super::trial::Trial;
use super::{Coming, Phase, Switch};
use crate::app::App;
use crate::console::say;
use crate::verity;
use crate::warm::Warming;

/// Apps that have a uid, or had one, at most. The registry has room for more, and is read as a whole or not at all.
const IDENTITIES_MAX: usize = 4096;
/// Bytes that are read ahead for all that comes together.
const READ_AHEAD_MAX: u64 = 16 << 20;

impl Daemon {
    /// Everybody gets a uid, and is measured under it.
    pub(super) fn switch_measure(&mut self) -> Result<(), String> {
        let Some(mut switch) = self.installs.switch.take() else { return Ok(()) };
        let given = self.switch_uids(&mut switch);
        if given.is_ok() {
            switch.phase = Phase::Measuring;
            for coming in &mut switch.coming {
                if let (Some(uid), Some(plan)) = (coming.uid, &coming.plan) {
                    coming.measured_before = self.attest_of(uid);
                    self.attest_wants(uid, plan, coming.dir.clone());
                }
            }
        }
        self.installs.switch = Some(switch);
        given
    }

    fn switch_uids(&mut self, switch: &mut Switch) -> Result<(), String> {
        let identity = self.installs.identity.as_mut().ok_or("no app has a uid")?;
        let mut given = Vec::new();
        let mut fresh = false;
        let known = identity.entries().count();
        let unknown =
            switch.coming.iter().filter(|coming| identity.uid(coming.id.as_str()).is_none()).count();
        // A uid is never given twice: whoever installs and removes for ever must not fill the registry.
        if unknown > 0 && known + unknown > IDENTITIES_MAX {
            return Err(format!("this device has had {known} apps, and no uid is given anew"));
        }
        for coming in &switch.coming {
            let (uid, new) = identity.assign(coming.id.as_str()).map_err(|e| e.to_string())?;
            fresh |= new;
            given.push(uid);
        }
        if fresh {
            // A uid is used only once it is on disk for good.
            identity.store(&self.config.data.join("gabion/identity")).map_err(|e| e.to_string())?;
        }
        for (coming, uid) in switch.coming.iter_mut().zip(given) {
            coming.uid = Some(uid);
        }
        Ok(())
    }

    pub(super) fn switch_measured(&self) -> bool {
        let switch = self.installs.switch.as_ref();
        let mut uids = switch.into_iter().flat_map(|switch| &switch.coming).filter_map(|coming| coming.uid);
        uids.all(|uid| !self.attest_must_wait(uid))
    }

    /// Mounts the images, next to those that are in use.
    pub(super) fn switch_mount(&mut self) -> Result<(), String> {
        let Some(mut switch) = self.installs.switch.take() else { return Ok(()) };
        switch.phase = Phase::Warming;
        let most = READ_AHEAD_MAX / switch.coming.len().max(1) as u64;
        let mounted = switch.coming.iter_mut().try_for_each(|coming| self.switch_mount_one(coming, most));
        self.installs.switch = Some(switch);
        mounted
    }

    fn switch_mount_one(&self, coming: &mut Coming, most: u64) -> Result<(), String> {
        let id = coming.id.as_str();
        let image = coming.image.take().ok_or_else(|| format!("{id}: it is not ready"))?;
        coming.root = self.image_place(id, Some(coming.number));
        image.mount(&coming.root).map_err(|e| format!("{id}: {e}"))?;
        let before = self.image_place(id, self.package_number(id));
        // Of what is installed for the first time there is nothing to go by.
        coming.warming = Warming::new(before, &coming.root, most).ok();
        Ok(())
    }

    /// Reads some more ahead; whether that is all.
    pub(super) fn switch_warmed(&mut self) -> bool {
        let mut coming = self.installs.switch.iter_mut().flat_map(|switch| &mut switch.coming);
        let Some(next) = coming.find(|coming| coming.warming.is_some()) else { return true };
        if !next.warming.as_mut().is_some_and(Warming::turn) {
            next.warming = None;
        }
        false
    }

    /// Builds everything, and switches. After this there is no way but on, to the trial.
    pub(super) fn switch_commit(&mut self) -> io::Result<Result<(), String>> {
        let Some(mut switch) = self.installs.switch.take() else { return Ok(Ok(())) };
        let developed = switch.developer.is_some();
        let built = switch.coming.iter_mut().try_for_each(|coming| self.switch_build(coming, developed));
        let switched = built.and_then(|()| {
            let together: Vec<(&str, Version)> =
                switch.coming.iter().map(|coming| (coming.id.as_str(), coming.version)).collect();
            let after = self.installs.ledger().and_then(|ledger| match (&switch.developer, &*together) {
                (Some(who), [(id, version)]) => ledger.with_developed(id, *version, who.clone()),
                _ => ledger.switched(&together, switch.seconds),
            });
            let after = after.ok_or("the ledger has no room for it")?;
            self.installs.change(after).map_err(|e| format!("the ledger can not be written: {e}"))
        });
        switch.phase = Phase::Ending;
        let uids: Vec<u32> = switch.coming.iter().filter_map(|coming| coming.uid).collect();
        for Coming { id, version, number, .. } in &switch.coming {
            if switched.is_ok() {
                say(format_args!("event installing id={id} version={version} number={number}"));
            }
        }
        self.installs.switch = Some(switch);
        if switched.is_ok() {
            for uid in uids {
                self.packages_end(uid)?;
            }
        }
        Ok(switched)
    }

    fn switch_build(&self, coming: &mut Coming, developed: bool) -> Result<(), String> {
        let (Some(plan), Some(uid)) = (&coming.plan, coming.uid) else {
            return Err(format!("{}: it is not ready", coming.id));
        };
        let built = self.build_ahead(uid, plan, &coming.root, coming.number, developed);
        coming.built = Some(built.map_err(|e| format!("{}: {e}", coming.id))?);
        Ok(())
    }

    pub(super) fn switch_ended(&self) -> bool {
        let switch = self.installs.switch.as_ref();
        let mut uids = switch.into_iter().flat_map(|switch| &switch.coming).filter_map(|coming| coming.uid);
        uids.all(|uid| !self.installs.is_ending(uid))
    }

    /// All of the old has ended: all of the new starts.
    pub(super) fn switch_start(&mut self) -> io::Result<()> {
        let Some(switch) = self.installs.switch.take() else { return Ok(()) };
        let logs = self.config.data.join("logs");
        let developed = switch.developer.is_some();
        if !developed {
            let ids = switch.coming.iter().map(|coming| coming.id.to_string());
            self.installs.trial = Some(Trial::new(ids, switch.seconds, sys::process::now_ms()));
        }
        for coming in &switch.coming {
            let Some(uid) = coming.uid else { continue };
            self.detach(uid);
            self.net_release(uid);
            self.holders.release(uid);
            let cgroups = &self.config.cgroups;
            let app = || App::new(uid, coming.id.as_str(), false, cgroups, Some(&logs));
            let app = self.apps.entry(uid).or_insert_with(app);
            app.problem = None;
            // Who deploys wants to see it run.
            app.held &= !developed;
            app.root_hash = verity::root_hash(&coming.dir).unwrap_or_default();
        }
        for coming in switch.coming {
            if let (Some(uid), Some(plan), Some(built)) = (coming.uid, coming.plan, coming.built) {
                self.switch_box(uid, &plan, built)?;
            }
        }
        self.bus_start_used();
        self.packages_changed();
        if developed {
            // Of an update when its trial is over: what starts now is not to wait for it.
            self.packages_clean();
            self.developer_installed();
        } else {
            self.update_send(&ToUpdated::Installed, Vec::new());
        }
        Ok(())
    }
}
