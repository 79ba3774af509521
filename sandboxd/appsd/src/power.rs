//! `os.gabion.Power`.

use bus::desk::{Answer as Told, Ask};
use bus::interface::{Empty, Method};
use bus::interfaces::power::*;
use bus::server::{Answer, Call, Pending, Server};

use crate::appsd::Appsd;
use crate::waiting::Waiting;

/// Longest reason, bytes.
const REASON_MAX: usize = 120;

impl Handler for Appsd {
    fn reboot(&mut self, call: Call<'_, Reboot>, parameters: RebootParameters<'_>) -> Answer {
        let Some(reason) = recorded(&call.caller().app, &parameters.reason) else {
            return call.invalid("reason");
        };
        let (pending, answer) = call.later();
        self.ask(Ask::Power { off: false, reason }, Waiting::Reboot(pending));
        answer
    }

    fn power_off(&mut self, call: Call<'_, PowerOff>, parameters: PowerOffParameters<'_>) -> Answer {
        let Some(reason) = recorded(&call.caller().app, &parameters.reason) else {
            return call.invalid("reason");
        };
        let (pending, answer) = call.later();
        self.ask(Ask::Power { off: true, reason }, Waiting::PowerOff(pending));
        answer
    }
}

impl Appsd {
    /// The same answer for both: it comes before anything is ended.
    pub(crate) fn power<M>(server: &mut Server<Self>, pending: Pending<M>, answer: &Told)
    where
        M: for<'a> Method<Error = Error, Reply<'a> = Empty>,
    {
        match answer {
            Told::Done => server.finish(pending, &Empty {}),
            _ => server.fail(pending, &Error::Busy {}),
        }
    }
}

fn recorded(app: &str, reason: &str) -> Option<String> {
    let fits = reason.len() <= REASON_MAX && !reason.chars().any(char::is_control);
    fits.then(|| format!("{app}: {reason}"))
}
