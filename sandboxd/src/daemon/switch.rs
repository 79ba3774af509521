//! Installing packages: all that can be done and found wrong comes before anything is stopped.
//!
//! ```text
//! Manifests   the worker reads them                    ─┐
//! Reading     every block of every image is read back   │ anything wrong: refused, and nothing has changed
//! Images      the worker checks them                    │
//! Measuring   attestd has the TPM hold them            ─┘
//!             mounted, bundles built; one write switches the ledger: from here on it is these that a boot starts
//! Ending      what runs of these apps ends, all of it, before any of the new is started
//!             the bundles take their places and are launched: on trial
//! ```
//!
//! What a running app has is left alone until it has ended: its limits, its quota, its ports, its policy. So the time between
//! its end and the start of what comes after is that of handing over a bundle.
//!
//! What an attacker who has updated controls: texts and bytes of packages that nobody signed. They are read in the worker's
//! box and mounted under the root hash that came with them, as those that its author signed are; what such an app may do is
//! what its manifest may ask for.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bus::attest_link;
use bus::bulk::Sealed;
use bus::update_link::{self, ToUpdated};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use policy::{AppId, Board, Network, Plan, Version};

use super::Daemon;
use super::intake::{devices, label};
use super::trial::Trial;
use crate::app::App;
use crate::builder::Built;
use crate::console::say;
use crate::packages::fit::Taken;
use crate::packages::ledger::{TOGETHER_MAX, TRIAL_MAX_S};
use crate::store::APPS_MAX;
use crate::verity::{self, Prepared, VerityText};
use crate::worker::{Verdict, What};

/// No uid has this bit.
const OF_SWITCH: u32 = 1 << 31;
/// What is read back in one turn, bytes.
const AT_ONCE: usize = 1 << 20;
/// Apps that have a uid, or had one, at most. The registry has room for more, and is read as a whole or not at all.
const IDENTITIES_MAX: usize = 4096;
/// Longest time before the switch, milliseconds: a large image on a slow disk, and a TPM that takes its time.
const PATIENCE_MS: u64 = 15 * 60 * 1000;

/// Whether the worker's queue means a package by this number, and not a box.
pub(super) fn is_of_switch(key: u32) -> bool {
    key & OF_SWITCH != 0
}

/// Packages on their way in.
#[derive(Debug)]
pub(super) struct Switch {
    coming: Vec<Coming>,
    seconds: u32,
    serial: u32,
    phase: Phase,
    latest_ms: u64,
    /// It is one app, which a developer installs; whose key signed it, where that was asked.
    developer: Option<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Manifests,
    Reading,
    Images,
    Measuring,
    Ending,
}

#[derive(Debug)]
struct Coming {
    id: AppId,
    version: Version,
    number: u64,
    dir: PathBuf,
    plan: Option<Plan>,
    image: Option<Prepared>,
    /// The image, open for reading back, and its length.
    whole: Option<(File, u64)>,
    /// Bytes of it that were.
    read: u64,
    checked: bool,
    uid: Option<u32>,
    /// What was to be measured under its uid before.
    measured_before: Option<(attest_link::Package, PathBuf)>,
    built: Option<Built>,
}

impl Coming {
    fn new(id: AppId, version: Version, number: u64, dir: PathBuf) -> Self {
        Self {
            id,
            version,
            number,
            dir,
            plan: None,
            image: None,
            whole: None,
            read: 0,
            checked: false,
            uid: None,
            measured_before: None,
            built: None,
        }
    }
}

impl Switch {
    /// When there is something to do without being told.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        if self.phase == Phase::Reading { Some(0) } else { Some(self.latest_ms) }
    }

    /// Whether a box is being switched: it ends, or has ended, for another.
    pub(super) fn is_of_box(&self, uid: u32) -> bool {
        self.phase == Phase::Ending && self.coming.iter().any(|coming| coming.uid == Some(uid))
    }

    fn key(&self, index: usize) -> u32 {
        let index = u32::try_from(index).unwrap_or_default();
        OF_SWITCH | (self.serial & 0x01ff_ffff) << 6 | index
    }

    fn index(&self, key: u32) -> Option<usize> {
        (0..self.coming.len()).find(|index| self.key(*index) == key)
    }
}

impl Daemon {
    /// These apps are to be installed, all or none.
    pub(super) fn packages_install(
        &mut self,
        packages: Vec<update_link::Package>,
        manifests: Vec<OwnedFd>,
        trial_s: u32,
    ) -> io::Result<()> {
        let heard = self.outcome_was_heard();
        match heard.and_then(|()| self.switch_begin(packages, manifests, trial_s)) {
            Ok(switch) => self.installs.switch = Some(switch),
            Err(why) => {
                self.packages_clean();
                let why = Self::packages_say("install-refused", &why);
                self.update_refuse(&why);
            }
        }
        Ok(())
    }

    fn switch_begin(
        &mut self,
        packages: Vec<update_link::Package>,
        manifests: Vec<OwnedFd>,
        trial_s: u32,
    ) -> Result<Switch, String> {
        let installs = &self.installs;
        let place = installs.packages.as_ref().ok_or("there is no place for packages")?;
        if self.config.safe_mode {
            return Err("the device is in safe mode".to_owned());
        }
        if installs.is_busy() || self.developer.is_busy() {
            return Err("another installation is under way or on trial".to_owned());
        }
        if packages.len() != manifests.len() || packages.is_empty() || packages.len() > TOGETHER_MAX {
            return Err("a manifest for each of the packages is needed".to_owned());
        }
        let mut coming: Vec<Coming> = Vec::new();
        for ((package, manifest), number) in packages.into_iter().zip(manifests).zip(place.ledger().next()..)
        {
            let says = |e: &dyn std::fmt::Display| format!("{}: {e}", package.id);
            let id: AppId = package.id.parse().map_err(|e: policy::Invalid| says(&e.message))?;
            let version = package.version.parse().map_err(|e: policy::Invalid| says(&e.message))?;
            if coming.iter().any(|other| other.id == id) {
                return Err(says(&"it is there twice"));
            }
            self.switch_may_replace(&id, version).map_err(|e| says(&e))?;
            let text = VerityText::parse(&package.verity).map_err(|e| says(&e))?;
            let image = place.arrived(&id, version).map_err(|e| says(&e))?;
            if text.data_bytes() >= image.length {
                return Err(says(&"its image is too short for its root.verity"));
            }
            let manifest = Sealed::open(manifest, policy::TEXT_MAX as u64).and_then(|sealed| sealed.read());
            let manifest = manifest.map_err(|e| says(&e))?;
            let dir = place.lay(number, &image, &manifest, &package.verity);
            let dir = dir.map_err(|e| says(&format_args!("it can not be laid on the disk: {e}")))?;
            coming.push(Coming::new(id, version, number, dir));
        }
        let new = coming.iter().filter(|coming| self.uid_of(coming.id.as_str()).is_none()).count();
        if self.apps.values().filter(|app| !app.system).count() + new > APPS_MAX {
            return Err(format!("a device has {APPS_MAX} apps at most"));
        }
        self.installs.serial = self.installs.serial.wrapping_add(1);
        Ok(Switch {
            coming,
            seconds: trial_s.clamp(1, TRIAL_MAX_S),
            serial: self.installs.serial,
            phase: Phase::Waiting,
            latest_ms: sys::process::now_ms() + PATIENCE_MS,
            developer: None,
        })
    }

    /// The same for what a developer installs, whose manifest was read and whose files are in `dir`.
    pub(super) fn switch_of_developer(
        &mut self,
        plan: Plan,
        number: u64,
        dir: PathBuf,
        who: Option<String>,
    ) -> Switch {
        self.installs.serial = self.installs.serial.wrapping_add(1);
        let mut coming = Coming::new(plan.id.clone(), plan.version, number, dir);
        coming.plan = Some(plan);
        Switch {
            coming: vec![coming],
            seconds: 0,
            serial: self.installs.serial,
            phase: Phase::Waiting,
            latest_ms: sys::process::now_ms() + PATIENCE_MS,
            developer: Some(who),
        }
    }

    /// Versions do not go down, whatever the reason that it does not run.
    fn switch_may_replace(&self, id: &AppId, version: Version) -> Result<(), String> {
        if id.as_str().starts_with("os.gabion.") {
            return Err("it has the name of a part of the system".to_owned());
        }
        if self.is_developed(id.as_str()) {
            return Err("a developer has installed one of his own, which has to be removed first".to_owned());
        }
        let app = self.uid_of(id.as_str()).and_then(|uid| self.apps.get(&uid));
        if app.is_some_and(|app| self.packages_hold(app.uid)) {
            return Err("it is busy".to_owned());
        }
        let runs = || app?.version.as_ref()?.parse().ok();
        let now = self.ledger_package(id.as_str()).map(|package| package.version).or_else(runs);
        match now.filter(|now| version < *now) {
            Some(now) => Err(format!("its version {version} is below {now}, which is installed")),
            None => Ok(()),
        }
    }

    fn switch_coming(&self, key: u32) -> Option<&Coming> {
        let switch = self.installs.switch.as_ref()?;
        switch.coming.get(switch.index(key)?)
    }

    /// The directory of a package that is to be read.
    pub(super) fn switch_dir(&self, key: u32) -> Option<PathBuf> {
        self.switch_coming(key).map(|coming| coming.dir.clone())
    }

    /// Its image.
    pub(super) fn switch_image(&self, key: u32) -> Option<&Prepared> {
        self.switch_coming(key)?.image.as_ref()
    }

    /// What the worker says of a package.
    pub(super) fn switch_verdict(&mut self, key: u32, verdict: Verdict) {
        let Some(switch) = &mut self.installs.switch else { return };
        let Some(index) = switch.index(key) else { return };
        let Some(coming) = switch.coming.get_mut(index) else { return };
        let image = switch.phase == Phase::Images;
        let fault = match verdict {
            Verdict::Plan(bytes) => match Plan::decode(&bytes, &Board::default()) {
                Ok(plan) if plan.id != coming.id => Some(format!("its manifest says id = \"{}\"", plan.id)),
                Ok(plan) if plan.version != coming.version => {
                    Some(format!("its manifest says version = \"{}\"", plan.version))
                }
                Ok(plan) => {
                    coming.plan = Some(plan);
                    None
                }
                Err(e) => Some(format!("its plan does not check out: {e}")),
            },
            Verdict::Fit => {
                coming.checked = true;
                None
            }
            Verdict::Offered(_) => Some("the worker failed over it".to_owned()),
            Verdict::Problems(text) => {
                Some(text.split(|b| *b == b'\n').map(crate::line::escape).collect::<Vec<_>>().join("; "))
            }
            Verdict::GivenUp if image => Some("the worker failed over its image".to_owned()),
            Verdict::GivenUp => Some("the worker failed over its manifest".to_owned()),
        };
        if let Some(fault) = fault {
            let why = format!("{}: {fault}", coming.id);
            self.switch_refuse(&why, Some(index).filter(|_| image));
        }
    }

    /// Something could not even be read. False when it is no package that is coming.
    pub(super) fn switch_fault(&mut self, key: u32, why: &str) -> bool {
        if !is_of_switch(key) {
            return false;
        }
        if let Some(coming) = self.switch_coming(key) {
            let why = format!("{}: {why}", coming.id);
            self.switch_refuse(&why, None);
        }
        true
    }

    /// attestd can not measure what is coming. False when it is not that.
    pub(super) fn switch_unmeasured(&mut self, uid: u32, why: &str) -> bool {
        let Some(switch) = self.installs.switch.as_ref().filter(|switch| switch.phase == Phase::Measuring)
        else {
            return false;
        };
        let Some(coming) = switch.coming.iter().find(|coming| coming.uid == Some(uid)) else { return false };
        let why = format!("{}: it can not be measured: {why}", coming.id);
        self.switch_refuse(&why, None);
        true
    }

    /// Nothing is installed, and nothing has changed. The image of `bad` is not taken for what it was asked for again.
    fn switch_refuse(&mut self, why: &str, bad: Option<usize>) {
        let Some(mut switch) = self.installs.switch.take() else { return };
        self.worker.queue.forget(|key| switch.index(key).is_some());
        let bad =
            bad.and_then(|index| switch.coming.get(index)).map(|coming| (coming.id.clone(), coming.version));
        for coming in &mut switch.coming {
            if let Some(uid) = coming.uid {
                self.attest_restore(uid, coming.measured_before.take());
            }
        }
        let developer = switch.developer.is_some();
        drop(switch);
        if developer {
            return self.developer_refused(why);
        }
        if let Some((packages, (id, version))) = self.installs.packages.as_ref().zip(bad)
            && let Err(e) = packages.drop_arrived(&id, version)
        {
            say(format_args!("can not remove the image of {id}: {e}"));
        }
        self.packages_clean();
        let why = Self::packages_say("install-refused", why);
        self.update_refuse(&why);
    }

    /// Goes on with what is being installed, as far as it goes; of what is read back, one part.
    pub(super) fn switch_tick(&mut self, now: u64) -> io::Result<()> {
        let phase = |daemon: &Self| daemon.installs.switch.as_ref().map(|switch| switch.phase);
        loop {
            let before = phase(self);
            self.switch_step(now)?;
            if phase(self) == before || phase(self) == Some(Phase::Reading) {
                return Ok(());
            }
        }
    }

    fn switch_step(&mut self, now: u64) -> io::Result<()> {
        let Some(switch) = &self.installs.switch else { return Ok(()) };
        let phase = switch.phase;
        if phase != Phase::Ending && now >= switch.latest_ms {
            self.switch_refuse("it took too long", None);
            return Ok(());
        }
        let all = |done: fn(&Coming) -> bool| switch.coming.iter().all(done);
        let done = match phase {
            // Who stays is known once every manifest was read.
            Phase::Waiting if self.worker.reading() => Ok(()),
            Phase::Waiting if all(|coming| coming.plan.is_some()) => self.switch_fits(),
            Phase::Waiting => return self.switch_ask(Phase::Manifests, What::Manifest),
            Phase::Manifests if all(|coming| coming.plan.is_some()) => self.switch_fits(),
            Phase::Reading => return self.switch_read(),
            Phase::Images if all(|coming| coming.checked) => self.switch_measure(),
            Phase::Measuring if self.switch_measured() => self.switch_commit()?,
            Phase::Ending if self.switch_ended() => return self.switch_start(),
            _ => Ok(()),
        };
        if let Err(why) = done {
            self.switch_refuse(&why, None);
        }
        Ok(())
    }

    fn switch_ask(&mut self, phase: Phase, what: What) -> io::Result<()> {
        let Some(switch) = &mut self.installs.switch else { return Ok(()) };
        switch.phase = phase;
        let keys: Vec<u32> = (0..switch.coming.len()).map(|index| switch.key(index)).collect();
        for key in keys {
            self.worker_wanted(key, what);
        }
        self.worker_wakes()
    }

    /// Devices, ports and interfaces belong to one app: they are checked against all who stay, and each other.
    fn switch_fits(&mut self) -> Result<(), String> {
        let Some(switch) = &self.installs.switch else { return Ok(()) };
        let leave: BTreeSet<u32> =
            switch.coming.iter().filter_map(|coming| self.uid_of(coming.id.as_str())).collect();
        let mut taken = Taken::by_who_stays(self.holders.held(), &leave);
        let mut ports = Taken::by_who_stays(self.net_ports(), &leave);
        let mut served = Taken::by_who_stays(self.bus.grants.served(), &leave);
        let name = |who: u32| {
            let coming = switch.index(who).and_then(|index| switch.coming.get(index));
            coming.map(|coming| coming.id.to_string()).or_else(|| Some(self.apps.get(&who)?.id.clone()))
        };
        let held = |id: &AppId, what: &str, who: u32| {
            let who = name(who).unwrap_or_else(|| "another app".to_owned());
            format!("{id}: {what} is held by {who}")
        };
        for (coming, index) in switch.coming.iter().zip(0..) {
            let (Some(plan), who, id) = (&coming.plan, switch.key(index), &coming.id) else { continue };
            for device in devices(plan, 0).map_err(|e| format!("{id}: {e}"))? {
                let what = format!("/dev/{}", device.name);
                taken.take(device.rdev, who).map_err(|holder| held(id, &what, holder))?;
            }
            if let Network::Device { listen, .. } = &plan.network {
                for port in listen.iter().map(|listen| listen.port()) {
                    ports.take(port, who).map_err(|holder| held(id, &format!("port {port}"), holder))?;
                }
            }
            for (interface, _) in &plan.provides {
                served.take(interface.clone(), who).map_err(|holder| held(id, interface, holder))?;
            }
        }
        self.switch_prepare()
    }

    /// Sets the images up under their root hashes, to be read from the disk and not from memory.
    fn switch_prepare(&mut self) -> Result<(), String> {
        let images = self.config.images;
        let Some(switch) = &mut self.installs.switch else { return Ok(()) };
        for coming in &mut switch.coming {
            let says = |e: &dyn std::fmt::Display| format!("{}: {e}", coming.id);
            let file = File::open(coming.dir.join("root.img")).map_err(|e| says(&e))?;
            posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                .map_err(|e| says(&e))?;
            let name = label("coming", Some(coming.number));
            let image = verity::prepare(&coming.dir, &name, images).map_err(|e| says(&e))?;
            coming.whole = Some(image.open().map_err(|e| says(&e))?);
            coming.image = Some(image);
        }
        switch.phase = Phase::Reading;
        Ok(())
    }

    /// Reads some more back: what was written is what was meant, to the last block, before anything depends on it.
    fn switch_read(&mut self) -> io::Result<()> {
        let Some(switch) = &mut self.installs.switch else { return Ok(()) };
        for (index, coming) in switch.coming.iter_mut().enumerate() {
            let Some((file, length)) = &coming.whole else { continue };
            let left = usize::try_from(length.saturating_sub(coming.read)).unwrap_or(AT_ONCE);
            let mut part = vec![0; left.min(AT_ONCE)];
            match file.read_exact_at(&mut part, coming.read) {
                Ok(()) if part.is_empty() => coming.whole = None,
                Ok(()) => {
                    coming.read += part.len() as u64;
                    return Ok(());
                }
                Err(e) => {
                    let why = format!("{}: its image is damaged behind byte {}: {e}", coming.id, coming.read);
                    self.switch_refuse(&why, Some(index));
                    return Ok(());
                }
            }
        }
        self.switch_ask(Phase::Images, What::Image)
    }

    /// Everybody gets a uid, and is measured under it.
    fn switch_measure(&mut self) -> Result<(), String> {
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

    fn switch_measured(&self) -> bool {
        let switch = self.installs.switch.as_ref();
        let mut uids = switch.into_iter().flat_map(|switch| &switch.coming).filter_map(|coming| coming.uid);
        uids.all(|uid| !self.attest_must_wait(uid))
    }

    /// Builds everything, and switches. After this there is no way but on, to the trial.
    fn switch_commit(&mut self) -> io::Result<Result<(), String>> {
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
        let (Some(plan), Some(uid), Some(image)) = (&coming.plan, coming.uid, coming.image.take()) else {
            return Err(format!("{}: it is not ready", coming.id));
        };
        let at = self.image_place(coming.id.as_str(), Some(coming.number));
        let built =
            image.mount(&at).and_then(|()| self.build_ahead(uid, plan, &at, coming.number, developed));
        coming.built = Some(built.map_err(|e| format!("{}: {e}", coming.id))?);
        Ok(())
    }

    fn switch_ended(&self) -> bool {
        let switch = self.installs.switch.as_ref();
        let mut uids = switch.into_iter().flat_map(|switch| &switch.coming).filter_map(|coming| coming.uid);
        uids.all(|uid| !self.installs.is_ending(uid))
    }

    /// All of the old has ended: all of the new starts.
    fn switch_start(&mut self) -> io::Result<()> {
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
        self.packages_clean();
        self.packages_changed();
        if developed {
            self.developer_installed();
        } else {
            self.update_send(&ToUpdated::Installed, Vec::new());
        }
        Ok(())
    }
}
