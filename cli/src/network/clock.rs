//! `gabion time`: the device's clock beside ours, and who set it.

use std::time::{SystemTime, UNIX_EPOCH};

use bus::interfaces::time::{GetStatusReply, Source};
use serde::Deserialize;
use serde_json::Map;

use crate::bus::{Call, Device};
use crate::output::answer;

pub(super) fn run(device: &Device) -> anyhow::Result<bool> {
    device.one(&Call::new("os.gabion.Time.GetStatus", Map::new(), false)?, |parameters| {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let text = shown(&GetStatusReply::deserialize(parameters)?, i64::try_from(ours)?);
        answer(parameters, || text)
    })
}

fn shown(status: &GetStatusReply<'_>, ours_us: i64) -> String {
    let source = match status.source {
        Source::None => "nobody: it may be wrong by years",
        Source::Floor => "the system itself, to the time it was built or last knew: it is late",
        Source::Rtc => "the board's own clock",
        Source::Network => "a time server",
    };
    let server = status.server.as_ref().map(|server| format!(" ({server})")).unwrap_or_default();
    let proved = match (status.source, status.authenticated) {
        (Source::Network, true) => ", which proved who it is",
        (Source::Network, false) => ", which could be anybody on the way",
        _ => "",
    };
    let error = status.error_us.map(|us| format!("error    at most {} ms\n", us.div_euclid(1000) + 1));
    let problem = status.problem.as_ref().map(|problem| format!("problem  {problem}\n"));
    let kept = if status.synchronised { "" } else { ", and nobody keeps it in step now" };
    let apart = (status.realtime_us - ours_us) / 1000;
    format!(
        "set by   {source}{server}{proved}{kept}\n{}{}apart    {apart} ms from this machine's clock, the way between them \
         included\n",
        error.unwrap_or_default(),
        problem.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_nobody_set_is_said_to_be_wrong() {
        let mut status = GetStatusReply {
            realtime_us: 5_000,
            monotonic_us: 1,
            source: Source::None,
            synchronised: false,
            server: None,
            error_us: None,
            authenticated: false,
            problem: Some("no time server is known".into()),
        };
        let text = shown(&status, 2_000);
        assert!(text.contains("wrong by years, and nobody") && text.contains("apart    3 ms"), "{text}");
        assert!(text.contains("\nproblem  no time server is known\n"), "{text}");
        status = GetStatusReply {
            source: Source::Network,
            synchronised: true,
            server: Some("192.0.2.123".into()),
            error_us: Some(1_500),
            problem: None,
            ..status
        };
        let text = shown(&status, 2_000);
        let first = "set by   a time server (192.0.2.123), which could be anybody on the way\nerror    at most 2 ms\n";
        assert!(text.starts_with(first), "{text}");
    }
}
