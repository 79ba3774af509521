//! What `init` and the kernel report about boxes.

use std::io;

use nix::errno::Errno;
use nix::libc;
use sys::bundle::{BoxId, Event, Next, Request};
use sys::step::Step;

use super::Daemon;
use crate::app::{App, State};
use crate::exits::{Hints, Reason};
use crate::{clock, console, system};
use bus::desk::Exit;

impl Daemon {
    pub(super) fn started(&mut self, uid: BoxId, pid: u32, starts: u32, now: u64) -> io::Result<()> {
        self.schedule.changed(now);
        self.packages_changed();
        let Some(app) = self.apps.get_mut(&uid) else { return Ok(()) };
        app.started(pid, starts, now);
        console::say(format_args!("event started id={} uid={uid} pid={pid} starts={starts}", app.id));
        if app.id == system::WORKER {
            self.worker.up = true;
            return self.worker_next(now);
        }
        self.desk_started(uid);
        Ok(())
    }

    pub(super) fn exited(&mut self, event: &Event, now: u64) -> io::Result<()> {
        let &Event::Exited { id: uid, pid, code, status, uptime_ms, next } = event else { return Ok(()) };
        self.schedule.changed(now);
        self.packages_changed();
        let syscall = self.syscall_of(pid, code, status);
        let asked = self.desk_stops(uid) || self.installs.is_ending(uid);
        let Some(app) = self.apps.get_mut(&uid) else {
            // Adopted only to be stopped: nothing of ours needs it any more.
            return self.init.ask(&Request::Remove(uid));
        };
        app.log.finish(now);
        let oom_kills = app.ended(next);
        if app.id == system::WORKER && next == Next::Stopped {
            // It had nothing to do and was stopped for that: no news.
            self.init.ask(&Request::Heard(uid, 1))?;
            return self.worker_ended(now);
        }
        let hints = Hints { asked, watchdog_ms: app.killed_for_ms.take(), oom_kills, syscall };
        let reason = End { pid, reason: Reason::of(code, status, &hints), uptime_ms, next }.record(app, None);
        // What ends for what comes after it ends as it may.
        if !self.installs.is_ending(uid) {
            self.report_end(uid, &reason, asked);
        }
        self.packages_ended(uid, next)?;
        self.debug_ended(uid)?;
        let Some(app) = self.apps.get(&uid) else { return Ok(()) };
        let worker = app.id == system::WORKER;
        self.init.ask(&Request::Heard(uid, 1))?;
        if worker {
            return self.worker_ended(now);
        }
        self.bus_server_ended(uid);
        self.desk_lines(uid);
        self.desk_exit(uid);
        self.desk_ended(uid, next);
        self.wipe_ended(uid, next);
        Ok(())
    }

    pub(super) fn refused(
        &mut self,
        uid: BoxId,
        step: u8,
        errno: i32,
        next: Next,
        now: u64,
    ) -> io::Result<()> {
        self.schedule.changed(now);
        let Some(app) = self.apps.get_mut(&uid) else { return self.init.ask(&Request::Remove(uid)) };
        app.ended(next);
        app.starts = app.starts.saturating_add(1);
        let end = End::refused(step, errno, next);
        let text = format!("the launch was refused: {}", end.reason);
        let worker = app.id == system::WORKER;
        let reason = end.record(app, None);
        self.report_end(uid, &reason, false);
        self.init.ask(&Request::Heard(uid, 1))?;
        if worker {
            return self.worker_ended(now);
        }
        self.desk_exit(uid);
        self.desk_refused(uid, &text);
        self.packages_ended(uid, next)?;
        self.packages_changed();
        Ok(())
    }

    /// Records what became of a box while no sandboxd was there to do it. What only sandboxd could have known is not
    /// in it: whether a SIGKILL was for want of memory or for silence, which call a SIGSYS was for.
    pub(super) fn unheard(
        &mut self,
        uid: BoxId,
        ends: Vec<(u64, Event)>,
        more: u32,
        now: u64,
    ) -> io::Result<()> {
        let heard = more.saturating_add(ends.len() as u32);
        if heard == 0 {
            return Ok(());
        }
        for (at_ms, event) in ends {
            let Some(app) = self.apps.get_mut(&uid) else { return Ok(()) };
            let end = match event {
                // Asked to: no news, as above.
                Event::Exited { next: Next::Stopped, .. } if app.id == system::WORKER => continue,
                Event::Exited { pid, code, status, uptime_ms, next, .. } => {
                    End { pid, reason: Reason::of(code, status, &Hints::default()), uptime_ms, next }
                }
                Event::Refused { step, errno, next, .. } => End::refused(step, errno, next),
                _ => continue,
            };
            let reason = end.record(app, Some(now.saturating_sub(at_ms)));
            self.report_end(uid, &reason, false);
        }
        if more > 0
            && let Some(app) = self.apps.get_mut(&uid)
        {
            let count = app.exits.record(&clock::stamp(), 0, &Reason::Unrecorded(more), 0);
            console::say(format_args!("event unrecorded id={} ends={more} count={count}", app.id));
        }
        self.init.ask(&Request::Heard(uid, heard))
    }

    /// `asked`: somebody wanted it stopped.
    fn report_end(&mut self, uid: BoxId, reason: &Reason, asked: bool) {
        if reason.is_failure() {
            self.attest_report(uid, reason.word(), &reason.to_string());
            if !asked {
                self.trial_failed(uid, &format!("it ended: {}", reason.short()));
            }
        }
    }

    pub(super) fn failed(&mut self, uid: BoxId, errno: i32) {
        let name = Errno::from_raw(errno);
        if self.packages_nothing_to_end(uid) {
            return;
        }
        match self.apps.get_mut(&uid) {
            // Being told to kill what has just ended by itself is no news.
            Some(app) if errno == libc::ESRCH => app.killed_for_ms = None,
            Some(app) if matches!(app.state, State::Starting) => {
                self.problem(uid, &format!("init can not take its box: {name:?}"), "see the kernel's log");
                self.desk_refused(uid, &format!("init can not take its box: {name:?}"));
            }
            Some(app) => {
                console::say(format_args!("init can not do as asked id={} errno={name:?}", app.id));
                self.desk_refused(uid, &format!("init can not do it: {name:?}"));
            }
            None => {}
        }
    }
}

/// One end of a box, to be recorded.
struct End {
    /// 0 when its program never ran.
    pid: u32,
    reason: Reason,
    uptime_ms: u64,
    next: Next,
}

impl End {
    fn refused(step: u8, errno: i32, next: Next) -> Self {
        let step = Step::from_number(step).map_or("unknown", Step::name);
        Self { pid: 0, reason: Reason::Refused(step, errno), uptime_ms: 0, next }
    }

    /// On the disk and on the console; `ago_ms` when it is told late. Gives why it ended.
    fn record(self, app: &mut App, ago_ms: Option<u64>) -> Reason {
        let Self { pid, reason, uptime_ms, next } = self;
        let time = clock::stamp_ago(ago_ms.unwrap_or_default());
        let count = app.exits.record(&time, pid, &reason, uptime_ms);
        app.last = reason.short();
        app.ended_well = !reason.is_failure();
        let (word, detail) = (reason.word().to_owned(), reason.to_string());
        app.last_exit = Some(Exit { time, reason: word, detail, uptime_ms, count });
        let what = match &reason {
            Reason::Refused(..) => format!("refused id={} {reason} count={count}", app.id),
            _ => format!(
                "exited id={} pid={pid} reason={} detail=\"{reason}\" count={count} uptime_ms={uptime_ms}",
                app.id,
                reason.word()
            ),
        };
        let late = ago_ms.map_or(String::new(), |ms| format!(" ago_ms={ms}"));
        console::say(format_args!("event {what} next={}{late}", then(next)));
        reason
    }
}

fn then(next: Next) -> String {
    match next {
        Next::Stopped => "stopped".to_owned(),
        Next::Restart(ms) => format!("restart in {ms} ms"),
        Next::Backoff(ms) => format!("back-off {ms} ms"),
    }
}
