//! `gabion ps`: the apps of the device, and how each is doing.

use bus::interfaces::apps::{App, ListReply};
use serde::Deserialize;
use serde_json::json;

use super::{of_apps, words};
use crate::bus::{Device, table};
use crate::output::{answer, printable};

pub(super) fn run(device: &Device, all: bool) -> anyhow::Result<bool> {
    device.one(&of_apps("List", &json!({}), false)?, |parameters| {
        let ListReply { apps } = ListReply::deserialize(parameters)?;
        let shown = |app: &&App<'_>| all || !app.system;
        let all: Vec<_> = apps.iter().filter(shown).collect();
        answer(&json!({ "apps": all }), || text(&all))
    })
}

fn text(apps: &[&App<'_>]) -> String {
    let rows: Vec<_> = apps.iter().map(|app| row(app)).collect();
    let mut text = table(["APP", "VERSION", "STATE", "MEMORY", "RESTARTS", "LAST END", "SAYS"], &rows);
    for app in apps {
        if let Some(problem) = &app.problem {
            text.push_str(&format!("\n{}: {}\n", app.id, printable(problem)));
        }
    }
    text
}

fn row(app: &App<'_>) -> [String; 7] {
    let dash = || "-".to_owned();
    let memory = app.memory_bytes.map_or_else(dash, |bytes| format!("{} KiB", bytes / 1024));
    let last = app.last_exit.as_ref();
    let last =
        last.map_or_else(dash, |exit| format!("{} {}", printable(&exit.time), printable(&exit.detail)));
    [
        app.id.to_string(),
        app.version.as_deref().map_or_else(dash, printable),
        words::state(app.state).to_owned(),
        memory,
        app.restarts.to_string(),
        last,
        app.status.as_deref().map_or_else(dash, printable),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::interfaces::apps::{Exit, Reason, State};

    #[test]
    fn row_of_an_app_is_fit_for_a_terminal() {
        let exit = Exit {
            time: "2026-01-31T12:00:00.000Z".into(),
            reason: Reason::Signal,
            detail: "signal=SIGSEGV".into(),
            uptime_ms: 3,
        };
        let app = App {
            id: "com.example.a".into(),
            version: Some("1.0\u{1b}[2J".into()),
            system: false,
            state: State::Waiting,
            uid: Some(10_000),
            pid: None,
            memory_bytes: Some(8 << 20),
            restarts: 3,
            jit: false,
            status: None,
            last_exit: Some(exit),
            problem: None,
        };
        let last = "2026-01-31T12:00:00.000Z signal=SIGSEGV";
        let version = "1.0\u{fffd}[2J";
        assert_eq!(
            row(&app),
            ["com.example.a", version, "waiting after crashes", "8192 KiB", "3", last, "-"]
        );
    }
}
