//! Our side of the device's identity: what `attestd` is told, and which apps wait until they are measured.
//!
//! Invariants: on a board with a TPM no app is launched for the first time since the device booted before attestd has
//! said that the TPM holds its measurement; the record of it was kept before. What attestd says is believed in its form and
//! no further. It may die at any time: the next one is told everything again, and measures nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bus::attest_link::{FromAttestd, Package, ToAttestd};
use bus::network_link::Grants;
use policy::{HostPort, Plan};

use super::Daemon;
use super::start::closed_device;
use super::update_system::Running;
use crate::outbox::Outbox;
use crate::poller::Ready;
use crate::reports::Reports;
use crate::sealed::Volume;
use crate::{attestfiles, clock, console, release, sealed, storage, store, system, updatefiles, verity};

/// What an app names that gets a certificate.
const CERTIFICATE: &str = "os.gabion.Certificate";
/// Messages read before others have their turn.
const AT_ONCE: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attest {
    outbox: Outbox,
    /// It said `Hello`, or did to the sandboxd before us.
    greeted: bool,
    /// What is or is to be measured, and the directory that it is in.
    packages: BTreeMap<u32, (Package, PathBuf)>,
    measured: BTreeSet<u32>,
    pub(super) reports: Reports,
    pub(super) clock_set: bool,
    /// What the device does not go back behind; `None` until its data is open.
    pub(super) floor: Option<u32>,
}

impl Attest {
    /// When to try again to send.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        self.outbox.deadline_ms()
    }
}

impl Daemon {
    /// attestd is started with the system: everything else waits for it.
    pub(super) fn attest_wanted(&mut self) {
        if let Some(at) = self.on_demand.iter().position(|id| id == system::ATTESTD) {
            let id = self.on_demand.remove(at);
            self.install_system(&id);
        }
    }

    /// A box's plan is known: it is to be measured before it is launched.
    pub(super) fn attest_policy(&mut self, uid: u32, plan: &Plan) {
        if !self.config.tpm || plan.system.is_some() {
            return;
        }
        let dir = self.app_dir(plan.id.as_str());
        // A box that `init` kept was measured before it was launched.
        let kept = self.apps.get(&uid).is_some_and(|app| app.starts > 0 && app.notify_socket().is_some());
        self.attest_wants(uid, plan, dir);
        if kept {
            self.attest.measured.insert(uid);
        }
    }

    /// The app in `dir` is to be measured, under this uid.
    pub(super) fn attest_wants(&mut self, uid: u32, plan: &Plan, dir: PathBuf) {
        if !self.config.tpm {
            return;
        }
        let (id, version) = (plan.id.to_string(), plan.version.to_string());
        let root_hash = verity::root_hash(&dir).unwrap_or_default();
        let certificate = plan.uses.iter().any(|(interface, _)| interface == CERTIFICATE);
        let package = Package { uid, id, version, root_hash, certificate };
        self.attest.measured.remove(&uid);
        self.attest.packages.insert(uid, (package.clone(), dir.clone()));
        self.attest_package(package, &dir);
    }

    /// What of a box is or is to be measured, to be put back by [`attest_restore`](Self::attest_restore).
    pub(super) fn attest_of(&self, uid: u32) -> Option<(Package, PathBuf)> {
        self.attest.packages.get(&uid).cloned()
    }

    /// The box stays what it was, which was measured: attestd is told so.
    pub(super) fn attest_restore(&mut self, uid: u32, before: Option<(Package, PathBuf)>) {
        match before {
            Some((package, dir)) => {
                self.attest.packages.insert(uid, (package.clone(), dir.clone()));
                self.attest.measured.insert(uid);
                self.attest_package(package, &dir);
            }
            None => self.attest_forget(uid),
        }
    }

    /// The box is gone.
    pub(super) fn attest_forget(&mut self, uid: u32) {
        if self.attest.packages.remove(&uid).is_some() {
            self.attest_send(&ToAttestd::Gone(uid), Vec::new());
        }
        self.attest.measured.remove(&uid);
    }

    fn attest_package(&mut self, package: Package, dir: &Path) {
        match store::manifest_file(dir) {
            Ok(manifest) => self.attest_send(&ToAttestd::App(package), vec![manifest.into()]),
            Err(e) => self.attest_failed(package.uid, &format!("can not read its manifest: {e}")),
        }
    }

    /// Whether the box may not be launched yet. It is once the TPM holds its measurement.
    pub(super) fn attest_must_wait(&self, uid: u32) -> bool {
        self.attest.packages.contains_key(&uid) && !self.attest.measured.contains(&uid)
    }

    /// Takes the socket to attestd; `fresh` when we started it, and it will say `Hello`.
    pub(super) fn attest_opened(&mut self, socket: OwnedFd, fresh: bool) -> io::Result<()> {
        self.poller.watch(&socket, Ready::Attestd)?;
        self.attest.outbox.open(socket);
        self.attest.greeted = false;
        if !fresh {
            self.attest_state();
        }
        Ok(())
    }

    /// Tells everything from the beginning. Of a device that is locked nothing else is told before: what there is to tell is
    /// in there, and nothing comes over the network while its key is being got.
    fn attest_state(&mut self) {
        self.attest.outbox.clear();
        self.attest.greeted = true;
        if !self.attest_unlock() {
            self.attest_everything();
        }
    }

    /// All but the key of the data device.
    pub(super) fn attest_everything(&mut self) {
        self.attest_begin();
        match attestfiles::packages(&self.config) {
            Ok(log) => self.attest_send(&ToAttestd::Packages, vec![log]),
            Err(e) => console::problem("device", &format!("no package log: {e}"), "no app is started"),
        }
        match attestfiles::boot_log() {
            Ok(log) => self.attest_send(&ToAttestd::Boot, vec![log]),
            Err(e) => {
                let help = "the device can not prove what it booted; see image/kernel/README.md";
                console::problem("device", &format!("no event log of the firmware: {e}"), help);
            }
        }
        if let Some(kept) = attestfiles::kept(&self.config) {
            self.attest_send(&ToAttestd::Kept, vec![kept]);
        }
        let name_server = system::uid(system::ATTESTD).and_then(firewall::tables::name_server);
        if let Some(name_server) = name_server {
            self.attest_send(
                &ToAttestd::Service(attestfiles::service(&self.config), name_server),
                Vec::new(),
            );
        }
        if self.attest.clock_set {
            self.attest_send(&ToAttestd::ClockSet, Vec::new());
        }
        for (package, dir) in self.attest.packages.values().cloned().collect::<Vec<_>>() {
            self.attest_package(package, &dir);
        }
        for report in self.attest.reports.all() {
            self.attest_send(&ToAttestd::Report(report), Vec::new());
        }
        self.attest_send(&ToAttestd::SyncEnd, Vec::new());
    }

    fn attest_begin(&mut self) {
        self.attest_send(&ToAttestd::Sync, Vec::new());
        self.attest_send(&ToAttestd::Floor(self.config.floor), Vec::new());
        let release = release::running(&self.config.os_release).unwrap_or_default();
        self.attest_send(&ToAttestd::Release(updatefiles::plain(&release)), Vec::new());
    }

    /// Hands attestd what it needs to unlock the data device, if it is locked; whether it is, and can be read.
    fn attest_unlock(&mut self) -> bool {
        let Some(device) = closed_device(&self.config).filter(|_| self.locked) else { return false };
        match self.attest_header(device) {
            Ok(fds) => {
                self.attest_begin();
                self.attest_send(&ToAttestd::Unlock, fds);
                true
            }
            Err(e) => {
                let text = format!("can not read {}: {e}", device.display());
                console::problem("device", &text, "check the disk; no app is started without storage");
                false
            }
        }
    }

    /// The beginning of the data device, and the boot images.
    fn attest_header(&self, device: &Path) -> io::Result<Vec<OwnedFd>> {
        let mut fds = vec![sealed::header(device)?];
        if let Some(running) = &self.update.running {
            match running.disk().boot_images() {
                Ok(images) => fds.extend(images),
                Err(e) => {
                    let text = format!("can not read the boot images: {e}");
                    console::problem("device", &text, "install the image again");
                }
            }
        }
        Ok(fds)
    }

    /// The data device, if it is one that was unlocked.
    fn attest_device(&self) -> Option<&Path> {
        let open = self.config.tpm && !self.locked && storage::is_mounted(&self.config.data);
        self.config.data_device.as_deref().filter(|_| open)
    }

    /// attestd wants to put a recovery key into the header.
    fn attest_give_header(&mut self) {
        let Some(device) = self.attest_device() else { return };
        match self.attest_header(device) {
            Ok(fds) => self.attest_send(&ToAttestd::Header, fds),
            Err(e) => console::say(format_args!("no recovery key: can not read the data device: {e}")),
        }
    }

    fn attest_rewrite(&mut self, header: Option<OwnedFd>) {
        let Some(device) = self.attest_device() else { return };
        let header = header.ok_or(io::Error::from(io::ErrorKind::InvalidInput));
        match header.and_then(|header| sealed::rewrite(device, header)) {
            Ok(()) => self.attest_send(&ToAttestd::Rewritten, Vec::new()),
            Err(e) => console::say(format_args!("no recovery key: can not write the data device: {e}")),
        }
    }

    /// The device does not go back behind this. As long as that gets more, and is less than the system that runs says, it goes
    /// on; not while that is on trial, since the one before has to get at the data if it is not good.
    fn attest_raised(&mut self, floor: u32) {
        let before = self.attest.floor.replace(floor);
        if before.is_some_and(|before| before < floor) {
            console::say(format_args!("event floor: no system below {floor} gets at the storage any more"));
        }
        let trial = self.update.running.as_ref().is_some_and(Running::is_on_trial);
        if !trial && before.is_none_or(|before| before < floor) && floor < self.config.floor {
            self.attest_raise();
        }
    }

    /// The system that runs is good now.
    pub(super) fn attest_good(&mut self) {
        if self.attest.floor.is_some_and(|floor| floor < self.config.floor) {
            self.attest_raise();
        }
    }

    /// The system that runs is good: nothing that is older than it says gets at the data any more.
    fn attest_raise(&mut self) {
        let Some(device) = self.attest_device() else { return };
        match self.attest_header(device) {
            Ok(fds) => self.attest_send(&ToAttestd::Raise, fds),
            Err(e) => console::say(format_args!(
                "older systems are not shut out: can not read the data device: {e}"
            )),
        }
    }

    fn attest_unlocked(&mut self, volume: Volume, header: Option<OwnedFd>) -> io::Result<()> {
        let Some(device) = closed_device(&self.config).filter(|_| self.locked) else { return Ok(()) };
        let device = device.to_owned();
        let made = header.is_some();
        let open = || sealed::open(&device, &volume);
        // Zeros of the device are none behind the key: it is marked for what makes the file system.
        let begin = || open().and_then(|mapped| storage::begin(&mapped).map(|()| mapped));
        let opened = match header {
            Some(header) => sealed::format(&device, header, begin),
            None => open(),
        };
        match opened {
            Ok(mapped) => {
                if made {
                    console::say(format_args!("first boot: sealed {} to this board", device.display()));
                }
                self.unlocked(&mapped)
            }
            Err(e) => {
                let text = format!("no storage on {}: {e}", device.display());
                console::problem(
                    "device",
                    &text,
                    "check the disk and the kernel's log; no app is started without storage",
                );
                self.attest_everything();
                Ok(())
            }
        }
    }

    /// Before attestd's `Hello` nothing is queued: that gets the whole state.
    pub(super) fn attest_send(&mut self, message: &ToAttestd, fds: Vec<OwnedFd>) {
        if self.attest.greeted {
            self.attest.outbox.push(message.encode(), fds);
        }
    }

    pub(super) fn attest_flush(&mut self) {
        self.attest.outbox.flush();
    }

    /// The clock is set: certificates can be judged.
    pub(super) fn attest_clock(&mut self) {
        if !std::mem::replace(&mut self.attest.clock_set, true) {
            self.attest_send(&ToAttestd::ClockSet, Vec::new());
            self.update_clock();
        }
    }

    /// Something of a box that the service should hear of.
    pub(super) fn attest_report(&mut self, uid: u32, kind: &str, detail: &str) {
        let Some(app) = self.apps.get(&uid).filter(|_| self.config.tpm) else { return };
        let version = app.version.clone().unwrap_or_default();
        let (report, written) = self.attest.reports.add(&app.id, &version, kind, detail, clock::now_s());
        if let Err(e) = written {
            console::say(format_args!("a report for the service is not on the disk: {e}"));
        }
        self.attest_send(&ToAttestd::Report(report), Vec::new());
    }

    /// Takes what attestd says.
    pub(super) fn attest_messages(&mut self) -> io::Result<()> {
        for _ in 0..AT_ONCE {
            let Some((bytes, mut fds)) = self.attest.outbox.receive() else { return Ok(()) };
            match FromAttestd::decode(&bytes) {
                Some(FromAttestd::Hello) => self.attest_state(),
                Some(FromAttestd::Record(line)) => self.attest_record(&line),
                Some(FromAttestd::Measured(uid)) => self.attest_measured(uid)?,
                Some(FromAttestd::Unmeasured(uid, why)) => self.attest_failed(uid, &why),
                Some(FromAttestd::Reach(address)) => self.attest_reach(&address),
                Some(FromAttestd::Keep) => self.attest_keep(fds.pop()),
                Some(FromAttestd::Reported(number)) => {
                    if let Err(e) = self.attest.reports.taken(number) {
                        console::say(format_args!("can not forget what the service has: {e}"));
                    }
                }
                Some(FromAttestd::Unlocked(key, offset, sector_bytes)) => {
                    self.attest_unlocked(Volume { key, offset, sector_bytes }, None)?;
                }
                Some(FromAttestd::Formatted(key, offset, sector_bytes)) => match fds.pop() {
                    Some(header) => {
                        self.attest_unlocked(Volume { key, offset, sector_bytes }, Some(header))?
                    }
                    None => console::say("event attestd-nonsense: a formatted device without its header"),
                },
                Some(FromAttestd::Locked(why)) => {
                    let help =
                        "boot a signed image on the board it was sealed to, or open it by its recovery key";
                    console::problem("device", &format!("the storage stays locked: {why}"), help);
                    self.attest_everything();
                }
                Some(FromAttestd::Header) => self.attest_give_header(),
                Some(FromAttestd::Rewrite) => self.attest_rewrite(fds.pop()),
                Some(FromAttestd::Attested) => self.update_attested(),
                Some(FromAttestd::Developer(developer)) => self.door_told(developer)?,
                Some(FromAttestd::Raised(floor)) => self.attest_raised(floor),
                Some(FromAttestd::Say(text)) => console::say(format_args!("event attest: {text}")),
                None => console::say("event attestd-nonsense: attestd sent what is no message"),
            }
        }
        Ok(())
    }

    fn attest_record(&mut self, line: &str) {
        match attestfiles::record(&self.config, line) {
            Ok(()) => self.attest_send(&ToAttestd::Recorded, Vec::new()),
            Err(e) => console::problem(
                "device",
                &format!("the package log can not be kept: {e}"),
                "no app is started",
            ),
        }
    }

    fn attest_measured(&mut self, uid: u32) -> io::Result<()> {
        if !self.attest.packages.contains_key(&uid) {
            return Ok(());
        }
        self.attest.measured.insert(uid);
        self.launch_if_it_waits(uid)
    }

    fn attest_failed(&mut self, uid: u32, why: &str) {
        if self.switch_unmeasured(uid, why) {
            return;
        }
        if self.attest_must_wait(uid) {
            self.problem(uid, &format!("it can not be measured: {why}"), "see the log of os.gabion.attest");
        }
    }

    /// attestd's own way out: to the service, and to nobody else.
    fn attest_reach(&mut self, address: &str) {
        let Some(uid) = system::uid(system::ATTESTD) else { return };
        let Ok(to) = address.parse::<HostPort>() else { return };
        let grants = Grants {
            uid,
            id: system::ATTESTD.to_owned(),
            connect: vec![to.to_string()],
            // Whoever runs a service may run it at home.
            private: Some(to.host())
                .filter(|host| host.is_name())
                .map(ToString::to_string)
                .into_iter()
                .collect(),
            ..Grants::default()
        };
        self.net_grants(grants);
    }

    fn attest_keep(&mut self, memory: Option<OwnedFd>) {
        let kept = memory
            .ok_or(io::ErrorKind::InvalidInput.into())
            .and_then(|fd| attestfiles::keep(&self.config, fd));
        if let Err(e) = kept {
            console::say(format_args!("can not keep attestd's state: {e}"));
        }
    }
}
