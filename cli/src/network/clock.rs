//! `gabion time`: the device's clock beside ours, and who set it.

use std::time::{SystemTime, UNIX_EPOCH};

use bus::interfaces::time::{GetStatusReply, Source};
use serde::Deserialize;
use serde_json::Map;

use crate::bus::{Call, Device, print};

pub(super) fn run(device: &Device, as_json: bool) -> anyhow::Result<bool> {
    device.one(&Call::new("os.gabion.Time.GetStatus", Map::new(), false)?, |parameters| {
        if as_json {
            return Ok(print(&format!("{parameters:#}\n")));
        }
        let ours = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        Ok(print(&shown(&GetStatusReply::deserialize(parameters)?, i64::try_from(ours)?)))
    })
}

fn shown(status: &GetStatusReply, ours_us: i64) -> String {
    let source = match status.source {
        Source::None => "nobody: it may be wrong by years",
        Source::Rtc => "the board's own clock",
        Source::Network => "a time server",
    };
    let kept = if status.synchronised { "" } else { ", and nobody keeps it in step now" };
    let apart = (status.realtime_us - ours_us) / 1000;
    format!(
        "set by   {source}{kept}\napart    {apart} ms from this machine's clock, the way between them included\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_nobody_set_is_said_to_be_wrong() {
        let status =
            GetStatusReply { realtime_us: 5_000, monotonic_us: 1, source: Source::None, synchronised: false };
        let text = shown(&status, 2_000);
        assert!(text.contains("wrong by years, and nobody") && text.contains("apart    3 ms"), "{text}");
    }
}
