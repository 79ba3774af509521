//! `gabion logs`: what an app wrote, and what it writes.

use bus::interfaces::apps::{FollowLogReply, GetLogReply, LogLine};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{of_apps, words};
use crate::bus::Device;
use crate::output::{event, printable};

/// What is wanted of which log.
pub(super) struct Wanted {
    pub(super) app: String,
    pub(super) follow: bool,
    pub(super) lines: u16,
}

pub(super) fn run(device: &Device, asked: &Wanted) -> anyhow::Result<bool> {
    let parameters = json!({ "app": asked.app, "lines": asked.lines });
    let method = if asked.follow { "FollowLog" } else { "GetLog" };
    device.one(&of_apps(method, &parameters, asked.follow)?, |reply| {
        let (lines, lost) = if asked.follow {
            let reply = FollowLogReply::deserialize(reply)?;
            (reply.lines, reply.skipped)
        } else {
            let reply = GetLogReply::deserialize(reply)?;
            (reply.lines, reply.dropped)
        };
        if lost > 0 {
            eprintln!(
                "gabion: {lost} lines were not kept: it writes faster than it may, or than this is read"
            );
        }
        for line in &lines {
            if !event(&line.serialize(serde_json::value::Serializer)?, || shown(line))? {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn shown(line: &LogLine<'_>) -> String {
    format!("{} {} {}\n", printable(&line.time), words::stream(line.stream), printable(&line.text))
}
