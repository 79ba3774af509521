//! `os.gabion.Bus`.

use bus::control::EventKind;
use bus::desk::{self, Answer as Told, Ask, Audit, GrantLine};
use bus::interfaces::bus::*;
use bus::server::{Answer, Call, Pending, Server};

use crate::appsd::Appsd;
use crate::waiting::Waiting;

/// Longest name that is looked up, bytes.
const NAME_MAX: usize = 256;

impl Handler for Appsd {
    fn list(&mut self, call: Call<'_, List>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Grants(String::new(), String::new()), Waiting::Grants(pending, Vec::new()));
        answer
    }

    fn why(&mut self, call: Call<'_, Why>, parameters: WhyParameters<'_>) -> Answer {
        let WhyParameters { app, interface, method } = parameters;
        // The longest name there can be is 80 bytes; the answer repeats them.
        for (name, text) in [("app", &app), ("interface", &interface), ("method", &method)] {
            if text.len() > NAME_MAX {
                return call.invalid(name);
            }
        }
        let ask = Ask::Why(app.into_owned(), interface.into_owned(), method.into_owned());
        let (pending, answer) = call.later();
        self.ask(ask, Waiting::Why(pending));
        answer
    }

    fn monitor(&mut self, call: Call<'_, Monitor>) -> Answer {
        let (pending, answer) = call.later();
        self.ask(Ask::Device, Waiting::Monitor(pending));
        answer
    }
}

impl Appsd {
    pub(crate) fn grants_page(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<List>,
        mut known: Vec<GrantLine>,
        answer: Told,
    ) {
        let Told::Grants(page) = answer else { return };
        let full = page.len() >= desk::GRANTS_AT_ONCE;
        known.extend(page);
        match known.last().filter(|_| full).map(|grant| (grant.app.clone(), grant.interface.clone())) {
            Some((app, interface)) => self.ask(Ask::Grants(app, interface), Waiting::Grants(pending, known)),
            None => server.finish(pending, &ListReply { grants: known.iter().map(shown).collect() }),
        }
    }

    pub(crate) fn why_answered(&mut self, server: &mut Server<Self>, pending: Pending<Why>, answer: &Told) {
        if let Told::Why { allowed, because } = answer {
            server.finish(pending, &WhyReply { allowed: *allowed, because: because.as_str().into() });
        }
    }

    pub(crate) fn monitor_begins(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<Monitor>,
        answer: &Told,
    ) {
        match answer {
            Told::Device(device) if device.developer => {
                self.followers.calls.push(pending);
                self.follow();
            }
            _ => server.fail(pending, &Error::DeveloperModeOnly {}),
        }
    }
}

fn shown(grant: &GrantLine) -> Grant<'_> {
    Grant {
        app: grant.app.as_str().into(),
        interface: grant.interface.as_str().into(),
        methods: grant.methods.iter().map(|method| method.as_str().into()).collect(),
        server: grant.server.as_deref().map(Into::into),
        connections: i64::from(grant.connections),
    }
}

/// A call as it is shown to who monitors.
pub(crate) fn call_event(event: &Audit) -> CallEvent<'_> {
    CallEvent {
        time: event.time.as_str().into(),
        app: event.app.as_str().into(),
        interface: event.interface.as_str().into(),
        method: event.detail.as_str().into(),
        serial: i64::try_from(event.serial).unwrap_or(i64::MAX),
        refused: event.kind == EventKind::Refused,
    }
}
