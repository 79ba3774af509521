//! Installing packages: all that can be done and found wrong comes before anything is stopped.
//!
//! ```text
//! Manifests   the worker reads them                    ─┐
//! Reading     every block of every image is read back   │ anything wrong: refused, and nothing has changed
//! Images      the worker checks them                    │
//! Measuring   attestd has the TPM hold them            ─┘
//! Warming     mounted; read ahead as far as what runs is in memory
//!             bundles built; one write switches the ledger: from here on it is these that a boot starts
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

mod check;
mod commit;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bus::attest_link;
use bus::bulk::Sealed;
use bus::update_link;
use policy::{AppId, Board, Plan, Version};

use super::Daemon;
use crate::builder::Built;
use crate::console::say;
use crate::packages::ledger::{TOGETHER_MAX, TRIAL_MAX_S};
use crate::store::APPS_MAX;
use crate::verity::{Prepared, VerityText};
use crate::warm::Warming;
use crate::worker::{Verdict, What};

/// No uid has this bit.
const OF_SWITCH: u32 = 1 << 31;
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
    Warming,
    Ending,
}

impl Phase {
    /// It goes on without being told anything, a part in each turn.
    fn has_turns(self) -> bool {
        matches!(self, Self::Reading | Self::Warming)
    }
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
    /// Where its image is mounted.
    root: PathBuf,
    warming: Option<Warming>,
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
            root: PathBuf::new(),
            warming: None,
            built: None,
        }
    }
}

impl Switch {
    /// When there is something to do without being told.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        if self.phase.has_turns() { Some(0) } else { Some(self.latest_ms) }
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
        if let Some(now) = now.filter(|now| version < *now) {
            return Err(format!("its version {version} is below {now}, which is installed"));
        }
        // Else whoever says what is to be removed could have it come back older.
        match self
            .installs
            .ledger()
            .and_then(|ledger| ledger.left(id.as_str()))
            .filter(|left| version < *left)
        {
            Some(left) => Err(format!("its version {version} is below {left}, which was removed")),
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

    /// Goes on with what is being installed, as far as it goes; of what is read, one part.
    pub(super) fn switch_tick(&mut self, now: u64) -> io::Result<()> {
        let phase = |daemon: &Self| daemon.installs.switch.as_ref().map(|switch| switch.phase);
        loop {
            let before = phase(self);
            self.switch_step(now)?;
            if phase(self) == before || phase(self).is_some_and(Phase::has_turns) {
                return Ok(());
            }
        }
    }

    fn switch_step(&mut self, now: u64) -> io::Result<()> {
        let Some(switch) = &self.installs.switch else { return Ok(()) };
        let phase = switch.phase;
        let late = now >= switch.latest_ms;
        if late && !matches!(phase, Phase::Warming | Phase::Ending) {
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
            Phase::Measuring if self.switch_measured() => self.switch_mount(),
            // Nothing depends on it.
            Phase::Warming if late || self.switch_warmed() => self.switch_commit()?,
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
}
