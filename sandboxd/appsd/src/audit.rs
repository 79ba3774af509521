//! `os.gabion.Audit`.

use bus::control::EventKind;
use bus::desk::{Answer as Told, Ask, Audit};
use bus::interfaces::audit::*;
use bus::server::{Answer, Call, Pending, Server};

use crate::appsd::Appsd;
use crate::waiting::Waiting;

impl Handler for Appsd {
    fn list(&mut self, call: Call<'_, List>, parameters: ListParameters) -> Answer {
        let Some(newest) = amount(parameters.newest).filter(|newest| *newest > 0) else {
            return call.invalid("newest");
        };
        let (pending, answer) = call.later();
        self.ask(Ask::Audit(newest), Waiting::Audit(pending));
        answer
    }

    fn follow(&mut self, call: Call<'_, Follow>, parameters: FollowParameters) -> Answer {
        let Some(newest) = amount(parameters.newest) else { return call.invalid("newest") };
        let (pending, answer) = call.later();
        self.ask(Ask::Audit(newest), Waiting::FollowAudit(pending));
        answer
    }
}

fn amount(newest: i64) -> Option<u16> {
    u16::try_from(newest).ok().filter(|newest| *newest <= bus::desk::AUDIT_AT_ONCE)
}

impl Appsd {
    pub(crate) fn audit(&mut self, server: &mut Server<Self>, pending: Pending<List>, answer: &Told) {
        if let Told::Audit { events, lost } = answer {
            let events = events.iter().map(told).collect();
            server.finish(pending, &ListReply { events, lost: i64::try_from(*lost).unwrap_or(i64::MAX) });
        }
    }

    pub(crate) fn audit_begins(
        &mut self,
        server: &mut Server<Self>,
        pending: Pending<Follow>,
        answer: &Told,
    ) {
        if let Told::Audit { events, .. } = answer {
            server.push(&pending, &FollowReply { events: events.iter().map(told).collect() });
            self.followers.audit.push(pending);
        }
    }
}

/// An event as it is shown.
pub(crate) fn told(event: &Audit) -> Event<'_> {
    Event {
        number: i64::try_from(event.number).unwrap_or(i64::MAX),
        time: event.time.as_str().into(),
        kind: match event.kind {
            EventKind::Opened => Kind::Opened,
            EventKind::Closed => Kind::Closed,
            EventKind::Refused => Kind::Refused,
            EventKind::Revoked => Kind::Revoked,
            EventKind::Dropped => Kind::Dropped,
            EventKind::Called => Kind::Called,
            EventKind::Denied => Kind::Denied,
        },
        app: event.app.as_str().into(),
        interface: event.interface.as_str().into(),
        serial: (event.serial != 0).then(|| i64::try_from(event.serial).unwrap_or(i64::MAX)),
        detail: event.detail.as_str().into(),
        suppressed: i64::from(event.suppressed),
    }
}
