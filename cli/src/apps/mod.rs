//! `gabion ps`, `logs`, `start`, `stop`, `restart`, `wipe` and `why`: the apps of a developer's device.
//!
//! What is asked goes over the bus, as with `gabion bus`. What the device sends is not believed: it is bounded by the session
//! and made printable by whoever shows it.

mod logs;
mod ps;
mod why;
pub(crate) mod words;

use clap::Args;
use serde_json::{Value, json};

use crate::bus::{Call, Device, Place};
use crate::exit::{Exit, Failure};
use crate::output::answer;

/// Arguments of `gabion ps`.
#[derive(Args)]
pub(crate) struct Listed {
    #[command(flatten)]
    place: Place,
    /// The system's own boxes, too.
    #[arg(short, long)]
    all: bool,
}

/// Arguments of `gabion logs`.
#[derive(Args)]
pub(crate) struct Logged {
    #[command(flatten)]
    place: Place,
    /// The app's id.
    app: String,
    /// Go on as lines are written, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// How many of the newest lines, 1 to 1000.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
}

/// Arguments of `gabion start`, `stop` and `restart`.
#[derive(Args)]
pub(crate) struct Told {
    #[command(flatten)]
    place: Place,
    /// The app's id.
    app: String,
}

/// Arguments of `gabion wipe`.
#[derive(Args)]
pub(crate) struct Wiped {
    #[command(flatten)]
    told: Told,
    /// Its data, its log and its records are gone for good: say so.
    #[arg(long)]
    yes: bool,
}

/// Arguments of `gabion why`.
#[derive(Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    told: Told,
}

/// Which apps there are, and how each is doing.
pub(crate) fn ps(asked: Listed) -> anyhow::Result<bool> {
    ps::run(&Device::find(asked.place)?, asked.all)
}

/// What an app wrote.
pub(crate) fn logs(asked: Logged) -> anyhow::Result<bool> {
    let wanted = logs::Wanted { app: asked.app, follow: asked.follow, lines: asked.lines };
    logs::run(&Device::find(asked.place)?, &wanted)
}

/// Starts, ends, or both. `true`: it is done.
pub(crate) fn tell(method: &str, done: &str, told: Told) -> anyhow::Result<bool> {
    let device = Device::find(told.place)?;
    device.one(&of_apps(method, &json!({ "app": told.app }), false)?, |_| {
        answer(&json!({ "app": told.app, "done": method.to_lowercase() }), || {
            format!("{}: {done}\n", told.app)
        })
    })
}

/// Erases what an app has stored.
pub(crate) fn wipe(asked: Wiped) -> anyhow::Result<bool> {
    if !asked.yes {
        let app = &asked.told.app;
        let what = format!("this ends {app} and erases its data, its log and its records for good");
        return Err(Failure::new(Exit::Usage, what).help(format!("write `gabion wipe {app} --yes`")).into());
    }
    tell("Wipe", "erased; `gabion start` starts it with nothing", asked.told)
}

/// What an app was refused, and how it ended.
pub(crate) fn why(asked: Asked) -> anyhow::Result<bool> {
    why::run(&Device::find(asked.told.place)?, &asked.told.app)
}

fn of_apps(method: &str, parameters: &Value, more: bool) -> anyhow::Result<Call> {
    Call::new(&format!("os.gabion.Apps.{method}"), parameters.as_object().cloned().unwrap_or_default(), more)
}
