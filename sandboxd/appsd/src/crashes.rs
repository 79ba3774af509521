//! `os.gabion.Crashes`.

use bus::desk::{self, Answer as Told, Ask};
use bus::interfaces::crashes::*;
use bus::server::{Answer, Call, Server};

use crate::appsd::Appsd;
use crate::records;
use crate::waiting::{CrashesFor, Gathering, Waiting};

/// Most crashes that may be asked for.
const NEWEST_MAX: usize = 100;

impl Handler for Appsd {
    fn list(&mut self, call: Call<'_, List>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Apps(String::new()), Waiting::Crashes(CrashesFor::List(pending), Gathering::default()));
        answer
    }

    fn follow(&mut self, call: Call<'_, Follow>, parameters: FollowParameters) -> Answer {
        let Some(newest) = usize::try_from(parameters.newest).ok().filter(|newest| *newest <= NEWEST_MAX)
        else {
            return call.invalid("newest");
        };
        let (pending, answer) = call.later();
        let whom = CrashesFor::Follow(pending, newest);
        self.ask(Ask::Apps(String::new()), Waiting::Crashes(whom, Gathering::default()));
        answer
    }
}

impl Appsd {
    /// First the apps, page by page; then the record of each; then the reply.
    pub(crate) fn crashes(
        &mut self,
        server: &mut Server<Self>,
        whom: CrashesFor,
        mut gathering: Gathering,
        answer: Told,
    ) {
        match answer {
            Told::Apps(page) => {
                let full = page.len() >= desk::APPS_AT_ONCE;
                gathering.left.extend(page.into_iter().map(|app| (app.id, app.system)));
                if let Some((last, _)) = gathering.left.last().filter(|_| full) {
                    let last = last.clone();
                    return self.ask(Ask::Apps(last), Waiting::Crashes(whom, gathering));
                }
            }
            Told::Text { text, .. } => {
                let crashes = records::crashes(&text);
                if let Some((app, system)) = gathering.current.take().filter(|_| !crashes.is_empty()) {
                    gathering.found.push((app, system, crashes));
                }
            }
            // It is gone meanwhile.
            _ => gathering.current = None,
        }
        match gathering.left.pop() {
            Some((app, system)) => {
                gathering.current = Some((app.clone(), system));
                self.ask(Ask::Exits(app), Waiting::Crashes(whom, gathering));
            }
            None => self.crashes_reply(server, whom, &gathering),
        }
    }

    fn crashes_reply(&mut self, server: &mut Server<Self>, whom: CrashesFor, gathering: &Gathering) {
        match whom {
            CrashesFor::List(pending) => {
                let mut apps: Vec<Summary<'_>> = gathering.found.iter().filter_map(summary).collect();
                apps.sort_by(|a, b| b.last.time.cmp(&a.last.time));
                server.finish(pending, &ListReply { apps });
            }
            CrashesFor::Follow(pending, newest) => {
                let found = gathering.found.iter();
                let each =
                    found.flat_map(|(app, system, list)| list.iter().map(|exit| crash(app, *system, exit)));
                let mut crashes: Vec<Crash<'_>> = each.collect();
                crashes.sort_by(|a, b| a.time.cmp(&b.time));
                let crashes = records::newest(&crashes, newest).to_vec();
                server.push(&pending, &FollowReply { crashes });
                self.followers.crashes.push(pending);
            }
        }
    }
}

fn summary((app, system, list): &(String, bool, Vec<desk::Exit>)) -> Option<Summary<'_>> {
    let last = crash(app, *system, list.last()?);
    Some(Summary { app: app.as_str().into(), count: last.count, last })
}

/// A crash as it is shown.
pub(crate) fn crash<'a>(app: &'a str, system: bool, exit: &'a desk::Exit) -> Crash<'a> {
    Crash {
        app: app.into(),
        system,
        time: exit.time.as_str().into(),
        reason: match exit.reason.as_str() {
            "signal" => Reason::Signal,
            "seccomp" => Reason::Seccomp,
            "oom" => Reason::Oom,
            "watchdog" => Reason::Watchdog,
            "refused" => Reason::Refused,
            _ => Reason::Exit,
        },
        detail: exit.detail.as_str().into(),
        uptime_ms: i64::try_from(exit.uptime_ms).unwrap_or(i64::MAX),
        count: i64::try_from(exit.count).unwrap_or(i64::MAX),
    }
}
