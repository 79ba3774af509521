//! Developers' apps: packages that are sent, installed, removed.
//!
//! ```text
//! Begin, Put…   the package's file comes in parts, below DATA/gabion/packages/uploads
//! Carry         one that is sent is an archive of updates, which is lent to updated as a disk with them would be
//! Install       the worker finds the image, its hash tree and the manifest in it; both are laid on the disk as an update's
//!               are, and go the same way (`switch`): read back, checked, measured, one write of the ledger. No trial follows:
//!               a developer wants to see how it fails
//! Remove        one write of the ledger; what runs ends, what it has stored goes, and what lies beneath is built again
//! ```
//!
//! What holds: without [`Trust`] in somebody nothing is taken. What was installed here is marked in the ledger, so that all of
//! it can be removed and nothing else; its storage lies apart (`DATA/developed/ID`), so that neither it nor what it lies above
//! can read the other's. An update leaves alone what is marked.
//!
//! What an attacker who has a developer's way in controls: files of at most [`UPLOADS_MAX`] packages, bounded by the quota of all
//! packages, and when they are installed. They are read in the worker's box.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use bus::bulk::Sealed;
use bus::desk::{self, Answer};
use bus::devport::FILE_MAX;
use policy::{AppId, Board, Plan};

use super::Daemon;
use super::switch::Switch;
use crate::console::{problem, say};
use crate::offered::{Offered, hex};
use crate::packages::ledger::{Developed, Ledger};
use crate::signed::Key;
use crate::storage::Quota;
use crate::worker::{Verdict, What};

/// No uid has this bit; see `OF_SWITCH` for the other one.
const OF_DEVELOPER: u32 = 1 << 30;
/// A developer's app is accounted for apart from what lies beneath it: its project is its uid with this bit.
const PROJECT: u32 = 1 << 30;
/// Characters of why a package was refused: a manifest may have many faults.
const REASON_MAX: usize = 8000;
/// Packages that are being sent at once; the oldest is given up for another.
const UPLOADS_MAX: usize = 4;

/// Whose packages are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// Anybody's, signed or not: this is a developer's image.
    Anybody,
    /// What this one has signed: a permit names him.
    Signer(Signer),
    /// Nobody's, and why.
    Nobody(&'static str),
}

/// Who signs, as a permit names him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signer {
    /// SHA-256 of his certificate.
    pub(super) certificate: [u8; 32],
    /// His key on P-256, both halves.
    pub(super) key: Key,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Developer {
    /// Whom a permit names, on a device that is no developer's image.
    signer: Option<Signer>,
    /// All that was installed is to go, as soon as nothing else is under way.
    must_leave: bool,
    uploads: VecDeque<Upload>,
    next: u32,
    /// What is being installed.
    job: Option<Job>,
    /// Apps that are removed once they have ended.
    leaving: BTreeMap<u32, String>,
    /// Who is to hear that these are gone.
    waiting: Vec<(u32, BTreeSet<u32>, Answer)>,
}

#[derive(Debug)]
struct Upload {
    number: u32,
    file: File,
    length: u64,
}

#[derive(Debug)]
struct Job {
    /// The question that is to be answered.
    question: u32,
    upload: Upload,
    /// Told once it runs.
    installs: Option<(String, String, String)>,
}

impl Developer {
    /// Whether a developer's package is on its way in, or out.
    pub(super) fn is_busy(&self) -> bool {
        self.job.is_some() || !self.leaving.is_empty()
    }

    /// Whether the box ends for good, or for what lies beneath it.
    pub(super) fn is_leaving(&self, uid: u32) -> bool {
        self.leaving.contains_key(&uid)
    }

    /// The boxes that do.
    pub(super) fn leaving(&self) -> impl Iterator<Item = u32> {
        self.leaving.keys().copied()
    }

    fn key(&self) -> u32 {
        OF_DEVELOPER | self.job.as_ref().map_or(0, |job| job.upload.number) & (OF_DEVELOPER - 1)
    }

    fn take(&mut self, number: u32) -> Option<Upload> {
        let at = self.uploads.iter().position(|upload| upload.number == number)?;
        self.uploads.remove(at)
    }
}

/// Whether the worker's queue means a developer's package by this number.
pub(super) fn is_of_developer(key: u32) -> bool {
    key >> 30 == 1
}

/// Where an app stores, below the data, and as which project: what a developer installed apart from all others.
pub(super) fn storage_of(developed: bool, uid: u32) -> (&'static str, u32) {
    if developed { (crate::wipe::DEVELOPED, uid | PROJECT) } else { ("apps", uid) }
}

impl Daemon {
    /// Whose packages are taken at this moment.
    pub(super) fn developer_trust(&self) -> Trust {
        match &self.developer.signer {
            _ if self.config.developer => Trust::Anybody,
            _ if self.developer.must_leave => {
                Trust::Nobody("what was deployed before is being removed; try again")
            }
            Some(signer) => Trust::Signer(signer.clone()),
            None => Trust::Nobody("this is no developer's device, and no permit is in force"),
        }
    }

    /// It is known whom a permit lets install: nobody, and what was installed is to go; or this one, and what others did is.
    pub(super) fn developer_told(&mut self) -> io::Result<()> {
        let Some(told) = self.door.told().filter(|_| !self.config.developer) else { return Ok(()) };
        let signer = told.map(|developer| {
            let mut key = [0; 64];
            let halves = developer.x.iter().chain(&developer.y);
            key.iter_mut().zip(halves).for_each(|(to, from)| *to = *from);
            Signer { certificate: developer.certificate, key }
        });
        let who = signer.as_ref().map(|signer| hex(&signer.certificate));
        let of_others =
            |ledger: &Ledger| ledger.developed().any(|(_, developed)| who.is_none() || developed.who != who);
        self.developer.must_leave |= self.installs.ledger().is_some_and(of_others);
        // What is being sent is another's.
        if self.developer.signer != signer {
            self.developer_forget_sent();
        }
        self.developer.signer = signer;
        self.developer_tick()
    }

    /// Does what is due.
    pub(super) fn developer_tick(&mut self) -> io::Result<()> {
        let gone: Vec<u32> = self.developer.leaving().filter(|uid| !self.installs.is_ending(*uid)).collect();
        for uid in gone {
            self.developer_gone(uid)?;
        }
        if self.developer.must_leave && !self.installs.is_busy() && !self.developer.is_busy() {
            self.developer.must_leave = false;
            if let Some(Answer::Refused(why)) = self.developer_leave_all(None)? {
                problem("device", &format!("developers' apps can not be removed: {why}"), "check the disk");
            }
        }
        Ok(())
    }

    /// There is something to do at once.
    pub(super) fn developer_deadline_ms(&self) -> Option<u64> {
        let gone = self.developer.leaving().any(|uid| !self.installs.is_ending(uid));
        let leave = self.developer.must_leave && !self.installs.is_busy() && !self.developer.is_busy();
        (gone || leave).then_some(0)
    }

    /// The key by which a package must be signed.
    pub(super) fn developer_key(&self) -> Option<Key> {
        match self.developer_trust() {
            Trust::Signer(signer) => Some(signer.key),
            // On a developer's image. What nobody may send was refused before it was to be read.
            Trust::Anybody => None,
            Trust::Nobody(_) => Some([0; 64]),
        }
    }

    /// Whether what counts of this app is a developer's.
    pub(super) fn is_developed(&self, id: &str) -> bool {
        self.installs.ledger().is_some_and(|ledger| ledger.is_developed(id))
    }

    /// A package of so many bytes is going to be sent.
    pub(super) fn developer_begin(&mut self, length: u64) -> Answer {
        if let Trust::Nobody(why) = self.developer_trust() {
            return Answer::Refused(why.to_owned());
        }
        let Some(packages) = &self.installs.packages else { return no_storage() };
        let developer = &mut self.developer;
        while developer.uploads.len() >= UPLOADS_MAX {
            developer.uploads.pop_front().iter().for_each(|upload| packages.drop_upload(upload.number));
        }
        let number = developer.next;
        developer.next = developer.next.wrapping_add(1) & (OF_DEVELOPER - 1);
        match packages.upload(number, length) {
            Ok(file) => {
                developer.uploads.push_back(Upload { number, file, length });
                Answer::Begun(number)
            }
            Err(why) => Answer::Refused(why),
        }
    }

    /// A part of it.
    pub(super) fn developer_put(&mut self, number: u32, at: u64, part: Option<OwnedFd>) -> Answer {
        let Some(upload) = self.developer.uploads.iter().find(|upload| upload.number == number) else {
            return Answer::Refused(format!("no package {number} is being sent; begin again"));
        };
        let part =
            part.ok_or(io::ErrorKind::InvalidInput.into()).and_then(|fd| Sealed::open(fd, FILE_MAX as u64));
        let done = part.and_then(|part| {
            let end = at.checked_add(part.size()).filter(|end| *end <= upload.length);
            end.ok_or_else(|| io::Error::other("the part lies past the end of the package"))?;
            upload.file.write_all_at(&part.read()?, at)
        });
        done.map_or_else(
            |e| Answer::Refused(format!("can not take a part of the package: {e}")),
            |()| Answer::Done,
        )
    }

    /// What was sent under this number, for reading. Its name is gone.
    pub(super) fn developer_sent(&mut self, number: u32) -> Result<File, Answer> {
        if let Trust::Nobody(why) = self.developer_trust() {
            return Err(Answer::Refused(why.to_owned()));
        }
        let sent = self.developer.take(number).zip(self.installs.packages.as_ref());
        let Some((upload, packages)) = sent else {
            return Err(Answer::Refused(format!("no package {number} was sent; begin again")));
        };
        let sent = packages.sent(upload.number);
        sent.map_err(|e| Answer::Refused(format!("what was sent can not be read: {e}")))
    }

    /// What was sent is to be installed. `None`: it is answered later.
    pub(super) fn developer_install(&mut self, question: u32, number: u32) -> io::Result<Option<Answer>> {
        if let Trust::Nobody(why) = self.developer_trust() {
            return Ok(Some(Answer::Refused(why.to_owned())));
        }
        if self.config.safe_mode {
            return Ok(Some(Answer::Refused("the device is in safe mode".to_owned())));
        }
        if self.installs.is_busy() || self.developer.is_busy() {
            return Ok(Some(Answer::Busy));
        }
        let Some(upload) = self.developer.take(number) else {
            return Ok(Some(Answer::Refused(format!("no package {number} was sent; begin again"))));
        };
        self.developer.job = Some(Job { question, upload, installs: None });
        let key = self.developer.key();
        self.worker_wanted(key, What::Package);
        self.worker_wakes()?;
        Ok(None)
    }

    /// The package file that the worker is to read.
    pub(super) fn developer_file(&self, key: u32) -> Option<(&File, u64)> {
        let job = self.developer.job.as_ref().filter(|_| key == self.developer.key())?;
        Some((&job.upload.file, job.upload.length))
    }

    /// What the worker says of it.
    pub(super) fn developer_verdict(&mut self, key: u32, verdict: Verdict) -> io::Result<()> {
        if self.developer_file(key).is_none() {
            return Ok(());
        }
        let begun = match verdict {
            Verdict::Offered(bytes) => self.developer_offered(&bytes),
            Verdict::Problems(text) => {
                let lines = text.split(|b| *b == b'\n').take(200).map(crate::line::escape);
                Err(lines.collect::<Vec<_>>().join("\n"))
            }
            _ => Err("the worker failed over the package".to_owned()),
        };
        match begun {
            Ok(switch) => self.installs.switch = Some(switch),
            Err(why) => self.developer_refused(&why),
        }
        Ok(())
    }

    /// It could not even be read. False when it is none of ours.
    pub(super) fn developer_fault(&mut self, key: u32, why: &str) -> bool {
        if is_of_developer(key) && self.developer_file(key).is_some() {
            self.developer_refused(why);
        }
        is_of_developer(key)
    }

    /// Lays what is in the package on the disk, and has it installed.
    fn developer_offered(&mut self, bytes: &[u8]) -> Result<Switch, String> {
        let job = self.developer.job.as_ref().ok_or("nothing is being installed")?;
        let offered =
            Offered::decode(bytes, job.upload.length).ok_or("the worker failed over the package")?;
        let plan = Plan::decode(&offered.plan, &Board::default())
            .map_err(|e| format!("its plan does not check out: {e}"))?;
        let id: AppId = plan.id.clone();
        if self.installs.is_busy() {
            return Err("another installation has begun meanwhile; try again".to_owned());
        }
        self.developer_may_replace(&id)?;
        let packages = self.installs.packages.as_ref().ok_or("there is no storage")?;
        let number = packages.ledger().next();
        let dir = packages.lay_offered(number, &id, &job.upload.file, &offered);
        let dir = dir.map_err(|e| format!("it can not be laid on the disk: {e}"))?;
        let told = (id.to_string(), plan.version.to_string(), offered.root_hash());
        if let Some(job) = &mut self.developer.job {
            job.installs = Some(told);
        }
        let who = match self.developer_trust() {
            Trust::Anybody => None,
            Trust::Signer(signer) => Some(hex(&signer.certificate)),
            Trust::Nobody(why) => return Err(why.to_owned()),
        };
        Ok(self.switch_of_developer(plan, number, dir, who))
    }

    fn developer_may_replace(&self, id: &AppId) -> Result<(), String> {
        let uid = self.uid_of(id.as_str());
        if id.as_str().starts_with("os.gabion.") {
            return Err(format!("{id} is the name of a part of the system"));
        }
        if uid.is_some_and(|uid| self.packages_hold(uid) || self.wiping.is_under_way(uid)) {
            return Err(format!("{id} is being wiped or removed at this moment; try again"));
        }
        let apps = self.apps.values().filter(|app| !app.system).count();
        if uid.is_none() && apps >= crate::store::APPS_MAX {
            return Err(format!("a device has {} apps at most", crate::store::APPS_MAX));
        }
        Ok(())
    }

    /// It is not installed, and nothing has changed.
    pub(super) fn developer_refused(&mut self, why: &str) {
        let Some(job) = self.developer.job.take() else { return };
        if let Some(packages) = &self.installs.packages {
            packages.drop_upload(job.upload.number);
        }
        self.packages_clean();
        Self::packages_say("install-refused", why);
        self.desk_answer(job.question, Answer::Refused(why.chars().take(REASON_MAX).collect()));
    }

    /// Its box was handed over.
    pub(super) fn developer_installed(&mut self) {
        let Some(Job { question, upload, installs }) = self.developer.job.take() else { return };
        if let Some(packages) = &self.installs.packages {
            packages.drop_upload(upload.number);
        }
        let Some((id, version, hash)) = installs else { return };
        say(format_args!("event developed id={id} version={version} root={hash}"));
        self.desk_answer(question, Answer::Installed(id, version, hash));
    }

    /// What was installed of this app is to go.
    pub(super) fn developer_remove(&mut self, question: u32, id: &str) -> io::Result<Option<Answer>> {
        if !self.is_developed(id) {
            return Ok(Some(Answer::NoApp));
        }
        self.developer_leave(&[id.to_owned()], Some((question, Answer::Done)))
    }

    /// All that was installed is to go, and what was begun.
    pub(super) fn developer_leave_all(&mut self, question: Option<u32>) -> io::Result<Option<Answer>> {
        let developed = self.installs.ledger().into_iter().flat_map(Ledger::developed);
        let all: Vec<String> = developed.map(|(id, _)| id.to_owned()).collect();
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let answer = self.developer_leave(&all, question.map(|question| (question, Answer::Left(count))))?;
        if answer != Some(Answer::Busy) {
            self.developer_forget_sent();
        }
        Ok(answer)
    }

    /// One write of the ledger; then what runs of these ends. `None`: it is answered later.
    fn developer_leave(&mut self, ids: &[String], tell: Option<(u32, Answer)>) -> io::Result<Option<Answer>> {
        if self.installs.is_busy() || self.developer.is_busy() {
            return Ok(Some(Answer::Busy));
        }
        let Some(ledger) = self.installs.ledger() else { return Ok(Some(no_storage())) };
        let after = ids.iter().try_fold(ledger.clone(), |ledger, id| ledger.without_developed(id));
        let Some(after) = after else { return Ok(Some(Answer::NoApp)) };
        if let Err(e) = self.installs.change(after) {
            return Ok(Some(Answer::Refused(format!("the ledger can not be written: {e}"))));
        }
        let mut wait = BTreeSet::new();
        for id in ids {
            self.debug_without(id)?;
            say(format_args!("event leaving id={id}"));
            match self.uid_of(id) {
                Some(uid) => {
                    wait.insert(uid);
                    self.developer.leaving.insert(uid, id.clone());
                    self.packages_end(uid)?;
                }
                // Safe mode: it has no box.
                None => self.developer_erase(id),
            }
        }
        let Some((question, answer)) = tell else { return Ok(None) };
        if wait.is_empty() {
            self.packages_clean();
            return Ok(Some(answer));
        }
        self.developer.waiting.push((question, wait, answer));
        Ok(None)
    }

    /// It has ended: what it has stored goes, and what lies beneath it comes back.
    pub(super) fn developer_gone(&mut self, uid: u32) -> io::Result<()> {
        let Some(id) = self.developer.leaving.remove(&uid) else { return Ok(()) };
        self.developer_erase(&id);
        if self.app_dir(&id).symlink_metadata().is_ok() {
            self.build_again(uid);
        } else {
            self.forget_app(uid)?;
            self.wipe_log(&id);
            if self.config.data.join("apps").join(&id).symlink_metadata().is_ok() {
                self.wipe_later(&id, uid);
            }
        }
        self.packages_clean();
        self.packages_changed();
        for (_, wait, _) in &mut self.developer.waiting {
            wait.remove(&uid);
        }
        let waiting = std::mem::take(&mut self.developer.waiting);
        let (done, left) = waiting.into_iter().partition(|(_, wait, _)| wait.is_empty());
        self.developer.waiting = left;
        let done: Vec<_> = done;
        for (question, _, answer) in done {
            self.desk_answer(question, answer);
        }
        Ok(())
    }

    fn developer_erase(&mut self, id: &str) {
        let uid = self.installs.identity.as_ref().and_then(|identity| identity.uid(id));
        if let Err(e) = self.wipe_developed(id, uid.map(|uid| storage_of(true, uid).1)) {
            problem(
                id,
                &format!("a developer's data can not be erased: {e}"),
                "it is tried again at the next start",
            );
        }
    }

    /// At the start: what a cut left of removals, and of packages that were being sent.
    pub(super) fn developer_begins(&mut self) -> io::Result<()> {
        self.developer_drop_uploads();
        let place = self.config.data.join(crate::wipe::DEVELOPED);
        for id in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let id = id.file_name().to_string_lossy().into_owned();
            if self.installs.packages.is_some() && !self.is_developed(&id) {
                self.developer_erase(&id);
            }
        }
        // It may have been said before there was a ledger.
        self.developer_told()
    }

    fn developer_forget_sent(&mut self) {
        self.developer.uploads.clear();
        self.developer_drop_uploads();
        self.update_sent_gone();
    }

    fn developer_drop_uploads(&self) {
        if let Some(Err(e)) = self.installs.packages.as_ref().map(|packages| packages.drop_uploads()) {
            say(format_args!("can not remove packages that were sent: {e}"));
        }
    }

    /// What developers installed, of apps after this one.
    pub(super) fn developer_list(&self, after: &str) -> Answer {
        let ledger = self.installs.ledger();
        let all = ledger.into_iter().flat_map(|ledger| ledger.developed().map(move |each| (ledger, each)));
        let told = |(ledger, (id, developed)): (&Ledger, (&str, &Developed))| desk::Developed {
            app: id.to_owned(),
            version: ledger.package(id).map(|package| package.version.to_string()).unwrap_or_default(),
            who: developed.who.clone(),
            beneath: match developed.beneath {
                Some(package) => Some(package.version.to_string()),
                None => self.config.apps.join(id).symlink_metadata().is_ok().then(|| "image".to_owned()),
            },
        };
        let rest = all.filter(|(_, (id, _))| *id > after);
        Answer::Developed(rest.take(desk::DEVELOPED_AT_ONCE).map(told).collect())
    }

    /// What apps use, of those after this one.
    pub(super) fn developer_usage(&self, after: &str) -> Answer {
        let mut apps: Vec<_> =
            self.apps.values().filter(|app| !app.system && app.id.as_str() > after).collect();
        apps.sort_by(|a, b| a.id.cmp(&b.id));
        Answer::Usage(apps.into_iter().take(desk::DEVELOPED_AT_ONCE).map(|app| self.usage(app)).collect())
    }

    /// What one app uses.
    pub(super) fn developer_usage_of(&self, id: &str) -> Answer {
        let app = self.apps.values().find(|app| app.id == id && !app.system);
        app.map_or(Answer::NoApp, |app| Answer::Usage(vec![self.usage(app)]))
    }

    fn usage(&self, app: &crate::app::App) -> desk::Usage {
        let (place, project) = storage_of(self.is_developed(&app.id), app.uid);
        let dir = File::open(self.config.data.join(place).join(&app.id)).ok();
        let quota = dir.filter(|_| self.config.quota == Quota::Enforced);
        let stored = quota.and_then(|dir| sys::quota::usage(std::os::fd::AsFd::as_fd(&dir), project).ok());
        let used = app.group.used();
        desk::Usage {
            app: app.id.clone(),
            cpu: used.cpu,
            memory: used.memory,
            tasks: used.tasks,
            storage: stored.map_or((0, 0), |stored| (stored.bytes, stored.limit_bytes)),
            restarts: app.starts.saturating_sub(1),
            uptime_ms: app.pid().and_then(crate::clock::uptime_ms),
        }
    }
}

fn no_storage() -> Answer {
    Answer::Refused("there is no storage: the device's data can not be used".to_owned())
}
