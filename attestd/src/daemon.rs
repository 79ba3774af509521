//! The parts, joined: one thread, everything in one `LocalSet`.

#[cfg(test)]
#[path = "away.rs"]
mod away;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bus::attest_link::{FromAttestd, KEPT_MAX, Package as Installed, ToAttestd};
use bus::bulk::{self, Sealed};
use bus_tokio::Link;
use evidence::Digest;
use evidence::packages::{PCR, Package, SIZE_MAX};
use service_api::DeviceId;
use service_api::device::{Enrolled, Granted};
use sys::process::now_ms;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tpm::Name;

use crate::identity::{DEVICE, Identity};
use crate::kept::{Held, Kept};
use crate::pace::Pace;
use crate::packages::{Next, Packages, Register};
use crate::round::{Round, RoundError};
use crate::state::{NO_SERVICE, State, now_s};
use crate::{serve, tls, unlock};
use contact::config::Service;
use contact::http::{Connection, printable};

/// Longest manifest, bytes, and longest event log of a firmware.
const MANIFEST_MAX: u64 = 256 << 10;
const BOOT_LOG_MAX: u64 = 128 << 10;
/// How long changes are gathered before a round: apps are launched one after the other.
const GATHER: Duration = Duration::from_secs(2);
/// How long reports are gathered: an app that crashes again and again is no more than one batch a minute.
const REPORTS: Duration = Duration::from_secs(60);
/// Nothing is due; a month, after which that is looked at again.
const FOR_EVER: Duration = Duration::from_secs(30 * 86_400);
/// Kinds of refusals that tell what to do about them.
const UNCLAIMED: &str = "unclaimed";
const MISSING: &str = "missing";
const REVOKED: &str = "revoked";
/// `TPM_ALG_SHA256`, with which a name begins.
const SHA256: [u8; 2] = [0, 0x0b];

/// The register of packages in the TPM.
struct Pcr13<'a>(&'a Identity);

impl Register for Pcr13<'_> {
    fn value(&mut self) -> Result<Digest, tpm::Error> {
        let values = self.0.with(|tpm| tpm.read_pcrs(&[PCR as u8]))?;
        let [(_, value)] = values[..] else { return Err(tpm::Error::Unexpected("other registers")) };
        Ok(Digest(value))
    }

    fn extend(&mut self, by: &Digest) -> Result<(), tpm::Error> {
        self.0.with(|tpm| tpm.extend(PCR as u8, &by.0))
    }
}

/// The daemon.
pub struct Attestd {
    state: Rc<State>,
}

impl Attestd {
    /// On the socket to sandboxd, with this TPM.
    ///
    /// # Errors
    /// The socket can't be waited for.
    pub fn new(link: OwnedFd, identity: Identity) -> io::Result<Self> {
        Ok(Self { state: Rc::new(State::new(Link::new(link)?, identity)) })
    }

    /// Runs until sandboxd's end of the link is gone for good.
    ///
    /// # Errors
    /// The link fails.
    pub async fn run(self) -> io::Result<()> {
        let flushing = self.state.clone();
        spawn_local(async move { flushing.link.flush().await });
        let serving = self.state.clone();
        spawn_local(async move { said("bus", serve::run(serving).await) });
        let rounds = self.state.clone();
        spawn_local(async move { rounds.rounds().await });
        let developer = self.state.clone();
        spawn_local(async move { developer.developer().await });
        self.state.link.send(&FromAttestd::Hello);
        loop {
            let (message, fds) = self.state.link.receive().await?;
            self.state.take(message, fds);
        }
    }
}

impl State {
    fn take(self: &Rc<Self>, message: ToAttestd, mut fds: Vec<OwnedFd>) {
        match message {
            ToAttestd::Sync => {
                self.developer_anew();
                self.apps.borrow_mut().clear();
                self.reports.borrow_mut().clear();
                self.escrow.borrow_mut().anew();
            }
            ToAttestd::Floor(system) => self.system.set(system),
            ToAttestd::Release(version) => *self.release.borrow_mut() = version,
            ToAttestd::Packages => self.take_up(fds.pop()),
            ToAttestd::Boot => match fds.pop().map(|fd| read(fd, BOOT_LOG_MAX)) {
                Some(Ok(log)) => *self.boot_log.borrow_mut() = log,
                _ => self.say("the firmware's event log can not be read"),
            },
            ToAttestd::Kept => self.remember(fds.pop()),
            ToAttestd::Service(text, name_server) => {
                self.name_server.set(name_server);
                self.configure(&text);
            }
            ToAttestd::ClockSet => {
                self.developer_clock();
                self.round_is_due();
            }
            ToAttestd::SyncEnd => {
                if self.attested.get() {
                    self.link.send(&FromAttestd::Attested);
                }
                self.developer_known();
                self.round_is_due();
            }
            ToAttestd::Unlock => self.unlock(fds),
            ToAttestd::App(installed) => self.app(installed, fds.pop()),
            ToAttestd::Gone(uid) => {
                self.apps.borrow_mut().retain(|(_, known)| *known != uid);
                self.kept.borrow_mut().certificates.retain(|held| held.uid != uid);
                self.keep();
            }
            ToAttestd::Recorded => self.recorded(),
            ToAttestd::Header => self.recovery(fds),
            ToAttestd::Rewritten => {
                self.escrow.borrow_mut().written();
                self.wake.notify_one();
            }
            ToAttestd::Raise => self.raise(fds),
            ToAttestd::Permit(id) => self.permit_told(id),
            ToAttestd::Report(report) => {
                self.reports.borrow_mut().add(report);
                self.wake.notify_one();
            }
        }
    }

    fn take_up(&self, log: Option<OwnedFd>) {
        let log = log.map(|fd| read(fd, SIZE_MAX as u64)).unwrap_or(Err(io::ErrorKind::InvalidInput.into()));
        let taken = log
            .map_err(|e| e.to_string())
            .and_then(|log| Packages::take_up(&log, &mut Pcr13(&self.identity)).map_err(|e| e.to_string()));
        match taken {
            Ok(packages) => *self.packages.borrow_mut() = packages,
            Err(why) => self.say(&format!("nothing can be measured: {why}")),
        }
    }

    fn remember(&self, memory: Option<OwnedFd>) {
        let bytes = memory.and_then(|fd| Sealed::open(fd, KEPT_MAX).ok()?.read().ok()).unwrap_or_default();
        let kept = Kept::read(&bytes);
        if let Some(digest) = kept.storage_key {
            let mut name: Name = [0; 34];
            name.iter_mut().zip(SHA256.iter().chain(&digest.0)).for_each(|(to, from)| *to = *from);
            self.identity.expect(name);
        }
        *self.kept.borrow_mut() = kept;
    }

    fn configure(&self, text: &str) {
        if text.is_empty() {
            return self.link.send(&FromAttestd::Reach(String::new()));
        }
        match text.parse::<Service>() {
            Ok(service) => {
                self.link.send(&FromAttestd::Reach(service.address()));
                let kept = self.kept.take();
                self.kept.replace(kept.of_service(&service.address()));
                *self.service.borrow_mut() = Some(service);
                self.round_is_due();
            }
            Err(e) => self.say(&format!("service.toml is passed over: {e}")),
        }
    }

    fn app(&self, installed: Installed, manifest: Option<OwnedFd>) {
        let Installed { uid, id, version, root_hash, certificate } = installed;
        let mut apps = self.apps.borrow_mut();
        // It may be told again: what is in the box may be another package now.
        apps.retain(|(_, known)| *known != uid);
        if certificate {
            apps.push((id.clone(), uid));
        }
        drop(apps);
        let package = manifest.ok_or(io::ErrorKind::InvalidInput.into()).and_then(|fd| {
            let manifest = Digest::of(&read(fd, MANIFEST_MAX)?);
            let root = match root_hash.as_str() {
                "" => None,
                hash => Some(hash.parse().map_err(|_| io::ErrorKind::InvalidData)?),
            };
            Ok::<_, io::Error>(Package { app: id.clone(), manifest, root, version })
        });
        let next = package.map_err(|e| e.to_string());
        let next = next
            .and_then(|package| self.packages.borrow_mut().wanted(uid, package).map_err(|e| e.to_string()));
        match next {
            Ok(next) => next.into_iter().for_each(|next| self.go_on(next)),
            Err(why) => self.link.send(&FromAttestd::Unmeasured(uid, printable(&why))),
        }
    }

    fn recorded(&self) {
        let next = self.packages.borrow_mut().kept(&mut Pcr13(&self.identity));
        match next {
            Ok(next) => next.into_iter().for_each(|next| self.go_on(next)),
            Err(e) => self.say(&format!("nothing can be measured: {e}")),
        }
    }

    /// Apps that get a certificate: those that the quote is about, too.
    fn measured_apps(&self) -> Vec<(String, u32)> {
        let packages = self.packages.borrow();
        self.apps.borrow().iter().filter(|(_, uid)| packages.is_measured(*uid)).cloned().collect()
    }

    fn go_on(&self, next: Next) {
        if let Next::Measured(uid) = next
            && self.apps.borrow().iter().any(|(_, known)| *known == uid)
        {
            self.round_is_due();
        }
        self.link.send(&match next {
            Next::Measured(uid) => FromAttestd::Measured(uid),
            Next::Keep(record) => FromAttestd::Record(record),
        });
    }

    fn unlock(&self, fds: Vec<OwnedFd>) {
        match unlock::unlock(&self.identity, self.system.get(), fds) {
            Ok(unlock::Opened { key, offset, sector_bytes, header, floor }) => {
                match header {
                    None => self.link.send(&FromAttestd::Unlocked(key, offset, sector_bytes)),
                    Some(header) => {
                        self.link.send_with(&FromAttestd::Formatted(key, offset, sector_bytes), vec![header]);
                    }
                }
                self.link.send(&FromAttestd::Raised(floor));
            }
            Err(e) => self.link.send(&FromAttestd::Locked(printable(&e.to_string()))),
        }
    }

    /// The system that runs is good.
    fn raise(&self, fds: Vec<OwnedFd>) {
        match unlock::raise(&self.identity, self.system.get(), fds) {
            Ok(floor) => self.link.send(&FromAttestd::Raised(floor)),
            Err(e) => self.say(&format!("older systems are not shut out: {e}")),
        }
    }

    /// Puts a recovery key into the header that sandboxd was asked for.
    fn recovery(&self, fds: Vec<OwnedFd>) {
        let made = self.escrow.borrow_mut().header(&self.identity, self.system.get(), fds);
        match made {
            Ok(Some(header)) => self.link.send_with(&FromAttestd::Rewrite, vec![header]),
            Ok(None) => {}
            Err(e) => self.say(&format!("no recovery key is made: {e}")),
        }
    }

    /// Has sandboxd keep what we know.
    pub(crate) fn keep(&self) {
        match bulk::seal(c"attest-kept", &self.kept.borrow().bytes()) {
            Ok(memory) => self.link.send_with(&FromAttestd::Keep, vec![memory]),
            Err(e) => self.say(&format!("what the service says can not be kept: {e}")),
        }
    }

    pub(crate) fn say(&self, text: &str) {
        self.link.send(&FromAttestd::Say(printable(text)));
    }

    /// Asks the service, now and again, for ever.
    async fn rounds(self: Rc<Self>) {
        let mut pace = Pace::default();
        // The state that we are told at first ends with the word that a round is due.
        let (mut next, mut reports) = (Instant::now() + FOR_EVER, None);
        loop {
            if self.due.take() || next <= Instant::now() {
                let wait = self.round(&mut pace).await;
                (next, reports) = (Instant::now() + wait, None);
            } else if reports.take_if(|at| *at <= Instant::now()).is_some() {
                self.deliver().await;
                // Reports can wait for the next round; a disk whose key nobody has can not.
                reports = self.escrow.borrow().waits().map(|_| Instant::now() + REPORTS);
            }
            tokio::select! {
                () = sleep_until(reports.map_or(next, |at: Instant| at.min(next))) => {}
                () = self.wake.notified() => {
                    if self.due.get() {
                        pace.begin_anew();
                        sleep(GATHER).await;
                        continue;
                    }
                    self.refresh().await;
                    if self.escrow.borrow().waits().is_some() {
                        self.deliver().await;
                    }
                    if !self.reports.borrow().is_empty() || self.escrow.borrow().waits().is_some() {
                        reports.get_or_insert_with(|| Instant::now() + REPORTS);
                    }
                }
            }
        }
    }

    /// Fetches what was revoked, since an app asked; as often as that may be.
    async fn refresh(&self) {
        let Some(service) = self.service.borrow().clone() else { return };
        if self.kept.borrow().certificates.is_empty() || !self.revoked_is_old(now_ms()) {
            return;
        }
        match self.authorities(&service).await {
            Ok(()) => self.keep(),
            Err(e) => self.say(&format!("what was revoked is not known: {}", printable(&e.to_string()))),
        }
    }

    /// One round; gives when the next one is due.
    async fn round(&self, pace: &mut Pace) -> Duration {
        let Some(service) = self.service.borrow().clone() else {
            self.fail(vec![NO_SERVICE.to_owned()]);
            return FOR_EVER;
        };
        let wait_ms = match self.attest(&service).await {
            Ok(renew_after_s) => {
                self.failure.borrow_mut().clear();
                self.attested.set(true);
                self.link.send(&FromAttestd::Attested);
                self.deliver().await;
                pace.succeeded(renew_after_s, chance())
            }
            Err(e) => {
                let unclaimed = e.refusal().is_some_and(|refusal| refusal.kind == UNCLAIMED);
                if unclaimed || e.refusal().is_some_and(|refusal| refusal.kind == REVOKED) {
                    self.permit_refused();
                }
                match e.refusal() {
                    Some(refusal) => {
                        if !unclaimed && self.kept.borrow_mut().claim_code.take().is_some() {
                            // Somebody has claimed us: it is good for nothing any more.
                            self.keep();
                        }
                        self.fail(
                            refusal.reasons.iter().map(|why| format!("the service refuses: {why}")).collect(),
                        );
                    }
                    None => self.fail(vec![e.to_string()]),
                }
                if unclaimed { pace.unclaimed(chance()) } else { pace.failed(chance()) }
            }
        };
        Duration::from_millis(wait_ms)
    }

    /// There is no certificate, and why: said once.
    fn fail(&self, why: Vec<String>) {
        if *self.failure.borrow() == why {
            return;
        }
        why.iter().for_each(|line| self.say(&format!("no certificate: {line}")));
        let waits = self.kept.borrow();
        if let (Some(device), Some(code)) = (&waits.device, &waits.claim_code) {
            let (device, code) = (device.as_str(), code.as_str());
            let claim = "gabion device claim CATALOG";
            self.say(&format!("to claim it: {claim} {device} {code} --product PRODUCT --group GROUP"));
        }
        *self.failure.borrow_mut() = why;
    }

    async fn attest(&self, service: &Service) -> Result<u32, RoundError> {
        let boot_log = self.boot_log.borrow().clone();
        let round = Round {
            identity: &self.identity,
            service,
            name_server: self.name_server.get(),
            tls: tls::config(service.roots.clone(), None).map_err(|_| RoundError::Form)?,
            boot_log: &boot_log,
            package_log: self.packages.borrow().text(),
            apps: self.measured_apps(),
        };
        let known = self.kept.borrow().device.clone();
        let device = match known.clone() {
            Some(device) => device,
            None => self.enrol(&round).await?,
        };
        let done = round.attest(&device).await;
        let refusal = done.as_ref().err().and_then(RoundError::refusal).map(|refusal| refusal.kind.clone());
        let unclaimed = refusal.as_deref() == Some(UNCLAIMED) && self.kept.borrow().claim_code.is_none();
        let again = known.is_some() && (unclaimed || refusal.as_deref() == Some(MISSING));
        let (device, granted) = match again {
            // Given up by its owner, who must not know the next code; or the service has lost its state.
            true => {
                let device = self.enrol(&round).await?;
                let granted = round.attest(&device).await?;
                (device, granted)
            }
            false => (device, done?),
        };
        let (renew_after_s, escrow) = (granted.renew_after_s, granted.escrow);
        self.granted(service, device, granted).await;
        if self.escrow.borrow_mut().wanted(escrow) {
            self.link.send(&FromAttestd::Header);
        }
        Ok(renew_after_s)
    }

    /// Has the service know us, and keeps what it calls us.
    async fn enrol(&self, round: &Round<'_>) -> Result<DeviceId, RoundError> {
        let Enrolled { device, claim_code } = round.enrol().await?;
        self.say(&format!("enrolled device={}", device.as_str()));
        {
            let mut kept = self.kept.borrow_mut();
            kept.device = Some(device.clone());
            kept.claim_code = claim_code;
        }
        // The code is new: it is to be shown whatever was said before.
        self.failure.borrow_mut().clear();
        self.keep();
        Ok(device)
    }

    async fn granted(&self, service: &Service, device: DeviceId, granted: Granted) {
        let expires_s = now_s().saturating_add(granted.lifetime_s.into());
        let uid = |id: &str| self.apps.borrow().iter().find(|(known, _)| known == id).map(|(_, uid)| *uid);
        let certificates = granted.certificates.into_iter().filter_map(|certificate| {
            let id = certificate.subject.as_str();
            let uid = if id == DEVICE { 0 } else { uid(id)? };
            let chain = certificate.chain.to_vec();
            Some(Held { subject: certificate.subject, uid, chain, expires_s })
        });
        let certificates: Vec<Held> = certificates.collect();
        let permit = granted.permit;
        let count = certificates.len();
        let storage_key = self.identity.with(|tpm| tpm.storage_key()).ok();
        {
            let mut kept = self.kept.borrow_mut();
            kept.certificates = certificates;
            kept.storage_key = storage_key.and_then(|name| Digest::from_slice(name.get(2..)?));
            // Whoever knows it could do nothing with it any more.
            kept.claim_code = None;
        }
        if let Err(e) = self.authorities(service).await {
            self.say(&format!("the authorities are not known: {}", printable(&e.to_string())));
        }
        self.say(&format!("attested device={} certificates={count}", device.as_str()));
        self.permit_offered(permit.as_ref().map(|permit| permit.as_str()));
        self.keep();
    }

    /// Fetches whom other devices' certificates come from, and which were revoked.
    async fn authorities(&self, service: &Service) -> Result<(), RoundError> {
        self.revoked_ms.set(now_ms());
        let catalog =
            self.kept.borrow().certificates.first().and_then(|held| crate::catalog::of(&held.chain));
        let catalog = catalog.ok_or(RoundError::Form)?;
        let tls = tls::config(service.roots.clone(), None).map_err(|_| RoundError::Form)?;
        let mut connection = Connection::open(service, self.name_server.get(), tls).await?;
        let published = connection.get(&format!("/device/v1/ca?catalog={catalog}")).await?;
        let revoked = connection.get(&format!("/device/v1/crl?catalog={catalog}")).await?;
        let mut kept = self.kept.borrow_mut();
        kept.authorities = crate::catalog::authorities(&published);
        kept.revoked = service_api::Bytes::new(revoked.to_vec());
        Ok(())
    }

    /// Sends what the service should hear of, as the device. What it did not take it gets another time.
    async fn deliver(&self) {
        let Some(service) = self.service.borrow().clone() else { return };
        if let Err(e) = self.report(&service).await {
            self.say(&format!("the service did not take our reports: {e}"));
        }
        if let Err(e) = self.hand_over(&service).await {
            self.say(&format!("the service did not take the recovery key: {e}"));
        }
    }

    /// Hands the recovery key over that opens the device from now on, if there is one.
    async fn hand_over(&self, service: &Service) -> Result<(), RoundError> {
        let Some(text) = self.escrow.borrow().waits() else { return Ok(()) };
        let Some(mut connection) = self.as_device(service).await? else { return Ok(()) };
        let recovery_key = text.parse().map_err(|_| RoundError::Form)?;
        connection.put("/device/v1/recovery-key", &service_api::device::Escrow { recovery_key }).await?;
        self.escrow.borrow_mut().taken();
        self.say("the service has a recovery key of the storage");
        Ok(())
    }

    async fn report(&self, service: &Service) -> Result<(), RoundError> {
        let Some(batch) = self.reports.borrow().batch(&self.release.borrow()) else { return Ok(()) };
        let Some(mut connection) = self.as_device(service).await? else { return Ok(()) };
        let taken: service_api::device::Taken = connection.post("/device/v1/reports", &batch).await?;
        let number = self.reports.borrow_mut().taken(taken.taken);
        self.link.send(&FromAttestd::Reported(number));
        Ok(())
    }

    /// A connection as the device; `None` without its certificate.
    async fn as_device(&self, service: &Service) -> Result<Option<Connection>, RoundError> {
        let chain = {
            let kept = self.kept.borrow();
            let Some(held) = kept.certificate(DEVICE, 0, now_s()) else { return Ok(None) };
            held.chain.iter().map(|der| CertificateDer::from(der.as_slice().to_vec())).collect()
        };
        let ours = tls::Ours { identity: self.identity.clone(), key: Identity::key_id(DEVICE, 0), chain };
        let tls = tls::config(service.roots.clone(), Some(ours)).map_err(|_| RoundError::Form)?;
        Ok(Some(Connection::open(service, self.name_server.get(), tls).await?))
    }
}

/// A number by chance, of the kernel's.
fn chance() -> u32 {
    let mut bytes = [0; 4];
    // Without it everybody would come at once; with it late: that is all that hangs on it.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
    u32::from_ne_bytes(bytes)
}

/// All of a file, which must not be longer than `max`.
fn read(fd: OwnedFd, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(fd).take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn said(part: &str, ended: io::Result<()>) {
    if let Err(e) = ended {
        eprintln!("{part}: {e}");
    }
}
