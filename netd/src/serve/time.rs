//! `os.gabion.Time`.

use bus::interfaces::time::*;
use bus::server::{Answer, Call};

use super::network::Serve;
use crate::time::{self, Problem, TimeState, Why};

impl Handler for Serve {
    fn get_status(&mut self, call: Call<'_, GetStatus>) -> Answer {
        let realtime_us = sys::time::clock::realtime_ns().unwrap_or(0) / 1000;
        let monotonic_us = i64::try_from(sys::bpf::clock_ns().unwrap_or(0) / 1000).unwrap_or(i64::MAX);
        call.reply(&shown(&self.sources.time.borrow(), realtime_us, monotonic_us))
    }
}

fn shown(state: &TimeState, realtime_us: i64, monotonic_us: i64) -> GetStatusReply<'_> {
    let network = state.source == time::Source::Network;
    GetStatusReply {
        realtime_us,
        monotonic_us,
        source: match state.source {
            time::Source::None => Source::None,
            time::Source::Rtc => Source::Rtc,
            time::Source::Floor => Source::Floor,
            time::Source::Network => Source::Network,
        },
        synchronised: network && state.problem.is_none(),
        server: state.server.as_deref().map(Into::into),
        error_us: state.last_sync_s.map(|_| state.error_us),
        authenticated: network && state.nts,
        problem: state.problem.map(|problem| said(problem).into()),
    }
}

const fn said(problem: Problem) -> &'static str {
    match problem {
        Problem::NoLink => "no link has an address; `gabion net status` says why",
        Problem::NoServer => {
            "no time server is known: DHCP names none; name some as [time] servers with `gabion net configure`"
        }
        Problem::Clock => "the kernel does not let netd set the clock",
        Problem::Servers(Why::NoAnswer) => "no time server answered",
        Problem::Servers(Why::TooFew) => "not enough time servers answered yet",
        Problem::Servers(Why::Contradiction) => "the time servers contradict each other",
        Problem::Servers(Why::BeforeFloor) => "the time servers say that it is earlier than it can be",
        Problem::Servers(Why::TooFarAhead) => "the time servers say that it is later than is believable",
        Problem::Servers(Why::Unconfirmed) => "a large step was not asked for often enough yet",
        Problem::Servers(Why::TooLarge) => {
            "one time server alone may not ask for so large a step; name more of them"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_servers_failed_is_not_in_step_and_says_why() {
        let mut state = TimeState {
            source: time::Source::Network,
            server: Some("192.0.2.123".to_owned()),
            error_us: 1500,
            last_sync_s: Some(1),
            nts: true,
            ..TimeState::default()
        };
        let reply = shown(&state, 5, 6);
        assert_eq!((reply.synchronised, reply.authenticated, reply.error_us), (true, true, Some(1500)));
        assert_eq!(reply.server.as_deref(), Some("192.0.2.123"));
        state.problem = Some(Problem::Servers(Why::NoAnswer));
        let reply = shown(&state, 5, 6);
        assert_eq!((reply.synchronised, reply.problem.as_deref()), (false, Some("no time server answered")));
    }

    #[test]
    fn clock_that_was_never_compared_has_no_error() {
        let state = TimeState { source: time::Source::Floor, ..TimeState::default() };
        let reply = shown(&state, 5, 6);
        assert_eq!((reply.source, reply.error_us, reply.authenticated), (Source::Floor, None, false));
    }
}
