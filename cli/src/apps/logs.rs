//! `gabion logs`: what an app wrote, and what it writes.

use bus::interfaces::apps::{FollowLogReply, GetLogReply, LogLine, Stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::of_apps;
use crate::bus::{Device, print};
use crate::service::printable;

/// What is wanted of which log.
pub(super) struct Wanted {
    pub(super) app: String,
    pub(super) follow: bool,
    pub(super) lines: u16,
    pub(super) json: bool,
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
        let text: anyhow::Result<String> = lines.iter().map(|line| shown(line, asked.json)).collect();
        Ok(print(&text?))
    })
}

fn shown(line: &LogLine<'_>, as_json: bool) -> anyhow::Result<String> {
    if as_json {
        return Ok(format!("{}\n", serde_json::to_string(&line.serialize(serde_json::value::Serializer)?)?));
    }
    let stream = match line.stream {
        Stream::Stdout => "out",
        Stream::Stderr => "err",
    };
    Ok(format!("{} {stream} {}\n", printable(&line.time), printable(&line.text)))
}
