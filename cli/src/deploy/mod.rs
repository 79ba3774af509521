//! `gabion deploy`, `rm`, `stats` and `run --device`: an app on a developer's device, from its source to its first lines.
//!
//! What the device sends is not believed: it is bounded by the session, and made printable where it is shown.

mod outcome;
mod stats;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bus::devport::FILE_MAX;
use bus::interfaces::developer::InstallReply;
use packing::gab::Signer;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bus::{Device, Place, Talk, print};
use crate::project;
use crate::service::printable;
use outcome::{Mark, Seen};

/// The interface that installs.
const DEVELOPER: &str = "os.gabion.Developer";
/// How long a stream is waited for until somebody looks whether it is enough.
const LOOK: Duration = Duration::from_millis(200);

/// Build an app and run it on a developer's device, in place of what runs of it; its /data stays.
#[derive(clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    place: Place,
    /// The app's directory, as for `gabion build`; or a package that was built.
    #[arg(default_value = ".")]
    app: PathBuf,
    /// Go on with what it writes, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Longest wait for its first line, once it runs, in seconds.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    wait: u64,
    /// Sign it with this private key, PEM: the one that the device's permit names.
    #[arg(long, requires = "certificate", value_name = "FILE")]
    key: Option<PathBuf>,
    /// The key's certificate, PEM.
    #[arg(long, requires = "key", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Remove an app that was deployed.
#[derive(clap::Args)]
pub(crate) struct RemoveAsked {
    #[command(flatten)]
    place: Place,
    /// The app's id.
    #[arg(required_unless_present = "all")]
    app: Option<String>,
    /// Everything that was deployed to this device.
    #[arg(long, conflicts_with = "app")]
    all: bool,
}

/// Show what apps use.
#[derive(clap::Args)]
pub(crate) struct StatsAsked {
    #[command(flatten)]
    place: Place,
    /// One app alone.
    app: Option<String>,
    /// Again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// As JSON; with --watch one line each.
    #[arg(long)]
    json: bool,
}

/// Whether it runs.
pub(crate) fn deploy(asked: Asked) -> Result<bool> {
    let enough = crate::local::until_interrupted()?;
    let signer = asked.key.zip(asked.certificate).map(|(key, certificate)| Signer { key, certificate });
    let Some(package) = packed(asked.app, signer.as_ref())? else { return Ok(false) };
    let device = Device::find(asked.place)?;
    let mut talk = device.talk(DEVELOPER)?;
    let Some(seen) = deployed(&mut talk, &package, Duration::from_secs(asked.wait))? else {
        return Ok(false);
    };
    let shown = print(&if asked.json { seen.json()? } else { seen.text() });
    if asked.follow && shown {
        follow(&mut talk, &seen, asked.json, &enough)?;
    }
    Ok(seen.is_good())
}

/// Deploys the app in a directory, follows it until somebody interrupts, and removes it.
pub(crate) fn run_there(place: Place, app: PathBuf) -> Result<bool> {
    let enough = crate::local::until_interrupted()?;
    let Some(package) = packed(app, None)? else { return Ok(false) };
    let device = Device::find(place)?;
    let mut talk = device.talk(DEVELOPER)?;
    let Some(seen) = deployed(&mut talk, &package, Duration::from_millis(200))? else { return Ok(false) };
    let followed = if print(&seen.text()) { follow(&mut talk, &seen, false, &enough) } else { Ok(()) };
    // Whatever became of the log: what was put there is taken away.
    device.talk(DEVELOPER)?.call("Remove", &json!({ "app": seen.app }))?.map_err(refused)?;
    eprintln!("gabion: {} is removed from the device", seen.app);
    followed.map(|()| seen.is_good())
}

/// Removes an app, or all.
pub(crate) fn remove(asked: RemoveAsked) -> Result<bool> {
    let device = Device::find(asked.place)?;
    let mut talk = device.talk(DEVELOPER)?;
    let Some(app) = asked.app else {
        let answer = talk.call("Leave", &json!({}))?;
        return answered(answer, |reply| {
            format!("{} apps removed\n", reply.get("removed").and_then(Value::as_i64).unwrap_or_default())
        });
    };
    let answer = talk.call("Remove", &json!({ "app": app }))?;
    if let Err((name, _)) = &answer
        && name == "NotInstalled"
    {
        eprintln!(
            "gabion: {app} was not deployed here; `gabion bus call {DEVELOPER}.List` lists what was, `gabion wipe` erases what an \
             app has stored"
        );
        return Ok(false);
    }
    answered(answer, |_| format!("{app}: removed\n"))
}

/// What apps use.
pub(crate) fn stats(asked: StatsAsked) -> Result<bool> {
    let device = Device::find(asked.place)?;
    let enough = crate::local::until_interrupted()?;
    stats::run(&device, asked.app.as_deref(), asked.watch, asked.json, &enough)
}

/// The package's bytes; `None` after the problems of a manifest were printed.
fn packed(app: PathBuf, signer: Option<&Signer>) -> Result<Option<Vec<u8>>> {
    let path = if app.is_dir() {
        match project::package(&app, None, signer)? {
            Some(made) => made.path,
            None => return Ok(None),
        }
    } else if signer.is_some() {
        bail!("{} is a package already; `gabion build --key` signs what it makes", app.display())
    } else {
        app
    };
    fs::read(&path).with_context(|| format!("reading {}", path.display())).map(Some)
}

/// Installs the package, and waits for what becomes of it; `None` after it was said why it was refused.
fn deployed(talk: &mut Talk, package: &[u8], wait: Duration) -> Result<Option<Seen>> {
    let upload = match send(talk, package)? {
        Ok(upload) => upload,
        Err(error) => return answered(Err(error), |_| String::new()).map(|_| None),
    };
    // Who it is the device says only once it is installed: what is newer than this is its own.
    let mark = Mark::of(talk)?;
    talk.turn_to(DEVELOPER)?;
    let reply = match talk.call("Install", &json!({ "upload": upload }))? {
        Ok(reply) => reply,
        Err(error) => return answered(Err(error), |_| String::new()).map(|_| None),
    };
    let installed = InstallReply::deserialize(&reply)?;
    Seen::of(talk, &installed, package.len(), &mark, wait).map(Some)
}

type Reply = std::result::Result<Value, (String, Value)>;

/// Sends a package in parts.
fn send(talk: &mut Talk, package: &[u8]) -> Result<std::result::Result<i64, (String, Value)>> {
    let begun = match talk.call("Begin", &json!({ "size_bytes": package.len() }))? {
        Ok(begun) => begun,
        Err(error) => return Ok(Err(error)),
    };
    let upload = begun.get("upload").and_then(Value::as_i64).context("the device began nothing")?;
    for (part, at) in package.chunks(FILE_MAX).zip((0_usize..).step_by(FILE_MAX)) {
        talk.file(part)?;
        let put = talk.call("Put", &json!({ "upload": upload, "offset_bytes": at, "part": 0 }))?;
        if let Err(error) = put {
            return Ok(Err(error));
        }
    }
    Ok(Ok(upload))
}

/// Shows a reply, or why there is none.
fn answered(answer: Reply, shown: impl Fn(&Value) -> String) -> Result<bool> {
    match answer {
        Ok(reply) => Ok(print(&shown(&reply))),
        Err(error) => {
            eprintln!("gabion: {}", refused(error));
            Ok(false)
        }
    }
}

/// An error reply in words. Each line of it was made printable on its own.
fn refused((name, parameters): (String, Value)) -> anyhow::Error {
    let reason = parameters.get("reason").and_then(Value::as_str);
    match (name.as_str(), reason) {
        ("Refused", Some(reason)) => {
            anyhow::anyhow!(reason.lines().map(printable).collect::<Vec<_>>().join("\n"))
        }
        ("Busy", _) => anyhow::anyhow!(
            "something else is being installed or removed on the device, or is on trial after an update; try again"
        ),
        (name, _) => anyhow::anyhow!("{} {}", printable(name), printable(&parameters.to_string())),
    }
}

/// What it writes from now on, until it is enough.
fn follow(talk: &mut Talk, seen: &Seen, as_json: bool, enough: &AtomicBool) -> Result<()> {
    talk.turn_to(outcome::APPS)?;
    talk.follow("FollowLog", &json!({ "app": seen.app, "lines": outcome::LINES }))?;
    let mut mark = seen.mark.clone();
    while !enough.load(Ordering::Relaxed) {
        let reply = match talk.next(LOOK)? {
            crate::bus::Next::Reply(reply) => reply,
            crate::bus::Next::Nothing => continue,
            crate::bus::Next::Over => return Ok(()),
        };
        let lines = outcome::log_lines(&reply)?;
        let text: String = mark.newer(&lines).iter().map(|line| line.shown(as_json)).collect();
        if !print(&text) {
            return Ok(());
        }
    }
    Ok(())
}
