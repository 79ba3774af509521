//! Refused calls: from the kernel's records to the console, the audit log and the reasons of exits.
//!
//! Whatever a box does, it is charged to it: what is told of it is bounded by `refusals`, and the kernel records none of
//! a box that makes refused calls in a loop.

use std::os::fd::AsFd;

use bus::control::{Event, EventKind};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Daemon;
use crate::audit_record::{self, Answer};
use crate::refusal::{Layer, Named, Refusal};
use crate::refusals::Verdict;
use crate::{audit_rules, console};

/// Calls that killed their processes and are remembered, to be matched with exits.
const KILLED_MAX: usize = 32;
/// Records read before others have their turn.
const AT_ONCE: usize = 64;
/// How long an exit by SIGSYS waits for the kernel's record of it, milliseconds. The record is written before the
/// process dies and arrives within one or two, though others' may come first; waiting delays nobody's restart, which is `init`'s.
const RECORD_MS: u64 = 300;

/// A refused call that is to be told.
#[derive(Debug)]
pub(super) struct Told {
    refusal: Refusal,
    count: u64,
    suppressed: u32,
}

impl Told {
    /// Whose call it was.
    pub(super) fn uid(&self) -> u32 {
        self.refusal.call.uid
    }
}

impl Daemon {
    /// Reads the kernel's records.
    pub(super) fn audit_records(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..AT_ONCE {
            let Some(audit) = &self.audit else { return };
            let (kind, text) = match audit.receive(&mut buffer) {
                Ok(Some(message)) => message,
                Ok(None) => return,
                // ENOBUFS. A call that killed then shows as an unknown one.
                Err(_) => {
                    console::say(
                        "event denied-lost: refused calls were not recorded, because too many came at once",
                    );
                    continue;
                }
            };
            let record = audit_record::parse(kind, text);
            if let Some(refusal) = record.and_then(|record| self.assembler.push(record)) {
                self.denied(&refusal);
            }
        }
    }

    fn denied(&mut self, refusal: &Refusal) {
        let call = refusal.call;
        if let Answer::Killed(_) = call.answer {
            if self.killed.len() >= KILLED_MAX {
                self.killed.pop_front();
            }
            self.killed.push_back(call);
        }
        // netd tells of these too, and knows more: the host, the protocol, the line of the manifest.
        if refusal.by() == Layer::Firewall && self.net_is_told() {
            return;
        }
        let Some(app) = self.apps.get_mut(&call.uid) else { return };
        let name = crate::syscalls::known(call.number).unwrap_or_default();
        if app.system && call.answer == Answer::Filtered && app.first_calls.is_next(call.pid, name) {
            return;
        }
        let text = refusal.to_string();
        match app.refusals.add(&text, sys::process::now_ms()) {
            Verdict::Count => {}
            Verdict::Tell { count, suppressed } => {
                self.tell_call(Told { refusal: refusal.clone(), count, suppressed })
            }
            Verdict::Silence { until_ms } => {
                console::say(format_args!(
                    "event denied-silenced id={} ms={}: it makes too many refused calls to record them",
                    app.id,
                    crate::refusals::SILENCE_MS
                ));
                self.silent.push((until_ms, call.uid));
                self.silence(call.uid, true);
            }
        }
    }

    /// Tells of a refused call, once netd has said who is at its address.
    fn tell_call(&mut self, told: Told) {
        match told.refusal.nameable() {
            Some(address) => self.net_ask_name(address, told),
            None => self.tell_named(&told, None),
        }
    }

    /// Tells of a refused call, with the name that led the app to its address.
    pub(super) fn tell_named(&mut self, told: &Told, host: Option<&str>) {
        let Told { refusal, count, suppressed } = told;
        let text = host.map_or_else(|| refusal.to_string(), |host| Named(refusal, host).to_string());
        let call = refusal.call;
        self.tell_denied(call.uid, &format!(" pid={}", call.pid), &text, *count, *suppressed);
    }

    /// Tells of a refused call, on the console and in the audit log. `whose` stands between the box and the call.
    pub(super) fn tell_denied(&mut self, uid: u32, whose: &str, text: &str, count: u64, suppressed: u32) {
        let Some(id) = self.apps.get(&uid).map(|app| app.id.clone()) else { return };
        console::say(format_args!(
            "event denied id={id}{whose} call={text} count={count} suppressed={suppressed}"
        ));
        self.attest_report(uid, "denied", text);
        let (kind, detail) = (EventKind::Denied, format!("{text} count={count}"));
        self.record(&id, Event { kind, uid, interface: String::new(), serial: 0, detail, suppressed });
    }

    /// When the next silenced box is to be heard again.
    pub(super) fn denied_deadline_ms(&self) -> Option<u64> {
        self.silent.iter().map(|(until, _)| *until).min()
    }

    /// Hears those again whose time has come.
    pub(super) fn denied_due(&mut self, now: u64) {
        let (due, later): (Vec<_>, _) = self.silent.drain(..).partition(|(until, _)| *until <= now);
        self.silent = later;
        for (_, uid) in due {
            self.silence(uid, false);
            if let Some(app) = self.apps.get_mut(&uid) {
                app.refusals.heard_again();
            }
        }
    }

    /// Has the kernel record nothing of a box, or all of it again.
    pub(super) fn silence(&mut self, uid: u32, on: bool) {
        let Some(control) = &self.audit_control else { return };
        if let Err(e) = audit_rules::silence(control, uid, on) {
            console::say(format_args!("can not set what is recorded of uid={uid}: {e}"));
        }
    }

    /// Which call the process `pid` was killed for.
    pub(super) fn syscall_of(&mut self, pid: u32, code: i32, status: i32) -> Option<u64> {
        if code == libc::CLD_EXITED || status != libc::SIGSYS {
            return None;
        }
        let until = sys::process::now_ms() + RECORD_MS;
        loop {
            self.audit_records();
            if let Some(found) = self.killed.iter().rposition(|call| call.pid == pid) {
                return self.killed.remove(found).map(|call| call.number);
            }
            let left = until.checked_sub(sys::process::now_ms()).filter(|left| *left > 0)?;
            let mut fds = [PollFd::new(self.audit.as_ref()?.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::try_from(left).ok()?);
        }
    }
}
