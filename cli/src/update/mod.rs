//! `gabion update`: a developer's device and its updates, over its bus. For a device elsewhere: `gabion device update-now`.

mod offline;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::{Call, Device, Place};
use crate::output::{answer, print, printable};
use offline::Offline;

/// Arguments of `gabion update`.
#[derive(Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Look for updates now.
    Check,
    /// Say what runs, what is coming, how far it is and why it is no further.
    Status,
    /// Put an update off.
    Defer {
        /// What it replaces.
        target: Target,
        /// For how many minutes from now.
        minutes: u32,
        /// Which app.
        #[arg(long, required_if_eq("target", "app"))]
        app: Option<String>,
    },
    /// Let an update that was put off go on.
    Resume {
        /// What it replaces.
        target: Target,
        /// Which app.
        #[arg(long, required_if_eq("target", "app"))]
        app: Option<String>,
    },
    /// Say what happens to updates, as it happens.
    Watch,
    /// Make updates for devices without a network.
    Offline {
        #[command(subcommand)]
        what: Offline,
    },
    /// Go back to what ran before; what runs now is not taken again until there is a newer release, or until you have updates
    /// looked for. The device boots for it, unless you name an app.
    Rollback {
        /// An app that is on trial: only until then is kept what it was before.
        app: Option<String>,
    },
}

/// What an update replaces.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The system.
    Os,
    /// An app.
    App,
}

impl Target {
    fn word(self) -> &'static str {
        match self {
            Self::Os => "os",
            Self::App => "app",
        }
    }
}

/// One update, as the interface has it.
#[derive(Deserialize)]
struct Status {
    target: String,
    app: Option<String>,
    running_version: String,
    coming_version: Option<String>,
    state: String,
    failure: Option<String>,
}

/// `gabion update`. False: refused, or an error reply, which was said.
pub(crate) fn run(asked: Asked) -> Result<bool> {
    if let What::Offline { what: Offline::Make(make) } = &asked.what {
        return offline::make(make).map(|()| true);
    }
    let device = Device::find(asked.place)?;
    let call = |method: &str, parameters: Value, more: bool| {
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        Call::new(&format!("os.gabion.Update.{method}"), parameters, more)
    };
    match asked.what {
        What::Check => device.one(&call("CheckNow", json!({}), false)?, shown),
        What::Status => device.one(&call("GetStatus", json!({}), false)?, shown),
        What::Defer { target, minutes, app } => {
            let parameters = with_app(json!({"target": target.word(), "minutes": minutes}), app);
            device.one(&call("Defer", parameters, false)?, |reply| answer(reply, || until(reply)))
        }
        What::Resume { target, app } => {
            let parameters = with_app(json!({"target": target.word()}), app);
            device.one(&call("Resume", parameters, false)?, |_| {
                answer(&json!({ "done": "resume" }), String::new)
            })
        }
        // Done above, without a device.
        What::Offline { what: Offline::Make(_) } => Ok(true),
        What::Offline { what: Offline::Send { file } } => crate::deploy::carry(&device, &file),
        What::Rollback { app } => {
            let done = match &app {
                Some(app) => format!("{app} goes back to what it was before\n"),
                None => "the device boots into the system that ran before\n".to_owned(),
            };
            device.one(&call("Rollback", with_app(json!({}), app), false)?, |_| {
                answer(&json!({ "done": "rollback" }), || done.clone())
            })
        }
        What::Watch => device.one(&call("Watch", json!({}), true)?, |reply| Ok(print(&format!("{reply}\n")))),
    }
}

fn with_app(mut parameters: Value, app: Option<String>) -> Value {
    if let Some(app) = app {
        parameters["app"] = json!(app);
    }
    parameters
}

fn until(reply: &Value) -> String {
    let us = reply.get("until_us").and_then(Value::as_i64).unwrap_or(0);
    format!("put off until {} seconds since 1970\n", us / 1_000_000)
}

fn shown(reply: &Value) -> Result<bool> {
    let updates = Vec::<Status>::deserialize(reply.get("updates").unwrap_or(&Value::Null))?;
    answer(reply, || updates.iter().map(text).collect())
}

fn text(update: &Status) -> String {
    let name = update.app.as_ref().map_or_else(|| update.target.clone(), Clone::clone);
    let coming = update.coming_version.as_ref().map_or(String::new(), |coming| format!(" -> {coming}"));
    let failure = update.failure.as_ref().map_or(String::new(), |failure| format!(": {failure}"));
    let line = format!("{name} {}{coming} {}{failure}", update.running_version, update.state);
    // The device has a say in it, and the terminal is not its own.
    printable(&line) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn update_is_told_on_one_line_whatever_the_device_says() {
        let update = Status {
            target: "os".to_owned(),
            app: None,
            running_version: "1.0".to_owned(),
            coming_version: Some("1.1".to_owned()),
            state: "deferred".to_owned(),
            failure: Some("no\nway\u{1b}[2J".to_owned()),
        };
        assert_eq!(text(&update), "os 1.0 -> 1.1 deferred: no\u{fffd}way\u{fffd}[2J\n");
    }
}
