//! `gabion stats`: what apps use, and may.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bus::interfaces::developer::{StatsReply, Usage};
use bus::interfaces::network::ListRulesReply;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{DEVELOPER, refused};
use crate::bus::{Device, Talk, table};
use crate::exit::{Exit, Failure};
use crate::output::{answer, event, printable};

const NETWORK: &str = "os.gabion.Network";
/// How often it is shown with --watch.
const EVERY: Duration = Duration::from_secs(1);

/// Processor time of each app, and when it was asked for.
type Before = BTreeMap<String, (Instant, i64)>;

pub(super) fn run(device: &Device, app: Option<&str>, watch: bool, enough: &AtomicBool) -> Result<bool> {
    let mut talk = device.talk(DEVELOPER)?;
    let mut before = Before::new();
    loop {
        let began = Instant::now();
        talk.turn_to(DEVELOPER)?;
        let reply = match talk.call("Stats", &json!({ "app": app }))? {
            Ok(reply) => reply,
            Err(error) if error.0 == "NotInstalled" => {
                let none =
                    Failure::new(Exit::NotFound, format!("there is no app {}", app.unwrap_or_default()));
                return Err(none.help("`gabion ps` lists what there is").into());
            }
            Err(error) => return Err(refused(error)),
        };
        let StatsReply { apps } = StatsReply::deserialize(&reply)?;
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for usage in &apps {
            let network = network(&mut talk, &usage.app)?;
            values.push(of_program(usage, network)?);
            rows.push(of_people(usage, network, &before));
            before.insert(usage.app.to_string(), (began, usage.cpu_us));
        }
        let (all, text) = (json!({ "apps": values }), || shown(&rows, watch));
        let shown = if watch { event(&all, text)? } else { answer(&all, text)? };
        while watch && shown && began.elapsed() < EVERY && !enough.load(Ordering::Relaxed) {
            std::thread::sleep(EVERY / 20);
        }
        if !watch || !shown || enough.load(Ordering::Relaxed) {
            return Ok(true);
        }
    }
}

/// Bytes of IP packets, both ways; `None` for an app without a network.
fn network(talk: &mut Talk, app: &str) -> Result<Option<i64>> {
    talk.turn_to(NETWORK)?;
    match talk.call("ListRules", &json!({ "app": app }))? {
        Ok(reply) => Ok(Some(ListRulesReply::deserialize(&reply)?.rules.iter().map(|rule| rule.bytes).sum())),
        Err(_) => Ok(None),
    }
}

fn of_program(usage: &Usage<'_>, network: Option<i64>) -> Result<Value> {
    let mut value = serde_json::to_value(usage)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("network_bytes".to_owned(), json!(network));
    }
    Ok(value)
}

fn of_people(usage: &Usage<'_>, network: Option<i64>, before: &Before) -> [String; 8] {
    let known = before.get(&*usage.app);
    let percent = known.map(|(at, cpu_us)| {
        let passed = i64::try_from(at.elapsed().as_micros()).unwrap_or(i64::MAX).max(1);
        (usage.cpu_us - cpu_us).max(0).saturating_mul(100) / passed
    });
    let cpu = percent.map_or_else(|| format!("{} ms", usage.cpu_us / 1000), |percent| format!("{percent} %"));
    let of = |now: String, most: Option<String>| most.map_or(now.clone(), |most| format!("{now} of {most}"));
    [
        printable(&usage.app),
        of(cpu, usage.cpu_limit_permille.map(|permille| format!("{} %", permille / 10))),
        of(size(usage.memory_bytes), usage.memory_limit_bytes.map(size)),
        size(usage.memory_peak_bytes),
        of(usage.tasks.to_string(), usage.tasks_limit.map(|most| most.to_string())),
        of(size(usage.storage_bytes), Some(size(usage.storage_limit_bytes))),
        network.map_or_else(|| "-".to_owned(), size),
        format!("{}, {}", usage.restarts, usage.uptime_ms.map_or_else(|| "down".to_owned(), time)),
    ]
}

/// Bytes as people read them.
fn size(bytes: i64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}

fn time(ms: i64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

fn shown(rows: &[[String; 8]], watch: bool) -> String {
    let head = ["APP", "CPU", "MEMORY", "PEAK", "TASKS", "STORED", "NETWORK", "RESTARTS, UP"];
    format!("{}{}", table(head, rows), if watch { "\n" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_shown_with_its_limits() {
        let usage = Usage {
            app: "com.example.a".into(),
            cpu_us: 1_500_000,
            cpu_limit_permille: Some(200),
            memory_bytes: 2 << 20,
            memory_peak_bytes: 20 << 20,
            memory_limit_bytes: None,
            tasks: 2,
            tasks_limit: Some(16),
            storage_bytes: 4096,
            storage_limit_bytes: 1 << 20,
            restarts: 1,
            uptime_ms: Some(125_000),
        };
        let row = of_people(&usage, Some(77), &Before::new());
        let expected = [
            "com.example.a",
            "1500 ms of 20 %",
            "2048 KiB",
            "20 MiB",
            "2 of 16",
            "4096 B of 1024 KiB",
            "77 B",
            "1, 2 min",
        ];
        assert_eq!(row, expected);
        let json = of_program(&usage, None).unwrap();
        assert_eq!((&json["cpu_us"], &json["network_bytes"]), (&json!(1_500_000), &Value::Null));
    }
}
