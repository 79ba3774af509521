//! The manager itself: one loop over `init`, the worker, the kernel's audit records and every box's output.
//!
//! Invariants: one thread (builders of namespaces and who looks at disks come and go); no wait for anybody but `init`; whatever one box
//! does is charged to it and disturbs no other. All it holds can be rebuilt from `init`'s kept bundles, the
//! registry and the store: it may be killed at any time.

mod attest;
mod bus;
mod debug;
mod denied;
mod desk;
mod developer;
mod door;
mod events;
mod intake;
mod net;
mod packages;
mod start;
mod switch;
mod tick;
mod trial;
mod update;
mod update_disk;
mod update_system;
mod wiping;
mod worker_box;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signalfd::SignalFd;
use sys::audit::{AuditControl, AuditSocket};
use sys::bundle::Event;

use crate::app::{App, State};
use crate::applog::{Reading, Stream};
use crate::audit_record::Call;
use crate::config::Config;
use crate::console;
use crate::devices::Holders;
use crate::init_link::InitLink;
use crate::poller::{Poller, Ready};
use crate::refusal::Assembler;
use crate::table::Schedule;
use attest::Attest;
use bus::Bus;
use debug::Debug;
use desk::Desk;
use developer::Developer;
use door::Door;
use net::Net;
use packages::Installs;
use update::Update;
use wiping::Wiping;
use worker_box::WorkerBox;

/// Notify messages read from one app before others have their turn and it has to wait.
const NOTICES_AT_ONCE: usize = 16;
const NOTICE_PAUSE_MS: u64 = 100;
/// Characters of what is wrong with an app that are kept for who asks; the console has it all.
const PROBLEM_MAX: usize = 2000;

/// All of sandboxd's state.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    init: InitLink,
    poller: Poller,
    signals: SignalFd,
    audit: Option<AuditSocket>,
    audit_control: Option<AuditControl>,
    assembler: Assembler,
    apps: BTreeMap<u32, App>,
    worker: WorkerBox,
    bus: Bus,
    desk: Desk,
    net: Net,
    attest: Attest,
    door: Door,
    update: Update,
    installs: Installs,
    developer: Developer,
    debug: Debug,
    /// The storage is not open yet: no app is known.
    locked: bool,
    /// Boxes that are ready, and are not launched before something is known.
    waiting: BTreeSet<u32>,
    wiping: Wiping,
    /// System boxes that are started once somebody uses what they serve.
    on_demand: Vec<String>,
    holders: Holders,
    empty_net: OwnedFd,
    device_net: OwnedFd,
    /// Calls that killed lately, to be matched with exits.
    killed: VecDeque<Call>,
    /// Boxes of which the kernel records nothing until a time.
    silent: Vec<(u64, u32)>,
    schedule: Schedule,
    /// Sources not looked at until a time, because their app is over its rate.
    paused: Vec<(u64, Ready)>,
    settle_at_ms: Option<u64>,
}

impl Daemon {
    /// Runs until SIGTERM (`Ok`) or until it can not go on.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            console::attend(&self.poller);
            let now = sys::process::now_ms();
            let wait = self.deadline_ms().map(|at| at.saturating_sub(now));
            for ready in self.poller.wait(wait)? {
                let now = sys::process::now_ms();
                match ready {
                    Ready::Init => self.init_events(now)?,
                    Ready::Signal => return self.terminate(now),
                    Ready::Worker => self.worker_answers(now)?,
                    Ready::Audit => self.audit_records(),
                    Ready::Router => self.bus_messages()?,
                    Ready::Desk => self.desk_questions()?,
                    Ready::Netd => self.net_messages()?,
                    Ready::Attestd => self.attest_messages()?,
                    Ready::Updated => self.update_messages()?,
                    Ready::Disk => self.update_done(),
                    Ready::Debugger => self.debug_over()?,
                    Ready::Out(uid) => self.output(uid, Stream::Out, now),
                    Ready::Err(uid) => self.output(uid, Stream::Err, now),
                    Ready::Notify(uid) => self.notices(uid, now),
                    // Attended to before the next wait.
                    Ready::Console => {}
                }
            }
            self.tick(sys::process::now_ms())?;
        }
    }

    fn init_events(&mut self, now: u64) -> io::Result<()> {
        while let Some((event, _)) = self.init.event()? {
            self.event(event, now)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event, now: u64) -> io::Result<()> {
        match event {
            Event::Started { id, pid, starts } => self.started(id, pid, starts, now),
            Event::Exited { .. } => self.exited(&event, now),
            Event::Refused { id, step, errno, next } => self.refused(id, step, errno, next, now),
            Event::Failed { id, errno } => {
                self.failed(id, errno);
                Ok(())
            }
            Event::Kept { .. } | Event::KeptEnd { .. } => Ok(()),
        }
    }

    /// The device goes down: apps have stopped; their last words are still in the pipes.
    fn terminate(&mut self, now: u64) -> io::Result<()> {
        // Whatever signal it was, it was meant to end us.
        let _ = self.signals.read_signal();
        for app in self.apps.values_mut() {
            app.log.finish(now);
            app.log.settle();
        }
        Ok(())
    }

    fn output(&mut self, uid: u32, stream: Stream, now: u64) {
        let Some(app) = self.apps.get_mut(&uid) else { return };
        let ready = if stream == Stream::Out { Ready::Out(uid) } else { Ready::Err(uid) };
        match app.log.read(stream, now) {
            Reading::Done => {}
            Reading::Pause(until) => {
                self.pause(ready, until);
            }
            Reading::Closed => {
                if let Some(pipe) = app.log.pipe(stream) {
                    self.poller.forget(pipe);
                }
                app.log.detach(stream);
            }
        }
        self.desk_lines(uid);
        if self.settle_at_ms.is_none() && self.apps.get(&uid).is_some_and(|a| a.log.unsettled()) {
            self.settle_at_ms = Some(now + tick::SETTLE_EVERY_MS);
        }
    }

    fn notices(&mut self, uid: u32, now: u64) {
        let Some(app) = self.apps.get_mut(&uid) else { return };
        for _ in 0..NOTICES_AT_ONCE {
            let Some(notice) = app.notice() else { return };
            if notice.ready && app.awaits_ready {
                app.awaits_ready = false;
                self.schedule.changed(now);
            }
            if notice.alive && app.pid().is_some() {
                app.watchdog.alive(now);
            }
            if notice.trigger && app.pid().is_some() {
                app.watchdog.trigger(now);
            }
            app.status = notice.status.or(app.status.take());
        }
        self.pause(Ready::Notify(uid), now + NOTICE_PAUSE_MS);
    }

    /// Looks away from one source of an app.
    fn pause(&mut self, ready: Ready, until: u64) {
        if self.listen(ready, false) {
            self.paused.push((until, ready));
        }
    }

    fn listen(&self, ready: Ready, on: bool) -> bool {
        let (Ready::Out(uid) | Ready::Err(uid) | Ready::Notify(uid)) = ready else { return false };
        let Some(app) = self.apps.get(&uid) else { return false };
        let fd = match ready {
            Ready::Out(_) => app.log.pipe(Stream::Out),
            Ready::Err(_) => app.log.pipe(Stream::Err),
            _ => app.notify_socket(),
        };
        fd.is_some_and(|fd| self.poller.listen(fd, ready, on).is_ok())
    }

    /// Gives a box our ends of its bundle and polls them.
    fn attach(&mut self, uid: u32, kept: Vec<OwnedFd>) -> io::Result<()> {
        let Some(app) = self.apps.get_mut(&uid) else { return Ok(()) };
        app.attach(kept);
        let watch = [
            (app.log.pipe(Stream::Out), Ready::Out(uid)),
            (app.log.pipe(Stream::Err), Ready::Err(uid)),
            (app.notify_socket(), Ready::Notify(uid)),
        ];
        for (fd, ready) in watch {
            if let Some(fd) = fd {
                self.poller.watch(fd.as_fd(), ready)?;
            }
        }
        Ok(())
    }

    /// Lets go of a box's bundle, in whose place another one comes.
    fn detach(&mut self, uid: u32) {
        let Some(app) = self.apps.get_mut(&uid) else { return };
        // `init` has them, too, so that closing ours is not enough.
        let watched = [app.log.pipe(Stream::Out), app.log.pipe(Stream::Err), app.notify_socket()];
        watched.into_iter().flatten().for_each(|fd| self.poller.forget(fd));
        app.detach();
        self.paused.retain(
            |(_, ready)| !matches!(ready, Ready::Out(of) | Ready::Err(of) | Ready::Notify(of) if *of == uid),
        );
    }

    /// Something is wrong with a box: it stays down.
    fn problem(&mut self, uid: u32, text: &str, help: &str) {
        let now = sys::process::now_ms();
        self.schedule.changed(now);
        self.packages_changed();
        self.trial_failed(uid, text);
        self.debug_fails(uid, text);
        let Some(app) = self.apps.get_mut(&uid) else { return };
        console::problem(&app.id, text, help);
        app.problem = Some(format!("{text}\n{help}").trim_end().chars().take(PROBLEM_MAX).collect());
        if app.pid().is_none() {
            app.state = State::Problem;
            self.holders.release(uid);
        }
    }
}

/// Starts, and runs until the end. The error is for the console.
pub fn run(config: Config, socket: OwnedFd) -> Result<(), Box<dyn std::error::Error>> {
    Ok(start::start(config, socket)?.run()?)
}
