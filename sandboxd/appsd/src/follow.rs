//! Who follows what, and passing on the news.
//!
//! What a follower did not get because something was slow is counted and said with the next reply.

use std::collections::BTreeSet;

use bus::control::EventKind;
use bus::desk::{Audit, Followed, News};
use bus::interfaces::{apps, audit, bus as bus_interface, crashes};
use bus::server::{CallId, Pending, Server};

use crate::appsd::Appsd;
use crate::records::{is_crash, lines};
use crate::waiting::{CrashesFor, Waiting};
use crate::{apps::log_line, audit::told, bus_interface::call_event, crashes::crash};

/// Everybody who follows something.
#[derive(Default)]
pub(crate) struct Followers {
    pub(crate) logs: Vec<(String, Pending<apps::FollowLog>)>,
    pub(crate) audit: Vec<Pending<audit::Follow>>,
    pub(crate) crashes: Vec<Pending<crashes::Follow>>,
    pub(crate) calls: Vec<Pending<bus_interface::Monitor>>,
    /// What the desk was told last.
    wanted: Option<Followed>,
    lost: u32,
}

impl Followers {
    /// What has to be followed for those who do and those who are about to, if that is news for the desk.
    pub(crate) fn wanted<'w>(&mut self, waiting: impl Iterator<Item = &'w Waiting>) -> Option<Followed> {
        let mut logs: BTreeSet<String> = self.logs.iter().map(|(app, _)| app.clone()).collect();
        let mut followed = Followed {
            logs: Vec::new(),
            audit: !self.audit.is_empty(),
            exits: !self.crashes.is_empty(),
            calls: !self.calls.is_empty(),
        };
        for waiting in waiting {
            match waiting {
                Waiting::FollowLog(_, app, _) => drop(logs.insert(app.clone())),
                Waiting::FollowAudit(_) => followed.audit = true,
                Waiting::Crashes(CrashesFor::Follow(..), _) => followed.exits = true,
                _ => {}
            }
        }
        followed.logs = logs.into_iter().collect();
        let told = self.wanted.as_ref().unwrap_or(&Followed {
            logs: Vec::new(),
            audit: false,
            exits: false,
            calls: false,
        }) == &followed;
        (!told).then(|| self.wanted.insert(followed).clone())
    }

    /// The desk knows nothing of what it was told.
    pub(crate) fn untold(&mut self) {
        self.wanted = None;
    }

    /// A follower is gone.
    pub(crate) fn gone(&mut self, call: CallId) {
        self.logs.retain(|(_, pending)| pending.id() != call);
        self.audit.retain(|pending| pending.id() != call);
        self.crashes.retain(|pending| pending.id() != call);
        self.calls.retain(|pending| pending.id() != call);
    }

    /// Passes on what the desk has told.
    pub(crate) fn news(&mut self, server: &mut Server<Appsd>, news: &News) {
        match news {
            News::Lines { app, text } => {
                let skipped = i64::from(std::mem::take(&mut self.lost));
                let lines: Vec<_> = lines(text).iter().map(log_line).collect();
                let reply = apps::FollowLogReply { lines, skipped };
                for (_, follower) in self.logs.iter().filter(|(id, _)| id == app) {
                    server.push(follower, &reply);
                }
            }
            News::Audit(event) => {
                if event.is_call() && !self.calls.is_empty() {
                    self.call(server, event);
                }
                if event.kind != EventKind::Called {
                    let reply = audit::FollowReply { events: vec![told(event)] };
                    self.audit.iter().for_each(|follower| server.push(follower, &reply));
                }
            }
            News::Exit { app, system, exit } if is_crash(exit) => {
                let reply = crashes::FollowReply { crashes: vec![crash(app, *system, exit)] };
                self.crashes.iter().for_each(|follower| server.push(follower, &reply));
            }
            News::Lost(count) => self.lost = self.lost.saturating_add(*count),
            News::Exit { .. } | News::Again => {}
        }
    }

    fn call(&mut self, server: &mut Server<Appsd>, event: &Audit) {
        let skipped = i64::from(std::mem::take(&mut self.lost)) + i64::from(event.suppressed);
        let reply = bus_interface::MonitorReply { call: call_event(event), skipped };
        self.calls.iter().for_each(|follower| server.push(follower, &reply));
    }
}
