//! The daemon: calls that wait, who follows what, and passing on what the desk says to whom it belongs.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use bus::desk::{Answer, Ask, News, Told};
use bus::server::{CallId, Server};

use crate::debug::Debugged;
use crate::developer;
use crate::follow::Followers;
use crate::link::Link;
use crate::waiting::Waiting;

/// See the module.
pub(crate) struct Appsd {
    pub(crate) link: Link,
    waiting: BTreeMap<u32, (Ask, Waiting)>,
    pub(crate) followers: Followers,
    pub(crate) debugged: Option<Debugged>,
}

impl Appsd {
    pub(crate) fn new() -> Self {
        Self { link: Link::new(), waiting: BTreeMap::new(), followers: Followers::default(), debugged: None }
    }

    /// Asks the desk on behalf of a call.
    pub(crate) fn ask(&mut self, ask: Ask, waiting: Waiting) {
        self.ask_with(ask, waiting, None);
    }

    /// The same with a file.
    pub(crate) fn ask_with(&mut self, ask: Ask, waiting: Waiting, file: Option<OwnedFd>) {
        let number = self.link.number();
        self.waiting.insert(number, (ask.clone(), waiting));
        // What is followed is said first, so that nothing is missed between an answer and the news after it.
        self.follow();
        self.link.ask(number, ask, file);
    }

    /// Tells the desk what is followed now, if that has changed.
    pub(crate) fn follow(&mut self) {
        if let Some(followed) = self.followers.wanted(self.waiting.values().map(|(_, waiting)| waiting)) {
            let number = self.link.number();
            let ask = Ask::Follow(followed);
            self.waiting.insert(number, (ask.clone(), Waiting::Followed));
            self.link.ask(number, ask, None);
        }
    }

    /// A caller went away: nobody waits for the answer, or follows.
    pub(crate) fn gone(&mut self, call: CallId) {
        self.debug_gone(call);
        self.waiting.retain(|_, (_, waiting)| waiting.call() != Some(call));
        self.followers.gone(call);
        self.follow();
    }

    /// Takes what the desk says.
    pub(crate) fn desk(&mut self, server: &mut Server<Self>) {
        while let Some((told, file)) = self.link.receive() {
            match told {
                Told::Answer(number, answer) => {
                    if let Some((_, waiting)) = self.waiting.remove(&number) {
                        self.answered(server, waiting, answer, file);
                    }
                }
                Told::News(News::Again) => self.again(server),
                Told::News(news) => self.followers.news(server, &news),
            }
        }
    }

    /// A new sandboxd, which knows nothing of what was asked of the one before: it is asked again.
    fn again(&mut self, server: &mut Server<Self>) {
        self.followers.untold();
        let waiting = std::mem::take(&mut self.waiting);
        for (ask, waiting) in waiting.into_values() {
            if !developer::is_asked_again(&ask) {
                self.answered(server, waiting, developer::lost(), None);
            } else if waiting.call().is_some() {
                self.ask(ask, waiting);
            }
        }
        self.follow();
    }

    fn answered(
        &mut self,
        server: &mut Server<Self>,
        waiting: Waiting,
        answer: Answer,
        file: Option<OwnedFd>,
    ) {
        match waiting {
            Waiting::Apps(pending, known) => self.apps_page(server, pending, known, answer),
            Waiting::Status(pending, app) => self.status(server, pending, app, answer),
            Waiting::Start(pending, app) => Self::acted(server, pending, app, answer),
            Waiting::Stop(pending, app) => Self::acted(server, pending, app, answer),
            Waiting::Restart(pending, app) => Self::acted(server, pending, app, answer),
            Waiting::Wipe(pending, app) => Self::wiped(server, pending, app, answer),
            Waiting::Log(pending, app, lines) => self.log(server, pending, app, lines, &answer),
            Waiting::FollowLog(pending, app, lines) => self.log_begins(server, pending, app, lines, &answer),
            Waiting::Export(pending, app) => self.exported(server, pending, app, answer, file),
            Waiting::Audit(pending) => self.audit(server, pending, &answer),
            Waiting::FollowAudit(pending) => self.audit_begins(server, pending, &answer),
            Waiting::Grants(pending, known) => self.grants_page(server, pending, known, answer),
            Waiting::Why(pending) => self.why_answered(server, pending, &answer),
            Waiting::Monitor(pending) => self.monitor_begins(server, pending, &answer),
            Waiting::Device(pending) => self.device(server, pending, &answer),
            Waiting::Reboot(pending) => Self::power(server, pending, &answer),
            Waiting::PowerOff(pending) => Self::power(server, pending, &answer),
            Waiting::Crashes(whom, gathering) => self.crashes(server, whom, gathering, answer),
            Waiting::Begin(pending) => Self::begun(server, pending, answer),
            Waiting::Put(pending) => Self::put(server, pending, answer),
            Waiting::Install(pending) => Self::installed(server, pending, answer),
            Waiting::Carry(pending) => Self::carried(server, pending, answer),
            Waiting::Remove(pending, app) => Self::removed(server, pending, app, answer),
            Waiting::Leave(pending) => Self::left(server, pending, answer),
            Waiting::Debug(pending, app, by) => self.debug_begins(server, pending, (app, by), answer, file),
            Waiting::Developed(pending, known) => self.developed_page(server, pending, known, answer),
            Waiting::Usage(pending, known) => self.usage_page(server, pending, known, answer),
            Waiting::UsageOf(pending, app) => Self::usage_of(server, pending, app, answer),
            Waiting::Followed => {}
        }
    }
}
