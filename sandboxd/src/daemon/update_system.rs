//! The system's own update: what updated may ask for, and how it is done.
//!
//! Invariants: one thing at a time is done on the system's disk, in a thread, so that no app waits for a disk. A system on
//! trial of which nobody says in [`TRIAL_MS`] that it is good is given up by ourselves, whether updated is there or not. Why a
//! system did not last is kept for the one that runs after it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use bus::bulk::Sealed;
use bus::update_link::{FromUpdated, KERNEL_MAX, System, ToUpdated};
use nix::fcntl::OFlag;

use super::Daemon;
use crate::config::Config;
use crate::console::{self, say};
use crate::poller::Ready;
use crate::release;
use crate::sysdisk::{self, DiskError, Order, Standing, SystemDisk};
use crate::system;
use crate::updatefiles::{self, plain};
use crate::verity::VerityText;

/// How long the device is up before a system on trial is given up that nobody said anything of, milliseconds.
const TRIAL_MS: u64 = 15 * 60 * 1000;
/// What is said of a system that used up its attempts without a word.
const SPENT: &str = "it was never said to be good, in as many starts as it had:";

/// The system that runs, on a disk with slots.
#[derive(Debug)]
pub(super) struct Running {
    disk: SystemDisk,
    standing: Standing,
    /// It is on its way down, or has been given up by ourselves.
    judged: bool,
    job: Option<Job>,
    /// What a new updated asked for, while what the one before had asked for is being done.
    next: Option<(FromUpdated, Vec<OwnedFd>)>,
}

/// Something that is being done on the disk.
#[derive(Debug)]
struct Job {
    thread: JoinHandle<Result<Done, DiskError>>,
    /// Ends when the thread does.
    ended: OwnedFd,
    /// Whoever asked is still there.
    asked: bool,
}

#[derive(Debug)]
enum Done {
    Slot(Vec<OwnedFd>),
    Kernel(OwnedFd),
    Armed(String),
    Blessed,
    /// It boots for this reason.
    Boot(String),
}

impl Running {
    /// What runs, if it was started from a disk with slots.
    pub(super) fn find(config: &Config) -> Option<Self> {
        let esp = config.esp.as_deref()?;
        let version = release::running(&config.os_release).unwrap_or_default();
        let line = std::fs::read_to_string(&config.command_line).unwrap_or_default();
        let layout = sysdisk::layout(&config.layout)
            .inspect_err(|e| {
                let text = format!("{} is no disk's layout: {e}", config.layout.display());
                console::problem("device", &text, "the system can not be renewed; correct it in the image");
            })
            .ok()?;
        let found = SystemDisk::of_device(esp, layout, &version, &line)
            .and_then(|disk| disk.standing().map(|standing| (disk, standing)));
        let (disk, standing) = found
            .inspect_err(|e| {
                let text = format!("the system's disk can not be read: {e}");
                console::problem("device", &text, "the system can not be renewed; install the image again");
            })
            .ok()?;
        if standing.trial {
            say(format_args!("event update-trial version={}", disk.version()));
        }
        Some(Self { disk, standing, judged: false, job: None, next: None })
    }

    /// Gives up a system on trial that can not even keep its manager up, before anything else is tried that may not come to
    /// its end; whether it was. What is said of it is said later, if there is a later.
    pub(super) fn give_up(&self) -> bool {
        self.standing.trial
            && self
                .disk
                .fail()
                .inspect_err(|e| say(format_args!("event update-refused reason=\"{e}\"")))
                .is_ok()
    }

    /// The disk.
    pub(super) fn disk(&self) -> &SystemDisk {
        &self.disk
    }

    /// It is on trial.
    pub(super) fn is_on_trial(&self) -> bool {
        self.standing.trial
    }

    /// When to give up what runs. In safe mode it is no good already.
    pub(super) fn deadline_ms(&self, safe_mode: bool) -> Option<u64> {
        let waits = self.standing.trial && !self.judged && self.job.is_none();
        waits.then_some(if safe_mode { 0 } else { TRIAL_MS })
    }

    /// updated is another now: it hears no answer to what the one before asked.
    pub(super) fn anew(&mut self) {
        self.next = None;
        if let Some(job) = &mut self.job {
            job.asked = false;
        }
    }

    /// What updated is told of it.
    fn told(&self, config: &Config, floor: Option<u32>) -> System {
        if let Some((version, starts)) = &self.standing.spent {
            let known = updatefiles::failed(config).is_some_and(|(known, _)| known == *version);
            if !known {
                keep_failed(config, version, &format!("{SPENT} {starts}"));
            }
        }
        let failed = updatefiles::failed(config).filter(|(version, _)| version != self.disk.version());
        System {
            version: self.disk.version().to_owned(),
            root_hash: self.disk.root_hash(),
            trial: self.standing.trial,
            floor: floor.unwrap_or(config.floor),
            failed,
        }
    }
}

impl Daemon {
    /// Tells updated what runs: part of the state.
    pub(super) fn update_tell_system(&mut self) {
        let told = self.update.running.as_ref().map(|running| running.told(&self.config, self.attest.floor));
        if let Some(system) = told {
            self.update_send(&ToUpdated::System(system), Vec::new());
        }
    }

    /// Takes what updated says of the system.
    pub(super) fn update_system(&mut self, message: FromUpdated, fds: Vec<OwnedFd>) {
        let Some(running) = &mut self.update.running else {
            return self.update_refuse("this device's disk has no slots");
        };
        match &running.job {
            Some(job) if job.asked => self.update_refuse("what was asked for before is still being done"),
            Some(_) => running.next = Some((message, fds)),
            None => self.update_do(message, fds),
        }
    }

    fn update_do(&mut self, message: FromUpdated, mut fds: Vec<OwnedFd>) {
        match message {
            FromUpdated::Slot => self.update_start(true, |disk| disk.slot().map(Done::Slot)),
            FromUpdated::Kernel => self.update_start(true, |disk| disk.kernel().map(Done::Kernel)),
            FromUpdated::Arm(version, verity, floor) => match order(version, &verity, floor, fds.pop()) {
                Ok(order) => {
                    // How it ended, if it was tried before, is not how it will.
                    updatefiles::forget_failed(&self.config);
                    self.update_start(true, move |disk| disk.arm(&order).map(|()| Done::Armed(order.version)))
                }
                Err(why) => self.update_refuse(&why),
            },
            FromUpdated::Reboot => self.update_start(true, |disk| {
                disk.is_armed().map(|()| Done::Boot("update: a new system is to be tried".to_owned()))
            }),
            FromUpdated::Bless => match self.unsteady_daemon() {
                Some(why) => self.update_refuse(&why),
                None => self.update_start(true, |disk| disk.bless().map(|()| Done::Blessed)),
            },
            FromUpdated::Fail(why) => self.update_fail(true, why),
            // Not of the system: they are taken before.
            _ => {}
        }
    }

    /// What of the system itself is not well. The worker comes and goes.
    fn unsteady_daemon(&self) -> Option<String> {
        let now = sys::process::now_ms();
        let mut daemons = self.apps.values().filter(|app| app.system && app.id != system::WORKER);
        let daemon = daemons.find(|app| app.is_unsteady(now))?;
        Some(format!("{} does not run, or ends again and again", daemon.id))
    }

    /// What runs is not good.
    fn update_fail(&mut self, asked: bool, why: String) {
        let Some(running) = &mut self.update.running else { return };
        say(format_args!("event update-failed version={} reason=\"{why}\"", running.disk.version()));
        let config = self.config.clone();
        self.update_start(asked, move |disk| {
            disk.other()?;
            // Before it is said to the boot loader: whoever runs next is to know.
            keep_failed(&config, disk.version(), &why);
            match disk.fail() {
                // It has as many attempts as the boot loader has counted, and then none.
                Err(e @ (DiskError::Slots(_) | DiskError::Io(..))) if !asked => {
                    say(format_args!("the boot loader could not be told: {e}"));
                }
                other => other?,
            }
            Ok(Done::Boot(format!("update: {why}")))
        });
    }

    /// Gives up a system on trial that nobody has judged in time.
    pub(super) fn update_overdue(&mut self, now: u64) {
        let safe_mode = self.config.safe_mode;
        let due = self.update.running.as_ref().and_then(|running| running.deadline_ms(safe_mode));
        if let Some(running) = self.update.running.as_mut().filter(|_| due.is_some_and(|at| at <= now)) {
            running.judged = true;
            let why = match safe_mode {
                true => "it can not keep its manager up".to_owned(),
                false => format!("nobody said in {} minutes that it is good", TRIAL_MS / 60_000),
            };
            self.update_fail(false, why);
        }
    }

    fn update_start(
        &mut self,
        asked: bool,
        work: impl FnOnce(SystemDisk) -> Result<Done, DiskError> + Send + 'static,
    ) {
        let Some(running) = &mut self.update.running else { return };
        let disk = running.disk.clone();
        let started = || -> io::Result<Job> {
            let (ended, end) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            self.poller.watch(&ended, Ready::Disk)?;
            let thread = thread::Builder::new().name("disk".to_owned()).spawn(move || {
                let done = work(disk);
                drop(end);
                done
            })?;
            Ok(Job { thread, ended, asked })
        };
        match started() {
            Ok(job) => running.job = Some(job),
            Err(e) => self.update_refuse(&format!("can not begin: {e}")),
        }
    }

    /// What was asked for is done, or not.
    pub(super) fn update_done(&mut self) {
        let Some(running) = &mut self.update.running else { return };
        let Some(Job { thread, ended, asked }) = running.job.take() else { return };
        self.poller.forget(&ended);
        let done = match thread.join() {
            Ok(done) => done.map_err(|e| e.to_string()),
            Err(_) => Err("the thread that does it failed".to_owned()),
        };
        match done {
            Ok(done) => self.update_answer(asked, done),
            Err(why) if asked => self.update_refuse(&why),
            Err(why) => say(format_args!("event update-refused reason=\"{why}\"")),
        }
        let next = self.update.running.as_mut().and_then(|running| running.next.take());
        if let Some((message, fds)) = next {
            self.update_do(message, fds);
        }
    }

    fn update_answer(&mut self, asked: bool, done: Done) {
        let (answer, fds) = match done {
            Done::Slot(fds) => (ToUpdated::Slot, fds),
            Done::Kernel(fd) => (ToUpdated::Kernel, vec![fd]),
            Done::Armed(version) => {
                say(format_args!("event update-armed version={version}"));
                (ToUpdated::Armed, Vec::new())
            }
            Done::Blessed => {
                if let Some(running) = &mut self.update.running {
                    running.standing.trial = false;
                    say(format_args!("event update-good version={}", running.disk.version()));
                }
                updatefiles::forget_failed(&self.config);
                self.attest_good();
                (ToUpdated::Blessed, Vec::new())
            }
            Done::Boot(why) => {
                if let Some(running) = &mut self.update.running {
                    running.judged = true;
                }
                self.desk_power(false, &why);
                return;
            }
        };
        if asked {
            self.update_send(&answer, fds);
        }
    }
}

/// What updated wants to be started, in its form.
fn order(version: String, verity: &str, floor: u32, kernel: Option<OwnedFd>) -> Result<Order, String> {
    let verity = VerityText::parse(verity).map_err(|e| e.to_string())?;
    let kernel = kernel.ok_or("there is no kernel image")?;
    // Whoever could change it after it was looked at would have another one written.
    let kept = kernel.try_clone().map_err(|e| e.to_string())?;
    Sealed::open(kept, KERNEL_MAX).map_err(|e| format!("the kernel image: {e}"))?;
    Ok(Order { version, verity, floor, kernel: File::from(kernel) })
}

fn keep_failed(config: &Config, version: &str, why: &str) {
    if let Err(e) = updatefiles::keep_failed(config, version, &plain(why)) {
        say(format_args!("why {version} failed is not kept: {e}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(standing: Standing) -> Running {
        let line = format!(
            "dm-mod.create=\"root,,0,ro,0 64 verity 1 a b 4096 4096 8 1 sha256 {} 00\"",
            "11".repeat(32)
        );
        let disk = SystemDisk::of("/nonexistent".into(), Default::default(), "1.0.0", &line).unwrap();
        Running { disk, standing, judged: false, job: None, next: None }
    }

    #[test]
    fn system_on_trial_is_given_up_in_time_and_at_once_in_safe_mode() {
        let mut on_trial = running(Standing { trial: true, ..Standing::default() });
        assert_eq!(on_trial.deadline_ms(false), Some(TRIAL_MS));
        assert_eq!(on_trial.deadline_ms(true), Some(0));
        on_trial.judged = true;
        assert_eq!(on_trial.deadline_ms(true), None, "it is on its way down");
        let good = running(Standing::default());
        assert_eq!((good.deadline_ms(false), good.deadline_ms(true)), (None, None));
        assert!(!good.give_up());
    }

    #[test]
    fn system_that_never_said_anything_is_told_of_until_a_newer_one_is_good() {
        let place = tempfile::tempdir().unwrap();
        let mut config = Config::told(|_| None, std::iter::empty());
        config.data = place.path().to_path_buf();
        std::fs::create_dir(place.path().join("gabion")).unwrap();
        let spent = Some(("2.0.0".to_owned(), 3));
        let told = running(Standing { spent, ..Standing::default() }).told(&config, Some(7));
        assert_eq!(told.failed, Some(("2.0.0".to_owned(), format!("{SPENT} 3"))));
        assert_eq!((told.version.as_str(), told.root_hash, told.floor), ("1.0.0", [0x11; 32], 7));
        // Its kernel image is given up for the next one: it is known all the same.
        assert!(running(Standing::default()).told(&config, None).failed.is_some());
        // What it said itself goes before that it used up its attempts.
        keep_failed(&config, "2.0.0", "no app ran");
        let spent = Some(("2.0.0".to_owned(), 3));
        let told = running(Standing { spent, ..Standing::default() }).told(&config, None);
        assert_eq!(told.failed, Some(("2.0.0".to_owned(), "no app ran".to_owned())));
        // It is the one that runs: on trial once more.
        keep_failed(&config, "1.0.0", "no app ran");
        assert_eq!(running(Standing::default()).told(&config, None).failed, None);
    }
}
