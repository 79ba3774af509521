//! The loop. Every source of events is one descriptor in one epoll; every timer is a deadline of one state.

use std::fs::File;
use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sys::bundle::{Event, FIRST_APP, Power};
use sys::device::{self, Watchdog};
use sys::process::{self, now_ms};

use crate::boxes::Boxes;
use crate::control::{Control, Mode, Outcome};
use crate::manager::Manager;
use crate::poller::{Poller, Ready};
use crate::report::say;
use crate::shutdown;

/// The hardware watchdog resets the board when the loop stands still for so long.
const WATCHDOG_S: i32 = 30;
const PET_EVERY_MS: u64 = 5_000;

enum Phase {
    Up,
    /// Boxes are stopping, until this time at the latest.
    Boxes(Power, u64),
    /// `sandboxd` is stopping, until this time.
    Manager(Power, u64),
}

/// All of PID 1's state.
pub(crate) struct Init {
    poller: Poller,
    signals: SignalFd,
    buttons: Vec<File>,
    watchdog: Option<Watchdog>,
    pet_at_ms: u64,
    manager: Manager,
    control: Option<Control>,
    boxes: Boxes,
    phase: Phase,
}

impl Init {
    pub(crate) fn new() -> io::Result<Init> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let poller = Poller::new()?;
        poller.watch(&signals, Ready::Signal)?;
        let buttons = device::buttons();
        for (n, button) in buttons.iter().enumerate() {
            poller.watch(button, Ready::Button(n))?;
        }
        let watchdog = Watchdog::arm(WATCHDOG_S).inspect_err(|e| say!("no hardware watchdog: {e}")).ok();
        Ok(Init {
            poller,
            signals,
            buttons,
            watchdog,
            pet_at_ms: 0,
            manager: Manager::new(),
            control: None,
            boxes: Boxes::default(),
            phase: Phase::Up,
        })
    }

    /// Runs until the machine ends; returns only with an error.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        say!("init up");
        loop {
            let now = now_ms();
            self.due(now)?;
            for ready in self.poller.wait(self.wait_ms(now))? {
                match ready {
                    Ready::Signal => self.signal(),
                    Ready::Control => self.requests()?,
                    Ready::Button(n) => self.button(n),
                    Ready::Launch(id) => {
                        let event = self.boxes.decided(id);
                        self.tell(event);
                    }
                }
            }
        }
    }

    /// What time brings: restarts, kill deadlines, the watchdog, the next phase of a shutdown.
    fn due(&mut self, now: u64) -> io::Result<()> {
        if now >= self.pet_at_ms {
            self.pet_at_ms = now + PET_EVERY_MS;
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.pet();
            }
        }
        for event in self.boxes.tick(&self.poller, now) {
            self.tell(Some(event));
        }
        match self.phase {
            Phase::Up if self.manager.is_lost() => self.power(Power::Reboot),
            Phase::Up => {
                if let Some(control) = self.manager.tick(now) {
                    self.poller.watch(&control.socket, Ready::Control)?;
                    self.control = Some(control);
                }
            }
            Phase::Boxes(power, deadline) if !self.boxes.any_up() || now >= deadline => {
                shutdown::ask(self.manager.pid(), Signal::SIGTERM);
                self.phase = Phase::Manager(power, now + shutdown::MANAGER_MS);
            }
            Phase::Boxes(..) => {}
            Phase::Manager(power, deadline) => {
                if self.manager.pid().is_none() || now >= deadline {
                    if let Some(watchdog) = self.watchdog.take() {
                        watchdog.disarm();
                    }
                    // The bundles hold mount namespaces, and so /data.
                    self.boxes = Boxes::default();
                    shutdown::end(power);
                }
            }
        }
        Ok(())
    }

    fn wait_ms(&self, now: u64) -> u16 {
        let phase = match self.phase {
            Phase::Up => self.manager.deadline_ms(),
            Phase::Boxes(_, deadline) => Some(if self.boxes.any_up() { deadline } else { now }),
            Phase::Manager(_, deadline) => Some(if self.manager.pid().is_none() { now } else { deadline }),
        };
        let first = [Some(self.pet_at_ms), self.boxes.deadline_ms(), phase].into_iter().flatten().min();
        u16::try_from(first.map_or(PET_EVERY_MS, |at| at.saturating_sub(now))).unwrap_or(u16::MAX)
    }

    fn signal(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match i32::try_from(info.ssi_signo) {
                Ok(libc::SIGCHLD) => self.reap(),
                Ok(libc::SIGINT) => self.power(Power::Reboot),
                Ok(_) => self.power(Power::Off),
                Err(_) => {}
            }
        }
    }

    fn reap(&mut self) {
        while let Some(ended) = process::reap() {
            let now = now_ms();
            if self.manager.is(ended.pid) {
                self.control = None;
                let stopping = !matches!(self.phase, Phase::Up);
                if self.manager.ended(ended, stopping, now) {
                    say!("event safe-mode: sandboxd failed repeatedly; no app runs until the next boot");
                    self.boxes.stop_from(FIRST_APP, now);
                }
            } else {
                let event = self.boxes.ended(ended, now);
                self.tell(event);
            }
        }
    }

    fn requests(&mut self) -> io::Result<()> {
        while let Some(control) = &mut self.control {
            let ending = !matches!(self.phase, Phase::Up);
            let mode = Mode { now_ms: now_ms(), safe: self.manager.safe_mode, ending };
            match control.serve(&mut self.boxes, &self.poller, mode) {
                Outcome::Done => {}
                Outcome::Empty => break,
                Outcome::Power(power) => self.power(power),
                Outcome::Closed => self.drop_control(),
            }
        }
        Ok(())
    }

    /// A `sandboxd` that cannot be talked to is started again.
    fn drop_control(&mut self) {
        self.control = None;
        shutdown::ask(self.manager.pid(), Signal::SIGKILL);
    }

    fn tell(&mut self, event: Option<Event>) {
        if let (Some(event), Some(control)) = (event, &self.control)
            && !control.tell(&event)
        {
            self.drop_control();
        }
    }

    fn button(&mut self, n: usize) {
        if self.buttons.get_mut(n).is_some_and(device::power_pressed) {
            say!("power button");
            self.power(Power::Off);
        }
    }

    fn power(&mut self, power: Power) {
        if matches!(self.phase, Phase::Up) {
            say!("shutting down");
            let now = now_ms();
            self.boxes.stop_from(0, now);
            let deadline = now + self.boxes.longest_stop_ms() + shutdown::MANAGER_MS;
            self.phase = Phase::Boxes(power, deadline);
        }
    }
}
