//! The kept bundles: launch, stop, reap, restart. Everything that happens to a box happens here.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use sys::bundle::{BoxId, Event, Next, Restart};
use sys::launch::{Launched, Prepared, outcome};
use sys::process::{self, Ended};
use sys::step::Step;

use crate::backoff::Backoff;
use crate::poller::{Poller, Ready};
use crate::unheard::Unheard;

/// Most boxes one device keeps: bounds what a confused `sandboxd` can make PID 1 hold.
pub(crate) const BOXES_MAX: usize = 256;

enum State {
    Idle,
    /// Down, to be started at this time.
    Waiting(u64),
    Up(Running),
}

struct Running {
    pid: u32,
    pidfd: OwnedFd,
    /// Until the launch is decided.
    status: Option<OwnedFd>,
    refused: Option<(u8, i32)>,
    since_ms: u64,
    /// Asked to stop: SIGKILL is due at this time.
    kill_at_ms: Option<u64>,
}

struct Kept {
    prepared: Prepared,
    state: State,
    starts: u32,
    backoff: Backoff,
    unheard: Unheard,
}

/// All kept boxes.
#[derive(Default)]
pub(crate) struct Boxes(BTreeMap<BoxId, Kept>);

impl Boxes {
    /// Keeps a bundle, in place of one that is not running.
    pub(crate) fn put(&mut self, prepared: Prepared) -> Result<(), i32> {
        let id = prepared.spec.id;
        let room = self.0.len() < BOXES_MAX || self.0.contains_key(&id);
        match self.0.get_mut(&id) {
            Some(Kept { state: State::Up(_), .. }) => Err(libc::EBUSY),
            Some(kept) => {
                kept.prepared = prepared;
                kept.state = State::Idle;
                kept.backoff = Backoff::default();
                Ok(())
            }
            None if !room => Err(libc::ENOSPC),
            None => {
                let (state, backoff) = (State::Idle, Backoff::default());
                self.0.insert(id, Kept { prepared, state, starts: 0, backoff, unheard: Unheard::new() });
                Ok(())
            }
        }
    }

    /// Launches a box that is down.
    pub(crate) fn start(&mut self, id: BoxId, poller: &Poller, now_ms: u64) -> Result<Option<Event>, i32> {
        let kept = self.0.get_mut(&id).ok_or(libc::ENOENT)?;
        if matches!(kept.state, State::Up(_)) {
            return Err(libc::EALREADY);
        }
        kept.starts = kept.starts.saturating_add(1);
        match launch(kept, id, poller, now_ms) {
            Ok(running) => {
                kept.state = State::Up(running);
                Ok(None)
            }
            Err(e) => Ok(Some(kept.refused((Step::Clone as u8, errno(e)), id, now_ms))),
        }
    }

    /// Begins to stop a box: SIGTERM now, SIGKILL after its stop time. A program without a handler for SIGTERM is
    /// ended at once, which is what the signal's default action does outside a pid namespace.
    pub(crate) fn stop(&mut self, id: BoxId, now_ms: u64) -> Result<(), i32> {
        let kept = self.0.get_mut(&id).ok_or(libc::ENOENT)?;
        match &mut kept.state {
            State::Up(running) if running.kill_at_ms.is_none() => {
                running.kill_at_ms = Some(now_ms + u64::from(kept.prepared.spec.stop_timeout_ms));
                let graceful = process::handles_sigterm(running.pid);
                let signal = if graceful { libc::SIGTERM } else { libc::SIGKILL };
                process::signal(&running.pidfd, signal).map_err(errno)
            }
            State::Up(_) => Ok(()),
            state => {
                *state = State::Idle;
                Ok(())
            }
        }
    }

    /// SIGKILL to a whole box. Its restart policy applies, unless it was being stopped.
    pub(crate) fn kill(&mut self, id: BoxId) -> Result<(), i32> {
        let kept = self.0.get(&id).ok_or(libc::ENOENT)?;
        match &kept.state {
            State::Up(running) => kept.prepared.kill(&running.pidfd).map_err(errno),
            _ => Err(libc::ESRCH),
        }
    }

    /// Forgets a box that is down.
    pub(crate) fn remove(&mut self, id: BoxId) -> Result<(), i32> {
        match self.0.get(&id) {
            None => Err(libc::ENOENT),
            Some(Kept { state: State::Up(_), .. }) => Err(libc::EBUSY),
            Some(_) => {
                self.0.remove(&id);
                Ok(())
            }
        }
    }

    /// So many ends of a box are recorded.
    pub(crate) fn heard(&mut self, id: BoxId, count: u32) -> Result<(), i32> {
        self.0.get_mut(&id).map(|kept| kept.unheard.heard(count)).ok_or(libc::ENOENT)
    }

    /// Begins to stop every box that has this number or a higher one.
    pub(crate) fn stop_from(&mut self, first: BoxId, now_ms: u64) {
        let ids: Vec<BoxId> = self.0.range(first..).map(|(id, _)| *id).collect();
        for id in ids {
            // A box that ended meanwhile is reaped like any other.
            let _ = self.stop(id, now_ms);
        }
    }

    /// The longest stop time of all boxes.
    pub(crate) fn longest_stop_ms(&self) -> u64 {
        self.0.values().map(|k| u64::from(k.prepared.spec.stop_timeout_ms)).max().unwrap_or(0)
    }

    /// Whether any box runs.
    pub(crate) fn any_up(&self) -> bool {
        self.0.values().any(|k| matches!(k.state, State::Up(_)))
    }

    /// A child ended. `None` when it was no box's first process (an orphan that PID 1 inherited).
    pub(crate) fn ended(&mut self, ended: Ended, now_ms: u64) -> Option<Event> {
        let up = |k: &Kept| matches!(&k.state, State::Up(r) if r.pid == ended.pid);
        let (&id, kept) = self.0.iter_mut().find(|(_, k)| up(k))?;
        // What else ran in the box ends with it, also where it shares the device's pids.
        let _ = kept.prepared.kill_rest();
        let State::Up(running) = &mut kept.state else { return None };
        // The end may be seen before the launch's verdict was read.
        let late = running.status.take().and_then(|s| outcome(&s)).and_then(Result::err);
        if let Some(refusal) = running.refused.take().or(late) {
            return Some(kept.refused(refusal, id, now_ms));
        }
        let uptime_ms = now_ms.saturating_sub(running.since_ms);
        let asked = running.kill_at_ms.is_some();
        let failed = ended.code != libc::CLD_EXITED || ended.status != 0;
        let policy = if asked { Restart::Never } else { kept.prepared.spec.restart };
        let next = kept.backoff.next(policy, failed, uptime_ms, now_ms);
        kept.down(next, now_ms);
        let Ended { pid, code, status } = ended;
        Some(kept.unheard.keep(now_ms, Event::Exited { id, pid, code, status, uptime_ms, next }))
    }

    /// A launch's pipe became readable.
    pub(crate) fn decided(&mut self, id: BoxId) -> Option<Event> {
        let kept = self.0.get_mut(&id)?;
        let State::Up(running) = &mut kept.state else { return None };
        let verdict = outcome(running.status.as_ref()?)?;
        running.status = None;
        match verdict {
            Ok(()) => Some(Event::Started { id, pid: running.pid, starts: kept.starts }),
            Err(refusal) => {
                // Reported when the child is reaped, an instant later, so that the box is down by then.
                running.refused = Some(refusal);
                None
            }
        }
    }

    /// Does what is due: restarts and SIGKILLs. Returns the events of launches that failed at once.
    pub(crate) fn tick(&mut self, poller: &Poller, now_ms: u64) -> Vec<Event> {
        let due = |k: &Kept| matches!(k.state, State::Waiting(at) if at <= now_ms);
        let start: Vec<BoxId> = self.0.iter().filter(|(_, k)| due(k)).map(|(id, _)| *id).collect();
        for kept in self.0.values_mut() {
            if let State::Up(Running { kill_at_ms: Some(at), pidfd, .. }) = &mut kept.state
                && *at <= now_ms
            {
                *at = now_ms + 1000;
                let _ = kept.prepared.kill(pidfd);
            }
        }
        start.into_iter().filter_map(|id| self.start(id, poller, now_ms).ok().flatten()).collect()
    }

    /// The next time [`Boxes::tick`] has something to do.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let of = |k: &Kept| match &k.state {
            State::Idle => None,
            State::Waiting(at) => Some(*at),
            State::Up(running) => running.kill_at_ms,
        };
        self.0.values().filter_map(of).min()
    }

    /// Every kept box, with the descriptors held for the builder.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (Event, &[OwnedFd])> {
        self.0.iter().map(|(&id, kept)| {
            let pid = if let State::Up(r) = &kept.state { r.pid } else { 0 };
            let (ends, more) = kept.unheard.all();
            (Event::Kept { id, pid, starts: kept.starts, ends, more }, kept.prepared.kept())
        })
    }
}

impl Kept {
    fn down(&mut self, next: Next, now_ms: u64) {
        self.state = match next {
            Next::Stopped => State::Idle,
            Next::Restart(ms) | Next::Backoff(ms) => State::Waiting(now_ms + u64::from(ms)),
        };
    }

    /// A refused launch counts as a crash: what refused it may pass (memory), and must not spin.
    fn refused(&mut self, (step, errno): (u8, i32), id: BoxId, now_ms: u64) -> Event {
        let stopping = matches!(&self.state, State::Up(r) if r.kill_at_ms.is_some());
        let policy = if stopping { Restart::Never } else { self.prepared.spec.restart };
        let next = self.backoff.next(policy, true, 0, now_ms);
        self.down(next, now_ms);
        self.unheard.keep(now_ms, Event::Refused { id, step, errno, next })
    }
}

fn launch(kept: &Kept, id: BoxId, poller: &Poller, now_ms: u64) -> io::Result<Running> {
    let Launched { pid, pidfd, status } = kept.prepared.launch()?;
    poller.watch(&status, Ready::Launch(id)).inspect_err(|_| {
        // Nobody would reap it as this box: it must not live on untracked.
        let _ = kept.prepared.kill(&pidfd);
    })?;
    Ok(Running { pid, pidfd, status: Some(status), refused: None, since_ms: now_ms, kill_at_ms: None })
}

fn errno(e: io::Error) -> i32 {
    e.raw_os_error().unwrap_or(libc::EIO)
}
