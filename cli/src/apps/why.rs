//! `gabion why`: what an app was refused, with the manifest line that would allow it, and how it last crashed.

use std::collections::BTreeMap;

use bus::interfaces::audit::{Kind, ListReply};
use bus::interfaces::crashes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::{Call, Device};
use crate::output::{answer, printable};

/// As many as the device gives at once.
const NEWEST: u32 = 100;

pub(super) fn run(device: &Device, app: &str) -> anyhow::Result<bool> {
    let mut refused: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut lost = 0;
    let mut answered = device.one(&call("os.gabion.Audit.List", &json!({ "newest": NEWEST }))?, |reply| {
        let reply = ListReply::deserialize(reply)?;
        lost = reply.lost;
        for event in reply.events.iter().filter(|event| event.app == app) {
            let what = match event.kind {
                Kind::Denied => event.detail.to_string(),
                Kind::Refused => format!("bus {} {}", event.interface, event.detail),
                _ => continue,
            };
            let (what, count) = counted(&what);
            let known = refused.entry(what).or_default();
            *known = (event.time.to_string(), known.1.max(count));
        }
        Ok(true)
    })?;
    let mut last = None;
    answered &= device.one(&call("os.gabion.Crashes.List", &json!({}))?, |reply| {
        let reply = crashes::ListReply::deserialize(reply)?;
        let its = reply.apps.into_iter().find(|summary| summary.app == app);
        last = its.map(|its| (its.last.time.to_string(), its.last.detail.to_string()));
        Ok(true)
    })?;
    if !answered {
        return Ok(false);
    }
    let each = |(what, (time, count)): (&String, &(String, u64))| json!({ "what": what, "last": time, "count": count });
    let each: Vec<Value> = refused.iter().map(each).collect();
    let crash = last.as_ref().map(|(time, detail)| json!({ "time": time, "detail": detail }));
    let all = json!({ "app": app, "refused": each, "last_crash": crash, "events_lost": lost });
    answer(&all, || shown(app, &refused, last, lost))
}

fn call(method: &str, parameters: &Value) -> anyhow::Result<Call> {
    Call::new(method, parameters.as_object().cloned().unwrap_or_default(), false)
}

/// An event's text without its count, and the count: events of one kind are told once, then by tens.
fn counted(detail: &str) -> (String, u64) {
    let count = detail.rsplit_once(" count=").and_then(|(what, count)| Some((what, count.parse().ok()?)));
    count.map_or_else(|| (detail.to_owned(), 1), |(what, count)| (what.to_owned(), count))
}

fn shown(
    app: &str,
    refused: &BTreeMap<String, (String, u64)>,
    last: Option<(String, String)>,
    lost: i64,
) -> String {
    let mut text = String::new();
    if refused.is_empty() {
        text.push_str(&format!("{app} was refused nothing in the newest {NEWEST} events\n"));
    }
    for (what, (time, count)) in refused {
        let times = if *count > 1 { format!("at least {count} times, last {time}") } else { time.clone() };
        text.push_str(&format!("refused  {}\n         {}\n", printable(what), printable(&times)));
    }
    if let Some((time, detail)) = last {
        text.push_str(&format!("crashed  {}\n         {}\n", printable(&detail), printable(&time)));
    }
    if lost > 0 {
        text.push_str(&format!("{lost} older events were not kept\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_kind_are_one_line_with_the_highest_count() {
        assert_eq!(counted("call=bpf by=seccomp count=10"), ("call=bpf by=seccomp".to_owned(), 10));
        assert_eq!(counted("call=bpf"), ("call=bpf".to_owned(), 1));
        let refused = BTreeMap::from([("call=bpf".to_owned(), ("T".to_owned(), 10))]);
        let text = shown("a", &refused, Some(("U".to_owned(), "signal=SIGSEGV".to_owned())), 2);
        assert_eq!(
            text,
            "refused  call=bpf\n         at least 10 times, last T\ncrashed  signal=SIGSEGV\n         U\n2 older events \
             were not kept\n"
        );
        assert!(shown("a", &BTreeMap::new(), None, 0).contains("refused nothing"));
    }
}
